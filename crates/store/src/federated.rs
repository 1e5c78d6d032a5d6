//! Accounts of subjects that a source vouches for (OA-331, OA-335).

use portcullis_core::clock::Timestamp;
use portcullis_core::id::{ProviderPk, SourceId, UserPk};

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, many, maybe};

/// Whose account it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The account.
    pub account: UserPk,
    /// Where it is used.
    pub provider: ProviderPk,
    /// Who vouches for its subject.
    pub source: SourceId,
    /// `iss` of the assertions.
    pub issuer: String,
    /// `sub` of the assertions.
    pub subject: String,
    /// When the latest assertion ends.
    pub expires: Timestamp,
}

struct Account(UserPk);

impl Record for Account {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self(UserPk(row.small("account")?)))
    }
}

/// The account of a subject at a provider.
///
/// # Errors
/// When the database fails.
pub async fn find(
    conn: &mut Conn,
    provider: ProviderPk,
    source: SourceId,
    issuer: &str,
    subject: &str,
) -> Result<Option<UserPk>, StoreError> {
    let found: Option<Account> = maybe(on!(conn, c => sqlx::query(
        "SELECT account FROM federated_account WHERE provider = $1 AND source = $2 AND issuer = $3 AND subject = $4",
    ).bind(provider.0).bind(source.to_string()).bind(issuer).bind(subject).fetch_optional(c).await))?;
    Ok(found.map(|Account(pk)| pk))
}

/// Whose account one is, as far as that is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Of {
    /// Where it is used.
    pub provider: Option<ProviderPk>,
    /// Who vouches for its subject.
    pub source: Option<SourceId>,
    /// `iss` of the assertions.
    pub issuer: String,
    /// `sub` of the assertions.
    pub subject: String,
}

impl Record for Of {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        let source = row.text_or_null("source")?.map(|_| row.parsed("source")).transpose()?;
        Ok(Self {
            provider: row.small_or_null("provider")?.map(ProviderPk),
            source,
            issuer: row.text("issuer")?,
            subject: row.text("subject")?,
        })
    }
}

/// Whose account this is, if a source vouches for it.
///
/// # Errors
/// When the database fails.
pub async fn of_account(conn: &mut Conn, account: UserPk) -> Result<Option<Of>, StoreError> {
    maybe(on!(conn, c => sqlx::query(
        "SELECT provider, source, issuer, subject FROM federated_account WHERE account = $1",
    ).bind(account.0).fetch_optional(c).await))
}

/// The accounts of a source's subjects that somebody has given anything: a group or a role.
///
/// # Errors
/// When the database fails.
pub async fn endowed_by(conn: &mut Conn, source: SourceId) -> Result<Vec<UserPk>, StoreError> {
    let endowed: Vec<Account> = many(on!(conn, c => sqlx::query(
        "SELECT account FROM federated_account AS link WHERE source = $1
             AND (EXISTS (SELECT 1 FROM membership WHERE membership.account = link.account)
                  OR EXISTS (SELECT 1 FROM account_role WHERE account_role.account = link.account))",
    ).bind(source.to_string()).fetch_all(c).await))?;
    Ok(endowed.into_iter().map(|Account(pk)| pk).collect())
}

/// Keeps whose account it is, and until when.
///
/// # Errors
/// When the database fails.
pub async fn keep(conn: &mut Conn, link: &Link) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "INSERT INTO federated_account (account, provider, source, issuer, subject, expires)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (account) DO UPDATE SET expires = excluded.expires",
    )
    .bind(link.account.0)
    .bind(link.provider.0)
    .bind(link.source.to_string())
    .bind(&link.issuer)
    .bind(&link.subject)
    .bind(link.expires.0)
    .execute(c)
    .await
    .map(drop))?;
    Ok(())
}

/// Accounts whose latest assertion ended before `before`, at most `limit` (OA-648).
///
/// # Errors
/// When the database fails.
pub async fn ended(conn: &mut Conn, before: Timestamp, limit: i64) -> Result<Vec<UserPk>, StoreError> {
    let ended: Vec<Account> = many(on!(conn, c => sqlx::query(
        "SELECT account FROM federated_account WHERE expires < $1 ORDER BY expires, account LIMIT $2",
    ).bind(before.0).bind(limit).fetch_all(c).await))?;
    Ok(ended.into_iter().map(|Account(pk)| pk).collect())
}

/// Moves the end of an account.
///
/// # Errors
/// When the database fails.
pub async fn postpone(conn: &mut Conn, account: UserPk, expires: Timestamp) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("UPDATE federated_account SET expires = $2 WHERE account = $1")
        .bind(account.0).bind(expires.0).execute(c).await.map(drop))?;
    Ok(())
}
