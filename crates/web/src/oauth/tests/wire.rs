//! Addresses, documents, errors and claims, as they are on the wire.

use base64::engine::general_purpose::STANDARD;

use super::browser::{Browser, set_password};
use super::clients::{App, client};
use super::login::{self, authorize, member};
use super::*;

const PASSWORD: &str = "correct horse battery";
const DISCOVERY: &str = "/application/o/app/.well-known/openid-configuration";

async fn ask(site: &Site, method: &str, path: &str) -> Reply {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
    site.raw(request).await
}

/// OA-085, OA-086, OA-087, OA-088, OA-089, OA-090, OA-091, OA-092, OA-093, OA-094, OA-095, OA-096: every endpoint is where
/// it should be, with and without the slash at its end and for its methods alone; there are no others.
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
                assert!(is_one || reply.headers.contains_key("allow"), "{method} {path}");
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
    for claim in ["sub", "iss", "aud", "exp", "iat", "auth_time", "acr", "amr", "nonce", "email", "groups"] {
        assert!(claims.as_array().expect("a list").contains(&json!(claim)), "{claim}");
    }
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
    ]}))
    .await;
    let shared = |reply: &Reply| {
        let text = |name: &str| reply.headers.get(name).map(|value| value.to_str().expect("text").to_owned());
        (text("access-control-allow-origin"), text("access-control-allow-credentials"))
    };
    let (all, own) = ((Some("*".to_owned()), None), (Some("https://app.example".to_owned()), Some("true".to_owned())));
    for (origin, expected) in [
        ("https://app.example", &own),
        ("https://bye.example", &all),
        ("https://rx.example", &all),
        ("https://evil.example", &all),
    ] {
        assert_eq!(&shared(&get(&app.site, DISCOVERY, &[("origin", origin)]).await), expected, "{origin}");
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

/// OA-143, OA-146, OA-156, OA-740: without an application there is a page and nobody is sent anywhere; without a scope there
/// are all, and unknown ones are left out.
#[tokio::test]
async fn oa_146_scopes_default_to_all() {
    let app = App::new(json!({})).await;
    let mut browser = Browser::default();
    browser.sign_in(&app.site, "ada", PASSWORD).await;
    for (asked, expected) in
        [("", "email entitlements openid profile"), ("openid nonsense email openid", "email openid"), ("nonsense", "")]
    {
        let reply = app.authorize_in(&mut browser, &[("scope", asked)]).await;
        assert_eq!(text(&app.redeem(&reply, true).await, "scope"), expected, "{asked}");
    }
    assert_eq!(app.site.admin(Method::DELETE, "/core/applications/app/", None).await.status, 204);
    let page = app.authorize_in(&mut browser, &[]).await;
    assert_eq!((page.status.as_u16(), page.headers.get("location")), (403, None));
}

/// OA-159, OA-160: a hint is filled in and chooses nobody; languages that there are not are ignored.
#[tokio::test]
async fn oa_159_a_hint_is_filled_in() {
    let (wiki, _) = login::signed_in().await;
    let bob = wiki.site.user("bob").await;
    set_password(&wiki.site, bob, PASSWORD).await;
    let mut browser = Browser::default();
    let hinted = [("login_hint", "\"><b>ada"), ("ui_locales", "xx de-AT en")];
    let sent = browser.get(&wiki.site, &authorize(&wiki, &hinted)).await;
    let page = browser.get(&wiki.site, location(&sent)).await;
    assert!(
        page.status == 200 && page.text.contains("&#62;&#60;b&#62;ada") && !page.text.contains("<b>ada"),
        "{}",
        page.text
    );
    let all = [("uid_field", "bob"), ("password", PASSWORD)];
    let done = browser.post(&wiki.site, location(&sent), &all).await;
    let back = browser.get(&wiki.site, location(&done)).await;
    assert!(member(&back, "code").is_some(), "{}", location(&back));
    assert!(browser.get(&wiki.site, "/").await.text.contains("<strong>bob</strong>"));
}

/// OA-168, OA-177, OA-641: an authorization is recorded with application and scopes; its code keeps what was asked and who
/// answered, and is itself nowhere.
#[tokio::test]
async fn oa_177_a_code_keeps_what_was_asked() {
    let app = App::new(json!({})).await;
    let reply = app.authorize(&[]).await;
    let code = member(&reply, "code").expect("a code");
    assert!(code.len() >= 43, "OA-006");
    let event = app.site.events("authorize_application").await.1;
    assert_eq!(
        (&event["authorized_application"]["name"], &event["scopes"]),
        (&json!("app"), &json!("email openid profile"))
    );
    assert!(event["flow"].is_string());
    let digest = app.site.ctx.keys.digest(portcullis_core::keys::Purpose::GrantLookup, &[b"code", code.as_bytes()]);
    let mut conn = app.site.ctx.db.read().await.expect("reads");
    let kept = portcullis_store::grant::code_by_digest(&mut conn, &digest).await.expect("reads").expect("is there");
    assert_eq!((kept.redirect_uri.as_str(), kept.scope.as_str()), ("https://app.example/cb", "email openid profile"));
    assert_eq!((kept.nonce.as_deref(), kept.challenge_method.as_deref()), (Some("n-1"), Some("S256")));
    assert_eq!((i64::from(kept.account.0), kept.sid.len(), kept.consumed), (app.ada, 64, None));
    assert_eq!((kept.auth_time, kept.expires), (app.site.ctx.now(), app.site.ctx.now().plus_seconds(60)));
    assert!(!app.site.file_bytes().windows(code.len()).any(|part| part == code.as_bytes()));
}

/// OA-450, OA-451, OA-452, OA-453, OA-454, OA-455, OA-456, OA-458, OA-459, OA-460: what the tokens of a sign-in say, and of
/// what kind it is; what is unknown is left out.
#[tokio::test]
async fn oa_450_tokens_say_who_signed_in() {
    let app = App::new(json!({})).await;
    let tokens = app.login(true).await;
    let (access, id) = (claims(&tokens.json["access_token"]), claims(&tokens.json["id_token"]));
    let now = app.site.ctx.now().seconds();
    for said in [&access, &id] {
        assert_eq!((&said["iss"], &said["aud"]), (&json!("http://id.example/application/o/app/"), &json!(app.id())));
        assert_eq!((&said["exp"], &said["iat"], &said["auth_time"]), (&json!(now + 3600), &json!(now), &json!(now)));
        assert_eq!(said["acr"], "goauthentik.io/providers/oauth2/default");
        assert_eq!(
            (&said["amr"], &said["nonce"], &said["preferred_username"]),
            (&json!(["pwd"]), &json!("n-1"), &json!("ada"))
        );
        for (claim, length) in [("jti", 40), ("sid", 64), ("sub", 64)] {
            assert_eq!(said[claim].as_str().map(str::len), Some(length), "{claim}");
        }
        assert!(said.as_object().expect("an object").values().all(|value| !value.is_null()), "OA-460: {said}");
    }
    assert_ne!(access["jti"], id["jti"]);
    assert_eq!((&access["azp"], &access["scope"]), (&json!(app.id()), &json!("email openid profile")));
    assert_eq!(access["uid"].as_str().map(str::len), Some(40));
    assert!(["azp", "uid", "scope", "at_hash", "c_hash"].iter().all(|name| id.get(*name).is_none()));
    app.change(json!({"include_claims_in_id_token": false})).await;
    let tokens = app.login(true).await;
    for name in ["access_token", "id_token"] {
        assert!(claims(&tokens.json[name]).get("preferred_username").is_none(), "OA-030, OA-459: {name}");
    }
}

/// OA-441, OA-444, OA-445, OA-446, OA-072, OA-808: what proxies read has its types, superusers are told by any group, and
/// nothing of it that opens anything leaves the server; the key is published.
#[tokio::test]
async fn oa_446_what_proxies_read_has_its_types() {
    let wiki = Wiki::new().await;
    let scopes = "openid profile email entitlements ak_proxy";
    let issued = wiki.token_for_outpost(scopes).await;
    let said = claims(&issued.json["access_token"]);
    for name in ["sub", "email", "name", "preferred_username"] {
        assert!(said[name].is_string(), "{name}");
    }
    assert!(said["exp"].is_i64() && said["email_verified"].is_boolean() && said["ak_proxy"].is_object());
    assert!(said["groups"].is_array() && said["entitlements"].is_array());
    assert_eq!((&said["ak_proxy"]["is_superuser"], &said["ak_proxy"]["user_attributes"]), (&json!(false), &json!({})));
    for name in ["access_token", "id_token", "upstream_token"] {
        let header = text(&issued, name).split('.').next().expect("three parts").to_owned();
        let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).expect("base64url")).expect("JSON");
        assert_eq!(header["alg"], "RS256");
        assert!(!claims(&issued.json[name]).to_string().contains("open sesame"), "{name}");
    }
    assert!(claims(&issued.json["upstream_token"]).get("ak_proxy").is_none());
    let parent = json!({"name": "above", "is_superuser": true});
    let parent = wiki.site.admin(Method::POST, "/core/groups/", parent).await.json["pk"].clone();
    let child = json!({"name": "below", "parents": [parent], "users": [wiki.ada]});
    assert_eq!(wiki.site.admin(Method::POST, "/core/groups/", child).await.status, 201);
    let said = claims(&wiki.token_of_ada(scopes).await.json["access_token"]);
    assert_eq!((&said["ak_proxy"]["is_superuser"], &said["groups"]), (&json!(true), &json!(["below"])));
}

