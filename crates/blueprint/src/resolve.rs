//! From nodes with tags to values.

use std::future::Future;
use std::pin::Pin;

use serde_json::{Map, Value};

use crate::node::{Kind, Node};
use crate::tag::{Operator, Sequence, Tag};
use crate::{Budget, Fault, MAX_BYTES, format};

/// An answer of the world, or words for whoever wrote the blueprint.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

/// What tags need to know of the world.
pub trait World: Send {
    /// The key of the object that an earlier entry with this id stands for.
    fn key_of(&self, id: &str) -> Option<Value>;
    /// The key of the first object, by ascending key, that meets all conditions; null if there is none.
    fn find<'a>(&'a mut self, model: &'a str, conditions: &'a [(String, Value)]) -> Answer<'a, Value>;
    /// The same object as the API shows it, secrets left out; null if there is none.
    fn find_object<'a>(&'a mut self, model: &'a str, conditions: &'a [(String, Value)]) -> Answer<'a, Value>;
    /// A variable of the environment, if it is set.
    ///
    /// # Errors
    /// When blueprints may not read it (CO-729).
    fn env(&mut self, name: &str) -> Result<Option<String>, String>;
    /// The content of a file, if it can be read.
    ///
    /// # Errors
    /// When blueprints may not read it (CO-729).
    fn file(&mut self, path: &str) -> Result<Option<String>, String>;
    /// A tag of the entry has come to null, for want of what it names and of a default.
    fn came_to_nothing(&mut self, line: usize, tag: &'static str);
}

/// How deep tags may lead; a context that names itself leads on for ever.
const MAX_DEPTH: usize = 100;

/// Works out the values of one entry.
pub(crate) struct Resolver<'a> {
    pub(crate) world: &'a mut dyn World,
    pub(crate) context: &'a Node,
    /// Where the enclosing `Enumerate`s are: index or key, and item. None while it is found out what one goes over.
    places: Vec<Option<(Value, Value)>>,
    budget: &'a mut Budget,
    depth: usize,
    /// Within how many questions this is that are about yes or no alone.
    asking: usize,
    /// Whether what is lacking is kept in `lacking` instead of being an error.
    pub(crate) waits: bool,
    /// The first variable or file that is lacking.
    pub(crate) lacking: Option<Fault>,
}

type Resolving<'b> = Pin<Box<dyn Future<Output = Result<Value, Fault>> + Send + 'b>>;

impl<'a> Resolver<'a> {
    pub(crate) fn new(world: &'a mut dyn World, context: &'a Node, budget: &'a mut Budget) -> Self {
        Self { world, context, places: Vec::new(), budget, depth: 0, asking: 0, waits: false, lacking: None }
    }

