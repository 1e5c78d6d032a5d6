//! Values on their way into the interpreter and out of it.
//!
//! Objects go in as instances of classes of the host. What the expression mentions of their plain attributes travels
//! with them; everything else is asked for by the instance's id, which is its place in a table of this evaluation.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use chrono::{DateTime, Datelike, SecondsFormat, Timelike, Utc};
use ipnet::IpNet;
use monty_types::{MontyClassInstance, MontyClassType, MontyDateTime, MontyObject, MontyType, MontyUuid};
use serde_json::{Map, Value as Json};

use crate::{
    objects::{Brand, Group, HttpRequest, NamedObject, User},
    value::{Object, Value},
};

/// What an instance inside stands for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Entry {
    Object(Object),
    Request,
    Logger,
    FlowPlan,
    Tenant,
    Address(IpAddr),
    Network(IpNet),
}

/// Names of classes, as `isinstance` knows them. Their place is their id.
pub(crate) const CLASSES: [&str; 18] = [
    "User",
    "Group",
    "Role",
    "Entitlement",
    "Application",
    "Provider",
    "Source",
    "Brand",
    "Event",
    "Token",
    "PolicyResult",
    "HttpRequest",
    "PolicyRequest",
    "Logger",
    "FlowPlan",
    "Tenant",
    "IpAddress",
    "IpNetwork",
];

impl Entry {
    pub(crate) fn class(&self) -> &'static str {
        match self {
            Self::Object(object) => match object {
                Object::User(_) => "User",
                Object::Group(_) => "Group",
                Object::Role(_) => "Role",
                Object::Entitlement(_) => "Entitlement",
                Object::Application(_) => "Application",
                Object::Provider(_) => "Provider",
                Object::Source(_) => "Source",
                Object::Brand(_) => "Brand",
                Object::Event(_) => "Event",
                Object::Token(_) => "Token",
                Object::PolicyResult(_) => "PolicyResult",
                Object::HttpRequest(_) => "HttpRequest",
            },
            Self::Request => "PolicyRequest",
            Self::Logger => "Logger",
            Self::FlowPlan => "FlowPlan",
            Self::Tenant => "Tenant",
            Self::Address(_) => "IpAddress",
            Self::Network(_) => "IpNetwork",
        }
    }
}

/// The type object of a class of the host.
pub(crate) fn class(name: &str) -> MontyObject {
    MontyObject::Type(MontyType::Instance(Box::new(class_type(name))))
}

fn class_type(name: &str) -> MontyClassType {
    let id = CLASSES.iter().position(|class| *class == name).map_or(0, |at| at + 1);
    MontyClassType {
        name: name.to_owned(),
        id: MontyUuid::from_u128(id as u128),
        host_defined: true,
        is_dataclass: false,
        attrs: Vec::new().into(),
    }
}

/// Instances have ids apart from those of classes.
const INSTANCES: u128 = 1 << 64;

/// The table of one evaluation.
pub(crate) struct Bridge<'a> {
    /// Attributes that the expression mentions.
    mentioned: &'a HashSet<String>,
    entries: Vec<Entry>,
    places: HashMap<(&'static str, String), usize>,
}

impl<'a> Bridge<'a> {
    pub(crate) fn new(mentioned: &'a HashSet<String>) -> Self {
        Self { mentioned, entries: Vec::new(), places: HashMap::new() }
    }

    pub(crate) fn mentions(&self, name: &str) -> bool {
        self.mentioned.contains(name)
    }

    /// What an instance stands for.
    pub(crate) fn entry(&self, id: MontyUuid) -> Option<&Entry> {
        let at = u128::from_be_bytes(*id.as_bytes()).checked_sub(INSTANCES)?;
        self.entries.get(usize::try_from(at).ok()?)
    }

    /// What a value from inside stands for, if it is an instance of ours.
    pub(crate) fn entry_of(&self, value: &MontyObject) -> Option<&Entry> {
        match value {
            MontyObject::ClassInstance(instance) if instance.class_type.host_defined => {
                self.entry(instance.instance_id)
            }
            _ => None,
        }
    }

    /// The object that a value from inside stands for.
    pub(crate) fn object_of(&self, value: &MontyObject) -> Option<&Object> {
        match self.entry_of(value)? {
            Entry::Object(object) => Some(object),
            _ => None,
        }
    }

    /// An instance with these attributes.
    pub(crate) fn instance(&mut self, entry: Entry, attributes: Vec<(&str, MontyObject)>) -> MontyObject {
        let class = entry.class();
        let at = self.place(entry);
        let attributes: Vec<_> =
            attributes.into_iter().map(|(name, value)| (MontyObject::String(name.to_owned()), value)).collect();
        MontyObject::ClassInstance(Box::new(MontyClassInstance {
            class_type: class_type(class),
            instance_id: MontyUuid::from_u128(INSTANCES + at as u128),
            attrs: attributes.into(),
        }))
    }

