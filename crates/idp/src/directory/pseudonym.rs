//! What past events say of a deleted user (CO-818). Events about others stay as they are, whatever names occur
//! in them.

use portcullis_core::keys::sha256;
use portcullis_store::account::Account;
use portcullis_store::event::{self, Event};
use serde_json::{Map, Value, json};

use crate::change::Change;
use crate::error::Error;

/// Fields of a user that say who they are.
const PERSONAL: [&str; 3] = ["username", "name", "email"];

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
    for mut event in event::about(change.conn(), gone.pk, &identifiers).await? {
        rename(&mut event, gone, &identifiers, &pseudonym);
        event::pseudonymise(change.conn(), &event).await?;
    }
    Ok(())
}

fn rename(event: &mut Event, gone: &Account, identifiers: &[&str], pseudonym: &str) {
    if event.account.get("pk").and_then(Value::as_i64) == Some(gone.pk.0.into()) {
        event.client_ip = None;
        set_all(&mut event.account, pseudonym);
        // What they asked for and with which browser says who they were.
        if let Some(request) = event.context.get_mut("http_request").and_then(Value::as_object_mut) {
            request.insert("args".to_owned(), json!({}));
            request.insert("user_agent".to_owned(), json!(""));
        }
    }
    // Whoever acted as them did so in their name (CO-388).
    if let Some(named) = event.account.get_mut("on_behalf_of")
        && named.get("pk").and_then(Value::as_i64) == Some(gone.pk.0.into())
    {
        set_all(named, pseudonym);
    }
    if event.action == "login_failed" {
        for object in [&mut event.account, &mut event.context] {
            if object.get("username").and_then(Value::as_str).is_some_and(|name| identifiers.contains(&name)) {
                set_all(object, pseudonym);
            }
        }
    }
    let pk = gone.pk.to_string();
    if event.context.get("model").and_then(Value::as_object).is_some_and(|model| is_user(model, &pk))
        && let Some(diff) = event.context.get_mut("diff").and_then(Value::as_object_mut)
    {
        for (_, change) in diff.iter_mut().filter(|(field, _)| PERSONAL.contains(&field.as_str())) {
            *change = json!({"previous": pseudonym, "new": pseudonym});
        }
    }
    rename_objects(&mut event.context, &pk, pseudonym);
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
    for field in PERSONAL {
        if let Some(Value::String(text)) = object.get_mut(field)
            && !text.is_empty()
        {
            pseudonym.clone_into(text);
        }
    }
}
