//! `outposts/instances/` and `outposts/proxy/`: outposts elsewhere.

use std::sync::Mutex;

use authentik_client::models;
use http::Method;
use portcullis_idp::outpost;
use serde_json::{Value, json};

use crate::site::{ADMIN, Site};

const PATH: &str = "/outposts/instances/";

fn body(name: &str, providers: &[&Value]) -> Value {
    json!({"name": name, "type": "proxy", "providers": providers, "config": {"authentik_host": "https://id.example"}})
}

async fn provider(site: &Site, name: &str) -> Value {
    site.provider(name).await["pk"].clone()
}

/// CO-569, CO-596, PX-400: an outpost is made with an account and a token that does not end, is changed, and is deleted
/// with both.
#[tokio::test]
async fn co_569_an_outpost_comes_and_goes_with_its_account() {
    let site = Site::new().await;
    let (wiki, notes) = (provider(&site, "wiki").await, provider(&site, "notes").await);
    let made = site.post(PATH, body("edge", &[&wiki])).await;
    serde_json::from_value::<models::Outpost>(made.clone()).unwrap();
    assert_eq!((&made["providers"], &made["managed"]), (&json!([wiki]), &Value::Null));
    assert_eq!(made["config"], json!({"authentik_host": "https://id.example"}), "CO-595");
    let pk = made["pk"].as_str().unwrap();
    let path = format!("{PATH}{pk}/");
    assert_eq!(site.get(&path).await, made);

    let token = format!("/core/tokens/{}/", made["token_identifier"].as_str().unwrap());
    let shown = site.get(&token).await;
    assert_eq!((&shown["intent"], &shown["expiring"]), (&json!("api"), &json!(false)));
    let owner = &shown["user_obj"];
    let account = (&owner["type"], &owner["path"], &owner["is_superuser"]);
    assert_eq!(account, (&json!("internal_service_account"), &json!("goauthentik.io/outposts"), &json!(false)));
    assert_eq!(owner["username"], format!("ak-outpost-{}", pk.replace('-', "")));
    let key = site.get(&format!("{token}view_key/")).await["key"].as_str().unwrap().to_owned();
    let me = site.send(&key, Method::GET, "/core/users/me/", None).await;
    assert_eq!((me.0.as_u16(), &me.1["user"]["username"]), (200, &owner["username"]));
    let (status, users) = site.send(&key, Method::GET, "/core/users/", None).await;
    assert_eq!((status.as_u16(), &users["results"]), (200, &json!([])), "CO-703");

    let changed = site.patch(&path, json!({"name": "rim", "providers": [wiki, notes]})).await;
    assert_eq!((&changed["name"], &changed["providers"]), (&json!("rim"), &json!([wiki, notes])));
    assert_eq!(changed["config"], made["config"], "CO-527");
    let (status, put) = site.send(ADMIN, Method::PUT, &path, Some(body("edge", &[&notes]))).await;
    assert_eq!((status.as_u16(), &put["providers"]), (200, &json!([notes])));

    site.delete(&path).await;
    for path in [path, token, format!("/core/users/{}/", owner["pk"])] {
        assert_eq!(site.send(ADMIN, Method::GET, &path, None).await.0, 404, "{path}");
    }
    assert_eq!(site.send(&key, Method::GET, "/core/users/me/", None).await.0, 403);
}

/// CO-569, CO-593: what is missing or wrong is named, and nothing is made.
#[tokio::test]
async fn co_593_an_outpost_is_refused_by_field() {
    let site = Site::new().await;
    let wiki = provider(&site, "wiki").await;
    let refused = async |body: Value| site.refused(Method::POST, PATH, body).await;
    let with = |key: &str, value: Value| {
        let mut body = body("edge", &[&wiki]);
        body[key] = value;
        body
    };
    let required = json!(["This field is required."]);
    let missing = json!({"name": required, "type": required, "providers": required, "config": required});
    assert_eq!(refused(json!({})).await, missing);
    assert_eq!(refused(with("providers", json!([]))).await, json!({"providers": ["This list may not be empty."]}));
    let unknown = json!({"providers": ["Invalid pk \"4711\" - object does not exist."]});
    assert_eq!(refused(with("providers", json!([4711]))).await, unknown);
    assert_eq!(refused(with("type", json!("ldap"))).await, json!({"type": ["\"ldap\" is not a valid choice."]}));
    for (key, value) in [
        ("name", json!("")),
        ("config", json!("text")),
        ("config", json!({"log_level": 3})),
        ("config", json!({"refresh_interval": "soon"})),
        ("service_connection", json!("2f1f1d5a-0a0f-4c62-9a7c-0e9f5a3a0001")),
    ] {
        assert!(refused(with(key, value.clone())).await[key].is_array(), "{key}: {value}");
    }
    let taken = json!({"name": ["Outpost with this name already exists."]});
    assert_eq!(refused(body("authentik Embedded Outpost", &[&wiki])).await, taken);
    assert_eq!(site.get(PATH).await["pagination"]["count"], 1);
    let made = site.post(PATH, body("edge", &[&wiki])).await;
    let path = format!("{PATH}{}/", made["pk"].as_str().unwrap());
    assert_eq!(site.refused(Method::PATCH, &path, json!({"name": "authentik Embedded Outpost"})).await, taken);
    let empty = json!({"providers": ["This list may not be empty."]});
    assert_eq!(site.refused(Method::PATCH, &path, json!({"providers": []})).await, empty);
}

