use authentik_client::models;
use http::Method;
use portcullis_core::id::{ApplicationId, UserPk};
use portcullis_idp::{directory, entitlements};
use serde_json::{Value, json};

use crate::site::{ADMIN, Site};

const PATH: &str = "/core/application_entitlements/";
const BINDINGS: &str = "/policies/bindings/";

async fn entitlement(site: &Site, app: &Value, name: &str, attributes: Value) -> String {
    let made = site.post(PATH, json!({"app": app, "name": name, "attributes": attributes})).await;
    made["pbm_uuid"].as_str().unwrap().to_owned()
}

/// Names and merged attributes of what a user holds.
async fn held(site: &Site, user: i64, app: &Value) -> (Vec<String>, Value) {
    let mut conn = site.ctx.db.read().await.unwrap();
    let user = UserPk(i32::try_from(user).unwrap());
    let person = directory::person(&site.ctx, &mut conn, user).await.unwrap().unwrap();
    let app = ApplicationId(app.as_str().unwrap().parse().unwrap());
    let names = entitlements::names(&mut conn, &person, app).await.unwrap();
    let merged = entitlements::merged_attributes(&site.ctx, &mut conn, &person, app).await.unwrap();
    (names, merged.into())
}

/// CO-553, CO-595: an entitlement is made, read, changed and deleted; absent keys stay; bad values are refused by name.
#[tokio::test]
async fn co_553_entitlements_are_kept() {
    let site = Site::new().await;
    let wiki = site.application("wiki", &json!(null)).await["pk"].clone();
    let blog = site.application("blog", &json!(null)).await["pk"].clone();
    let missing = site.refused(Method::POST, PATH, json!({})).await;
    assert_eq!(missing, json!({"name": ["This field is required."], "app": ["This field is required."]}));
    let nobody = "00000000-0000-4000-8000-000000000000";
    let bad = site.refused(Method::POST, PATH, json!({"name": "x", "app": nobody, "attributes": [1]})).await;
    assert_eq!(bad["app"], json!([format!("Invalid pk \"{nobody}\" - object does not exist.")]));
    assert!(bad["attributes"].is_array());

    let made = site.post(PATH, json!({"name": "write", "app": wiki, "attributes": {"level": 7}})).await;
    let _: models::ApplicationEntitlement = serde_json::from_value(made.clone()).unwrap();
    let path = format!("{PATH}{}/", made["pbm_uuid"].as_str().unwrap());
    assert_eq!(made, json!({"pbm_uuid": made["pbm_uuid"], "name": "write", "app": wiki, "attributes": {"level": 7}}));
    assert_eq!(site.get(&path).await, made);
    assert!(!site.database_holds("\"level\""), "attributes are sealed");
    let taken = site.refused(Method::POST, PATH, json!({"name": "write", "app": wiki})).await;
    assert_eq!(taken, json!({"non_field_errors": ["The fields app, name must make a unique set."]}));
    let other = site.post(PATH, json!({"name": "write", "app": blog})).await;
    assert_eq!(other["attributes"], json!({}));

    let (status, changed) = site.send(ADMIN, Method::PUT, &path, Some(json!({"name": "edit", "app": wiki}))).await;
    assert_eq!(
        (status.as_u16(), &changed["name"], &changed["attributes"]),
        (200, &json!("edit"), &json!({"level": 7}))
    );
    assert!(site.refused(Method::PATCH, &path, json!({"name": ""})).await["name"].is_array());
    let events = site.events("model_updated").await;
    assert_eq!(events[0]["diff"], json!({"name": {"previous": "write", "new": "edit"}}));

    let names = async |query: &str| -> Vec<String> {
        let list = site.get(&format!("{PATH}?{query}")).await;
        let _: models::PaginatedApplicationEntitlementList = serde_json::from_value(list.clone()).unwrap();
        list["results"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("").await, ["edit", "write"]);
    assert_eq!(names(&format!("app={}", wiki.as_str().unwrap())).await, ["edit"]);
    assert_eq!(names("name=write").await, ["write"]);
    assert_eq!(names("search=DI").await, ["edit"]);
    assert_eq!(names("ordering=-name").await, ["write", "edit"]);
    let (_, ada) = site.user("ada").await;
    for path in [PATH, &path] {
        assert_eq!(site.send(&ada, Method::GET, path, None).await.0, 403);
    }
    site.delete(&path).await;
    assert_eq!(site.send(ADMIN, Method::GET, &path, None).await.0, 404);
    assert_eq!(site.send(ADMIN, Method::DELETE, &path, None).await.0, 404);
}

/// CO-150: an entitlement is bound to users and groups, and to nothing else.
#[tokio::test]
async fn co_150_only_users_and_groups_hold_entitlements() {
    let site = Site::new().await;
    let (ada, _) = site.user("ada").await;
    let app = site.application("wiki", &json!(null)).await["pk"].clone();
    let target = entitlement(&site, &app, "write", json!({})).await;
    let staff = site.post("/core/groups/", json!({"name": "staff"})).await["pk"].clone();
    let policy = site.post("/policies/dummy/", json!({"name": "d"})).await["pk"].clone();
    let one = json!({"non_field_errors": ["One of 'group', 'user' must be set."]});
    for members in [json!({}), json!({"policy": policy}), json!({"policy": policy, "user": ada})] {
        let mut body = json!({"target": target, "order": 0});
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        assert_eq!(site.refused(Method::POST, BINDINGS, body).await, one);
    }
    let both = json!({"target": target, "order": 0, "user": ada, "group": staff});
    let both = site.refused(Method::POST, BINDINGS, both).await;
    assert_eq!(both, json!({"non_field_errors": ["Only one of 'group', 'user' can be set."]}));
    let made = site.post(BINDINGS, json!({"target": target, "order": 0, "user": ada})).await;
    assert_eq!(made["target"], json!(target));
    let used = site.get(&format!("{PATH}{target}/used_by/")).await;
    let uses = json!([{"app": "authentik_policies", "model_name": "policybinding", "pk": made["pk"],
        "name": "Binding #0", "action": "cascade"}]);
    assert_eq!(used, uses);
    let _: Vec<models::UsedBy> = serde_json::from_value(used).unwrap();
    let binding = format!("{BINDINGS}{}/", made["pk"].as_str().unwrap());
    assert!(site.refused(Method::PATCH, &binding, json!({"user": null, "policy": policy})).await.is_object());
    // A policy that is bound elsewhere cannot be moved here.
    let elsewhere = site.post(BINDINGS, json!({"target": app, "order": 0, "policy": policy})).await;
    let path = format!("{BINDINGS}{}/", elsewhere["pk"].as_str().unwrap());
    assert_eq!(site.refused(Method::PATCH, &path, json!({"target": target})).await, one);
    // What it was bound to takes the binding along.
    site.delete(&format!("{PATH}{target}/")).await;
    assert_eq!(site.send(ADMIN, Method::GET, &binding, None).await.0, 404);
}

/// CO-151, OA-443: any enabled binding that passes is enough, groups count with those above them, `negate` inverts, and the
/// mode of the application does not matter; without an enabled binding nobody holds it.
#[tokio::test]
async fn co_151_who_holds_an_entitlement() {
    let site = Site::new().await;
    let (ada, _) = site.user("ada").await;
    let (bob, _) = site.user("bob").await;
    let app = site.application("wiki", &json!(null)).await["pk"].clone();
    site.patch("/core/applications/wiki/", json!({"policy_engine_mode": "all"})).await;
    let target = entitlement(&site, &app, "write", json!({})).await;
    let holds = async |user| held(&site, user, &app).await.0 == ["write"];
    assert!(!holds(ada).await && !holds(bob).await, "no binding");
    let company = site.post("/core/groups/", json!({"name": "company"})).await["pk"].clone();
    site.post("/core/groups/", json!({"name": "staff", "parents": [company], "users": [ada]})).await;
    let bind = async |member: Value| {
        let mut body = json!({"target": target, "order": 0});
        body.as_object_mut().unwrap().extend(member.as_object().unwrap().clone());
        format!("{BINDINGS}{}/", site.post(BINDINGS, body).await["pk"].as_str().unwrap())
    };
    let of_group = bind(json!({"group": company})).await;
    assert!(holds(ada).await && !holds(bob).await);
    site.patch(&of_group, json!({"negate": true})).await;
    assert!(!holds(ada).await && holds(bob).await);
    site.patch(&of_group, json!({"enabled": false})).await;
    assert!(!holds(ada).await && !holds(bob).await);
    site.patch(&of_group, json!({"enabled": true, "negate": false})).await;
    let of_user = bind(json!({"user": bob})).await;
    assert!(holds(ada).await && holds(bob).await, "any, not all");
    site.patch(&format!("/core/users/{ada}/"), json!({"is_active": false})).await;
    assert!(!holds(ada).await);
    // An orphan is held by nobody, also when it is inverted.
    site.patch(&of_user, json!({"negate": true})).await;
    site.delete(&of_group).await;
    site.delete(&format!("/core/users/{bob}/")).await;
    let (eve, _) = site.user("eve").await;
    assert!(!holds(eve).await);
    assert_eq!(site.events("configuration_warning").await[0]["entitlement"]["name"], "write");
}

/// CO-152, CO-833, OA-443, OA-898: each entitlement is told once, by name, and attributes merge in that order.
#[tokio::test]
async fn co_152_entitlements_are_distinct_and_ordered() {
    let site = Site::new().await;
    let (ada, _) = site.user("ada").await;
    let app = site.application("wiki", &json!(null)).await["pk"].clone();
    let other = site.application("blog", &json!(null)).await["pk"].clone();
    let staff = site.post("/core/groups/", json!({"name": "staff", "users": [ada]})).await["pk"].clone();
    let attributes = [("b", json!({"list": [2], "level": "b"})), ("a", json!({"list": [1], "level": "a"}))];
    for (name, attributes) in attributes {
        let target = entitlement(&site, &app, name, attributes).await;
        for member in [json!({"user": ada}), json!({"group": staff})] {
            let mut body = json!({"target": target, "order": 0});
            body.as_object_mut().unwrap().extend(member.as_object().unwrap().clone());
            site.post(BINDINGS, body).await;
        }
    }
    entitlement(&site, &app, "unheld", json!({"level": "unheld"})).await;
    let elsewhere = entitlement(&site, &other, "elsewhere", json!({})).await;
    site.post(BINDINGS, json!({"target": elsewhere, "order": 0, "user": ada})).await;
    let (names, merged) = held(&site, ada, &app).await;
    assert_eq!((names, merged), (vec!["a".to_owned(), "b".to_owned()], json!({"list": [1, 2], "level": "b"})));
}

/// CO-130: an application takes its entitlements along, and their bindings.
#[tokio::test]
async fn co_130_entitlements_go_with_their_application() {
    let site = Site::new().await;
    let (ada, _) = site.user("ada").await;
    let app = site.application("wiki", &json!(null)).await["pk"].clone();
    let target = entitlement(&site, &app, "write", json!({})).await;
    site.post(BINDINGS, json!({"target": target, "order": 0, "user": ada})).await;
    site.delete("/core/applications/wiki/").await;
    assert_eq!(site.get(PATH).await["pagination"]["count"], 0);
    assert_eq!(site.get(BINDINGS).await["pagination"]["count"], 0);
}

/// CO-473: a mask that is written back leaves an entitlement's secret as it is; any other value replaces it.
#[tokio::test]
async fn co_473_masks_written_back_keep_secrets_of_entitlements() {
    let site = Site::new().await;
    let wiki = site.application("wiki", &json!(null)).await["pk"].clone();
    let made = entitlement(&site, &wiki, "writers", json!({"api_key": "k1", "note": "a"})).await;
    let path = format!("{PATH}{made}/");
    let kept = site.patch(&path, json!({"attributes": {"api_key": "********", "note": "b"}})).await;
    assert_eq!(kept["attributes"], json!({"api_key": "k1", "note": "b"}));
    let replaced = site.patch(&path, json!({"attributes": {"api_key": "k2"}})).await;
    assert_eq!(replaced["attributes"], json!({"api_key": "k2"}));
}

/// CO-532, CO-703: of the bindings that use an entitlement or a policy, those are told that somebody may see.
#[tokio::test]
async fn co_532_bindings_are_told_to_those_who_see_them() {
    let site = Site::new().await;
    let wiki = site.application("wiki", &json!(null)).await["pk"].clone();
    let made = entitlement(&site, &wiki, "writers", json!({})).await;
    let policy = site.post("/policies/dummy/", json!({"name": "dummy"})).await["pk"].clone();
    let (bob, _) = site.user("bob").await;
    let bound = site.post(BINDINGS, json!({"target": made, "order": 0, "user": bob})).await["pk"].clone();
    site.post(BINDINGS, json!({"target": wiki, "order": 1, "policy": policy})).await;
    let rights = [
        ("authentik_core.view_applicationentitlement", None),
        ("authentik_policies.view_policy", None),
        ("authentik_policies.view_policybinding", bound.as_str()),
    ];
    let (_, blind) = site.user_with("ada", &rights[..2]).await;
    let (_, seeing) = site.user_with("eve", &rights).await;
    let uses = async |key: &str, path: String| {
        let (status, told) = site.send(key, Method::GET, &path, None).await;
        assert_eq!(status, 200, "{path}: {told}");
        told.as_array().unwrap().len()
    };
    let (of_it, of_policy) =
        (format!("{PATH}{made}/used_by/"), format!("/policies/all/{}/used_by/", policy.as_str().unwrap()));
    assert_eq!((uses(&blind, of_it.clone()).await, uses(&blind, of_policy.clone()).await), (0, 0));
    assert_eq!((uses(&seeing, of_it.clone()).await, uses(&seeing, of_policy.clone()).await), (1, 0));
    assert_eq!((uses(ADMIN, of_it).await, uses(ADMIN, of_policy).await), (1, 1));
}
