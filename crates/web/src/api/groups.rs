//! `core/groups/` (CO-547, CO-548).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use portcullis_core::id::{GroupId, UserPk};
use portcullis_idp::Context;
use portcullis_idp::directory::groups;
use portcullis_idp::directory::shown::{self, ShownGroup, ShownMember, ShownTeam};
use portcullis_idp::list::groups::{Filter, Order};
use serde_json::{Value, json};

use super::Routes;
use super::answer::{ApiError, created, no_content};
use super::body::Body;
use super::caller::{Admin, Key};
use super::params::Params;
use super::users::{attributes_filter, instant, no_roles, num_pk};

type Ctx = State<Arc<Context>>;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/core/groups/", get(list).post(create))
        .route("/core/groups/{id}/", get(retrieve).put(replace).patch(change).delete(delete))
        .route("/core/groups/{id}/add_user/", post(add_user))
        .route("/core/groups/{id}/remove_user/", post(remove_user))
}

const ORDERS: [(&str, Order); 3] = [("pk", Order::Pk), ("name", Order::Name), ("is_superuser", Order::IsSuperuser)];

/// Which related objects an answer carries.
#[derive(Clone, Copy)]
struct Include {
    users: bool,
    children: bool,
    parents: bool,
    inherited_roles: bool,
}

impl Include {
    fn read(params: &mut Params) -> Self {
        Self {
            users: params.flag("include_users").unwrap_or(true),
            children: params.flag("include_children").unwrap_or(false),
            parents: params.flag("include_parents").unwrap_or(false),
            inherited_roles: params.flag("include_inherited_roles").unwrap_or(false),
        }
    }

    /// What the answer to a write carries.
    const WRITTEN: Self = Self { users: true, children: true, parents: true, inherited_roles: true };
}

async fn list(State(ctx): Ctx, Admin(caller): Admin, mut params: Params) -> Result<Response, ApiError> {
    let filter = Filter {
        name: params.text("name"),
        is_superuser: params.flag("is_superuser"),
        members_by_username: params.texts("members_by_username"),
        members_by_pk: params.integers("members_by_pk").into_iter().map(UserPk).collect(),
        search: params.search(),
        order: params.order(&ORDERS, &[(Order::Name, false)]),
    };
    let attributes = attributes_filter(&mut params);
    let include = Include::read(&mut params);
    params.finish()?;
    let paging = params.paging()?;
    let listed = shown::groups(&ctx, &caller.actor, &filter, &attributes, paging.slice()).await?;
    paging.answer(listed.count, listed.rows.iter().map(|group| group_json(group, include)).collect())
}

async fn retrieve(
    State(ctx): Ctx,
    Admin(caller): Admin,
    key: Key,
    mut params: Params,
) -> Result<Json<Value>, ApiError> {
    let include = Include::read(&mut params);
    params.finish()?;
    Ok(Json(group_json(&shown::group(&ctx, &caller.actor, pk(&key)?).await?, include)))
}

async fn create(State(ctx): Ctx, Admin(caller): Admin, mut body: Body) -> Result<Response, ApiError> {
    let pk = groups::create(&ctx, &caller.actor, fields(&mut body, false)?).await?;
    Ok(created(group_json(&shown::group(&ctx, &caller.actor, pk).await?, Include::WRITTEN)))
}

async fn replace(ctx: Ctx, admin: Admin, key: Key, body: Body) -> Result<Json<Value>, ApiError> {
    update(ctx, admin, &key, body, false).await
}

async fn change(ctx: Ctx, admin: Admin, key: Key, body: Body) -> Result<Json<Value>, ApiError> {
    update(ctx, admin, &key, body, true).await
}

async fn update(
    State(ctx): Ctx,
    Admin(caller): Admin,
    key: &Key,
    mut body: Body,
    partial: bool,
) -> Result<Json<Value>, ApiError> {
    let pk = pk(key)?;
    // Whether it exists comes before what is wrong with the body.
    shown::group(&ctx, &caller.actor, pk).await?;
    groups::update(&ctx, &caller.actor, pk, fields(&mut body, partial)?).await?;
    Ok(Json(group_json(&shown::group(&ctx, &caller.actor, pk).await?, Include::WRITTEN)))
}

fn fields(body: &mut Body, partial: bool) -> Result<groups::Fields, ApiError> {
    body.require(&["name"], partial);
    let fields = groups::Fields {
        name: body.filled_text("name"),
        is_superuser: body.flag("is_superuser"),
        parents: body.uuids("parents"),
        users: body.integers("users").map(|users| users.into_iter().map(UserPk).collect()),
        attributes: body.json("attributes"),
    };
    no_roles(body);
    body.finish()?;
    Ok(fields)
}

async fn delete(State(ctx): Ctx, Admin(caller): Admin, key: Key) -> Result<Response, ApiError> {
    groups::delete(&ctx, &caller.actor, pk(&key)?).await?;
    Ok(no_content())
}

async fn add_user(ctx: Ctx, admin: Admin, key: Key, body: Body) -> Result<Response, ApiError> {
    set_member(ctx, admin, &key, body, true).await
}

async fn remove_user(ctx: Ctx, admin: Admin, key: Key, body: Body) -> Result<Response, ApiError> {
    set_member(ctx, admin, &key, body, false).await
}

async fn set_member(
    State(ctx): Ctx,
    Admin(caller): Admin,
    key: &Key,
    mut body: Body,
    member: bool,
) -> Result<Response, ApiError> {
    let group = pk(key)?;
    body.require(&["pk"], false);
    let user = body.integer("pk");
    body.finish()?;
    groups::set_member(&ctx, &caller.actor, group, UserPk(user.unwrap_or_default()), member).await?;
    Ok(no_content())
}

fn pk(key: &Key) -> Result<GroupId, ApiError> {
    key.parse("Group")
}

fn group_json(shown: &ShownGroup, include: Include) -> Value {
    let team = &shown.group.team;
    let keys = |teams: &[ShownTeam]| teams.iter().map(|group| group.team.pk).collect::<Vec<_>>();
    let related = |teams: &[ShownTeam]| teams.iter().map(related_group_json).collect::<Vec<_>>();
    let members: Vec<_> = shown.members.iter().map(|member| member.account.pk).collect();
    json!({
        "pk": team.pk,
        "num_pk": num_pk(team.pk.0),
        "name": team.name,
        "is_superuser": team.is_superuser,
        "parents": keys(&shown.parents),
        "parents_obj": include.parents.then(|| related(&shown.parents)),
        "users": members,
        "users_obj": include.users.then(|| shown.members.iter().map(partial_user_json).collect::<Vec<_>>()),
        "attributes": shown.group.attributes,
        "roles": [],
        "roles_obj": [],
        "inherited_roles_obj": include.inherited_roles.then(Vec::<Value>::new),
        "children": keys(&shown.children),
        "children_obj": include.children.then(|| related(&shown.children)),
    })
}

fn related_group_json(group: &ShownTeam) -> Value {
    json!({
        "pk": group.team.pk,
        "name": group.team.name,
        "is_superuser": group.team.is_superuser,
        "attributes": group.attributes,
        "group_uuid": group.team.pk,
    })
}

/// A user inside another object.
pub(super) fn partial_user_json(member: &ShownMember) -> Value {
    let account = &member.account;
    json!({
        "pk": account.pk,
        "username": account.username,
        "name": account.name,
        "is_active": account.is_active,
        "last_login": instant(account.last_login),
        "email": account.email,
        "attributes": member.attributes,
        "uid": member.uid,
    })
}
