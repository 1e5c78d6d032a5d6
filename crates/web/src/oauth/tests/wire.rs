//! Addresses, documents and errors, as they are on the wire.

use base64::engine::general_purpose::STANDARD;

use super::clients::{App, client};
use super::*;

const DISCOVERY: &str = "/application/o/app/.well-known/openid-configuration";

async fn ask(site: &Site, method: &str, path: &str) -> Reply {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
    site.raw(request).await
}

/// OA-085, OA-012, OA-086, OA-087, OA-088, OA-089, OA-090, OA-091, OA-092, OA-093, OA-094, OA-095, OA-096: every endpoint is where
/// it should be, with and without the slash at its end and for its methods alone, which nobody keeps; there are no others.
#[tokio::test]
async fn oa_085_endpoints_are_where_they_should_be() {
    let app = App::new(json!({})).await;
    for (path, methods) in [
        ("/application/o/authorize", "GET POST"),
        ("/application/o/token", "POST OPTIONS"),
        ("/application/o/device", "POST"),
        ("/application/o/userinfo", "GET POST OPTIONS"),
        ("/application/o/introspect", "POST"),
        ("/application/o/revoke", "POST"),
        ("/application/o/app/end-session", "GET POST"),
        ("/application/o/app/jwks", "GET"),
        ("/application/o/app/.well-known/openid-configuration", "GET"),
        ("/application/o/app", "GET"),
        ("/.well-known/oauth-authorization-server/application/o/app", "GET"),
        ("/device", "GET POST"),
    ] {
        for path in [path.to_owned(), format!("{path}/")] {
            for method in ["GET", "POST", "OPTIONS", "PUT", "DELETE"] {
                let reply = ask(&app.site, method, &path).await;
                let is_one = methods.split(' ').any(|known| known == method);
                assert_eq!(reply.status != 405, is_one, "{method} {path}: {}", reply.status);
                let is_told = reply.headers.contains_key("allow") && reply.headers["cache-control"] == "no-store";
                assert!(is_one || is_told, "{method} {path}");
                assert!(method == "GET" || reply.status.as_u16() / 100 != 3, "{method} {path} is not sent elsewhere");
            }
        }
    }
    let unprovided = json!({"name": "bare", "slug": "bare"});
    assert_eq!(app.site.admin(Method::POST, "/core/applications/", unprovided).await.status, 201);
    for slug in ["nope", "bare"] {
        for rest in ["", "jwks/", "end-session/", ".well-known/openid-configuration"] {
            let path = format!("/application/o/{slug}/{rest}");
            assert_eq!(get(&app.site, &path, &[]).await.status, 404, "{path}");
        }
    }
    for absent in
        ["/login/oauth/authorize", "/login/oauth/access_token", "/user", "/user/teams", "/.well-known/webfinger"]
    {
        assert_eq!(get(&app.site, absent, &[]).await.status, 404, "{absent}");
    }
}

