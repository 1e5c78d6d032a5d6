//! `core/groups/` (CO-547, CO-548).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use portcullis_core::id::{GroupId, UserPk};
use portcullis_core::permission::Model;
use portcullis_idp::Context;
use portcullis_idp::directory::groups;
use portcullis_idp::directory::shown::{self, ShownGroup, ShownMember, ShownTeam};
use portcullis_idp::list::groups::{Filter, Order};
use serde_json::{Value, json};

use super::answer::{ApiError, created, no_content};
use super::body::Body;
use super::caller::{Caller, Key};
use super::needs::{Holds, MayAdd, MayChange, MayDelete, MayView, on, to};
use super::params::Params;
use super::users::{attributes_filter, instant};
use super::{Routes, roles};

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

async fn list(
    State(ctx): Ctx,
    MayView(caller, ..): MayView<on::Group>,
    mut params: Params,
) -> Result<Response, ApiError> {
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
    MayView(caller, ..): MayView<on::Group>,
    key: Key,
    mut params: Params,
) -> Result<Json<Value>, ApiError> {
    let include = Include::read(&mut params);
    params.finish()?;
    Ok(Json(group_json(&shown::group(&ctx, &caller.actor, pk(&key)?).await?, include)))
}

async fn create(State(ctx): Ctx, MayAdd(caller, ..): MayAdd<on::Group>, mut body: Body) -> Result<Response, ApiError> {
    let pk = groups::create(&ctx, &caller.actor, fields(&mut body, false)?).await?;
    let maker = caller.actor.maker_of(Model::GROUP, &pk);
    Ok(created(group_json(&shown::group(&ctx, &maker, pk).await?, Include::WRITTEN)))
}

async fn replace(ctx: Ctx, may: MayChange<on::Group>, key: Key, body: Body) -> Result<Json<Value>, ApiError> {
    update(ctx, may, &key, body, false).await
}

async fn change(ctx: Ctx, may: MayChange<on::Group>, key: Key, body: Body) -> Result<Json<Value>, ApiError> {
    update(ctx, may, &key, body, true).await
}

