//! Authorization codes and access tokens (OA section 22). Only digests of their values are kept.

pub mod descent;

use portcullis_core::clock::Timestamp;
use portcullis_core::id::{ProviderPk, SourceId, UserPk};
use portcullis_core::keys::Digest;

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, maybe};

/// An authorization code (OA-177).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationCode {
    /// Keyed digest of the code, `Purpose::GrantLookup`.
    pub digest: Vec<u8>,
    /// What everything that descends from this authorization has in common.
    pub grant_id: String,
    /// The client.
    pub provider: ProviderPk,
    /// The user.
    pub account: UserPk,
    /// Public id of the login session.
    pub sid: String,
    /// The redirect URI, exactly as requested.
    pub redirect_uri: String,
    /// Granted scopes, joined by spaces.
    pub scope: String,
    /// Nonce of the request.
    pub nonce: Option<String>,
    /// PKCE code challenge.
    pub challenge: Option<String>,
    /// `S256` or `plain`.
    pub challenge_method: Option<String>,
    /// When the user proved who they are.
    pub auth_time: Timestamp,
    /// When the code ends.
    pub expires: Timestamp,
    /// When it was used.
    pub consumed: Option<Timestamp>,
}

impl Record for AuthorizationCode {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            digest: row.bytes("digest")?,
            grant_id: row.text("grant_id")?,
            provider: ProviderPk(row.small("provider")?),
            account: UserPk(row.small("account")?),
            sid: row.text("sid")?,
            redirect_uri: row.text("redirect_uri")?,
            scope: row.text("scope")?,
            nonce: row.text_or_null("nonce")?,
            challenge: row.text_or_null("challenge")?,
            challenge_method: row.text_or_null("challenge_method")?,
            auth_time: row.instant("auth_time")?,
            expires: row.instant("expires")?,
            consumed: row.instant_or_null("consumed")?,
        })
    }
}

/// Keeps a new code.
///
/// # Errors
/// When the database fails.
pub async fn insert_code(conn: &mut Conn, code: &AuthorizationCode) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "INSERT INTO authorization_code (digest, grant_id, provider, account, sid, redirect_uri, scope, nonce,
             challenge, challenge_method, auth_time, expires)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(&code.digest)
    .bind(&code.grant_id)
    .bind(code.provider.0)
    .bind(code.account.0)
    .bind(&code.sid)
    .bind(&code.redirect_uri)
    .bind(&code.scope)
    .bind(&code.nonce)
    .bind(&code.challenge)
    .bind(&code.challenge_method)
    .bind(code.auth_time.0)
    .bind(code.expires.0)
    .execute(c).await.map(drop))?;
    Ok(())
}

/// Uses a client's code up, if it can be used: exactly one of several callers gets it (OA-244).
///
/// # Errors
/// When the database fails.
pub async fn consume_code(
    conn: &mut Conn,
    digest: &Digest,
    provider: ProviderPk,
    now: Timestamp,
) -> Result<Option<AuthorizationCode>, StoreError> {
    maybe(on!(conn, c => sqlx::query(
        "UPDATE authorization_code SET consumed = $3
         WHERE digest = $1 AND provider = $2 AND consumed IS NULL AND expires > $3 RETURNING *",
    ).bind(digest.as_slice()).bind(provider.0).bind(now.0).fetch_optional(c).await))
}

/// The code with this digest, used or not.
///
/// # Errors
/// When the database fails.
pub async fn code_by_digest(conn: &mut Conn, digest: &Digest) -> Result<Option<AuthorizationCode>, StoreError> {
    maybe(on!(conn, c => sqlx::query("SELECT * FROM authorization_code WHERE digest = $1")
        .bind(digest.as_slice()).fetch_optional(c).await))
}

