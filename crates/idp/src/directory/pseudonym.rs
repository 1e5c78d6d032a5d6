//! What past events say of a deleted user (CO-818). Events about others stay as they are, whatever names occur
//! in them.

use std::collections::BTreeMap;

use portcullis_core::clock::Timestamp;
use portcullis_core::id::UserPk;
use portcullis_core::keys::sha256;
use portcullis_store::account::{self, Account};
use portcullis_store::event::{self, Event};
use serde_json::{Map, Value, json};

use crate::change::Change;
use crate::error::Error;

/// Fields of a user that say who they are.
const PERSONAL: [&str; 3] = ["username", "name", "email"];

/// What `login` says of how somebody proved who they are, in words that name them: what they typed, what their app
/// password is called, who they are to those that vouched for them.
const SAID: [&str; 2] = ["identifier", "sub"];

/// What a user is called once they are gone.
pub(super) fn of(account: &Account) -> String {
    // The permanent id is gone with the user: nobody can go back from here.
    let digest = sha256(account.uuid.as_bytes());
    format!("deleted-{}", hex::encode(digest.first_chunk::<4>().copied().unwrap_or_default()))
}

/// Takes a user's name out of past events.
pub(super) async fn apply(change: &mut Change<'_>, gone: &Account) -> Result<(), Error> {
    let pseudonym = of(gone);
    let mut events = event::about(change.conn(), gone.pk).await?;
    let mut attempted = Vec::new();
    for (name, held) in held(&events, gone) {
        // Several may have one address: attempts under it are not for certain about whoever goes.
        if !held.is_username && account::is_name_of_another(change.conn(), &name, gone.pk, held.until).await? {
            continue;
        }
        events.extend(event::attempts(change.conn(), &name, held.since..=held.until).await?);
        attempted.push(name);
    }
    events.sort_by_key(|event| event.pk);
    events.dedup_by_key(|event| event.pk);
    for mut event in events {
        rename(&mut event, gone.pk, &attempted, &pseudonym);
        event::pseudonymise(change.conn(), &event).await?;
    }
    Ok(())
}

/// When somebody had a name. Attempts before and after are about others, or about nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    since: Timestamp,
    until: Timestamp,
    /// No two users have one of these at the same time.
    is_username: bool,
}

/// The names that a user has and had before, in the form in which attempts are compared: as far as these events about them tell.
fn held(events: &[Event], gone: &Account) -> BTreeMap<String, Held> {
    let pk = gone.pk.to_string();
    let mut names = BTreeMap::<String, Held>::new();
    let mut in_order: Vec<_> = events.iter().collect();
    in_order.sort_by_key(|event| event.created);
    for event in in_order {
        let theirs = Some(&event.account).filter(|account| is_of(account, gone.pk));
        let about_them = event.context.get("model").and_then(Value::as_object).is_some_and(|model| is_user(model, &pk));
        let diff = event.context.get("diff").filter(|_| about_them);
        for field in ["username", "email"] {
            let side = |side: &str| diff.and_then(|diff| diff.get(field)?.get(side)).and_then(name_of);
            let (before, after) = (side("previous"), side("new"));
            // This is when they take it; any other that occurs for the first time, they may have had from the beginning.
            let taken = after.clone().filter(|after| before.as_ref() != Some(after));
            let then = theirs.and_then(|account| account.get(field)).and_then(name_of);
            for name in [before, after, then].into_iter().flatten() {
                let since = if taken.as_ref() == Some(&name) { event.created } else { gone.date_joined };
                let held = names.entry(name).or_insert(Held { since, until: event.created, is_username: false });
                held.until = event.created;
                held.is_username |= field == "username";
            }
        }
    }
    for (text, is_username) in [(&gone.username, true), (&gone.email, false)] {
        let Some(name) = event::attempted(text) else { continue };
        let since = gone.date_joined;
        let held = names.entry(name).or_insert(Held { since, until: since, is_username });
        held.until = Timestamp(i64::MAX);
        held.is_username |= is_username;
    }
    names
}

fn name_of(value: &Value) -> Option<String> {
    value.as_str().and_then(event::attempted)
}

/// Whether an object that says who did something names this user.
fn is_of(account: &Value, user: UserPk) -> bool {
    account.get("pk").and_then(Value::as_i64) == Some(user.0.into())
}

