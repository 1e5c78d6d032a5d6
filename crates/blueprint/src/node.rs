//! What a document is made of once it is read.

use serde_json::{Map, Value};

use crate::tag::Tag;

/// A value that may hold tags at any depth.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Line of the document, from 1.
    pub(crate) line: usize,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Text, number, boolean or null.
    Plain(Value),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
    Tag(Box<Tag>),
}

impl Node {
    pub(crate) fn new(line: usize, kind: Kind) -> Self {
        Self { line, kind }
    }

    /// A value without tags.
    pub fn of(value: Value) -> Self {
        let kind = match value {
            Value::Array(items) => Kind::List(items.into_iter().map(Self::of).collect()),
            Value::Object(entries) => {
                Kind::Map(entries.into_iter().map(|(key, value)| (key, Self::of(value))).collect())
            }
            plain => Kind::Plain(plain),
        };
        Self { line: 0, kind }
    }

    /// The value, if no tag is in it.
    pub fn plain(&self) -> Option<Value> {
        Some(match &self.kind {
            Kind::Plain(value) => value.clone(),
            Kind::List(items) => Value::Array(items.iter().map(Self::plain).collect::<Option<_>>()?),
            Kind::Map(entries) => {
                let entries = entries.iter().map(|(key, value)| Some((key.clone(), value.plain()?)));
                Value::Object(entries.collect::<Option<Map<_, _>>>()?)
            }
            Kind::Tag(_) => return None,
        })
    }

    /// The member of an object.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            Kind::Plain(_) | Kind::List(_) | Kind::Tag(_) => None,
        }
    }

    /// Text that stands there without a tag.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Plain(Value::String(text)) => Some(text),
            Kind::Plain(_) | Kind::List(_) | Kind::Map(_) | Kind::Tag(_) => None,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        self.kind == Kind::Plain(Value::Null)
    }

    /// Merges another object into this one; what comes later wins.
    pub(crate) fn merge(&mut self, over: Self) {
        match (&mut self.kind, over.kind) {
            (Kind::Map(under), Kind::Map(over)) => {
                for (key, value) in over {
                    match under.iter_mut().find(|(name, _)| *name == key) {
                        Some((_, old)) => old.merge(value),
                        None => under.push((key, value)),
                    }
                }
            }
            (under, over) => *under = over,
        }
    }
}
