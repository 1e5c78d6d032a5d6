//! `rbac/roles/`.

use authentik_client::models;
use http::Method;
use serde_json::json;

use crate::site::{ADMIN, Site};

const ROLES: &str = "/rbac/roles/";

/// CO-577, CO-596: a role is created, read, changed, listed and deleted, and generated clients read it.
#[tokio::test]
async fn co_577_roles_live_and_go() {
    let site = Site::new().await;
    let made = site.post(ROLES, json!({"name": "helpers"})).await;
    serde_json::from_value::<models::Role>(made.clone()).unwrap();
    let path = format!("{ROLES}{}/", made["pk"].as_str().unwrap());
    assert_eq!(site.get(&path).await, made);
    let (status, changed) = site.send(ADMIN, Method::PATCH, &path, Some(json!({"name": "hands"}))).await;
    assert_eq!((status.as_u16(), &changed["name"]), (200, &json!("hands")));
    let listed = site.get(&format!("{ROLES}?name=hands")).await;
    serde_json::from_value::<models::PaginatedRoleList>(listed.clone()).unwrap();
    assert_eq!(listed["pagination"]["count"], json!(1));
    for (name, words) in [("hands", "Role with this name already exists."), ("", "This field may not be blank.")] {
        assert_eq!(site.refused(Method::POST, ROLES, json!({"name": name})).await, json!({"name": [words]}));
    }
    assert_eq!(site.refused(Method::POST, ROLES, json!({})).await, json!({"name": ["This field is required."]}));
    site.delete(&path).await;
    assert_eq!(site.send(ADMIN, Method::GET, &path, None).await.0, 404);
}

/// CO-701: what is granted to one user alone is in a role that is known by its permanent name, which nobody can take; its
/// plain name may be somebody else's.
#[tokio::test]
async fn co_701_roles_of_one_user_are_not_found_by_name() {
    let site = Site::new().await;
    let (ada, _) = site.user("ada").await;
    let taken = site.role(&format!("ak-managed-role--user-{ada}"), &[]).await;
    let system = portcullis_idp::Actor::system();
    let mut change = portcullis_idp::Change::begin(&site.ctx, &system).await.unwrap();
    let user = portcullis_core::id::UserPk(i32::try_from(ada).unwrap());
    let own = portcullis_idp::roles::own_of_in(&mut change, user).await.unwrap();
    assert_eq!(portcullis_idp::roles::own_of_in(&mut change, user).await.unwrap(), own);
    change.commit().await.unwrap();
    assert_ne!(own.to_string(), taken);
    assert_eq!(site.get(&format!("/core/users/{ada}/")).await["roles"], json!([own]));
}
