//! Which objects are meant by identifiers and by the conditions of `!Find` (CO-722).

use std::collections::HashMap;

use portcullis_idp::{Change, Error};
use serde_json::{Map, Value};

use super::model::Model;

/// The objects that identifiers mean: the one with the key if one is named, or all that agree with everything else.
/// A permanent name comes first (CO-736).
///
/// # Errors
/// When the store fails.
pub(super) async fn identified(
    change: &mut Change<'_>,
    model: Model,
    identifiers: &Map<String, Value>,
) -> Result<Vec<Value>, Error> {
    if let Some(managed) = identifiers.get("managed").filter(|managed| !managed.is_null()) {
        let hint = |field: &str| if field == "managed" { text(managed) } else { None };
        let mut kept = model.objects(change, hint).await?;
        kept.retain(|object| object.get("managed") == Some(managed));
        if !kept.is_empty() {
            return Ok(kept);
        }
    }
    let others = identifiers.iter().filter(|(field, _)| *field != "pk" && !is_secret(model, field));
    let others = Conditions::of(change, others.map(|(field, value)| (field.as_str(), value)).collect()).await?;
    let pk = identifiers.get("pk").filter(|pk| !pk.is_null());
    let objects = match pk {
        None => model.objects(change, |field| others.hint(field)).await?,
        // Somebody may be meant by their key, whatever else is said.
        Some(_) if !others.all.is_empty() => model.objects(change, |_| None).await?,
        Some(pk) => model.objects(change, |field| if field == "pk" { text(pk) } else { None }).await?,
    };
    let is_meant = |object: &Value| {
        pk.is_some_and(|pk| same(&model.key(object), pk)) || (!others.all.is_empty() && others.agree(object))
    };
    Ok(objects.into_iter().filter(is_meant).collect())
}

/// The first object, by ascending key, that meets all conditions.
///
/// # Errors
/// When the store fails.
pub(super) async fn first(
    change: &mut Change<'_>,
    model: Model,
    conditions: &[(String, Value)],
) -> Result<Option<Value>, Error> {
    let conditions = conditions.iter().map(|(field, value)| (field.as_str(), value)).collect();
    let conditions = Conditions::of(change, conditions).await?;
    let objects = model.objects(change, |field| conditions.hint(field)).await?;
    Ok(objects.into_iter().find(|object| conditions.agree(&with_key(model, object))))
}

/// Secrets are what an object gets, not what it is found by.
fn is_secret(model: Model, field: &str) -> bool {
    (model == Model::Token && field == "key") || (model == Model::User && field == "password")
}

fn with_key(model: Model, object: &Value) -> Value {
    let mut object = object.clone();
    if let (key, Some(members)) = (model.key(&object), object.as_object_mut()) {
        members.insert("pk".to_owned(), key);
    }
    object
}

/// What objects must agree with.
struct Conditions<'a> {
    all: Vec<(&'a str, &'a Value)>,
    /// Keys of what the fields with a step further may name.
    beyond: HashMap<&'a str, Vec<Value>>,
}

impl<'a> Conditions<'a> {
    /// What is beyond is looked up here, once for all objects that are compared.
    async fn of(change: &mut Change<'_>, all: Vec<(&'a str, &'a Value)>) -> Result<Self, Error> {
        let mut beyond = HashMap::new();
        for (name, wanted) in &all {
            let Some((field, further)) = name.split_once("__") else { continue };
            let mut keys = Vec::new();
            for model in Model::related(field) {
                let hint = |name: &str| if name == further { text(wanted) } else { None };
                for object in model.objects(change, hint).await? {
                    if object.get(further).is_some_and(|stored| holds(stored, wanted)) {
                        keys.push(model.key(&object));
                    }
                }
            }
            beyond.insert(*name, keys);
        }
        Ok(Self { all, beyond })
    }

    /// What narrows a list down.
    fn hint(&self, wanted: &str) -> Option<String> {
        self.all.iter().find_map(|(name, value)| match name.split_once("__") {
            _ if *name == wanted => text(value),
            Some((field, _)) if field == wanted => match self.beyond.get(name).map(Vec::as_slice) {
                Some([one]) => text(one),
                _ => None,
            },
            _ => None,
        })
    }

    fn agree(&self, object: &Value) -> bool {
        self.all.iter().all(|(name, wanted)| match (object.get(*name), name.split_once("__")) {
            (Some(stored), _) => holds(stored, wanted),
            (None, Some((field, further))) => match object.get(field) {
                Some(Value::Object(members)) => members.get(further).is_some_and(|stored| holds(stored, wanted)),
                Some(stored) => {
                    let named = stored.as_array().map_or(std::slice::from_ref(stored), Vec::as_slice);
                    let keys = self.beyond.get(name).map(Vec::as_slice).unwrap_or_default();
                    keys.iter().any(|key| named.iter().any(|named| same(key, named)))
                }
                None => false,
            },
            (None, None) => false,
        })
    }
}

/// A value by which a list can be narrowed down: nothing for what cannot be, or would not narrow it.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Whether a stored value is the wanted one; of objects, whether it contains it.
pub(super) fn holds(stored: &Value, wanted: &Value) -> bool {
    match (stored, wanted) {
        (Value::Object(stored), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| stored.get(key).is_some_and(|stored| holds(stored, wanted)))
        }
        _ => same(stored, wanted),
    }
}

/// Whether two values are the same, however numbers and keys are written.
fn same(stored: &Value, wanted: &Value) -> bool {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    if stored == wanted {
        return true;
    }
    match (text(stored), text(wanted)) {
        (Some(stored), Some(wanted)) => {
            stored == wanted || (uuid::Uuid::parse_str(&stored).is_ok() && stored.eq_ignore_ascii_case(&wanted))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// CO-722: objects match when they contain what is asked for; keys and numbers whatever their spelling.
    #[test]
    fn co_722_values_match_by_what_they_mean() {
        let uuid = "0a000000-0000-4000-8000-00000000000b";
        for (stored, wanted, holding) in [
            (json!({"a": {"b": 1, "c": 2}}), json!({"a": {"b": 1}}), true),
            (json!({"a": {"b": 1}}), json!({"a": {"b": 2}}), false),
            (json!({"a": 1}), json!({}), true),
            (json!(7), json!("7"), true),
            (json!(uuid), json!(uuid.to_uppercase()), true),
            (json!("Ada"), json!("ada"), false),
            (json!(null), json!(null), true),
            (json!(false), json!(null), false),
            (json!([1, 2]), json!([1, 2]), true),
            (json!([1, 2]), json!([1]), false),
        ] {
            assert_eq!(holds(&stored, &wanted), holding, "{stored} {wanted}");
        }
    }
}