/// CO-569, PX-420: the embedded outpost cannot be deleted.
#[tokio::test]
async fn px_420_the_embedded_outpost_stays() {
    let site = Site::new().await;
    let embedded = site.get(PATH).await["results"][0].clone();
    let path = format!("{PATH}{}/", embedded["pk"].as_str().unwrap());
    let refused = site.refused(Method::DELETE, &path, json!({})).await;
    assert_eq!(refused, json!({"non_field_errors": ["Embedded outpost cannot be deleted"]}));
    assert_eq!(site.get(&path).await, embedded);
    let patched = site.patch(&path, json!({"providers": []})).await;
    assert_eq!(patched["providers"], json!([]), "it alone may serve nothing");
}

/// CO-106: the token of an outpost keeps its name, does not end, and is made again when it or its account is deleted;
/// nobody else's has such a name.
#[tokio::test]
async fn co_106_the_token_of_an_outpost_is_made_again() {
    let site = Site::new().await;
    let made = site.post(PATH, body("edge", &[&provider(&site, "wiki").await])).await;
    let outpost = made["pk"].as_str().unwrap();
    let token = format!("/core/tokens/{}/", made["token_identifier"].as_str().unwrap());
    let first = site.get(&token).await;
    let key = async || site.get(&format!("{token}view_key/")).await["key"].as_str().unwrap().to_owned();
    let old = key().await;
    let proxies = "/outposts/proxy/";
    assert_eq!(site.status(&old, Method::GET, proxies, None).await, 200);
    site.delete(&token).await;
    assert_eq!(site.status(&old, Method::GET, proxies, None).await, 403);
    let new = key().await;
    assert_eq!(site.status(&new, Method::GET, proxies, None).await, 200);
    let second = site.get(&token).await;
    assert_ne!(second["pk"], first["pk"]);
    for made in [&first, &second] {
        assert_eq!(made["managed"], format!("goauthentik.io/outpost/ak-outpost-{outpost}-api"));
        assert_eq!((&made["user_obj"]["type"], &made["expiring"]), (&json!("internal_service_account"), &json!(false)));
    }
    let (_, ada) = site.user("ada").await;
    let foreign = json!({"identifier": made["token_identifier"], "intent": "app_password"});
    let (status, said) = site.send(&ada, Method::POST, "/core/tokens/", Some(foreign)).await;
    let taken = json!({"identifier": ["This identifier is that of an outpost's token."]});
    assert_eq!((status.as_u16(), &said), (400, &taken));
    let other = site.post("/core/tokens/", json!({"identifier": "other"})).await;
    assert_eq!(other["identifier"], "other");
    let renamed = json!({"identifier": made["token_identifier"]});
    assert_eq!(site.refused(Method::PATCH, "/core/tokens/other/", renamed).await, taken);
    assert_eq!(site.refused(Method::PATCH, &token, json!({"identifier": "mine"})).await, taken);
    let ending = site.refused(Method::PATCH, &token, json!({"expiring": true})).await;
    assert_eq!(ending, json!({"expiring": ["The token of an outpost does not expire."]}));
    let same = json!({"identifier": made["token_identifier"], "description": "edge", "expiring": false});
    assert_eq!(site.patch(&token, same).await["description"], "edge");
    site.delete(&format!("/core/users/{}/", first["user"])).await;
    assert_eq!(site.status(&new, Method::GET, proxies, None).await, 403);
    assert_eq!(site.status(&key().await, Method::GET, proxies, None).await, 200);
    site.delete(&format!("{PATH}{outpost}/")).await;
    assert_eq!(site.status(ADMIN, Method::GET, &token, None).await, 404);
}

