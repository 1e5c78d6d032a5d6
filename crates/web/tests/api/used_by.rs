//! `…/used_by/` of every resource.

use authentik_client::models;
use http::Method;
use portcullis_core::id::UserPk;
use portcullis_store::role;
use serde_json::{Value, json};

use crate::site::{ADMIN, Site};

/// What uses the object at `path`: kind, name, and what becomes of it.
async fn used(site: &Site, path: &str) -> Vec<(String, String, String)> {
    let answer = site.get(&format!("{path}used_by/")).await;
    serde_json::from_value::<Vec<models::UsedBy>>(answer.clone()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let found = answer.as_array().unwrap().iter();
    found
        .map(|one| {
            assert!(text(&one["app"]).starts_with("authentik_") && !text(&one["pk"]).is_empty(), "{one}");
            (text(&one["model_name"]), text(&one["name"]), text(&one["action"]))
        })
        .collect()
}

fn uses(list: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    list.iter().map(|(kind, name, action)| ((*kind).to_owned(), (*name).to_owned(), (*action).to_owned())).collect()
}

async fn is_gone(site: &Site, path: &str) -> bool {
    site.send(ADMIN, Method::GET, path, None).await.0 == 404
}

/// CO-532: what uses a user, group or role is named, and the deletion does what was said.
#[tokio::test]
async fn co_532_people() {
    let site = Site::new().await;
    let (ada, _) = site.user("ada").await;
    site.sign_in(ada, "test").await;
    site.authenticator_app(ada).await;
    let top = site.post("/core/groups/", json!({"name": "top", "users": [ada]})).await["pk"].clone();
    let inner = site.post("/core/groups/", json!({"name": "inner", "parents": [top]})).await["pk"].clone();
    let role = site.post("/rbac/roles/", json!({"name": "helpers"})).await["pk"].clone();
    let mut tx = site.ctx.db.write().await.unwrap();
    let given = [role.as_str().unwrap().parse().unwrap()];
    role::set_of_account(&mut tx, UserPk(i32::try_from(ada).unwrap()), &given).await.unwrap();
    role::set_of_team(&mut tx, inner.as_str().unwrap().parse().unwrap(), &given).await.unwrap();
    tx.commit().await.unwrap();
    let app = site.application("wiki", &Value::Null).await["pk"].clone();
    for (order, member) in [("user", json!(ada)), ("group", top.clone())].into_iter().enumerate() {
        let body = json!({"target": app, "order": order, member.0: member.1});
        site.post("/policies/bindings/", body).await;
    }

    let user = format!("/core/users/{ada}/");
    let found = used(&site, &user).await;
    let session = found.iter().find(|(kind, ..)| kind == "authenticatedsession").unwrap().1.clone();
    let expected = [
        ("token", "ada-token", "cascade"),
        ("authenticatedsession", session.as_str(), "cascade"),
        ("totpdevice", "Authenticator app", "cascade"),
        ("policybinding", "Binding #0", "set_null"),
    ];
    assert_eq!(found, uses(&expected));
    let group = format!("/core/groups/{}/", top.as_str().unwrap());
    let expected = [
        ("user", "ada", "cascade_many"),
        ("group", "inner", "cascade_many"),
        ("policybinding", "Binding #1", "set_null"),
    ];
    assert_eq!(used(&site, &group).await, uses(&expected));
    let role = format!("/rbac/roles/{}/", role.as_str().unwrap());
    assert_eq!(used(&site, &role).await, uses(&[("user", "ada", "cascade_many"), ("group", "inner", "cascade_many")]));
    assert_eq!(used(&site, "/core/tokens/ada-token/").await, []);

    for path in [&role, &group, &user] {
        site.delete(path).await;
    }
    assert!(is_gone(&site, "/core/tokens/ada-token/").await, "cascade");
    let inner = site.get(&format!("/core/groups/{}/", inner.as_str().unwrap())).await;
    assert_eq!((&inner["parents"], &inner["roles"]), (&json!([]), &json!([])), "cascade_many");
    let bindings = site.get(&format!("/policies/bindings/?target={}", app.as_str().unwrap())).await;
    for binding in bindings["results"].as_array().unwrap() {
        assert_eq!((&binding["user"], &binding["group"]), (&Value::Null, &Value::Null), "set_null");
    }
    assert_eq!(bindings["pagination"]["count"], 2);
}

/// CO-532, CO-594: what uses an application, provider, mapping or certificate is named, and the deletion does what was
/// said.
#[tokio::test]
async fn co_532_applications_and_what_they_stand_on() {
    let site = Site::new().await;
    let pair = json!({"common_name": "wiki.example.com", "validity_days": 30});
    let (_, pair) = site.send(ADMIN, Method::POST, "/crypto/certificatekeypairs/generate/", Some(pair)).await;
    let mapping = json!({"name": "Extra", "scope_name": "extra", "expression": "return {}"});
    let mapping = site.post("/propertymappings/provider/scope/", mapping).await["pk"].clone();
    let more = json!({"certificate": pair["pk"], "property_mappings": [mapping]});
    let wiki = site.post("/providers/proxy/", site.provider_body("wiki", more).await).await;
    let more = json!({"jwt_federation_providers": [wiki["pk"]]});
    let trusting = site.post("/providers/proxy/", site.provider_body("trusting", more).await).await;
    let app = site.application("wiki", &wiki["pk"]).await;
    site.post("/policies/bindings/", json!({"target": app["pk"], "order": 0, "user": 1})).await;
    site.post("/core/application_entitlements/", json!({"name": "edit", "app": app["pk"]})).await;
    let brand = json!({"domain": "wiki.example.com", "default_application": app["pk"], "web_certificate": pair["pk"],
        "client_certificates": [pair["pk"]]});
    let brand = site.post("/core/brands/", brand).await["brand_uuid"].clone();
    let embedded = site.get("/outposts/instances/").await["results"][0]["pk"].as_str().unwrap().to_owned();
    let outpost = format!("/outposts/instances/{embedded}/");
    site.patch(&outpost, json!({"providers": [wiki["pk"]]})).await;
    let source = json!({"name": "ci", "slug": "ci", "provider_type": "openidconnect", "consumer_key": "a",
        "consumer_secret": "b", "oidc_jwks": {"keys": []}, "user_property_mappings": [mapping]});
    site.post("/sources/oauth/", source).await;
    let pk = site.get("/sources/all/ci/").await["pk"].clone();
    site.patch(&format!("/providers/proxy/{}/", trusting["pk"]), json!({"jwt_federation_sources": [pk]})).await;

    let expected = [
        ("policybinding", "Binding #0", "cascade"),
        ("applicationentitlement", "edit", "cascade"),
        ("brand", "wiki.example.com", "set_null"),
    ];
    assert_eq!(used(&site, "/core/applications/wiki/").await, uses(&expected));
    let expected = [
        ("application", "wiki", "set_null"),
        ("outpost", "authentik Embedded Outpost", "cascade_many"),
        ("proxyprovider", "trusting", "cascade_many"),
    ];
    for kind in ["proxy", "all"] {
        assert_eq!(used(&site, &format!("/providers/{kind}/{}/", wiki["pk"])).await, uses(&expected));
    }
    let other = format!("/providers/oauth2/{}/used_by/", wiki["pk"]);
    assert!(is_gone(&site, &other).await);
    let expected = [("proxyprovider", "wiki", "cascade_many"), ("oauthsource", "ci", "cascade_many")];
    let mapping = mapping.as_str().unwrap();
    for kind in ["provider/scope", "all"] {
        assert_eq!(used(&site, &format!("/propertymappings/{kind}/{mapping}/")).await, uses(&expected));
    }
    for kind in ["oauth", "all"] {
        let found = used(&site, &format!("/sources/{kind}/ci/")).await;
        assert_eq!(found, uses(&[("proxyprovider", "trusting", "cascade_many")]));
    }
    let expected = [
        ("proxyprovider", "wiki", "set_null"),
        ("brand", "wiki.example.com", "set_null"),
        ("brand", "wiki.example.com", "cascade_many"),
    ];
    let certificate = format!("/crypto/certificatekeypairs/{}/", pair["pk"].as_str().unwrap());
    assert_eq!(used(&site, &certificate).await, uses(&expected));
    let brand = format!("/core/brands/{}/", brand.as_str().unwrap());
    for path in [&brand, &outpost, &"/sources/all/authentik-built-in/".to_owned()] {
        assert_eq!(used(&site, path).await, [], "{path}");
    }

    let provider = format!("/providers/proxy/{}/", wiki["pk"]);
    for path in [&certificate, &format!("/propertymappings/all/{mapping}/")] {
        site.delete(path).await;
    }
    let kept = site.get(&provider).await;
    assert_eq!(kept["certificate"], Value::Null, "set_null");
    assert!(!kept["property_mappings"].as_array().unwrap().contains(&json!(mapping)), "cascade_many");
    assert_eq!(site.get("/sources/oauth/ci/").await["user_property_mappings"], json!([]), "CO-594");
    let kept = site.get(&brand).await;
    assert_eq!((&kept["web_certificate"], &kept["client_certificates"]), (&Value::Null, &json!([])));
    site.delete("/sources/oauth/ci/").await;
    site.delete(&provider).await;
    let kept = site.get(&format!("/providers/proxy/{}/", trusting["pk"])).await;
    assert_eq!((&kept["jwt_federation_sources"], &kept["jwt_federation_providers"]), (&json!([]), &json!([])));
    assert_eq!(site.get("/core/applications/wiki/").await["provider"], Value::Null, "set_null");
    assert_eq!(site.get(&outpost).await["providers"], json!([]), "cascade_many");
    site.delete("/core/applications/wiki/").await;
    assert_eq!(site.get(&brand).await["default_application"], Value::Null, "set_null");
    assert_eq!(site.get("/core/application_entitlements/").await["pagination"]["count"], 0, "cascade");
    assert_eq!(site.get("/policies/bindings/").await["pagination"]["count"], 0, "cascade");
}

/// CO-532: what is not there is used by nothing, and nobody but an administrator is told.
#[tokio::test]
async fn co_532_absent_and_forbidden() {
    let site = Site::new().await;
    let (ada, key) = site.user("ada").await;
    let nil = "00000000-0000-0000-0000-000000000000";
    for (path, one) in [
        ("/core/users/", "4711"),
        ("/core/groups/", nil),
        ("/core/tokens/", "no-such-token"),
        ("/core/applications/", "none"),
        ("/core/brands/", nil),
        ("/core/user_consent/", "4711"),
        ("/core/authenticated_sessions/", nil),
        ("/oauth2/authorization_codes/", "4711"),
        ("/oauth2/access_tokens/", "x"),
        ("/oauth2/refresh_tokens/", "4711"),
        ("/providers/all/", "4711"),
        ("/providers/oauth2/", "4711"),
        ("/providers/proxy/", "x"),
        ("/propertymappings/all/", nil),
        ("/propertymappings/provider/scope/", nil),
        ("/sources/all/", "none"),
        ("/sources/oauth/", "none"),
        ("/crypto/certificatekeypairs/", nil),
        ("/outposts/instances/", nil),
        ("/rbac/roles/", nil),
    ] {
        assert!(is_gone(&site, &format!("{path}{one}/used_by/")).await, "{path}");
    }
    for path in [format!("/core/users/{ada}/used_by/"), "/core/brands/x/used_by/".to_owned()] {
        assert_eq!(site.send(&key, Method::GET, &path, None).await.0, 403, "{path}");
    }
    let own = site.send(&key, Method::GET, "/core/tokens/ada-token/used_by/", None).await;
    assert_eq!((own.0.as_u16(), own.1), (200, json!([])));
}
