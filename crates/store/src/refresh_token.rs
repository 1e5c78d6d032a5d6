//! Refresh tokens (OA section 10). Only digests of their values are kept.
//!
//! All that descend from one authorization are a family: they share its grant. One that was rotated stays until it would
//! have ended, so that a second use is noticed (OA-265, OA-644).

use portcullis_core::clock::Timestamp;
use portcullis_core::id::{ProviderPk, UserPk};
use portcullis_core::keys::Digest;

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, maybe};
use crate::select::{Listed, Select, Slice};

/// A refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    /// Key; given by the database, and never used again (CO-005).
    pub pk: i32,
    /// Keyed digest of the token, `Purpose::GrantLookup`.
    pub digest: Vec<u8>,
    /// What everything that descends from one authorization has in common.
    pub grant_id: String,
    /// The issuing provider.
    pub provider: ProviderPk,
    /// The user.
    pub account: UserPk,
    /// Public id of the login session that approved the grant, which it outlives (OA-269).
    pub sid: String,
    /// How the user proved who they are in that session.
    pub auth_method: String,
    /// Whether they showed a second factor.
    pub second_factor: bool,
    /// When they did.
    pub auth_time: Timestamp,
    /// Granted scopes, joined by spaces.
    pub scope: String,
    /// The subject that a mapping gave the user in what was issued last; empty for the one that the client has of them (OA-426).
    pub subject: String,
    /// When the first token of its family was issued.
    pub began: Timestamp,
    /// When it was issued.
    pub issued: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// When another one took its place.
    pub rotated: Option<Timestamp>,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
}

impl RefreshToken {
    /// Whether it can be used.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.rotated.is_none() && self.revoked.is_none() && self.expires > now
    }
}

impl Record for RefreshToken {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            pk: row.small("pk")?,
            digest: row.bytes("digest")?,
            grant_id: row.text("grant_id")?,
            provider: ProviderPk(row.small("provider")?),
            account: UserPk(row.small("account")?),
            sid: row.text("sid")?,
            auth_method: row.text("auth_method")?,
            second_factor: row.flag("second_factor")?,
            auth_time: row.instant("auth_time")?,
            scope: row.text("scope")?,
            subject: row.text("subject")?,
            began: row.instant("began")?,
            issued: row.instant("issued")?,
            expires: row.instant("expires")?,
            rotated: row.instant_or_null("rotated")?,
            revoked: row.instant_or_null("revoked")?,
        })
    }
}

/// Keeps a new refresh token, which gets a key of its own.
///
/// # Errors
/// When the database fails.
pub async fn insert(conn: &mut Conn, token: &RefreshToken) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "INSERT INTO refresh_token (digest, grant_id, provider, account, sid, auth_method, auth_time, scope, issued,
             expires, second_factor, began, subject)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    )
    .bind(&token.digest)
    .bind(&token.grant_id)
    .bind(token.provider.0)
    .bind(token.account.0)
    .bind(&token.sid)
    .bind(&token.auth_method)
    .bind(token.auth_time.0)
    .bind(&token.scope)
    .bind(token.issued.0)
    .bind(token.expires.0)
    .bind(token.second_factor)
    .bind(token.began.0)
    .bind(&token.subject)
    .execute(c).await.map(drop))?;
    Ok(())
}

/// Notes whom tokens of a grant are about, where a mapping says so; empty where it does not (OA-426).
///
/// # Errors
/// When the database fails.
pub async fn set_subject(conn: &mut Conn, grant_id: &str, subject: &str) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("UPDATE refresh_token SET subject = $2 WHERE grant_id = $1 AND subject <> $2")
        .bind(grant_id).bind(subject).execute(c).await.map(drop))?;
    Ok(())
}

/// The refresh token with this digest, in whatever state.
///
/// # Errors
/// When the database fails.
pub async fn by_digest(conn: &mut Conn, digest: &Digest) -> Result<Option<RefreshToken>, StoreError> {
    maybe(on!(conn, c => sqlx::query("SELECT * FROM refresh_token WHERE digest = $1")
        .bind(digest.as_slice()).fetch_optional(c).await))
}

/// The refresh token with this key, if it can be used.
///
/// # Errors
/// When the database fails.
pub async fn by_pk(conn: &mut Conn, pk: i32, now: Timestamp) -> Result<Option<RefreshToken>, StoreError> {
    maybe(on!(conn, c => sqlx::query(
        "SELECT * FROM refresh_token WHERE pk = $1 AND rotated IS NULL AND revoked IS NULL AND expires > $2",
    ).bind(pk).bind(now.0).fetch_optional(c).await))
}

/// Notes that another one takes a token's place: exactly one of several callers is told so (OA-266).
///
/// # Errors
/// When the database fails.
pub async fn rotate(conn: &mut Conn, pk: i32, now: Timestamp) -> Result<bool, StoreError> {
    Ok(on!(conn, c => sqlx::query(
        "UPDATE refresh_token SET rotated = $2
         WHERE pk = $1 AND rotated IS NULL AND revoked IS NULL AND expires > $2",
    ).bind(pk).bind(now.0).execute(c).await.map(|done| done.rows_affected() == 1))?)
}

