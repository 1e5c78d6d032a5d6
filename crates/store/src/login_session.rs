//! Signed-in browsers at the identity provider (CO section 13).

use portcullis_core::clock::Timestamp;
use portcullis_core::id::{ApplicationId, UserPk};
use portcullis_core::keys::Digest;
use uuid::Uuid;

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, many, maybe};
use crate::select::{Listed, Select, Slice};

/// A signed-in browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginSession {
    /// Keyed digest of the cookie's value, `Purpose::SessionLookup`.
    pub digest: Vec<u8>,
    /// Key of the record.
    pub uuid: Uuid,
    /// Public id: what tokens and outposts know the session by.
    pub sid: String,
    /// Who signed in.
    pub account: UserPk,
    /// When they proved who they are.
    pub auth_time: Timestamp,
    /// How they proved it: `password`, `auth_webauthn_pwl`.
    pub auth_method: String,
    /// When they showed a second factor.
    pub second_factor: Option<Timestamp>,
    /// When the session was made.
    pub created: Timestamp,
    /// Absolute end.
    pub expires: Timestamp,
    /// Ends when it is not used for so many seconds.
    pub idle_seconds: i64,
    /// End unless used before.
    pub idle_expires: Timestamp,
    /// Last use, written at most once a minute.
    pub last_used: Timestamp,
    /// Address of the last use.
    pub last_ip: String,
    /// The browser, as it calls itself.
    pub user_agent: String,
    /// The application that the browser was on its way to when it signed in. It may be gone.
    pub application: Option<ApplicationId>,
    /// How far it is bound to its browser's network (CO-386): `no_binding`, `bind_asn` and further ones.
    pub network_binding: String,
    /// How far it is bound to where its browser is: `no_binding`, `bind_continent` and further ones.
    pub geoip_binding: String,
    /// Who acts as the account in this session, if that is somebody else (CO-388).
    pub impersonator: Option<UserPk>,
    /// Public id of the session that they come from, which rests meanwhile.
    pub impersonator_sid: Option<String>,
    /// Whom the account acts as in another session, while this one rests.
    pub acting_as: Option<UserPk>,
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
            second_factor: row.instant_or_null("second_factor")?,
            created: row.instant("created")?,
            expires: row.instant("expires")?,
            idle_seconds: row.integer("idle_seconds")?,
            idle_expires: row.instant("idle_expires")?,
            last_used: row.instant("last_used")?,
            last_ip: row.text("last_ip")?,
            user_agent: row.text("user_agent")?,
            application: row.parsed_or_null("application")?.map(ApplicationId),
            network_binding: row.text("network_binding")?,
            geoip_binding: row.text("geoip_binding")?,
            impersonator: row.small_or_null("impersonator")?.map(UserPk),
            impersonator_sid: row.text_or_null("impersonator_sid")?,
            acting_as: row.small_or_null("acting_as")?.map(UserPk),
        })
    }
}

/// The session with this cookie, unless it has ended by `now`.
///
/// # Errors
/// When the database fails.
pub async fn by_digest(conn: &mut Conn, digest: &Digest, now: Timestamp) -> Result<Option<LoginSession>, StoreError> {
    maybe(on!(conn, c => sqlx::query(
        "SELECT * FROM login_session WHERE digest = $1 AND expires > $2 AND idle_expires > $2",
    ).bind(digest.as_slice()).bind(now.0).fetch_optional(c).await))
}

/// The session with this public id, unless it has ended by `now`.
///
/// # Errors
/// When the database fails.
pub async fn by_sid(conn: &mut Conn, sid: &str, now: Timestamp) -> Result<Option<LoginSession>, StoreError> {
    maybe(on!(conn, c => sqlx::query(
        "SELECT * FROM login_session WHERE sid = $1 AND expires > $2 AND idle_expires > $2",
    ).bind(sid).bind(now.0).fetch_optional(c).await))
}

/// Keeps a new session.
///
/// # Errors
/// When the database fails.
pub async fn insert(conn: &mut Conn, session: &LoginSession) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "INSERT INTO login_session (digest, uuid, sid, account, auth_time, auth_method, created, expires, idle_expires,
             last_used, last_ip, user_agent, second_factor, idle_seconds, impersonator, impersonator_sid, acting_as,
             network_binding, geoip_binding, application)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)",
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
    .bind(session.second_factor.map(|at| at.0))
    .bind(session.idle_seconds)
    .bind(session.impersonator.map(|user| user.0))
    .bind(&session.impersonator_sid)
    .bind(session.acting_as.map(|user| user.0))
    .bind(&session.network_binding)
    .bind(&session.geoip_binding)
    .bind(session.application.map(|application| application.to_string()))
    .execute(c).await.map(drop))?;
    Ok(())
}

/// Notes a use and moves the idle end.
///
/// # Errors
/// When the database fails.
pub async fn used(
    conn: &mut Conn,
    sid: &str,
    now: Timestamp,
    from: &str,
    idle_expires: Timestamp,
) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "UPDATE login_session SET last_used = $2, last_ip = $3, idle_expires = $4 WHERE sid = $1 AND last_used < $2",
    ).bind(sid).bind(now.0).bind(from).bind(idle_expires.0).execute(c).await.map(drop))?;
    Ok(())
}

