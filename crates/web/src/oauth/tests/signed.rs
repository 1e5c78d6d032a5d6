//! Clients that prove themselves with a signature (`private_key_jwt`).

use super::assertions::issuer::{Key, with_header, with_secret};
use super::assertions::{JWT_BEARER, KUBERNETES, source};
use super::clients::{App, client};
use super::*;

const ISSUER: &str = "http://id.example/application/o/app/";
const ENDPOINT: &str = "http://id.example/application/o/token/";

/// An instance whose client has registered keys.
async fn app(keys: &[&Key]) -> App {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    App::new(json!({"client_jwks": {"keys": keys}})).await
}

/// What the client says of itself, some of it otherwise; null takes a claim out.
fn own(app: &App, more: Value) -> Value {
    let now = app.site.ctx.now().seconds();
    let id = app.site.ctx.entropy.alphanumeric(20);
    let mut said = json!({"iss": app.id(), "sub": app.id(), "aud": ENDPOINT, "exp": now + 300, "iat": now, "jti": id});
    let Value::Object(more) = more else { panic!("an object") };
    for (name, value) in more {
        said[name] = value;
    }
    said.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
    said
}

fn with<'a>(jwt: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut all = vec![("client_assertion_type", JWT_BEARER), ("client_assertion", jwt)];
    all.extend_from_slice(more);
    all
}

/// From one address after the other: it is not the limits that are on trial.
async fn ask(app: &App, path: &str, all: &[(&str, &str)]) -> Reply {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_be_bytes();
    post_from(&app.site, [10, next[1], next[2], next[3]], path, all).await
}

/// Asks for introspection with this assertion: status, and the reason that the event tells.
async fn introspects(app: &App, jwt: &str) -> (u16, Value) {
    let reply = ask(app, "/application/o/introspect/", &with(jwt, &[("token", "x")])).await;
    let reason = match reply.status.as_u16() {
        200 => Value::Null,
        _ => app.site.events("login_failed").await.1["reason"].clone(),
    };
    (reply.status.as_u16(), reason)
}

/// OA-710, OA-110, OA-213, OA-490, OA-510, OA-370: a client signs what it says of itself, wherever clients prove themselves;
/// discovery says so, and with which signatures. Without keys nothing is said.
#[tokio::test]
async fn oa_710_a_client_signs_for_itself() {
    let key = Key::new("k1");
    let app = app(&[&key]).await;
    let device = "urn:ietf:params:oauth:grant-type:device_code";
    app.change(json!({"grant_types": ["authorization_code", "client_credentials", device]})).await;
    let discovery = "/application/o/app/.well-known/openid-configuration";
    let found = get(&app.site, discovery, &[]).await.json;
    let methods = json!(["client_secret_post", "client_secret_basic", "private_key_jwt"]);
    for endpoint in ["token", "introspection", "revocation"] {
        assert_eq!(found[format!("{endpoint}_endpoint_auth_methods_supported")], methods);
        let algorithms = found[format!("{endpoint}_endpoint_auth_signing_alg_values_supported")].clone();
        let algorithms = algorithms.as_array().expect("a list");
        assert!(algorithms.contains(&json!("ES256")) && !algorithms.contains(&json!("HS256")));
    }
    let fresh = || key.sign(&own(&app, json!({})));
    let grant = ("grant_type", "client_credentials");
    let given = ask(&app, "/application/o/token/", &with(&fresh(), &[grant, ("scope", "profile")])).await;
    assert_eq!(given.status, 200, "{}", given.text);
    let name = claims(&given.json["id_token"])["preferred_username"].clone();
    assert_eq!(name, "ak-app-client_credentials", "OA-310: the account that stands for the client");
    let (_, login) = app.site.events("login").await;
    assert_eq!((&login["auth_method"], &login["auth_method_args"]["kid"]), (&json!("private_key_jwt"), &json!("k1")));
    let token = ("token", text(&given, "access_token"));
    let told = ask(&app, "/application/o/introspect/", &with(&fresh(), &[token])).await;
    assert_eq!(told.json["active"], true, "{}", told.text);
    let started = ask(&app, "/application/o/device/", &with(&fresh(), &[("scope", "openid")])).await;
    assert_eq!(started.status, 200, "{}", started.text);
    let code = [("grant_type", device), ("device_code", text(&started, "device_code"))];
    let polled = ask(&app, "/application/o/token/", &with(&fresh(), &code)).await;
    assert_eq!(text(&polled, "error"), "authorization_pending");
    let refused = ask(&app, "/application/o/token/", &with(&fresh(), &[("grant_type", "authorization_code")])).await;
    assert_eq!(text(&refused, "error"), "invalid_grant", "the client is known, and has no code");
    assert_eq!(ask(&app, "/application/o/revoke/", &with(&fresh(), &[token])).await.json, json!({}));
    assert_eq!(app.userinfo(token.1).await.status, 401);
    // The secret is good as before.
    let all = [("client_id", app.id()), ("client_secret", app.secret()), ("token", "x")];
    assert_eq!(ask(&app, "/application/o/introspect/", &all).await.status, 200);
    app.change(json!({"client_jwks": {}})).await;
    assert_eq!(introspects(&app, &fresh()).await.0, 401);
    let found = get(&app.site, discovery, &[]).await.json;
    assert_eq!(found["token_endpoint_auth_methods_supported"], json!(["client_secret_post", "client_secret_basic"]));
    assert!(found.get("token_endpoint_auth_signing_alg_values_supported").is_none());
}

