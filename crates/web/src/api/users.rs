//! `core/users/` (CO-540 … CO-546).

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use axum::response::Response;
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use portcullis_core::attributes::Attributes;
use portcullis_core::clock::Timestamp;
use portcullis_core::id::UserPk;
use portcullis_core::origin::Origin;
use portcullis_core::permission::{Model, special};
use portcullis_idp::directory::Person;
use portcullis_idp::directory::generated::{self, Generated};
use portcullis_idp::directory::shown::{self, ShownTeam, ShownUser};
use portcullis_idp::directory::{service_accounts, users};
use portcullis_idp::impersonation::{self, Wish};
use portcullis_idp::list::users::{Comparison, Filter, InstantColumn, Order};
use portcullis_idp::{Actor, Context, Role};
use serde_json::{Value, json};

use super::answer::{ApiError, created, no_content};
use super::body::Body;
use super::caller::{Caller, Key};
use super::needs::{Holds, MayAdd, MayChange, MayDelete, MayView, on, to};
use super::params::Params;
use super::{Routes, roles};
use crate::pages::browser::{came_from_elsewhere, set_session, user_agent};
use crate::same_origin::is_same_origin;

type Ctx = State<Arc<Context>>;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/core/users/", get(list).post(create))
        .route("/core/users/me/", get(me))
        .route("/core/users/paths/", get(paths))
        .route("/core/users/service_account/", post(service_account))
        .route("/core/users/{id}/", get(retrieve).put(replace).patch(change).delete(delete))
        .route("/core/users/{id}/set_password/", post(set_password))
        .route("/core/users/{id}/impersonate/", post(impersonate))
        .route("/core/users/impersonate_end/", get(impersonate_end))
}

const ORDERS: [(&str, Order); 13] = [
    ("pk", Order::Pk),
    ("uuid", Order::Uuid),
    ("username", Order::Username),
    ("name", Order::Name),
    ("email", Order::Email),
    ("is_active", Order::IsActive),
    ("type", Order::Kind),
    ("path", Order::Path),
    ("date_joined", Order::DateJoined),
    ("last_updated", Order::LastUpdated),
    ("last_login", Order::LastLogin),
    ("password_change_date", Order::PasswordChanged),
    ("is_superuser", Order::IsSuperuser),
];

async fn list(
    State(ctx): Ctx,
    MayView(caller, ..): MayView<on::User>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let filter = filter(&mut params);
    let attributes = attributes_filter(&mut params);
    let include = Include::read(&mut params);
    params.finish()?;
    let paging = params.paging()?;
    let listed = shown::users(&ctx, &caller.actor, &filter, &attributes, paging.slice()).await?;
    paging.answer(listed.count, listed.rows.iter().map(|user| user_json(user, include)).collect())
}

fn filter(params: &mut Params) -> Filter {
    let mut instants = Vec::new();
    for (name, column) in [
        ("date_joined", InstantColumn::DateJoined),
        ("last_login", InstantColumn::LastLogin),
        ("last_updated", InstantColumn::LastUpdated),
    ] {
        for (suffix, comparison) in [("", Comparison::Is), ("__gt", Comparison::After), ("__lt", Comparison::Before)] {
            instants.extend(params.instant(&format!("{name}{suffix}")).map(|at| (column, comparison, at)));
        }
    }
    let kinds = params.texts("type");
    for kind in
        kinds.iter().filter(|kind| !users::KINDS.contains(&kind.as_str()) && *kind != "internal_service_account")
    {
        params.problem("type", &format!("Select a valid choice. {kind} is not one of the available choices."));
    }
    Filter {
        pk: None,
        username: params.text("username"),
        email: params.text("email"),
        name: params.text("name"),
        uuid: params.uuid("uuid"),
        path: params.text("path"),
        path_startswith: params.text("path_startswith"),
        kinds,
        is_active: params.flag("is_active"),
        is_superuser: params.flag("is_superuser"),
        groups_by_name: params.texts("groups_by_name"),
        groups_by_pk: params.uuids("groups_by_pk"),
        roles_by_name: params.texts("roles_by_name"),
        roles_by_pk: params.uuids("roles_by_pk"),
        instants,
        last_login_isnull: params.flag("last_login__isnull"),
        search: params.search(),
        order: params.order(&ORDERS, &[(Order::Username, false)]),
        // They are asked for beside it.
        attributes: Vec::new(),
    }
}

