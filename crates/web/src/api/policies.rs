//! `policies/all/` and the kinds of policies (CO-560, CO-562).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use portcullis_core::id::{PolicyId, UserPk};
use portcullis_idp::policies::{self, Fields, Filter, Kind, LogLine, Order, Shape, View};
use portcullis_idp::{Actor, Context};
use serde_json::{Map, Value, json};

use super::answer::{ApiError, created, no_content};
use super::body::Body;
use super::caller::Key;
use super::needs::{self, MayAdd, MayChange, MayDelete, MayView, on};
use super::params::Params;
use super::{Routes, used_by};
use crate::asked::Asked;

const ORDERS: [(&str, Order); 8] = [
    ("pk", Order::Pk),
    ("name", Order::Name),
    ("execution_logging", Order::ExecutionLogging),
    ("component", Order::VerboseName),
    ("verbose_name", Order::VerboseName),
    ("verbose_name_plural", Order::VerboseName),
    ("meta_model_name", Order::MetaModelName),
    ("bound_to", Order::BoundTo),
];

/// The routes of all kinds, and of policies whatever their kind.
pub(super) fn routes() -> Routes {
    let any = Routes::new()
        .route("/policies/all/", get(list_all))
        .route("/policies/all/types/", get(types))
        // Decisions are not cached (CO-177).
        .route("/policies/all/cache_info/", get(async |_: MayView<on::AnyPolicy>| Json(json!({"count": 0}))))
        .route("/policies/all/cache_clear/", post(async |_: MayChange<on::AnyPolicy>| no_content()))
        .route("/policies/all/{pk}/", get(retrieve_any).delete(remove_any))
        .route("/policies/all/{pk}/test/", post(test))
        .route("/policies/all/{pk}/used_by/", get(used_any));
    Kind::ALL.into_iter().fold(any, |routes, kind| {
        routes.merge(match kind {
            Kind::Dummy => of_kind::<on::DummyPolicy>(kind),
            Kind::EventMatcher => of_kind::<on::MatcherPolicy>(kind),
            Kind::Expression => of_kind::<on::ExpressionPolicy>(kind),
            Kind::Password => of_kind::<on::PasswordPolicy>(kind),
            Kind::PasswordExpiry => of_kind::<on::ExpiryPolicy>(kind),
            Kind::Reputation => of_kind::<on::ReputationPolicy>(kind),
        })
    })
}

fn of_kind<K: needs::Kind>(kind: Kind) -> Routes {
    let path = format!("/policies/{}/", kind.name());
    let one = format!("{path}{{pk}}/");
    Routes::new()
        .route(
            &path,
            get(move |ctx, may: MayView<K>, params| list(ctx, may, params, kind))
                .post(move |ctx, may: MayAdd<K>, body| create(ctx, may, body, kind)),
        )
        .route(
            &one,
            get(move |ctx, may: MayView<K>, key| retrieve(ctx, may, key, Some(kind)))
                .put(move |ctx, may: MayChange<K>, key, body| update(ctx, may, key, body, kind, false))
                .patch(move |ctx, may: MayChange<K>, key, body| update(ctx, may, key, body, kind, true))
                .delete(move |ctx, may: MayDelete<K>, key| remove(ctx, may, key, Some(kind))),
        )
        .route(&format!("{one}used_by/"), get(move |ctx, may: MayView<K>, key| used(ctx, may, key, Some(kind))))
}

async fn list_all(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::AnyPolicy>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let paging = params.paging()?;
    let filter = Filter {
        unbound: params.flag("bindings__isnull"),
        search: params.search(),
        order: params.order(&ORDERS, &[(Order::Name, false)]),
        ..Filter::default()
    };
    params.finish()?;
    let found = policies::list(&ctx, &caller.actor, &filter, &[], paging.slice()).await?;
    paging.answer(found.count, found.rows.iter().map(object).collect())
}

