//! What the scopes of the installation stand for, and who gets what of them.

use portcullis_idp::outpost::{introspect, verify_password};

use super::clients::App;
use super::mappings::mapping;
use super::*;

/// Names of the claims of an id token that come from mappings or the protocol.
fn names(reply: &Reply) -> Vec<String> {
    let said = claims(&reply.json["id_token"]);
    said.as_object().expect("an object").keys().cloned().collect()
}

async fn managed(site: &Site, scope: &str) -> Value {
    let managed = format!("goauthentik.io/providers/oauth2/scope-{scope}");
    let found = site.admin(Method::GET, &format!("/propertymappings/provider/scope/?managed={managed}"), None).await;
    assert_eq!(found.json["pagination"]["count"], 1, "{scope}");
    found.json["results"][0].clone()
}

/// OA-430, OA-434, OA-442: the scopes `openid` and `offline_access` are there and say nothing of anybody; the latter is not
/// among what a proxy asks for.
#[tokio::test]
async fn oa_430_some_scopes_say_nothing() {
    let app = App::new(json!({})).await;
    let mut mappings = Vec::new();
    for scope in ["openid", "offline_access"] {
        let mapping = managed(&app.site, scope).await;
        assert_eq!(mapping["scope_name"], scope);
        mappings.push(mapping["pk"].clone());
    }
    app.change(json!({"property_mappings": mappings})).await;
    let ask = async |scope: &str| {
        let all = [("grant_type", "client_credentials"), ("username", "ada"), ("password", KEY), ("scope", scope)];
        app.ask("/application/o/token/", &all).await
    };
    let with = ask("openid offline_access").await;
    assert_eq!(text(&with, "scope"), "offline_access openid");
    assert_eq!(names(&with), names(&ask("").await));
    let wiki = Wiki::new().await;
    let provider = wiki.site.admin(Method::GET, &format!("/providers/proxy/{}/", wiki.provider), None).await.json;
    let chosen = provider["property_mappings"].as_array().expect("a list");
    assert!(chosen.contains(&managed(&wiki.site, "openid").await["pk"]));
    assert!(!chosen.contains(&managed(&wiki.site, "offline_access").await["pk"]));
}

/// OA-420: several mappings may share the name of a scope, which is offered once and says what all of them say; a name has
/// no blanks; without a chosen mapping of its name a scope is not granted.
#[tokio::test]
async fn oa_420_mappings_may_share_a_scope() {
    let app = App::at(Site::with_expressions().await, json!({})).await;
    let one = mapping(&app.site, "team one", "team", "return {'one': 1}").await;
    let two = mapping(&app.site, "team two", "team", "return {'two': 2}").await;
    mapping(&app.site, "not chosen", "other", "return {'three': 3}").await;
    let openid = managed(&app.site, "openid").await["pk"].clone();
    app.change(json!({"property_mappings": [openid, one, two]})).await;
    let discovery = get(&app.site, "/application/o/app/.well-known/openid-configuration", &[]).await.json;
    assert_eq!(discovery["scopes_supported"], json!(["openid", "team"]));
    let ask = async |scope: &str| {
        let all = [("grant_type", "client_credentials"), ("username", "ada"), ("password", KEY), ("scope", scope)];
        app.ask("/application/o/token/", &all).await
    };
    let granted = ask("team other openid").await;
    assert_eq!(text(&granted, "scope"), "openid team");
    let said = claims(&granted.json["id_token"]);
    assert_eq!((&said["one"], &said["two"], said.get("three")), (&json!(1), &json!(2), None));
    assert!(claims(&ask("openid").await.json["id_token"]).get("one").is_none());
    let body = json!({"name": "blank", "scope_name": "two words", "expression": "return {}"});
    let refused = app.site.admin(Method::POST, "/propertymappings/provider/scope/", body).await;
    assert_eq!(refused.status, 400);
    assert!(refused.json["scope_name"].is_array(), "{}", refused.text);
}

/// OA-442: credentials for upstreams come with the proxy's scope, and a changed attribute with the next authentication.
#[tokio::test]
async fn oa_442_upstream_credentials_come_with_their_scope() {
    let wiki = Wiki::new().await;
    let from = [192, 0, 2, 1].into();
    let grant = async || verify_password(&wiki.site.ctx, wiki.pk(), "ada", KEY, from).await.expect("holds");
    let password = async || grant().await.claims.ak_proxy.user_attributes.get("app_password").cloned();
    assert_eq!(password().await, Some(json!("open sesame")));
    let attributes = json!({"app_username": "upstream", "app_password": "another"});
    let user = format!("/core/users/{}/", wiki.ada);
    let before = grant().await;
    wiki.site.admin(Method::PATCH, &user, json!({"attributes": attributes})).await;
    assert_eq!(before.claims.ak_proxy.user_attributes["app_password"], "open sesame");
    assert_eq!(password().await, Some(json!("another")));
    for (scope, is_told) in [("openid profile ak_proxy", true), ("openid profile", false)] {
        let token = wiki.token_of_ada(scope).await;
        let token = text(&token, "access_token");
        let shown = introspect(&wiki.site.ctx, wiki.pk(), token, from).await.expect("holds");
        assert_eq!(shown.claims.ak_proxy.user_attributes.contains_key("app_password"), is_told, "{scope}");
    }
}

/// OA-898: `groups` holds the groups that a user is in directly; a mapping as the documentation shows it tells those above
/// them, too, each once.
#[tokio::test]
async fn oa_898_inherited_groups_are_a_mapping_away() {
    let app = App::at(Site::with_expressions().await, json!({})).await;
    let group = async |name: &str, body: Value| {
        let mut all = json!({"name": name});
        for (key, value) in body.as_object().expect("an object") {
            all[key] = value.clone();
        }
        app.site.admin(Method::POST, "/core/groups/", all).await.json["pk"].clone()
    };
    let top = group("top", json!({})).await;
    let (left, right) =
        (group("left", json!({"parents": [top]})).await, group("right", json!({"parents": [top]})).await);
    group("below", json!({"parents": [left, right], "users": [app.ada]})).await;
    let documented = include_str!("../../../../../docs/src/oauth2-clients.md");
    let marker = "```python\n";
    let example = documented.split(marker).find(|text| text.contains("all_groups")).expect("an example");
    let example = example.split("```").next().expect("its end");
    let own = mapping(&app.site, "groups above", "profile", example).await;
    let mut mappings = app.provider["property_mappings"].as_array().expect("a list").clone();
    let said = async || {
        let all = [("grant_type", "client_credentials"), ("username", "ada"), ("password", KEY), ("scope", "profile")];
        claims(&app.ask("/application/o/token/", &all).await.json["id_token"])
    };
    assert_eq!(said().await["groups"], json!(["below"]));
    mappings.push(own);
    app.change(json!({"property_mappings": mappings})).await;
    let said = said().await;
    assert_eq!((&said["groups"], &said["all_groups"]), (&json!(["below"]), &json!(["below", "left", "right", "top"])));
}
