//! Security keys and passkeys: what is known of them besides who has them (CO-315, CO-465).

use portcullis_core::id::UserPk;
use serde_json::Value;
use uuid::Uuid;

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, many, maybe};

/// A security key or passkey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Key of the [`Authenticator`](crate::authenticator::Authenticator) that it is.
    pub authenticator: i32,
    /// The id that the authenticator chose, in base64url; no other credential has it.
    pub credential_id: String,
    /// The public key as a COSE key, in base64url.
    pub public_key: String,
    /// The highest count of uses that was seen; 0 when the authenticator does not count.
    pub sign_count: i64,
    /// Model of the authenticator; zero when it does not say.
    pub aaguid: Uuid,
    /// How browsers reach it, as a list of texts.
    pub transports: Value,
}

impl Record for Credential {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            authenticator: row.small("authenticator")?,
            credential_id: row.text("credential_id")?,
            public_key: row.text("public_key")?,
            sign_count: row.integer("sign_count")?,
            aaguid: row.parsed("aaguid")?,
            transports: row.json("transports")?,
        })
    }
}

/// The credential with this id, whoever has it.
///
/// # Errors
/// When the database fails.
pub async fn by_id(conn: &mut Conn, credential_id: &str) -> Result<Option<Credential>, StoreError> {
    maybe(on!(conn, c => sqlx::query("SELECT * FROM webauthn_credential WHERE credential_id = $1")
        .bind(credential_id).fetch_optional(c).await))
}

/// A user's credentials, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn of_account(conn: &mut Conn, account: UserPk) -> Result<Vec<Credential>, StoreError> {
    many(on!(conn, c => sqlx::query(
        "SELECT webauthn_credential.* FROM webauthn_credential
         JOIN authenticator ON authenticator.pk = webauthn_credential.authenticator
         WHERE authenticator.account = $1 ORDER BY authenticator.pk",
    ).bind(account.0).fetch_all(c).await))
}

/// Everybody's credentials.
///
/// # Errors
/// When the database fails.
pub async fn all(conn: &mut Conn) -> Result<Vec<Credential>, StoreError> {
    many(on!(conn, c => sqlx::query("SELECT * FROM webauthn_credential").fetch_all(c).await))
}

/// Keeps a new credential.
///
/// # Errors
/// When the database fails, or another credential has the id.
pub async fn insert(conn: &mut Conn, new: &Credential) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "INSERT INTO webauthn_credential (authenticator, credential_id, public_key, sign_count, aaguid, transports)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(new.authenticator)
    .bind(&new.credential_id)
    .bind(&new.public_key)
    .bind(new.sign_count)
    .bind(new.aaguid.to_string())
    .bind(new.transports.to_string())
    .execute(c)
    .await
    .map(drop))?;
    Ok(())
}

/// Accepts a count of uses. Tells whether it is higher than every one before, or the authenticator does not count.
///
/// # Errors
/// When the database fails.
pub async fn accept_count(conn: &mut Conn, authenticator: i32, count: i64) -> Result<bool, StoreError> {
    let done = on!(conn, c => sqlx::query(
        "UPDATE webauthn_credential SET sign_count = $2
         WHERE authenticator = $1 AND (sign_count < $2 OR (sign_count = 0 AND $2 = 0))",
    ).bind(authenticator).bind(count).execute(c).await.map(|done| done.rows_affected()))?;
    Ok(done > 0)
}