fn rename(event: &mut Event, gone: UserPk, attempted: &[String], pseudonym: &str) {
    let is_theirs = is_of(&event.account, gone);
    let is_attempt = is_attempt_of(event, attempted);
    if is_theirs || is_attempt {
        event.client_ip = None;
        set_all(&mut event.account, pseudonym);
        // What they asked for and with which browser says who they were.
        if let Some(request) = event.context.get_mut("http_request").and_then(Value::as_object_mut) {
            request.insert("args".to_owned(), json!({}));
            request.insert("user_agent".to_owned(), json!(""));
        }
    }
    if event.action == "login_failed" && (is_theirs || is_attempt) {
        // They may have been called otherwise then: it is by number that their own are known.
        set_all(&mut event.context, pseudonym);
    }
    if is_theirs
        && event.action == "login"
        && let Some(args) = event.context.get_mut("auth_method_args")
    {
        set(args, &SAID, pseudonym);
    }
    // Whoever acted as them did so in their name (CO-388).
    if let Some(named) = event.account.get_mut("on_behalf_of").filter(|named| is_of(named, gone)) {
        set_all(named, pseudonym);
    }
    // They had a token of somebody else's (OA-348).
    if let Some(actor) = event.context.pointer_mut("/auth_method_args/actor").filter(|actor| is_of(actor, gone)) {
        set(actor, &["username", "sub"], pseudonym);
    }
    let pk = gone.to_string();
    if event.context.get("model").and_then(Value::as_object).is_some_and(|model| is_user(model, &pk))
        && let Some(diff) = event.context.get_mut("diff").and_then(Value::as_object_mut)
    {
        for (_, change) in diff.iter_mut().filter(|(field, _)| PERSONAL.contains(&field.as_str())) {
            *change = json!({"previous": pseudonym, "new": pseudonym});
        }
    }
    rename_objects(&mut event.context, &pk, pseudonym);
}

/// Whether a stranger has failed to sign in under one of these names, or showed again what was used before, in whatever form the
/// name was typed. Whoever is known by number is no stranger, whatever they were called then.
fn is_attempt_of(event: &Event, attempted: &[String]) -> bool {
    let names = |object: &Value| {
        let name = object.get("username").and_then(Value::as_str).and_then(event::attempted);
        name.is_some_and(|name| attempted.contains(&name))
    };
    let is_stranger = event.account.get("pk").is_none();
    match event.action.as_str() {
        "login_failed" => is_stranger && (names(&event.account) || names(&event.context)),
        "suspicious_request" => is_stranger && names(&event.account),
        _ => false,
    }
}

/// Whether this is how an event names the user as an object (CO-411).
fn is_user(object: &Map<String, Value>, pk: &str) -> bool {
    let is = |member: &str, value: &str| object.get(member).and_then(Value::as_str) == Some(value);
    is("app", "authentik_core") && is("model_name", "user") && is("pk", pk)
}

fn rename_objects(value: &mut Value, pk: &str, pseudonym: &str) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(|value| rename_objects(value, pk, pseudonym)),
        Value::Object(object) => {
            if is_user(object, pk) {
                object.insert("name".to_owned(), json!(pseudonym));
            }
            object.values_mut().for_each(|value| rename_objects(value, pk, pseudonym));
        }
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => {}
    }
}

/// Gives every personal member that is there the pseudonym as its value.
fn set_all(object: &mut Value, pseudonym: &str) {
    set(object, &PERSONAL, pseudonym);
}

