//! What happened, for those who look after the instance (CO section 14).

pub mod failing;
mod listed;
mod request;

pub use listed::{ACTIONS, CUSTOM, Told, get, list, tell};

use std::borrow::Cow;

use portcullis_core::attributes::{Attributes, MASK};
use portcullis_core::json;
use portcullis_store::event::Event;
use portcullis_store::{Conn, account, event};
use serde_json::{Map, Value, json};

use crate::context::{Actor, Context};
use crate::error::Error;
use crate::settings::Settings;
use crate::{BATCH, brands};

/// What an event is recorded by, unless something has a name of its own.
pub(crate) const APP: &str = "portcullis";
/// What stands for a secret value.
const CLEANSED: &str = "********************";
const MAX_CONTEXT_BYTES: usize = 64 * 1024;

const SECRET: [&str; 9] =
    ["password", "secret", "token", "key", "api", "signature", "credential", "authorization", "cookie"];
const EXEMPT: [&str; 7] = [
    "auth_method",
    "auth_method_args",
    "basic_auth_password_attribute",
    "passing",
    "password_change_date",
    "token_identifier",
    "public_key",
];

/// Adds an event in the transaction of `conn`. Log it with [`log`] once that is committed.
///
/// # Errors
/// When the store fails.
pub async fn record(
    ctx: &Context,
    conn: &mut Conn,
    actor: &Actor,
    action: &str,
    context: Value,
) -> Result<Event, Error> {
    record_of(ctx, conn, actor, APP, action, context).await
}

/// The same for an event that something with a name of its own made: a policy (CO-243).
///
/// # Errors
/// When the store fails.
pub async fn record_of(
    ctx: &Context,
    conn: &mut Conn,
    actor: &Actor,
    app: &str,
    action: &str,
    context: Value,
) -> Result<Event, Error> {
    let email = match actor.user {
        Some(pk) => account::by_pk(conn, pk).await?.map(|account| account.email).unwrap_or_default(),
        None => String::new(),
    };
    let keeping = Keeping::of(conn, &actor.request.host).await?;
    let mut recorded = of(ctx, &keeping, actor, &email, app, action, context);
    if let Some(pk) = actor.request.impersonator
        && let Some(by) = account::by_pk(conn, pk).await?
    {
        // Whoever acts is the one who did it, on behalf of whom they act as (CO-388).
        let who = json!({"pk": by.pk, "username": by.username, "email": by.email, "on_behalf_of": recorded.account});
        recorded.account = who;
    }
    event::insert(conn, &recorded).await?;
    Ok(recorded)
}

/// What the settings say of events at present.
#[derive(Clone, Debug)]
pub(crate) struct Keeping {
    /// How long they are kept, in seconds.
    retention: i64,
    /// The brand of the host that was asked, as an object (CO-411).
    brand: Value,
}

impl Keeping {
    /// What holds for requests to this host; empty for none.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn of(conn: &mut Conn, host: &str) -> Result<Self, Error> {
        let retention = Settings::load(conn).await?.event_retention;
        Ok(Self { retention, brand: brands::named(&brands::of_host(conn, host).await?) })
    }
}

/// An event that is not added yet. `email` is that of the actor, if it is a user.
pub(crate) fn of(
    ctx: &Context,
    keeping: &Keeping,
    actor: &Actor,
    email: &str,
    app: &str,
    action: &str,
    context: Value,
) -> Event {
    let who = match actor.user {
        Some(pk) => json!({"pk": pk, "username": actor.username, "email": email}),
        None => json!({"username": actor.username, "is_anonymous": true}),
    };
    let mut context = match cleanse(context) {
        Value::Object(context) => context,
        other => Map::from_iter([("value".to_owned(), other)]),
    };
    let request = request::told(&actor.request);
    if let Some(request) = &request {
        context.insert("http_request".to_owned(), request.clone());
    }
    context.extend(ctx.places.told(actor.client).map(|(key, value)| (key.to_owned(), value)));
    let mut context = Value::Object(context);
    if json::length(&context) > MAX_CONTEXT_BYTES {
        context = json!({
            "message": "Context was too long to be kept.",
            "model": context.get("model").filter(|model| json::length(model) < MAX_CONTEXT_BYTES / 4),
            "http_request": request,
        });
    }
    let now = ctx.now();
    Event {
        pk: ctx.entropy.uuid_at(now),
        action: action.to_owned(),
        app: app.to_owned(),
        account: who,
        context,
        brand: keeping.brand.clone(),
        client_ip: actor.client.map(|address| address.to_string()),
        created: now,
        expires: now.plus_seconds(keeping.retention),
    }
}

