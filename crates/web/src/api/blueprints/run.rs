//! One pass over a document: entry by entry, in the order in which they stand (CO-721 … CO-725).

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;

use portcullis_blueprint::{Answer, Blueprint, Entry, Resolved, State, World, merge};
use portcullis_core::id::BlueprintId;
use portcullis_idp::blueprints::{self, Names, Outcome};
use portcullis_idp::policies::LogLine;
use portcullis_idp::{Change, Error};
use serde_json::{Map, Value, json};

use super::apply::{Document, Refused};
use super::fixed::Orders;
use super::folder;
use super::matching::{first, holds, identified};
use super::model::{Model, built_in_context};
use super::passwords::Passwords;
use super::write::{self, Refusal, Written};

/// Entries whose model or attributes are not known are left out, if a blueprint has this label (CO-731).
const SKIP: &str = "portcullis.io/skip-unsupported";
const APPLY: &str = "authentik_blueprints.metaapplyblueprint";
const LOGGER: &str = "blueprints";

/// What a pass has come to.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Whether something was left out that should have been there.
    pub(super) warned: bool,
    /// Models of what was touched.
    pub(super) models: BTreeSet<String>,
    /// What was done, line by line.
    pub(super) log: Vec<LogLine>,
}

/// A pass, inside one transaction.
pub(super) struct Run<'c, 'a> {
    pub(super) change: &'c mut Change<'a>,
    pub(super) passwords: &'c mut Passwords,
    pub(super) report: Report,
    /// The documents that are being applied, the innermost last.
    frames: Vec<Frame>,
    orders: Orders,
}

/// A document that is being applied.
struct Frame {
    instance: Option<BlueprintId>,
    names: Names,
    skips: bool,
    keys: HashMap<String, Value>,
    warned: bool,
    models: BTreeSet<String>,
}

type Passing<'b> = Pin<Box<dyn Future<Output = Result<(), Refused>> + Send + 'b>>;

impl<'c, 'a> Run<'c, 'a> {
    pub(super) fn new(change: &'c mut Change<'a>, passwords: &'c mut Passwords) -> Self {
        Self { change, passwords, report: Report::default(), frames: Vec::new(), orders: Orders::default() }
    }

    /// Applies a document, and remembers what came of it if an instance stands for it.
    pub(super) fn document<'b>(&'b mut self, document: &'b Document) -> Passing<'b> {
        Box::pin(async move {
            let blueprint = Blueprint::read(&document.text).map_err(Refused::of_text)?;
            let context = blueprint.context(built_in_context(), document.context.clone());
            self.frames.push(Frame {
                instance: document.instance,
                names: document.names,
                skips: blueprint.metadata.label(SKIP) == Some("true"),
                keys: HashMap::new(),
                warned: false,
                models: BTreeSet::new(),
            });
            for (index, entry) in blueprint.entries.iter().enumerate() {
                let at = |refused: Refused| refused.at(index + 1, entry.line);
                let resolved = entry.resolve(self, &context).await;
                let resolved = resolved.map_err(|fault| at(Refused::of_entry(fault)))?;
                match resolved {
                    Some(resolved) => {
                        let place = format!("entry {}", index + 1);
                        let model = resolved.model.clone();
                        self.entry(entry, resolved, &place).await.map_err(|refused| at(refused.on(&model)))?;
                    }
                    None => self.say("debug", format!("entry {}: its conditions do not hold", index + 1)),
                }
            }
            let Some(done) = self.frames.pop() else { return Ok(()) };
            if let Some(instance) = done.instance {
                let outcome = Outcome {
                    status: if done.warned { "warning" } else { "successful" },
                    models: Some(done.models.iter().cloned().collect()),
                    hash: Some(blueprints::hash(&document.text)),
                };
                blueprints::record_in(self.change, instance, &outcome).await.map_err(Refused::of_error)?;
            }
            self.report.warned |= done.warned;
            self.report.models.extend(done.models);
            Ok(())
        })
    }

    async fn entry(&mut self, entry: &Entry, resolved: Resolved, place: &str) -> Result<(), Refused> {
        if resolved.model == APPLY {
            return self.another(&resolved, place).await;
        }
        let Some(model) = Model::parse(&resolved.model) else {
            return self.unsupported(place, Refused::new("This model is not known."));
        };
        match self.object(model, entry, &resolved, place).await {
            Err(Refusal::Unknown(field)) => {
                self.unsupported(place, Refused::new("This attribute is not known.").about(&field))
            }
            done => done.map_err(Refused::of_refusal),
        }
    }