/// OA-073, OA-074, OA-070: a proxy provider encrypts nothing, and everything that its mappings offer is there to be asked
/// for.
#[tokio::test]
async fn oa_074_proxies_ask_for_everything() {
    let wiki = Wiki::new().await;
    let shown = wiki.site.admin(Method::GET, "/outposts/proxy/", None).await;
    let scopes = &shown.json["results"][0]["scopes_to_request"];
    let mut scopes: Vec<_> = scopes.as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    scopes.sort_unstable();
    assert_eq!(scopes, ["ak_proxy", "email", "entitlements", "openid", "profile"]);
    let mut conn = wiki.site.ctx.db.read().await.expect("reads");
    let stored = portcullis_store::provider::by_pk(&mut conn, wiki.pk()).await.expect("reads").expect("is there");
    assert!(stored.client_type == "confidential" && stored.include_claims_in_id_token);
    let token = wiki.token_of_ada("openid").await;
    assert_eq!(text(&token, "access_token").split('.').count(), 3, "a plain JWS");
}

/// OA-079: nobody may have the user name that means a token.
#[tokio::test]
async fn oa_079_a_name_is_reserved() {
    let site = Site::new().await;
    let reserved = json!({"username": "goauthentik.io/token", "name": "x"});
    let refused = site.admin(Method::POST, "/core/users/", reserved.clone()).await;
    assert!(refused.status == 400 && refused.json.get("username").is_some(), "{}", refused.text);
    let ada = site.user("ada").await;
    let renamed = site.admin(Method::PATCH, &format!("/core/users/{ada}/"), reserved).await;
    assert!(renamed.status == 400 && renamed.json.get("username").is_some(), "{}", renamed.text);
}

