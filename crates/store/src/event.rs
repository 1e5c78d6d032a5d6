//! What happened (CO section 14). Events are added and, when their time is over, removed; never changed.

use portcullis_core::clock::Timestamp;
use portcullis_core::json;
use serde_json::Value;
use sqlx::QueryBuilder;
use uuid::Uuid;

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, many, maybe, storable};
use crate::select::{Listed, Select, Slice};

mod about;
mod searched;

pub use about::{about, attempted, attempts};

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
    /// The brand under which it was asked for, as an object (CO-411).
    pub brand: Value,
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
            brand: row.json("brand")?,
            client_ip: row.text_or_null("client_ip")?,
            created: row.instant("created")?,
            expires: row.instant("expires")?,
        })
    }
}

/// A member of JSON that is text, also inside objects.
fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
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
                "INSERT INTO event (pk, action, app, account, context, brand, client_ip, created, expires, username,
                     brand_name, model_app, model_name, model_pk, authorized_app, searched, actor, mentions, tried) ",
            );
            query.push_values(some, |mut row, event| {
                row.push_bind(event.pk.to_string())
                    .push_bind(&event.action)
                    .push_bind(&event.app)
                    .push_bind(json::text(&event.account))
                    .push_bind(json::text(&event.context))
                    .push_bind(json::text(&event.brand))
                    .push_bind(&event.client_ip)
                    .push_bind(event.created.0)
                    .push_bind(event.expires.0)
                    .push_bind(storable(text(&event.account, "/username").unwrap_or_default()))
                    .push_bind(storable(text(&event.brand, "/name").unwrap_or_default()))
                    .push_bind(text(&event.context, "/model/app").map(storable))
                    .push_bind(text(&event.context, "/model/model_name").map(storable))
                    .push_bind(text(&event.context, "/model/pk").map(storable))
                    .push_bind(text(&event.context, "/authorized_application/pk").map(storable))
                    .push_bind(searched::of(event))
                    .push_bind(about::actor(event))
                    .push_bind(about::mentions(event))
                    .push_bind(about::tried(event));
            });
            query.build().execute(c).await.map(drop)
        })?;
    }
    Ok(())
}

/// The event with this key.
///
/// # Errors
/// When the database fails.
pub async fn by_pk(conn: &mut Conn, pk: Uuid) -> Result<Option<Event>, StoreError> {
    maybe(on!(conn, c => sqlx::query("SELECT * FROM event WHERE pk = $1").bind(pk.to_string()).fetch_optional(c).await))
}

/// Conditions on a list of events (CO-573). Absent and empty conditions hold for every event.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Part of the action, whatever its case.
    pub action: Option<String>,
    /// Any of these actions.
    pub actions: Vec<String>,
    /// Part of the user name of whoever did it, whatever its case.
    pub username: Option<String>,
    /// Part of the client's address.
    pub client_ip: Option<String>,
    /// Part of the name of the brand, whatever its case.
    pub brand_name: Option<String>,
    /// What it is about: the part that the object belongs to.
    pub model_app: Option<String>,
    /// What it is about: the kind of object.
    pub model_name: Option<String>,
    /// What it is about: the object's key, without dashes.
    pub model_pk: Option<String>,
    /// The application that was authorized, by its key without dashes.
    pub authorized_app: Option<String>,
    /// Terms that must occur somewhere in the event (CO-525).
    pub search: String,
    /// Order; `true` for descending. Ties are broken by the order of what happened, newest first.
    pub order: Vec<(Order, bool)>,
}

/// What events can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub enum Order {
    Pk,
    Action,
    App,
    User,
    ClientIp,
    Created,
    Expires,
    Brand,
}

/// The events that meet conditions.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut Conn, filter: &Filter, slice: Slice) -> Result<Listed<Event>, StoreError> {
    let mut select = Select::numbered("seq");
    for (column, part) in [
        ("action", &filter.action),
        ("username", &filter.username),
        ("client_ip", &filter.client_ip),
        ("brand_name", &filter.brand_name),
    ] {
        if let Some(part) = part {
            select.part(column, part);
        }
    }
    for (condition, value) in [
        ("model_app = ?", &filter.model_app),
        ("model_name = ?", &filter.model_name),
        ("model_pk = ?", &filter.model_pk),
        ("authorized_app = ?", &filter.authorized_app),
    ] {
        if let Some(value) = value {
            select.text(condition, value);
        }
    }
    select.any_text("action IN (?)", &filter.actions);
    select.search(&["searched"], &filter.search);
    for (order, descending) in &filter.order {
        let column = match order {
            Order::Pk => "pk",
            Order::Action => "action",
            Order::App => "app",
            Order::User => "username",
            Order::ClientIp => "client_ip",
            Order::Created => "created",
            Order::Expires => "expires",
            Order::Brand => "brand_name",
        };
        select.order(column, *descending);
    }
    select.order("event.seq", true);
    select.list(conn, "event", slice).await
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

/// Stores who did something and what is known of them anew, when a user is deleted (CO-818). The one change
/// that an event can see.
///
/// # Errors
/// When the database fails.
pub async fn pseudonymise(conn: &mut Conn, event: &Event) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "UPDATE event SET account = $2, context = $3, client_ip = $4, username = $5, tried = $6, searched = $7
         WHERE pk = $1",
    )
    .bind(event.pk.to_string())
    .bind(json::text(&event.account))
    .bind(json::text(&event.context))
    .bind(&event.client_ip)
    .bind(storable(text(&event.account, "/username").unwrap_or_default()))
    .bind(about::tried(event))
    .bind(searched::of(event))
    .execute(c).await.map(drop))?;
    Ok(())
}