/// Keeps the newest `keep` of the tokens of a family that were rotated: older ones are unknown from then on.
///
/// # Errors
/// When the database fails.
pub async fn bound_family(conn: &mut Conn, grant_id: &str, keep: i64) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "DELETE FROM refresh_token WHERE pk IN (
             SELECT pk FROM refresh_token WHERE grant_id = $1 AND rotated IS NOT NULL
             ORDER BY pk DESC LIMIT 1000 OFFSET $2)",
    ).bind(grant_id).bind(keep).execute(c).await.map(drop))?;
    Ok(())
}

/// Grants of a user at a provider that go on, beyond the `keep` that were used last: for the caller to revoke. Of tokens
/// that were revoked only the newest `keep` are kept.
///
/// # Errors
/// When the database fails.
pub async fn bound_families(
    conn: &mut Conn,
    account: UserPk,
    provider: ProviderPk,
    keep: i64,
) -> Result<Vec<String>, StoreError> {
    Ok(on!(conn, c => {
        sqlx::query(
            "DELETE FROM refresh_token WHERE pk IN (
                 SELECT pk FROM refresh_token WHERE account = $1 AND provider = $2 AND revoked IS NOT NULL
                 ORDER BY pk DESC LIMIT 1000 OFFSET $3)",
        ).bind(account.0).bind(provider.0).bind(keep).execute(&mut *c).await?;
        sqlx::query_scalar(
            "SELECT grant_id FROM refresh_token
             WHERE account = $1 AND provider = $2 AND rotated IS NULL AND revoked IS NULL
             ORDER BY pk DESC LIMIT 1000 OFFSET $3",
        ).bind(account.0).bind(provider.0).bind(keep).fetch_all(c).await
    })?)
}

/// Grants of a login session at a provider that go on without it.
///
/// # Errors
/// When the database fails.
pub async fn grants_of_session(
    conn: &mut Conn,
    sid: &str,
    provider: ProviderPk,
    now: Timestamp,
) -> Result<Vec<String>, StoreError> {
    Ok(on!(conn, c => sqlx::query_scalar(
        "SELECT DISTINCT grant_id FROM refresh_token
         WHERE sid = $1 AND provider = $2 AND revoked IS NULL AND expires > $3",
    ).bind(sid).bind(provider.0).bind(now.0).fetch_all(c).await)?)
}

/// Conditions on a list of refresh tokens (OA-645). Absent and empty conditions hold for every one.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The user.
    pub account: Option<UserPk>,
    /// The provider.
    pub provider: Option<ProviderPk>,
    /// Terms that must occur in the user name or the provider's name (CO-525).
    pub search: String,
    /// Order; `true` for descending. Ties are broken by key.
    pub order: Vec<(Order, bool)>,
}

/// What refresh tokens can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub enum Order {
    Pk,
    User,
    Provider,
    Expires,
}

impl Filter {
    /// Its conditions on a table that names a user and a provider in each row, on `usable`, and on the end.
    pub(crate) fn select(&self, table: &str, usable: &str, now: Timestamp) -> Select {
        let mut select = Select::default();
        select.integer(&format!("{usable} AND expires > ?"), now.0);
        if let Some(account) = self.account {
            select.integer("account = ?", account.0.into());
        }
        if let Some(provider) = self.provider {
            select.integer("provider = ?", provider.0.into());
        }
        let name = |column: &str, of: &str| format!("(SELECT {column} FROM {of} WHERE {of}.pk = {table}.{of})");
        select.search(&[&name("username", "account"), &name("name", "provider")], &self.search);
        for (order, descending) in &self.order {
            let column = match order {
                Order::Pk => "pk",
                Order::User => "account",
                Order::Provider => "provider",
                Order::Expires => "expires",
            };
            select.order(column, *descending);
        }
        select.order("pk", false);
        select
    }
}

/// The refresh tokens that meet conditions and can be used.
///
/// # Errors
/// When the database fails.
pub async fn list(
    conn: &mut Conn,
    filter: &Filter,
    now: Timestamp,
    slice: Slice,
) -> Result<Listed<RefreshToken>, StoreError> {
    let table = "refresh_token";
    filter.select(table, "rotated IS NULL AND revoked IS NULL", now).list(conn, table, slice).await
}

/// Removes what has ended by `now`, at most `limit`; tells how many.
///
/// # Errors
/// When the database fails.
pub async fn sweep(conn: &mut Conn, now: Timestamp, limit: i64) -> Result<u64, StoreError> {
    Ok(on!(conn, c => sqlx::query(
        "DELETE FROM refresh_token WHERE pk IN (SELECT pk FROM refresh_token WHERE expires <= $1 LIMIT $2)",
    ).bind(now.0).bind(limit).execute(c).await.map(|done| done.rows_affected()))?)
}
