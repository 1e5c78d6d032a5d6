//! Blueprints that an instance keeps and applies: named, changed, deleted, and what came of them (CO-733, CO-734).
//! What their text says, and who applies it, is the business of the API's crate, which knows the fields of objects.

mod reach;

use portcullis_core::attributes::Attributes;
use portcullis_core::clock::Timestamp;
use portcullis_core::id::BlueprintId;
use portcullis_core::keys::sha512_hex;
use portcullis_store::blueprint::{self, Blueprint};
use serde_json::{Value, json};

use crate::change::Change;
use crate::context::{Actor, Context};
use crate::directory::{open, seal, superuser_only};
use crate::error::{Error, Problems};
use crate::event::{diff, model};
use crate::list::{Listed, Slice};

pub use portcullis_store::blueprint::{Filter, Order};
pub use reach::{Names, Reach};

/// What is to be stored of a blueprint; absent members stay as they are, or have their default on creation.
#[derive(Clone, Default)]
#[expect(missing_docs, reason = "each is the field of the same name (CO-576)")]
pub struct Fields {
    pub name: Option<String>,
    pub path: Option<String>,
    pub content: Option<String>,
    pub context: Option<Value>,
    pub enabled: Option<bool>,
    /// What its text says of itself: name and labels.
    pub metadata: Option<Value>,
}

/// A blueprint with what is sealed of it.
#[derive(Clone, Debug)]
pub struct View {
    /// The record.
    pub blueprint: Blueprint,
    /// Its text; empty when it is in a file.
    pub content: String,
    /// What it is told besides.
    pub context: Attributes,
}

/// What came of applying a blueprint.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// `successful`, `warning`, `error` or `orphaned`.
    pub status: &'static str,
    /// Models of what it touched, if it was applied.
    pub models: Option<Vec<String>>,
    /// Digest of its text, if it was applied.
    pub hash: Option<String>,
}

/// The digest that tells whether a text has changed: SHA-512 in hex.
pub fn hash(text: &str) -> String {
    sha512_hex(text.as_bytes())
}

/// The blueprints that meet conditions, for an administrator.
///
/// # Errors
/// [`Error::Forbidden`] for anyone else; or when the store fails.
pub async fn list(ctx: &Context, actor: &Actor, filter: &Filter, slice: Slice) -> Result<Listed<View>, Error> {
    superuser_only(actor)?;
    let Listed { rows, count } = blueprint::list(&mut ctx.db.read().await?, filter, slice).await?;
    let rows = rows.into_iter().map(|blueprint| view(ctx, blueprint)).collect::<Result<_, _>>()?;
    Ok(Listed { rows, count })
}

/// The blueprint with this key, for an administrator.
///
/// # Errors
/// [`Error::Forbidden`] for anyone else, [`Error::NotFound`]; or when the store fails.
pub async fn get(ctx: &Context, actor: &Actor, pk: BlueprintId) -> Result<View, Error> {
    superuser_only(actor)?;
    let found = blueprint::by_pk(&mut ctx.db.read().await?, pk).await?;
    view(ctx, found.ok_or(Error::NotFound("BlueprintInstance"))?)
}

/// All blueprints, as part of a larger change.
///
/// # Errors
/// When the store fails or something cannot be opened.
pub async fn all_in(change: &mut Change<'_>) -> Result<Vec<View>, Error> {
    let ctx = change.context();
    let all = blueprint::all(change.conn()).await?;
    all.into_iter().map(|blueprint| view(ctx, blueprint)).collect()
}

fn view(ctx: &Context, blueprint: Blueprint) -> Result<View, Error> {
    let place = place(blueprint.pk, "content");
    let content = ctx.keys.open(&place, &blueprint.content_sealed);
    let content = content.map_err(|source| Error::Sealed { place: place.clone(), source })?;
    Ok(View {
        content: String::from_utf8(content).map_err(|_| Error::Unreadable(place))?,
        context: open(ctx, &self::place(blueprint.pk, "context"), &blueprint.context_sealed)?,
        blueprint,
    })
}

fn place(pk: BlueprintId, column: &str) -> String {
    format!("blueprint:{pk}:{column}")
}

/// Makes a blueprint. It is not applied yet.
///
/// # Errors
/// [`Error::Forbidden`] for anyone but administrators, [`Error::Invalid`] for broken rules.
pub async fn create(ctx: &Context, actor: &Actor, fields: Fields) -> Result<BlueprintId, Error> {
    superuser_only(actor)?;
    let mut change = Change::begin(ctx, actor).await?;
    let pk = create_in(&mut change, fields).await?;
    change.commit().await?;
    Ok(pk)
}

/// Makes a blueprint as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// As [`create`], except for rights.
pub async fn create_in(change: &mut Change<'_>, fields: Fields) -> Result<BlueprintId, Error> {
    let ctx = change.context();
    let blank = Blueprint {
        pk: BlueprintId(ctx.entropy.uuid()),
        name: String::new(),
        path: String::new(),
        content_sealed: Vec::new(),
        context_sealed: Vec::new(),
        enabled: true,
        metadata: json!({}),
        managed_models: json!([]),
        status: "unknown".to_owned(),
        last_applied: ctx.now(),
        last_applied_hash: String::new(),
    };
    let mut made = View { blueprint: blank, content: String::new(), context: Attributes::new() };
    let mut problems = Problems::default();
    if fields.name.is_none() {
        problems.add("name", "This field is required.");
    }
    settle(ctx, &mut made, fields, problems)?;
    blueprint::insert(change.conn(), &made.blueprint).await.map_err(taken)?;
    change.event("model_created", json!({"model": named(&made.blueprint)})).await?;
    Ok(made.blueprint.pk)
}

