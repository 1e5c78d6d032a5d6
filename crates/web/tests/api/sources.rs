//! `sources/` (CO-566, CO-567).

use authentik_client::models;
use http::Method;
use serde_json::{Value, json};

use crate::site::{ADMIN, Site};

const PATH: &str = "/sources/oauth/";
const SECRET: &str = "consumer-secret-of-these-tests";

fn body(slug: &str, more: Value) -> Value {
    let mut body = json!({
        "name": slug, "slug": slug, "provider_type": "openidconnect", "consumer_key": "key", "consumer_secret": SECRET,
    });
    let Value::Object(more) = more else { panic!("an object") };
    for (key, value) in more {
        body[key] = value;
    }
    body
}

fn keys() -> Value {
    let key = json!({"kty": "EC", "crv": "P-256", "kid": "k", "x": "A".repeat(43), "y": "A".repeat(43)});
    json!({"keys": [key]})
}

/// CO-567, CO-534, CO-596: what is not said has its default, every key is there, and the secret is nowhere.
#[tokio::test]
async fn co_567_what_is_not_said_has_its_default() {
    let site = Site::new().await;
    let made = site.post(PATH, body("cluster", json!({}))).await;
    let _: models::OAuthSource = serde_json::from_value(made.clone()).unwrap();
    for (key, value) in [
        ("enabled", json!(true)),
        ("promoted", json!(false)),
        ("authentication_flow", json!(null)),
        ("enrollment_flow", json!(null)),
        ("user_matching_mode", json!("identifier")),
        ("group_matching_mode", json!("identifier")),
        ("policy_engine_mode", json!("any")),
        ("user_path_template", json!("goauthentik.io/sources/%(slug)s")),
        ("user_property_mappings", json!([])),
        ("group_property_mappings", json!([])),
        ("pkce", json!("none")),
        ("oidc_well_known_url", json!("")),
        ("oidc_jwks_url", json!("")),
        ("oidc_jwks", json!({})),
        ("additional_scopes", json!("")),
        ("authorization_code_auth_method", json!("basic_auth")),
        ("profile_url", json!(null)),
        ("callback_url", json!("https://id.example/source/oauth/callback/cluster/")),
        ("component", json!("ak-source-oauth-form")),
        ("meta_model_name", json!("authentik_sources_oauth.oauthsource")),
        ("managed", json!(null)),
        ("icon_url", json!(null)),
        ("max_assertion_lifetime", json!("days=1")),
        ("single_use", json!(false)),
    ] {
        assert_eq!(made[key], value, "{key}");
    }
    assert_eq!(made["type"]["name"], "openidconnect");
    assert!(made.get("consumer_secret").is_none());
    let list = site.get(PATH).await;
    let _: models::PaginatedOAuthSourceList = serde_json::from_value(list.clone()).unwrap();
    site.patch(&format!("{PATH}cluster/"), json!({"consumer_secret": format!("new {SECRET}")})).await;
    let events = json!([site.events("model_created").await, site.events("model_updated").await]);
    assert!(!list.to_string().contains(SECRET) && !events.to_string().contains(SECRET));
    assert!(!site.database_holds(SECRET));
}

/// CO-567, CO-595: what was sent comes back; the secret need not be sent again; a new slug is a new address.
#[tokio::test]
async fn co_595_sources_come_back_as_sent() {
    let site = Site::new().await;
    let more = json!({
        "oidc_jwks": keys(), "expected_issuers": ["https://a.example"], "expected_audiences": ["x", "y"],
        "allowed_algs": ["EdDSA"], "max_assertion_lifetime": "hours=2", "single_use": true,
        "assertion_leeway": "seconds=5", "audience_check": false, "require_exp": false, "user_path_template": "machines",
        "profile_url": "https://a.example/me", "pkce": "S256", "enabled": false, "additional_scopes": "a b",
    });
    let mut sent = body("cluster", more);
    site.post(PATH, sent.clone()).await;
    sent.as_object_mut().unwrap().remove("consumer_secret");
    sent["slug"] = json!("renamed");
    let (status, replaced) = site.send(ADMIN, Method::PUT, &format!("{PATH}cluster/"), Some(sent.clone())).await;
    assert_eq!(status, 200, "{replaced}");
    for shown in [&replaced, &site.get(&format!("{PATH}renamed/")).await] {
        for (key, value) in sent.as_object().unwrap() {
            assert_eq!(&shown[key], value, "{key}");
        }
    }
    assert_eq!(site.send(ADMIN, Method::GET, &format!("{PATH}cluster/"), None).await.0, 404);
}