/// The `attributes` filter: a JSON object.
pub(super) fn attributes_filter(params: &mut Params) -> Attributes {
    let Some(text) = params.text("attributes") else { return Attributes::new() };
    serde_json::from_str(&text).unwrap_or_else(|_| {
        params.problem("attributes", "filter: failed to parse JSON");
        Attributes::new()
    })
}

/// Which related objects an answer carries.
#[derive(Clone, Copy)]
struct Include {
    groups: bool,
    roles: bool,
}

impl Include {
    const ALL: Self = Self { groups: true, roles: true };

    fn read(params: &mut Params) -> Self {
        Self {
            groups: params.flag("include_groups").unwrap_or(true),
            roles: params.flag("include_roles").unwrap_or(true),
        }
    }
}

async fn retrieve(
    State(ctx): Ctx,
    MayView(caller, ..): MayView<on::User>,
    key: Key,
    mut params: Params,
) -> Result<Json<Value>, ApiError> {
    let include = Include::read(&mut params);
    params.finish()?;
    let user = shown::user(&ctx, &caller.actor, pk(&key)?).await?;
    let mut told = user_json(&user, include);
    // Our own, where there is something to say (OA-624).
    if let (Some(generated), Some(told)) = (generated::of(&ctx, user.account.pk).await?, told.as_object_mut()) {
        told.insert("generated".to_owned(), generated_json(&generated));
    }
    Ok(Json(told))
}

fn generated_json(generated: &Generated) -> Value {
    let (provider, subject) = (generated.provider.as_ref(), generated.subject.as_ref());
    json!({
        "provider": provider.map(|(pk, _)| pk),
        "provider_name": provider.map(|(_, name)| name),
        "source": subject.and_then(|subject| subject.source.as_ref()),
        "issuer": subject.map(|subject| &subject.issuer),
        "subject": subject.map(|subject| &subject.subject),
    })
}

async fn create(State(ctx): Ctx, MayAdd(caller, ..): MayAdd<on::User>, mut body: Body) -> Result<Response, ApiError> {
    let fields = fields(&mut body, false)?;
    let pk = users::create(&ctx, &caller.actor, fields).await?;
    let maker = caller.actor.maker_of(Model::USER, &pk);
    Ok(created(user_json(&shown::user(&ctx, &maker, pk).await?, Include::ALL)))
}

async fn replace(ctx: Ctx, may: MayChange<on::User>, key: Key, body: Body) -> Result<Json<Value>, ApiError> {
    update(ctx, may, &key, body, false).await
}

async fn change(ctx: Ctx, may: MayChange<on::User>, key: Key, body: Body) -> Result<Json<Value>, ApiError> {
    update(ctx, may, &key, body, true).await
}

async fn update(
    State(ctx): Ctx,
    MayChange(caller, ..): MayChange<on::User>,
    key: &Key,
    mut body: Body,
    partial: bool,
) -> Result<Json<Value>, ApiError> {
    let pk = pk(key)?;
    // Whether it exists comes before what is wrong with the body.
    shown::user(&ctx, &caller.actor, pk).await?;
    users::update(&ctx, &caller.actor, pk, fields(&mut body, partial)?).await?;
    Ok(Json(user_json(&shown::user(&ctx, &caller.actor, pk).await?, Include::ALL)))
}

pub(super) fn fields(body: &mut Body, partial: bool) -> Result<users::Fields, ApiError> {
    body.require(&["username", "name"], partial);
    let fields = users::Fields {
        username: body.filled_text("username"),
        name: body.text("name"),
        email: body.text("email"),
        is_active: body.flag("is_active"),
        kind: body.choice("type", &["internal", "external", "service_account", "internal_service_account"]),
        path: body.text("path"),
        groups: body.uuids("groups"),
        roles: body.uuids("roles"),
        attributes: body.json("attributes"),
        keys: None,
    };
    body.finish()?;
    Ok(fields)
}

