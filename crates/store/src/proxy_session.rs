//! Sessions of the embedded outpost (PX section 11). Every operation uses an index (PX-175).

use portcullis_core::clock::Timestamp;
use portcullis_core::id::ProviderPk;
use portcullis_core::keys::Digest;

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, many, maybe};

// By name, so that a test can ask the database how it runs them.
const BY_DIGEST: &str = "SELECT * FROM proxy_session WHERE provider = $1 AND digest = $2 AND expires > $3";
const BY_FINGERPRINT: &str = "SELECT * FROM proxy_session WHERE provider = $1 AND fingerprint = $2 AND expires > $3";
const REPLACE: &str =
    "DELETE FROM proxy_session WHERE provider = $1 AND (digest = $2 OR fingerprint = $3) RETURNING digest, expires";
const END: &str = "DELETE FROM proxy_session WHERE provider = $1 AND digest = $2";
const END_OF_USER: &str = "DELETE FROM proxy_session WHERE user_uuid = $1";
const END_OF_SID: &str = "DELETE FROM proxy_session WHERE sid = $1 AND sid <> '' AND ($2 IS NULL OR provider = $2)";
const SWEEP: &str =
    "DELETE FROM proxy_session WHERE digest IN (SELECT digest FROM proxy_session WHERE expires <= $1 LIMIT $2)";

/// A session of the embedded outpost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxySession {
    /// The provider it is good for.
    pub provider: ProviderPk,
    /// Keyed digest of the cookie's value.
    pub digest: Vec<u8>,
    /// What the value of a header-authenticated session is made of.
    pub salt: Vec<u8>,
    /// How it came to be.
    pub source: String,
    /// Keyed digest of the credential that made it.
    pub fingerprint: Option<Vec<u8>>,
    /// The user's permanent id.
    pub user_uuid: String,
    /// Public id of the login session, or empty.
    pub sid: String,
    /// Claims and tokens as JSON, sealed for `proxy_session:<provider>:<digest in hex>`.
    pub grant_sealed: Vec<u8>,
    /// When it was made.
    pub created: Timestamp,
    /// Absolute end.
    pub expires: Timestamp,
}

impl Record for ProxySession {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            provider: ProviderPk(row.small("provider")?),
            digest: row.bytes("digest")?,
            salt: row.bytes("salt")?,
            source: row.text("source")?,
            fingerprint: row.bytes_or_null("fingerprint")?,
            user_uuid: row.text("user_uuid")?,
            sid: row.text("sid")?,
            grant_sealed: row.bytes("grant_sealed")?,
            created: row.instant("created")?,
            expires: row.instant("expires")?,
        })
    }
}

/// Keeps a session; one with the same provider and fingerprint is replaced in the same step. Gives the digests of those that
/// had not ended, and are gone.
///
/// # Errors
/// When the database fails, or the provider is gone.
pub async fn put(conn: &mut Conn, session: &ProxySession) -> Result<Vec<Digest>, StoreError> {
    let replaced = on!(conn, c => sqlx::query(REPLACE)
        .bind(session.provider.0).bind(&session.digest).bind(&session.fingerprint).fetch_all(c).await)?;
    let mut gone = Vec::new();
    for row in replaced {
        let digest = row.bytes("digest")?;
        if digest != session.digest && row.instant("expires")? > session.created {
            // One of another length is nobody's.
            gone.extend(Digest::try_from(digest));
        }
    }
    on!(conn, c => sqlx::query(
        "INSERT INTO proxy_session (provider, digest, salt, source, fingerprint, user_uuid, sid, grant_sealed, created,
             expires)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(session.provider.0)
    .bind(&session.digest)
    .bind(&session.salt)
    .bind(&session.source)
    .bind(&session.fingerprint)
    .bind(&session.user_uuid)
    .bind(&session.sid)
    .bind(&session.grant_sealed)
    .bind(session.created.0)
    .bind(session.expires.0)
    .execute(c).await.map(drop))?;
    Ok(gone)
}

