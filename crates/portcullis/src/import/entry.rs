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
    /// Several.
    List(Vec<Self>),
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
    /// The blueprint.
    pub(super) fn document(&self) -> String {
        let mut text = "version: 1\nmetadata: {name: import}\nentries:\n".to_owned();
        for entry in &self.entries {
            let state = if entry.keeps { "created" } else { "present" };
            let _ = write!(text, "- {{model: {}, state: {state}, identifiers: ", entry.model);
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
        Node::List(nodes) => {
            text.push('[');
            for (index, node) in nodes.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { ", " });
                write_node(text, node);
            }
            text.push(']');
        }
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