/// Gives a session another cookie, and notes whom its user acts as elsewhere meanwhile (CO-384, CO-388).
///
/// # Errors
/// When the database fails.
pub async fn renew(conn: &mut Conn, sid: &str, digest: &Digest, acting_as: Option<UserPk>) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("UPDATE login_session SET digest = $2, acting_as = $3 WHERE sid = $1")
        .bind(sid).bind(digest.as_slice()).bind(acting_as.map(|user| user.0)).execute(c).await.map(drop))?;
    Ok(())
}

/// Sessions in which somebody acts as somebody else, and those that rest meanwhile, whether ended or not.
///
/// # Errors
/// When the database fails.
pub async fn impersonations(conn: &mut Conn) -> Result<Vec<LoginSession>, StoreError> {
    many(on!(conn, c => sqlx::query(
        "SELECT * FROM login_session WHERE impersonator_sid IS NOT NULL OR acting_as IS NOT NULL",
    ).fetch_all(c).await))
}

/// Removes a session. Tells whether there was one.
///
/// # Errors
/// When the database fails.
pub async fn delete(conn: &mut Conn, sid: &str) -> Result<bool, StoreError> {
    let removed = on!(conn, c => sqlx::query("DELETE FROM login_session WHERE sid = $1")
        .bind(sid).execute(c).await.map(|done| done.rows_affected()))?;
    Ok(removed > 0)
}

/// Removes a user's sessions except one, and returns the public ids of those removed.
///
/// # Errors
/// When the database fails.
pub async fn delete_of_account(conn: &mut Conn, account: UserPk, except: &str) -> Result<Vec<String>, StoreError> {
    Ok(on!(conn, c => sqlx::query_scalar("DELETE FROM login_session WHERE account = $1 AND sid <> $2 RETURNING sid")
        .bind(account.0).bind(except).fetch_all(c).await)?)
}

/// A user's sessions that have not ended by `now`, newest first.
///
/// # Errors
/// When the database fails.
pub async fn of_account(conn: &mut Conn, account: UserPk, now: Timestamp) -> Result<Vec<LoginSession>, StoreError> {
    many(on!(conn, c => sqlx::query(
        "SELECT * FROM login_session WHERE account = $1 AND expires > $2 AND idle_expires > $2
         ORDER BY created DESC, uuid",
    ).bind(account.0).bind(now.0).fetch_all(c).await))
}

/// The session with this key, unless it has ended by `now`.
///
/// # Errors
/// When the database fails.
pub async fn by_uuid(conn: &mut Conn, uuid: Uuid, now: Timestamp) -> Result<Option<LoginSession>, StoreError> {
    maybe(on!(conn, c => sqlx::query(
        "SELECT * FROM login_session WHERE uuid = $1 AND expires > $2 AND idle_expires > $2",
    ).bind(uuid.to_string()).bind(now.0).fetch_optional(c).await))
}

/// Conditions on a list of sessions (CO-554). Absent and empty conditions hold for every session.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Who signed in.
    pub account: Option<UserPk>,
    /// The user name of whoever signed in.
    pub username: Option<String>,
    /// Address of the last use.
    pub last_ip: Option<String>,
    /// The browser, as it calls itself.
    pub user_agent: Option<String>,
    /// Terms that must occur in user name, address or browser (CO-525).
    pub search: String,
    /// Order; `true` for descending. Ties are broken by key.
    pub order: Vec<(Order, bool)>,
}

/// What sessions can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub enum Order {
    Uuid,
    User,
    Username,
    LastIp,
    UserAgent,
    LastUsed,
    Expires,
}

const USERNAME: &str = "(SELECT username FROM account WHERE account.pk = login_session.account)";

/// The sessions that meet conditions and have not ended by `now`.
///
/// # Errors
/// When the database fails.
pub async fn list(
    conn: &mut Conn,
    filter: &Filter,
    now: Timestamp,
    slice: Slice,
) -> Result<Listed<LoginSession>, StoreError> {
    let mut select = Select::keyed("uuid");
    select.integer("expires > ?", now.0);
    select.integer("idle_expires > ?", now.0);
    if let Some(account) = filter.account {
        select.integer("account = ?", account.0.into());
    }
    if let Some(username) = &filter.username {
        select.text(
            "EXISTS (SELECT 1 FROM account WHERE account.pk = login_session.account AND account.username_folded = ?)",
            portcullis_core::username::fold(username),
        );
    }
    if let Some(last_ip) = &filter.last_ip {
        select.text("last_ip = ?", last_ip);
    }
    if let Some(user_agent) = &filter.user_agent {
        select.text("user_agent = ?", user_agent);
    }
    select.search(&[USERNAME, "last_ip", "user_agent"], &filter.search);
    for (order, descending) in &filter.order {
        let column = match order {
            Order::Uuid => "uuid",
            Order::User => "account",
            Order::Username => USERNAME,
            Order::LastIp => "last_ip",
            Order::UserAgent => "user_agent",
            Order::LastUsed => "last_used",
            Order::Expires => "idle_expires",
        };
        select.order(column, *descending);
    }
    select.order("login_session.uuid", false);
    select.list(conn, "login_session", slice).await
}

/// Removes sessions that have ended by `now`, at most `limit`, and returns their public ids.
///
/// # Errors
/// When the database fails.
pub async fn sweep(conn: &mut Conn, now: Timestamp, limit: i64) -> Result<Vec<String>, StoreError> {
    Ok(on!(conn, c => sqlx::query_scalar(
        "DELETE FROM login_session WHERE sid IN (
             SELECT sid FROM login_session WHERE expires <= $1 OR idle_expires <= $1 LIMIT $2) RETURNING sid",
    ).bind(now.0).bind(limit).fetch_all(c).await)?)
}