    /// Something that is not known: the end, unless the blueprint says that it does not matter.
    fn unsupported(&mut self, place: &str, refused: Refused) -> Result<(), Refused> {
        match self.frames.last_mut() {
            Some(frame) if frame.skips => {
                frame.warned = true;
                let line = format!("{place}: left out: {refused}");
                self.say("warning", line);
                Ok(())
            }
            _ => Err(refused),
        }
    }

    async fn object(&mut self, model: Model, entry: &Entry, resolved: &Resolved, place: &str) -> Result<(), Refusal> {
        let mut wanted = resolved.identifiers.clone();
        if let Some(managed) = resolved.attrs.get("managed") {
            wanted.entry("managed").or_insert_with(|| managed.clone());
        }
        let found = match model {
            // Their order is no identifier but a claim about the fixed steps.
            Model::StageBinding => {
                wanted.remove("order");
                identified(self.change, model, &wanted).await?
            }
            _ => self.found(model, &resolved.identifiers, &wanted).await?,
        };
        let found = match found.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            several => {
                let names: Vec<_> = several.iter().map(|object| model.label(object)).collect();
                let message = format!("Several objects match: {}.", names.join(", "));
                return Err(Error::field("identifiers", message).into());
            }
        };
        let written = match (resolved.state, &found) {
            (State::Absent, None) => {
                self.say("debug", format!("{place}: {} is not there", model.name()));
                return Ok(());
            }
            (State::Absent, Some(object)) => {
                write::delete(self.change, model, object).await?;
                self.touched(model);
                self.say("info", format!("{place}: {} {} was deleted", model.name(), model.label(object)));
                return Ok(());
            }
            (State::MustCreated, Some(object)) => {
                let message = format!("'{}' exists already.", model.label(object));
                return Err(Error::field("state", message).into());
            }
            (State::Created, Some(object)) => {
                Written { key: model.key(object), password: None, changed: false, note: None }
            }
            (State::Present, Some(object)) => {
                let mut attributes = resolved.attrs.clone();
                if model == Model::StageBinding {
                    merge(&mut attributes, resolved.identifiers.clone());
                }
                write::write(self.change, model, Some(object), attributes, &mut self.orders).await?
            }
            (State::Present | State::Created | State::MustCreated, None) => {
                let attributes = creation(model, resolved)?;
                write::write(self.change, model, None, attributes, &mut self.orders).await?
            }
        };
        let mut changed = written.changed;
        if let Some(password) = &written.password {
            changed |= self.passwords.set(self.change, write::user(&written.key)?, password, place).await?;
        }
        for permission in &resolved.permissions {
            changed |= write::grant(self.change, permission, &written.key).await?;
        }
        if let Some(id) = &entry.id
            && let Some(frame) = self.frames.last_mut()
        {
            frame.keys.insert(id.clone(), written.key.clone());
        }
        self.touched(model);
        let done = match (written.note, &found, changed) {
            (Some(note), ..) => note,
            (None, None, _) => "was made",
            (None, Some(_), true) => "was changed",
            (None, Some(_), false) => "is as it should be",
        };
        let known = found.as_ref().map_or_else(|| written.key.to_string(), |object| model.label(object));
        self.say("info", format!("{place}: {} {known}: {done}", model.name()));
        Ok(())
    }

    /// What the identifiers mean; a permanent name in the attributes comes first (CO-736).
    async fn found(
        &mut self,
        model: Model,
        identifiers: &Map<String, Value>,
        with_managed: &Map<String, Value>,
    ) -> Result<Vec<Value>, Refusal> {
        if identifiers.len() != with_managed.len() {
            let managed = Map::from_iter(with_managed.get("managed").map(|name| ("managed".to_owned(), name.clone())));
            let kept = identified(self.change, model, &managed).await?;
            if !kept.is_empty() {
                return Ok(kept);
            }
        }
        Ok(identified(self.change, model, identifiers).await?)
    }

    /// Applies another instance first (CO-730).
    async fn another(&mut self, resolved: &Resolved, place: &str) -> Result<(), Refused> {
        let required = resolved.attrs.get("required").is_none_or(|required| *required != Value::Bool(false));
        let Some(Value::Object(identifiers)) = resolved.attrs.get("identifiers") else {
            return Err(Refused::new("An object is expected.").about("identifiers"));
        };
        let known = ["identifiers", "required"];
        if let Some(unknown) = resolved.attrs.keys().find(|field| !known.contains(&field.as_str())) {
            return self.unsupported(place, Refused::new("This attribute is not known.").about(unknown));
        }
        let all = blueprints::all_in(self.change).await.map_err(Refused::of_error)?;
        let meant = all.into_iter().find(|view| {
            let object = super::instance::object(view);
            identifiers.iter().all(|(field, value)| object.get(field).is_some_and(|stored| holds(stored, value)))
        });
        let missing = || Refused::new("There is no such blueprint.").about("identifiers");
        let Some(view) = meant else {
            if required {
                return Err(missing());
            }
            self.say("info", format!("{place}: there is no such blueprint, which does not matter"));
            return Ok(());
        };
        if self.frames.iter().any(|frame| frame.instance == Some(view.blueprint.pk)) {
            return Err(Refused::new(format!("The blueprint '{}' leads to itself.", view.blueprint.name)));
        }
        let document = match folder::document(self.change.context(), &view) {
            Ok(document) => document,
            Err(message) if required => return Err(Refused::new(message)),
            Err(message) => {
                self.say("warning", format!("{place}: {message}"));
                return Ok(());
            }
        };
        let name = &view.blueprint.name;
        self.say("info", format!("{place}: applying '{name}'"));
        if required {
            return self.document(&document).await.map_err(|refused| refused.within(name));
        }
        // What goes wrong in it is its own business: that part is undone, and the rest goes on.
        let depth = self.frames.len();
        let part = self.change.begin_part().await.map_err(Refused::of_error)?;
        let Err(refused) = self.document(&document).await else {
            return self.change.keep_part(part).await.map_err(Refused::of_error);
        };
        self.change.undo_part(part).await.map_err(Refused::of_error)?;
        self.frames.truncate(depth);
        let outcome = Outcome { status: "error", models: None, hash: None };
        blueprints::record_in(self.change, view.blueprint.pk, &outcome).await.map_err(Refused::of_error)?;
        self.say("warning", format!("{place}: {}", refused.within(name)));
        Ok(())
    }

    fn touched(&mut self, model: Model) {
        if let Some(frame) = self.frames.last_mut() {
            frame.models.insert(model.name());
        }
    }

    fn say(&mut self, level: &'static str, text: String) {
        let now = self.change.context().now();
        self.report.log.push(LogLine::new(now, level, LOGGER, text));
    }

    fn names(&self) -> Names {
        self.frames.last().map(|frame| frame.names).unwrap_or_default()
    }
}

