//! Key pairs that sign for a provider no more, and are still believed (OA-124).

use portcullis_core::clock::Timestamp;
use portcullis_core::id::{CertificateId, ProviderPk};

use crate::certificate::Certificate;
use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::many;

/// Keeps a key pair among the retired ones of a provider, until then.
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
         ON CONFLICT (provider, certificate) DO UPDATE SET until = excluded.until",
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

/// Removes those whose time is over.
///
/// # Errors
/// When the database fails.
pub async fn sweep(conn: &mut Conn, now: Timestamp) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("DELETE FROM retired_key WHERE until <= $1").bind(now.0).execute(c).await.map(drop))?;
    Ok(())
}
