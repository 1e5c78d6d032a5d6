//! What an export of everything holds, and what comes of applying it.

use portcullis_idp::Actor;
use portcullis_web::api::blueprints::export;
use serde_json::{Value, json};

use crate::blueprints_engine::{applied, attempt, only};
use crate::blueprints_models::{EXAMPLE, example_secrets};
use crate::site::{ADMIN, Site};

/// CO-730: an export holds everything but secrets; applied to the same instance it changes nothing, and to another one
/// it makes the same.
#[tokio::test]
async fn co_730_an_export_changes_nothing() {
    let site = Site::reaching(example_secrets()).await;
    attempt(&site, EXAMPLE).await.unwrap();
    let (ada, _) = site.user("grace").await;
    let policy = site.post("/policies/dummy/", json!({"name": "d"})).await["pk"].clone();
    let wiki = site.get("/core/applications/wiki/").await["pk"].clone();
    site.post("/policies/bindings/", json!({"target": wiki, "order": 1, "policy": policy})).await;
    site.post("/policies/bindings/", json!({"target": wiki, "order": 2, "user": ada})).await;
    // These two differ in nothing that a binding is found by.
    for negate in [false, true] {
        site.post("/policies/bindings/", json!({"target": wiki, "order": 3, "user": ada, "negate": negate})).await;
    }
    let numbers = json!({"list": [1e-7, 1.5e300, 1e20, 5e-324, 3], "small": 1e-7});
    site.post("/core/groups/", json!({"name": "numbers", "attributes": numbers.clone()})).await;
    site.post("/core/application_entitlements/", json!({"name": "editor", "app": wiki})).await;
    let mapping = json!({"name": "mine", "scope_name": "mine", "expression": "return {}"});
    site.post("/propertymappings/provider/scope/", mapping).await;
    let exported = export(&site.ctx, &Actor::system()).await.unwrap();
    for secret in ["the-password-of-the-wiki", "the-app-password-of-mary", ADMIN] {
        assert!(!exported.contains(secret), "{secret}");
    }
    let events = (site.events("model_created").await, site.events("model_updated").await);
    let again = attempt(&site, &exported).await.unwrap();
    let different: Vec<_> = again.log.iter().filter(|line| !line.event.ends_with("is as it should be")).collect();
    assert!(different.is_empty(), "{different:?}");
    assert_eq!((site.events("model_created").await, site.events("model_updated").await), events);
    let other = Site::new().await;
    attempt(&other, &exported).await.unwrap();
    let access = only(&other, "/core/users/?username=mary").await["pk"].clone();
    let access = format!("/core/applications/wiki/check_access/?for_user={access}");
    assert_eq!(other.get(&access).await["passing"], json!(true));
    assert_eq!(only(&other, "/core/groups/?name=numbers").await["attributes"], numbers);
    // Names of entries and their order do not come from keys, which differ; only the secret has not come along.
    let secret = ",\"wiki_password\":\"********\"";
    assert!(exported.contains(secret), "{exported}");
    assert_eq!(export(&other.ctx, &Actor::system()).await.unwrap(), exported.replace(secret, ""));
}

/// CO-480, CO-730: an export names the key pair that every installation has of its own, and does not hold it.
#[tokio::test]
async fn co_730_an_export_names_the_key_pair_of_the_installation() {
    let (site, other) = (Site::new().await, Site::new().await);
    let wish = json!({"common_name": "authentik Self-signed Certificate", "validity_days": 10});
    let generate = "/crypto/certificatekeypairs/generate/";
    let pair =
        async |site: &Site| site.send(ADMIN, http::Method::POST, generate, Some(wish.clone())).await.1["pk"].clone();
    let (mine, theirs) = (pair(&site).await, pair(&other).await);
    let client = site.provider_body("app", json!({"signing_key": mine, "redirect_uris": []})).await;
    site.post("/providers/oauth2/", client).await;
    let exported = export(&site.ctx, &Actor::system()).await.unwrap();
    assert!(!exported.contains("BEGIN CERTIFICATE"), "{exported}");
    attempt(&other, &exported).await.unwrap();
    assert_eq!(only(&other, "/providers/oauth2/?name=app").await["signing_key"], theirs);
}

