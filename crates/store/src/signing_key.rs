//! Key pairs that sign tokens (OA section 6).

use portcullis_core::clock::Timestamp;

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, many};

/// A key pair with its certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// RFC 7638 thumbprint of the public key, base64url.
    pub kid: String,
    /// The private key, PKCS#8 DER, sealed for `signing_key:<kid>:private_key`.
    pub private_key_sealed: Vec<u8>,
    /// Certificate, DER.
    pub certificate: Vec<u8>,
    /// Whether it signs. Retired keys stay published (OA-124).
    pub active: bool,
    /// When it was made.
    pub created: Timestamp,
}

impl Record for SigningKey {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            kid: row.text("kid")?,
            private_key_sealed: row.bytes("private_key_sealed")?,
            certificate: row.bytes("certificate")?,
            active: row.flag("active")?,
            created: row.instant("created")?,
        })
    }
}

/// All key pairs; the one that signs first, then the newest.
///
/// # Errors
/// When the database fails.
pub async fn all(conn: &mut Conn) -> Result<Vec<SigningKey>, StoreError> {
    many(on!(conn, c => sqlx::query("SELECT * FROM signing_key ORDER BY active DESC, created DESC, kid")
        .fetch_all(c).await))
}

/// Keeps a new key pair.
///
/// # Errors
/// When the database fails.
pub async fn insert(conn: &mut Conn, key: &SigningKey) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "INSERT INTO signing_key (kid, private_key_sealed, certificate, active, created) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(&key.kid)
    .bind(&key.private_key_sealed)
    .bind(&key.certificate)
    .bind(key.active)
    .bind(key.created.0)
    .execute(c).await.map(drop))?;
    Ok(())
}