/// An access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken {
    /// Keyed digest of the token, `Purpose::GrantLookup`.
    pub digest: Vec<u8>,
    /// Its id.
    pub jti: String,
    /// What everything that descends from one authorization has in common.
    pub grant_id: String,
    /// The issuing provider.
    pub provider: ProviderPk,
    /// The user.
    pub account: UserPk,
    /// Public id of the login session it dies with.
    pub sid: Option<String>,
    /// Id of the app password it was obtained with, and dies with.
    pub app_password: Option<String>,
    /// Which key that app password had.
    pub app_password_key: Option<String>,
    /// Public id of the login session that the token it was traded for dies with; it dies then, too.
    pub traded_sid: Option<String>,
    /// Id of the token that it was traded for, if it was; it dies with that.
    pub traded_jti: Option<String>,
    /// Id of the token that who acts for its user brought; it dies with that, too (OA-738).
    pub actor_jti: Option<String>,
    /// The source that vouched for its user.
    pub source: Option<SourceId>,
    /// The provider that believed it: another one's, if the token was traded since.
    pub source_at: Option<ProviderPk>,
    /// Who acts for its user, if they have an account; it is gone when they are (OA-738).
    pub actor: Option<UserPk>,
    /// Granted scopes, joined by spaces.
    pub scope: String,
    /// The complete claims as JSON, sealed for `access_token:<jti>:claims`.
    pub claims_sealed: Vec<u8>,
    /// The claims of the assertion that it was issued for as JSON, sealed for `access_token:<jti>:assertion`.
    pub assertion_sealed: Option<Vec<u8>>,
    /// Names of the groups that its user was a direct member of when it was issued.
    pub groups: Vec<String>,
    /// When it was issued.
    pub issued: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
}

impl Record for AccessToken {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            digest: row.bytes("digest")?,
            jti: row.text("jti")?,
            grant_id: row.text("grant_id")?,
            provider: ProviderPk(row.small("provider")?),
            account: UserPk(row.small("account")?),
            sid: row.text_or_null("sid")?,
            app_password: row.text_or_null("app_password")?,
            app_password_key: row.text_or_null("app_password_key")?,
            traded_sid: row.text_or_null("traded_sid")?,
            traded_jti: row.text_or_null("traded_jti")?,
            actor_jti: row.text_or_null("actor_jti")?,
            source: row.parsed_or_null("source")?,
            source_at: row.small_or_null("source_at")?.map(ProviderPk),
            actor: row.small_or_null("actor")?.map(UserPk),
            scope: row.text("scope")?,
            claims_sealed: row.bytes("claims_sealed")?,
            assertion_sealed: row.bytes_or_null("assertion_sealed")?,
            groups: serde_json::from_value(row.json("group_names")?).unwrap_or_default(),
            issued: row.instant("issued")?,
            expires: row.instant("expires")?,
            revoked: row.instant_or_null("revoked")?,
        })
    }
}

/// Keeps a new access token.
///
/// # Errors
/// When the database fails.
pub async fn insert_token(conn: &mut Conn, token: &AccessToken) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "INSERT INTO access_token (digest, jti, grant_id, provider, account, sid, app_password, app_password_key,
             scope, claims_sealed, issued, expires, traded_sid, source,
             source_at, assertion_sealed, group_names, actor, traded_jti, actor_jti)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)",
    )
    .bind(&token.digest)
    .bind(&token.jti)
    .bind(&token.grant_id)
    .bind(token.provider.0)
    .bind(token.account.0)
    .bind(&token.sid)
    .bind(&token.app_password)
    .bind(&token.app_password_key)
    .bind(&token.scope)
    .bind(&token.claims_sealed)
    .bind(token.issued.0)
    .bind(token.expires.0)
    .bind(&token.traded_sid)
    .bind(token.source.map(|pk| pk.to_string()))
    .bind(token.source_at.map(|pk| pk.0))
    .bind(&token.assertion_sealed)
    .bind(serde_json::json!(token.groups).to_string())
    .bind(token.actor.map(|pk| pk.0))
    .bind(&token.traded_jti)
    .bind(&token.actor_jti)
    .execute(c).await.map(drop))?;
    Ok(())
}

/// The access token with this digest, in whatever state.
///
/// # Errors
/// When the database fails.
pub async fn token_by_digest(conn: &mut Conn, digest: &Digest) -> Result<Option<AccessToken>, StoreError> {
    maybe(on!(conn, c => sqlx::query("SELECT * FROM access_token WHERE digest = $1")
        .bind(digest.as_slice()).fetch_optional(c).await))
}