/// CO-480, CO-730: an export can be applied where the installation's own key pair is gone: the client signs with its key once
/// there is a pair of this name again, and the file says so.
#[tokio::test]
async fn co_730_an_export_waits_for_the_key_pair_of_the_installation() {
    let (site, other) = (Site::new().await, Site::new().await);
    let wish = json!({"common_name": "authentik Self-signed Certificate", "validity_days": 10});
    let generate = "/crypto/certificatekeypairs/generate/";
    let pair =
        async |site: &Site| site.send(ADMIN, http::Method::POST, generate, Some(wish.clone())).await.1["pk"].clone();
    let client = site.provider_body("app", json!({"signing_key": pair(&site).await, "redirect_uris": []})).await;
    site.post("/providers/oauth2/", client).await;
    let exported = export(&site.ctx, &Actor::system()).await.unwrap();
    assert!(exported.contains("make a pair of this name first"), "{exported}");
    assert!(!exported.contains("bring it as key_data"), "{exported}");
    attempt(&other, &exported).await.unwrap();
    assert_eq!(only(&other, "/providers/oauth2/?name=app").await["signing_key"], Value::Null);
    let theirs = pair(&other).await;
    attempt(&other, &exported).await.unwrap();
    assert_eq!(only(&other, "/providers/oauth2/?name=app").await["signing_key"], theirs);
}

/// CO-730, OA-807: an export holds neither secret of a client, nor their ends; applied to the same instance it leaves them.
#[tokio::test]
async fn oa_807_an_export_holds_no_secret_of_a_client() {
    let site = Site::new().await;
    let mut body = site.provider_body("app", json!({"redirect_uris": []})).await;
    let members = body.as_object_mut().unwrap();
    members.retain(|name, _| !name.ends_with("_host"));
    for (name, value) in [
        ("client_secret", json!("the-first-secret-of-this-client-0123456789")),
        ("client_secret_expires", json!("2031-01-02T03:04:05Z")),
        ("second_client_secret", json!("the-second-secret-of-this-client-0123456789")),
        ("second_client_secret_expires", json!("2032-01-02T03:04:05Z")),
    ] {
        members.insert(name.to_owned(), value);
    }
    let made = site.post("/providers/oauth2/", body).await;
    let exported = export(&site.ctx, &Actor::system()).await.unwrap();
    for secret in ["the-first-secret", "the-second-secret", "2031-01-02", "2032-01-02"] {
        assert!(!exported.contains(secret), "{secret}");
    }
    attempt(&site, &exported).await.unwrap();
    assert_eq!(site.get(&format!("/providers/oauth2/{}/", made["pk"])).await, made);
}

/// CO-730: an export of a client that signs with a key of its own, and of an app password for one application, can be applied
/// to an empty instance: the client signs with that key once somebody brings it. Applied to the same instance, it changes nothing.
#[tokio::test]
async fn co_730_an_export_works_without_private_keys() {
    let site = Site::new().await;
    let pair = json!({"common_name": "pair", "validity_days": 10, "alg": "rsa"});
    let generate = "/crypto/certificatekeypairs/generate/";
    let pair = site.send(ADMIN, http::Method::POST, generate, Some(pair)).await.1["pk"].clone();
    let path = format!("/crypto/certificatekeypairs/{}/", pair.as_str().unwrap());
    site.patch(&path, json!({"name": "pair: \"1\""})).await;
    let private_key = site.get(&format!("{path}view_private_key/")).await["data"].clone();
    let flow = async |name: &str| site.get(&format!("/flows/instances/default-provider-{name}/")).await["pk"].clone();
    let client = json!({"name": "app", "client_id": "app", "signing_key": pair, "encryption_key": pair, "redirect_uris": [],
        "authorization_flow": flow("authorization-implicit-consent").await,
        "invalidation_flow": flow("invalidation-flow").await});
    let client = site.post("/providers/oauth2/", client).await["pk"].clone();
    let app = json!({"name": "App", "slug": "app", "provider": client});
    let app = site.post("/core/applications/", app).await["pk"].clone();
    let token = json!({"identifier": "script", "intent": "app_password", "allowed_applications": [app]});
    site.post("/core/tokens/", token).await;
    let exported = export(&site.ctx, &Actor::system()).await.unwrap();
    assert!(!exported.contains("PRIVATE KEY"), "{exported}");
    let again = attempt(&site, &exported).await.unwrap();
    let different: Vec<_> = again.log.iter().filter(|line| !line.event.ends_with("is as it should be")).collect();
    assert!(different.is_empty(), "{different:?}");

    let other = Site::new().await;
    let made = attempt(&other, &exported).await.unwrap();
    assert!(made.log.iter().any(|line| line.event.ends_with("; not in the blueprint: key_data")), "{:?}", made.log);
    let app = other.get("/core/applications/app/").await["pk"].clone();
    assert_eq!(other.get("/core/tokens/script/").await["allowed_applications"], json!([app]));
    let pair = only(&other, "/crypto/certificatekeypairs/?has_key=false").await["pk"].clone();
    let client = only(&other, "/providers/oauth2/?name=app").await;
    assert_eq!((&client["signing_key"], &client["encryption_key"]), (&Value::Null, &pair));
    let whole = exported
        .replace("      certificate_data:", &format!("      key_data: {}\n      certificate_data:", private_key));
    attempt(&other, &whole).await.unwrap();
    assert_eq!(only(&other, "/providers/oauth2/?name=app").await["signing_key"], pair);
}