/// OA-850, OA-742: a posted request is one like any other, its parameters come from the body alone, and who signs in for it
/// is sent on by 303; pages that ask cannot be framed.
#[tokio::test]
async fn oa_850_requests_can_be_posted() {
    let (wiki, mut browser) = login::signed_in().await;
    let url = authorize(&wiki, &[]);
    let (path, query) = url.split_once('?').expect("a query");
    let pairs: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let posted = browser.post(&wiki.site, path, &pairs).await;
    assert!(member(&posted, "code").is_some(), "{}", posted.text);
    let mixed = browser.post(&wiki.site, &format!("{path}?client_id=other&scope=x"), &pairs).await;
    assert!(member(&mixed, "code").is_some());
    assert_eq!(browser.post(&wiki.site, &url, &[("state", "x")]).await.status, 400, "the query does not count");
    let mut stranger = Browser::default();
    let sent = stranger.get(&wiki.site, &url).await;
    let page = stranger.get(&wiki.site, location(&sent)).await;
    for page in [&page, &browser.get(&wiki.site, "/application/o/wiki/end-session/").await] {
        assert!(page.headers["content-security-policy"].to_str().expect("text").contains("frame-ancestors 'none'"));
        assert_eq!(page.headers["x-frame-options"], "DENY");
    }
    let all = [("uid_field", "ada"), ("password", PASSWORD)];
    assert_eq!(stranger.post(&wiki.site, location(&sent), &all).await.status, 303);
}