/// OA-710, OA-005, OA-711: each claim is as it has to be, or the client is not known.
#[tokio::test]
async fn oa_710_every_claim_counts() {
    let key = Key::new("k1");
    let app = app(&[&key]).await;
    let now = app.site.ctx.now().seconds();
    for more in [
        json!({}),
        json!({"aud": ISSUER}),
        json!({"aud": [ENDPOINT]}),
        json!({"iat": now + 29, "nbf": now + 29}),
        json!({"iat": null}),
        json!({"exp": now + 1}),
    ] {
        assert_eq!(introspects(&app, &key.sign(&own(&app, more.clone()))).await, (200, Value::Null), "{more}");
    }
    for (more, reason) in [
        (json!({"sub": "another"}), "client_assertion_subject"),
        (json!({"sub": null}), "client_assertion_subject"),
        (json!({"aud": null}), "client_assertion_audience"),
        (json!({"aud": "https://another.example/"}), "client_assertion_audience"),
        (json!({"aud": "http://id.example/application/o/introspect/"}), "client_assertion_audience"),
        (json!({"aud": app.id()}), "client_assertion_audience"),
        (json!({"aud": [ENDPOINT, ISSUER]}), "client_assertion_audience"),
        (json!({"aud": [ENDPOINT, "https://another.example/"]}), "client_assertion_audience"),
        (json!({"aud": []}), "client_assertion_audience"),
        (json!({"exp": null}), "client_assertion_without_end"),
        (json!({"exp": "soon"}), "client_assertion_without_end"),
        (json!({"exp": now}), "client_assertion_expired"),
        (json!({"exp": now + 301}), "client_assertion_lives_too_long"),
        (json!({"exp": now + 301, "iat": now + 29}), "client_assertion_lives_too_long"),
        (json!({"exp": now + 299, "iat": now - 2}), "client_assertion_lives_too_long"),
        (json!({"exp": 1e300}), "client_assertion_lives_too_long"),
        (json!({"iat": now + 31}), "client_assertion_of_the_future"),
        (json!({"nbf": now + 31}), "client_assertion_of_the_future"),
        (json!({"nbf": "x"}), "client_assertion_malformed"),
        (json!({"jti": null}), "client_assertion_without_id"),
        (json!({"jti": ""}), "client_assertion_without_id"),
        (json!({"jti": 7}), "client_assertion_without_id"),
        (json!({"jti": "x".repeat(256)}), "client_assertion_without_id"),
    ] {
        assert_eq!(introspects(&app, &key.sign(&own(&app, more.clone()))).await, (401, json!(reason)), "{more}");
    }
    // Somebody else's name is no proof of this client; a secret beside it is one way too many.
    let other = key.sign(&own(&app, json!({"iss": "another", "sub": "another"})));
    assert_eq!(introspects(&app, &other).await.0, 401);
    let good = key.sign(&own(&app, json!({})));
    let all = with(&good, &[("token", "x"), ("client_id", app.id()), ("client_secret", app.secret())]);
    assert_eq!(ask(&app, "/application/o/introspect/", &all).await.status, 401);
    let all = with(&good, &[("grant_type", "client_credentials"), ("username", "ada"), ("password", KEY)]);
    assert_eq!(text(&ask(&app, "/application/o/token/", &all).await, "error"), "invalid_grant");
    assert_eq!(introspects(&app, &good).await.0, 200, "none of this has used it up");
    assert!(!app.site.events("login_failed").await.1.to_string().contains(&good));
    let twice = [("client_assertion", good.as_str())];
    assert_eq!(text(&ask(&app, "/application/o/introspect/", &with(&good, &twice)).await, "error"), "invalid_request");
}