/// The access token with this id, in whatever state.
///
/// # Errors
/// When the database fails.
pub async fn token_by_jti(conn: &mut Conn, jti: &str) -> Result<Option<AccessToken>, StoreError> {
    maybe(on!(conn, c => sqlx::query("SELECT * FROM access_token WHERE jti = $1").bind(jti).fetch_optional(c).await))
}

/// Revokes one access token.
///
/// # Errors
/// When the database fails.
pub async fn revoke_token(conn: &mut Conn, jti: &str, now: Timestamp) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("UPDATE access_token SET revoked = $2 WHERE jti = $1 AND revoked IS NULL")
        .bind(jti).bind(now.0).execute(c).await.map(drop))?;
    Ok(())
}

/// Revokes everything that descends from one authorization; the ids of the access tokens that were alive.
///
/// # Errors
/// When the database fails.
pub async fn revoke_grant(conn: &mut Conn, grant_id: &str, now: Timestamp) -> Result<Vec<String>, StoreError> {
    Ok(on!(conn, c => {
        sqlx::query("UPDATE refresh_token SET revoked = $2 WHERE grant_id = $1 AND revoked IS NULL")
            .bind(grant_id).bind(now.0).execute(&mut *c).await?;
        sqlx::query_scalar(
            "UPDATE access_token SET revoked = $2 WHERE grant_id = $1 AND revoked IS NULL RETURNING jti",
        ).bind(grant_id).bind(now.0).fetch_all(c).await
    })?)
}

/// Revokes all tokens of a login session, at one provider if given; the ids of what was alive.
///
/// # Errors
/// When the database fails.
pub async fn revoke_of_session(
    conn: &mut Conn,
    sid: &str,
    provider: Option<ProviderPk>,
    now: Timestamp,
) -> Result<Vec<String>, StoreError> {
    Ok(on!(conn, c => sqlx::query_scalar(
        "UPDATE access_token SET revoked = $2
         WHERE sid = $1 AND revoked IS NULL AND ($3 IS NULL OR provider = $3) RETURNING jti",
    ).bind(sid).bind(now.0).bind(provider.map(|pk| pk.0)).fetch_all(c).await)?)
}

/// Removes the oldest tokens of a user at a provider that have no session, beyond `keep`; their ids (OA-649).
///
/// # Errors
/// When the database fails.
pub async fn bound_sessionless(
    conn: &mut Conn,
    account: UserPk,
    provider: ProviderPk,
    keep: i64,
) -> Result<Vec<String>, StoreError> {
    Ok(on!(conn, c => sqlx::query_scalar(
        "DELETE FROM access_token WHERE jti IN (
             SELECT jti FROM access_token
             WHERE account = $1 AND provider = $2 AND sid IS NULL AND revoked IS NULL
             ORDER BY issued DESC, jti LIMIT 1000 OFFSET $3) RETURNING jti",
    ).bind(account.0).bind(provider.0).bind(keep).fetch_all(c).await)?)
}

/// Removes tokens that have ended by `now`, and codes that ended before `codes_before`, at most `limit` of each
/// (OA-245, OA-643). Tells how many of the kind that had more.
///
/// # Errors
/// When the database fails.
pub async fn sweep(conn: &mut Conn, now: Timestamp, codes_before: Timestamp, limit: i64) -> Result<u64, StoreError> {
    let tokens = on!(conn, c => sqlx::query(
        "DELETE FROM access_token WHERE jti IN (SELECT jti FROM access_token WHERE expires <= $1 LIMIT $2)",
    ).bind(now.0).bind(limit).execute(c).await.map(|done| done.rows_affected()))?;
    let codes = on!(conn, c => sqlx::query(
        "DELETE FROM authorization_code WHERE digest IN (
             SELECT digest FROM authorization_code WHERE expires <= $1 LIMIT $2)",
    ).bind(codes_before.0).bind(limit).execute(c).await.map(|done| done.rows_affected()))?;
    Ok(tokens.max(codes))
}
