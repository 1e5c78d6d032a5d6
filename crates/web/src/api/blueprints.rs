//! `managed/blueprints/` (CO-576), and the engine behind it (CO section 23): blueprints are applied here, because the
//! API's readers know the fields of objects. [`apply`](apply::apply) applies a document, [`Watch`] a folder.

mod apply;
mod export;
mod extras;
mod files;
mod fixed;
mod folder;
mod granted;
mod instance;
mod matching;
mod meant;
mod model;
mod multipart;
mod passwords;
mod run;
mod taken_over;
mod write;

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header;
use portcullis_core::id::BlueprintId;
use portcullis_idp::blueprints::{self, Filter, Names, Order};
use portcullis_idp::policies::LogLine;
use portcullis_idp::{Actor, Context};
use serde_json::{Map, Value, json};

use super::Routes;
use super::answer::{ApiError, created, no_content};
use super::body::Body;
use super::caller::{Admin, Key};
use super::params::Params;
use super::policies::log_line;
use apply::BY_API;

pub use apply::{Applied, Audience, Cause, Document, Refused, apply};
pub use export::export;
pub use folder::Watch;

const PATH: &str = "/managed/blueprints/";
const KIND: &str = "BlueprintInstance";
/// Most bytes of a form: a document of the greatest length, and what is around it.
const MAX_FORM: usize = portcullis_blueprint::MAX_BYTES + 64 * 1024;
const ORDERS: [(&str, Order); 7] = [
    ("pk", Order::Pk),
    ("name", Order::Name),
    ("path", Order::Path),
    ("enabled", Order::Enabled),
    ("status", Order::Status),
    ("last_applied", Order::LastApplied),
    ("last_applied_hash", Order::LastAppliedHash),
];

/// The routes of the resource. All of it is for administrators (CO-706).
pub(super) fn routes() -> Routes {
    Routes::new()
        .route(PATH, get(list).post(create))
        .route(&format!("{PATH}available/"), get(available))
        .route(&format!("{PATH}import/"), post(import))
        .route(&format!("{PATH}{{instance_uuid}}/"), get(retrieve).put(replace).patch(change).delete(remove))
        .route(&format!("{PATH}{{instance_uuid}}/apply/"), post(apply_one))
}

async fn list(State(ctx): State<Arc<Context>>, Admin(caller): Admin, mut params: Params) -> Result<Response, ApiError> {
    let paging = params.paging()?;
    let filter = Filter {
        name: params.text("name"),
        path: params.text("path"),
        search: params.search(),
        order: params.order(&ORDERS, &[(Order::Name, false)]),
    };
    params.finish()?;
    let found = blueprints::list(&ctx, &caller.actor, &filter, paging.slice()).await?;
    paging.answer(found.count, found.rows.iter().map(instance::object).collect())
}

async fn create(State(ctx): State<Arc<Context>>, Admin(caller): Admin, mut body: Body) -> Result<Response, ApiError> {
    let fields = instance::read(&ctx, &mut body, None, false).await?;
    let pk = blueprints::create(&ctx, &caller.actor, fields).await?;
    Ok(created(applied_if_enabled(&ctx, &caller.actor, pk).await?))
}

async fn retrieve(State(ctx): State<Arc<Context>>, Admin(caller): Admin, key: Key) -> Result<Response, ApiError> {
    Ok(Json(one(&ctx, &caller.actor, key.parse(KIND)?).await?).into_response())
}

async fn replace(ctx: State<Arc<Context>>, admin: Admin, key: Key, body: Body) -> Result<Response, ApiError> {
    update(ctx, admin, key, body, false).await
}

async fn change(ctx: State<Arc<Context>>, admin: Admin, key: Key, body: Body) -> Result<Response, ApiError> {
    update(ctx, admin, key, body, true).await
}

async fn update(
    State(ctx): State<Arc<Context>>,
    Admin(caller): Admin,
    key: Key,
    mut body: Body,
    partial: bool,
) -> Result<Response, ApiError> {
    let pk = key.parse(KIND)?;
    // Whether it exists comes before what is wrong with the body.
    let known = blueprints::get(&ctx, &caller.actor, pk).await?.content;
    let fields = instance::read(&ctx, &mut body, Some(&known), partial).await?;
    blueprints::update(&ctx, &caller.actor, pk, fields).await?;
    Ok(Json(applied_if_enabled(&ctx, &caller.actor, pk).await?).into_response())
}

async fn remove(State(ctx): State<Arc<Context>>, Admin(caller): Admin, key: Key) -> Result<Response, ApiError> {
    blueprints::delete(&ctx, &caller.actor, key.parse(KIND)?).await?;
    Ok(no_content())
}

