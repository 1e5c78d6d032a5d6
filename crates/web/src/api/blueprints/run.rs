//! One pass over a document: entry by entry, in the order in which they stand (CO-721 … CO-725).

mod world;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use portcullis_blueprint::{Blueprint, Budget, Entry, Node, Resolved, State, merge};
use portcullis_core::id::BlueprintId;
use portcullis_idp::blueprints::{self, Names, Outcome};
use portcullis_idp::policies::LogLine;
use portcullis_idp::{Change, Error};
use serde_json::{Map, Value};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::apply::{Cause, Document, Refused};
use super::files::Files;
use super::fixed::Orders;
use super::granted::Granted;
use super::matching::{holds, identified};
use super::model::{Model, built_in_context};
use super::passwords::{self, Passwords};
use super::write::{self, Refusal, Written};

/// Entries whose model or attributes are not known are left out, if a blueprint has this label (CO-731).
pub(super) const SKIP: &str = "portcullis.io/skip-unsupported";
pub(super) const APPLY: &str = "authentik_blueprints.metaapplyblueprint";
pub(super) const LOGGER: &str = "blueprints";
/// The most blueprints that one may lead to, over however many others.
const MOST_OTHERS: usize = 100;
/// How many blueprints may be applied within each other.
const DEEPEST: usize = 16;

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
    files: &'c mut Files,
    until: Instant,
    /// How many others were applied, or tried.
    others: usize,
    /// Instances that were applied: each is once, however many lead to it.
    applied: HashSet<BlueprintId>,
    /// What tags have read from variables and files: no error is to show it.
    read: Vec<Zeroizing<String>>,
    /// Tags of the present entry that have come to null, with their lines: what is wrong with it may be just that.
    nothing: Vec<(usize, &'static str)>,
    /// Why a tag could not look for an object, when that says nothing about the document.
    broken: Option<Refused>,
}

/// What a part of a run that is undone leaves as it was.
struct Before {
    depth: usize,
    passwords: passwords::Before,
    applied: HashSet<BlueprintId>,
    orders: Orders,
    models: BTreeSet<String>,
    warned: bool,
}

/// A document that is being applied.
struct Frame {
    instance: Option<BlueprintId>,
    names: Names,
    within: Duration,
    skips: bool,
    keys: HashMap<String, Value>,
    warned: bool,
    models: BTreeSet<String>,
    granted: Granted,
    takes_over: bool,
}

type Passing<'b> = Pin<Box<dyn Future<Output = Result<(), Refused>> + Send + 'b>>;

impl<'c, 'a> Run<'c, 'a> {
    pub(super) fn new(
        change: &'c mut Change<'a>,
        passwords: &'c mut Passwords,
        files: &'c mut Files,
        until: Instant,
    ) -> Self {
        Self {
            change,
            passwords,
            report: Report::default(),
            frames: Vec::new(),
            orders: Orders::default(),
            files,
            until,
            others: 0,
            applied: HashSet::new(),
            read: Vec::new(),
            nothing: Vec::new(),
            broken: None,
        }
    }

