//! Users (CO section 3).

mod administer;
mod attributes;
mod endings;
mod list;

use portcullis_core::clock::Timestamp;
use portcullis_core::id::{ProviderPk, UserPk};
use portcullis_core::username::{LONGEST, LONGEST_IDENTIFIER, exceeds, fold};
use uuid::Uuid;

use crate::db::{self, Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, NUL, Record, many, maybe};

pub use administer::{any_active_superuser, may_act};
pub use attributes::{any_attribute, set_attribute_digests, set_attributes, with_attribute};
pub use endings::{end_credential, end_sessions, shorten_credential};
pub use list::{Comparison, Filter, InstantColumn, Order, list};

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Integer key.
    pub pk: UserPk,
    /// Permanent id.
    pub uuid: Uuid,
    /// User name as given; unique when folded (CO-030).
    pub username: String,
    /// Display name.
    pub name: String,
    /// E-mail address, or empty.
    pub email: String,
    /// Whether any authentication of this user can succeed (CO-037).
    pub is_active: bool,
    /// `internal`, `external`, `service_account` or `internal_service_account` (CO-034).
    pub kind: String,
    /// Where it is shown (CO-035).
    pub path: String,
    /// The user's own attributes: a JSON object, sealed for `account:<pk>:attributes`.
    pub attributes_sealed: Vec<u8>,
    /// Argon2id in PHC form. None matches no input.
    pub password_hash: Option<String>,
    /// When the password was last set.
    pub password_changed: Timestamp,
    /// When the user was created.
    pub date_joined: Timestamp,
    /// When the user was last changed.
    pub last_updated: Timestamp,
    /// When the user last signed in interactively.
    pub last_login: Option<Timestamp>,
    /// The provider whose client secret this account stands for (OA-331).
    pub generated_for: Option<ProviderPk>,
}

impl Record for Account {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            pk: UserPk(row.small("pk")?),
            uuid: row.parsed("uuid")?,
            username: row.text("username")?,
            name: row.text("name")?,
            email: row.text("email")?,
            is_active: row.flag("is_active")?,
            kind: row.text("type")?,
            path: row.text("path")?,
            attributes_sealed: row.bytes("attributes_sealed")?,
            password_hash: row.text_or_null("password_hash")?,
            password_changed: row.instant("password_changed")?,
            date_joined: row.instant("date_joined")?,
            last_updated: row.instant("last_updated")?,
            last_login: row.instant_or_null("last_login")?,
            generated_for: row.small_or_null("generated_for")?.map(ProviderPk),
        })
    }
}

/// The user with this key.
///
/// # Errors
/// When the database fails.
pub async fn by_pk(conn: &mut Conn, pk: UserPk) -> Result<Option<Account>, StoreError> {
    maybe(on!(conn, c => sqlx::query("SELECT * FROM account WHERE pk = $1").bind(pk.0).fetch_optional(c).await))
}

/// The user with this permanent id.
///
/// # Errors
/// When the database fails.
pub async fn by_uuid(conn: &mut Conn, uuid: Uuid) -> Result<Option<Account>, StoreError> {
    let uuid = uuid.to_string();
    maybe(on!(conn, c => sqlx::query("SELECT * FROM account WHERE uuid = $1").bind(uuid).fetch_optional(c).await))
}

/// The user with this name: as given, else ignoring case and form (CO-030).
///
/// # Errors
/// When the database fails.
pub async fn by_username(conn: &mut Conn, username: &str) -> Result<Option<Account>, StoreError> {
    if exceeds(username, LONGEST) || username.contains(NUL) {
        return Ok(None);
    }
    // Folded names are unique, so the exact match, when there is one, is this row too.
    let folded = fold(username);
    maybe(on!(conn, c => sqlx::query("SELECT * FROM account WHERE username_folded = $1")
        .bind(folded).fetch_optional(c).await))
}

