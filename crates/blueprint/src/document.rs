//! What a blueprint says: its context and its entries (CO-720, CO-721).

use serde_json::{Map, Value};

use crate::node::{Kind, Node};
use crate::resolve::{Resolver, World};
use crate::yaml;
use crate::{Budget, Fault};

/// A blueprint.
#[derive(Clone, Debug)]
pub struct Blueprint {
    /// Name and labels.
    pub metadata: Metadata,
    /// Entries in the order in which they are applied.
    pub entries: Vec<Entry>,
    context: Node,
}

/// What a blueprint says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Its name.
    pub name: String,
    /// Its labels, such as `blueprints.goauthentik.io/instantiate`.
    pub labels: Vec<(String, String)>,
}

/// One object, and what is to become of it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its line in the document.
    pub line: usize,
    /// What other entries call it.
    pub id: Option<String>,
    model: Node,
    state: Node,
    identifiers: Node,
    attrs: Node,
    conditions: Vec<Node>,
    permissions: Node,
}

/// What is to become of an object (CO-723).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is there, with these attributes.
    Present,
    /// It is there; if it was, it stays as it is.
    Created,
    /// It was not there, and is now.
    MustCreated,
    /// It is not there.
    Absent,
}

/// An entry whose tags are worked out.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// Such as `authentik_core.user`.
    pub model: String,
    /// What is to become of it.
    pub state: State,
    /// What it is found by; never empty, except where nothing is found but done.
    pub identifiers: Map<String, Value>,
    /// What it is to be like.
    pub attrs: Map<String, Value>,
    /// Who is to have which right on it.
    pub permissions: Vec<Permission>,
    /// What the attributes lack, where that may not matter: they count only if the object is to be made.
    pub lacking: Option<Fault>,
}

/// A right on an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Permission {
    /// Such as `authentik_core.view_user`.
    pub permission: String,
    /// The user who has it, by key.
    pub user: Option<Value>,
    /// The role that has it, by key.
    pub role: Option<Value>,
}

impl Blueprint {
    /// Reads a document.
    ///
    /// # Errors
    /// When it is no blueprint of version 1, with the line.
    pub fn read(text: &str) -> Result<Self, Fault> {
        let document = yaml::read(text)?;
        if !matches!(document.kind, Kind::Map(_)) {
            return Err(Fault::new(document.line, "A blueprint is an object with 'version' and 'entries'."));
        }
        known(&document, "a blueprint", &["version", "metadata", "context", "entries"])?;
        match document.get("version").map(|version| (version.plain(), version.line)) {
            Some((Some(Value::Number(number)), _)) if number.as_u64() == Some(1) => {}
            Some((_, line)) => return Err(Fault::new(line, "Only version 1 is known.")),
            None => return Err(Fault::new(document.line, "'version' is missing.")),
        }
        let context = match document.get("context") {
            None => Node::of(Value::Object(Map::new())),
            Some(node) if node.is_null() => Node::of(Value::Object(Map::new())),
            Some(node) if matches!(node.kind, Kind::Map(_)) => node.clone(),
            Some(node) => return Err(Fault::new(node.line, "'context' is an object.")),
        };
        let entries = document.get("entries").ok_or_else(|| Fault::new(document.line, "'entries' is missing."))?;
        let entries = match &entries.kind {
            Kind::List(entries) => entries.iter().map(Entry::read).collect::<Result<_, _>>()?,
            Kind::Map(sections) => {
                let mut all = Vec::new();
                for (_, section) in sections {
                    let Kind::List(entries) = &section.kind else {
                        return Err(Fault::new(section.line, "A section of 'entries' is a list."));
                    };
                    for entry in entries {
                        all.push(Entry::read(entry)?);
                    }
                }
                all
            }
            Kind::Plain(_) | Kind::Tag(_) => {
                return Err(Fault::new(entries.line, "'entries' is a list, or lists by name."));
            }
        };
        let metadata = document.get("metadata").map(Metadata::read).transpose()?.unwrap_or_default();
        Ok(Self { metadata, entries, context })
    }

    /// The context in force: `below` is what is built in, `above` what whoever applies it adds; what comes later
    /// wins (CO-728).
    pub fn context(&self, below: Map<String, Value>, above: Map<String, Value>) -> Node {
        let mut context = Node::of(Value::Object(below));
        context.merge(self.context.clone());
        context.merge(Node::of(Value::Object(above)));
        context
    }
}

impl Metadata {
    fn read(node: &Node) -> Result<Self, Fault> {
        let name = node.get("name").and_then(Node::text).unwrap_or_default().to_owned();
        let mut labels = Vec::new();
        match node.get("labels").map(|labels| (&labels.kind, labels.line)) {
            None | Some((Kind::Plain(Value::Null), _)) => {}
            Some((Kind::Map(entries), line)) => {
                for (key, value) in entries {
                    let text = match value.plain() {
                        Some(Value::String(text)) => text,
                        Some(Value::Bool(flag)) => flag.to_string(),
                        Some(Value::Number(number)) => number.to_string(),
                        _ => return Err(Fault::new(line, format!("The label '{key}' is no text."))),
                    };
                    labels.push((key.clone(), text));
                }
            }
            Some((_, line)) => return Err(Fault::new(line, "'labels' is an object.")),
        }
        Ok(Self { name, labels })
    }

    /// A label's text.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(key, _)| key == name).map(|(_, text)| text.as_str())
    }
}