/// CO-566, CO-567: filters, types, and the common list.
#[tokio::test]
async fn co_567_has_jwks_works() {
    let site = Site::new().await;
    site.post(PATH, body("with", json!({"oidc_jwks": keys()}))).await;
    let without = site.post(PATH, body("without", json!({"provider_type": "github", "enabled": false}))).await;
    let slugs = async |path: String| -> Vec<String> {
        let found = site.get(&path).await["results"].as_array().unwrap().clone();
        found.iter().map(|row| row["slug"].as_str().unwrap().to_owned()).collect()
    };
    for (filter, expected) in [
        ("has_jwks=true", "with"),
        ("has_jwks=false", "without"),
        ("enabled=false", "without"),
        ("provider_type=github", "without"),
        ("slug=with", "with"),
        ("search=out", "without"),
    ] {
        assert_eq!(slugs(format!("{PATH}?{filter}")).await, [expected], "{filter}");
    }
    let pk = without["pk"].as_str().unwrap();
    assert_eq!(slugs(format!("/sources/all/?pbm_uuid={pk}")).await, ["without"]);
    let all = async |query: &str| slugs(format!("/sources/all/{query}")).await;
    assert_eq!(all("").await, ["authentik-built-in", "with", "without"]);
    assert_eq!(all("?ordering=-slug").await, ["without", "with", "authentik-built-in"]);
    assert_eq!(all("?page=2&page_size=1").await, ["with"]);
    assert_eq!(all("?managed=goauthentik.io/sources/inbuilt").await, ["authentik-built-in"]);
    assert_eq!(all("?search=with").await, ["with", "without"]);
    let types = site.get("/sources/oauth/source_types/").await;
    let types: Vec<models::SourceType> = serde_json::from_value(types).unwrap();
    assert!(types.iter().any(|kind| kind.name == "openidconnect" && kind.urls_customizable));
    let types: Vec<models::TypeCreate> = serde_json::from_value(site.get("/sources/all/types/").await).unwrap();
    assert!(types.iter().all(|kind| kind.model_name == "oauthsource"));
    let _: models::Source = serde_json::from_value(site.get("/sources/all/with/").await).unwrap();
    site.delete("/sources/all/with/").await;
    assert_eq!(all("").await, ["authentik-built-in", "without"]);
}

/// CO-523, CO-567, OA-321: what is wrong with a source is told by field.
#[tokio::test]
async fn co_567_sources_are_validated() {
    let site = Site::new().await;
    site.post(PATH, body("taken", json!({}))).await;
    for (more, field) in [
        (json!({"name": "taken"}), "name"),
        (json!({"slug": "taken"}), "slug"),
        (json!({"name": "authentik Built-in"}), "name"),
        (json!({"slug": "authentik-built-in"}), "slug"),
        (json!({"slug": "a b"}), "slug"),
        (json!({"provider_type": "other"}), "provider_type"),
        (json!({"consumer_key": ""}), "consumer_key"),
        (json!({"consumer_secret": ""}), "consumer_secret"),
        (json!({"user_matching_mode": "other"}), "user_matching_mode"),
        (json!({"user_path_template": "a//b"}), "user_path_template"),
        (json!({"user_path_template": "%(name)s"}), "user_path_template"),
        (json!({"oidc_jwks": {"keys": 7}}), "oidc_jwks"),
        (json!({"oidc_jwks": []}), "oidc_jwks"),
        (json!({"allowed_algs": ["HS256"]}), "allowed_algs"),
        (json!({"allowed_algs": ["none"]}), "allowed_algs"),
        (json!({"allowed_algs": ["ES512"]}), "allowed_algs"),
        (json!({"oidc_jwks": {"keys": [{"kty": "EC", "crv": "P-521", "kid": "k"}]}}), "oidc_jwks"),
        (json!({"oidc_jwks": {"keys": [{"kty": "EC", "alg": "ES512", "kid": "k"}]}}), "oidc_jwks"),
        (json!({"single_use": "perhaps"}), "single_use"),
        (json!({"max_assertion_lifetime": "x"}), "max_assertion_lifetime"),
        (json!({"assertion_leeway": "x"}), "assertion_leeway"),
        (json!({"assertion_leeway": "seconds=31"}), "assertion_leeway"),
        (json!({"require_exp": "off"}), "require_exp"),
        (json!({"profile_url": "words"}), "profile_url"),
        (json!({"expected_issuers": [7]}), "expected_issuers"),
        (json!({"enrollment_flow": "5f1f0c7e-0000-4000-8000-000000000000"}), "enrollment_flow"),
        (json!({"user_property_mappings": ["5f1f0c7e-0000-4000-8000-000000000000"]}), "user_property_mappings"),
    ] {
        let problems = site.refused(Method::POST, PATH, body("new", more.clone())).await;
        assert!(problems[field].is_array() && problems.as_object().unwrap().len() == 1, "{more}: {problems}");
    }
    let told = site.refused(Method::POST, PATH, body("new", json!({"allowed_algs": ["ES512"]}))).await;
    assert!(told["allowed_algs"][0].as_str().unwrap().contains("ES512 cannot be verified"), "{told}");
    let (_, key) = site.user("ada").await;
    assert_eq!(site.send(&key, Method::POST, PATH, Some(body("x", json!({})))).await.0, 403);
}

/// CO-841: what an administrator names is fetched only where it may be, and nothing but the status is told.
#[tokio::test]
async fn co_841_addresses_inside_are_not_fetched() {
    let site = Site::new().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]).unwrap();
        stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 13\r\n\r\ntop secret 17").unwrap();
    });
    let local = format!("http://127.0.0.1:{port}/");
    for (url, said) in [
        ("https://169.254.169.254/latest/meta-data/", "This URL leads to a network that is not asked."),
        ("https://10.0.0.1/jwks", "This URL leads to a network that is not asked."),
        ("https://[fe80::1]/jwks", "This URL leads to a network that is not asked."),
        ("https://[::ffff:10.0.0.1]/jwks", "This URL leads to a network that is not asked."),
        ("https://user:pw@a.example/", "Enter a valid URL."),
        (local.as_str(), "The server answered with status 403."),
    ] {
        let problems = site.refused(Method::POST, PATH, body("new", json!({"oidc_jwks_url": url}))).await;
        assert_eq!(problems, json!({"oidc_jwks_url": [said]}), "{url}");
    }
    served.join().unwrap();
    assert_eq!(site.get(PATH).await["pagination"]["count"], 0);
}