/// CO-730, CO-701: what roles grant is part of an export, on everything of a kind and on single objects. An empty instance
/// that it is applied to exports the same, and says which secrets it was not told.
#[tokio::test]
async fn co_730_an_export_makes_the_same_elsewhere() {
    let site = Site::new().await;
    let entries = "  - {model: authentik_rbac.role, id: r, identifiers: {name: helpers}, \
                   attrs: {permissions: [authentik_core.view_user, authentik_core.view_group]}}\n  \
                   - {model: authentik_rbac.role, identifiers: {name: idle}}\n  \
                   - model: authentik_core.user\n    id: ada\n    identifiers: {username: ada}\n    attrs: {name: Ada, \
                   roles: [!KeyOf r], permissions: [authentik_core.view_token]}\n    permissions:\n      \
                   - {permission: authentik_core.impersonate, role: !KeyOf r}\n  \
                   - model: authentik_core.group\n    identifiers: {name: staff}\n    permissions:\n      \
                   - {permission: authentik_core.change_group, role: !KeyOf r}\n      \
                   - {permission: authentik_core.view_group, user: !KeyOf ada}\n  \
                   - model: authentik_flows.flow\n    identifiers: {slug: default-authentication-flow}\n    permissions:\n      \
                   - {permission: authentik_flows.view_flow, role: !KeyOf r}\n  \
                   - model: authentik_core.token\n    identifiers: {identifier: script}\n    attrs: {intent: app_password, \
                   user: !KeyOf ada, key: a-key-that-is-long-enough-for-anybody, expires: '2030-01-01T00:00:00Z'}\n";
    applied(&site, entries).await;
    let flow = async |name: &str| site.get(&format!("/flows/instances/default-provider-{name}/")).await;
    let oauth2 = json!({"name": "app", "client_id": "app-client", "client_secret": "app-s3cret-app-s3cret-app-s3cret-app-s3cret",
        "authorization_flow": flow("authorization-implicit-consent").await["pk"],
        "invalidation_flow": flow("invalidation-flow").await["pk"], "redirect_uris": []});
    site.post("/providers/oauth2/", oauth2).await;
    let source = json!({"name": "cluster", "slug": "cluster", "provider_type": "openidconnect", "consumer_key": "key",
        "consumer_secret": "sealed as well", "oidc_jwks": {"keys": []}});
    site.post("/sources/oauth/", source).await;
    let exported = export(&site.ctx, &Actor::system()).await.unwrap();
    let again = attempt(&site, &exported).await.unwrap();
    let different: Vec<_> = again.log.iter().filter(|line| !line.event.ends_with("is as it should be")).collect();
    assert!(different.is_empty(), "{different:?}");
    let other = Site::new().await;
    let made = attempt(&other, &exported).await.unwrap();
    // Keys of objects name entries, and differ.
    let without_keys = |text: &str| {
        let ids = text.lines().filter_map(|line| line.strip_prefix("    id: "));
        let named = |text: String, (number, id): (usize, &str)| text.replace(id, &format!("\"entry {number}\""));
        ids.enumerate().fold(text.to_owned(), named)
    };
    assert_eq!(without_keys(&export(&other.ctx, &Actor::system()).await.unwrap()), without_keys(&exported));
    for (object, secret) in
        [("ada", "password"), ("script", "key"), ("app", "client_secret"), ("cluster", "consumer_secret")]
    {
        let says = |event: &str| event.ends_with(&format!("; not in the blueprint: {secret}"));
        assert!(made.log.iter().any(|line| says(&line.event)), "{object} {secret}: {:?}", made.log);
    }
    assert!(exported.contains("permission: \"authentik_flows.view_flow\""), "{exported}");
}
