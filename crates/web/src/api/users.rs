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
use crate::pages::browser::{set_session, user_agent};
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

const ORDERS: [(&str, Order); 12] = [
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
    Ok(Json(user_json(&user, include)))
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
    if !is_same_origin(&headers, &origin) {
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
mod tests {
    use super::*;
    use crate::testing::Site;
    use authentik_client::models;
    use http::Method;
    use portcullis_core::epoch::Subject;

    /// CO-039: an avatar is never empty, and made of letters and digits of the name alone.
    #[test]
    fn co_039_avatars_are_local_pictures() {
        for (name, username) in [("Ada Lovelace", "ada"), ("", "<b>"), ("<script>", "x"), ("  ", "")] {
            let avatar = avatar(name, username, "12ab");
            let svg = STANDARD.decode(avatar.strip_prefix("data:image/svg+xml;base64,").expect("uri")).expect("base64");
            let svg = String::from_utf8(svg).expect("text");
            assert!(!svg.contains("script") && !svg.contains("<b>"), "{svg}");
        }
    }

    /// CO-540, CO-595, CO-596: a user is created, read, changed and deleted, and every answer has all keys.
    #[tokio::test]
    async fn co_540_users_live_and_go() {
        let site = Site::new().await;
        let body = json!({
            "username": "ada", "name": "Ada Lovelace", "email": "ada@example.com", "path": "users/staff",
            "attributes": {"z": 1, "app_username": "a", "nested": {"list": [1, 2.5, null]}},
        });
        let made = site.admin(Method::POST, "/core/users/", body.clone()).await;
        assert_eq!(made.status, 201, "{:?}", made.json);
        serde_json::from_value::<models::User>(made.json.clone()).expect("the client's type");
        for (key, value) in body.as_object().expect("object") {
            assert_eq!(&made.json[key], value, "{key}");
        }
        assert_eq!((&made.json["type"], &made.json["is_active"]), (&json!("internal"), &json!(true)));
        assert_eq!((&made.json["last_login"], &made.json["roles_obj"]), (&Value::Null, &json!([])));
        let path = format!("/core/users/{}/", made.json["pk"]);
        let read = site.admin(Method::GET, &path, None).await;
        assert_eq!(read.json, made.json);
        let changed = site.admin(Method::PATCH, &path, json!({"email": ""})).await;
        assert_eq!((changed.status.as_u16(), &changed.json["email"]), (200, &json!("")));
        assert_eq!(changed.json["attributes"], body["attributes"]);
        let gone = site.admin(Method::DELETE, &path, None).await;
        assert_eq!((gone.status.as_u16(), gone.json), (204, Value::Null));
        let absent = site.admin(Method::GET, &path, None).await;
        assert_eq!(absent.status, 404);
        assert_eq!(absent.json, json!({"detail": "No User matches the given query."}));
    }

    /// CO-523: everything that is wrong with a user is told at once, by field, in lists.
    #[tokio::test]
    async fn co_523_users_are_validated() {
        let site = Site::new().await;
        site.user("ada").await;
        for (body, problems) in [
            (json!({}), json!({"username": ["This field is required."], "name": ["This field is required."]})),
            (
                json!({"username": "", "name": null}),
                json!({"username": ["This field may not be blank."], "name": ["This field may not be null."]}),
            ),
            (json!({"username": "ADA", "name": ""}), json!({"username": ["User with this username already exists."]})),
            (
                json!({"username": "ak-outpost-x", "name": "", "email": "nope", "path": "/x", "attributes": []}),
                json!({
                    "username": ["This username is reserved."],
                    "email": ["Enter a valid email address."],
                    "path": ["No leading or trailing slashes allowed."],
                    "attributes": ["Value must be a dictionary, and not have any duplicate keys."],
                }),
            ),
            (
                json!({"username": "b", "name": "", "type": "internal_service_account"}),
                json!({"type": ["Setting a user to internal service account is not allowed."]}),
            ),
            (json!({"username": "b", "name": "", "type": "x"}), json!({"type": ["\"x\" is not a valid choice."]})),
            (
                json!({"username": "b", "name": "", "groups": ["00000000-0000-4000-8000-000000000000"]}),
                json!({"groups": ["Invalid pk \"00000000-0000-4000-8000-000000000000\" - object does not exist."]}),
            ),
        ] {
            let reply = site.admin(Method::POST, "/core/users/", body.clone()).await;
            assert_eq!((reply.status.as_u16(), reply.json), (400, problems), "{body}");
        }
    }

    /// CO-527, CO-831: a PUT without `groups` and `attributes` leaves them, but needs the required keys.
    #[tokio::test]
    async fn co_527_absent_keys_stay_as_they_are() {
        let site = Site::new().await;
        let group = site.admin(Method::POST, "/core/groups/", json!({"name": "staff"})).await.json["pk"].clone();
        let body = json!({"username": "ada", "name": "A", "groups": [group], "attributes": {"a": 1}, "path": "x"});
        let path = format!("/core/users/{}/", site.admin(Method::POST, "/core/users/", body).await.json["pk"]);
        let put = site.admin(Method::PUT, &path, json!({"username": "ada", "name": "B"})).await;
        assert_eq!(put.status, 200, "{:?}", put.json);
        assert_eq!(put.json["groups"], json!([group]));
        assert_eq!((&put.json["attributes"], &put.json["path"]), (&json!({"a": 1}), &json!("x")));
        let refused = site.admin(Method::PUT, &path, json!({"username": "ada"})).await;
        assert_eq!(refused.json, json!({"name": ["This field is required."]}));
        let emptied = site.admin(Method::PATCH, &path, json!({"groups": []})).await;
        assert_eq!(emptied.json["groups"], json!([]));
    }

    /// CO-472, CO-473: a mask that is written back keeps the secret; an event never shows it.
    #[tokio::test]
    async fn co_473_a_written_back_mask_keeps_the_secret() {
        let site = Site::new().await;
        let body = json!({"username": "ada", "name": "A", "attributes": {"app_password": "upstream-s3cret", "n": 1}});
        let path = format!("/core/users/{}/", site.admin(Method::POST, "/core/users/", body).await.json["pk"]);
        let masked = json!({"attributes": {"app_password": "********", "n": 2}});
        let kept = site.admin(Method::PATCH, &path, masked).await;
        assert_eq!(kept.json["attributes"], json!({"app_password": "upstream-s3cret", "n": 2}));
        let (_, context) = site.events("model_updated").await;
        assert!(!context.to_string().contains("upstream-s3cret"), "{context}");
        assert!(context["diff"]["attributes"].is_object(), "{context}");
    }

    /// CO-038: nobody deletes themselves; the last active superuser stays, however one tries.
    #[tokio::test]
    async fn co_038_the_last_superuser_stays() {
        let site = Site::new().await;
        let me = site.admin(Method::GET, "/core/users/me/", None).await.json["user"].clone();
        let path = format!("/core/users/{}/", me["pk"]);
        let group = me["groups"][0]["pk"].as_str().expect("a group").to_owned();
        let refused = site.admin(Method::DELETE, &path, None).await;
        assert_eq!(refused.status, 400);
        for (method, path, body) in [
            (Method::PATCH, path.clone(), json!({"is_active": false})),
            (Method::PATCH, path.clone(), json!({"groups": []})),
            (Method::PATCH, format!("/core/groups/{group}/"), json!({"is_superuser": false})),
            (Method::PATCH, format!("/core/groups/{group}/"), json!({"users": []})),
            (Method::POST, format!("/core/groups/{group}/remove_user/"), json!({"pk": me["pk"]})),
            (Method::DELETE, format!("/core/groups/{group}/"), Value::Null),
        ] {
            let refused = site.admin(method, &path, Some(body).filter(|body| !body.is_null())).await;
            assert_eq!(refused.status, 400, "{path}");
            assert!(refused.json["non_field_errors"][0].as_str().expect("text").contains("last active superuser"));
        }
        let still = site.admin(Method::GET, "/core/users/me/", None).await;
        assert_eq!(still.json["user"]["is_superuser"], json!(true));
    }

    /// CO-705, CO-707: who is no administrator sees themselves, and changes nothing.
    #[tokio::test]
    async fn co_705_ordinary_users_change_nothing() {
        let site = Site::new().await;
        let user = site.user("eve").await;
        let key = site.api_key(user, "eve-api").await;
        let admins = site.admin(Method::GET, "/core/groups/?name=authentik+Admins", None).await;
        let admins = admins.json["results"][0]["pk"].as_str().expect("a group").to_owned();
        for (method, path, body) in [
            (Method::PATCH, format!("/core/users/{user}/"), Some(json!({"groups": [admins]}))),
            (Method::POST, format!("/core/groups/{admins}/add_user/"), Some(json!({"pk": user}))),
            (Method::POST, "/core/users/service_account/".to_owned(), Some(json!({"name": "bot"}))),
            (Method::POST, format!("/core/users/{user}/set_password/"), Some(json!({"password": "long enough"}))),
            (Method::GET, "/core/users/".to_owned(), None),
            (Method::GET, "/core/groups/".to_owned(), None),
        ] {
            let refused = site.bearer(&key, method, &path, body).await;
            assert_eq!(refused.status, 403, "{path}");
            assert_eq!(refused.json, json!({"detail": "You do not have permission to perform this action."}));
        }
        let me = site.bearer(&key, Method::GET, "/core/users/me/", None).await;
        serde_json::from_value::<models::SessionUser>(me.json.clone()).expect("the client's type");
        assert_eq!((&me.json["user"]["username"], &me.json["user"]["is_superuser"]), (&json!("eve"), &json!(false)));
        assert_eq!(me.json["users"][0]["is_current"], json!(true));
    }

    /// CO-037, OA-611: deactivation refuses the user's token at the next request, and tells the epochs.
    #[tokio::test]
    async fn co_037_deactivation_holds_at_once() {
        let site = Site::new().await;
        let user = site.user("ada").await;
        let key = site.api_key(user, "ada-api").await;
        assert_eq!(site.bearer(&key, Method::GET, "/core/users/me/", None).await.status, 200);
        let path = format!("/core/users/{user}/");
        let uuid = site.admin(Method::GET, &path, None).await.json["uuid"].as_str().expect("text").to_owned();
        let mark = site.ctx.epochs.mark(site.ctx.epochs.present(), &[Subject::User(&uuid)]);
        site.admin(Method::PATCH, &path, json!({"is_active": false})).await;
        assert!(!site.ctx.epochs.stands(&mark));
        let refused = site.bearer(&key, Method::GET, "/core/users/me/", None).await;
        assert_eq!((refused.status.as_u16(), refused.json), (403, json!({"detail": "Token invalid/expired"})));
    }

    /// CO-524: pages count from one; the last is short, one more is refused; an empty list has one page.
    #[tokio::test]
    async fn co_524_users_come_in_pages() {
        let site = Site::new().await;
        for name in ["a", "b", "c", "d"] {
            site.user(name).await;
        }
        let page = site.admin(Method::GET, "/core/users/?page_size=2&page=3&ordering=username", None).await;
        serde_json::from_value::<models::PaginatedUserList>(page.json.clone()).expect("the client's type");
        assert_eq!(
            page.json["pagination"],
            json!({
                "next": 0, "previous": 2, "count": 5, "current": 3, "total_pages": 3, "start_index": 5, "end_index": 5
            })
        );
        assert_eq!(page.json["results"][0]["username"], json!("d"));
        let first = site.admin(Method::GET, "/core/users/?page_size=2", None).await;
        assert_eq!((&first.json["pagination"]["next"], &first.json["pagination"]["previous"]), (&json!(2), &json!(0)));
        let beyond = site.admin(Method::GET, "/core/users/?page_size=2&page=4", None).await;
        assert_eq!((beyond.status.as_u16(), beyond.json), (404, json!({"detail": "Invalid page."})));
        let empty = site.admin(Method::GET, "/core/users/?username=nobody", None).await;
        assert_eq!(
            empty.json["pagination"],
            json!({
                "next": 0, "previous": 0, "count": 0, "current": 1, "total_pages": 1, "start_index": 0, "end_index": 0
            })
        );
    }

    /// CO-525, CO-526: search, order and filters, alone and together.
    #[tokio::test]
    async fn co_526_users_are_filtered() {
        let site = Site::new().await;
        let group = site.admin(Method::POST, "/core/groups/", json!({"name": "staff"})).await.json["pk"].clone();
        for (username, name, extra) in [
            ("ada", "Ada L", json!({"groups": [group], "email": "Ada@Example.com", "attributes": {"a": {"b": 1}}})),
            ("bob", "Bob_1", json!({"path": "users/ext", "type": "external", "attributes": {"my_password": "x"}})),
            ("cat", "Cat", json!({"is_active": false})),
        ] {
            let mut body = json!({"username": username, "name": name});
            body.as_object_mut().expect("object").extend(extra.as_object().expect("object").clone());
            assert_eq!(site.admin(Method::POST, "/core/users/", body).await.status, 201);
        }
        for (query, names) in [
            ("username=ADA", vec!["ada"]),
            ("email=ada@example.com", vec!["ada"]),
            ("search=ADA@ example", vec!["ada"]),
            ("search=b_1", vec!["bob"]),
            ("search=b%251", vec![]),
            ("path_startswith=users/e", vec!["bob"]),
            ("type=external&type=service_account", vec!["bob"]),
            ("is_active=False", vec!["cat"]),
            ("is_superuser=1", vec!["akadmin"]),
            ("is_superuser=0&ordering=-username", vec!["cat", "bob", "ada"]),
            ("groups_by_name=staff&groups_by_name=none", vec!["ada"]),
            ("roles_by_name=none", vec![]),
            ("roles_by_pk=00000000-0000-4000-8000-000000000000", vec![]),
            ("attributes={\"a__b\":1}", vec!["ada"]),
            ("attributes={\"my_password\":\"x\"}", vec![]),
            ("attributes={\"my_password\":\"********\"}", vec![]),
            ("unknown=1&username=cat", vec!["cat"]),
            ("date_joined__gt=2000-01-01T00:00:00Z&last_login__isnull=false", vec![]),
        ] {
            let query = query.replace(' ', "%20").replace('"', "%22").replace('{', "%7B").replace('}', "%7D");
            let listed = site.admin(Method::GET, &format!("/core/users/?{query}"), None).await;
            let found: Vec<_> =
                listed.json["results"].as_array().expect(&query).iter().map(|u| &u["username"]).collect();
            assert_eq!(found, names, "{query}");
        }
        let malformed = site.admin(Method::GET, "/core/users/?is_active=maybe&attributes=x", None).await;
        assert_eq!(malformed.status, 400);
        assert_eq!(malformed.json["attributes"], json!(["filter: failed to parse JSON"]));
        let bare = site.admin(Method::GET, "/core/users/?include_groups=false&include_roles=false", None).await;
        assert_eq!(
            (&bare.json["results"][0]["groups_obj"], &bare.json["results"][0]["roles_obj"]),
            (&Value::Null, &Value::Null)
        );
    }

    /// CO-042, CO-543, OA-622: a service account comes with its group and its key, all or nothing.
    #[tokio::test]
    async fn co_543_service_accounts_are_made_whole() {
        let site = Site::new().await;
        let body = json!({"name": "bot", "create_group": true});
        let made = site.admin(Method::POST, "/core/users/service_account/", body.clone()).await;
        assert_eq!(made.status, 200, "{:?}", made.json);
        serde_json::from_value::<models::UserServiceAccountResponse>(made.json.clone()).expect("the client's type");
        let user = site.admin(Method::GET, &format!("/core/users/{}/", made.json["user_pk"]), None).await.json;
        assert_eq!(
            (&user["type"], &user["path"]),
            (&json!("service_account"), &json!("goauthentik.io/service-accounts"))
        );
        assert_eq!((&user["uid"], &user["groups"][0]), (&made.json["user_uid"], &made.json["group_pk"]));
        assert_eq!(user["attributes"], json!({"goauthentik.io/user/token-expires": true}));
        let key = site.admin(Method::GET, "/core/tokens/service-account-bot-password/view_key/", None).await;
        assert_eq!(key.json["key"], made.json["token"]);
        let token = site.admin(Method::GET, "/core/tokens/service-account-bot-password/", None).await.json;
        assert_eq!(token["expires"], json!(site.ctx.now().plus_seconds(360 * 86400).to_string()));
        let again = site.admin(Method::POST, "/core/users/service_account/", body).await;
        assert_eq!(again.status, 400);
        assert_eq!(again.json["non_field_errors"].as_array().map(Vec::len), Some(2));
        let blank = site.admin(Method::POST, "/core/users/service_account/", json!({"name": ""})).await;
        assert_eq!(blank.json, json!({"name": ["This field may not be blank."]}));
    }

    /// CO-040, CO-542: a set password is one that verifies, noted in an event, in the file only as a hash.
    #[tokio::test]
    async fn co_542_a_password_is_set() {
        let site = Site::new().await;
        let user = site.user("ada").await;
        let path = format!("/core/users/{user}/set_password/");
        let set = site.admin(Method::POST, &path, json!({"password": " pass word of ada "})).await;
        assert_eq!(set.status, 204, "{:?}", set.json);
        let mut conn = site.ctx.db.read().await.expect("reads");
        let stored = portcullis_store::account::by_username(&mut conn, "ada").await.expect("reads").expect("ada");
        let hash = stored.password_hash.as_deref();
        assert!(portcullis_idp::password::verify(" pass word of ada ", hash).await.is_right());
        assert_eq!(site.events("password_set").await.0, 1);
        let empty = site.admin(Method::POST, &path, json!({"password": ""})).await;
        assert_eq!((empty.status.as_u16(), empty.json), (400, json!({"password": ["This field may not be blank."]})));
        let missing = site.admin(Method::POST, "/core/users/999999/set_password/", json!({"password": "x"})).await;
        assert_eq!(missing.status, 404);
    }

    /// CO-818: a deleted user's name and address are gone from past events.
    #[tokio::test]
    async fn co_818_past_events_forget_a_deleted_user() {
        let site = Site::new().await;
        let body = json!({"username": "ada", "name": "Ada Lovelace", "email": "ada@example.com"});
        let user = site.admin(Method::POST, "/core/users/", body).await.json["pk"].clone();
        let key = site.api_key(user.as_i64().expect("int"), "k").await;
        site.bearer(&key, Method::GET, "/core/tokens/k/view_key/", None).await;
        site.admin(Method::DELETE, &format!("/core/users/{user}/"), None).await;
        let mut conn = site.ctx.db.read().await.expect("reads");
        let events = portcullis_store::event::latest(&mut conn, None, 100).await.expect("events");
        for event in &events {
            let text = format!("{} {}", event.account, event.context);
            assert!(!text.contains("\"ada\"") && !text.contains("ada@example.com"), "{text}");
        }
        let hers = events.iter().filter(|event| event.account["pk"] == user).collect::<Vec<_>>();
        assert_eq!(hers.len(), 1);
        assert_eq!((hers[0].action.as_str(), hers[0].client_ip.as_deref()), ("secret_view", None));
        assert!(hers[0].account["username"].as_str().expect("text").starts_with("deleted-"));
    }

    /// CO-818: events about others stay intact when a user goes who is called like they are, and old names go
    /// with the user.
    #[tokio::test]
    async fn co_818_events_about_others_stay() {
        let site = Site::new().await;
        let body = json!({"username": "ada", "name": "akadmin", "email": "wiki@example.com"});
        let user = site.admin(Method::POST, "/core/users/", body).await.json["pk"].clone();
        let path = format!("/core/users/{user}/");
        site.admin(Method::PATCH, &path, json!({"username": "grace", "name": "authentik Admins"})).await;
        let attempt = async |name: &str| {
            let form = format!("uid_field={name}&password=guess");
            let request = http::Request::post("/if/flow/default-authentication-flow/")
                .header("content-type", "application/x-www-form-urlencoded")
                .body(axum::body::Body::from(form));
            site.raw(request.expect("a request")).await
        };
        attempt("grace").await;
        attempt("nobody").await;
        site.admin(Method::POST, "/core/groups/", json!({"name": "grace"})).await;
        site.admin(Method::DELETE, &path, None).await;
        let mut conn = site.ctx.db.read().await.expect("reads");
        let events = portcullis_store::event::latest(&mut conn, None, 100).await.expect("events");
        let said = |wanted: &str| events.iter().filter(|event| event.context.to_string().contains(wanted)).count();
        assert_eq!((said("\"ada\""), said("\"akadmin\"")), (0, 1), "the administrator is still named");
        assert_eq!(said("\"name\":\"grace\""), 1, "the group is still named");
        assert_eq!((said("\"username\":\"grace\""), said("\"username\":\"nobody\"")), (0, 1));
        assert!(events.iter().any(|event| event.account["username"] == "akadmin"));
    }
}