/// OA-048, OA-100, OA-102, OA-103, OA-104, OA-105, OA-106, OA-108, OA-109, OA-110, OA-112, OA-113, OA-114, OA-709, OA-755,
/// OA-757: the discovery document of a client is true of that client, and names nothing that is not there.
#[tokio::test]
async fn oa_102_discovery_is_true_of_the_client() {
    let app = App::new(json!({})).await;
    let found = get(&app.site, DISCOVERY, &[]).await;
    assert_eq!(
        (&found.headers["content-type"], &found.headers["cache-control"]),
        (&"application/json".parse().expect("a value"), &"public, max-age=300".parse().expect("a value"))
    );
    let at = |path: &str| format!("http://id.example/application/o/{path}/");
    let methods = json!(["client_secret_post", "client_secret_basic"]);
    let expected = json!({
        "issuer": at("app"),
        "authorization_endpoint": at("authorize"),
        "token_endpoint": at("token"),
        "userinfo_endpoint": at("userinfo"),
        "introspection_endpoint": at("introspect"),
        "revocation_endpoint": at("revoke"),
        "device_authorization_endpoint": at("device"),
        "end_session_endpoint": at("app/end-session"),
        "jwks_uri": at("app/jwks"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "fragment", "form_post"],
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
        "id_token_signing_alg_values_supported": ["HS256"],
        "subject_types_supported": ["public"],
        "acr_values_supported": ["goauthentik.io/providers/oauth2/default"],
        "token_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
        "scopes_supported": ["email", "entitlements", "openid", "profile"],
        "request_parameter_supported": false,
        "claims_parameter_supported": false,
        "request_uri_parameter_supported": false,
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "backchannel_logout_supported": true,
        "backchannel_logout_session_supported": true,
        "frontchannel_logout_supported": true,
        "frontchannel_logout_session_supported": true,
    });
    let mut said = found.json.clone();
    let claims = said.as_object_mut().expect("an object").remove("claims_supported").expect("claims");
    assert_eq!(said, expected);
    let always = ["sub", "iss", "aud", "exp", "iat", "auth_time", "acr", "amr", "nonce"];
    let mut claims: Vec<_> = claims.as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    let mapped = claims.split_off(always.len());
    assert_eq!(claims, always);
    let mut mapped = mapped;
    mapped.sort_unstable();
    let expected = [
        "email",
        "email_verified",
        "entitlements",
        "given_name",
        "groups",
        "name",
        "nickname",
        "preferred_username",
        "roles",
    ];
    assert_eq!(mapped, expected, "OA-112: nothing that its mappings do not say");
    let other = "/.well-known/oauth-authorization-server/application/o/app/";
    assert_eq!(get(&app.site, other, &[]).await.json, found.json);
    app.change(json!({"client_type": "public", "issuer_mode": "global"})).await;
    let public = get(&app.site, DISCOVERY, &[]).await.json;
    assert_eq!(public["token_endpoint_auth_methods_supported"][2], "none");
    assert_eq!(public["issuer"], "http://id.example/");
    app.change(json!({"grant_types": ["client_credentials"]})).await;
    let machine = get(&app.site, DISCOVERY, &[]).await.json;
    assert_eq!(
        (&machine["response_types_supported"], &machine["grant_types_supported"]),
        (&json!([]), &json!(["client_credentials"]))
    );
}

/// OA-582, OA-581, OA-885: discovery is for every site, with credentials for a client's own; keys are for everybody;
/// introspection, revocation and devices are for no page.
#[tokio::test]
async fn oa_582_what_other_sites_may_read() {
    let app = App::new(json!({"redirect_uris": [
        {"matching_mode": "strict", "url": "https://app.example/cb"},
        {"matching_mode": "strict", "url": "https://bye.example/", "redirect_uri_type": "logout"},
        {"matching_mode": "regex", "url": "https://rx\\.example/cb"},
    ], "allowed_origins": ["https://page.example"]}))
    .await;
    let shared = |reply: &Reply| {
        let text = |name: &str| reply.headers.get(name).map(|value| value.to_str().expect("text").to_owned());
        (text("access-control-allow-origin"), text("access-control-allow-credentials"))
    };
    let for_one = |origin: &str| (Some(origin.to_owned()), Some("true".to_owned()));
    let (all, own, listed) =
        ((Some("*".to_owned()), None), for_one("https://app.example"), for_one("https://page.example"));
    for (origin, expected) in [
        ("https://app.example", &own),
        ("https://page.example", &listed),
        ("https://bye.example", &all),
        ("https://rx.example", &all),
        ("https://evil.example", &all),
    ] {
        let found = get(&app.site, DISCOVERY, &[("origin", origin)]).await;
        assert_eq!(&shared(&found), expected, "{origin}");
        assert_eq!(found.headers.get_all("vary").iter().collect::<Vec<_>>(), ["Origin"], "kept for one, not for all");
        let keys = get(&app.site, "/application/o/app/jwks/", &[("origin", origin)]).await;
        assert_eq!(shared(&keys), all);
    }
    for path in ["introspect", "revoke", "device"] {
        let all = [("client_id", app.id()), ("client_secret", app.secret()), ("token", "x")];
        let path = format!("/application/o/{path}/");
        let reply = post(&app.site, &path, &all, &[("origin", "https://app.example")]).await;
        assert_eq!(shared(&reply), (None, None), "{path}");
        assert_eq!(ask(&app.site, "OPTIONS", &path).await.status, 405);
    }
    let request = Request::options("/application/o/userinfo/").header("origin", "https://app.example");
    let preflight = app.site.raw(request.body(Body::empty()).expect("a request")).await;
    assert_eq!((preflight.status.as_u16(), &preflight.json), (200, &json!({})));
    assert_eq!(preflight.headers["access-control-allow-methods"], "GET, POST, OPTIONS");
    assert_eq!(preflight.headers["access-control-allow-headers"], "Authorization, Content-Type, DPoP");
    let echoed = async |origin: &str| {
        let request = Request::options("/application/o/token/").header("origin", origin);
        shared(&app.site.raw(request.body(Body::empty()).expect("a request")).await)
    };
    assert_eq!(echoed("https://app.example").await, own);
    assert_eq!(echoed("https://page.example").await, listed);
    for other in
        ["https://bye.example", "https://rx.example", "https://APP.example", "null", "https://app.example:443", "%"]
    {
        assert_eq!(echoed(other).await, (None, None), "{other}");
    }
    // What is known of origins goes with the client's settings, and with the client.
    let moved = json!([{"matching_mode": "strict", "url": "http://new.example:8080/cb"}]);
    app.change(json!({"redirect_uris": moved, "allowed_origins": []})).await;
    assert_eq!(echoed("http://new.example:8080").await, for_one("http://new.example:8080"));
    assert_eq!(
        (echoed("https://app.example").await, echoed("https://page.example").await),
        ((None, None), (None, None))
    );
    app.site.admin(Method::DELETE, &format!("/providers/oauth2/{}/", app.provider["pk"]), None).await;
    assert_eq!(echoed("http://new.example:8080").await, (None, None));
}

