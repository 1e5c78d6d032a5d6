//! Attributes of users and groups: JSON objects (CO-064 … CO-069, CO-472, CO-473).

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Attributes: key order is kept.
pub type Attributes = Map<String, Value>;

/// What stands for a secret value that is not shown (CO-472).
pub const MASK: &str = "********";

/// Beginning of the keys that have a meaning of their own (CO-068).
pub const RESERVED: &str = "goauthentik.io/";

const MAX_BYTES: usize = 256 * 1024;
const MAX_DEPTH: usize = 32;

/// Why a value cannot be attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttributesError {
    /// It is no object.
    #[error("Value must be a dictionary, and not have any duplicate keys.")]
    NotAnObject,
    /// It is longer than 256 KiB as text.
    #[error("Ensure this field has no more than 262144 bytes.")]
    Long,
    /// It has more than 32 levels.
    #[error("Ensure this field has no more than 32 levels.")]
    Deep,
    /// It changes a key under `goauthentik.io/` without the right to.
    #[error("Keys under goauthentik.io/ are reserved.")]
    Reserved,
}

/// Checks that a value may be stored as attributes (CO-069).
///
/// # Errors
/// [`AttributesError`] says what is wrong with it.
pub fn check(value: Value) -> Result<Attributes, AttributesError> {
    let Value::Object(attributes) = value else { return Err(AttributesError::NotAnObject) };
    if attributes.values().any(|value| deeper_than(value, MAX_DEPTH - 1)) {
        return Err(AttributesError::Deep);
    }
    if serde_json::to_string(&attributes).map_or(true, |text| text.len() > MAX_BYTES) {
        return Err(AttributesError::Long);
    }
    Ok(attributes)
}