async fn delete(State(ctx): Ctx, MayDelete(caller, ..): MayDelete<on::User>, key: Key) -> Result<Response, ApiError> {
    users::delete(&ctx, &caller.actor, pk(&key)?).await?;
    Ok(no_content())
}

async fn set_password(
    State(ctx): Ctx,
    Holds(caller, ..): Holds<to::ResetPassword>,
    key: Key,
    mut body: Body,
) -> Result<Response, ApiError> {
    let pk = pk(&key)?;
    users::may_set_password(&ctx, &caller.actor, pk).await?;
    body.require(&["password"], false);
    let password = body.exact_text("password");
    body.finish()?;
    // Of the sessions of whoever sets their own password, the one they do it in survives (CO-041).
    let keep = caller.sid.as_deref().filter(|_| caller.actor.user == Some(pk));
    users::set_password(&ctx, &caller.actor, pk, &password.unwrap_or_default(), keep).await?;
    Ok(no_content())
}

async fn impersonate(
    State(ctx): Ctx,
    Extension(origin): Extension<Arc<Origin>>,
    Holds(caller, ..): Holds<to::Impersonate>,
    key: Key,
    headers: HeaderMap,
    mut body: Body,
) -> Result<Response, ApiError> {
    let user = pk(&key)?;
    let reason = body.text("reason").unwrap_or_default();
    body.finish()?;
    let wish = Wish {
        sid: caller.sid.as_deref(),
        user,
        reason: &reason,
        client: origin.client,
        user_agent: user_agent(&headers),
    };
    let cookie = impersonation::start(&ctx, &caller.actor, &wish).await?;
    let mut response = no_content();
    set_session(&mut response, &origin, &cookie);
    Ok(response)
}

/// A GET that changes something: what another site makes a browser ask for is refused nevertheless (CO-387).
async fn impersonate_end(
    State(ctx): Ctx,
    Extension(origin): Extension<Arc<Origin>>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if !is_same_origin(&ctx, &headers, &origin) {
        came_from_elsewhere(&ctx, &headers, &origin).await?;
        return Err(ApiError::CrossOrigin);
    }
    let mut response = no_content();
    if let Some(sid) = &caller.sid
        && let Some(cookie) = impersonation::end(&ctx, &caller.actor, sid).await?
    {
        set_session(&mut response, &origin, &cookie);
    }
    Ok(response)
}

async fn service_account(
    State(ctx): Ctx,
    MayAdd(caller, ..): MayAdd<on::User>,
    mut body: Body,
) -> Result<Json<Value>, ApiError> {
    body.require(&["name"], false);
    let wish = service_accounts::Wish {
        name: body.filled_text("name").unwrap_or_default(),
        create_group: body.flag("create_group").unwrap_or(false),
        expiring: body.flag("expiring").unwrap_or(true),
        expires: body.instant_or_null("expires").flatten(),
    };
    body.finish()?;
    let made = service_accounts::create(&ctx, &caller.actor, wish).await?;
    Ok(Json(service_accounts::described(&ctx, &made)))
}

async fn paths(
    State(ctx): Ctx,
    MayView(caller, ..): MayView<on::User>,
    mut params: Params,
) -> Result<Json<Value>, ApiError> {
    let search = params.search();
    params.finish()?;
    let mut paths = shown::paths(&ctx, &caller.actor).await?;
    paths.retain(|path| path.contains(&search));
    Ok(Json(json!({"paths": paths})))
}

async fn me(State(ctx): Ctx, caller: Caller) -> Result<Json<Value>, ApiError> {
    let roles = portcullis_idp::roles::of_user(&ctx, caller.person.account.pk).await?;
    let myself = self_json(&caller.person, &caller.actor, &roles, true);
    let Some((person, actor)) = impersonation::original(&ctx, &caller.actor).await? else {
        return Ok(Json(json!({"user": myself, "users": [myself]})));
    };
    let roles = portcullis_idp::roles::of_user(&ctx, person.account.pk).await?;
    let original = self_json(&person, &actor, &roles, false);
    Ok(Json(json!({"user": myself, "users": [myself], "original": original})))
}

fn pk(key: &Key) -> Result<UserPk, ApiError> {
    key.parse("User").map(UserPk)
}

