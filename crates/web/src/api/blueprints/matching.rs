//! Which objects are meant by identifiers and by the conditions of `!Find` (CO-722).

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
    let others: Vec<_> = identifiers.iter().filter(|(field, _)| *field != "pk" && !is_secret(model, field)).collect();
    let pk = identifiers.get("pk").filter(|pk| !pk.is_null());
    let objects = model.objects(change, hint(&others, pk.is_some())).await?;
    if let Some(managed) = identifiers.get("managed").filter(|managed| !managed.is_null()) {
        let kept: Vec<_> = objects.iter().filter(|object| object.get("managed") == Some(managed)).cloned().collect();
        if !kept.is_empty() {
            return Ok(kept);
        }
    }
    let mut meant = Vec::new();
    for object in objects {
        let by_key = pk.is_some_and(|pk| same(&model.key(&object), pk));
        if by_key || (!others.is_empty() && agrees(change, &object, &others).await?) {
            meant.push(object);
        }
    }
    Ok(meant)
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
    let conditions: Vec<_> = conditions.iter().map(|(field, value)| (field, value)).collect();
    for object in model.objects(change, hint(&conditions, false)).await? {
        if agrees(change, &with_key(model, &object), &conditions).await? {
            return Ok(Some(object));
        }
    }
    Ok(None)
}

/// Secrets are what an object gets, not what it is found by.
fn is_secret(model: Model, field: &str) -> bool {
    (model == Model::Token && field == "key") || (model == Model::User && field == "password")
}

/// What narrows a list down; nothing when somebody may be meant by their key instead.
fn hint<'a>(conditions: &'a [(&'a String, &'a Value)], by_key: bool) -> impl Fn(&str) -> Option<String> + 'a {
    move |wanted| {
        let found = conditions.iter().find(|(field, _)| !by_key && *field == wanted);
        found.and_then(|(_, value)| value.as_str()).filter(|text| !text.is_empty()).map(str::to_owned)
    }
}

fn with_key(model: Model, object: &Value) -> Value {
    let mut object = object.clone();
    if let (key, Some(members)) = (model.key(&object), object.as_object_mut()) {
        members.insert("pk".to_owned(), key);
    }
    object
}

async fn agrees(change: &mut Change<'_>, object: &Value, wanted: &[(&String, &Value)]) -> Result<bool, Error> {
    for (field, value) in wanted {
        let agrees = match (object.get(field.as_str()), field.split_once("__")) {
            (Some(stored), _) => holds(stored, value),
            (None, Some((field, beyond))) => {
                let stored = object.get(field).cloned().unwrap_or_default();
                reaches(change, field, &stored, beyond, value).await?
            }
            (None, None) => false,
        };
        if !agrees {
            return Ok(false);
        }
    }
    Ok(true)
}

/// One step further: into an object, or to what is named there.
async fn reaches(
    change: &mut Change<'_>,
    field: &str,
    stored: &Value,
    beyond: &str,
    wanted: &Value,
) -> Result<bool, Error> {
    if let Value::Object(members) = stored {
        return Ok(members.get(beyond).is_some_and(|stored| holds(stored, wanted)));
    }
    let keys = stored.as_array().map_or(std::slice::from_ref(stored), Vec::as_slice);
    for model in Model::related(field) {
        for object in model.objects(change, |_| None).await? {
            let named = keys.iter().any(|key| same(&model.key(&object), key));
            if named && object.get(beyond).is_some_and(|stored| holds(stored, wanted)) {
                return Ok(true);
            }
        }
    }
    Ok(false)
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