/// The user that somebody signs in as with a user name or an e-mail address; none when the address is
/// shared (CO-310).
///
/// # Errors
/// When the database fails.
pub async fn for_sign_in(conn: &mut Conn, identifier: &str) -> Result<Option<Account>, StoreError> {
    match by_username(conn, identifier).await? {
        Some(account) => Ok(Some(account)),
        None => by_own_email(conn, identifier).await,
    }
}

/// The person with this e-mail address; none when several share it (CO-310).
///
/// # Errors
/// When the database fails.
pub async fn by_own_email(conn: &mut Conn, identifier: &str) -> Result<Option<Account>, StoreError> {
    let mut found = with_own_email(conn, identifier).await?;
    Ok(if found.len() == 1 { found.pop() } else { None })
}

/// The people with this e-mail address, two at most. Service accounts do not count: what vouches for them may have said any
/// address.
///
/// # Errors
/// When the database fails.
pub async fn with_own_email(conn: &mut Conn, identifier: &str) -> Result<Vec<Account>, StoreError> {
    if identifier.is_empty() || exceeds(identifier, LONGEST_IDENTIFIER) || identifier.contains(NUL) {
        return Ok(Vec::new());
    }
    let folded = fold(identifier);
    many(on!(conn, c =>
        sqlx::query(
            "SELECT * FROM account WHERE email_folded = $1 AND type IN ('internal', 'external') LIMIT 2",
        ).bind(folded).fetch_all(c).await))
}

/// Whether another user, who was there by then, has this user name or e-mail address, given in its folded form.
///
/// # Errors
/// When the database fails.
pub async fn is_name_of_another(
    conn: &mut Conn,
    folded: &str,
    than: UserPk,
    by: Timestamp,
) -> Result<bool, StoreError> {
    let text = "SELECT count(*) FROM account
        WHERE (username_folded = $1 OR email_folded = $1) AND pk <> $2 AND date_joined <= $3";
    let found =
        on!(conn, c => sqlx::query_scalar::<_, i64>(text).bind(folded).bind(than.0).bind(by.0).fetch_one(c).await)?;
    Ok(found > 0)
}

/// The account that stands for a provider's client secret (OA-331).
///
/// # Errors
/// When the database fails.
pub async fn generated_for(conn: &mut Conn, provider: ProviderPk) -> Result<Option<Account>, StoreError> {
    maybe(on!(conn, c => sqlx::query("SELECT * FROM account WHERE generated_for = $1")
        .bind(provider.0).fetch_optional(c).await))
}

/// Keeps a new user under a fresh key, which it returns; `account.pk` is ignored.
///
/// Attributes are sealed for a place that names the key, and have digests: set them with [`set_attributes`] afterwards.
///
/// # Errors
/// [`StoreError::Taken`] when the folded name exists; else when the database fails.
pub async fn insert(conn: &mut Conn, account: &Account) -> Result<UserPk, StoreError> {
    let pk: i32 = on!(conn, c => sqlx::query_scalar(
        "INSERT INTO account (uuid, username, username_folded, name, email, email_folded, is_active, type, path,
             attributes_sealed, password_hash, password_changed, date_joined, last_updated, last_login, generated_for)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) RETURNING pk",
    )
    .bind(account.uuid.to_string())
    .bind(&account.username)
    .bind(fold(&account.username))
    .bind(&account.name)
    .bind(&account.email)
    .bind(fold(&account.email))
    .bind(account.is_active)
    .bind(&account.kind)
    .bind(&account.path)
    .bind(&account.attributes_sealed)
    .bind(&account.password_hash)
    .bind(account.password_changed.0)
    .bind(account.date_joined.0)
    .bind(account.last_updated.0)
    .bind(account.last_login.map(|at| at.0))
    .bind(account.generated_for.map(|provider| provider.0))
    .fetch_one(c)
    .await)?;
    Ok(UserPk(pk))
}