    /// The value of a node.
    pub(crate) fn value<'b>(&'b mut self, node: &'b Node) -> Resolving<'b> {
        Box::pin(async move {
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err(Fault::new(node.line, "This leads to itself, or too deep."));
            }
            let value = match &node.kind {
                Kind::Plain(value) => {
                    self.budget.take_all(value, node.line)?;
                    value.clone()
                }
                Kind::List(items) => {
                    self.budget.take(0, node.line)?;
                    let mut values = Vec::with_capacity(items.len());
                    for item in items {
                        values.push(self.value(item).await?);
                    }
                    Value::Array(values)
                }
                Kind::Map(entries) => {
                    self.budget.take(0, node.line)?;
                    let mut values = Map::new();
                    for (key, value) in entries {
                        self.budget.take(key.len(), node.line)?;
                        values.insert(key.clone(), self.value(value).await?);
                    }
                    Value::Object(values)
                }
                Kind::Tag(tag) => {
                    // Also one that comes to little: it may stand in a loop.
                    self.budget.take(0, node.line)?;
                    self.tag(tag, node.line).await?
                }
            };
            self.depth -= 1;
            Ok(value)
        })
    }

    /// Whether a node counts as true (CO-727). A variable or file that is not there is false.
    pub(crate) async fn truth(&mut self, node: &Node) -> Result<bool, Fault> {
        self.asking += 1;
        let value = self.value(node).await?;
        self.asking -= 1;
        Ok(truthy(&value))
    }

    /// The members of an object.
    pub(crate) async fn object(&mut self, node: &Node) -> Result<Map<String, Value>, Fault> {
        match self.value(node).await? {
            Value::Object(members) => Ok(members),
            _ => Err(Fault::new(node.line, "An object is expected.")),
        }
    }

    /// A text.
    pub(crate) async fn text(&mut self, node: &Node) -> Result<String, Fault> {
        match self.value(node).await? {
            Value::String(text) => Ok(text),
            _ => Err(Fault::new(node.line, "A text is expected.")),
        }
    }

    async fn tag(&mut self, tag: &Tag, line: usize) -> Result<Value, Fault> {
        let fault = |message: String| Fault::new(line, message);
        match tag {
            Tag::KeyOf(id) => {
                let key = self.world.key_of(id);
                self.counted(key.ok_or_else(|| fault(format!("!KeyOf: no earlier entry has the id '{id}'.")))?, line)
            }
            Tag::Find { model, conditions, object } => {
                let model = self.text(model).await?;
                let mut met = Vec::with_capacity(conditions.len());
                for (field, value) in conditions {
                    met.push((self.text(field).await?, self.value(value).await?));
                }
                let found = match object {
                    true => self.world.find_object(&model, &met).await,
                    false => self.world.find(&model, &met).await,
                };
                let found = found.map_err(fault)?;
                if found.is_null() {
                    self.world.came_to_nothing(line, if *object { "!FindObject" } else { "!Find" });
                }
                self.counted(found, line)
            }
            Tag::Context { key, default } => {
                // The context outlives this, whatever happens to the rest of it.
                let context: &'a Node = self.context;
                match context.get(key) {
                    Some(value) => self.value(value).await,
                    None => self.otherwise(default.as_ref(), line, "!Context").await,
                }
            }
            Tag::Env { name, default } => {
                match self.world.env(name).map_err(fault)?.filter(|value| !value.is_empty()) {
                    Some(value) => self.counted(Value::String(value), line),
                    None => self.or_lacking(default.as_ref(), line, "!Env", &format!("the variable {name}")).await,
                }
            }
            Tag::File { path, default } => match self.world.file(path).map_err(fault)? {
                Some(content) => self.counted(Value::String(content.trim().to_owned()), line),
                None => self.or_lacking(default.as_ref(), line, "!File", &format!("the file {path}")).await,
            },
            Tag::ParseJson(node) => {
                let text = self.text(node).await?;
                if text.len() > MAX_BYTES {
                    return Err(fault(format!("!ParseJSON: the text is longer than {MAX_BYTES} bytes.")));
                }
                let value = serde_json::from_str(&text);
                // What the parser says may quote the text, which may be a secret.
                let value = value.map_err(|error| {
                    fault(format!("!ParseJSON: this is no JSON, from its line {} on.", error.line()))
                })?;
                self.counted(value, line)
            }
            Tag::Format { template, arguments } => {
                let template = self.text(template).await?;
                let mut values = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    values.push(self.value(argument).await?);
                }
                let text = format::format(&template, &values);
                self.counted(Value::String(text.map_err(|message| fault(format!("!Format: {message}.")))?), line)
            }
            Tag::If { condition, branches } => {
                let holds = self.truth(condition).await?;
                match branches {
                    None => Ok(Value::Bool(holds)),
                    Some((then, _)) if holds => self.value(then).await,
                    Some((_, otherwise)) => self.value(otherwise).await,
                }
            }
            Tag::Condition { operator, arguments } => {
                let mut truths = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    truths.push(self.truth(argument).await?);
                }
                Ok(Value::Bool(combine(*operator, &truths)))
            }
            Tag::Enumerate { over, kind, body } => self.enumerate(over, *kind, body).await,
            Tag::Index(depth) => {
                let (index, _) = place(&self.places, *depth, line)?;
                self.budget.take_all(index, line)?;
                Ok(index.clone())
            }
            Tag::Item(depth) => {
                let (_, item) = place(&self.places, *depth, line)?;
                self.budget.take_all(item, line)?;
                Ok(item.clone())
            }
            Tag::AtIndex { of, key, default } => {
                let (of, at) = (self.value(of).await?, self.value(key).await?);
                let member = match (&of, &at) {
                    (Value::Array(items), Value::Number(number)) => at_number(items, number.as_i64()),
                    (Value::Object(members), Value::String(key)) => members.get(key),
                    (Value::Object(members), other) => members.get(&format::text(other)),
                    _ => None,
                };
                match (member, default) {
                    (Some(member), _) => {
                        self.budget.take_all(member, line)?;
                        Ok(member.clone())
                    }
                    (None, Some(default)) => self.value(default).await,
                    (None, None) => Err(fault("!AtIndex: there is nothing at this key.".to_owned())),
                }
            }
        }
    }

    async fn otherwise(&mut self, default: Option<&Node>, line: usize, tag: &'static str) -> Result<Value, Fault> {
        match default {
            Some(default) => self.value(default).await,
            None => {
                self.world.came_to_nothing(line, tag);
                Ok(Value::Null)
            }
        }
    }

    /// What stands in for a variable or a file that is not there. Without a default that is an error, so that what is stored
    /// is not lost: null in its place would overwrite it.
    async fn or_lacking(
        &mut self,
        default: Option<&Node>,
        line: usize,
        tag: &'static str,
        what: &str,
    ) -> Result<Value, Fault> {
        if default.is_some() || self.asking > 0 {
            return self.otherwise(default, line, tag).await;
        }
        let fault = Fault::new(line, format!("{tag}: {what} is not there or empty, and the tag names no default."));
        if !self.waits {
            return Err(fault);
        }
        self.lacking.get_or_insert(fault);
        self.otherwise(None, line, tag).await
    }

    async fn enumerate(&mut self, over: &Node, kind: Sequence, body: &Node) -> Result<Value, Fault> {
        self.places.push(None);
        let items = match self.value(over).await? {
            Value::Array(items) => {
                items.into_iter().enumerate().map(|(at, item)| (at.into(), item)).collect::<Vec<_>>()
            }
            Value::Object(members) => members.into_iter().map(|(key, item)| (key.into(), item)).collect(),
            _ => return Err(Fault::new(over.line, "!Enumerate goes over a list or an object.")),
        };
        let (mut list, mut map) = (Vec::new(), Map::new());
        for place in items {
            if let Some(last) = self.places.last_mut() {
                *last = Some(place);
            }
            let value = self.value(body).await?;
            match (kind, value) {
                (Sequence::List, value) => list.push(value),
                (Sequence::Map, Value::Object(members)) => crate::merge(&mut map, members),
                (Sequence::Map, Value::Array(pair)) => match <[Value; 2]>::try_from(pair) {
                    Ok([key, value]) => drop(map.insert(format::text(&key), value)),
                    Err(_) => return Err(Fault::new(body.line, "!Enumerate MAP makes [key, value] or objects.")),
                },
                (Sequence::Map, _) => {
                    return Err(Fault::new(body.line, "!Enumerate MAP makes [key, value] or objects."));
                }
            }
        }
        self.places.pop();
        Ok(if kind == Sequence::List { Value::Array(list) } else { Value::Object(map) })
    }

    /// A value that came from elsewhere, once it is known to fit.
    fn counted(&mut self, value: Value, line: usize) -> Result<Value, Fault> {
        self.budget.take_all(&value, line)?;
        Ok(value)
    }
}

fn place(places: &[Option<(Value, Value)>], depth: usize, line: usize) -> Result<&(Value, Value), Fault> {
    let place = places.iter().rev().nth(depth);
    let place =
        place.ok_or_else(|| Fault::new(line, format!("No !Enumerate stands {} levels around this.", depth + 1)))?;
    place.as_ref().ok_or_else(|| Fault::new(line, "!Enumerate cannot go over its own items."))
}

/// What counts as true (CO-727).
fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

fn combine(operator: Operator, truths: &[bool]) -> bool {
    let (all, any) = (truths.iter().all(|truth| *truth), truths.iter().any(|truth| *truth));
    let odd = truths.iter().fold(false, |sum, truth| sum ^ truth);
    match operator {
        Operator::And => all,
        Operator::Nand => !all,
        Operator::Or => any,
        Operator::Nor => !any,
        Operator::Xor => odd,
        Operator::Xnor => !odd,
    }
}

/// The item at an index, counted from the end if it is negative.
fn at_number(items: &[Value], at: Option<i64>) -> Option<&Value> {
    let at = at?;
    let length = i64::try_from(items.len()).ok()?;
    items.get(usize::try_from(if at < 0 { at + length } else { at }).ok()?)
}
