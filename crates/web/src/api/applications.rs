//! `core/applications/` (CO-551, CO-552).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use portcullis_core::id::{ProviderPk, UserPk};
use portcullis_core::permission::{Model, Verb, special};
use portcullis_idp::access::AccessContext;
use portcullis_idp::applications::{self, Fields, Filter, Order, View, Wanted};
use portcullis_idp::directory::{self, Person};
use portcullis_idp::list::Listed;
use portcullis_idp::{Context, Error};
use serde_json::{Value, json};

use super::answer::{ApiError, created, no_content};
use super::body::Body;
use super::caller::{Caller, Key};
use super::needs::{MayAdd, MayChange, MayDelete, on};
use super::params::Params;
use super::policies::test_result;
use super::{Routes, providers};
use crate::asked::Asked;

const ORDERS: [(&str, Order); 14] = [
    ("pk", Order::Pk),
    ("pbm_uuid", Order::Pk),
    ("name", Order::Name),
    ("slug", Order::Slug),
    ("provider", Order::Provider),
    ("group", Order::Group),
    ("meta_publisher", Order::MetaPublisher),
    ("meta_launch_url", Order::MetaLaunchUrl),
    ("meta_icon", Order::MetaIcon),
    ("meta_description", Order::MetaDescription),
    ("meta_hide", Order::MetaHide),
    ("open_in_new_tab", Order::OpenInNewTab),
    ("policy_engine_mode", Order::PolicyEngineMode),
    ("meta_icon_url", Order::MetaIcon),
];

/// The routes of the resource.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/core/applications/", get(list).post(create))
        .route("/core/applications/{slug}/", get(retrieve).put(replace).patch(change).delete(remove))
        .route("/core/applications/{slug}/check_access/", get(check_access))
}

/// Whom a question is about: the caller, or somebody else if the caller may ask about them.
async fn subject(
    ctx: &Context,
    caller: Caller,
    params: &mut Params,
    may: impl FnOnce(&portcullis_idp::Actor, UserPk) -> bool,
) -> Result<Person, ApiError> {
    let Some(pk) = params.integer("for_user").map(UserPk) else { return Ok(caller.person) };
    if !may(&caller.actor, pk) {
        return Err(ApiError::Forbidden);
    }
    let mut conn = ctx.db.read().await.map_err(Error::from)?;
    let found = directory::person(ctx, &mut conn, pk).await?;
    found.ok_or_else(|| ApiError::field("for_user", "User not found"))
}

/// Only what the subject may use, unless an administrator asks for everything (CO-137). What nobody may see
/// is left out before pages are made.
async fn list(
    State(ctx): State<Arc<Context>>,
    caller: Caller,
    asked: Asked,
    mut params: Params,
) -> Result<Response, ApiError> {
    let paging = params.paging()?;
    let no_portal = caller.actor.serving().is_some();
    let everything = params.flag("superuser_full_list") == Some(true) && caller.actor.is_superuser;
    let with_launch_url = params.flag("only_with_launch_url") == Some(true);
    let sender = Some(Arc::new(caller.person.clone()));
    let person =
        subject(&ctx, caller, &mut params, |actor, user| actor.holds_on(special::VIEW_USER_APPLICATIONS, &user))
            .await?;
    let filter = Filter {
        name: params.text("name"),
        slug: params.text("slug"),
        portal_group: params.text("group"),
        meta_launch_url: params.text("meta_launch_url"),
        meta_description: params.text("meta_description"),
        meta_publisher: params.text("meta_publisher"),
        search: params.search(),
        order: params.order(&ORDERS, &[(Order::Name, false)]),
    };
    params.finish()?;
    // Whoever asks about others is who sends the request.
    let context = AccessContext { sender, ..asked.context() };
    let wanted = Wanted {
        filter: &filter,
        usable_by: (!everything).then_some(&person),
        launchable_by: with_launch_url.then_some(&person),
    };
    let Listed { rows, count } = applications::list(&ctx, wanted, &context, &paging.slice()).await?;
    if no_portal {
        return paging.answer(0, Vec::new());
    }
    paging.answer(count, rows.iter().map(|view| object(view, &person)).collect())
}

async fn create(
    State(ctx): State<Arc<Context>>,
    MayAdd(caller, ..): MayAdd<on::Application>,
    mut body: Body,
) -> Result<Response, ApiError> {
    let fields = read(&mut body, false)?;
    let slug = fields.slug.clone().unwrap_or_default();
    applications::create(&ctx, &caller.actor, fields).await?;
    Ok(created(object(&applications::get(&ctx, &slug).await?, &caller.person)))
}

