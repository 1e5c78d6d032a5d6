//! Filters of users and groups (CO-240): a field, a comparison, a value.

use serde_json::{Map, Value as Json};

use crate::objects::{Group, NamedObject, User};

/// What is filtered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Users.
    User,
    /// Groups.
    Group,
    /// Roles and entitlements, which have a key and a name.
    Named,
}

/// One condition, such as `email__endswith="@example.org"`.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// The field that is looked at.
    pub field: Field,
    /// How it is compared.
    pub comparison: Comparison,
    /// What it is compared with.
    pub value: Json,
}

/// A field that can be filtered by. None of them is a secret, nor derived from one (CO-819).
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of that name")]
pub enum Field {
    Pk,
    Uuid,
    Uid,
    Username,
    Email,
    Name,
    Path,
    Type,
    IsActive,
    IsSuperuser,
    /// A value within `attributes`, by its keys from outside in.
    Attribute(Vec<String>),
}

/// How a field is compared with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the suffix of that name")]
pub enum Comparison {
    Exact,
    IExact,
    StartsWith,
    IStartsWith,
    EndsWith,
    Contains,
    IContains,
    In,
    IsNull,
}

const SUFFIXES: [(&str, Comparison); 9] = [
    ("exact", Comparison::Exact),
    ("iexact", Comparison::IExact),
    ("startswith", Comparison::StartsWith),
    ("istartswith", Comparison::IStartsWith),
    ("endswith", Comparison::EndsWith),
    ("contains", Comparison::Contains),
    ("icontains", Comparison::IContains),
    ("in", Comparison::In),
    ("isnull", Comparison::IsNull),
];

/// Why a filter cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// There is no such field, or it cannot be filtered by. Not "no match": a misspelt filter would let nobody in, or
    /// everybody.
    #[error("cannot filter by '{0}'")]
    UnknownKey(String),
    /// `__in` needs a list.
    #[error("'{0}' needs a list")]
    NotAList(String),
}

impl Filter {
    /// Reads a keyword argument such as `email__endswith="@example.org"`.
    ///
    /// # Errors
    /// When there is no such field.
    pub fn parse(subject: Subject, key: &str, value: Json) -> Result<Self, FilterError> {
        let unknown = || FilterError::UnknownKey(key.to_owned());
        let mut parts: Vec<&str> = key.split("__").collect();
        let mut comparison = Comparison::Exact;
        if let [_, .., last] = parts.as_slice()
            && let Some((_, found)) = SUFFIXES.iter().find(|(suffix, _)| suffix == last)
        {
            comparison = *found;
            parts.pop();
        }
        let field = match (subject, parts.as_slice()) {
            (Subject::User | Subject::Group, ["attributes", path @ ..]) if !path.is_empty() => {
                Field::Attribute(path.iter().map(|&part| part.to_owned()).collect())
            }
            (Subject::User, ["pk" | "id"]) => Field::Pk,
            (Subject::User, ["uuid"]) => Field::Uuid,
            (Subject::User, ["uid"]) => Field::Uid,
            (Subject::User, ["username"]) => Field::Username,
            (Subject::User, ["email"]) => Field::Email,
            (Subject::User, ["path"]) => Field::Path,
            (Subject::User, ["type"]) => Field::Type,
            (Subject::User, ["is_active"]) => Field::IsActive,
            (Subject::Group, ["pk" | "group_uuid"]) | (Subject::Named, ["pk"]) => Field::Pk,
            (Subject::Group, ["is_superuser"]) => Field::IsSuperuser,
            (_, ["name"]) => Field::Name,
            _ => return Err(unknown()),
        };
        if comparison == Comparison::In && !value.is_array() {
            return Err(FilterError::NotAList(key.to_owned()));
        }
        Ok(Self { field, comparison, value })
    }

    /// Whether a user passes.
    #[must_use]
    pub fn matches_user(&self, user: &User) -> bool {
        let value = match &self.field {
            Field::Pk => user.pk.map_or(Json::Null, Json::from),
            Field::Uuid => text(&user.uuid),
            Field::Uid => text(&user.uid),
            Field::Username => text(&user.username),
            Field::Email => text(&user.email),
            Field::Name => text(&user.name),
            Field::Path => text(&user.path),
            Field::Type => text(&user.kind),
            Field::IsActive => Json::Bool(user.is_active),
            Field::IsSuperuser => Json::Bool(user.is_superuser),
            Field::Attribute(path) => attribute(&user.attributes, path),
        };
        self.matches(&value)
    }

    /// Whether a group passes.
    #[must_use]
    pub fn matches_group(&self, group: &Group) -> bool {
        let value = match &self.field {
            Field::Pk | Field::Uuid => text(&group.pk),
            Field::Name => text(&group.name),
            Field::IsSuperuser => Json::Bool(group.is_superuser),
            Field::Attribute(path) => attribute(&group.attributes, path),
            _ => Json::Null,
        };
        self.matches(&value)
    }

