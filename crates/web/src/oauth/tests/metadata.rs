//! Discovery, keys, methods and other sites.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};

use super::*;

/// OA-101, OA-111, OA-115, OA-116, OA-092: the discovery document says where everything is, and is found at
/// every address it should be.
#[tokio::test]
async fn oa_101_the_discovery_document_is_complete() {
    let wiki = Wiki::new().await;
    let path = "/application/o/wiki/.well-known/openid-configuration";
    let document = get(&wiki.site, path, &[]).await;
    assert_eq!(document.status, 200);
    assert_eq!(document.headers["content-type"], "application/json");
    assert_eq!(document.headers["access-control-allow-origin"], "*");
    let said = &document.json;
    assert_eq!(said["issuer"], "http://id.example/application/o/wiki/");
    assert_eq!(said["token_endpoint"], "http://id.example/application/o/token/");
    assert_eq!(said["jwks_uri"], "http://id.example/application/o/wiki/jwks/");
    assert_eq!(said["end_session_endpoint"], "http://id.example/application/o/wiki/end-session/");
    assert_eq!(said["scopes_supported"], json!(["ak_proxy", "email", "entitlements", "openid", "profile"]));
    assert_eq!(said["id_token_signing_alg_values_supported"], json!(["RS256"]));
    assert_eq!(said["code_challenge_methods_supported"], json!(["S256"]));
    let other = "/.well-known/oauth-authorization-server/application/o/wiki/";
    assert_eq!(&get(&wiki.site, other, &[]).await.json, said);
    let redirect = get(&wiki.site, "/application/o/wiki/", &[]).await;
    assert_eq!((redirect.status.as_u16(), location(&redirect)), (302, path));
    for unknown in [
        "/application/o/nope/jwks/",
        "/application/o/nope/",
        "/application/o/nope/end-session/",
        "/application/o/nope/.well-known/openid-configuration",
    ] {
        assert_eq!(get(&wiki.site, unknown, &[]).await.status, 404, "{unknown}");
    }
}

/// OA-120, OA-121, PX-207, PX-414: what is issued verifies with the published keys, and no secret is published.
#[tokio::test]
async fn oa_120_issued_tokens_verify_with_the_published_keys() {
    let wiki = Wiki::new().await;
    let keys = get(&wiki.site, "/application/o/wiki/jwks/", &[]).await;
    assert_eq!(keys.headers["access-control-allow-origin"], "*");
    let set: JwkSet = serde_json::from_value(keys.json.clone()).expect("a key set");
    let issued = wiki.token_for_outpost("openid profile").await;
    for name in ["access_token", "id_token", "upstream_token"] {
        let token = text(&issued, name);
        let header = jsonwebtoken::decode_header(token).expect("a header");
        assert_eq!(header.alg, Algorithm::RS256);
        let key = set.find(&header.kid.expect("a key id")).expect("published");
        let mut validation = Validation::new(Algorithm::RS256);
        validation.validate_exp = false;
        validation.set_audience(&[&wiki.client_id]);
        validation.set_issuer(&["http://id.example/application/o/wiki/"]);
        let key = DecodingKey::from_jwk(key).expect("usable");
        let read = jsonwebtoken::decode::<Value>(token, &key, &validation).expect("verifies");
        assert_eq!(read.claims["preferred_username"], "ada");
    }
    assert!(keys.json["keys"][0].get("d").is_none());
    assert!(!wiki.site.file_bytes().windows(16).any(|bytes| bytes == &wiki.client_secret.as_bytes()[..16]));
}

/// OA-094, OA-226: other methods are refused with those that work; posts need no slash at the end.
#[tokio::test]
async fn oa_094_methods_and_slashes() {
    let wiki = Wiki::new().await;
    for path in ["/application/o/token/", "/application/o/introspect/", "/application/o/revoke"] {
        let refused = get(&wiki.site, path, &[]).await;
        assert_eq!(refused.status, 405, "{path}");
        assert!(refused.headers["allow"].to_str().expect("text").contains("POST"));
        assert_eq!(post(&wiki.site, path.trim_end_matches('/'), &[], &[]).await.status.as_u16() / 100, 4);
    }
    assert_eq!(get(&wiki.site, "/nowhere", &[]).await.status, 404);
    for probe in ["/-/health/live/", "/-/health/ready/"] {
        assert_eq!(get(&wiki.site, probe, &[]).await.status, 200);
    }
}

/// OA-580, OA-581, OA-583, OA-885: pages of a client's own origin may read its answers, other sites may not.
#[tokio::test]
async fn oa_581_only_a_clients_own_pages_read_its_tokens() {
    let wiki = Wiki::new().await;
    let all = [("client_id", &*wiki.client_id), ("grant_type", "password"), ("username", "ada"), ("password", KEY)];
    let own = post(&wiki.site, "/application/o/token/", &all, &[("origin", EXTERNAL)]).await;
    assert_eq!(
        (own.status.as_u16(), &own.headers["access-control-allow-origin"]),
        (200, &http::HeaderValue::from_static(EXTERNAL))
    );
    let foreign = post(&wiki.site, "/application/o/token/", &all, &[("origin", "http://evil.example")]).await;
    assert!(foreign.headers.get("access-control-allow-origin").is_none());
    let preflight = async |origin: &str| {
        let request = Request::options("/application/o/token/").header("origin", origin).body(Body::empty());
        wiki.site.raw(request.expect("a request")).await
    };
    assert!(preflight(EXTERNAL).await.headers.contains_key("access-control-allow-origin"));
    let foreign = preflight("http://evil.example").await;
    assert_eq!(foreign.status, 200);
    assert!(!foreign.headers.contains_key("access-control-allow-origin"));
}
