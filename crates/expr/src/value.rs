//! Values that go into an expression.

use std::{net::IpAddr, sync::Arc};

use chrono::{DateTime, Utc};
use serde_json::Value as Json;

use crate::objects::{
    Application, Brand, Event, Group, HttpRequest, NamedObject, PolicyResult, Provider, Source, Token, User,
};

/// A value that goes into an expression: JSON, and the objects that JSON does not know.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Value {
    /// `None`.
    #[default]
    None,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Text.
    Text(String),
    /// A point in time.
    Instant(DateTime<Utc>),
    /// An address.
    Address(IpAddr),
    /// A list.
    List(Vec<Self>),
    /// A dict, in this order.
    Map(Vec<(String, Self)>),
    /// One of the objects of `objects`.
    Object(Object),
}

/// An object that an expression sees as such.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each is named after what it holds")]
pub enum Object {
    User(Arc<User>),
    Group(Arc<Group>),
    Role(Arc<NamedObject>),
    Entitlement(Arc<NamedObject>),
    Application(Arc<Application>),
    Provider(Arc<Provider>),
    Source(Arc<Source>),
    Brand(Arc<Brand>),
    Event(Arc<Event>),
    Token(Arc<Token>),
    PolicyResult(Arc<PolicyResult>),
    HttpRequest(Arc<HttpRequest>),
}

impl From<Json> for Value {
    fn from(json: Json) -> Self {
        match json {
            Json::Null => Self::None,
            Json::Bool(value) => Self::Bool(value),
            Json::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Self::Int(whole),
                (None, float) => Self::Float(float.unwrap_or_default()),
            },
            Json::String(text) => Self::Text(text),
            Json::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            Json::Object(map) => Self::Map(map.into_iter().map(|(key, value)| (key, Self::from(value))).collect()),
        }
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Self::Object(object)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl<T> From<Option<T>> for Value
where
    Self: From<T>,
{
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Self::from)
    }
}

/// One `From` per object, so that callers write `user.into()`.
macro_rules! objects {
    ($($variant:ident($kind:ty)),* $(,)?) => {$(
        impl From<$kind> for Object {
            fn from(object: $kind) -> Self {
                Self::$variant(Arc::new(object))
            }
        }

        impl From<$kind> for Value {
            fn from(object: $kind) -> Self {
                Self::Object(object.into())
            }
        }

        impl From<Arc<$kind>> for Value {
            fn from(object: Arc<$kind>) -> Self {
                Self::Object(Object::$variant(object))
            }
        }
    )*};
}

objects! {
    User(User), Group(Group), Application(Application), Provider(Provider), Source(Source), Brand(Brand),
    Event(Event), Token(Token), PolicyResult(PolicyResult), HttpRequest(HttpRequest),
}