impl Entry {
    fn read(node: &Node) -> Result<Self, Fault> {
        let Kind::Map(_) = &node.kind else { return Err(Fault::new(node.line, "An entry is an object.")) };
        known(node, "an entry", &["model", "id", "state", "identifiers", "attrs", "conditions", "permissions"])?;
        let required = |key: &str| {
            node.get(key).cloned().ok_or_else(|| Fault::new(node.line, format!("'{key}' is missing in this entry.")))
        };
        let or = |key: &str, default: Value| match node.get(key) {
            Some(given) if !given.is_null() => given.clone(),
            _ => Node { line: node.line, ..Node::of(default) },
        };
        let is_meta = node.get("model").and_then(Node::text).is_some_and(is_meta);
        let identifiers = if is_meta { or("identifiers", Value::Object(Map::new())) } else { required("identifiers")? };
        if is_meta {
            // It names what it means in its attributes.
        } else if matches!(&identifiers.kind, Kind::Map(members) if members.is_empty()) || identifiers.is_null() {
            return Err(Fault::new(identifiers.line, "'identifiers' is empty."));
        }
        let conditions = match or("conditions", Value::Array(Vec::new())).kind {
            Kind::List(conditions) => conditions,
            Kind::Plain(_) | Kind::Map(_) | Kind::Tag(_) => {
                return Err(Fault::new(node.line, "'conditions' is a list."));
            }
        };
        let id = match node.get("id") {
            None => None,
            Some(id) if id.is_null() => None,
            Some(id) => Some(id.text().ok_or_else(|| Fault::new(id.line, "'id' is a text."))?.to_owned()),
        };
        Ok(Self {
            line: node.line,
            id,
            model: required("model")?,
            state: or("state", Value::from("present")),
            identifiers,
            attrs: or("attrs", Value::Object(Map::new())),
            conditions,
            permissions: or("permissions", Value::Array(Vec::new())),
        })
    }

    /// Its model, if it stands there without a tag.
    pub fn model_text(&self) -> Option<&str> {
        self.model.text()
    }

    /// Whether it counts only when something holds.
    pub fn is_conditional(&self) -> bool {
        !self.conditions.is_empty()
    }

    /// Works out the entry; none if its conditions do not hold (CO-725). All entries of a document share a budget.
    ///
    /// # Errors
    /// When a tag cannot be worked out, what comes of it is not what is expected there, or the budget is spent. No error
    /// holds a value that came of a tag: it may be a secret.
    pub async fn resolve(
        &self,
        world: &mut dyn World,
        context: &Node,
        budget: &mut Budget,
    ) -> Result<Option<Resolved>, Fault> {
        let mut resolver = Resolver::new(world, context, budget);
        for condition in &self.conditions {
            if !resolver.truth(condition).await? {
                return Ok(None);
            }
        }
        let state = match resolver.text(&self.state).await?.as_str() {
            "present" => State::Present,
            "created" => State::Created,
            "must_created" => State::MustCreated,
            "absent" => State::Absent,
            _ => {
                let message = "'state' is one of present, created, must_created, absent.";
                return Err(Fault::new(self.state.line, message));
            }
        };
        let identifiers = resolver.object(&self.identifiers).await?;
        let model = resolver.text(&self.model).await?.to_lowercase();
        if identifiers.is_empty() && !is_meta(&model) {
            return Err(Fault::new(self.identifiers.line, "'identifiers' is empty."));
        }
        // Of these nothing may be asked: an object that is there already stays as it is, or goes.
        resolver.waits = matches!(state, State::Created | State::Absent);
        let attrs = resolver.object(&self.attrs).await?;
        let lacking = resolver.lacking.take();
        resolver.waits = false;
        Ok(Some(Resolved {
            model,
            state,
            identifiers,
            attrs,
            lacking,
            permissions: permissions(resolver.value(&self.permissions).await?)
                .ok_or_else(|| Fault::new(self.permissions.line, "Permissions are {permission, user or role}."))?,
        }))
    }
}

/// Refuses what has no meaning here: somebody has meant something by it, such as that an object goes. What begins with `x-` or
/// `.` is for anchors.
fn known(node: &Node, what: &str, names: &[&str]) -> Result<(), Fault> {
    let Kind::Map(members) = &node.kind else { return Ok(()) };
    let strange = |(name, _): &&(String, Node)| {
        !names.contains(&name.as_str()) && !name.starts_with("x-") && !name.starts_with('.')
    };
    let Some((name, value)) = members.iter().find(strange) else { return Ok(()) };
    let likeness = |candidate: &&str| strsim::jaro_winkler(name, candidate);
    let nearest = names.iter().copied().filter(|candidate| likeness(candidate) > 0.8);
    let nearest = nearest.max_by(|left, right| likeness(left).total_cmp(&likeness(right)));
    let meant = nearest.map(|nearest| format!(": did you mean '{nearest}'?")).unwrap_or_else(|| ".".to_owned());
    Err(Fault::new(value.line, format!("'{name}' is not known in {what}{meant}")))
}

/// Whether entries of this model are no objects but something to do: those need no identifiers.
fn is_meta(model: &str) -> bool {
    model.to_lowercase().starts_with("authentik_blueprints.meta")
}

fn permissions(value: Value) -> Option<Vec<Permission>> {
    let Value::Array(items) = value else { return None };
    let read = |item: Value| {
        let Value::Object(mut members) = item else { return None };
        let mut given = |key: &str| members.remove(key).filter(|value| !value.is_null());
        let Some(Value::String(permission)) = given("permission") else { return None };
        Some(Permission { permission, user: given("user"), role: given("role") })
    };
    items.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests;
