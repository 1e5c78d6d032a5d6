use std::sync::Arc;

use http::Method;
use portcullis_core::keys::Keyring;
use portcullis_idp::{Context, rekey};
use portcullis_store::sealed::{self, SEALED};
use serde_json::{Value, json};

use crate::site::{ADMIN, Site};

const NEW: &[u8] = b"another root secret, of forty characters";

/// Something in every sealed column, and what of it the API shows.
async fn filled(site: &Site) -> Value {
    let (ada, _) = site.user("ada").await;
    site.patch(&format!("/core/users/{ada}/"), json!({"attributes": {"app_password": "sealed", "note": "plain"}}))
        .await;
    site.post("/core/groups/", json!({"name": "staff", "attributes": {"a": 1}})).await;
    site.post("/core/brands/", json!({"domain": "wiki.example", "attributes": {"b": 2}})).await;
    let pair = json!({"common_name": "wiki.example", "validity_days": 10, "alg": "ecdsa"});
    let (status, _) = site.send(ADMIN, Method::POST, "/crypto/certificatekeypairs/generate/", Some(pair)).await;
    assert_eq!(status, 200);
    let provider = site.provider("wiki").await["pk"].clone();
    let application = site.application("wiki", &provider).await;
    let mut client = site.provider_body("client", json!({"redirect_uris": []})).await;
    client.as_object_mut().unwrap().retain(|name, _| !name.ends_with("_host"));
    client["second_client_secret"] = json!("the-second-secret-of-this-client-0123456789");
    site.post("/providers/oauth2/", client).await;
    let entitlement = json!({"name": "edit", "app": application["pk"], "attributes": {"c": 3}});
    site.post("/core/application_entitlements/", entitlement).await;
    let source = json!({"name": "cluster", "slug": "cluster", "provider_type": "openidconnect", "consumer_key": "key",
        "consumer_secret": "sealed as well"});
    site.post("/sources/oauth/", source).await;
    let text = "version: 1\nentries: []\n";
    site.post("/managed/blueprints/", json!({"name": "mine", "content": text, "context": {"d": 4}})).await;
    site.authenticator_app(ada).await;
    site.sign_in(ada, "").await;
    shown(site).await
}

async fn shown(site: &Site) -> Value {
    let certificate = site.get("/crypto/certificatekeypairs/").await["results"][0]["pk"].as_str().unwrap().to_owned();
    json!([
        site.get("/core/users/?username=ada").await,
        site.get("/core/groups/?name=staff").await,
        site.get("/core/brands/").await,
        site.get("/core/application_entitlements/").await,
        site.get("/core/tokens/ada-token/view_key/").await,
        site.get("/outposts/proxy/").await,
        site.get("/providers/oauth2/").await,
        site.get("/managed/blueprints/").await,
        site.get(&format!("/crypto/certificatekeypairs/{certificate}/view_private_key/")).await,
    ])
}

async fn opens(site: &Site, keys: &Keyring) -> Vec<(&'static str, &'static str, usize, usize)> {
    let mut conn = site.ctx.db.read().await.unwrap();
    let mut found = Vec::new();
    for column in &SEALED {
        let values = sealed::read(&mut conn, column).await.unwrap();
        let opened = values.iter().filter(|(key, value)| keys.open(&column.place(key), value).is_ok()).count();
        found.push((column.table, column.column, values.len(), opened));
    }
    found
}

/// CO-460, CO-464: another root secret opens every sealed value afterwards, and the old one none; tokens are found by
/// their keys, sessions have ended.
#[tokio::test]
async fn co_460_everything_is_sealed_anew() {
    let site = Site::new().await;
    let before = filled(&site).await;
    for (table, column, values, opened) in opens(&site, &site.ctx.keys).await {
        assert!(values > 0 && values == opened, "{table}.{column}: {opened} of {values}");
    }
    let renewed = Arc::new(site.renewed(Keyring::derive(NEW)));
    let report = rekey::run(&renewed, &site.ctx.keys).await.unwrap();
    rekey::forget(&renewed).await.unwrap();
    assert!(report.sealed > SEALED.len() && report.ended == 1, "{report:?}");
    for (table, column, values, opened) in opens(&site, &renewed.keys).await {
        assert!(values > 0 && values == opened, "{table}.{column}: {opened} of {values}");
    }
    assert!(opens(&site, &site.ctx.keys).await.iter().all(|(_, _, _, opened)| *opened == 0));

    let site = site.over(renewed);
    assert_eq!(shown(&site).await, before);
    let found = site.get("/core/users/?attributes=%7B%22note%22%3A%22plain%22%7D").await;
    assert_eq!(found["results"][0]["username"], "ada", "people are found by their attributes");
    assert_eq!(site.get("/core/authenticated_sessions/").await["pagination"]["count"], 0);
    let rotated = site.events("secret_rotate").await;
    assert_eq!(rotated.len(), 1);
    assert!(!site.database_holds(std::str::from_utf8(NEW).unwrap()));
}

/// CO-004, CO-460: with a wrong old key nothing is changed.
#[tokio::test]
async fn co_460_a_wrong_old_key_changes_nothing() {
    let site = Site::new().await;
    let before = filled(&site).await;
    let renewed: Context = site.renewed(Keyring::derive(NEW));
    let wrong = Keyring::derive(b"neither the old nor the new root secret");
    assert!(rekey::run(&renewed, &wrong).await.is_err());
    assert_eq!(shown(&site).await, before);
    assert!(site.events("secret_rotate").await.is_empty());
}