/// What an object is made from: attributes, and identifiers on top of them (CO-724).
fn creation(model: Model, resolved: &Resolved) -> Result<Map<String, Value>, Refusal> {
    let mut all = resolved.attrs.clone();
    merge(&mut all, resolved.identifiers.clone());
    if all.remove("pk").is_some_and(|pk| !pk.is_null()) && resolved.identifiers.len() == 1 {
        let message = format!("There is no such object, and keys cannot be chosen: identify {} by name.", model.name());
        return Err(Error::field("pk", message).into());
    }
    if let Some(field) = all.keys().find(|field| field.contains("__")) {
        let message = "There is no such object, and one cannot be made from what is behind another.";
        return Err(Error::field(field, message).into());
    }
    Ok(all)
}

impl World for Run<'_, '_> {
    fn key_of(&self, id: &str) -> Option<Value> {
        self.frames.last()?.keys.get(id).cloned()
    }

    fn find<'w>(&'w mut self, model: &'w str, conditions: &'w [(String, Value)]) -> Answer<'w, Value> {
        Box::pin(async move {
            let model = find_model(model)?;
            let found = first(self.change, model, conditions).await.map_err(|error| words(&error))?;
            Ok(found.map(|object| model.key(&object)).unwrap_or_default())
        })
    }

    fn find_object<'w>(&'w mut self, model: &'w str, conditions: &'w [(String, Value)]) -> Answer<'w, Value> {
        Box::pin(async move {
            let model = find_model(model)?;
            let found = first(self.change, model, conditions).await.map_err(|error| words(&error))?;
            match found {
                Some(object) => model.without_secrets(self.change, object).await.map_err(|error| words(&error)),
                None => Ok(json!(null)),
            }
        })
    }

    fn env(&self, name: &str) -> Result<Option<String>, String> {
        self.change.context().blueprints.variable(self.names(), name)
    }

    fn file(&self, path: &str) -> Result<Option<String>, String> {
        self.change.context().blueprints.file(self.names(), path)
    }
}

fn find_model(name: &str) -> Result<Model, String> {
    Model::parse(&name.to_lowercase()).ok_or_else(|| format!("The model '{name}' is not known."))
}

fn words(error: &Error) -> String {
    tracing::error!(%error, "a blueprint cannot look for an object");
    "The store failed.".to_owned()
}