/// Adds an event in a transaction of its own: for what failed, or changed nothing else (CO-416).
///
/// # Errors
/// When the store fails.
pub async fn record_alone(ctx: &Context, actor: &Actor, action: &str, context: Value) -> Result<(), Error> {
    let mut tx = ctx.db.write().await?;
    let recorded = record(ctx, &mut tx, actor, action, context).await?;
    tx.commit().await?;
    log(&recorded);
    Ok(())
}

/// Removes events whose time is over, a batch at a time (CO-415).
///
/// # Errors
/// When the store fails.
pub async fn sweep(ctx: &Context) -> Result<(), Error> {
    loop {
        let mut tx = ctx.db.write().await?;
        let removed = event::sweep(&mut tx, ctx.now(), BATCH.into()).await?;
        tx.commit().await?;
        if removed < BATCH.into() {
            return Ok(());
        }
    }
}

/// Writes an event to the server's log (CO-417).
pub fn log(event: &Event) {
    tracing::info!(
        event = "Created Event",
        action = event.action,
        user = %json::text(&event.account),
        context = %json::text(&event.context),
        client_ip = event.client_ip.as_deref().unwrap_or_default(),
        pk = %event.pk,
    );
}

/// How an object is named in an event (CO-411).
#[expect(clippy::needless_pass_by_value, reason = "keys are small, and copied")]
pub fn model(app: &str, model_name: &str, pk: impl ToString, name: &str) -> Value {
    json!({"app": app, "model_name": model_name, "pk": pk.to_string().replace('-', ""), "name": name})
}

/// What a failure comes to in one line: its kind and the first line of its message, which in a traceback follows the indented ones.
pub(crate) fn in_one_line(text: &str) -> &str {
    let is_traceback = text.starts_with("Traceback ");
    let mut lines = text.lines().skip(usize::from(is_traceback));
    lines.find(|line| !is_traceback || !line.starts_with(' ')).unwrap_or_default()
}

