//! By which attributes users are found without opening those of everybody (CO-540, CO-472).
//!
//! Attributes are sealed, so that a database cannot look into them. What it keeps beside them is a keyed digest of each
//! *mark*: that a path leads to a value. Marks are made of plain values alone. Where a secret stands, or something that has
//! parts, the mark says only that there is something at this path, and whoever looks has to open it: a copy of the
//! database does not even tell who has the same password.

use serde_json::Value;

use crate::attributes::{Attributes, MASK, RESERVED, SecretKeys};
use crate::username::{self, LONGEST_IDENTIFIER};

/// Most marks of one user. Who has more attributes is looked at with every question.
pub const MOST: usize = 256;

/// Between the steps of a path.
const STEP: &str = "__";

/// Something that attributes have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Mark {
    /// This path leads to this value, which has no parts; the value is JSON.
    Value(String, String),
    /// This path leads to an object or a list.
    Parts(String),
    /// This path leads to a secret, or to what was one when the mark was made.
    Secret(String),
    /// There are too many attributes for marks.
    Many,
    /// Somebody may sign in by this text, which is folded.
    Upn(String),
}

impl Mark {
    /// What a digest of it is made from.
    pub fn parts(&self) -> [&[u8]; 3] {
        match self {
            Self::Value(path, value) => [b"value", path.as_bytes(), value.as_bytes()],
            Self::Parts(path) => [b"parts", path.as_bytes(), b""],
            Self::Secret(path) => [b"secret", path.as_bytes(), b""],
            Self::Many => [b"many", b"", b""],
            Self::Upn(folded) => [b"upn", folded.as_bytes(), b""],
        }
    }
}

/// What whoever has an attribute is marked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sought {
    /// The mark of those who have it; nothing when marks alone cannot tell.
    pub certain: Option<Mark>,
    /// Marks of those who may have it, which is found out by opening.
    pub possible: Vec<Mark>,
}

/// The marks of some attributes.
pub fn of(attributes: &Attributes, secrets: &SecretKeys) -> Vec<Mark> {
    let mut marks = Vec::new();
    collect(attributes, "", Within::Top, secrets, &mut marks);
    let mut marks = if marks.len() > MOST { vec![Mark::Many] } else { marks };
    let upn = attributes.get(UPN).filter(|_| !secrets.names(UPN, true));
    marks.extend(upn.and_then(Value::as_str).and_then(of_upn));
    marks
}

/// The attribute by which users may sign in besides name and e-mail address (CO-067).
pub const UPN: &str = "upn";

/// The mark of those who may sign in by this text, however it is written (CO-306); nothing for one that is nobody's.
pub fn of_upn(text: &str) -> Option<Mark> {
    let is_nobodys = text.is_empty() || username::exceeds(text, LONGEST_IDENTIFIER);
    (!is_nobodys).then(|| Mark::Upn(username::fold(text)))
}

/// By what those are found who have `value` at `path`, whose steps `__` parts; nothing when that is never shown, and so
/// nobody is to be found by it.
pub fn sought(path: &str, value: &Value, secrets: &SecretKeys) -> Option<Sought> {
    if value.as_str() == Some(MASK) {
        return None;
    }
    let mut possible = vec![Mark::Many];
    let (mut at, mut within) = (String::new(), Within::Top);
    for step in path.split(STEP) {
        if within.hides(step, secrets) {
            return None;
        }
        at = joined(&at, step);
        within = within.below(step);
        possible.push(Mark::Secret(at.clone()));
    }
    let certain = plain(value).map(|text| Mark::Value(at.clone(), text));
    if certain.is_none() {
        possible.push(Mark::Parts(at));
    }
    Some(Sought { certain, possible })
}

/// Where a key stands, which decides whether it is secret.
#[derive(Clone, Copy)]
enum Within {
    Top,
    Object,
    /// Below a reserved key nothing is secret.
    Reserved,
}

impl Within {
    fn hides(self, key: &str, secrets: &SecretKeys) -> bool {
        match self {
            Self::Top => secrets.names(key, true),
            Self::Object => secrets.names(key, false),
            Self::Reserved => false,
        }
    }

    fn below(self, key: &str) -> Self {
        match self {
            Self::Reserved => Self::Reserved,
            Self::Top | Self::Object if key.starts_with(RESERVED) => Self::Reserved,
            Self::Top | Self::Object => Self::Object,
        }
    }
}

/// A path with one more step. Steps have their lengths in front: no two paths are written alike.
fn joined(path: &str, key: &str) -> String {
    format!("{path}{}:{key}", key.len())
}