async fn retrieve(
    State(ctx): State<Arc<Context>>,
    caller: Caller,
    asked: Asked,
    Key(slug): Key,
) -> Result<Response, ApiError> {
    let view = applications::get(&ctx, &slug).await?;
    let view = match caller.actor.may_on(Verb::View, Model::APPLICATION, &view.application.uuid) {
        true => view,
        false if caller.actor.serving().is_some() => return Err(ApiError::NotFound(Model::APPLICATION.kind)),
        false => applications::get_usable(&ctx, &slug, &caller.person, &asked.context()).await?,
    };
    Ok(Json(object(&view, &caller.person)).into_response())
}

async fn replace(
    ctx: State<Arc<Context>>,
    may: MayChange<on::Application>,
    key: Key,
    body: Body,
) -> Result<Response, ApiError> {
    update(ctx, may, key, body, false).await
}

async fn change(
    ctx: State<Arc<Context>>,
    may: MayChange<on::Application>,
    key: Key,
    body: Body,
) -> Result<Response, ApiError> {
    update(ctx, may, key, body, true).await
}

async fn update(
    State(ctx): State<Arc<Context>>,
    MayChange(caller, ..): MayChange<on::Application>,
    Key(slug): Key,
    mut body: Body,
    partial: bool,
) -> Result<Response, ApiError> {
    applications::get(&ctx, &slug).await?;
    let fields = read(&mut body, partial)?;
    let renamed = fields.slug.clone().unwrap_or_else(|| slug.clone());
    applications::update(&ctx, &caller.actor, &slug, fields).await?;
    Ok(Json(object(&applications::get(&ctx, &renamed).await?, &caller.person)).into_response())
}

async fn remove(
    State(ctx): State<Arc<Context>>,
    MayDelete(caller, ..): MayDelete<on::Application>,
    Key(slug): Key,
) -> Result<Response, ApiError> {
    applications::delete(&ctx, &caller.actor, &slug).await?;
    Ok(no_content())
}

/// Whether somebody may use an application. Why is for administrators (CO-138).
async fn check_access(
    State(ctx): State<Arc<Context>>,
    caller: Caller,
    asked: Asked,
    Key(slug): Key,
    mut params: Params,
) -> Result<Response, ApiError> {
    let explained = caller.actor.is_superuser;
    // Whoever may not ask about others asks about themselves.
    let sender = explained.then(|| Arc::new(caller.person.clone()));
    let person = if explained { subject(&ctx, caller, &mut params, |_, _| true).await? } else { caller.person };
    params.finish()?;
    let context = AccessContext { sender, explained, ..asked.context() };
    let (decision, lines) = applications::check_access(&ctx, &slug, &person, &context, explained).await?;
    let messages = if explained { decision.messages } else { Vec::new() };
    Ok(test_result(decision.passing, &messages, &lines))
}

pub(super) fn read(body: &mut Body, partial: bool) -> Result<Fields, ApiError> {
    body.require(&["name", "slug"], partial);
    let fields = Fields {
        name: body.filled_text("name"),
        slug: body.filled_text("slug"),
        provider: body.integer_or_null("provider").map(|pk| pk.map(ProviderPk)),
        backchannel_providers: body
            .integers("backchannel_providers")
            .map(|keys| keys.into_iter().map(ProviderPk).collect()),
        group: body.text("group"),
        policy_engine_mode: body.choice("policy_engine_mode", &["all", "any"]),
        meta_launch_url: body.text("meta_launch_url"),
        meta_icon: body.text("meta_icon"),
        meta_description: body.text("meta_description"),
        meta_publisher: body.text("meta_publisher"),
        meta_hide: body.flag("meta_hide"),
        open_in_new_tab: body.flag("open_in_new_tab"),
    };
    body.finish()?;
    Ok(fields)
}

/// An application, also inside another object.
pub(super) fn object(view: &View, person: &Person) -> Value {
    shown(view, view.launch_url(Some(person)).as_deref())
}

/// An application that is opened at this address.
pub(super) fn shown(view: &View, launch_url: Option<&str>) -> Value {
    let application = &view.application;
    let icon = Some(&application.meta_icon).filter(|icon| !icon.is_empty());
    json!({
        "pk": application.uuid,
        "pbm_uuid": application.uuid,
        "name": application.name,
        "slug": application.slug,
        "provider": application.provider,
        "provider_obj": view.provider.as_ref().map(providers::base),
        "backchannel_providers": [],
        "backchannel_providers_obj": [],
        "launch_url": launch_url,
        "open_in_new_tab": application.open_in_new_tab,
        "meta_launch_url": application.meta_launch_url,
        "meta_icon": application.meta_icon,
        "meta_icon_url": icon,
        "meta_icon_themed_urls": null,
        "meta_description": application.meta_description,
        "meta_publisher": application.meta_publisher,
        "policy_engine_mode": application.policy_engine_mode,
        "group": application.portal_group,
        "meta_hide": application.meta_hide,
    })
}