/// Adds a member to an object.
pub(crate) fn add(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

/// The fields that differ, each with its previous and new value (CO-412).
pub fn diff(before: &Value, after: &Value) -> Value {
    let (Some(before), Some(after)) = (before.as_object(), after.as_object()) else { return json!({}) };
    let changed = after.iter().filter(|(field, new)| before.get(*field) != Some(*new));
    changed.map(|(field, new)| (field.clone(), json!({"previous": before.get(field), "new": new}))).collect()
}

/// The attributes that differ, by name alone: attributes are sealed at rest, and any of them may turn out to
/// be a credential once a provider names it (CO-472).
pub fn attributes_diff(diff: &mut Value, before: &Attributes, after: &Attributes) {
    let named = |these: &Attributes, others: &Attributes| -> Map<String, Value> {
        let differ = these.iter().filter(|(key, value)| others.get(*key) != Some(*value));
        differ.map(|(key, _)| (key.clone(), Value::from(MASK))).collect()
    };
    if let (true, Some(diff)) = (before != after, diff.as_object_mut()) {
        let difference = json!({"previous": named(before, after), "new": named(after, before)});
        diff.insert("attributes".to_owned(), difference);
    }
}

/// Replaces every scalar under a key that sounds secret (CO-414). Items of a list are judged by its key.
pub fn cleanse(mut value: Value) -> Value {
    cleanse_under(&mut value, false);
    value
}

fn cleanse_under(value: &mut Value, secret: bool) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                // What a diff calls `previous` and `new` is judged by the field it belongs to.
                let secret = if key == "previous" || key == "new" { secret } else { sounds_secret(key) };
                cleanse_under(value, secret);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| cleanse_under(value, secret)),
        Value::Bool(_) | Value::Number(_) | Value::String(_) if secret => *value = Value::String(CLEANSED.to_owned()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn sounds_secret(key: &str) -> bool {
    let is_lower = key.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
    let key = if is_lower { Cow::Borrowed(key) } else { Cow::Owned(key.to_lowercase()) };
    !EXEMPT.contains(&&*key) && SECRET.iter().any(|word| key.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-414: scalars under secret-sounding keys are cleansed, in objects, lists and diffs; exempt keys stay.
    #[test]
    fn co_414_secrets_are_cleansed() {
        let cleansed = cleanse(json!({
            "password": "x", "API_Key": 7, "name": "ada", "auth_method": "app_password",
            "nested": {"client_secret": "x", "ok": 1}, "tokens": ["a", {"id": "b"}],
            "diff": {"cookie_secret": {"previous": "a", "new": "b"}, "name": {"previous": "a", "new": "b"}},
            "basic_auth_password_attribute": "the name of one",
        }));
        assert_eq!(
            cleansed,
            json!({
                "password": CLEANSED, "API_Key": CLEANSED, "name": "ada", "auth_method": "app_password",
                "nested": {"client_secret": CLEANSED, "ok": 1}, "tokens": [CLEANSED, {"id": "b"}],
                "diff": {"cookie_secret": {"previous": CLEANSED, "new": CLEANSED}, "name": {"previous": "a", "new": "b"}},
                "basic_auth_password_attribute": "the name of one",
            })
        );
    }

    /// CO-173: a failure in one line is its kind and the first line of what it says, whatever follows.
    #[test]
    fn co_173_a_failure_in_one_line_has_its_kind() {
        let traceback =
            "Traceback (most recent call last):\n  File \"p\", line 1, in <module>\n    raise ValueError(text)\n";
        for (text, line) in [
            (format!("{traceback}ValueError: line1\nsecret"), "ValueError: line1"),
            (format!("{traceback}ValueError: \nsecret\n"), "ValueError: "),
            (format!("{traceback}ZeroDivisionError: division by zero\n"), "ZeroDivisionError: division by zero"),
            ("The policy took too long.\nMore.".to_owned(), "The policy took too long."),
            (String::new(), ""),
        ] {
            assert_eq!(in_one_line(&text), line, "{text}");
        }
    }

    /// CO-472: a diff of attributes names them and shows no value.
    #[test]
    fn co_472_changed_attributes_are_named_alone() {
        let attributes = |value: Value| value.as_object().cloned().unwrap_or_default();
        let mut diff = json!({});
        let before = attributes(json!({"same": 1, "pw": "old", "gone": true}));
        attributes_diff(&mut diff, &before, &attributes(json!({"same": 1, "pw": "new"})));
        let named = json!({"previous": {"pw": MASK, "gone": MASK}, "new": {"pw": MASK}});
        assert_eq!(diff, json!({"attributes": named}));
        attributes_diff(&mut diff, &before, &before);
        assert_eq!(diff, json!({"attributes": named}));
    }

    /// CO-411, CO-412: objects are named with their id as hex digits; a diff holds what differs.
    #[test]
    fn co_412_a_diff_holds_what_differs() {
        assert_eq!(model("core", "user", "ab-cd", "ada")["pk"], "abcd");
        let changed = diff(&json!({"a": 1, "b": 2}), &json!({"a": 1, "b": 3, "c": 4}));
        assert_eq!(changed, json!({"b": {"previous": 2, "new": 3}, "c": {"previous": null, "new": 4}}));
    }
}