async fn list<K: needs::Kind>(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<K>,
    mut params: Params,
    kind: Kind,
) -> Result<Response, ApiError> {
    let paging = params.paging()?;
    let filter = Filter {
        kind: Some(kind.name().to_owned()),
        name: params.text("name"),
        pk: params.uuid("policy_uuid"),
        execution_logging: params.flag("execution_logging"),
        search: params.search(),
        order: params.order(&ORDERS, &[(Order::Name, false)]),
        ..Filter::default()
    };
    let mut own = Vec::new();
    for field in kind.fields() {
        let value = match field.shape {
            Shape::Flag => params.flag(field.name).map(Value::from),
            Shape::Integer => params.integer(field.name).map(Value::from),
            Shape::Text | Shape::FilledText | Shape::ExactText | Shape::TextOrNull => {
                params.text(field.name).map(Value::from)
            }
        };
        own.extend(value.map(|value| (field.name, value)));
    }
    params.finish()?;
    let found = policies::list(&ctx, &caller.actor, &filter, &own, paging.slice()).await?;
    paging.answer(found.count, found.rows.iter().map(object).collect())
}

/// The kinds there are, for whoever wants to make one.
async fn types(_: MayView<on::AnyPolicy>) -> Json<Value> {
    let of = |kind: Kind| {
        let descriptor = kind.descriptor();
        json!({
            "name": descriptor.verbose_name,
            "description": descriptor.description,
            "component": descriptor.component,
            "model_name": descriptor.model,
            "requires_enterprise": false,
            "deprecated": false,
        })
    };
    Json(Kind::ALL.into_iter().map(of).collect())
}

async fn create<K: needs::Kind>(
    State(ctx): State<Arc<Context>>,
    MayAdd(caller, ..): MayAdd<K>,
    mut body: Body,
    kind: Kind,
) -> Result<Response, ApiError> {
    let fields = read(&mut body, kind, false)?;
    let pk = policies::create(&ctx, &caller.actor, kind, fields).await?;
    let maker = caller.actor.maker_of(K::MODEL, &pk);
    Ok(created(one(&ctx, &maker, Some(kind), pk).await?))
}

async fn retrieve_any(ctx: State<Arc<Context>>, may: MayView<on::AnyPolicy>, key: Key) -> Result<Response, ApiError> {
    retrieve(ctx, may, key, None).await
}

async fn retrieve<K: needs::Kind>(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<K>,
    key: Key,
    kind: Option<Kind>,
) -> Result<Response, ApiError> {
    Ok(Json(one(&ctx, &caller.actor, kind, parse(&key, kind)?).await?).into_response())
}

async fn update<K: needs::Kind>(
    State(ctx): State<Arc<Context>>,
    MayChange(caller, ..): MayChange<K>,
    key: Key,
    mut body: Body,
    kind: Kind,
    partial: bool,
) -> Result<Response, ApiError> {
    let pk = parse(&key, Some(kind))?;
    one(&ctx, &caller.actor, Some(kind), pk).await?;
    let fields = read(&mut body, kind, partial)?;
    policies::update(&ctx, &caller.actor, kind, pk, fields).await?;
    Ok(Json(one(&ctx, &caller.actor, Some(kind), pk).await?).into_response())
}

async fn remove_any(ctx: State<Arc<Context>>, may: MayDelete<on::AnyPolicy>, key: Key) -> Result<Response, ApiError> {
    remove(ctx, may, key, None).await
}

async fn remove<K: needs::Kind>(
    State(ctx): State<Arc<Context>>,
    MayDelete(caller, ..): MayDelete<K>,
    key: Key,
    kind: Option<Kind>,
) -> Result<Response, ApiError> {
    policies::delete(&ctx, &caller.actor, kind, parse(&key, kind)?).await?;
    Ok(no_content())
}

async fn used_any(ctx: State<Arc<Context>>, may: MayView<on::AnyPolicy>, key: Key) -> Result<Response, ApiError> {
    used(ctx, may, key, None).await
}