    /// The place of an entry: that of an equal one, so that one thing has one identity.
    fn place(&mut self, entry: Entry) -> usize {
        let key = match &entry {
            Entry::Object(Object::User(user)) => user.pk.map(|pk| pk.to_string()),
            Entry::Object(Object::Group(group)) => Some(group.pk.clone()),
            _ => None,
        };
        let key = key.map(|key| (entry.class(), key));
        if let Some(at) = key.as_ref().and_then(|key| self.places.get(key))
            && self.entries.get(*at) == Some(&entry)
        {
            return *at;
        }
        let at = self.entries.len();
        self.entries.push(entry);
        if let Some(key) = key {
            self.places.entry(key).or_insert(at);
        }
        at
    }

    /// An object, with what is mentioned of it.
    pub(crate) fn object(&mut self, object: &Object) -> MontyObject {
        let mut attributes = Vec::new();
        for &name in crate::attributes::identity(object) {
            attributes.extend(self.attribute(object, name).map(|value| (name, value)));
        }
        for &name in crate::attributes::names(object) {
            if self.mentions(name) {
                attributes.extend(self.attribute(object, name).map(|value| (name, value)));
            }
        }
        attributes.extend(crate::attributes::text(object).map(|text| ("_str_", MontyObject::String(text))));
        self.instance(Entry::Object(object.clone()), attributes)
    }

    pub(crate) fn user(&mut self, user: &Arc<User>) -> MontyObject {
        self.object(&Object::User(Arc::clone(user)))
    }

    pub(crate) fn request(&mut self, request: &Arc<HttpRequest>) -> MontyObject {
        self.object(&Object::HttpRequest(Arc::clone(request)))
    }

    pub(crate) fn brand(&mut self, brand: &Arc<Brand>) -> MontyObject {
        self.object(&Object::Brand(Arc::clone(brand)))
    }

    pub(crate) fn groups(&mut self, groups: Vec<Group>) -> MontyObject {
        MontyObject::List(groups.into_iter().map(|group| self.object(&group.into())).collect())
    }

    pub(crate) fn named(
        &mut self,
        objects: impl IntoIterator<Item = NamedObject>,
        kind: fn(Arc<NamedObject>) -> Object,
    ) -> MontyObject {
        MontyObject::List(objects.into_iter().map(|object| self.object(&kind(Arc::new(object)))).collect())
    }

    /// A value on its way in.
    pub(crate) fn value(&mut self, value: &Value) -> MontyObject {
        match value {
            Value::None => MontyObject::None,
            Value::Bool(value) => MontyObject::Bool(*value),
            Value::Int(value) => MontyObject::Int(*value),
            Value::Float(value) => MontyObject::Float(*value),
            Value::Text(text) => MontyObject::String(text.clone()),
            Value::Instant(at) => instant(*at),
            Value::Address(address) => self.address(*address),
            Value::List(items) => MontyObject::List(items.iter().map(|item| self.value(item)).collect()),
            Value::Map(pairs) => self.dict(pairs, Vec::new()),
            Value::Object(object) => self.object(object),
        }
    }

    /// A dict, `more` at its end.
    pub(crate) fn dict(&mut self, pairs: &[(String, Value)], more: Vec<(MontyObject, MontyObject)>) -> MontyObject {
        let pairs: Vec<_> =
            pairs.iter().map(|(key, value)| (MontyObject::String(key.clone()), self.value(value))).collect();
        MontyObject::dict(pairs.into_iter().chain(more).collect::<Vec<_>>())
    }

    /// A value on its way out, as JSON. `None` when it is nested in itself.
    pub(crate) fn json(&self, value: &MontyObject) -> Option<Json> {
        Some(match value {
            MontyObject::None => Json::Null,
            MontyObject::Bool(value) => Json::Bool(*value),
            MontyObject::Int(value) => Json::from(*value),
            MontyObject::BigInt(value) => {
                u64::try_from(value).map_or_else(|_| Json::String(value.to_string()), Json::from)
            }
            MontyObject::Float(value) => Json::from(*value),
            MontyObject::String(text) | MontyObject::Path(text) => Json::String(text.clone()),
            MontyObject::List(items)
            | MontyObject::Tuple(items)
            | MontyObject::Set(items)
            | MontyObject::FrozenSet(items)
            | MontyObject::NamedTuple { values: items, .. } => {
                Json::Array(items.iter().map(|item| self.json(item)).collect::<Option<_>>()?)
            }
            MontyObject::Dict(pairs) => {
                let mut map = Map::new();
                for (key, value) in pairs {
                    map.insert(self.key(key), self.json(value)?);
                }
                Json::Object(map)
            }
            MontyObject::DateTime(at) => Json::String(timestamp(at)),
            // As a difference of two instants is: seconds.
            MontyObject::TimeDelta(delta) => Json::from(
                f64::from(delta.days) * 86400.0 + f64::from(delta.seconds) + f64::from(delta.microseconds) / 1e6,
            ),
            MontyObject::Cycle(..) => return None,
            MontyObject::ClassInstance(instance) if instance.class_type.name == "struct" => {
                self.json(&MontyObject::Dict(instance.attrs.clone()))?
            }
            other => Json::String(self.text(other)),
        })
    }

