//! Key pairs that sign for a provider no more, and are still believed (OA-124).

use portcullis_core::clock::Timestamp;
use portcullis_core::id::{CertificateId, ProviderPk};

use crate::certificate::Certificate;
use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, many};

/// The public part of a key whose certificate has another one now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// By what tokens name it.
    pub kid: String,
    /// Its published form, JSON.
    pub jwk: String,
}

impl Record for Replaced {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self { kid: row.text("kid")?, jwk: row.text("jwk")? })
    }
}

/// Most keys of a provider that are kept after they were replaced in their certificate.
const MOST_REPLACED: i64 = 16;

/// Keeps a key pair among the retired ones of a provider, until then; longer if it was to be kept longer before.
///
/// # Errors
/// When the database fails.
pub async fn insert(
    conn: &mut Conn,
    provider: ProviderPk,
    key: CertificateId,
    until: Timestamp,
) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "INSERT INTO retired_key (provider, certificate, until) VALUES ($1, $2, $3)
         ON CONFLICT (provider, certificate) DO UPDATE SET until =
             CASE WHEN excluded.until > retired_key.until THEN excluded.until ELSE retired_key.until END",
    ).bind(provider.0).bind(key.to_string()).bind(until.0).execute(c).await.map(drop))?;
    Ok(())
}

/// Takes a key pair out of them.
///
/// # Errors
/// When the database fails.
pub async fn remove(conn: &mut Conn, provider: ProviderPk, key: CertificateId) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("DELETE FROM retired_key WHERE provider = $1 AND certificate = $2")
        .bind(provider.0).bind(key.to_string()).execute(c).await.map(drop))?;
    Ok(())
}

/// The retired key pairs of a provider that are believed now, the latest first.
///
/// # Errors
/// When the database fails.
pub async fn of_provider(
    conn: &mut Conn,
    provider: ProviderPk,
    now: Timestamp,
) -> Result<Vec<Certificate>, StoreError> {
    many(on!(conn, c => sqlx::query(
        "SELECT certificate.* FROM retired_key JOIN certificate ON certificate.pk = retired_key.certificate
         WHERE retired_key.provider = $1 AND retired_key.until > $2 ORDER BY retired_key.until DESC, certificate.pk",
    ).bind(provider.0).bind(now.0).fetch_all(c).await))
}

/// Keeps a key that is replaced in its certificate now, until then, for a provider that it signs for; longer if it was to be kept
/// longer before.
///
/// # Errors
/// When the database fails.
pub async fn keep_replaced(
    conn: &mut Conn,
    provider: ProviderPk,
    certificate: CertificateId,
    key: &Replaced,
    now: Timestamp,
    until: Timestamp,
) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "INSERT INTO replaced_key (provider, certificate, kid, jwk, replaced, until) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (provider, kid) DO UPDATE SET certificate = excluded.certificate, jwk = excluded.jwk,
             replaced = excluded.replaced,
             until = CASE WHEN excluded.until > replaced_key.until THEN excluded.until ELSE replaced_key.until END",
    ).bind(provider.0).bind(certificate.to_string()).bind(&key.kid).bind(&key.jwk).bind(now.0).bind(until.0)
        .execute(c).await.map(drop))?;
    Ok(())
}

/// Keeps a key that is replaced in its certificate now for those by whom it is still believed, as long as before. The key in its
/// place has signed nothing for them.
///
/// # Errors
/// When the database fails.
pub async fn keep_retired(
    conn: &mut Conn,
    certificate: CertificateId,
    key: &Replaced,
    now: Timestamp,
) -> Result<(), StoreError> {
    let certificate = certificate.to_string();
    on!(conn, c => sqlx::query(
        "INSERT INTO replaced_key (provider, certificate, kid, jwk, replaced, until)
         SELECT provider, certificate, $2, $3, $4, until FROM retired_key WHERE certificate = $1
         ON CONFLICT (provider, kid) DO UPDATE SET
             until = CASE WHEN excluded.until > replaced_key.until THEN excluded.until ELSE replaced_key.until END",
    ).bind(&certificate).bind(&key.kid).bind(&key.jwk).bind(now.0).execute(c).await.map(drop))?;
    on!(conn, c => sqlx::query("DELETE FROM retired_key WHERE certificate = $1")
        .bind(&certificate).execute(c).await.map(drop))?;
    Ok(())
}

/// Removes all replaced keys but the newest ones, 16 of them, of each provider that believes one of this certificate.
///
/// # Errors
/// When the database fails.
pub async fn limit_replaced(conn: &mut Conn, certificate: CertificateId) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "DELETE FROM replaced_key WHERE provider IN (SELECT provider FROM replaced_key WHERE certificate = $1)
             AND (SELECT count(*) FROM replaced_key AS newer WHERE newer.provider = replaced_key.provider
                 AND (newer.replaced, newer.until, newer.kid)
                     > (replaced_key.replaced, replaced_key.until, replaced_key.kid)) >= $2",
    ).bind(certificate.to_string()).bind(MOST_REPLACED).execute(c).await.map(drop))?;
    Ok(())
}

/// The replaced keys of a provider that are believed now, the latest first.
///
/// # Errors
/// When the database fails.
pub async fn replaced(conn: &mut Conn, provider: ProviderPk, now: Timestamp) -> Result<Vec<Replaced>, StoreError> {
    many(on!(conn, c => sqlx::query(
        "SELECT kid, jwk FROM replaced_key WHERE provider = $1 AND until > $2 ORDER BY until DESC, kid",
    ).bind(provider.0).bind(now.0).fetch_all(c).await))
}

/// Removes those whose time is over.
///
/// # Errors
/// When the database fails.
pub async fn sweep(conn: &mut Conn, now: Timestamp) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("DELETE FROM retired_key WHERE until <= $1").bind(now.0).execute(c).await.map(drop))?;
    on!(conn, c => sqlx::query("DELETE FROM replaced_key WHERE until <= $1").bind(now.0).execute(c).await.map(drop))?;
    Ok(())
}
