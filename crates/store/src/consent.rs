//! What users agreed that applications may know of them (OA-167, CO-321).

use portcullis_core::clock::Timestamp;
use portcullis_core::id::{ApplicationId, ProviderPk, UserPk};

use crate::db::{Conn, on};
use crate::error::StoreError;

/// A user's consent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    /// The user.
    pub account: UserPk,
    /// The client.
    pub provider: ProviderPk,
    /// The application that the user saw.
    pub application: ApplicationId,
    /// The scopes, joined by spaces.
    pub scope: String,
    /// When it was given.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
}

/// The scopes, joined by spaces, that a user agreed to, unless that has ended by `now`.
///
/// # Errors
/// When the database fails.
pub async fn scope(
    conn: &mut Conn,
    account: UserPk,
    provider: ProviderPk,
    application: ApplicationId,
    now: Timestamp,
) -> Result<Option<String>, StoreError> {
    Ok(on!(conn, c => sqlx::query_scalar(
        "SELECT scope FROM consent WHERE account = $1 AND provider = $2 AND application = $3 AND expires > $4",
    ).bind(account.0).bind(provider.0).bind(application.to_string()).bind(now.0).fetch_optional(c).await)?)
}

/// Keeps a consent in the place of an earlier one.
///
/// # Errors
/// When the database fails.
pub async fn keep(conn: &mut Conn, consent: &Consent) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "INSERT INTO consent (account, provider, application, scope, created, expires) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (account, provider) DO UPDATE SET application = excluded.application, scope = excluded.scope,
             created = excluded.created, expires = excluded.expires",
    )
    .bind(consent.account.0)
    .bind(consent.provider.0)
    .bind(consent.application.to_string())
    .bind(&consent.scope)
    .bind(consent.created.0)
    .bind(consent.expires.0)
    .execute(c).await.map(drop))?;
    Ok(())
}

/// Forgets what a user agreed to.
///
/// # Errors
/// When the database fails.
pub async fn forget_of_account(conn: &mut Conn, account: UserPk) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("DELETE FROM consent WHERE account = $1").bind(account.0).execute(c).await.map(drop))?;
    Ok(())
}

/// Removes what has ended by `now`, at most `limit`; tells how many.
///
/// # Errors
/// When the database fails.
pub async fn sweep(conn: &mut Conn, now: Timestamp, limit: i64) -> Result<u64, StoreError> {
    Ok(on!(conn, c => sqlx::query(
        "DELETE FROM consent WHERE (account, provider) IN (
             SELECT account, provider FROM consent WHERE expires <= $1 LIMIT $2)",
    ).bind(now.0).bind(limit).execute(c).await.map(|done| done.rows_affected()))?)
}