fn deeper_than(value: &Value, levels: usize) -> bool {
    let within = |value: &Value| levels == 0 || deeper_than(value, levels - 1);
    match value {
        Value::Object(object) => levels == 0 || object.values().any(within),
        Value::Array(list) => levels == 0 || list.iter().any(within),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Merges later attributes onto earlier ones: objects key by key, lists end to end, anything else is
/// replaced (CO-065).
pub fn merge(earlier: &mut Attributes, later: Attributes) {
    for (key, value) in later {
        match (earlier.get_mut(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (Some(Value::Array(old)), Value::Array(new)) => old.extend(new),
            (Some(old), new) => *old = new,
            (None, new) => {
                earlier.insert(key, new);
            }
        }
    }
}

/// Whether `after` differs from `before` in a reserved key (CO-068).
pub fn changes_reserved(before: &Attributes, after: &Attributes) -> bool {
    let reserved = |attributes: &Attributes| -> Attributes {
        attributes.iter().filter(|(key, _)| key.starts_with(RESERVED)).map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    reserved(before) != reserved(after)
}

/// Patterns of names: `*` stands for any characters, none among them; case does not matter (CO-472).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patterns(Vec<String>);

impl Patterns {
    /// The patterns in force unless others are set.
    pub const DEFAULT: [&str; 4] = ["*password*", "*secret*", "*_token", "*api_key*"];

    /// Reads patterns.
    pub fn of<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Self {
        Self(patterns.into_iter().map(str::to_lowercase).collect())
    }

    fn matches(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        self.0.iter().any(|pattern| is_like(&name, pattern))
    }
}

impl Default for Patterns {
    fn default() -> Self {
        Self::of(Self::DEFAULT)
    }
}

/// Whether the pieces between the stars occur in this order, the first and the last one at the ends.
fn is_like(name: &str, pattern: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return name == pattern };
    let Some(mut left) = name.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match left.find(piece).and_then(|at| left.get(at + piece.len()..)) {
            Some(after) => left = after,
            None => return false,
        }
    }
    left.ends_with(last)
}

/// Which attributes are secret (CO-472).
#[derive(Clone, Debug, Default)]
pub struct SecretKeys {
    /// Names of the top-level attributes that hold upstream passwords of proxy providers.
    pub upstream_passwords: BTreeSet<String>,
    /// Names of other secrets, at any depth.
    pub patterns: Patterns,
}

impl SecretKeys {
    /// Whether what stands under a key, which is no reserved one's, is secret.
    pub fn names(&self, key: &str, top: bool) -> bool {
        !key.starts_with(RESERVED) && ((top && self.upstream_passwords.contains(key)) || self.patterns.matches(key))
    }

    /// The attributes with a mask in place of each secret value.
    pub fn masked(&self, attributes: &Attributes) -> Attributes {
        self.mask_object(attributes, true)
    }

    /// The attributes without secret values, those of `kept` at the top apart (CO-229).
    pub fn without(&self, attributes: &Attributes, kept: &[&str]) -> Attributes {
        let plain = attributes.iter().filter(|(key, _)| kept.contains(&key.as_str()) || !self.names(key, true));
        let inner = |(key, value): (&String, &Value)| {
            let whole = kept.contains(&key.as_str()) || key.starts_with(RESERVED);
            (key.clone(), if whole { value.clone() } else { self.without_inside(value) })
        };
        plain.map(inner).collect()
    }

    fn without_inside(&self, value: &Value) -> Value {
        match value {
            Value::Object(object) => {
                let plain = object.iter().filter(|(key, _)| !self.names(key, false));
                Value::Object(plain.map(|(key, value)| (key.clone(), self.without_inside(value))).collect())
            }
            Value::Array(list) => Value::Array(list.iter().map(|value| self.without_inside(value)).collect()),
            other => other.clone(),
        }
    }

    fn mask_object(&self, attributes: &Attributes, top: bool) -> Attributes {
        let mask = |(key, value): (&String, &Value)| {
            let shown = if self.names(key, top) {
                Value::String(MASK.to_owned())
            } else if key.starts_with(RESERVED) {
                value.clone()
            } else {
                self.mask_value(value)
            };
            (key.clone(), shown)
        };
        attributes.iter().map(mask).collect()
    }

    fn mask_value(&self, value: &Value) -> Value {
        match value {
            Value::Object(object) => Value::Object(self.mask_object(object, false)),
            Value::Array(list) => Value::Array(list.iter().map(|value| self.mask_value(value)).collect()),
            other => other.clone(),
        }
    }

    /// What a client means that writes back attributes it was shown with masks: a mask in place of a secret
    /// leaves the stored value as it is (CO-473).
    pub fn restored(&self, written: Attributes, stored: &Attributes) -> Attributes {
        self.restore_object(written, Some(stored), true)
    }

    fn restore_object(&self, written: Attributes, stored: Option<&Attributes>, top: bool) -> Attributes {
        let restore = |(key, value): (String, Value)| {
            let old = stored.and_then(|stored| stored.get(&key));
            let kept = if self.names(&key, top) && value.as_str() == Some(MASK) {
                old?.clone()
            } else {
                self.restore_value(value, old)
            };
            Some((key, kept))
        };
        written.into_iter().filter_map(restore).collect()
    }

    fn restore_value(&self, written: Value, stored: Option<&Value>) -> Value {
        match written {
            Value::Object(object) => {
                Value::Object(self.restore_object(object, stored.and_then(Value::as_object), false))
            }
            Value::Array(list) => {
                let old = stored.and_then(Value::as_array);
                let restored = list
                    .into_iter()
                    .enumerate()
                    .map(|(index, value)| self.restore_value(value, old.and_then(|old| old.get(index))));
                Value::Array(restored.collect())
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Attributes {
        check(value).expect("attributes")
    }

    /// CO-065: each row of the merge table.
    #[test]
    fn co_065_the_merge_table() {
        for (earlier, later, merged) in [
            (json!({}), json!({"a": 1}), json!({"a": 1})),
            (json!({"a": {"x": 1, "y": 1}}), json!({"a": {"y": 2, "z": 3}}), json!({"a": {"x": 1, "y": 2, "z": 3}})),
            (json!({"a": [1, 2]}), json!({"a": [2, 3]}), json!({"a": [1, 2, 2, 3]})),
            (json!({"a": {"x": 1}}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"a": null}), json!({"a": {"x": 1}}), json!({"a": {"x": 1}})),
            (json!({"a": [1]}), json!({"a": null}), json!({"a": null})),
            (json!({"a": "x"}), json!({"a": 7}), json!({"a": 7})),
        ] {
            let mut result = object(earlier.clone());
            merge(&mut result, object(later.clone()));
            assert_eq!(Value::Object(result), merged, "{earlier} + {later}");
        }
    }

    /// CO-066, CO-820: merging again gives the same result, because inputs are never shared.
    #[test]
    fn co_066_merging_leaves_its_inputs_alone() {
        let group = object(json!({"list": [1], "nested": {"list": [1]}}));
        let user = object(json!({"list": [2], "nested": {"list": [2]}}));
        let run = || {
            let mut result = Attributes::new();
            merge(&mut result, group.clone());
            merge(&mut result, user.clone());
            result
        };
        assert_eq!(run(), run());
        assert_eq!(Value::Object(run()), json!({"list": [1, 2], "nested": {"list": [1, 2]}}));
    }

    /// CO-069: only objects of limited length and depth are attributes; key order is kept.
    #[test]
    fn co_069_attributes_have_limits() {
        assert_eq!(check(json!([1])), Err(AttributesError::NotAnObject));
        assert_eq!(check(json!({"a": "x".repeat(256 * 1024)})), Err(AttributesError::Long));
        let mut deep = json!(1);
        for _ in 0..31 {
            deep = json!({ "a": deep });
        }
        assert!(check(json!({ "a": deep.clone() })).is_ok());
        assert_eq!(check(json!({"a": {"a": deep}})), Err(AttributesError::Deep));
        let kept = object(json!({"z": 1, "a": 12345678901234567_u64, "m": 0.1}));
        assert_eq!(serde_json::to_string(&kept).expect("text"), r#"{"z":1,"a":12345678901234567,"m":0.1}"#);
    }

    /// CO-472: upstream passwords and keys that look secret are masked at any depth; reserved keys never.
    #[test]
    fn co_472_secrets_are_masked() {
        let secrets = SecretKeys { upstream_passwords: BTreeSet::from(["app_pw".to_owned()]), ..SecretKeys::default() };
        let shown = secrets.masked(&object(json!({
            "app_pw": "s", "app_user": "u", "My_Password": "s", "nested": [{"api_key": "s", "app_pw": "plain"}],
            "access_token": {"a": 1}, "goauthentik.io/user/secret": "shown", "tokens": 1,
        })));
        assert_eq!(
            Value::Object(shown),
            json!({
                "app_pw": MASK, "app_user": "u", "My_Password": MASK, "nested": [{"api_key": MASK, "app_pw": "plain"}],
                "access_token": MASK, "goauthentik.io/user/secret": "shown", "tokens": 1,
            })
        );
    }

    /// CO-473: writing the mask back changes nothing; writing another value replaces the secret.
    #[test]
    fn co_473_a_mask_written_back_keeps_the_secret() {
        let secrets = SecretKeys::default();
        let stored = object(json!({"password": "old", "list": [{"secret": 1}], "note": "x"}));
        let mut written = secrets.masked(&stored);
        written.insert("note".to_owned(), json!("y"));
        written.insert("other_password".to_owned(), json!(MASK));
        let kept = secrets.restored(written, &stored);
        assert_eq!(Value::Object(kept), json!({"password": "old", "list": [{"secret": 1}], "note": "y"}));
        let replaced = secrets.restored(object(json!({"password": "new"})), &stored);
        assert_eq!(Value::Object(replaced), json!({"password": "new"}));
    }

    /// CO-068: a change of a reserved key is noticed, a change of another is not one.
    #[test]
    fn co_068_reserved_keys_are_noticed() {
        let before = object(json!({"a": 1, "goauthentik.io/user/token-expires": true}));
        assert!(!changes_reserved(&before, &object(json!({"goauthentik.io/user/token-expires": true}))));
        assert!(changes_reserved(&before, &object(json!({"a": 1}))));
        assert!(changes_reserved(&Attributes::new(), &before));
    }
}