/// Keeps a new user under the key that it brings ([`insert`]). Keys that the database gives afterwards are higher.
///
/// # Errors
/// [`StoreError::Taken`] when the folded name, the key or the permanent id exists; else when the database fails.
pub async fn insert_under_own_key(conn: &mut Conn, account: &Account) -> Result<(), StoreError> {
    let given = insert(conn, account).await?;
    on!(&mut *conn, c => sqlx::query("UPDATE account SET pk = $2 WHERE pk = $1")
        .bind(given.0).bind(account.pk.0).execute(c).await.map(drop))?;
    // Engines raise the number by themselves only for rows that are inserted without a key.
    db::keys_begin_after(conn, "account", account.pk.0.max(given.0)).await
}

/// Stores every changeable field of a user but the attributes, which [`set_attributes`] sets. Recovery links that went to
/// another address end (CO-324).
///
/// # Errors
/// [`StoreError::Taken`] when the folded name belongs to another user; else when the database fails.
pub async fn update(conn: &mut Conn, account: &Account) -> Result<(), StoreError> {
    on!(&mut *conn, c => sqlx::query(
        "DELETE FROM recovery_link WHERE account = (SELECT pk FROM account WHERE pk = $1 AND email <> $2)",
    ).bind(account.pk.0).bind(&account.email).execute(c).await.map(drop))?;
    on!(conn, c => sqlx::query(
        "UPDATE account SET username = $2, username_folded = $3, name = $4, email = $5, email_folded = $6,
             is_active = $7, type = $8, path = $9, password_hash = $10, password_changed = $11, last_updated = $12,
             last_login = $13, generated_for = $14 WHERE pk = $1",
    )
    .bind(account.pk.0)
    .bind(&account.username)
    .bind(fold(&account.username))
    .bind(&account.name)
    .bind(&account.email)
    .bind(fold(&account.email))
    .bind(account.is_active)
    .bind(&account.kind)
    .bind(&account.path)
    .bind(&account.password_hash)
    .bind(account.password_changed.0)
    .bind(account.last_updated.0)
    .bind(account.last_login.map(|at| at.0))
    .bind(account.generated_for.map(|provider| provider.0))
    .execute(c)
    .await
    .map(drop))?;
    Ok(())
}

/// Stores a better hash of the same password, unless the password was changed meanwhile (CO-461).
///
/// # Errors
/// When the database fails.
pub async fn upgrade_hash(conn: &mut Conn, pk: UserPk, from: &str, to: &str) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("UPDATE account SET password_hash = $3 WHERE pk = $1 AND password_hash = $2")
        .bind(pk.0).bind(from).bind(to).execute(c).await.map(drop))?;
    Ok(())
}

/// Notes an interactive login.
///
/// # Errors
/// When the database fails.
pub async fn signed_in(conn: &mut Conn, pk: UserPk, now: Timestamp) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("UPDATE account SET last_login = $2 WHERE pk = $1")
        .bind(pk.0).bind(now.0).execute(c).await.map(drop))?;
    Ok(())
}

/// Deletes a user with tokens, sessions and memberships; bindings that name it become orphans (CO-038).
///
/// # Errors
/// When the database fails.
pub async fn delete(conn: &mut Conn, pk: UserPk) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("DELETE FROM account WHERE pk = $1").bind(pk.0).execute(c).await.map(drop))?;
    Ok(())
}

/// Names of the attributes that hold upstream passwords of proxy providers (CO-472).
///
/// # Errors
/// When the database fails.
pub async fn upstream_password_attributes(conn: &mut Conn) -> Result<Vec<String>, StoreError> {
    Ok(on!(conn, c => sqlx::query_scalar(
        "SELECT DISTINCT basic_auth_password_attribute FROM provider WHERE basic_auth_password_attribute <> ''",
    ).fetch_all(c).await)?)
}

/// All paths in use, in order.
///
/// # Errors
/// When the database fails.
pub async fn paths(conn: &mut Conn) -> Result<Vec<String>, StoreError> {
    Ok(on!(conn, c => sqlx::query_scalar("SELECT DISTINCT path FROM account ORDER BY path").fetch_all(c).await)?)
}