async fn used<K: needs::Kind>(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<K>,
    key: Key,
    kind: Option<Kind>,
) -> Result<Response, ApiError> {
    Ok(used_by::answer(&policies::used_by(&ctx, &caller.actor, kind, parse(&key, kind)?).await?))
}

/// Tries a policy out on a user.
async fn test(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::AnyPolicy>,
    asked: Asked,
    key: Key,
    mut body: Body,
) -> Result<Response, ApiError> {
    let pk = parse(&key, None)?;
    one(&ctx, &caller.actor, None, pk).await?;
    body.require(&["user"], false);
    let user = body.integer("user").map(UserPk);
    let context = match body.json("context") {
        None => Map::new(),
        Some(Value::Object(context)) => context,
        Some(_) => {
            body.problem("context", "Value must be a dictionary, and not have any duplicate keys.");
            Map::new()
        }
    };
    body.finish()?;
    let user = user.ok_or_else(|| ApiError::field("user", "This field is required."))?;
    let trial = policies::test(&ctx, &caller.actor, pk, user, context, asked.0.http).await?;
    Ok(test_result(trial.passing, &trial.messages, &trial.log))
}

/// What came of a test (schema `PolicyTestResult`).
pub(super) fn test_result(passing: bool, messages: &[String], log: &[LogLine]) -> Response {
    let lines: Vec<_> = log.iter().map(log_line).collect();
    Json(json!({"passing": passing, "messages": messages, "log_messages": lines})).into_response()
}

/// A line of a log (schema `LogEvent`).
pub(super) fn log_line(line: &LogLine) -> Value {
    json!({
        "timestamp": line.timestamp.to_string(),
        "log_level": line.level,
        "logger": line.logger,
        "event": line.event,
        "attributes": line.attributes,
    })
}

fn parse(key: &Key, kind: Option<Kind>) -> Result<PolicyId, ApiError> {
    key.parse(policies::name_of(kind))
}

pub(super) fn read(body: &mut Body, kind: Kind, partial: bool) -> Result<Fields, ApiError> {
    let required = kind.fields().iter().filter(|field| field.required).map(|field| field.name);
    let required: Vec<_> = std::iter::once("name").chain(required).collect();
    body.require(&required, partial);
    let mut fields =
        Fields { name: body.filled_text("name"), execution_logging: body.flag("execution_logging"), own: Map::new() };
    for field in kind.fields() {
        let value = match field.shape {
            Shape::Text => body.text(field.name).map(Value::from),
            Shape::FilledText => body.filled_text(field.name).map(Value::from),
            Shape::ExactText => body.exact_text(field.name).map(Value::from),
            Shape::Flag => body.flag(field.name).map(Value::from),
            Shape::Integer => body.integer(field.name).map(Value::from),
            Shape::TextOrNull => body.text_or_null(field.name).map(Value::from),
        };
        if let Some(value) = value {
            fields.own.insert(field.name.to_owned(), value);
        }
    }
    body.finish()?;
    Ok(fields)
}

async fn one(ctx: &Context, actor: &Actor, kind: Option<Kind>, pk: PolicyId) -> Result<Value, ApiError> {
    Ok(object(&policies::get(ctx, actor, kind, pk).await?))
}

/// What all policies have (schema `Policy`).
pub(super) fn base(view: &View) -> Map<String, Value> {
    let descriptor = view.kind.kind().descriptor();
    let base = json!({
        "pk": view.pk,
        "name": view.name,
        "execution_logging": view.execution_logging,
        "component": descriptor.component,
        "verbose_name": descriptor.verbose_name,
        "verbose_name_plural": descriptor.verbose_name_plural,
        "meta_model_name": descriptor.meta_model_name(),
        "bound_to": view.bound_to,
    });
    base.as_object().cloned().unwrap_or_default()
}

pub(super) fn object(view: &View) -> Value {
    let mut object = base(view);
    object.extend(view.kind.settings());
    Value::Object(object)
}
