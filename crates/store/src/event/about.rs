//! Which users events say something of (CO-818): kept beside each event, so that who is deleted is found without a look at
//! all that ever happened.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use portcullis_core::clock::Timestamp;
use portcullis_core::id::UserPk;
use portcullis_core::username::{LONGEST_IDENTIFIER, exceeds, fold};
use serde_json::Value;

use super::{Event, text};
use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{many, storable};

/// The key of a user in an object that says who did something.
fn pk(account: &Value) -> Option<i32> {
    account.get("pk").and_then(Value::as_i64).and_then(|pk| i32::try_from(pk).ok())
}

/// Who did it, if that was a user.
pub(super) fn actor(event: &Event) -> Option<i32> {
    pk(&event.account)
}

/// The users that an event names besides who did it and what it is about: `,7,42,`.
pub(super) fn mentions(event: &Event) -> Option<String> {
    let mut found = BTreeSet::new();
    named(&event.context, &mut found);
    // That one has columns of its own.
    if let Some(model) = event.context.get("model").and_then(user) {
        found.remove(&model);
    }
    found.extend(event.account.get("on_behalf_of").and_then(pk));
    found.extend(event.context.pointer("/auth_method_args/actor").and_then(pk));
    let found: Vec<_> = found.iter().map(i32::to_string).collect();
    (!found.is_empty()).then(|| format!(",{},", found.join(",")))
}

/// The name that a stranger gave for whom they are, in the form of [`attempted`]: in a failed sign-in, or when they showed again
/// what was used before.
pub(super) fn tried(event: &Event) -> Option<String> {
    let typed = match event.action.as_str() {
        "login_failed" => text(&event.context, "/username"),
        "suspicious_request" if pk(&event.account).is_none() => text(&event.account, "/username"),
        _ => None,
    };
    typed.and_then(attempted)
}

/// The form in which what somebody types to sign in is compared with whom it may name: sign-in does not mind case either
/// (CO-030, CO-310). None for what names nobody: nothing at all, or more than any name has.
pub fn attempted(typed: &str) -> Option<String> {
    let typed = typed.trim();
    (!typed.is_empty() && !exceeds(typed, LONGEST_IDENTIFIER)).then(|| fold(&storable(typed)))
}

/// The user that an object names as such (CO-411).
fn user(object: &Value) -> Option<i32> {
    let member = |name: &str| object.get(name).and_then(Value::as_str);
    member("pk").filter(|_| member("model_name") == Some("user"))?.parse().ok()
}

fn named(value: &Value, found: &mut BTreeSet<i32>) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| named(value, found)),
        Value::Object(object) => {
            found.extend(user(value));
            object.values().for_each(|value| named(value, found));
        }
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => {}
    }
}

/// The events that say something about a user, for pseudonymisation (CO-818): what they did, and what names them as an object. Some
/// others may be among them. Failed sign-ins under their names are no part of them: see [`attempts`].
///
/// # Errors
/// When the database fails.
pub async fn about(conn: &mut Conn, account: UserPk) -> Result<Vec<Event>, StoreError> {
    many(on!(conn, c => sqlx::query(
        "SELECT * FROM event WHERE actor = $1 OR (model_pk = $2 AND model_name = 'user')
             OR (mentions IS NOT NULL AND mentions LIKE $3)",
    ).bind(account.0).bind(account.to_string()).bind(format!("%,{account},%")).fetch_all(c).await))
}

/// The events of a span of time in which a stranger tried to be somebody of this name, given in the form of [`attempted`]. First and
/// last instant are part of the span.
///
/// # Errors
/// When the database fails.
pub async fn attempts(conn: &mut Conn, name: &str, span: RangeInclusive<Timestamp>) -> Result<Vec<Event>, StoreError> {
    many(on!(conn, c => sqlx::query("SELECT * FROM event WHERE tried = $1 AND created BETWEEN $2 AND $3")
        .bind(name).bind(span.start().0).bind(span.end().0).fetch_all(c).await))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use uuid::Uuid;

    fn event(action: &str, account: Value, context: Value) -> Event {
        Event {
            pk: Uuid::nil(),
            action: action.to_owned(),
            app: String::new(),
            account,
            context,
            brand: json!({}),
            client_ip: None,
            created: Timestamp(0),
            expires: Timestamp(0),
        }
    }

    /// CO-818: an event is known by who did it, on whose behalf, whom it names wherever that is, and by the name that was tried.
    #[test]
    fn co_818_events_know_whom_they_are_about() {
        let user = |pk: &str| json!({"app": "authentik_core", "model_name": "user", "pk": pk, "name": "x"});
        let context = json!({"model": user("7"), "list": [{"deep": user("9")}, user("8"), user("no key")], "pk": "3"});
        let both = event("x", json!({"pk": 5, "on_behalf_of": {"pk": 6}}), context);
        assert_eq!((actor(&both), mentions(&both).as_deref()), (Some(5), Some(",6,8,9,")));
        let none = event("x", json!({"username": "ada"}), json!({"model": user("7"), "username": "ada"}));
        assert_eq!((actor(&none), mentions(&none), tried(&none)), (None, None, None));
        let failed = |name: &str| event("login_failed", json!({}), json!({"username": name}));
        for typed in ["ada", "ADA", " Ada ", "ａｄａ"] {
            assert_eq!(tried(&failed(typed)).as_deref(), Some("ada"), "{typed}");
        }
        assert_eq!(tried(&failed("a\0b")), attempted("A\0B"), "what a stranger sends can be stored");
        let again = |account: Value| tried(&event("suspicious_request", account, json!({"username": "eve"})));
        assert_eq!(again(json!({"username": "Ada", "is_anonymous": true})).as_deref(), Some("ada"));
        assert_eq!((again(json!({"pk": 5, "username": "ada"})), again(json!({"username": ""}))), (None, None));
        let acted = json!({"auth_method_args": {"sub": "x", "actor": {"sub": "y", "pk": 9, "username": "front"}}});
        assert_eq!(mentions(&event("login", json!({"pk": 5}), acted)).as_deref(), Some(",9,"));
        for nobody in ["", " ", &"a".repeat(300)] {
            assert_eq!(tried(&failed(nobody)), None);
        }
    }
}