/// OA-710, OA-746, OA-820: the key decides about the algorithm; no other key, no shared secret, no other kind of token and
/// nothing without a signature is believed.
#[tokio::test]
async fn oa_710_algorithms_are_not_confused() {
    let key = Key::new("k1");
    let app = app(&[&key]).await;
    let said = own(&app, json!({}));
    let (status, reason) = introspects(&app, &with_header(&json!({"alg": "none"}), &said, "AAAA")).await;
    assert_eq!((status, reason), (401, json!("client_assertion_algorithm")));
    for secret in [key.point(), key.jwk().to_string().into_bytes(), app.secret().as_bytes().to_vec()] {
        let (status, reason) = introspects(&app, &with_secret(&secret, "k1", &said)).await;
        assert_eq!((status, reason), (401, json!("client_assertion_algorithm")));
    }
    for other in [Key::new("k1").sign(&said), Key::new("k2").sign(&said)] {
        assert_eq!(introspects(&app, &other).await, (401, json!("client_assertion_signature")));
    }
    let brought = json!({"alg": "ES256", "jwk": Key::new("k1").jwk()});
    assert_eq!(introspects(&app, &with_header(&brought, &said, "AAAA")).await.0, 401);
    for header in [json!({"alg": "ES256", "kid": "k1", "crit": ["exp"]}), json!({"alg": "ES256", "b64": false})] {
        assert_eq!(introspects(&app, &with_header(&header, &said, "AAAA")).await.0, 401, "{header}");
    }
    for typ in ["at+jwt", "logout+jwt", "portcullis-upstream+jwt", "secevent+jwt", ""] {
        let jwt = key.sign_as(typ, &own(&app, json!({})));
        assert_eq!(introspects(&app, &jwt).await, (401, json!("client_assertion_type")), "{typ}");
    }
    for typ in ["JWT", "client-authentication+jwt", "application/client-authentication+jwt"] {
        assert_eq!(introspects(&app, &key.sign_as(typ, &own(&app, json!({})))).await.0, 200, "{typ}");
    }
    assert_eq!(introspects(&app, &key.sign_without_kid(&own(&app, json!({})))).await.0, 200, "there is one key");
    let long = own(&app, json!({"more": "x".repeat(16 * 1024)}));
    assert_eq!(introspects(&app, &key.sign(&long)).await.0, 401);
    // Another client has keys of its own.
    let second = Key::new("k1");
    let other = client(&app.site, "other", json!({"client_jwks": {"keys": [second.jwk()]}})).await;
    let name = other["client_id"].clone();
    let foreign = key.sign(&own(&app, json!({"iss": name, "sub": name})));
    assert_eq!(introspects(&app, &foreign).await.0, 401);
}

