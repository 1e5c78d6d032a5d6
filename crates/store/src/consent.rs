//! What users agreed that applications may know of them (OA-167, CO-321).

use portcullis_core::clock::Timestamp;
use portcullis_core::id::{ApplicationId, ProviderPk, UserPk};

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, maybe};
use crate::select::{Listed, Select, Slice};

/// A user's consent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    /// Key; given by the database, and never used again (CO-005).
    pub pk: i32,
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

impl Record for Consent {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            pk: row.small("pk")?,
            account: UserPk(row.small("account")?),
            provider: ProviderPk(row.small("provider")?),
            application: row.parsed("application")?,
            scope: row.text("scope")?,
            created: row.instant("created")?,
            expires: row.instant("expires")?,
        })
    }
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

/// Keeps a consent in the place of an earlier one, which gives it its key.
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

/// The consent with this key, unless it has ended by `now`.
///
/// # Errors
/// When the database fails.
pub async fn by_pk(conn: &mut Conn, pk: i32, now: Timestamp) -> Result<Option<Consent>, StoreError> {
    maybe(on!(conn, c => sqlx::query("SELECT * FROM consent WHERE pk = $1 AND expires > $2")
        .bind(pk).bind(now.0).fetch_optional(c).await))
}

/// Forgets one consent.
///
/// # Errors
/// When the database fails.
pub async fn forget(conn: &mut Conn, pk: i32) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("DELETE FROM consent WHERE pk = $1").bind(pk).execute(c).await.map(drop))?;
    Ok(())
}

/// Conditions on a list of consents (CO-578). Absent and empty conditions hold for every consent.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The user.
    pub account: Option<UserPk>,
    /// The application.
    pub application: Option<ApplicationId>,
    /// Terms that must occur in the user name or the application's name (CO-525).
    pub search: String,
    /// Order; `true` for descending. Ties are broken by key.
    pub order: Vec<(Order, bool)>,
}

/// What consents can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub enum Order {
    Pk,
    User,
    Application,
    Expires,
}

const USERNAME: &str = "(SELECT username FROM account WHERE account.pk = consent.account)";
const APPLICATION: &str = "(SELECT name FROM application WHERE application.uuid = consent.application)";

/// The consents that meet conditions and have not ended by `now`.
///
/// # Errors
/// When the database fails.
pub async fn list(
    conn: &mut Conn,
    filter: &Filter,
    now: Timestamp,
    slice: Slice,
) -> Result<Listed<Consent>, StoreError> {
    let mut select = Select::default();
    select.integer("expires > ?", now.0);
    if let Some(account) = filter.account {
        select.integer("account = ?", account.0.into());
    }
    if let Some(application) = filter.application {
        select.text("application = ?", application.to_string());
    }
    select.search(&[USERNAME, APPLICATION], &filter.search);
    for (order, descending) in &filter.order {
        let column = match order {
            Order::Pk => "pk",
            Order::User => "account",
            Order::Application => APPLICATION,
            Order::Expires => "expires",
        };
        select.order(column, *descending);
    }
    select.order("consent.pk", false);
    select.list(conn, "consent", slice).await
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
        "DELETE FROM consent WHERE pk IN (SELECT pk FROM consent WHERE expires <= $1 LIMIT $2)",
    ).bind(now.0).bind(limit).execute(c).await.map(|done| done.rows_affected()))?)
}
