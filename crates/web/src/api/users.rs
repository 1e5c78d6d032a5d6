//! `core/users/` (CO-540 … CO-546).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_core::attributes::Attributes;
use portcullis_core::clock::Timestamp;
use portcullis_core::id::UserPk;
use portcullis_idp::Context;
use portcullis_idp::directory::shown::{self, ShownTeam, ShownUser};
use portcullis_idp::directory::{Person, service_accounts, users};
use portcullis_idp::list::users::{Comparison, Filter, InstantColumn, Order};
use serde_json::{Value, json};

use super::Routes;
use super::answer::{ApiError, created, no_content};
use super::body::Body;
use super::caller::{Admin, Caller, Key};
use super::params::Params;

type Ctx = State<Arc<Context>>;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/core/users/", get(list).post(create))
        .route("/core/users/me/", get(me))
        .route("/core/users/paths/", get(paths))
        .route("/core/users/service_account/", post(service_account))
        .route("/core/users/{id}/", get(retrieve).put(replace).patch(change).delete(delete))
        .route("/core/users/{id}/set_password/", post(set_password))
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

async fn list(State(ctx): Ctx, Admin(caller): Admin, mut params: Params) -> Result<Response, ApiError> {
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
    Admin(caller): Admin,
    key: Key,
    mut params: Params,
) -> Result<Json<Value>, ApiError> {
    let include = Include::read(&mut params);
    params.finish()?;
    let user = shown::user(&ctx, &caller.actor, pk(&key)?).await?;
    Ok(Json(user_json(&user, include)))
}

async fn create(State(ctx): Ctx, Admin(caller): Admin, mut body: Body) -> Result<Response, ApiError> {
    let fields = fields(&mut body, false)?;
    let pk = users::create(&ctx, &caller.actor, fields).await?;
    Ok(created(user_json(&shown::user(&ctx, &caller.actor, pk).await?, Include::ALL)))
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
    shown::user(&ctx, &caller.actor, pk).await?;
    users::update(&ctx, &caller.actor, pk, fields(&mut body, partial)?).await?;
    Ok(Json(user_json(&shown::user(&ctx, &caller.actor, pk).await?, Include::ALL)))
}

fn fields(body: &mut Body, partial: bool) -> Result<users::Fields, ApiError> {
    body.require(&["username", "name"], partial);
    let fields = users::Fields {
        username: body.filled_text("username"),
        name: body.text("name"),
        email: body.text("email"),
        is_active: body.flag("is_active"),
        kind: body.choice("type", &["internal", "external", "service_account", "internal_service_account"]),
        path: body.text("path"),
        groups: body.uuids("groups"),
        attributes: body.json("attributes"),
    };
    no_roles(body);
    body.finish()?;
    Ok(fields)
}

/// There are no roles to name yet.
pub(super) fn no_roles(body: &mut Body) {
    for role in body.uuids::<uuid::Uuid>("roles").into_iter().flatten() {
        body.problem("roles", format!("Invalid pk \"{role}\" - object does not exist."));
    }
}

async fn delete(State(ctx): Ctx, Admin(caller): Admin, key: Key) -> Result<Response, ApiError> {
    users::delete(&ctx, &caller.actor, pk(&key)?).await?;
    Ok(no_content())
}

async fn set_password(State(ctx): Ctx, Admin(caller): Admin, key: Key, mut body: Body) -> Result<Response, ApiError> {
    let pk = pk(&key)?;
    shown::user(&ctx, &caller.actor, pk).await?;
    body.require(&["password"], false);
    let password = body.exact_text("password");
    body.finish()?;
    // Of the sessions of whoever sets their own password, the one they do it in survives (CO-041).
    let keep = caller.sid.as_deref().filter(|_| caller.actor.user == Some(pk));
    users::set_password(&ctx, &caller.actor, pk, &password.unwrap_or_default(), keep).await?;
    Ok(no_content())
}

async fn service_account(State(ctx): Ctx, Admin(caller): Admin, mut body: Body) -> Result<Json<Value>, ApiError> {
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

async fn paths(State(ctx): Ctx, Admin(caller): Admin, params: Params) -> Result<Json<Value>, ApiError> {
    let search = params.search();
    let mut paths = shown::paths(&ctx, &caller.actor).await?;
    paths.retain(|path| path.contains(&search));
    Ok(Json(json!({"paths": paths})))
}

async fn me(caller: Caller) -> Json<Value> {
    let myself = self_json(&caller.person);
    Json(json!({"user": myself, "users": [myself]}))
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
        "roles": [],
        "roles_obj": include.roles.then(Vec::<Value>::new),
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
        "num_pk": num_pk(group.team.pk.0),
        "name": group.team.name,
        "is_superuser": group.team.is_superuser,
        "attributes": group.attributes,
    })
}

/// The first five decimal digits of a UUID read as a number (CO-060).
pub(super) fn num_pk(pk: uuid::Uuid) -> i32 {
    let digits = pk.as_u128().to_string();
    digits.get(..5).unwrap_or(&digits).parse().unwrap_or_default()
}

/// An instant as the API writes it, or null.
pub(super) fn instant(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}

const PERMISSIONS: [&str; 4] =
    ["access_admin_interface", "view_system_info", "view_system_settings", "edit_system_settings"];

fn self_json(person: &Person) -> Value {
    let account = &person.account;
    let groups: Vec<_> = person.teams.iter().map(|team| json!({"name": team.name, "pk": team.pk})).collect();
    let settings = person.effective_attributes.get("settings").filter(|settings| settings.is_object());
    json!({
        "pk": account.pk,
        "username": account.username,
        "name": account.name,
        "is_active": account.is_active,
        "is_superuser": person.is_superuser,
        "is_current": true,
        "groups": groups,
        "roles": [],
        "email": account.email,
        "avatar": avatar(&account.name, &account.username, &person.uid),
        "uid": person.uid,
        "settings": settings.cloned().unwrap_or_else(|| json!({})),
        "type": account.kind,
        "system_permissions": if person.is_superuser { PERMISSIONS.as_slice() } else { &[] },
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

    /// CO-060: `num_pk` is the first five decimal digits of the UUID.
    #[test]
    fn co_060_num_pk_is_the_beginning_of_the_number() {
        assert_eq!(num_pk(uuid::Uuid::from_u128(123_456_789)), 12345);
        assert_eq!(num_pk(uuid::Uuid::from_u128(7)), 7);
    }

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
}