/// OA-710, OA-349: each assertion counts once, wherever it arrives and however many arrive at once; a second use is recorded.
#[tokio::test]
async fn oa_710_an_assertion_counts_once() {
    let key = Key::new("k1");
    let app = app(&[&key]).await;
    let jwt = key.sign(&own(&app, json!({})));
    let all = with(&jwt, &[("token", "x")]);
    assert_eq!(ask(&app, "/application/o/introspect/", &all).await.status, 200);
    assert_eq!(introspects(&app, &jwt).await, (401, json!("client_assertion_replayed")));
    assert_eq!(app.site.events("suspicious_request").await.0, 1);
    let elsewhere = app.site.raw_elsewhere(form("/application/o/introspect/", &all, &[])).await;
    assert_eq!(elsewhere.status, 401, "another process on the same database");
    let machine = with(&jwt, &[("grant_type", "client_credentials")]);
    assert_eq!(text(&ask(&app, "/application/o/token/", &machine).await, "error"), "invalid_grant");
    assert_eq!(app.site.events("suspicious_request").await.0, 3);
    app.site.clock.advance_seconds(299);
    assert_eq!(introspects(&app, &jwt).await, (401, json!("client_assertion_replayed")));
    app.site.clock.advance_seconds(1);
    assert_eq!(introspects(&app, &jwt).await, (401, json!("client_assertion_expired")));
    // The id may come again later, in another assertion.
    let jwt = key.sign(&own(&app, json!({"jti": "same"})));
    let all = with(&jwt, &[("token", "x")]);
    let path = "/application/o/introspect/";
    let (first, second, third, fourth) = tokio::join!(
        app.site.raw_elsewhere(form(path, &all, &[])),
        ask(&app, path, &all),
        app.site.raw_elsewhere(form(path, &all, &[])),
        ask(&app, path, &all),
    );
    let good = [&first, &second, &third, &fourth].iter().filter(|reply| reply.status == 200).count();
    assert_eq!(good, 1, "{first:?} {second:?} {third:?} {fourth:?}");
}

/// OA-710, OA-280, OA-281: a client with keys of its own goes on believing whom it trusts: who made the assertion decides. An
/// assertion beside a header is one way too many.
#[tokio::test]
async fn oa_710_others_vouch_as_before() {
    let (own_key, cluster) = (Key::new("k1"), Key::new("k1"));
    let app = app(&[&own_key]).await;
    let set = json!({"oidc_jwks": {"keys": [cluster.jwk()]}, "expected_issuers": [KUBERNETES]});
    let trusted = source(&app.site, "cluster", set).await;
    app.change(json!({"jwt_federation_sources": [trusted.json["pk"]]})).await;
    let machine = [("grant_type", "client_credentials"), ("client_id", app.id())];
    let pod = |key: &Key, name: &str| key.sign(&own(&app, json!({"iss": name, "sub": "backup"})));
    let reply = ask(&app, "/application/o/token/", &with(&pod(&cluster, KUBERNETES), &machine)).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(app.site.events("login").await.1["auth_method"], "jwt");
    for (key, name) in [(&own_key, KUBERNETES), (&cluster, app.id())] {
        let refused = ask(&app, "/application/o/token/", &with(&pod(key, name), &machine)).await;
        assert_eq!(text(&refused, "error"), "invalid_grant", "{name}");
    }
    // Who vouches for somebody else proves no client.
    let foreign = pod(&cluster, KUBERNETES);
    let all = with(&foreign, &[("token", "x"), ("client_id", app.id())]);
    assert_eq!(ask(&app, "/application/o/introspect/", &all).await.status, 401);
    let good = own_key.sign(&own(&app, json!({})));
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", app.id(), app.secret()));
    let header = [("authorization", &*format!("Basic {basic}"))];
    for path in ["/application/o/introspect/", "/application/o/revoke/"] {
        assert_eq!(post(&app.site, path, &with(&good, &[("token", "x")]), &header).await.status, 401);
    }
    let grant = with(&good, &[("grant_type", "client_credentials")]);
    assert_eq!(text(&post(&app.site, "/application/o/token/", &grant, &header).await, "error"), "invalid_grant");
    assert_eq!(introspects(&app, &good).await.0, 200, "none of this has used it up");
}