    /// Applies a document, and remembers what came of it if an instance stands for it.
    pub(super) fn document<'b>(&'b mut self, document: &'b Document) -> Passing<'b> {
        Box::pin(async move {
            let blueprint = Blueprint::read(&document.text).map_err(Refused::of_text)?;
            let context = blueprint.context(built_in_context(), document.context.clone());
            self.frames.push(Frame {
                instance: document.instance,
                names: document.names,
                within: document.within,
                skips: blueprint.metadata.label(SKIP) == Some("true"),
                keys: HashMap::new(),
                warned: false,
                models: BTreeSet::new(),
                granted: Granted::default(),
                takes_over: document.takes_over,
            });
            let mut budget = Budget::default();
            for (index, entry) in blueprint.entries.iter().enumerate() {
                let done = self.next(index + 1, entry, &context, &mut budget).await;
                done.map_err(|refused| {
                    let read = self.read.iter().map(|text| text.as_str());
                    refused.at(index + 1, entry.line).without(read)
                })?;
            }
            let Some(done) = self.frames.pop() else { return Ok(()) };
            if let Some(instance) = done.instance {
                self.applied.insert(instance);
                let outcome = Outcome {
                    status: if done.warned { "warning" } else { "successful" },
                    models: Some(done.models.iter().cloned().collect()),
                    hash: Some(blueprints::hash(&document.text)),
                };
                blueprints::record_in(self.change, instance, &outcome).await.map_err(Refused::of_error)?;
            }
            self.report.warned |= done.warned;
            self.report.models.extend(done.models);
            // What those around it name is not known before they are done.
            if let Some(outer) = self.frames.last_mut() {
                outer.granted.join(done.granted);
                return Ok(());
            }
            let taken = done.granted.take_away_others(self.change).await.map_err(Refused::of_error)?;
            taken.into_iter().for_each(|line| self.say("info", line));
            Ok(())
        })
    }

    async fn next(&mut self, number: usize, entry: &Entry, context: &Node, budget: &mut Budget) -> Result<(), Refused> {
        self.in_time()?;
        self.nothing.clear();
        let resolved = match entry.resolve(self, context, budget).await {
            Ok(resolved) => resolved,
            Err(fault) => return Err(self.broken.take().unwrap_or_else(|| Refused::of_entry(fault))),
        };
        let Some(resolved) = resolved else {
            self.say("debug", format!("entry {number}: its conditions do not hold"));
            return Ok(());
        };
        let model = resolved.model.clone();
        let done = self.entry(entry, resolved, &format!("entry {number}")).await;
        // What a tag came to is named only if it is a model.
        let is_shown = entry.model_text().is_some() || model == APPLY || Model::parse(&model).is_some();
        let nothing = std::mem::take(&mut self.nothing);
        if done.is_ok() {
            for (line, tag) in &nothing {
                self.say("info", format!("entry {number}: {tag} in line {line} has come to nothing"));
            }
        }
        done.map_err(|refused| if is_shown { refused.on(&model) } else { refused }.mind(&nothing))
    }

