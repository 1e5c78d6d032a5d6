//! What past events say of a deleted user (CO-818). Events about others stay as they are, whatever names occur
//! in them.

use portcullis_core::id::UserPk;
use portcullis_core::keys::sha256;
use portcullis_store::account::Account;
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
    let identifiers: Vec<&str> =
        [&gone.username, &gone.email].into_iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
    let attempted: Vec<String> = identifiers.iter().filter_map(|text| event::attempted(text)).collect();
    for mut event in event::about(change.conn(), gone.pk, &identifiers).await? {
        rename(&mut event, gone.pk, &attempted, &pseudonym);
        event::pseudonymise(change.conn(), &event).await?;
    }
    Ok(())
}

fn rename(event: &mut Event, gone: UserPk, attempted: &[String], pseudonym: &str) {
    let is_theirs = event.account.get("pk").and_then(Value::as_i64) == Some(gone.0.into());
    let is_attempt = event.action == "login_failed" && (is_theirs || is_attempt_of(event, attempted));
    if is_theirs || is_attempt {
        event.client_ip = None;
        set_all(&mut event.account, pseudonym);
        // What they asked for and with which browser says who they were.
        if let Some(request) = event.context.get_mut("http_request").and_then(Value::as_object_mut) {
            request.insert("args".to_owned(), json!({}));
            request.insert("user_agent".to_owned(), json!(""));
        }
    }
    if is_attempt {
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
    if let Some(named) = event.account.get_mut("on_behalf_of")
        && named.get("pk").and_then(Value::as_i64) == Some(gone.0.into())
    {
        set_all(named, pseudonym);
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

/// Whether a stranger has failed to sign in under one of these names, in whatever form it was typed. Whoever is known by
/// number is no stranger, whatever they were called then.
fn is_attempt_of(event: &Event, attempted: &[String]) -> bool {
    let names = |object: &Value| {
        let name = object.get("username").and_then(Value::as_str).and_then(event::attempted);
        name.is_some_and(|name| attempted.contains(&name))
    };
    event.account.get("pk").is_none() && (names(&event.account) || names(&event.context))
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
    use portcullis_core::clock::Timestamp;
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
    }
}
