//! The tags (CO-726), read once when the document is.

use serde_json::Value;

use crate::Fault;
use crate::node::{Kind, Node};

/// What a tag asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tag {
    /// The key of the object of an earlier entry.
    KeyOf(String),
    /// The key of the first object that meets conditions, or the object itself.
    Find { model: Node, conditions: Vec<(Node, Node)>, object: bool },
    /// A value of the context.
    Context { key: String, default: Option<Node> },
    /// A variable of the environment.
    Env { name: String, default: Option<Node> },
    /// A file's content.
    File { path: String, default: Option<Node> },
    /// JSON in a text.
    ParseJson(Node),
    /// A text with values put in.
    Format { template: Node, arguments: Vec<Node> },
    /// One of two values.
    If { condition: Node, branches: Option<(Node, Node)> },
    /// Several truths made one.
    Condition { operator: Operator, arguments: Vec<Node> },
    /// A list or object made of another.
    Enumerate { over: Node, kind: Sequence, body: Node },
    /// Index or key of the item that an enclosing `Enumerate` is at.
    Index(usize),
    /// The item that an enclosing `Enumerate` is at.
    Item(usize),
    /// A member of a list or object.
    AtIndex { of: Node, key: Node, default: Option<Node> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    And,
    Nand,
    Or,
    Nor,
    Xor,
    Xnor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sequence {
    List,
    Map,
}

impl Tag {
    pub(crate) fn read(name: &str, node: Node) -> Result<Self, Fault> {
        let line = node.line;
        let fault = |message: &str| Fault::new(line, format!("!{name}: {message}"));
        Ok(match name {
            "KeyOf" => Self::KeyOf(node.text().ok_or_else(|| fault("the id of an entry is expected."))?.to_owned()),
            "Find" | "FindObject" => {
                let expected = "a model and conditions, each [field, value], are expected.";
                let mut items = list(node).ok_or_else(|| fault(expected))?.into_iter();
                let model = items.next().ok_or_else(|| fault(expected))?;
                let conditions = items.map(pair).collect::<Option<Vec<_>>>().ok_or_else(|| fault(expected))?;
                if conditions.is_empty() {
                    return Err(fault(expected));
                }
                Self::Find { model, conditions, object: name == "FindObject" }
            }
            "Context" => {
                let (key, default) = named(node).ok_or_else(|| fault("a key, or [key, default], is expected."))?;
                Self::Context { key, default }
            }
            "Env" => {
                let (name, default) = named(node).ok_or_else(|| fault("a name, or [name, default], is expected."))?;
                Self::Env { name, default }
            }
            "File" => {
                let (path, default) = named(node).ok_or_else(|| fault("a path, or [path, default], is expected."))?;
                Self::File { path, default }
            }
            "ParseJSON" => Self::ParseJson(node),
            "Format" => {
                let mut items = list(node).ok_or_else(|| fault("[text, value…] is expected."))?.into_iter();
                let template = items.next().ok_or_else(|| fault("[text, value…] is expected."))?;
                Self::Format { template, arguments: items.collect() }
            }
            "If" => {
                let items = list(node).ok_or_else(|| fault("[condition, then, else] is expected."))?;
                let mut items = items.into_iter();
                match (items.next(), items.next(), items.next(), items.next()) {
                    (Some(condition), None, ..) => Self::If { condition, branches: None },
                    (Some(condition), Some(then), Some(otherwise), None) => {
                        Self::If { condition, branches: Some((then, otherwise)) }
                    }
                    _ => return Err(fault("[condition] or [condition, then, else] is expected.")),
                }
            }
            "Condition" => {
                let expected = "[AND | NAND | OR | NOR | XOR | XNOR, value…] is expected.";
                let mut items = list(node).ok_or_else(|| fault(expected))?.into_iter();
                let operator = items.next().and_then(|first| operator(first.text()?)).ok_or_else(|| fault(expected))?;
                let arguments: Vec<_> = items.collect();
                if arguments.is_empty() {
                    return Err(fault(expected));
                }
                Self::Condition { operator, arguments }
            }
            "Enumerate" => {
                let expected = "[what, SEQ | MAP, item] is expected.";
                let items = list(node).ok_or_else(|| fault(expected))?;
                let [over, kind, body] = <[Node; 3]>::try_from(items).map_err(|_| fault(expected))?;
                let kind = match kind.text() {
                    Some("SEQ") => Sequence::List,
                    Some("MAP") => Sequence::Map,
                    _ => return Err(fault(expected)),
                };
                if let Kind::Tag(tag) = &over.kind
                    && matches!(**tag, Self::Index(0) | Self::Item(0))
                {
                    return Err(fault("it cannot go over its own items; count one level further out."));
                }
                Self::Enumerate { over, kind, body }
            }
            "Index" => Self::Index(depth(&node).ok_or_else(|| fault("a depth, 0 or more, is expected."))?),
            "Value" => Self::Item(depth(&node).ok_or_else(|| fault("a depth, 0 or more, is expected."))?),
            "AtIndex" => {
                let expected = "[list or object, key] or [list or object, key, default] is expected.";
                let mut items = list(node).ok_or_else(|| fault(expected))?.into_iter();
                match (items.next(), items.next(), items.next(), items.next()) {
                    (Some(of), Some(key), default, None) => Self::AtIndex { of, key, default },
                    _ => return Err(fault(expected)),
                }
            }
            "" => return Err(Fault::new(line, "This tag is not known.")),
            _ => return Err(Fault::new(line, format!("The tag '!{name}' is not known."))),
        })
    }
}

fn list(node: Node) -> Option<Vec<Node>> {
    match node.kind {
        Kind::List(items) => Some(items),
        Kind::Plain(_) | Kind::Map(_) | Kind::Tag(_) => None,
    }
}

fn pair(node: Node) -> Option<(Node, Node)> {
    let [field, value] = <[Node; 2]>::try_from(list(node)?).ok()?;
    Some((field, value))
}

/// A name alone, or with what stands for it when it is missing.
fn named(node: Node) -> Option<(String, Option<Node>)> {
    if let Some(name) = node.text() {
        return Some((name.to_owned(), None));
    }
    let [name, default] = <[Node; 2]>::try_from(list(node)?).ok()?;
    Some((name.text()?.to_owned(), Some(default)))
}

fn operator(name: &str) -> Option<Operator> {
    Some(match name {
        "AND" => Operator::And,
        "NAND" => Operator::Nand,
        "OR" => Operator::Or,
        "NOR" => Operator::Nor,
        "XOR" => Operator::Xor,
        "XNOR" => Operator::Xnor,
        _ => return None,
    })
}

fn depth(node: &Node) -> Option<usize> {
    match &node.kind {
        Kind::Plain(Value::String(text)) => text.parse().ok(),
        Kind::Plain(Value::Number(number)) => number.as_u64().and_then(|depth| depth.try_into().ok()),
        Kind::Plain(_) | Kind::List(_) | Kind::Map(_) | Kind::Tag(_) => None,
    }
}
