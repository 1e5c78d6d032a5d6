//! `propertymappings/` (CO-564, CO-565).

use authentik_client::models;
use http::Method;
use serde_json::{Value, json};

use crate::site::{ADMIN, Site};

const PATH: &str = "/propertymappings/provider/scope/";
/// One of the expressions that come with the installation.
const EMAIL: &str = "return {\n    \"email\": request.user.email,\n    \"email_verified\": False,\n}";

fn body(name: &str, scope_name: &str) -> Value {
    json!({"name": name, "scope_name": scope_name, "expression": EMAIL, "description": "Mail"})
}

async fn managed(site: &Site, scope: &str) -> Value {
    site.get(&format!("{PATH}?scope_name={scope}&managed__isnull=false")).await["results"][0].clone()
}

fn one(mapping: &Value) -> String {
    format!("{PATH}{}/", mapping["pk"].as_str().unwrap())
}

/// CO-565, CO-595, CO-596: a mapping is made, read, changed and deleted, and is as it was sent.
#[tokio::test]
async fn co_565_mappings_live_and_go() {
    let site = Site::new().await;
    let made = site.post(PATH, body("mail again", "mail")).await;
    let read: models::ScopeMapping = serde_json::from_value(made.clone()).unwrap();
    assert_eq!((read.managed, read.component.as_str()), (Some(None), "ak-property-mapping-provider-scope-form"));
    for (key, value) in body("mail again", "mail").as_object().unwrap() {
        assert_eq!(&made[key], value, "{key}");
    }
    let changed = site.patch(&one(&made), json!({"description": ""})).await;
    assert_eq!((&changed["description"], &changed["scope_name"]), (&json!(""), &json!("mail")));
    assert_eq!(site.events("model_updated").await[0]["diff"], json!({"description": {"previous": "Mail", "new": ""}}));
    site.delete(&one(&made)).await;
    let (status, absent) = site.send(ADMIN, Method::GET, &one(&made), None).await;
    assert_eq!((status.as_u16(), absent), (404, json!({"detail": "No ScopeMapping matches the given query."})));
}

/// CO-565, CO-281: what is wrong is told by field; an expression that nothing here can evaluate is refused.
#[tokio::test]
async fn co_565_mappings_are_validated() {
    let site = Site::new().await;
    site.post(PATH, body("taken", "mail")).await;
    let unavailable = json!({"expression": ["Expressions are not available in this build."]});
    for (more, problems) in [
        (json!({"scope_name": "a b"}), json!({"scope_name": ["Spaces are not allowed in scope names."]})),
        (json!({"name": "taken"}), json!({"name": ["Scope Mapping with this name already exists."]})),
        (json!({"expression": "return {\"a\": 1}"}), unavailable.clone()),
        (json!({"expression": ""}), json!({"expression": ["This field may not be blank."]})),
    ] {
        let mut body = body("new", "mail");
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        assert_eq!(site.refused(Method::POST, PATH, body).await, problems);
    }
    let profile = managed(&site, "profile").await;
    let changed = json!({"expression": "return None"});
    assert_eq!(site.refused(Method::PATCH, &one(&profile), changed).await, unavailable);
    let (_, key) = site.user("ada").await;
    assert_eq!(site.send(&key, Method::POST, PATH, Some(body("x", "x"))).await.0, 403);
}

/// CO-283: what came with the installation cannot be deleted, and is restored only when somebody asks for it.
#[tokio::test]
async fn co_283_managed_mappings_are_restored_on_request() {
    let site = Site::new().await;
    let profile = managed(&site, "profile").await;
    let path = one(&profile);
    assert_eq!(site.send(ADMIN, Method::DELETE, &path, None).await.0, 400);
    site.patch(&path, json!({"expression": EMAIL, "name": "renamed"})).await;
    let mut tx = site.ctx.db.write().await.unwrap();
    portcullis_idp::mappings::bootstrap(&site.ctx, &mut tx).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(site.get(&path).await["expression"], EMAIL, "a start restores nothing");
    let (status, restored) = site.send(ADMIN, Method::POST, &format!("{path}restore/"), None).await;
    assert_eq!(status, 200, "{restored}");
    assert_eq!((&restored["expression"], &restored["name"]), (&profile["expression"], &json!("renamed")));
    let own = site.post(PATH, body("own", "own")).await;
    assert_eq!(site.send(ADMIN, Method::POST, &format!("{}restore/", one(&own)), None).await.0, 404);
}

/// CO-594: providers lose a mapping that is deleted.
#[tokio::test]
async fn co_594_providers_lose_a_deleted_mapping() {
    let site = Site::new().await;
    let made = site.post(PATH, body("own", "own")).await;
    let provider = site.provider("wiki").await;
    let path = format!("/providers/proxy/{}/", provider["pk"]);
    let with = site.patch(&path, json!({"property_mappings": [made["pk"]]})).await;
    assert_eq!(with["property_mappings"].as_array().unwrap().len(), 6);
    site.delete(&format!("/propertymappings/all/{}/", made["pk"].as_str().unwrap())).await;
    assert_eq!(site.get(&path).await["property_mappings"].as_array().unwrap().len(), 5);
}

/// CO-285, CO-564: a mapping is tried out with somebody; nothing is recorded.
#[tokio::test]
async fn co_285_mappings_are_tried_out() {
    let site = Site::new().await;
    let (ada, key) = site.user("ada").await;
    let email = managed(&site, "email").await;
    let path = format!("/propertymappings/all/{}/test/", email["pk"].as_str().unwrap());
    let tried = async |query: &str, body: Value| {
        let (status, tried) = site.send(ADMIN, Method::POST, &format!("{path}{query}"), Some(body)).await;
        assert_eq!(status, 200, "{tried}");
        let _: models::PropertyMappingTestResult = serde_json::from_value(tried.clone()).unwrap();
        tried
    };
    let events = site.events("model_updated").await.len();
    let plain = tried("", json!({"user": ada})).await;
    assert_eq!(plain, json!({"successful": true, "result": "{\"email\":\"\",\"email_verified\":false}"}));
    let formatted = tried("?format_result=true", json!({"user": ada, "context": {}})).await;
    assert_eq!(formatted["result"], "{\n    \"email\": \"\",\n    \"email_verified\": false\n}");
    assert_eq!(tried("", json!({})).await["successful"], false);
    assert_eq!(site.events("model_updated").await.len(), events);
    assert!(site.refused(Method::POST, &path, json!({"user": 4711})).await["user"].is_array());
    assert!(site.refused(Method::POST, &path, json!({"context": []})).await["context"].is_array());
    assert_eq!(site.send(&key, Method::POST, &path, Some(json!({}))).await.0, 403);
    let (_, looks) = site.user_with("looks", &[("authentik_core.view_propertymapping", None)]).await;
    let group = site.post("/core/groups/", json!({"name": "hidden"})).await["pk"].clone();
    for hidden in [json!({"user": ada}), json!({"user": 4711}), json!({"group": group})] {
        assert_eq!(site.send(&looks, Method::POST, &path, Some(hidden.clone())).await.0, 403, "{hidden}");
    }
    assert_eq!(site.send(&looks, Method::POST, &path, Some(json!({}))).await.0, 200);
}