/// OA-744: a program on somebody's own device may listen at any port of its loopback address; a client with a secret may not.
#[tokio::test]
async fn oa_744_programs_listen_at_any_port() {
    let uris = json!([{"matching_mode": "strict", "url": "http://127.0.0.1:8400/cb"}]);
    let app = App::new(json!({"client_type": "public", "redirect_uris": uris})).await;
    let mut browser = Browser::default();
    browser.sign_in(&app.site, "ada", PASSWORD).await;
    let asked = async |browser: &mut Browser, uri: &str| {
        app.authorize_in(browser, &[("redirect_uri", uri)]).await.status.as_u16()
    };
    assert_eq!(asked(&mut browser, "http://127.0.0.1:51004/cb").await, 302);
    for other in
        ["http://127.0.0.1:51004/", "http://[::1]:51004/cb", "http://localhost:51004/cb", "https://127.0.0.1/cb"]
    {
        assert_eq!(asked(&mut browser, other).await, 400, "{other}");
    }
    app.change(json!({"client_type": "confidential"})).await;
    assert_eq!(asked(&mut browser, "http://127.0.0.1:51004/cb").await, 400);
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
    let app = App::new(json!({"grant_types": ["password"]})).await;
    let counting = metrics::set_default_local_recorder(&recorder);
    for (grant, key) in [("password", KEY), ("password", "wrong"), ("canary", KEY)] {
        app.ask("/application/o/token/", &[("grant_type", grant), ("username", "ada"), ("password", key)]).await;
    }
    app.ask("/application/o/introspect/", &[("client_secret", app.secret()), ("token", "x")]).await;
    drop(counting);
    let told = told.render();
    for (endpoint, grant, outcome) in [
        ("token", "password", "ok"),
        ("token", "password", "invalid_grant"),
        ("token", "other", "unsupported_grant_type"),
        ("introspect", "", "ok"),
    ] {
        let line = format!(
            "portcullis_oauth_requests_total{{endpoint=\"{endpoint}\",grant=\"{grant}\",outcome=\"{outcome}\"}} 1"
        );
        assert!(told.contains(&line), "{line}: {told}");
    }
    assert!(told.contains("portcullis_oauth_request_duration_seconds"), "{told}");
    assert!(!told.contains("ada") && !told.contains(app.id()) && !told.contains("canary"), "{told}");
}

/// OA-465, OA-126, OA-497: access tokens are of the type that outposts read, and are no credential of a client that asks about
/// tokens.
#[tokio::test]
async fn oa_497_a_token_is_no_client() {
    let app = App::new(json!({"grant_types": ["password"]})).await;
    let all = [("grant_type", "password"), ("username", "ada"), ("password", KEY), ("scope", "openid")];
    let issued = app.ask("/application/o/token/", &all).await;
    let token = text(&issued, "access_token");
    let header = token.split('.').next().expect("three parts");
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).expect("base64url")).expect("JSON");
    assert_eq!(header, json!({"alg": "HS256", "typ": "JWT"}));
    let bearer = format!("Bearer {token}");
    for path in ["introspect", "revoke"] {
        let path = format!("/application/o/{path}/");
        for client in [vec![("token", token)], vec![("token", token), ("client_id", app.id())]] {
            let refused = post(&app.site, &path, &client, &[("authorization", &bearer)]).await;
            assert_eq!((refused.status.as_u16(), text(&refused, "error")), (401, "invalid_client"), "{path}");
        }
    }
    assert_eq!(app.userinfo(token).await.status, 200);
}

/// OA-466: a token that would be too long is not issued; the answer does not say why.
#[tokio::test]
async fn oa_466_a_token_that_is_too_long_is_not_issued() {
    let app = App::new(json!({"grant_types": ["password"]})).await;
    let all = [("grant_type", "password"), ("username", "ada"), ("password", KEY), ("scope", "profile")];
    for (count, status) in [(100, 200), (700, 400)] {
        for number in 0..count {
            let body = json!({"name": format!("{}-{count}-{number}", "g".repeat(100)), "users": [app.ada]});
            assert_eq!(app.site.admin(Method::POST, "/core/groups/", body).await.status, 201);
        }
        let reply = app.ask("/application/o/token/", &all).await;
        assert_eq!(reply.status, status, "{count}");
        assert!(status == 200 || text(&reply, "error") == "invalid_grant", "{}", reply.text);
    }
}