/// Gives every one of these members that is there the pseudonym as its value.
fn set(object: &mut Value, fields: &[&str], pseudonym: &str) {
    for field in fields {
        if let Some(Value::String(text)) = object.get_mut(*field)
            && !text.is_empty()
        {
            pseudonym.clone_into(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn renamed(action: &str, account: Value, context: Value) -> Event {
        let mut event = Event {
            pk: Uuid::nil(),
            action: action.to_owned(),
            app: String::new(),
            account,
            context,
            brand: json!({}),
            client_ip: Some("192.0.2.1".to_owned()),
            created: Timestamp(0),
            expires: Timestamp(0),
        };
        let attempted = ["Bob", "bob@Secret.Example"].map(|name| event::attempted(name).expect("a name"));
        rename(&mut event, UserPk(7), &attempted, "deleted-1");
        event
    }

    /// CO-818: failed attempts of strangers under a name of the deleted user's forget it, from where they came and with
    /// which browser, in whatever form the name was typed.
    #[test]
    fn co_818_attempts_of_strangers_are_forgotten() {
        for typed in ["BOB", "bob", " Bob ", "BOB@SECRET.example"] {
            let request = json!({"args": {"login_hint": typed}, "user_agent": "x", "path": "/"});
            let event =
                renamed("login_failed", json!({"username": ""}), json!({"username": typed, "http_request": request}));
            let request = json!({"args": {}, "user_agent": "", "path": "/"});
            assert_eq!(event.context, json!({"username": "deleted-1", "http_request": request}));
            assert_eq!((event.client_ip, event.account), (None, json!({"username": ""})), "{typed}");
        }
        let both = renamed("login_failed", json!({"username": "bob"}), json!({"username": "bob"}));
        assert_eq!((&both.account["username"], &both.context["username"]), (&json!("deleted-1"), &json!("deleted-1")));
        let again = renamed("suspicious_request", json!({"username": "BOB"}), json!({"message": "bob"}));
        assert_eq!((&again.account["username"], &again.context["message"]), (&json!("deleted-1"), &json!("bob")));
        assert_eq!(again.client_ip, None);
        for (action, typed) in [("login_failed", "bobby"), ("suspicious_request", "bob")] {
            let other = renamed(action, json!({"username": ""}), json!({"username": typed}));
            assert_eq!((&other.context["username"], other.client_ip.is_some()), (&json!(typed), true), "{action}");
        }
    }

    /// CO-818: whoever failed and is known by number is that user, whatever they were called then.
    #[test]
    fn co_818_failures_are_known_by_number() {
        let theirs = renamed("login_failed", json!({"pk": 7, "username": "old"}), json!({"username": "old"}));
        assert_eq!((&theirs.context["username"], theirs.client_ip), (&json!("deleted-1"), None));
        let others = renamed("login_failed", json!({"pk": 8, "username": "bob"}), json!({"username": "bob"}));
        assert_eq!((others.account, others.context), (json!({"pk": 8, "username": "bob"}), json!({"username": "bob"})));
        assert!(others.client_ip.is_some());
    }

    /// CO-818: how a deleted user proved who they were stays known, but not in words that name them.
    #[test]
    fn co_818_logins_do_not_say_who_it_was() {
        let login = |pk: i32| {
            let args = json!({"known_device": true, "identifier": "BOB", "sub": "bob@secret.example", "iss": "i"});
            renamed("login", json!({"pk": pk}), json!({"auth_method": "jwt", "auth_method_args": args})).context
        };
        let args = json!({"known_device": true, "identifier": "deleted-1", "sub": "deleted-1", "iss": "i"});
        assert_eq!(login(7), json!({"auth_method": "jwt", "auth_method_args": args}));
        assert_eq!(login(8)["auth_method_args"]["identifier"], "BOB");
        let acts = |pk: i32| {
            let args = json!({"sub": "ada", "actor": {"pk": pk, "username": "bob", "sub": "b", "iss": "i"}});
            renamed("login", json!({"pk": 8}), json!({"auth_method_args": args})).context["auth_method_args"].clone()
        };
        let actor = json!({"pk": 7, "username": "deleted-1", "sub": "deleted-1", "iss": "i"});
        assert_eq!(acts(7), json!({"sub": "ada", "actor": actor}));
        assert_eq!(acts(9)["actor"]["username"], "bob");
    }

    /// CO-818: what a deleted user was called, and when, is known from what they did then, and from what was changed of them.
    #[test]
    fn co_818_earlier_names_are_known_from_events() {
        let event = |created: i64, account: Value, context: Value| Event {
            pk: Uuid::nil(),
            action: "model_updated".to_owned(),
            app: String::new(),
            account,
            context,
            brand: json!({}),
            client_ip: None,
            created: Timestamp(created),
            expires: Timestamp(0),
        };
        let user = |pk: &str| json!({"app": "authentik_core", "model_name": "user", "pk": pk});
        let diff = json!({"username": {"previous": "Bob", "new": "rob"}, "email": {"previous": "", "new": "b@c.example"},
            "name": {"previous": "Robert", "new": "Rob"}});
        let case = json!({"username": {"previous": "rob", "new": "Rob"}});
        let events = [
            event(4, json!({"pk": 7, "username": "rob"}), json!({"model": user("7"), "diff": case})),
            event(3, json!({"pk": 1, "username": "akadmin"}), json!({"model": user("7"), "diff": diff})),
            event(2, json!({"pk": 7, "username": "bob", "email": "Old@C.example"}), json!({})),
            event(9, json!({"pk": 8, "username": "eve"}), json!({"model": user("8"), "diff": diff})),
        ];
        let gone = Account {
            pk: UserPk(7),
            uuid: Uuid::nil(),
            username: "Rob".to_owned(),
            name: String::new(),
            email: "now@c.example".to_owned(),
            is_active: true,
            kind: "internal".to_owned(),
            path: "users".to_owned(),
            attributes_sealed: Vec::new(),
            password_hash: None,
            password_changed: Timestamp(1),
            date_joined: Timestamp(1),
            last_updated: Timestamp(1),
            last_login: None,
            generated_for: None,
        };
        let names = [
            ("b@c.example", (3, 3, false)),
            ("bob", (1, 3, true)),
            ("now@c.example", (1, i64::MAX, false)),
            ("old@c.example", (1, 2, false)),
            ("rob", (3, i64::MAX, true)),
        ];
        let names = names.map(|(name, (since, until, is_username))| {
            (name.to_owned(), Held { since: Timestamp(since), until: Timestamp(until), is_username })
        });
        assert_eq!(held(&events, &gone), BTreeMap::from(names));
    }
}