async fn update(
    State(ctx): Ctx,
    MayChange(caller, ..): MayChange<on::Group>,
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

pub(super) fn fields(body: &mut Body, partial: bool) -> Result<groups::Fields, ApiError> {
    body.require(&["name"], partial);
    let fields = groups::Fields {
        name: body.filled_text("name"),
        is_superuser: body.flag("is_superuser"),
        parents: body.uuids("parents"),
        users: body.integers("users").map(|users| users.into_iter().map(UserPk).collect()),
        roles: body.uuids("roles"),
        attributes: body.json("attributes"),
    };
    body.finish()?;
    Ok(fields)
}

async fn delete(State(ctx): Ctx, MayDelete(caller, ..): MayDelete<on::Group>, key: Key) -> Result<Response, ApiError> {
    groups::delete(&ctx, &caller.actor, pk(&key)?).await?;
    Ok(no_content())
}

async fn add_user(ctx: Ctx, may: Holds<to::AddToGroup>, key: Key, body: Body) -> Result<Response, ApiError> {
    set_member(ctx, may.0, &key, body, true).await
}

async fn remove_user(ctx: Ctx, may: Holds<to::RemoveFromGroup>, key: Key, body: Body) -> Result<Response, ApiError> {
    set_member(ctx, may.0, &key, body, false).await
}

async fn set_member(
    State(ctx): Ctx,
    caller: Caller,
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

/// A group with everything around it.
pub(super) fn full_group_json(shown: &ShownGroup) -> Value {
    group_json(shown, Include::WRITTEN)
}

fn group_json(shown: &ShownGroup, include: Include) -> Value {
    let team = &shown.group.team;
    let keys = |teams: &[ShownTeam]| teams.iter().map(|group| group.team.pk).collect::<Vec<_>>();
    let related = |teams: &[ShownTeam]| teams.iter().map(related_group_json).collect::<Vec<_>>();
    let members: Vec<_> = shown.members.iter().map(|member| member.account.pk).collect();
    json!({
        "pk": team.pk,
        "num_pk": team.pk.num_pk(),
        "name": team.name,
        "is_superuser": team.is_superuser,
        "parents": keys(&shown.parents),
        "parents_obj": include.parents.then(|| related(&shown.parents)),
        "users": members,
        "users_obj": include.users.then(|| shown.members.iter().map(partial_user_json).collect::<Vec<_>>()),
        "attributes": shown.group.attributes,
        "roles": shown.roles.iter().map(|role| role.pk).collect::<Vec<_>>(),
        "roles_obj": shown.roles.iter().map(roles::object).collect::<Vec<_>>(),
        "inherited_roles_obj":
            include.inherited_roles.then(|| shown.inherited_roles.iter().map(roles::object).collect::<Vec<_>>()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Site;
    use authentik_client::models;
    use http::Method;
    use portcullis_core::epoch::Subject;

    /// CO-547, CO-596: a group is created, read, changed and deleted, and every answer has all keys.
    #[tokio::test]
    async fn co_547_groups_live_and_go() {
        let site = Site::new().await;
        let user = site.user("ada").await;
        let parent = site.admin(Method::POST, "/core/groups/", json!({"name": "all"})).await;
        assert_eq!(parent.status, 201, "{:?}", parent.json);
        serde_json::from_value::<models::Group>(parent.json.clone()).expect("the client's type");
        let body = json!({
            "name": "staff", "parents": [parent.json["pk"]], "users": [user], "attributes": {"z": [1], "a": {"b": null}},
        });
        let made = site.admin(Method::POST, "/core/groups/", body.clone()).await;
        serde_json::from_value::<models::Group>(made.json.clone()).expect("the client's type");
        for (key, value) in body.as_object().expect("object") {
            assert_eq!(&made.json[key], value, "{key}");
        }
        let path = format!("/core/groups/{}/", made.json["pk"].as_str().expect("text"));
        let read = site.admin(Method::GET, &format!("{path}?include_parents=true&include_users=false"), None).await;
        assert_eq!(read.json["parents_obj"][0]["name"], json!("all"));
        assert_eq!((&read.json["users_obj"], &read.json["children_obj"]), (&Value::Null, &Value::Null));
        assert_eq!(read.json["users"], json!([user]));
        let list = site.admin(Method::GET, "/core/groups/?search=ALL&include_children=1", None).await;
        serde_json::from_value::<models::PaginatedGroupList>(list.json.clone()).expect("the client's type");
        assert_eq!(list.json["results"][0]["children"], json!([made.json["pk"]]));
        assert_eq!(list.json["results"][0]["children_obj"][0]["name"], json!("staff"));
        // A PUT without `users` and `parents` leaves them.
        let put = site.admin(Method::PUT, &path, json!({"name": "crew"})).await;
        assert_eq!((&put.json["name"], &put.json["users"]), (&json!("crew"), &json!([user])));
        assert_eq!(put.json["parents"], json!([parent.json["pk"]]));
        assert_eq!(site.admin(Method::DELETE, &path, None).await.status, 204);
        let absent = site.admin(Method::GET, &path, None).await;
        assert_eq!(absent.json, json!({"detail": "No Group matches the given query."}));
        assert_eq!(site.admin(Method::GET, "/core/groups/not-a-uuid/", None).await.status, 404);
    }

    /// CO-062, CO-523: circles, unknown members and taken names are refused on their field.
    #[tokio::test]
    async fn co_062_groups_are_validated() {
        let site = Site::new().await;
        let make = async |body: Value| site.admin(Method::POST, "/core/groups/", body).await;
        let top = make(json!({"name": "top"})).await.json["pk"].clone();
        let low = make(json!({"name": "low", "parents": [top]})).await.json["pk"].clone();
        let path = format!("/core/groups/{}/", top.as_str().expect("text"));
        for parents in [json!([low]), json!([top])] {
            let circle = site.admin(Method::PATCH, &path, json!({"parents": parents})).await;
            assert_eq!(circle.json, json!({"parents": ["A group cannot be its own ancestor."]}));
        }
        let taken = make(json!({"name": "low"})).await;
        assert_eq!(taken.json, json!({"name": ["Group with this name already exists."]}));
        let unknown = make(json!({"name": "x", "users": [4711], "parents": ["x"], "roles": "y"})).await;
        assert_eq!(
            unknown.json,
            json!({
                "parents": ["Must be a valid UUID."],
                "roles": ["Expected a list of items but got type \"str\"."],
            })
        );
        let unknown = make(json!({"name": "x", "users": [4711]})).await;
        assert_eq!(unknown.json, json!({"users": ["Invalid pk \"4711\" - object does not exist."]}));
    }

    /// CO-061, CO-036: membership and the administrator's flag come down from ancestors.
    #[tokio::test]
    async fn co_061_members_of_descendants_are_members() {
        let site = Site::new().await;
        let user = site.user("ada").await;
        let admins =
            site.admin(Method::GET, "/core/groups/?is_superuser=true", None).await.json["results"][0]["pk"].clone();
        let middle = site.admin(Method::POST, "/core/groups/", json!({"name": "m", "parents": [admins]})).await;
        let low = json!({"name": "l", "parents": [middle.json["pk"]], "users": [user]});
        site.admin(Method::POST, "/core/groups/", low).await;
        let shown = site.admin(Method::GET, &format!("/core/users/{user}/"), None).await;
        assert_eq!(shown.json["is_superuser"], json!(true));
        assert_eq!(shown.json["groups"].as_array().map(Vec::len), Some(1));
        let found = site.admin(Method::GET, "/core/users/?is_superuser=true&username=ada", None).await;
        assert_eq!(found.json["pagination"]["count"], json!(1));
    }

    /// CO-064, CO-065: effective attributes merge groups by name, wherever they stand, and then the user.
    #[tokio::test]
    async fn co_064_attributes_merge_by_name_of_group() {
        let site = Site::new().await;
        let body = json!({"username": "ada", "name": "", "attributes": {"who": "ada", "list": [9]}});
        let user = site.admin(Method::POST, "/core/users/", body).await.json["pk"].clone();
        let parent = json!({"name": "z-parent", "attributes": {"x": "parent", "list": [2], "who": "z", "o": {"p": 1}}});
        let parent = site.admin(Method::POST, "/core/groups/", parent).await.json["pk"].clone();
        let child = json!({
            "name": "a-child", "parents": [parent], "users": [user],
            "attributes": {"x": "child", "list": [1], "o": {"c": 1}},
        });
        site.admin(Method::POST, "/core/groups/", child).await;
        let mut conn = site.ctx.db.read().await.expect("reads");
        let pk = UserPk(i32::try_from(user.as_i64().expect("int")).expect("small"));
        let read = portcullis_idp::directory::person(&site.ctx, &mut conn, pk).await.expect("reads").expect("ada");
        let merged = json!({"x": "parent", "list": [1, 2, 9], "o": {"c": 1, "p": 1}, "who": "ada"});
        assert_eq!(Value::Object(read.effective_attributes), merged);
        assert_eq!(read.direct_groups, ["a-child"]);
    }

    /// CO-548, CO-063: joining and leaving tell the user's epoch; a deleted group leaves its children.
    #[tokio::test]
    async fn co_548_users_join_and_leave() {
        let site = Site::new().await;
        let user = site.user("ada").await;
        let group = site.admin(Method::POST, "/core/groups/", json!({"name": "staff"})).await.json["pk"].clone();
        let path = format!("/core/groups/{}/", group.as_str().expect("text"));
        let uuid = site.admin(Method::GET, &format!("/core/users/{user}/"), None).await.json["uuid"].clone();
        let uuid = uuid.as_str().expect("text");
        for (action, members) in [("add_user", json!([user])), ("add_user", json!([user])), ("remove_user", json!([]))]
        {
            let mark = site.ctx.epochs.mark(site.ctx.epochs.present(), &[Subject::User(uuid)]);
            let done = site.admin(Method::POST, &format!("{path}{action}/"), json!({"pk": user})).await;
            assert_eq!(done.status, 204, "{:?}", done.json);
            assert!(!site.ctx.epochs.stands(&mark), "{action}");
            assert_eq!(site.admin(Method::GET, &path, None).await.json["users"], members);
        }
        let unknown = site.admin(Method::POST, &format!("{path}add_user/"), json!({"pk": 4711})).await;
        assert_eq!(
            (unknown.status.as_u16(), unknown.json),
            (404, json!({"detail": "No User matches the given query."}))
        );
        let missing = site.admin(Method::POST, &format!("{path}add_user/"), json!({})).await;
        assert_eq!(missing.json, json!({"pk": ["This field is required."]}));
        let child = site.admin(Method::POST, "/core/groups/", json!({"name": "child", "parents": [group]})).await;
        let mark = site.ctx.epochs.mark(site.ctx.epochs.present(), &[]);
        site.admin(Method::DELETE, &path, None).await;
        assert!(!site.ctx.epochs.stands(&mark));
        let child =
            site.admin(Method::GET, &format!("/core/groups/{}/", child.json["pk"].as_str().expect("text")), None).await;
        assert_eq!((child.status.as_u16(), &child.json["parents"]), (200, &json!([])));
    }
}