/// OA-010, OA-011, OA-012, OA-219, OA-702: an error is three members, of which the text is the same whatever was wrong, and
/// the id that of the answer; nobody keeps it, or a success.
#[tokio::test]
async fn oa_011_errors_have_three_members() {
    let app = App::new(json!({"grant_types": ["authorization_code", "password", "client_credentials"]})).await;
    let secret = app.secret().to_owned();
    let mut texts = std::collections::BTreeMap::new();
    let uncached = |reply: &Reply| {
        assert_eq!(
            (&reply.headers["cache-control"], &reply.headers["pragma"]),
            (&"no-store".parse().expect("a value"), &"no-cache".parse().expect("a value"))
        );
    };
    for (path, parameters) in [
        ("token", vec![("grant_type", "canary-1")]),
        ("token", vec![("grant_type", "authorization_code"), ("client_secret", "canary-2")]),
        ("token", vec![("grant_type", "authorization_code"), ("client_secret", &secret), ("code", "canary-3")]),
        ("token", vec![("grant_type", "password"), ("username", "canary-4"), ("password", "canary-5")]),
        ("token", vec![("grant_type", "password"), ("username", "ada"), ("password", "canary-5")]),
        ("token", vec![("grant_type", "refresh_token"), ("refresh_token", "canary-6")]),
        ("token", vec![("grant_type", "password"), ("grant_type", "canary-7")]),
        ("introspect", vec![("client_secret", "canary-8"), ("token", "canary-9")]),
        ("revoke", vec![("client_secret", "canary-8"), ("token", "canary-9")]),
        ("revoke", vec![("client_secret", &secret)]),
        ("device", vec![("client_secret", "canary-10")]),
        ("device", vec![("client_secret", &secret)]),
    ] {
        let reply = app.ask(&format!("/application/o/{path}/"), &parameters).await;
        assert!(reply.status.is_client_error(), "{path} {parameters:?}");
        uncached(&reply);
        let names: Vec<_> = reply.json.as_object().expect("an object").keys().cloned().collect();
        assert_eq!(names, ["error", "error_description", "request_id"], "{path} {parameters:?}");
        assert!(!reply.text.contains("canary"), "{}", reply.text);
        let id = text(&reply, "request_id");
        assert_eq!(reply.headers["x-authentik-id"], id);
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase()));
        let (error, said) = (text(&reply, "error").to_owned(), text(&reply, "error_description").to_owned());
        assert_eq!(texts.entry(error).or_insert_with(|| said.clone()), &said);
    }
    assert_eq!(texts.len(), 5, "{texts:?}");
    let all = [("grant_type", "password"), ("username", "ada"), ("password", KEY)];
    let token = app.ask("/application/o/token/", &all).await;
    assert_eq!((token.status.as_u16(), text(&token, "scope")), (200, ""), "OA-216");
    uncached(&token);
    for path in ["introspect", "revoke"] {
        let all = [("client_secret", app.secret()), ("token", text(&token, "access_token"))];
        uncached(&app.ask(&format!("/application/o/{path}/"), &all).await);
    }
}

