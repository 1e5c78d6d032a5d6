//! What the attributes of an entry mean, before the API's reader gets them: masks, instants, what is added to, and the
//! secrets that it does not say.

use portcullis_core::attributes::MASK;
use portcullis_core::clock::Timestamp;
use portcullis_idp::{Change, directory, roles, tokens};
use serde_json::{Map, Value, json};

use super::extras::Extras;
use super::model::Model;
use super::write::{Refusal, refused, user};
use crate::api::body::Body;

/// Characters of a secret that nobody has said.
const RANDOM_SECRET: usize = 64;

/// The secrets that are not in a blueprint, as in none that `export` has written. A source gets a random one, as it cannot be
/// without; a mask stands for what another instance has, and is not taken for an attribute.
pub(super) fn missing(change: &Change<'_>, model: Model, body: &mut Body, extras: &Extras) -> Vec<String> {
    let mut missing = Vec::new();
    let text = |body: &Body, field: &str| {
        let given = body.iter().find(|(name, _)| *name == field).and_then(|(_, value)| value.as_str());
        given.unwrap_or_default().to_owned()
    };
    let field = match model {
        Model::User
            if extras.password.is_none() && matches!(text(body, "type").as_str(), "" | "internal" | "external") =>
        {
            Some("password")
        }
        Model::Token if extras.key.is_none() => Some("key"),
        Model::OAuth2Provider if text(body, "client_secret").is_empty() && text(body, "client_type") != "public" => {
            Some("client_secret")
        }
        Model::OAuthSource if text(body, "consumer_secret").is_empty() => {
            body.put("consumer_secret", change.context().entropy.alphanumeric(RANDOM_SECRET).into());
            Some("consumer_secret")
        }
        Model::Certificate if text(body, "key_data").is_empty() => Some("key_data"),
        _ => None,
    };
    missing.extend(field.map(str::to_owned));
    if let Some(Value::Object(mut attributes)) = body.take("attributes") {
        drop_masks(&mut attributes, &mut missing);
        body.put("attributes", Value::Object(attributes));
    }
    missing
}

fn drop_masks(attributes: &mut Map<String, Value>, missing: &mut Vec<String>) {
    attributes.retain(|name, value| {
        let is_mask = value.as_str() == Some(MASK);
        if is_mask {
            missing.push(format!("attribute {name}"));
        }
        !is_mask
    });
    for value in attributes.values_mut() {
        match value {
            Value::Object(inner) => drop_masks(inner, missing),
            Value::Array(items) => {
                items.iter_mut().filter_map(Value::as_object_mut).for_each(|inner| drop_masks(inner, missing))
            }
            _ => {}
        }
    }
}

/// A masked attribute means the one that is stored (CO-472).
pub(super) async fn unmask(change: &mut Change<'_>, found: &Value, body: &mut Body) -> Result<(), Refusal> {
    let Some(Value::Object(stored)) = found.get("attributes") else { return Ok(()) };
    let Some(given) = body.take("attributes") else { return Ok(()) };
    let meant = match given {
        Value::Object(given) => {
            let ctx = change.context();
            Value::Object(directory::secret_keys(ctx, change.conn()).await?.restored(given, stored))
        }
        other => other,
    };
    body.put("attributes", meant);
    Ok(())
}

/// A blueprint does not name the role that grants a user what is granted to them alone: it stays with them (CO-732).
pub(super) async fn with_own_role(change: &mut Change<'_>, found: &Value, body: &mut Body) -> Result<(), Refusal> {
    const FIELD: &str = "roles";
    let Some(own) = roles::known_of_in(change, user(&found["pk"])?).await?.map(|role| json!(role)) else {
        return Ok(());
    };
    let Some(given) = body.take(FIELD) else { return Ok(()) };
    let stored = found[FIELD].as_array().map(Vec::as_slice).unwrap_or_default();
    let kept = match given {
        Value::Array(mut given) if stored.contains(&own) => {
            if !given.contains(&own) {
                given.push(own);
            }
            let is_same = given.len() == stored.len() && given.iter().all(|role| stored.contains(role));
            Value::Array(if is_same { stored.to_vec() } else { given })
        }
        other => other,
    };
    body.put(FIELD, kept);
    Ok(())
}

/// When a token ends: the same instant may be written otherwise, and of an API token the instance says when (OA-602).
pub(super) fn as_stored(model: Model, token: &Value, body: &mut Body) {
    const FIELD: &str = "expires";
    if model != Model::Token || token["expires"].is_null() {
        return;
    }
    let instant = |value: &Value| value.as_str().and_then(Timestamp::parse_iso8601);
    let given = body.iter().find(|(field, _)| *field == FIELD).and_then(|(_, value)| instant(value));
    if given.is_some() && (token["intent"] == tokens::API || given == instant(&token["expires"])) {
        body.put(FIELD, token["expires"].clone());
    }
}

/// Our own: providers that an outpost is to serve beside what it serves already, so that each file can bring its own.
pub(super) fn more_providers(outpost: &Value, body: &mut Body) -> Result<(), Refusal> {
    const FIELD: &str = "additional_providers";
    let Some(more) = body.take(FIELD) else { return Ok(()) };
    let more = more.as_array().ok_or_else(|| refused(FIELD, "Expected a list of items."))?;
    let listed = body.take("providers").unwrap_or_else(|| outpost["providers"].clone());
    let mut all = listed.as_array().cloned().unwrap_or_default();
    for provider in more {
        if !all.contains(provider) {
            all.push(provider.clone());
        }
    }
    all.sort_by_key(Value::as_i64);
    body.put("providers", Value::Array(all));
    Ok(())
}