    fn key(&self, key: &MontyObject) -> String {
        match key {
            MontyObject::None => "null".to_owned(),
            MontyObject::Bool(value) => value.to_string(),
            other => self.text(other),
        }
    }

    /// What `str` makes of a value.
    pub(crate) fn text(&self, value: &MontyObject) -> String {
        match value {
            MontyObject::ClassInstance(instance) => {
                let text = (&instance.attrs).into_iter().find_map(|(name, value)| match (name, value) {
                    (MontyObject::String(name), MontyObject::String(text)) if name == "_str_" => Some(text.clone()),
                    _ => None,
                });
                text.unwrap_or_else(|| format!("<{}>", instance.class_type.name))
            }
            MontyObject::DateTime(at) => timestamp(at),
            MontyObject::Date(day) => format!("{:04}-{:02}-{:02}", day.year, day.month, day.day),
            other => other.to_string(),
        }
    }
}

/// JSON on its way in.
pub(crate) fn from_json(json: &Json) -> MontyObject {
    match json {
        Json::Null => MontyObject::None,
        Json::Bool(value) => MontyObject::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => MontyObject::Int(whole),
            None => MontyObject::Float(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => MontyObject::String(text.clone()),
        Json::Array(items) => MontyObject::List(items.iter().map(from_json).collect()),
        Json::Object(map) => from_map(map),
    }
}

/// A JSON object on its way in.
pub(crate) fn from_map(map: &Map<String, Json>) -> MontyObject {
    let pairs: Vec<_> = map.iter().map(|(key, value)| (MontyObject::String(key.clone()), from_json(value))).collect();
    MontyObject::dict(pairs)
}

/// Whether a value counts as true.
pub(crate) fn truthy(value: &MontyObject) -> bool {
    match value {
        MontyObject::None => false,
        MontyObject::Bool(value) => *value,
        MontyObject::Int(value) => *value != 0,
        MontyObject::BigInt(value) => *value != num_bigint::BigInt::ZERO,
        MontyObject::Float(value) => *value != 0.0,
        MontyObject::String(text) => !text.is_empty(),
        MontyObject::Bytes(bytes) => !bytes.is_empty(),
        MontyObject::List(items)
        | MontyObject::Tuple(items)
        | MontyObject::Set(items)
        | MontyObject::FrozenSet(items)
        | MontyObject::NamedTuple { values: items, .. } => !items.is_empty(),
        MontyObject::Dict(pairs) => pairs.into_iter().next().is_some(),
        MontyObject::TimeDelta(delta) => delta.days != 0 || delta.seconds != 0 || delta.microseconds != 0,
        _ => true,
    }
}

/// An instant on its way in.
pub(crate) fn instant(at: DateTime<Utc>) -> MontyObject {
    // The calendar's numbers are small; a leap second, which chrono writes as 1.x s, is none in Python.
    let small = |number: u32| u8::try_from(number).unwrap_or(u8::MAX);
    MontyObject::DateTime(MontyDateTime {
        year: at.year(),
        month: small(at.month()),
        day: small(at.day()),
        hour: small(at.hour()),
        minute: small(at.minute()),
        second: small(at.second()),
        microsecond: (at.nanosecond() / 1000).min(999_999),
        offset_seconds: Some(0),
        timezone_name: None,
    })
}

/// An instant as RFC 3339, or without zone as ISO 8601.
fn timestamp(at: &MontyDateTime) -> String {
    let naive = chrono::NaiveDate::from_ymd_opt(at.year, at.month.into(), at.day.into())
        .and_then(|date| date.and_hms_micro_opt(at.hour.into(), at.minute.into(), at.second.into(), at.microsecond));
    let Some(naive) = naive else { return String::new() };
    match at.offset_seconds {
        None => naive.format("%Y-%m-%dT%H:%M:%S%.f").to_string(),
        Some(offset) => {
            let utc = naive - chrono::TimeDelta::seconds(offset.into());
            utc.and_utc().to_rfc3339_opts(SecondsFormat::Micros, true)
        }
    }
}
