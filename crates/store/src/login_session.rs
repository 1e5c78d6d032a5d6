//! Signed-in browsers at the identity provider (CO section 13).

use portcullis_core::clock::Timestamp;
use portcullis_core::id::UserPk;
use portcullis_core::keys::Digest;
use uuid::Uuid;

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, many, maybe};

/// A signed-in browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginSession {
    /// Keyed digest of the cookie's value, `Purpose::SessionLookup`.
    pub digest: Vec<u8>,
    /// Key of the record in the API.
    pub uuid: Uuid,
    /// What tokens and outposts know it by (OA-455).
    pub sid: String,
    /// Who is signed in.
    pub account: UserPk,
    /// When they proved who they are.
    pub auth_time: Timestamp,
    /// How they did, as in CO-305.
    pub auth_method: String,
    /// When it began.
    pub created: Timestamp,
    /// When it ends however much it is used.
    pub expires: Timestamp,
    /// When it ends unless it is used before.
    pub idle_expires: Timestamp,
    /// When it was last used, to the minute.
    pub last_used: Timestamp,
    /// The address it was last used from.
    pub last_ip: String,
    /// The browser, as it names itself.
    pub user_agent: String,
}

impl Record for LoginSession {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            digest: row.bytes("digest")?,
            uuid: row.parsed("uuid")?,
            sid: row.text("sid")?,
            account: UserPk(row.small("account")?),
            auth_time: row.instant("auth_time")?,
            auth_method: row.text("auth_method")?,
            created: row.instant("created")?,
            expires: row.instant("expires")?,
            idle_expires: row.instant("idle_expires")?,
            last_used: row.instant("last_used")?,
            last_ip: row.text("last_ip")?,
            user_agent: row.text("user_agent")?,
        })
    }
}

/// The session with this cookie, if it has not ended by `now`.
///
/// # Errors
/// When the database fails.
pub async fn by_digest(conn: &mut Conn, digest: &Digest, now: Timestamp) -> Result<Option<LoginSession>, StoreError> {
    maybe(on!(conn, c => sqlx::query(
        "SELECT * FROM login_session WHERE digest = $1 AND expires > $2 AND idle_expires > $2",
    ).bind(digest.as_slice()).bind(now.0).fetch_optional(c).await))
}

/// The session with this public id, if it has not ended by `now`.
///
/// # Errors
/// When the database fails.
pub async fn by_sid(conn: &mut Conn, sid: &str, now: Timestamp) -> Result<Option<LoginSession>, StoreError> {
    maybe(on!(conn, c => sqlx::query(
        "SELECT * FROM login_session WHERE sid = $1 AND expires > $2 AND idle_expires > $2",
    ).bind(sid).bind(now.0).fetch_optional(c).await))
}

/// All sessions of a user, ended ones included.
///
/// # Errors
/// When the database fails.
pub async fn of_account(conn: &mut Conn, account: UserPk) -> Result<Vec<LoginSession>, StoreError> {
    many(on!(conn, c => sqlx::query("SELECT * FROM login_session WHERE account = $1 ORDER BY created")
        .bind(account.0).fetch_all(c).await))
}

/// Sessions that have ended by `now`, at most `limit`.
///
/// # Errors
/// When the database fails.
pub async fn ended(conn: &mut Conn, now: Timestamp, limit: i64) -> Result<Vec<LoginSession>, StoreError> {
    many(on!(conn, c => sqlx::query(
        "SELECT * FROM login_session WHERE expires <= $1 OR idle_expires <= $1 LIMIT $2",
    ).bind(now.0).bind(limit).fetch_all(c).await))
}

/// Keeps a new session.
///
/// # Errors
/// When the database fails.
pub async fn insert(conn: &mut Conn, session: &LoginSession) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "INSERT INTO login_session (digest, uuid, sid, account, auth_time, auth_method, created, expires,
             idle_expires, last_used, last_ip, user_agent)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(&session.digest)
    .bind(session.uuid.to_string())
    .bind(&session.sid)
    .bind(session.account.0)
    .bind(session.auth_time.0)
    .bind(&session.auth_method)
    .bind(session.created.0)
    .bind(session.expires.0)
    .bind(session.idle_expires.0)
    .bind(session.last_used.0)
    .bind(&session.last_ip)
    .bind(&session.user_agent)
    .execute(c)
    .await
    .map(drop))?;
    Ok(())
}

/// Notes a use and moves the idle end.
///
/// # Errors
/// When the database fails.
pub async fn used(
    conn: &mut Conn,
    digest: &Digest,
    now: Timestamp,
    idle_expires: Timestamp,
    from: &str,
) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "UPDATE login_session SET last_used = $2, idle_expires = $3, last_ip = $4 WHERE digest = $1",
    ).bind(digest.as_slice()).bind(now.0).bind(idle_expires.0).bind(from).execute(c).await.map(drop))?;
    Ok(())
}

/// Ends a session with all that came from it: unredeemed codes, access tokens, data-plane sessions
/// (CO-323, CO-385). Tells whether there was one.
///
/// # Errors
/// When the database fails.
pub async fn end(conn: &mut Conn, sid: &str, now: Timestamp) -> Result<bool, StoreError> {
    on!(conn, c => sqlx::query("UPDATE access_token SET revoked = $2 WHERE sid = $1 AND revoked IS NULL")
        .bind(sid).bind(now.0).execute(c).await.map(drop))?;
    on!(conn, c => sqlx::query("DELETE FROM authorization_code WHERE sid = $1 AND consumed IS NULL")
        .bind(sid).execute(c).await.map(drop))?;
    on!(conn, c => sqlx::query("DELETE FROM proxy_session WHERE sid = $1 AND sid <> ''")
        .bind(sid).execute(c).await.map(drop))?;
    Ok(on!(conn, c => sqlx::query("DELETE FROM login_session WHERE sid = $1")
        .bind(sid).execute(c).await.map(|done| done.rows_affected()))?
        > 0)
}
