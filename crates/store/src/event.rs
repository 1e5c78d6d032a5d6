//! What happened (CO section 14). Events are added and, when their time is over, removed; never changed.

use portcullis_core::clock::Timestamp;
use portcullis_core::id::UserPk;
use serde_json::Value;
use sqlx::QueryBuilder;
use uuid::Uuid;

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, many};

/// Events that are added with one statement, at most: so many texts of it are kept prepared.
pub const AT_ONCE: usize = 16;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Key.
    pub pk: Uuid,
    /// One of the actions of CO-412.
    pub action: String,
    /// The part that recorded it.
    pub app: String,
    /// Who did it: `pk`, `username`, `email`.
    pub account: Value,
    /// What it is about, already cleansed (CO-414).
    pub context: Value,
    /// The client's address.
    pub client_ip: Option<String>,
    /// When.
    pub created: Timestamp,
    /// When it may be removed.
    pub expires: Timestamp,
}

impl Record for Event {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            pk: row.parsed("pk")?,
            action: row.text("action")?,
            app: row.text("app")?,
            account: row.json("account")?,
            context: row.json("context")?,
            client_ip: row.text_or_null("client_ip")?,
            created: row.instant("created")?,
            expires: row.instant("expires")?,
        })
    }
}

/// Adds an event.
///
/// # Errors
/// When the database fails.
pub async fn insert(conn: &mut Conn, event: &Event) -> Result<(), StoreError> {
    insert_all(conn, [event]).await
}

/// Adds events, with one question for each [`AT_ONCE`] of them.
///
/// # Errors
/// When the database fails; then some may be added.
pub async fn insert_all(conn: &mut Conn, events: impl IntoIterator<Item = &Event>) -> Result<(), StoreError> {
    let events: Vec<_> = events.into_iter().collect();
    for some in events.chunks(AT_ONCE) {
        on!(conn, c => {
            let mut query = QueryBuilder::new(
                "INSERT INTO event (pk, action, app, account, context, client_ip, created, expires) ",
            );
            query.push_values(some, |mut row, event| {
                row.push_bind(event.pk.to_string())
                    .push_bind(&event.action)
                    .push_bind(&event.app)
                    .push_bind(event.account.to_string())
                    .push_bind(event.context.to_string())
                    .push_bind(&event.client_ip)
                    .push_bind(event.created.0)
                    .push_bind(event.expires.0);
            });
            query.build().execute(c).await.map(drop)
        })?;
    }
    Ok(())
}

/// The latest events, newest first; of one action if given.
///
/// # Errors
/// When the database fails.
pub async fn latest(conn: &mut Conn, action: Option<&str>, limit: i64) -> Result<Vec<Event>, StoreError> {
    many(on!(conn, c => sqlx::query(
        "SELECT * FROM event WHERE $1 IS NULL OR action = $1 ORDER BY created DESC, seq DESC LIMIT $2",
    ).bind(action).bind(limit).fetch_all(c).await))
}

/// Removes events whose time is over, at most `limit`; tells how many.
///
/// # Errors
/// When the database fails.
pub async fn sweep(conn: &mut Conn, now: Timestamp, limit: i64) -> Result<u64, StoreError> {
    Ok(on!(conn, c => sqlx::query(
        "DELETE FROM event WHERE seq IN (SELECT seq FROM event WHERE expires <= $1 LIMIT $2)",
    ).bind(now.0).bind(limit).execute(c).await.map(|done| done.rows_affected()))?)
}

/// The events that say something about a user, for pseudonymisation (CO-818): what they did, what names them
/// as an object, and failed sign-ins as one of `identifiers`. Some others may be among them.
///
/// # Errors
/// When the database fails.
pub async fn about(conn: &mut Conn, account: UserPk, identifiers: &[&str]) -> Result<Vec<Event>, StoreError> {
    // Members of JSON as they are written; `instr` knows no wildcards.
    let (by, of) = (format!("{{\"pk\":{account},"), format!("\"model_name\":\"user\",\"pk\":\"{account}\""));
    let mut found: Vec<Event> = many(on!(conn, c => sqlx::query(
        "SELECT * FROM event WHERE instr(account, $1) = 1 OR instr(context, $2) > 0",
    ).bind(by).bind(of).fetch_all(c).await))?;
    for identifier in identifiers {
        let value = format!("\"username\":{}", Value::from(*identifier));
        let failed: Vec<Event> = many(on!(conn, c => sqlx::query(
            "SELECT * FROM event WHERE action = 'login_failed' AND instr(context, $1) > 0",
        ).bind(value).fetch_all(c).await))?;
        found.extend(failed);
    }
    found.sort_by_key(|event| event.pk);
    found.dedup_by_key(|event| event.pk);
    Ok(found)
}

/// Stores who did something and what is known of them anew, when a user is deleted (CO-818). The one change
/// that an event can see.
///
/// # Errors
/// When the database fails.
pub async fn pseudonymise(conn: &mut Conn, event: &Event) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("UPDATE event SET account = $2, context = $3, client_ip = $4 WHERE pk = $1")
        .bind(event.pk.to_string())
        .bind(event.account.to_string())
        .bind(event.context.to_string())
        .bind(&event.client_ip)
        .execute(c).await.map(drop))?;
    Ok(())
}