/// OA-214, OA-280, OA-286, OA-287, OA-288: checks have their order, and the way a machine proves itself is chosen once: what
/// comes later is not tried when that fails.
#[tokio::test]
async fn oa_280_the_variant_is_chosen_once() {
    let app = App::new(json!({"grant_types": ["client_credentials", "password"]})).await;
    let error = async |parameters: &[(&str, &str)]| {
        let reply = app.ask("/application/o/token/", parameters).await;
        if reply.status == 200 { "-".to_owned() } else { text(&reply, "error").to_owned() }
    };
    let secret = app.secret();
    let packed = STANDARD.encode(format!("ada:{KEY}"));
    let (machine, bearer) =
        (("grant_type", "client_credentials"), "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    let (user, wrong, right) = (("username", "ada"), ("password", "wrong"), ("password", KEY));
    for (parameters, expected) in [
        // Order: client, grant known, grant allowed, and the rest.
        (vec![("grant_type", "nonsense"), ("client_secret", "wrong")], "unsupported_grant_type"),
        (vec![("grant_type", "authorization_code"), ("client_secret", "wrong")], "unauthorized_client"),
        (vec![machine], "invalid_grant"),
        // A user name chooses, whatever else is right.
        (vec![machine, user, right], "-"),
        (vec![machine, user, right, ("client_secret", "wrong")], "-"),
        (vec![machine, user, wrong, ("client_secret", secret)], "invalid_grant"),
        (vec![machine, user, ("client_secret", secret)], "invalid_grant"),
        (vec![machine, ("username", ""), ("client_secret", secret)], "-"),
        // An assertion chooses before that.
        (vec![machine, ("client_assertion_type", bearer), ("client_assertion", "x"), user, right], "invalid_grant"),
        (
            vec![machine, ("client_assertion_type", bearer), ("client_assertion", ""), ("client_secret", secret)],
            "invalid_grant",
        ),
        (vec![machine, ("client_assertion_type", "other"), user, right], "invalid_grant"),
        (vec![machine, ("client_assertion_type", ""), user, right], "-"),
        // The secret, then what is packed into it.
        (vec![machine, ("client_secret", secret)], "-"),
        (vec![machine, ("client_secret", &packed)], "-"),
        (vec![machine, ("client_secret", "eyJhbGciOiJSUzI1NiJ9.e30.AAAA")], "invalid_grant"),
        (vec![machine, ("client_secret", "wrong")], "invalid_grant"),
        (vec![("grant_type", "password"), user, right], "-"),
    ] {
        assert_eq!(error(&parameters).await, expected, "{parameters:?}");
    }
    let unknown = post(&app.site, "/application/o/token/", &[("grant_type", "nonsense")], &[]).await;
    assert_eq!(text(&unknown, "error"), "invalid_client", "the client comes first");
}

/// OA-289, OA-818: people, guests and service accounts prove themselves with app passwords, the accounts of outposts do not.
#[tokio::test]
async fn oa_289_every_kind_of_user_but_one() {
    let app = App::new(json!({"grant_types": ["password"]})).await;
    let all = [("grant_type", "password"), ("username", "ada"), ("password", KEY)];
    for kind in ["internal", "external", "service_account"] {
        app.site.admin(Method::PATCH, &format!("/core/users/{}/", app.ada), json!({"type": kind})).await;
        assert_eq!(app.ask("/application/o/token/", &all).await.status, 200, "{kind}");
    }
    let mut tx = app.site.ctx.db.write().await.expect("writes");
    let mut ada = portcullis_store::account::by_username(&mut tx, "ada").await.expect("reads").expect("is there");
    ada.kind = "internal_service_account".to_owned();
    portcullis_store::account::update(&mut tx, &ada).await.expect("stores");
    tx.commit().await.expect("commits");
    assert_eq!(text(&app.ask("/application/o/token/", &all).await, "error"), "invalid_grant");
}

/// OA-223, OA-125: a signing key that cannot be read issues nothing, is replaced by no other kind, and is not published.
#[tokio::test]
async fn oa_223_an_unusable_key_issues_nothing() {
    let app = App::new(json!({"grant_types": ["authorization_code", "password"]})).await;
    let body = json!({"common_name": "tokens", "validity_days": 365, "alg": "rsa"});
    let made = app.site.admin(Method::POST, "/crypto/certificatekeypairs/generate/", body).await;
    app.change(json!({"signing_key": made.json["pk"]})).await;
    let all = [("grant_type", "password"), ("username", "ada"), ("password", KEY)];
    assert_eq!(app.ask("/application/o/token/", &all).await.status, 200);
    let sealed =
        portcullis_store::sealed::SEALED.into_iter().find(|sealed| sealed.table == "certificate").expect("is one");
    let mut tx = app.site.ctx.db.write().await.expect("writes");
    portcullis_store::sealed::write(&mut tx, &sealed, made.json["pk"].as_str().expect("a key"), b"garbage")
        .await
        .expect("stores");
    tx.commit().await.expect("commits");
    let refused = app.ask("/application/o/token/", &all).await;
    assert_eq!((refused.status.as_u16(), text(&refused, "error")), (503, "temporarily_unavailable"));
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(get(&app.site, DISCOVERY, &[]).await.json["id_token_signing_alg_values_supported"], json!([]));
    assert_eq!(get(&app.site, "/application/o/app/jwks/", &[]).await.json, json!({"keys": []}));
}

/// OA-511: a client that proves itself also revokes what it may see of others.
#[tokio::test]
async fn oa_511_visible_tokens_can_be_revoked() {
    let app = App::new(json!({"grant_types": ["authorization_code", "password"]})).await;
    let caller = client(&app.site, "caller", json!({})).await;
    let all = [("grant_type", "password"), ("username", "ada"), ("password", KEY), ("scope", "openid")];
    let revoke = async |token: &str| {
        let all = [
            ("client_id", caller["client_id"].as_str().expect("text")),
            ("client_secret", caller["client_secret"].as_str().expect("text")),
            ("token", token),
        ];
        let reply = post(&app.site, "/application/o/revoke/", &all, &[]).await;
        assert_eq!((reply.status.as_u16(), &reply.json), (200, &json!({})), "OA-512");
    };
    let token = app.ask("/application/o/token/", &all).await;
    revoke(text(&token, "access_token")).await;
    assert_eq!(app.userinfo(text(&token, "access_token")).await.status, 200, "not its business");
    app.change(json!({"jwt_federation_providers": [caller["pk"]]})).await;
    revoke(text(&token, "access_token")).await;
    assert_eq!(app.userinfo(text(&token, "access_token")).await.status, 401);
}

/// OA-017, OA-026, OA-027, OA-028, OA-042: lifetimes are those of the client, in whole seconds; codes live ten minutes at
/// most.
#[tokio::test]
async fn oa_027_lifetimes_are_the_clients() {
    let more = json!({"access_code_validity": "seconds=30", "access_token_validity": "seconds=90;milliseconds=900",
        "grant_types": ["authorization_code", "password"]});
    let app = App::new(more).await;
    let all = [("grant_type", "password"), ("username", "ada"), ("password", KEY), ("scope", "openid")];
    let token = app.ask("/application/o/token/", &all).await;
    assert_eq!(token.json["expires_in"], 90);
    let said = claims(&token.json["access_token"]);
    assert_eq!(said["exp"].as_i64().zip(said["iat"].as_i64()).map(|(exp, iat)| exp - iat), Some(90));
    app.site.clock.advance_seconds(89);
    assert_eq!(app.userinfo(text(&token, "access_token")).await.status, 200);
    app.site.clock.advance_seconds(1);
    assert_eq!(app.userinfo(text(&token, "access_token")).await.status, 401, "OA-005");
    let reply = app.authorize(&[]).await;
    app.site.clock.advance_seconds(29);
    assert_eq!(app.redeem(&reply, true).await.status, 200);
    let reply = app.authorize(&[]).await;
    app.site.clock.advance_seconds(30);
    assert_eq!(text(&app.redeem(&reply, true).await, "error"), "invalid_grant");
    let path = format!("/providers/oauth2/{}/", app.provider["pk"]);
    for bad in ["minutes=11", "milliseconds=1", "fortnight=1", ""] {
        let refused = app.site.admin(Method::PATCH, &path, json!({"access_code_validity": bad})).await;
        assert!(refused.status == 400 && refused.json.get("access_code_validity").is_some(), "{bad}: {}", refused.text);
    }
}

/// OA-020, OA-021, OA-023, OA-034, OA-035, OA-036, OA-038, OA-039, OA-127: names are taken once, what is named exists,
/// addresses are addresses, and what cannot work is refused when it is saved.
#[tokio::test]
async fn oa_020_clients_are_checked() {
    let app = App::new(json!({})).await;
    let other = client(&app.site, "other", json!({})).await;
    let path = format!("/providers/oauth2/{}/", app.provider["pk"]);
    let nil = "00000000-0000-0000-0000-000000000000";
    let body = json!({"common_name": "encrypts", "validity_days": 365, "alg": "ecdsa"});
    let key = app.site.admin(Method::POST, "/crypto/certificatekeypairs/generate/", body).await.json["pk"].clone();
    for (field, value) in [
        ("name", json!("other")),
        ("name", json!("")),
        ("authentication_flow", json!(nil)),
        ("authorization_flow", json!(null)),
        ("invalidation_flow", json!(null)),
        ("client_id", other["client_id"].clone()),
        ("client_id", json!("")),
        ("client_id", json!("x".repeat(256))),
        ("client_secret", json!("x".repeat(256))),
        ("client_secret", json!("")),
        ("client_type", json!("secret")),
        ("encryption_key", key),
        ("property_mappings", json!([nil])),
        ("jwt_federation_sources", json!([nil])),
        ("jwt_federation_providers", json!([4711])),
        ("logout_uri", json!("javascript:alert(1)")),
        ("logout_uri", json!("words")),
        ("logout_method", json!("pigeon")),
        ("sub_mode", json!("nickname")),
        ("issuer_mode", json!("x")),
    ] {
        let mut body = json!({});
        body[field] = value.clone();
        let refused = app.site.admin(Method::PATCH, &path, body).await;
        assert!(refused.status == 400 && refused.json.get(field).is_some(), "{field} {value}: {}", refused.text);
    }
    let short = app.site.admin(Method::PATCH, &path, json!({"client_secret": "x".repeat(31)})).await;
    assert!(short.status == 400 && short.json.get("signing_key").is_some(), "OA-127: {}", short.text);
    let host = app.site.admin(Method::PATCH, &path, json!({"logout_uri": "http://intranet:8080/out"})).await;
    assert_eq!(host.status, 200, "a host needs no dot");
}

/// OA-667, OA-806: whatever is presented and fails leaves nothing of itself in the database, and so in no event.
#[tokio::test]
async fn oa_667_what_fails_leaves_nothing_of_itself() {
    let app = App::new(json!({"grant_types": ["authorization_code", "refresh_token", "password"]})).await;
    let canary = "canary-0123456789abcdef-secret";
    let secret = app.secret().to_owned();
    for parameters in [
        vec![("grant_type", "authorization_code"), ("client_secret", canary)],
        vec![
            ("grant_type", "authorization_code"),
            ("client_secret", &secret),
            ("code", canary),
            ("code_verifier", canary),
        ],
        vec![("grant_type", "refresh_token"), ("client_secret", &secret), ("refresh_token", canary)],
        vec![("grant_type", "password"), ("username", "ada"), ("password", canary)],
        vec![("grant_type", "password"), ("client_assertion_type", "x"), ("client_assertion", canary)],
    ] {
        assert_eq!(app.ask("/application/o/token/", &parameters).await.status, 400);
    }
    for path in ["introspect", "revoke"] {
        app.ask(&format!("/application/o/{path}/"), &[("client_secret", canary), ("token", canary)]).await;
        app.ask(&format!("/application/o/{path}/"), &[("client_secret", &secret), ("token", canary)]).await;
    }
    app.userinfo(canary).await;
    let basic = format!("Basic {}", STANDARD.encode(format!("{}:{canary}", app.id())));
    post(&app.site, "/application/o/token/", &[("grant_type", "password")], &[("authorization", &basic)]).await;
    assert!(app.site.events("login_failed").await.0 >= 4);
    let bytes = app.site.file_bytes();
    for trace in [canary, &basic["Basic ".len()..]] {
        assert!(!bytes.windows(trace.len()).any(|part| part == trace.as_bytes()), "{trace}");
    }
}

/// OA-668: requests are counted by endpoint, grant and outcome, and timed; no label names a client or a user.
#[tokio::test]
async fn oa_668_requests_are_counted() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let told = recorder.handle();
    let app = App::new(json!({"grant_types": ["password", "authorization_code"]})).await;
    let counting = metrics::set_default_local_recorder(&recorder);
    for (grant, key) in [("password", KEY), ("password", "wrong"), ("canary", KEY)] {
        app.ask("/application/o/token/", &[("grant_type", grant), ("username", "ada"), ("password", key)]).await;
    }
    for secret in [app.secret(), "eyJhbGciOiJSUzI1NiJ9.e30.c2ln"] {
        app.ask("/application/o/token/", &[("grant_type", "password"), ("client_secret", secret)]).await;
    }
    app.ask("/application/o/introspect/", &[("client_secret", app.secret()), ("token", "x")]).await;
    app.userinfo("x").await;
    let exchange = "urn:ietf:params:oauth:grant-type:token-exchange";
    app.ask("/application/o/token/", &[("grant_type", exchange)]).await;
    app.ask("/application/o/revoke/?", &[("token", "x"), ("token", "y")]).await;
    let client = ("client_id", app.id());
    let known = [client, ("redirect_uri", "https://app.example/cb"), ("response_type", "code"), ("scope", "openid")];
    let authorize = |query: &[(&str, &str)]| {
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        format!("/application/o/authorize/?{query}")
    };
    for path in [
        &authorize(&[("client_id", "canary")]),
        &authorize(&known),
        &authorize(&[&known[..], &[("prompt", "none")]].concat()),
        "/application/o/app/end-session/",
        "/application/o/canary/end-session/",
        "/application/o/app/jwks/",
        "/application/o/app/.well-known/openid-configuration",
        "/application/o/userinfo/",
    ] {
        let request = http::Request::get(path).body(axum::body::Body::empty()).expect("a request");
        app.site.raw(request).await;
    }
    drop(counting);
    let told = told.render();
    for (endpoint, grant, variant, outcome) in [
        ("token", "password", "token", "ok"),
        ("token", "password", "token", "invalid_grant"),
        ("token", "other", "", "unsupported_grant_type"),
        ("token", "password", "oauth_client_secret", "ok"),
        ("token", "password", "jwt", "invalid_grant"),
        ("introspect", "", "", "ok"),
        ("userinfo", "", "", "invalid_token"),
        ("token", exchange, "", "unauthorized_client"),
        ("revoke", "", "", "invalid_request"),
        ("authorize", "", "", "invalid_request"),
        ("authorize", "", "", "sign_in"),
        ("authorize", "", "", "login_required"),
        ("end-session", "", "", "ok"),
        ("end-session", "", "", "not_found"),
        ("jwks", "", "", "ok"),
        ("discovery", "", "", "ok"),
        ("userinfo", "", "", "missing_token"),
    ] {
        let labels = format!("endpoint=\"{endpoint}\",grant=\"{grant}\",variant=\"{variant}\",outcome=\"{outcome}\"");
        let line = format!("portcullis_oauth_requests_total{{{labels}}} 1");
        assert!(told.contains(&line), "{line}: {told}");
        let line = format!("portcullis_oauth_request_duration_seconds_count{{{labels}}} 1");
        assert!(told.contains(&line), "{line}: {told}");
    }
    assert!(!told.contains("ada") && !told.contains(app.id()) && !told.contains("canary"), "{told}");
}