    /// Nobody else can write while this goes on.
    fn in_time(&self) -> Result<(), Refused> {
        match self.frames.first() {
            Some(outermost) if Instant::now() >= self.until => Err(Refused::too_late(outermost.within)),
            _ => Ok(()),
        }
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
                let read = self.read.iter().map(|text| text.as_str());
                let line = format!("{place}: left out: {}", refused.without(read));
                self.say("warning", line);
                Ok(())
            }
            _ => Err(refused),
        }
    }

    /// Brings one object into the state that is wanted. In memory of its own, as is each document: documents that lead to
    /// others are on the stack at the same time.
    fn object<'b>(
        &'b mut self,
        model: Model,
        entry: &'b Entry,
        resolved: &'b Resolved,
        place: &'b str,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + 'b>> {
        Box::pin(self.brought(model, entry, resolved, place))
    }

    async fn brought(&mut self, model: Model, entry: &Entry, resolved: &Resolved, place: &str) -> Result<(), Refusal> {
        if let Some(field) = nameless(&resolved.identifiers) {
            return Err(
                Error::field(field, "There is no such object: what something is found by cannot be null.").into()
            );
        }
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
        // Entries are always those of a document.
        let takes_over = self.frames.last().is_some_and(|frame| frame.takes_over);
        let mut nowhere = Granted::default();
        let granted = self.frames.last_mut().map_or(&mut nowhere, |frame| &mut frame.granted);
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
                Written { key: model.key(object), password: None, changed: false, note: None, missing: Vec::new() }
            }
            (State::Present, Some(object)) => {
                let mut attributes = resolved.attrs.clone();
                if model == Model::StageBinding {
                    merge(&mut attributes, resolved.identifiers.clone());
                }
                write::write(self.change, model, Some(object), attributes, &mut self.orders, granted, takes_over)
                    .await?
            }
            (State::Present | State::Created | State::MustCreated, None) => {
                if let Some(fault) = &resolved.lacking {
                    return Err(Error::field("attrs", format!("Line {}: {}", fault.line, fault.message)).into());
                }
                let attributes = creation(model, resolved)?;
                write::write(self.change, model, None, attributes, &mut self.orders, granted, takes_over).await?
            }
        };
        // A new object goes by the name that was wanted for it.
        let new = |wanted: &Resolved| {
            let wanted = creation(model, wanted).map(Value::Object).unwrap_or_default();
            model.name_of(&wanted).map_or_else(|| written.key.to_string(), str::to_owned)
        };
        let mut changed = written.changed;
        if let Some(password) = &written.password {
            changed |= self.passwords.set(self.change, write::user(&written.key)?, password).await?;
        }
        for permission in &resolved.permissions {
            changed |= write::grant(self.change, model, permission, &written.key, granted).await?;
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
        let missing = match written.missing.as_slice() {
            [] => String::new(),
            missing => format!("; not in the blueprint: {}", missing.join(", ")),
        };
        let known = found.as_ref().map_or_else(|| new(resolved), |object| model.label(object));
        self.say("info", format!("{place}: {} {known}: {done}{missing}", model.name()));
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
        let name = &view.blueprint.name;
        if self.applied.contains(&view.blueprint.pk) {
            self.say("info", format!("{place}: '{name}' is applied already"));
            return Ok(());
        }
        if self.frames.len() >= DEEPEST {
            return Err(Refused::new(format!("Blueprints lead to each other more than {DEEPEST} deep.")));
        }
        self.others += 1;
        if self.others > MOST_OTHERS {
            return Err(Refused::new(format!("This leads to more than {MOST_OTHERS} blueprints.")));
        }
        let within = self.frames.last().map(|frame| frame.within).unwrap_or_default();
        let document = match self.files.document(self.change.context(), &view, within).await {
            Ok(document) => document,
            Err(message) if required => return Err(Refused::new(message)),
            Err(message) => {
                self.say("warning", format!("{place}: {message}"));
                return Ok(());
            }
        };
        self.say("info", format!("{place}: applying '{name}'"));
        if required {
            return self.document(&document).await.map_err(|refused| refused.within(name));
        }
        // What goes wrong in it is its own business: that part is undone, and the rest goes on.
        let before = self.before_part();
        let part = self.change.begin_part().await.map_err(Refused::of_error)?;
        let Err(refused) = self.document(&document).await else {
            return self.change.keep_part(part).await.map_err(Refused::of_error);
        };
        if refused.cause != Cause::Document {
            return Err(refused.within(name));
        }
        self.change.undo_part(part).await.map_err(Refused::of_error)?;
        self.undo(before);
        let outcome = Outcome { status: "error", models: None, hash: None };
        blueprints::record_in(self.change, view.blueprint.pk, &outcome).await.map_err(Refused::of_error)?;
        self.say("warning", format!("{place}: {}", refused.within(name)));
        Ok(())
    }

    fn before_part(&self) -> Before {
        Before {
            depth: self.frames.len(),
            passwords: self.passwords.before_part(),
            applied: self.applied.clone(),
            orders: self.orders.clone(),
            models: self.report.models.clone(),
            warned: self.report.warned,
        }
    }

    fn undo(&mut self, before: Before) {
        self.frames.truncate(before.depth);
        self.passwords.undo(before.passwords);
        (self.applied, self.orders) = (before.applied, before.orders);
        (self.report.models, self.report.warned) = (before.models, before.warned);
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

/// What among identifiers names another object, and names none: `!Find` has found nothing.
fn nameless(identifiers: &Map<String, Value>) -> Option<&str> {
    let names_none = |value: &Value| match value {
        Value::Array(items) => items.iter().any(Value::is_null),
        other => other.is_null(),
    };
    let of = |(field, value): &(&String, &Value)| names_none(value) && !Model::related(field).is_empty();
    identifiers.iter().find(of).map(|(field, _)| field.as_str())
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