/// Applies an instance now, whether or not it is enabled.
async fn apply_one(State(ctx): State<Arc<Context>>, Admin(caller): Admin, key: Key) -> Result<Response, ApiError> {
    let pk = key.parse(KIND)?;
    let view = blueprints::get(&ctx, &caller.actor, pk).await?;
    folder::apply_instance(&ctx, &caller.actor, &view).await?;
    // It may have deleted itself.
    let shown = match blueprints::get(&ctx, &caller.actor, pk).await {
        Ok(after) => after,
        Err(portcullis_idp::Error::NotFound(_)) => view,
        Err(error) => return Err(error.into()),
    };
    Ok(Json(instance::object(&shown)).into_response())
}

/// What is enabled is in force when the answer is given (CO-734). What came of it is its status.
async fn applied_if_enabled(ctx: &Context, actor: &Actor, pk: BlueprintId) -> Result<Value, ApiError> {
    let view = blueprints::get(ctx, actor, pk).await?;
    if !view.blueprint.enabled {
        return Ok(instance::object(&view));
    }
    folder::apply_instance(ctx, actor, &view).await?;
    match blueprints::get(ctx, actor, pk).await {
        Err(portcullis_idp::Error::NotFound(_)) => Ok(instance::object(&view)),
        after => Ok(instance::object(&after?)),
    }
}

async fn one(ctx: &Context, actor: &Actor, pk: BlueprintId) -> Result<Value, ApiError> {
    Ok(instance::object(&blueprints::get(ctx, actor, pk).await?))
}

/// The files that can be made instances of.
async fn available(State(ctx): State<Arc<Context>>, _: Admin) -> Json<Value> {
    let file = |file: &folder::Found| {
        let meta = file.metadata.as_ref().map_or_else(|| json!({"name": "", "labels": {}}), folder::metadata_json);
        json!({"path": file.path, "last_m": file.changed.to_string(), "hash": file.hash, "meta": meta})
    };
    Json(files::all(&ctx).await.iter().map(file).collect())
}

/// Applies a document once, and keeps no instance (CO-735).
async fn import(State(ctx): State<Arc<Context>>, Admin(caller): Admin, form: Form) -> Result<Response, ApiError> {
    let part = |name: &str| form.0.get(name).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let (file, path) = (part("file"), part("path").filter(|path| !path.trim().is_empty()));
    let (text, names) = match (file, path) {
        (Some(text), _) => (text, Names::ForBlueprints),
        (None, Some(path)) => {
            let missing = || ApiError::field("path", "Blueprint file does not exist");
            (files::file(&ctx, path.trim()).await.ok_or_else(missing)?.text, Names::AllButOurs)
        }
        (None, None) => return Err(ApiError::field("file", "This field is required.")),
    };
    let context = match part("context").filter(|text| !text.trim().is_empty()) {
        None => Map::new(),
        Some(text) => match serde_json::from_str(&text) {
            Ok(Value::Object(context)) => context,
            _ => return Err(ApiError::field("context", "Value must be valid JSON.")),
        },
    };
    let document =
        Document { name: "import".to_owned(), text, context, names, instance: None, within: BY_API, takes_over: false };
    let (success, log) = match apply(&ctx, &caller.actor, &document, Audience::Ourselves).await {
        Ok(applied) => (true, applied.log),
        Err(refused) => (false, vec![LogLine::new(ctx.now(), "error", "blueprints", refused.to_string())]),
    };
    let logs: Vec<_> = log.iter().map(log_line).collect();
    Ok(Json(json!({"success": success, "logs": logs})).into_response())
}

/// A form with files.
struct Form(std::collections::BTreeMap<String, Vec<u8>>);

impl FromRequest<Arc<Context>> for Form {
    type Rejection = ApiError;

    async fn from_request(request: Request, ctx: &Arc<Context>) -> Result<Self, ApiError> {
        let (mut head, body) = request.into_parts();
        let bytes = crate::body::read(body, MAX_FORM).await?;
        // Whoever was let in by the head may have lost credentials or session while the body was on its way.
        Admin::from_request_parts(&mut head, ctx).await?;
        let media_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = media_type.unwrap_or_default();
        let is_form = media_type.to_ascii_lowercase().starts_with("multipart/form-data");
        match multipart::parts(media_type, &bytes) {
            Some(parts) => Ok(Self(parts)),
            None if is_form => Err(ApiError::Unparsable("the form is malformed".to_owned())),
            None => Err(ApiError::MediaType(media_type.to_owned())),
        }
    }
}