fn collect(attributes: &Attributes, path: &str, within: Within, secrets: &SecretKeys, marks: &mut Vec<Mark>) {
    // No path leads to a key that looks like several steps.
    for (key, value) in attributes.iter().filter(|(key, _)| !key.contains(STEP)) {
        if marks.len() > MOST {
            return;
        }
        let at = joined(path, key);
        if within.hides(key, secrets) {
            marks.push(Mark::Secret(at));
        } else if let Some(text) = plain(value) {
            marks.push(Mark::Value(at, text));
        } else {
            marks.push(Mark::Parts(at.clone()));
            if let Value::Object(inner) = value {
                collect(inner, &at, within.below(key), secrets, marks);
            }
        }
    }
}

/// A value without parts as JSON: the same text for what is equal.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Object(_) | Value::Array(_) => None,
        // Zero has two signs, and is equal to itself.
        Value::Number(number) if number.is_f64() && number.as_f64() == Some(0.0) => Some("0.0".to_owned()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn secrets() -> SecretKeys {
        SecretKeys { upstream_passwords: BTreeSet::from(["wiki".to_owned()]), ..SecretKeys::default() }
    }

    fn object(value: Value) -> Attributes {
        match value {
            Value::Object(attributes) => attributes,
            other => panic!("{other} is no object"),
        }
    }

    /// What is found by opening: the rule that marks must agree with.
    fn has(attributes: &Attributes, path: &str, wanted: &Value, secrets: &SecretKeys) -> bool {
        let visible = secrets.masked(attributes);
        let mut steps = path.split(STEP);
        let first = steps.next().and_then(|step| visible.get(step));
        let found = steps.fold(first, |value, step| value?.get(step));
        found.is_some_and(|found| found == wanted && found.as_str() != Some(MASK))
    }

    /// CO-472: no secret is part of a mark, at whatever depth; reserved keys are none.
    #[test]
    fn co_472_secrets_leave_no_mark_of_their_value() {
        let attributes = object(json!({"wiki": "s3cret", "a": {"api_key": "s3cret", "b": "shown"},
            "my_password": {"inner": "s3cret"}, "goauthentik.io/x": {"secret": "shown"}}));
        let marks = of(&attributes, &secrets());
        assert!(!format!("{marks:?}").contains("s3cret"), "{marks:?}");
        assert!(marks.contains(&Mark::Value("1:a1:b".to_owned(), "\"shown\"".to_owned())));
        assert!(marks.contains(&Mark::Value("16:goauthentik.io/x6:secret".to_owned(), "\"shown\"".to_owned())));
        assert_eq!(sought("my_password__inner", &json!("s3cret"), &secrets()), None);
        assert_eq!(sought("a__b", &json!(MASK), &secrets()), None);
    }

    /// CO-540: who has too many attributes is looked at with every question.
    #[test]
    fn co_540_many_attributes_have_one_mark() {
        let attributes: Attributes = (0..=MOST).map(|number| (format!("k{number}"), json!(number))).collect();
        assert_eq!(of(&attributes, &secrets()), [Mark::Many]);
        let sought = sought("k1", &json!(1), &secrets()).expect("can be found");
        assert!(sought.possible.contains(&Mark::Many));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            Just(json!(true)),
            Just(json!(0)),
            Just(json!(0.0)),
            Just(json!(-0.0)),
            Just(json!("a")),
            Just(json!(MASK)),
            Just(json!("")),
            Just(json!([1])),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop::collection::btree_map(key(), inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect()))
        })
    }

    fn key() -> impl Strategy<Value = String> {
        const KEYS: &[&str] = &["a", "b", "", "a__b", "_", "api_key", "wiki", "goauthentik.io/x"];
        prop::sample::select(KEYS).prop_map(str::to_owned)
    }

    proptest! {
        /// CO-540: marks find whoever opening finds: those who are certain have the attribute, those who are neither
        /// certain nor possible have it not, whatever was secret when the marks were made.
        #[test]
        fn co_540_marks_agree_with_what_is_there(
            attributes in prop::collection::btree_map(key(), any_value(), 0..4),
            path in prop::collection::vec(key(), 1..4),
            wanted in any_value(),
            more_secrets_then in any::<bool>(),
        ) {
            let attributes: Attributes = attributes.into_iter().collect();
            let (now, path) = (secrets(), path.join(STEP));
            let then = if more_secrets_then { secrets() } else { SecretKeys::default() };
            let marks = of(&attributes, &then);
            let has = has(&attributes, &path, &wanted, &now);
            match sought(&path, &wanted, &now) {
                None => prop_assert!(!has),
                Some(Sought { certain, possible }) => {
                    let is_certain = certain.is_some_and(|mark| marks.contains(&mark));
                    prop_assert!(has || !is_certain);
                    prop_assert!(!has || is_certain || possible.iter().any(|mark| marks.contains(mark)));
                }
            }
        }
    }
}