    /// Whether a role or entitlement passes.
    #[must_use]
    pub fn matches_named(&self, object: &NamedObject) -> bool {
        self.matches(&text(if self.field == Field::Name { &object.name } else { &object.pk }))
    }

    fn matches(&self, value: &Json) -> bool {
        let texts = |test: fn(&str, &str) -> bool| match (as_text(value), as_text(&self.value)) {
            (Some(value), Some(sought)) => test(&value, &sought),
            _ => false,
        };
        match self.comparison {
            Comparison::Exact => same(value, &self.value),
            Comparison::IExact => texts(|value, sought| value.to_lowercase() == sought.to_lowercase()),
            Comparison::StartsWith => texts(|value, sought| value.starts_with(sought)),
            Comparison::IStartsWith => texts(|value, sought| value.to_lowercase().starts_with(&sought.to_lowercase())),
            Comparison::EndsWith => texts(|value, sought| value.ends_with(sought)),
            Comparison::Contains => match value {
                Json::Array(items) => items.iter().any(|item| same(item, &self.value)),
                Json::Object(map) => self.value.as_str().is_some_and(|key| map.contains_key(key)),
                _ => texts(|value, sought| value.contains(sought)),
            },
            Comparison::IContains => texts(|value, sought| value.to_lowercase().contains(&sought.to_lowercase())),
            Comparison::In => self.value.as_array().is_some_and(|items| items.iter().any(|item| same(value, item))),
            Comparison::IsNull => value.is_null() == truthy(&self.value),
        }
    }
}

fn text(value: &str) -> Json {
    Json::String(value.to_owned())
}

fn truthy(value: &Json) -> bool {
    !matches!(value, Json::Null | Json::Bool(false)) && value.as_i64() != Some(0)
}

/// Keys are numbers here and text there, so that `pk="5"` finds number five.
fn same(left: &Json, right: &Json) -> bool {
    left == right || matches!((left, right), (Json::Number(_), Json::String(_)) if as_text(left) == as_text(right))
}

fn as_text(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
    }
}

fn attribute(attributes: &Map<String, Json>, path: &[String]) -> Json {
    let mut parts = path.iter();
    let first = parts.next().and_then(|key| attributes.get(key));
    parts.fold(first, |value, key| value.and_then(|value| value.get(key))).cloned().unwrap_or(Json::Null)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn user() -> User {
        let Json::Object(attributes) = json!({"a": {"b": "x"}, "list": ["one"], "n": null}) else { unreachable!() };
        User { pk: Some(5), username: "Alice".into(), email: "alice@example.org".into(), attributes, ..User::default() }
    }

    /// CO-240: each suffix works.
    #[test]
    fn co_240_each_suffix_works() {
        for (key, value, expected) in [
            ("pk", json!(5), true),
            ("id", json!("5"), true),
            ("pk", json!(6), false),
            ("username", json!("Alice"), true),
            ("username", json!("alice"), false),
            ("username__iexact", json!("alice"), true),
            ("username__startswith", json!("Al"), true),
            ("username__istartswith", json!("al"), true),
            ("email__endswith", json!("@example.org"), true),
            ("email__contains", json!("@ex"), true),
            ("email__icontains", json!("EX"), true),
            ("pk__in", json!([4, 5]), true),
            ("attributes__a__b", json!("x"), true),
            ("attributes__a__b__isnull", json!(false), true),
            ("attributes__c__isnull", json!(true), true),
            ("attributes__list__contains", json!("one"), true),
            ("attributes__list__contains", json!("two"), false),
            ("attributes__a__contains", json!("b"), true),
            ("attributes__n__isnull", json!(true), true),
            ("is_active", json!(true), false),
        ] {
            let filter = Filter::parse(Subject::User, key, value.clone()).unwrap();
            assert_eq!(filter.matches_user(&user()), expected, "{key}={value}");
        }
    }

    /// CO-819: there is no way to ask about passwords, tokens or other secrets, and an unknown key is an error.
    #[test]
    fn co_819_secrets_cannot_be_filtered_by() {
        for key in
            ["password", "password__startswith", "tokens__key", "attributes", "groups__name", "pk__gt", "", "__in"]
        {
            let answer = Filter::parse(Subject::User, key, json!("x"));
            assert_eq!(answer, Err(FilterError::UnknownKey(key.into())), "{key}");
        }
        assert!(Filter::parse(Subject::Group, "username", json!("x")).is_err());
        assert!(Filter::parse(Subject::User, "pk__in", json!(5)).is_err());
    }
}