/// Changes a blueprint. It is not applied yet.
///
/// # Errors
/// [`Error::Forbidden`] for anyone but administrators, [`Error::NotFound`], [`Error::Invalid`] for broken rules.
pub async fn update(ctx: &Context, actor: &Actor, pk: BlueprintId, fields: Fields) -> Result<(), Error> {
    superuser_only(actor)?;
    let mut change = Change::begin(ctx, actor).await?;
    update_in(&mut change, pk, fields).await?;
    change.commit().await
}

/// Changes a blueprint as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// As [`update`], except for rights.
pub async fn update_in(change: &mut Change<'_>, pk: BlueprintId, fields: Fields) -> Result<(), Error> {
    let ctx = change.context();
    let stored = blueprint::by_pk(change.conn(), pk).await?.ok_or(Error::NotFound("BlueprintInstance"))?;
    let before = view(ctx, stored)?;
    let mut changed = before.clone();
    settle(ctx, &mut changed, fields, Problems::default())?;
    blueprint::update(change.conn(), &changed.blueprint).await.map_err(taken)?;
    let difference = diff(&snapshot(&before), &snapshot(&changed));
    change.event("model_updated", json!({"model": named(&changed.blueprint), "diff": difference})).await
}

/// Deletes a blueprint. What it made stays.
///
/// # Errors
/// [`Error::Forbidden`] for anyone but administrators, [`Error::NotFound`].
pub async fn delete(ctx: &Context, actor: &Actor, pk: BlueprintId) -> Result<(), Error> {
    superuser_only(actor)?;
    let mut change = Change::begin(ctx, actor).await?;
    delete_in(&mut change, pk).await?;
    change.commit().await
}

/// Deletes a blueprint as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// As [`delete`], except for rights.
pub async fn delete_in(change: &mut Change<'_>, pk: BlueprintId) -> Result<(), Error> {
    let gone = blueprint::by_pk(change.conn(), pk).await?.ok_or(Error::NotFound("BlueprintInstance"))?;
    blueprint::delete(change.conn(), pk).await?;
    change.event("model_deleted", json!({"model": named(&gone)})).await
}

/// Keeps what came of applying a blueprint, as part of the change that did so, or of one after it. A blueprint that has
/// deleted itself has nothing to remember.
///
/// # Errors
/// When the store fails.
pub async fn record_in(change: &mut Change<'_>, pk: BlueprintId, outcome: &Outcome) -> Result<(), Error> {
    let now: Timestamp = change.context().now();
    let Some(mut applied) = blueprint::by_pk(change.conn(), pk).await? else { return Ok(()) };
    outcome.status.clone_into(&mut applied.status);
    if let Some(models) = &outcome.models {
        applied.managed_models = json!(models);
    }
    if let Some(hash) = &outcome.hash {
        applied.last_applied_hash.clone_from(hash);
        applied.last_applied = now;
    }
    Ok(blueprint::update(change.conn(), &applied).await?)
}

fn settle(ctx: &Context, view: &mut View, fields: Fields, mut problems: Problems) -> Result<(), Error> {
    let View { blueprint, content, context } = view;
    if let Some(name) = fields.name {
        if name.is_empty() {
            problems.add("name", "This field may not be blank.");
        }
        problems.limit_indexed("name", &name);
        blueprint.name = name;
    }
    if let Some(path) = fields.path {
        problems.limit_indexed("path", &path);
        blueprint.path = path;
    }
    *content = fields.content.unwrap_or_else(|| std::mem::take(content));
    match fields.context {
        None => {}
        Some(Value::Object(given)) => *context = given,
        Some(_) => problems.add("context", "Value must be an object."),
    }
    if blueprint.path.is_empty() == content.is_empty() && !problems.has("path") && !problems.has("content") {
        problems.add("non_field_errors", "One of 'path', 'content' must be set, and not both.");
    }
    problems.check()?;
    blueprint.enabled = fields.enabled.unwrap_or(blueprint.enabled);
    blueprint.metadata = fields.metadata.unwrap_or_else(|| blueprint.metadata.clone());
    blueprint.content_sealed = ctx.keys.seal(&place(blueprint.pk, "content"), content.as_bytes(), &*ctx.entropy);
    blueprint.context_sealed = seal(ctx, &place(blueprint.pk, "context"), context);
    Ok(())
}

fn taken(error: portcullis_store::StoreError) -> Error {
    Error::taken(error, "blueprint.name", "name", "Blueprint Instance with this name already exists.")
}

fn named(blueprint: &Blueprint) -> Value {
    model("authentik_blueprints", "blueprintinstance", blueprint.pk, &blueprint.name)
}

/// What events tell of a blueprint: of its text and of what it is told only whether they are the same, for they may
/// hold passwords.
fn snapshot(view: &View) -> Value {
    let blueprint = &view.blueprint;
    json!({
        "name": blueprint.name,
        "path": blueprint.path,
        "enabled": blueprint.enabled,
        "text_sha512": hash(&view.content),
        "context_sha512": hash(&Value::Object(view.context.clone()).to_string()),
    })
}
