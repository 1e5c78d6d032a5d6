//! Which clients were told of a session, and the notices of its end that are under way (OA-556, OA-558).

use portcullis_core::clock::Timestamp;
use portcullis_core::id::{ProviderPk, UserPk};

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, many};

/// What a client knows of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpSession {
    /// Public id of the session.
    pub sid: String,
    /// The client.
    pub provider: ProviderPk,
    /// The user.
    pub account: UserPk,
    /// `iss` of what it was told by.
    pub iss: String,
    /// `sub` of that.
    pub sub: String,
}

impl Record for RpSession {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            sid: row.text("sid")?,
            provider: ProviderPk(row.small("provider")?),
            account: UserPk(row.small("account")?),
            iss: row.text("iss")?,
            sub: row.text("sub")?,
        })
    }
}

/// A notice that a client is to get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Its key.
    pub pk: i64,
    /// The client.
    pub provider: ProviderPk,
    /// Public id of the session that ended.
    pub sid: String,
    /// `iss` that the client knows.
    pub iss: String,
    /// `sub` that the client knows.
    pub sub: String,
    /// How often it was tried.
    pub attempts: i32,
}

impl Record for Notice {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            pk: row.integer("pk")?,
            provider: ProviderPk(row.small("provider")?),
            sid: row.text("sid")?,
            iss: row.text("iss")?,
            sub: row.text("sub")?,
            attempts: row.small("attempts")?,
        })
    }
}

/// Notes that a client was told of a session.
///
/// # Errors
/// When the database fails.
pub async fn remember(conn: &mut Conn, told: &RpSession) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "INSERT INTO rp_session (sid, provider, account, iss, sub) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (sid, provider) DO UPDATE SET iss = $4, sub = $5",
    )
    .bind(&told.sid)
    .bind(told.provider.0)
    .bind(told.account.0)
    .bind(&told.iss)
    .bind(&told.sub)
    .execute(c)
    .await
    .map(drop))?;
    Ok(())
}

/// The clients that were told of a session, at most `limit`.
///
/// # Errors
/// When the database fails.
pub async fn of_session(conn: &mut Conn, sid: &str, limit: i64) -> Result<Vec<RpSession>, StoreError> {
    many(on!(conn, c => sqlx::query("SELECT * FROM rp_session WHERE sid = $1 ORDER BY provider LIMIT $2")
        .bind(sid).bind(limit).fetch_all(c).await))
}

/// A session ends, at one client if given: who was told of it gets a notice if it wants one that way, and nobody is
/// remembered.
///
/// # Errors
/// When the database fails.
pub async fn ended(conn: &mut Conn, sid: &str, provider: Option<ProviderPk>, now: Timestamp) -> Result<(), StoreError> {
    let provider = provider.map(|pk| pk.0);
    on!(conn, c => {
        sqlx::query(
            "INSERT INTO logout_notice (provider, sid, iss, sub, attempts, due)
             SELECT rp_session.provider, rp_session.sid, rp_session.iss, rp_session.sub, 0, $2
             FROM rp_session JOIN provider ON provider.pk = rp_session.provider
             WHERE rp_session.sid = $1 AND ($3 IS NULL OR rp_session.provider = $3)
                 AND provider.logout_uri <> '' AND provider.logout_method = 'backchannel'",
        ).bind(sid).bind(now.0).bind(provider).execute(&mut *c).await?;
        sqlx::query("DELETE FROM rp_session WHERE sid = $1 AND ($2 IS NULL OR provider = $2)")
            .bind(sid).bind(provider).execute(c).await.map(drop)
    })?;
    Ok(())
}

/// The same for all sessions of a user but `keep`.
///
/// # Errors
/// When the database fails.
pub async fn ended_of_account(conn: &mut Conn, account: UserPk, keep: &str, now: Timestamp) -> Result<(), StoreError> {
    on!(conn, c => {
        sqlx::query(
            "INSERT INTO logout_notice (provider, sid, iss, sub, attempts, due)
             SELECT rp_session.provider, rp_session.sid, rp_session.iss, rp_session.sub, 0, $3
             FROM rp_session JOIN provider ON provider.pk = rp_session.provider
             WHERE rp_session.account = $1 AND rp_session.sid <> $2
                 AND provider.logout_uri <> '' AND provider.logout_method = 'backchannel'",
        ).bind(account.0).bind(keep).bind(now.0).execute(&mut *c).await?;
        sqlx::query("DELETE FROM rp_session WHERE account = $1 AND sid <> $2")
            .bind(account.0).bind(keep).execute(c).await.map(drop)
    })?;
    Ok(())
}

/// Notices that are due by `now`: at most `each` of one client, so that one that is silent keeps nobody waiting, and at
/// most `limit`.
///
/// # Errors
/// When the database fails.
pub async fn due(conn: &mut Conn, now: Timestamp, each: i64, limit: i64) -> Result<Vec<Notice>, StoreError> {
    many(on!(conn, c => sqlx::query(
        "SELECT pk, provider, sid, iss, sub, attempts FROM (
             SELECT pk, provider, sid, iss, sub, attempts, due,
                 ROW_NUMBER() OVER (PARTITION BY provider ORDER BY due, pk) AS turn
             FROM logout_notice WHERE due <= $1) AS waiting
         WHERE turn <= $2 ORDER BY due, pk LIMIT $3",
    ).bind(now.0).bind(each).bind(limit).fetch_all(c).await))
}

/// Takes a notice to be tried now, and again at `again` unless it is [`done`] by then: exactly one of several callers gets
/// it.
///
/// # Errors
/// When the database fails.
pub async fn take(conn: &mut Conn, notice: &Notice, again: Timestamp) -> Result<bool, StoreError> {
    Ok(on!(conn, c => sqlx::query(
        "UPDATE logout_notice SET attempts = attempts + 1, due = $3 WHERE pk = $1 AND attempts = $2",
    ).bind(notice.pk).bind(notice.attempts).bind(again.0).execute(c).await.map(|done| done.rows_affected() == 1))?)
}

/// Forgets a notice.
///
/// # Errors
/// When the database fails.
pub async fn done(conn: &mut Conn, pk: i64) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("DELETE FROM logout_notice WHERE pk = $1").bind(pk).execute(c).await.map(drop))?;
    Ok(())
}