fn user_json(user: &ShownUser, include: Include) -> Value {
    let account = &user.account;
    let groups: Vec<_> = user.groups.iter().map(|group| group.team.pk).collect();
    let groups_obj: Vec<_> = user.groups.iter().map(partial_group_json).collect();
    json!({
        "pk": account.pk,
        "username": account.username,
        "name": account.name,
        "is_active": account.is_active,
        "last_login": instant(account.last_login),
        "date_joined": account.date_joined.to_string(),
        "is_superuser": user.is_superuser,
        "groups": groups,
        "groups_obj": include.groups.then_some(groups_obj),
        "roles": user.roles.iter().map(|role| role.pk).collect::<Vec<_>>(),
        "roles_obj": include.roles.then(|| user.roles.iter().map(roles::object).collect::<Vec<_>>()),
        "email": account.email,
        "avatar": avatar(&account.name, &account.username, &user.uid),
        "attributes": user.attributes,
        "uid": user.uid,
        "path": account.path,
        "type": account.kind,
        "uuid": account.uuid,
        "password_change_date": account.password_changed.to_string(),
        "last_updated": account.last_updated.to_string(),
    })
}

/// A user inside another object.
pub(super) fn full_user_json(user: &ShownUser) -> Value {
    user_json(user, Include::ALL)
}

/// A group inside another object.
pub(super) fn partial_group_json(group: &ShownTeam) -> Value {
    json!({
        "pk": group.team.pk,
        "num_pk": group.team.pk.num_pk(),
        "name": group.team.name,
        "is_superuser": group.team.is_superuser,
        "attributes": group.attributes,
    })
}

/// An instant as the API writes it, or null.
pub(super) fn instant(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}

/// Rights that concern the instance as a whole.
const SYSTEM: [&str; 4] = [
    special::ACCESS_ADMIN_INTERFACE,
    special::VIEW_SYSTEM_INFO,
    special::VIEW_SYSTEM_SETTINGS,
    special::EDIT_SYSTEM_SETTINGS,
];

fn self_json(person: &Person, actor: &Actor, roles: &[Role], is_current: bool) -> Value {
    let held = SYSTEM.into_iter().filter(|right| actor.holds(right));
    let system: Vec<_> = held.filter_map(|right| right.split_once('.')).map(|(_, codename)| codename).collect();
    let account = &person.account;
    let groups: Vec<_> = person.teams.iter().map(|team| json!({"name": team.name, "pk": team.pk})).collect();
    let settings = person.effective_attributes.get("settings").filter(|settings| settings.is_object());
    json!({
        "pk": account.pk,
        "username": account.username,
        "name": account.name,
        "is_active": account.is_active,
        "is_superuser": person.is_superuser,
        "is_current": is_current,
        "groups": groups,
        "roles": roles.iter().map(roles::object).collect::<Vec<_>>(),
        "email": account.email,
        "avatar": avatar(&account.name, &account.username, &person.uid),
        "uid": person.uid,
        "settings": settings.cloned().unwrap_or_else(|| json!({})),
        "type": account.kind,
        "system_permissions": system,
    })
}

/// A picture of the initials: a `data:` URI, so that no third party learns anything (CO-039).
fn avatar(name: &str, username: &str, uid: &str) -> String {
    let words = if name.trim().is_empty() { username } else { name };
    let initial = |word: &str| word.chars().find(|c| c.is_alphanumeric());
    let mut letters: Vec<_> = words.split_whitespace().filter_map(initial).collect();
    if let [first, .., last] = letters[..] {
        letters = vec![first, last];
    }
    let initials: String = letters.into_iter().flat_map(char::to_uppercase).collect();
    // The hashed id begins with hex digits: as good a colour as any, darkened to keep the letters legible.
    let hue = u32::from_str_radix(uid.get(..4).unwrap_or("0"), 16).unwrap_or_default() % 360;
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 64 64\"><rect width=\"64\" height=\"64\" \
         fill=\"hsl({hue} 45% 35%)\"/><text x=\"32\" y=\"41\" font-family=\"sans-serif\" font-size=\"26\" \
         fill=\"#fff\" text-anchor=\"middle\">{initials}</text></svg>"
    );
    format!("data:image/svg+xml;base64,{}", STANDARD.encode(svg))
}

#[cfg(test)]
mod tests;