/// Remembers names of headers that claims have held (PX-221).
///
/// # Errors
/// When the database fails, or the provider is gone.
pub async fn remember_headers(conn: &mut Conn, provider: ProviderPk, names: &[String]) -> Result<(), StoreError> {
    for name in names {
        on!(conn, c => sqlx::query(
            "INSERT INTO provider_header (provider, name) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        ).bind(provider.0).bind(name).execute(c).await.map(drop))?;
    }
    Ok(())
}

/// The names of headers that claims have held, of every provider (PX-221).
///
/// # Errors
/// When the database fails.
pub async fn headers(conn: &mut Conn) -> Result<Vec<(ProviderPk, String)>, StoreError> {
    struct Header(ProviderPk, String);
    impl Record for Header {
        fn read(row: &impl Columns) -> sqlx::Result<Self> {
            Ok(Self(ProviderPk(row.small("provider")?), row.text("name")?))
        }
    }
    let headers: Vec<Header> = many(on!(conn, c => sqlx::query(
        "SELECT provider, name FROM provider_header ORDER BY provider, name",
    ).fetch_all(c).await))?;
    Ok(headers.into_iter().map(|Header(provider, name)| (provider, name)).collect())
}

/// The session with this cookie, unless it has ended by `now`.
///
/// # Errors
/// When the database fails.
pub async fn by_digest(
    conn: &mut Conn,
    provider: ProviderPk,
    digest: &Digest,
    now: Timestamp,
) -> Result<Option<ProxySession>, StoreError> {
    maybe(on!(conn, c => sqlx::query(BY_DIGEST)
        .bind(provider.0).bind(digest.as_slice()).bind(now.0).fetch_optional(c).await))
}

/// The session that this credential made, unless it has ended by `now`.
///
/// # Errors
/// When the database fails.
pub async fn by_fingerprint(
    conn: &mut Conn,
    provider: ProviderPk,
    fingerprint: &Digest,
    now: Timestamp,
) -> Result<Option<ProxySession>, StoreError> {
    maybe(on!(conn, c => sqlx::query(BY_FINGERPRINT)
        .bind(provider.0).bind(fingerprint.as_slice()).bind(now.0).fetch_optional(c).await))
}

/// Removes one session.
///
/// # Errors
/// When the database fails.
pub async fn end(conn: &mut Conn, provider: ProviderPk, digest: &Digest) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(END)
        .bind(provider.0).bind(digest.as_slice()).execute(c).await.map(drop))?;
    Ok(())
}

/// Removes all sessions of a user.
///
/// # Errors
/// When the database fails.
pub async fn end_of_user(conn: &mut Conn, user_uuid: &str) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(END_OF_USER)
        .bind(user_uuid).execute(c).await.map(drop))?;
    Ok(())
}

/// Removes all sessions that came from one login session, at one provider if given. An empty id matches
/// nothing (PX-195).
///
/// # Errors
/// When the database fails.
pub async fn end_of_sid(conn: &mut Conn, sid: &str, provider: Option<ProviderPk>) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(END_OF_SID).bind(sid).bind(provider.map(|pk| pk.0)).execute(c).await.map(drop))?;
    Ok(())
}

/// Removes sessions that have ended by `now`, at most `limit`; tells how many there were.
///
/// # Errors
/// When the database fails.
pub async fn sweep(conn: &mut Conn, now: Timestamp, limit: i64) -> Result<u64, StoreError> {
    Ok(on!(conn, c => sqlx::query(SWEEP).bind(now.0).bind(limit).execute(c).await.map(|done| done.rows_affected()))?)
}

/// How many sessions there are.
///
/// # Errors
/// When the database fails.
pub async fn count(conn: &mut Conn) -> Result<i64, StoreError> {
    Ok(on!(conn, c => sqlx::query_scalar("SELECT count(*) FROM proxy_session").fetch_one(c).await)?)
}

/// Removes the `excess` oldest sessions, those made by header authentication first (PX-176).
///
/// # Errors
/// When the database fails.
pub async fn shed(conn: &mut Conn, excess: i64) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "DELETE FROM proxy_session WHERE digest IN (
             SELECT digest FROM proxy_session ORDER BY (fingerprint IS NULL), created LIMIT $1)",
    ).bind(excess).execute(c).await.map(drop))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Db;

    struct Plan(String);

    impl Record for Plan {
        fn read(row: &impl Columns) -> sqlx::Result<Self> {
            Ok(Self(row.text("detail")?))
        }
    }

    /// PX-175, PX-513: sessions are found, replaced and ended by an index, however many there are.
    #[tokio::test]
    async fn px_175_no_session_is_looked_for_among_all() {
        let directory = tempfile::tempdir().unwrap();
        let db = Db::open_sqlite(&directory.path().join("test.db")).await.unwrap();
        let mut conn = db.read().await.unwrap();
        for statement in [BY_DIGEST, BY_FINGERPRINT, REPLACE, END, END_OF_USER, END_OF_SID, SWEEP] {
            let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
            let plan: Vec<Plan> = many(on!(&mut conn, c => sqlx::query(explain).fetch_all(c).await)).unwrap();
            let steps: Vec<&str> = plan.iter().map(|step| step.0.as_str()).collect();
            assert!(steps.iter().any(|step| step.starts_with("SEARCH proxy_session USING")), "{statement}: {steps:?}");
            assert!(!steps.iter().any(|step| step.starts_with("SCAN")), "{statement}: {steps:?}");
        }
    }
}