/// CO-034, PX-400: an account that has the name of an outpost's and is none is not the outpost's: it gets no token, and
/// stays when the outpost goes.
#[tokio::test]
async fn px_400_accounts_of_others_are_not_used() {
    let site = Site::new().await;
    let provider = site.provider("wiki").await["pk"].clone();
    let body = json!({"name": "far", "type": "proxy", "providers": [provider], "config": {}});
    let made = site.post("/outposts/instances/", body).await["pk"].as_str().unwrap().to_owned();
    let name = format!("ak-outpost-{}", made.replace('-', ""));
    let mut tx = site.ctx.db.write().await.unwrap();
    let mut account = portcullis_store::account::by_username(&mut tx, &name).await.unwrap().unwrap();
    account.kind = "internal".to_owned();
    portcullis_store::account::update(&mut tx, &account).await.unwrap();
    tx.commit().await.unwrap();
    let at = format!("/outposts/instances/{made}/");
    let said = site.refused(Method::PATCH, &at, json!({"name": "further"})).await;
    assert_eq!(said, json!({"non_field_errors": ["The user name of the outpost's service account is taken."]}));
    site.delete(&at).await;
    assert_eq!(site.get(&format!("/core/users/?username={name}")).await["pagination"]["count"], 1);
}

/// PX-008, PX-027: a configuration of which only what has changed is read again is the same as one that is read as a whole.
#[tokio::test]
async fn px_008_what_has_changed_is_read_again() {
    let site = Site::new().await;
    let keys = [provider(&site, "a").await, provider(&site, "b").await, provider(&site, "c").await];
    for (slug, key) in ["a", "b", "c"].into_iter().zip(&keys) {
        site.application(slug, key).await;
    }
    let embedded = site.get(PATH).await["results"][0]["pk"].as_str().unwrap().to_owned();
    let embedded = format!("{PATH}{embedded}/");
    site.patch(&embedded, json!({"providers": keys})).await;
    let before = Mutex::new(outpost::configuration(&site.ctx).await.unwrap());
    let last = || before.lock().unwrap().clone();
    let renewed = async |what: &str| {
        let renewed = outpost::configuration_after(&site.ctx, &last()).await.unwrap();
        assert_eq!(renewed, outpost::configuration(&site.ctx).await.unwrap(), "{what}");
        assert_ne!(renewed, std::mem::replace(&mut *before.lock().unwrap(), renewed.clone()), "{what}");
        renewed.providers.iter().map(|provider| provider.name.clone()).collect::<Vec<_>>()
    };
    let at = |number: usize| format!("/providers/proxy/{}/", keys[number]);
    site.patch(&at(0), json!({"name": "z", "external_host": "https://z.example"})).await;
    assert_eq!(renewed("another name").await, ["b", "c", "z"]);
    site.patch("/core/applications/b/", json!({"slug": "bee"})).await;
    renewed("another slug").await;
    let scope = json!({"name": "s", "scope_name": "s", "expression": "return {}"});
    let scope = site.post("/propertymappings/provider/scope/", scope).await["pk"].clone();
    site.patch(&at(1), json!({"property_mappings": [scope]})).await;
    renewed("another mapping").await;
    let scope = format!("/propertymappings/provider/scope/{}/", scope.as_str().unwrap());
    site.patch(&scope, json!({"scope_name": "t"})).await;
    renewed("another scope").await;
    site.delete(&scope).await;
    renewed("no scope").await;
    site.patch("/core/applications/c/", json!({"provider": null})).await;
    assert_eq!(renewed("without an application").await, ["b", "z"]);
    site.patch("/core/applications/c/", json!({"provider": keys[2]})).await;
    assert_eq!(renewed("with one again").await, ["b", "c", "z"]);
    let config = json!({"authentik_host": "https://login.example"});
    site.patch(&embedded, json!({"providers": keys[..2], "config": config})).await;
    assert_eq!(renewed("not served").await, ["b", "z"]);
    let pair = json!({"common_name": "k", "subject_alt_name": "z.example", "validity_days": 9});
    let pair =
        site.send(ADMIN, Method::POST, "/crypto/certificatekeypairs/generate/", Some(pair)).await.1["pk"].clone();
    site.patch(&at(0), json!({"certificate": pair})).await;
    renewed("a certificate").await;
    assert_eq!(last().certificates.len(), 1);
    site.patch(&at(0), json!({"certificate": null})).await;
    renewed("no certificate").await;
    assert!(last().certificates.is_empty());
    site.delete(&at(0)).await;
    assert_eq!(renewed("a deleted provider").await, ["b"]);

    // What did not change is not looked at.
    before.lock().unwrap().providers[0].application_name = "kept".to_owned();
    site.patch(&at(2), json!({"name": "y"})).await;
    let after = outpost::configuration_after(&site.ctx, &last()).await.unwrap();
    assert_eq!(after.providers[0].application_name, "kept");
    site.patch(&embedded, json!({"config": {"authentik_host": ""}})).await;
    let after = outpost::configuration_after(&site.ctx, &last()).await.unwrap();
    assert_ne!(after.providers[0].application_name, "kept");
}
