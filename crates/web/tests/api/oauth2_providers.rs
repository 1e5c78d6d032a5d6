//! `providers/oauth2/` (CO-558).

use authentik_client::models;
use http::Method;
use serde_json::{Value, json};

use crate::site::{ADMIN, Site};

const PATH: &str = "/providers/oauth2/";

async fn body(site: &Site, name: &str, more: Value) -> Value {
    let mut body = site.provider_body(name, json!({})).await;
    for proxy in ["external_host", "internal_host"] {
        body.as_object_mut().unwrap().remove(proxy);
    }
    body["redirect_uris"] = json!([]);
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

async fn refused(site: &Site, more: Value) -> Value {
    site.refused(Method::POST, PATH, body(site, "bad", more).await).await
}

/// A public key of a client: that of RFC 7515, appendix A.3.
fn jwk(kid: &str) -> Value {
    json!({
        "kty": "EC", "crv": "P-256", "kid": kid, "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    })
}

/// The same with its private half, which is nobody's business here.
fn private_jwk() -> Value {
    let mut key = jwk("k1");
    key["d"] = json!("jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI");
    key
}

/// A certificate with a key of this kind.
async fn key(site: &Site, alg: &str) -> Value {
    let body = json!({"common_name": format!("key {alg}"), "validity_days": 30, "alg": alg});
    let (status, made) = site.send(ADMIN, Method::POST, "/crypto/certificatekeypairs/generate/", Some(body)).await;
    assert_eq!(status, 200, "{made}");
    made["pk"].clone()
}

/// CO-558, CO-534, OA-022, OA-040: what is not said has its default, and every key is there.
#[tokio::test]
async fn co_558_what_is_not_said_has_its_default() {
    let site = Site::new().await;
    let made = site.post(PATH, body(&site, "app", json!({})).await).await;
    let read: models::OAuth2Provider = serde_json::from_value(made.clone()).unwrap();
    assert_eq!(read.component, "ak-provider-oauth2-form");
    for (key, value) in [
        ("client_type", json!("confidential")),
        ("grant_types", json!(["authorization_code", "refresh_token", "client_credentials"])),
        ("access_code_validity", json!("minutes=1")),
        ("access_token_validity", json!("hours=1")),
        ("refresh_token_validity", json!("days=30")),
        ("refresh_token_threshold", json!("seconds=0")),
        ("include_claims_in_id_token", json!(true)),
        ("signing_key", json!(null)),
        ("encryption_key", json!(null)),
        ("logout_uri", json!("")),
        ("logout_method", json!("backchannel")),
        ("sub_mode", json!("hashed_user_id")),
        ("issuer_mode", json!("per_provider")),
        ("jwt_federation_sources", json!([])),
        ("jwt_federation_providers", json!([])),
        ("federation_audiences", json!([])),
        ("cap_to_assertion_exp", json!(true)),
        ("client_secret_expires", json!(null)),
        ("client_secret_last_used", json!(null)),
        ("second_client_secret", json!("")),
        ("second_client_secret_expires", json!(null)),
        ("second_client_secret_last_used", json!(null)),
        ("client_jwks", json!({})),
        ("refresh_family_max_age", json!("")),
        ("token_exchange_without_actor", json!(false)),
        ("require_pkce", json!(false)),
        ("m2m_require_client_auth", json!(false)),
        ("allow_pkce_plain", json!(false)),
        ("device_code_validity", json!("minutes=10")),
        ("device_require_client_auth", json!(true)),
        ("allowed_origins", json!([])),
        ("allow_query_token", json!(false)),
        ("allow_broad_redirect_uris", json!(false)),
        ("property_mappings", json!([])),
        ("authentication_flow", json!(null)),
        ("assigned_application_slug", json!(null)),
        ("verbose_name", json!("OAuth2/OpenID Provider")),
        ("verbose_name_plural", json!("OAuth2/OpenID Providers")),
        ("meta_model_name", json!("authentik_providers_oauth2.oauth2provider")),
    ] {
        assert_eq!(made[key], value, "{key}");
    }
    assert_eq!(made["client_id"].as_str().map(str::len), Some(40));
    let secret = made["client_secret"].as_str().unwrap();
    assert_eq!(secret.len(), 128);
    assert!(!site.database_holds(secret), "sealed");
    let created = site.events("model_created").await;
    assert!(created.iter().all(|event| !event.to_string().contains(secret)));
}

/// CO-595: what was sent comes back as it was sent, also after a full update; then it can be deleted.
#[tokio::test]
async fn co_595_what_was_sent_comes_back() {
    let site = Site::new().await;
    let (key, rsa) = (key(&site, "ecdsa").await, key(&site, "rsa").await);
    let sent = body(&site, "app", json!({
        "client_id": "my-app", "client_secret": " a secret with blanks around it, and long ", "client_type": "confidential",
        "grant_types": ["password", "implicit", "authorization_code"],
        "redirect_uris": [
            {"matching_mode": "strict", "url": "https://b.example/cb", "redirect_uri_type": "authorization"},
            {"matching_mode": "regex", "url": r"https://a\.example/.*", "redirect_uri_type": "authorization"},
            {"matching_mode": "strict", "url": "app.example:/out", "redirect_uri_type": "logout"},
        ],
        "access_code_validity": "seconds=90;minutes=1", "access_token_validity": "minutes=5",
        "refresh_token_validity": "weeks=1", "refresh_token_threshold": "hours=1", "include_claims_in_id_token": false,
        "client_secret_expires": "2030-01-02T03:04:05.000000Z", "second_client_secret": " another one, that is good, too ",
        "second_client_secret_expires": "2031-01-02T03:04:05.000000Z", "client_jwks": {"keys": [jwk("k1"), jwk("k2")]},
        "refresh_family_max_age": "weeks=4", "token_exchange_without_actor": true, "encryption_key": rsa,
        "require_pkce": true, "m2m_require_client_auth": true, "allow_pkce_plain": true,
        "device_code_validity": "minutes=3", "device_require_client_auth": false, "allow_query_token": true,
        "allowed_origins": ["https://page.example", "http://localhost:5173"], "allow_broad_redirect_uris": true,
        "signing_key": key, "logout_uri": "http://app/logout", "logout_method": "frontchannel",
        "sub_mode": "user_upn", "issuer_mode": "global",
        "federation_audiences": ["https://a.example"], "cap_to_assertion_exp": false,
    }))
    .await;
    let made = site.post(PATH, sent.clone()).await;
    let path = format!("{PATH}{}/", made["pk"]);
    let (status, replaced) = site.send(ADMIN, Method::PUT, &path, Some(sent.clone())).await;
    assert_eq!(status, 200, "{replaced}");
    for shown in [&made, &replaced, &site.get(&path).await] {
        for (key, value) in sent.as_object().unwrap() {
            assert_eq!(&shown[key], value, "{key}");
        }
    }
    site.delete(&path).await;
    let (status, absent) = site.send(ADMIN, Method::GET, &path, None).await;
    assert_eq!((status.as_u16(), absent), (404, json!({"detail": "No OAuth2Provider matches the given query."})));
}

/// CO-523, OA-024, OA-045, OA-803, OA-864, OA-700: what is wrong with a client is told by field, and nothing is made.
#[tokio::test]
async fn oa_045_clients_are_validated() {
    let site = Site::new().await;
    site.post(PATH, body(&site, "app", json!({"client_id": "taken"})).await).await;
    let (rsa, ecdsa, ed25519) = (key(&site, "rsa").await, key(&site, "ecdsa").await, key(&site, "ed25519").await);
    let uri = |mode: &str, url: &str| json!({"redirect_uris": [{"matching_mode": mode, "url": url}]});
    for (more, field) in [
        (json!({"name": "app"}), "name"),
        (json!({"name": ""}), "name"),
        (json!({"client_id": "taken"}), "client_id"),
        (json!({"client_id": ""}), "client_id"),
        (json!({"client_id": "x".repeat(256)}), "client_id"),
        (json!({"client_secret": ""}), "client_secret"),
        (json!({"client_secret": "x".repeat(256)}), "client_secret"),
        (json!({"client_secret": "x".repeat(31)}), "signing_key"),
        (json!({"client_secret": "", "client_type": "public"}), "signing_key"),
        (json!({"client_type": "other"}), "client_type"),
        (json!({"grant_types": ["other"]}), "grant_types"),
        (json!({"access_code_validity": "minutes=11"}), "access_code_validity"),
        (json!({"access_code_validity": "seconds=0"}), "access_code_validity"),
        (json!({"access_token_validity": "seconds=0"}), "access_token_validity"),
        (json!({"refresh_token_validity": "fortnight=1"}), "refresh_token_validity"),
        (json!({"refresh_token_threshold": "x"}), "refresh_token_threshold"),
        (json!({"refresh_token_threshold": "hours=1", "client_type": "public"}), "refresh_token_threshold"),
        (json!({"signing_key": ed25519}), "signing_key"),
        (json!({"signing_key": "5f1f0c7e-0000-4000-8000-000000000000"}), "signing_key"),
        (json!({"encryption_key": ed25519}), "encryption_key"),
        (json!({"encryption_key": ecdsa}), "encryption_key"),
        (json!({"encryption_key": "5f1f0c7e-0000-4000-8000-000000000000"}), "encryption_key"),
        (json!({"second_client_secret": "x".repeat(256), "signing_key": rsa}), "second_client_secret"),
        (json!({"second_client_secret": "x".repeat(31)}), "second_client_secret"),
        (json!({"second_client_secret": "x".repeat(40), "client_secret": "x".repeat(40)}), "second_client_secret"),
        (
            json!({"client_type": "public", "signing_key": rsa, "second_client_secret": "x".repeat(40)}),
            "second_client_secret",
        ),
        (json!({"second_client_secret_expires": "soon"}), "second_client_secret_expires"),
        (json!({"client_secret_expires": 7}), "client_secret_expires"),
        (json!({"client_jwks": []}), "client_jwks"),
        (json!({"client_jwks": {"keys": []}}), "client_jwks"),
        (json!({"client_jwks": {"keys": {}}}), "client_jwks"),
        (json!({"client_jwks": {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}}), "client_jwks"),
        (json!({"client_jwks": {"keys": [jwk("k1"), jwk("k1")]}}), "client_jwks"),
        (json!({"client_jwks": {"keys": [private_jwk()]}}), "client_jwks"),
        (json!({"client_jwks": {"keys": [jwk("k1")]}, "client_type": "public", "signing_key": rsa}), "client_jwks"),
        (json!({"client_jwks": {"keys": (0..9).map(|at| jwk(&at.to_string())).collect::<Vec<_>>()}}), "client_jwks"),
        (json!({"refresh_family_max_age": "seconds=0"}), "refresh_family_max_age"),
        (json!({"refresh_family_max_age": "fortnight=1"}), "refresh_family_max_age"),
        (json!({"logout_uri": "ftp://app/"}), "logout_uri"),
        (json!({"sub_mode": "other"}), "sub_mode"),
        (json!({"issuer_mode": "other"}), "issuer_mode"),
        (json!({"redirect_uris": "https://a/"}), "redirect_uris"),
        (json!({"redirect_uris": ["https://a/"]}), "redirect_uris"),
        (json!({"redirect_uris": [{"url": "https://a/"}]}), "redirect_uris"),
        (uri("other", "https://a/"), "redirect_uris"),
        (uri("strict", ""), "redirect_uris"),
        (uri("strict", "javascript:alert(1)"), "redirect_uris"),
        (uri("strict", "https://a/#fragment"), "redirect_uris"),
        (uri("regex", "("), "redirect_uris"),
        (uri("regex", "(?=a)"), "redirect_uris"),
        (uri("regex", &"a".repeat(1025)), "redirect_uris"),
        (json!({"jwt_federation_providers": [4711]}), "jwt_federation_providers"),
        (json!({"jwt_federation_sources": ["5f1f0c7e-0000-4000-8000-000000000000"]}), "jwt_federation_sources"),
        (json!({"property_mappings": ["5f1f0c7e-0000-4000-8000-000000000000"]}), "property_mappings"),
    ] {
        let problems = refused(&site, more.clone()).await;
        assert!(problems[field].is_array(), "{more}: {problems}");
        assert_eq!(problems.as_object().unwrap().len(), 1, "{more}: {problems}");
    }
    let problems = site.refused(Method::POST, PATH, json!({})).await;
    let required = ["name", "authorization_flow", "invalidation_flow", "redirect_uris"];
    assert_eq!(problems.as_object().unwrap().len(), 4, "{problems}");
    assert!(required.iter().all(|field| problems[*field] == json!(["This field is required."])));
    assert_eq!(site.get(PATH).await["pagination"]["count"], 1);
}

/// OA-033, OA-326: what is wrong with a key is told so that somebody can mend it: which certificate has no private key, and which
/// part of a registered key is secret.
#[tokio::test]
async fn oa_033_refused_keys_are_named() {
    let site = Site::new().await;
    let pair = key(&site, "rsa").await;
    let path = format!("/crypto/certificatekeypairs/{}/view_certificate/", pair.as_str().unwrap());
    let public = json!({"name": "public part", "certificate_data": site.get(&path).await["data"]});
    let public = site.post("/crypto/certificatekeypairs/", public).await["pk"].clone();
    for (more, field, said) in [
        (
            json!({"signing_key": public}),
            "signing_key",
            "Certificate 'public part' has no private key: bring its key_data first.",
        ),
        (
            json!({"client_jwks": {"keys": [jwk("k0"), private_jwk()]}}),
            "client_jwks",
            "Key 2: 'd' is part of a secret key. Enter the public key alone.",
        ),
    ] {
        let problems = site.refused(Method::POST, PATH, body(&site, "app", more).await).await;
        assert_eq!(problems, json!({field: [said]}));
    }
}

/// OA-803: a public client with a key needs no secret; it is warned of a pattern that fits strangers (OA-841).
#[tokio::test]
async fn oa_803_a_public_client_needs_no_secret() {
    let site = Site::new().await;
    let more = json!({
        "client_type": "public", "client_secret": "", "signing_key": key(&site, "rsa").await,
        "redirect_uris": [{"matching_mode": "regex", "url": "https?://.*"}], "allow_broad_redirect_uris": true,
    });
    let made = site.post(PATH, body(&site, "app", more).await).await;
    assert_eq!(made["client_secret"], "");
    let warnings = site.events("configuration_warning").await;
    assert!(warnings[0]["message"].as_str().unwrap().contains("https?://.*"));
}

/// OA-841: a pattern that fits hosts of strangers is kept by who confirms it, and the confirmation is not taken back without it.
#[tokio::test]
async fn oa_841_broad_patterns_are_confirmed() {
    let site = Site::new().await;
    let broad = json!([{"matching_mode": "regex", "url": "https://.*/oauth2/callback"}]);
    let refused = site.refused(Method::POST, PATH, body(&site, "app", json!({"redirect_uris": broad})).await).await;
    let said = refused["redirect_uris"][0].as_str().unwrap();
    assert!(said.contains("https://.*/oauth2/callback") && said.contains("allow_broad_redirect_uris"), "{said}");
    let made = site.post(PATH, body(&site, "app", json!({})).await).await;
    let path = format!("{PATH}{}/", made["pk"]);
    assert!(site.refused(Method::PATCH, &path, json!({"redirect_uris": broad})).await.get("redirect_uris").is_some());
    assert_eq!(site.get(&path).await["redirect_uris"], made["redirect_uris"]);
    assert!(site.events("configuration_warning").await.is_empty());
    site.patch(&path, json!({"redirect_uris": broad, "allow_broad_redirect_uris": true})).await;
    assert_eq!(site.events("configuration_warning").await.len(), 1);
    // What was confirmed can be sent again by who knows nothing of the confirmation.
    let again = body(&site, "app", json!({"redirect_uris": broad})).await;
    assert_eq!(site.send(ADMIN, Method::PUT, &path, Some(again)).await.0, 200);
    let back = site.refused(Method::PATCH, &path, json!({"allow_broad_redirect_uris": false})).await;
    assert!(back.get("redirect_uris").is_some(), "{back}");
}

/// OA-042, OA-043, OA-580: what devices and other sites may is checked; a public client has nothing to show.
#[tokio::test]
async fn oa_580_settings_of_devices_and_origins_are_checked() {
    let site = Site::new().await;
    for (more, field) in [
        (json!({"device_code_validity": "soon"}), "device_code_validity"),
        (json!({"device_code_validity": "milliseconds=5"}), "device_code_validity"),
        (json!({"device_code_validity": "days=1;seconds=1"}), "device_code_validity"),
        (json!({"allowed_origins": ["*"]}), "allowed_origins"),
        (json!({"allowed_origins": ["https://*.example"]}), "allowed_origins"),
        (json!({"allowed_origins": ["https://page.example/"]}), "allowed_origins"),
        (json!({"allowed_origins": ["https://page.example:443"]}), "allowed_origins"),
        (json!({"allowed_origins": ["null"]}), "allowed_origins"),
        (json!({"allowed_origins": "https://page.example"}), "allowed_origins"),
    ] {
        let refused = site.refused(Method::POST, PATH, body(&site, "app", more.clone()).await).await;
        assert_eq!(refused.as_object().unwrap().keys().collect::<Vec<_>>(), [field], "{more}");
    }
    let made = site.post(PATH, body(&site, "app", json!({"client_type": "public"})).await).await;
    assert_eq!(made["device_require_client_auth"], false);
    let changed = site.patch(&format!("{PATH}{}/", made["pk"]), json!({"client_type": "confidential"})).await;
    assert_eq!(changed["device_require_client_auth"], true);
}

/// CO-412, OA-024, OA-052: events tell what changed but no secret, and warn of other subjects.
#[tokio::test]
async fn co_412_events_tell_no_client_secret() {
    let site = Site::new().await;
    let made = site.post(PATH, body(&site, "app", json!({})).await).await;
    let path = format!("{PATH}{}/", made["pk"]);
    let secret = "another secret of the client, long enough";
    site.patch(&path, json!({"client_secret": secret, "sub_mode": "user_id"})).await;
    let event = &site.events("model_updated").await[0];
    assert_eq!(event["diff"]["sub_mode"], json!({"previous": "hashed_user_id", "new": "user_id"}));
    assert!(event["diff"]["client_secret"].is_object());
    assert!(
        !event.to_string().contains(secret) && !event.to_string().contains(made["client_secret"].as_str().unwrap())
    );
    assert_eq!(site.events("configuration_warning").await.len(), 1);
}

/// CO-557, CO-558, CO-559: each list has its own kind of provider, and the common one has both, with their types.
#[tokio::test]
async fn co_557_lists_tell_kinds_apart() {
    let site = Site::new().await;
    let proxy = site.provider("wiki").await;
    let more = json!({"client_id": "my-app", "issuer_mode": "global"});
    let client = site.post(PATH, body(&site, "app", more).await).await;
    let application = site.application("app", &client["pk"]).await;
    let names = async |path: &str| -> Vec<String> {
        let found = site.get(path).await["results"].as_array().unwrap().clone();
        found.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("/providers/proxy/").await, ["wiki"]);
    assert_eq!(names("/providers/all/").await, ["app", "wiki"]);
    assert_eq!(names("/providers/all/?application__isnull=true").await, ["wiki"]);
    for filter in ["name=app", "client_id=my-app", "client_type=confidential", "issuer_mode=global", "search=ap"] {
        assert_eq!(names(&format!("{PATH}?{filter}")).await, ["app"], "{filter}");
    }
    let filter = format!("application={}", application["pk"].as_str().unwrap());
    assert_eq!(names(&format!("{PATH}?{filter}")).await, ["app"]);
    for filter in ["name=ap", "client_id=MY-APP", "client_type=public", "sub_mode=user_id", "search=wiki"] {
        assert!(names(&format!("{PATH}?{filter}")).await.is_empty(), "{filter}");
    }
    let types = site.get("/providers/all/types/").await;
    let models: Vec<_> = types.as_array().unwrap().iter().map(|kind| kind["model_name"].clone()).collect();
    assert_eq!(models, ["oauth2provider", "proxyprovider"]);
    for path in [format!("/providers/proxy/{}/", client["pk"]), format!("{PATH}{}/", proxy["pk"])] {
        for method in [Method::GET, Method::PATCH, Method::DELETE] {
            assert_eq!(site.send(ADMIN, method, &path, Some(json!({}))).await.0, 404, "{path}");
        }
    }
    let shown = site.get("/core/applications/app/").await;
    assert_eq!(shown["provider_obj"]["component"], "ak-provider-oauth2-form");
    assert_eq!(shown["launch_url"], Value::Null);
    assert!(names("/outposts/proxy/").await.is_empty(), "CO-570");
}

/// CO-569, CO-570: an outpost serves proxies, and no client of its own.
#[tokio::test]
async fn co_570_outposts_serve_proxies_alone() {
    let site = Site::new().await;
    let client = site.post(PATH, body(&site, "app", json!({})).await).await;
    let outpost = site.get("/outposts/instances/").await["results"][0]["pk"].as_str().unwrap().to_owned();
    let path = format!("/outposts/instances/{outpost}/");
    let problems = site.refused(Method::PATCH, &path, json!({"providers": [client["pk"]]})).await;
    assert!(problems["providers"].is_array());
}

/// CO-558: the addresses that a client needs; without an application there are none.
#[tokio::test]
async fn co_558_setup_urls() {
    let site = Site::new().await;
    let client = site.post(PATH, body(&site, "app", json!({})).await).await;
    let path = format!("{PATH}{}/setup_urls/", client["pk"]);
    assert_eq!(site.send(ADMIN, Method::GET, &path, None).await.0, 404);
    site.application("app", &client["pk"]).await;
    let urls = site.get(&path).await;
    let _: models::OAuth2ProviderSetupUrls = serde_json::from_value(urls.clone()).unwrap();
    let base = "https://id.example/application/o";
    assert_eq!(
        urls,
        json!({
            "issuer": format!("{base}/app/"),
            "authorize": format!("{base}/authorize/"),
            "token": format!("{base}/token/"),
            "user_info": format!("{base}/userinfo/"),
            "provider_info": format!("{base}/app/.well-known/openid-configuration"),
            "logout": format!("{base}/app/end-session/"),
            "jwks": format!("{base}/app/jwks/"),
            "dcr_registration": null,
        })
    );
}

/// CO-286: what a client would be told of somebody, without a token.
#[tokio::test]
async fn co_286_a_preview_issues_nothing() {
    let site = Site::new().await;
    let mapping = "/propertymappings/all/?managed=goauthentik.io/providers/oauth2/scope-profile";
    let mapping = site.get(mapping).await["results"][0]["pk"].clone();
    let client = site.post(PATH, body(&site, "app", json!({"property_mappings": [mapping]})).await).await;
    site.application("app", &client["pk"]).await;
    let (ada, key) = site.user("ada").await;
    let path = format!("{PATH}{}/preview_user/?for_user={ada}", client["pk"]);
    let preview = site.get(&path).await;
    assert_eq!(preview["preview"]["preferred_username"], "ada");
    assert_eq!(preview["preview"]["aud"], client["client_id"]);
    let own = site.get(&format!("{PATH}{}/preview_user/", client["pk"])).await;
    assert_eq!(own["preview"]["preferred_username"], "akadmin");
    assert_eq!(site.send(&key, Method::GET, &path, None).await.0, 403);
    assert!(site.events("login").await.is_empty());
}

/// CO-594: a key that is deleted is named by nobody any more.
#[tokio::test]
async fn co_594_a_deleted_key_is_no_longer_named() {
    let site = Site::new().await;
    let key = key(&site, "rsa").await;
    let client = site.post(PATH, body(&site, "app", json!({"signing_key": key})).await).await;
    site.delete(&format!("/crypto/certificatekeypairs/{}/", key.as_str().unwrap())).await;
    assert_eq!(site.get(&format!("{PATH}{}/", client["pk"])).await["signing_key"], Value::Null);
}

/// OA-807, CO-414, CO-595: what is not sent stays; an empty second secret is none, and its end goes with it; who may not change a
/// client sees neither secret; and events tell of neither.
#[tokio::test]
async fn oa_807_the_second_secret_is_a_secret() {
    const SECOND: &str = "the-second-secret-of-this-client-0123456789";
    let site = Site::new().await;
    let more = json!({"second_client_secret": SECOND, "second_client_secret_expires": "2031-01-02T03:04:05.000000Z"});
    let made = site.post(PATH, body(&site, "app", more).await).await;
    let path = format!("{PATH}{}/", made["pk"]);
    assert!(!site.database_holds(SECOND), "sealed");
    let (status, changed) = site.send(ADMIN, Method::PATCH, &path, Some(json!({"name": "app 2"}))).await;
    assert_eq!(status, 200, "{changed}");
    let shown = |of: &Value| (of["second_client_secret"].clone(), of["second_client_secret_expires"].clone());
    assert_eq!(shown(&changed), (json!(SECOND), json!("2031-01-02T03:04:05.000000Z")));
    let next = json!({"second_client_secret": format!("{SECOND}-next"), "client_secret": SECOND});
    let (status, changed) = site.send(ADMIN, Method::PATCH, &path, Some(next)).await;
    assert_eq!((status.as_u16(), &changed["client_secret"]), (200, &json!(SECOND)));
    let (status, changed) = site.send(ADMIN, Method::PATCH, &path, Some(json!({"second_client_secret": ""}))).await;
    assert_eq!((status.as_u16(), shown(&changed)), (200, (json!(""), Value::Null)));
    let updates = site.events("model_updated").await;
    assert!(updates.iter().any(|event| event.to_string().contains("second_client_secret")), "{updates:?}");
    assert!(updates.iter().all(|event| !event.to_string().contains(SECOND)));
}
