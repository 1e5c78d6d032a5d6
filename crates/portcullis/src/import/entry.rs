//! What is carried over, written as blueprints: the one way in which anything is applied.

use std::fmt::Write;

use serde_json::Value;

/// A value of an entry.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// As it is.
    Plain(Value),
    /// The key of what has this field and value here.
    Find(&'static str, &'static str, String),
    /// The key of an entry before, by its id.
    KeyOf(String),
    /// Several.
    List(Vec<Self>),
    /// An object.
    Map(Vec<(&'static str, Self)>),
}

impl From<Value> for Node {
    fn from(value: Value) -> Self {
        Self::Plain(value)
    }
}

/// One object that is to be there.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    /// Its kind.
    pub(super) model: &'static str,
    /// By what it is known here.
    pub(super) identifiers: Vec<(&'static str, Node)>,
    /// What it is to be.
    pub(super) attrs: Vec<(&'static str, Node)>,
    /// By what entries after it name it.
    pub(super) id: Option<String>,
    /// Whether one that is here already stays as it is.
    pub(super) keeps: bool,
}

/// Objects that are applied together or not at all.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    /// How people know it, for the report.
    pub(super) name: String,
    /// The objects.
    pub(super) entries: Vec<Entry>,
}

impl Item {
    /// What it is mainly about: kind, and the name by which others find it.
    pub(super) fn about(&self) -> Option<(&'static str, String)> {
        let first = self.entries.first()?;
        match first.identifiers.first() {
            Some((_, Node::Plain(Value::String(name)))) => Some((first.model, name.clone())),
            _ => None,
        }
    }

    /// The blueprint.
    pub(super) fn document(&self) -> String {
        let mut text = "version: 1\nmetadata: {name: import}\nentries:\n".to_owned();
        for entry in &self.entries {
            let state = if entry.keeps { "created" } else { "present" };
            let _ = write!(text, "- {{model: {}, state: {state}, ", entry.model);
            if let Some(id) = &entry.id {
                let _ = write!(text, "id: {id}, ");
            }
            text.push_str("identifiers: ");
            fields(&mut text, &entry.identifiers);
            text.push_str(", attrs: ");
            fields(&mut text, &entry.attrs);
            text.push_str("}\n");
        }
        text
    }
}

fn fields(text: &mut String, fields: &[(&'static str, Node)]) {
    text.push('{');
    for (index, (name, node)) in fields.iter().enumerate() {
        let _ = write!(text, "{}{name}: ", if index == 0 { "" } else { ", " });
        write_node(text, node);
    }
    text.push('}');
}

fn write_node(text: &mut String, node: &Node) {
    match node {
        Node::Plain(Value::String(string)) => quote(text, string),
        Node::Plain(scalar @ (Value::Null | Value::Bool(_))) => text.push_str(&scalar.to_string()),
        // Numbers, lists and objects are JSON to the letter: YAML reads some numbers otherwise, and nothing in them is
        // to be taken for a tag.
        Node::Plain(other) => {
            text.push_str("!ParseJSON ");
            quote(text, &other.to_string());
        }
        Node::Find(model, field, value) => {
            let _ = write!(text, "!Find [{model}, [{field}, ");
            quote(text, value);
            text.push_str("]]");
        }
        Node::KeyOf(id) => {
            let _ = write!(text, "!KeyOf {id}");
        }
        Node::List(nodes) => {
            text.push('[');
            for (index, node) in nodes.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { ", " });
                write_node(text, node);
            }
            text.push(']');
        }
        Node::Map(members) => fields(text, members),
    }
}

/// A double-quoted scalar, in characters that no reader of YAML minds.
fn quote(text: &mut String, string: &str) {
    text.push('"');
    for c in string.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            ' '..='~' => text.push(c),
            _ => {
                let _ = write!(text, "\\U{:08x}", u32::from(c));
            }
        }
    }
    text.push('"');
}
