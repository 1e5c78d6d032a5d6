//! Machines at the token endpoint.

use base64::engine::general_purpose::STANDARD;
use portcullis_core::clock::Timestamp;
use portcullis_core::id::{OutpostId, UserPk};
use portcullis_store::grant::{self, AccessToken};
use portcullis_store::outpost::{self, Outpost};

use super::*;

const REFUSED: &str = "The grant is invalid, expired or not permitted";

/// OA-282, OA-224, OA-290, OA-291, OA-461, OA-660: a user name and an app password give an access token and an id
/// token of that user, with the claims of the granted scopes and without a session.
#[tokio::test]
async fn oa_282_user_and_app_password_give_tokens() {
    let wiki = Wiki::new().await;
    let reply = wiki.token_of_ada("openid profile nonsense offline_access").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.headers["cache-control"], "no-store");
    assert_eq!(reply.headers["pragma"], "no-cache");
    assert_eq!((text(&reply, "token_type"), text(&reply, "scope")), ("Bearer", "openid profile"));
    assert!(reply.json.get("refresh_token").is_none());
    assert_eq!(reply.json.get("logout_hint"), None);
    for token in [claims(&reply.json["access_token"]), claims(&reply.json["id_token"])] {
        assert_eq!(token["iss"], "http://id.example/application/o/wiki/");
        assert_eq!(token["aud"], wiki.client_id.as_str());
        assert_eq!(token["preferred_username"], "ada");
        assert_eq!(token["sub"].as_str().map(str::len), Some(64));
        assert_eq!(token["exp"].as_i64().unwrap_or(0) - token["iat"].as_i64().unwrap_or(0), reply.json["expires_in"]);
        assert!(token.get("sid").is_none() && token.get("amr").is_none() && token.get("nonce").is_none());
        assert!(token.get("ak_proxy").is_none());
    }
    assert_eq!(claims(&reply.json["access_token"])["azp"], wiki.client_id.as_str());
    let (count, login) = wiki.site.events("login").await;
    assert_eq!(
        (count, &login["auth_method"], &login["auth_method_args"]["identifier"]),
        (1, &json!("token"), &json!("ada-key"))
    );
}

/// OA-897, PX-417, PX-359: upstream credentials leave the server for an outpost elsewhere alone, and the assertion for the
/// application opens nothing.
#[tokio::test]
async fn oa_897_attributes_stay_on_the_server() {
    let wiki = Wiki::new().await;
    let anybody = wiki.token_of_ada("openid profile email entitlements ak_proxy").await;
    assert!(anybody.json.get("upstream_token").is_none(), "without the client's secret");
    let reply = wiki.token_for_outpost("openid profile email entitlements ak_proxy").await;
    assert_eq!(claims(&reply.json["access_token"])["ak_proxy"]["user_attributes"], json!({}));
    assert_eq!(claims(&reply.json["id_token"])["ak_proxy"]["user_attributes"], json!({}));
    let assertion = text(&reply, "upstream_token");
    assert!(claims(&reply.json["upstream_token"]).get("ak_proxy").is_none());
    assert_eq!(
        jsonwebtoken::decode_header(assertion).expect("a header").typ.as_deref(),
        Some("portcullis-upstream+jwt")
    );
    assert!(!wiki.is_active(assertion).await);
    let told = async || {
        let introspected = wiki.introspect(text(&reply, "access_token")).await;
        introspected.json["ak_proxy"]["user_attributes"].clone()
    };
    assert_eq!(told().await, json!({}));
    // The record knows them: an outpost elsewhere, which proves the client's secret, is told.
    let outpost = Outpost {
        pk: OutpostId(wiki.site.ctx.entropy.uuid()),
        name: "elsewhere".to_owned(),
        kind: "proxy".to_owned(),
        config: json!({}),
        managed: None,
    };
    let mut tx = wiki.site.ctx.db.write().await.expect("writes");
    outpost::insert(&mut tx, &outpost).await.expect("stores");
    outpost::attach(&mut tx, outpost.pk, wiki.pk()).await.expect("stores");
    tx.commit().await.expect("commits");
    assert_eq!(told().await, json!({"app_username": "upstream", "app_password": "open sesame"}));
}

/// OA-288, OA-295, OA-296, OA-610, OA-661: whatever is wrong with user or app password, the answer is the same.
#[tokio::test]
async fn oa_288_every_failure_has_the_same_answer() {
    let wiki = Wiki::new().await;
    let bob = wiki.site.user("bob").await;
    app_password(&wiki.site, bob, "bob-key", "app-password-of-bob-0000000000000000001").await;
    wiki.site.admin(Method::PATCH, &format!("/core/users/{bob}/"), json!({"is_active": false})).await;
    let api_key = wiki.site.api_key(wiki.ada, "ada-api").await;
    for (username, password) in [
        ("ada", "wrong"),
        ("ada", ""),
        ("ADA", KEY),
        ("nobody", KEY),
        ("bob", "app-password-of-bob-0000000000000000001"),
        ("bob", KEY),
        ("ada", api_key.as_str()),
        ("goauthentik.io/token", KEY),
        ("a\u{0}b", KEY),
    ] {
        let all = [("grant_type", "password"), ("username", username), ("password", password)];
        let reply = wiki.token(&all).await;
        assert_eq!(reply.status, 400, "{username} {password}");
        let expected = if username.contains('\0') { "invalid_request" } else { "invalid_grant" };
        assert_eq!(text(&reply, "error"), expected, "{username} {password}");
        assert_eq!(reply.json.as_object().map(serde_json::Map::len), Some(3));
        if expected == "invalid_grant" {
            assert_eq!(text(&reply, "error_description"), REFUSED);
        }
    }
    assert_eq!(wiki.site.events("login").await.0, 0);
    let (failures, last) = wiki.site.events("login_failed").await;
    assert!(failures >= 7, "{failures}");
    assert!(!last.to_string().contains(KEY));
}

/// CO-061, CO-064, OA-296: what a token says of groups is what holds when it is issued, whatever was said a moment before.
#[tokio::test]
async fn co_061_a_token_says_where_somebody_belongs_now() {
    let wiki = Wiki::new().await;
    let admin = async |method: Method, path: &str, body: Value| {
        let reply = wiki.site.admin(method, path, body).await;
        assert!(reply.status.is_success(), "{path}: {}", reply.text);
        reply.json
    };
    let groups = async || {
        let reply = wiki.token_of_ada("openid profile ak_proxy").await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let claims = claims(&reply.json["access_token"]);
        let attributes = {
            let mut conn = wiki.site.ctx.db.read().await.expect("reads");
            let person = portcullis_idp::directory::person(&wiki.site.ctx, &mut conn, ada(&wiki)).await;
            Value::Object(person.expect("reads").expect("ada").effective_attributes)["level"].clone()
        };
        (claims["groups"].clone(), claims["ak_proxy"]["is_superuser"].clone(), attributes)
    };
    let before = groups().await;
    assert_eq!((&before.1, &before.2), (&json!(false), &Value::Null));
    let parent = admin(Method::POST, "/core/groups/", json!({"name": "parent", "attributes": {"level": 1}})).await;
    let body = json!({"name": "staff", "users": [wiki.ada], "parents": [parent["pk"]]});
    let staff = admin(Method::POST, "/core/groups/", body).await;
    let (staff, parent) = (format!("/core/groups/{}/", text_of(&staff)), format!("/core/groups/{}/", text_of(&parent)));
    let with = |name: &str| {
        let mut all = before.0.as_array().expect("groups").clone();
        all.push(json!(name));
        Value::Array(all)
    };
    assert_eq!(groups().await, (with("staff"), json!(false), json!(1)), "joined");
    assert_eq!(groups().await, (with("staff"), json!(false), json!(1)), "and nothing has changed");
    admin(Method::PATCH, &parent, json!({"attributes": {"level": 2}})).await;
    assert_eq!(groups().await, (with("staff"), json!(false), json!(2)), "an attribute of an ancestor");
    admin(Method::PATCH, &parent, json!({"is_superuser": true})).await;
    assert_eq!(groups().await, (with("staff"), json!(true), json!(2)), "promoted");
    admin(Method::PATCH, &staff, json!({"name": "team", "parents": []})).await;
    assert_eq!(groups().await, (with("team"), json!(false), Value::Null), "renamed, and out of its parent");
    admin(Method::POST, &format!("{staff}remove_user/"), json!({"pk": wiki.ada})).await;
    assert_eq!(groups().await, before, "left");
    admin(Method::POST, &format!("{staff}add_user/"), json!({"pk": wiki.ada})).await;
    assert_eq!(groups().await.0, with("team"), "came back");
    admin(Method::DELETE, &staff, Value::Null).await;
    assert_eq!(groups().await, before, "and the group is gone");
}

fn ada(wiki: &Wiki) -> UserPk {
    UserPk(i32::try_from(wiki.ada).expect("small"))
}

fn text_of(made: &Value) -> &str {
    made["pk"].as_str().expect("a key")
}

/// OA-296, OA-801: an app password ends at its own instant, whether or not it was swept.
#[tokio::test]
async fn oa_801_an_expired_app_password_is_refused() {
    let wiki = Wiki::new().await;
    let expires = "2026-10-01T00:00:00Z";
    let body = json!({"identifier": "short", "user": wiki.ada, "intent": "app_password", "expires": expires});
    assert_eq!(wiki.site.admin(Method::POST, "/core/tokens/", body).await.status, 201);
    let key = "short-lived-app-password-000000000000001";
    wiki.site.admin(Method::POST, "/core/tokens/short/set_key/", json!({"key": key})).await;
    let all = [("grant_type", "client_credentials"), ("username", "ada"), ("password", key)];
    let reply = wiki.token(&all).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    wiki.site.clock.advance_seconds(30 * 24 * 3600);
    assert_eq!(text(&wiki.token(&all).await, "error"), "invalid_grant");
}

/// OA-285, OA-305: user name and app password packed into the client secret, in the body or in Basic.
#[tokio::test]
async fn oa_285_packed_credentials_are_a_user() {
    let wiki = Wiki::new().await;
    let packed = STANDARD.encode(format!("ada:{KEY}"));
    let reply = wiki.token(&[("grant_type", "client_credentials"), ("client_secret", &packed)]).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let basic = format!("Basic {}", STANDARD.encode(format!("{}:{}", wiki.client_id, packed.replace('=', "%3D"))));
    let all = [("grant_type", "client_credentials"), ("scope", "profile")];
    let reply = post(&wiki.site, "/application/o/token", &all, &[("authorization", &basic)]).await;
    assert_eq!(claims(&reply.json["id_token"])["preferred_username"], "ada");
    for bad in ["", "!", &STANDARD.encode("ada"), &STANDARD.encode(format!("bob:{KEY}"))] {
        let reply = wiki.token(&[("grant_type", "client_credentials"), ("client_secret", bad)]).await;
        assert_eq!((reply.status.as_u16(), text(&reply, "error")), (400, "invalid_grant"), "{bad}");
    }
}

/// OA-283, OA-310, OA-311, OA-314, OA-813, OA-624: the client's secret stands for an account of its own, made once.
#[tokio::test]
async fn oa_283_the_client_secret_has_an_account() {
    let wiki = Wiki::new().await;
    let all = [("grant_type", "client_credentials"), ("client_secret", &*wiki.client_secret), ("scope", "profile")];
    let first = wiki.token(&all).await;
    assert_eq!(first.status, 200, "{}", first.text);
    let said = claims(&first.json["access_token"]);
    assert_eq!(said["preferred_username"], "ak-wiki-client_credentials");
    assert_eq!(claims(&wiki.token(&all).await.json["access_token"])["sub"], said["sub"]);
    let found = wiki.site.admin(Method::GET, "/core/users/?username=ak-wiki-client_credentials", None).await;
    let account = &found.json["results"][0];
    assert_eq!(found.json["pagination"]["count"], 1);
    assert_eq!((&account["type"], &account["path"]), (&json!("service_account"), &json!("goauthentik.io/apps/wiki")));
    assert_eq!(account["attributes"]["goauthentik.io/user/generated"], true);
    assert_eq!(wiki.site.events("login").await.1["auth_method"], "oauth_client_secret");

    let path = format!("/core/users/{}/", account["pk"]);
    let shown = wiki.site.admin(Method::GET, &path, None).await.json;
    let nobody = Value::Null;
    let generated = json!({"provider": wiki.provider, "provider_name": "wiki", "source": nobody, "issuer": nobody,
        "subject": nobody});
    assert_eq!(shown["generated"], generated, "OA-624");
    assert_eq!(shown["last_login"], json!(wiki.site.ctx.now().to_string()), "OA-624");
    let ada = wiki.site.admin(Method::GET, &format!("/core/users/{}/", wiki.ada), None).await.json;
    assert!(ada.get("generated").is_none());
    wiki.site.admin(Method::PATCH, &path, json!({"is_active": false})).await;
    assert_eq!(text(&wiki.token(&all).await, "error"), "invalid_grant", "OA-313");
}

/// OA-312, OA-814: an account that happens to have the name keeps it.
#[tokio::test]
async fn oa_312_no_account_is_taken_over() {
    let wiki = Wiki::new().await;
    wiki.site.user("ak-wiki-client_credentials").await;
    let all = [("grant_type", "client_credentials"), ("client_secret", &*wiki.client_secret), ("scope", "profile")];
    let said = claims(&wiki.token(&all).await.json["access_token"]);
    let name = said["preferred_username"].as_str().expect("a name");
    assert!(name.starts_with("ak-wiki-client_credentials-") && name.len() == "ak-wiki-client_credentials-".len() + 8);
}

/// OA-400, OA-402, OA-313, OA-815: the policies of the application decide, and nothing is made when they say no.
#[tokio::test]
async fn oa_400_policies_decide_about_machines() {
    let wiki = Wiki::new().await;
    let bob = wiki.site.user("bob").await;
    wiki.bind_to(bob).await;
    assert_eq!(text(&wiki.token_of_ada("openid").await, "error"), "invalid_grant");
    let all = [("grant_type", "client_credentials"), ("client_secret", &*wiki.client_secret)];
    assert_eq!(text(&wiki.token(&all).await, "error"), "invalid_grant");
    let found = wiki.site.admin(Method::GET, "/core/users/?username=ak-wiki-client_credentials", None).await;
    assert_eq!(found.json["pagination"]["count"], 0);
    wiki.bind_to(wiki.ada).await;
    assert_eq!(wiki.token_of_ada("openid").await.status, 200);
}

/// OA-013, OA-212, OA-215, OA-217, OA-218, OA-221, OA-219, OA-280, OA-702, OA-854: the protocol's words for what is
/// wrong with client and grant.
#[tokio::test]
async fn oa_217_errors_have_their_words() {
    let wiki = Wiki::new().await;
    let token = async |parameters: &[(&str, &str)]| post(&wiki.site, "/application/o/token/", parameters, &[]).await;
    let reply = token(&[("client_id", "nobody"), ("grant_type", "password")]).await;
    assert_eq!((reply.status.as_u16(), text(&reply, "error")), (400, "invalid_client"));
    let basic = format!("Basic {}", STANDARD.encode("nobody:x"));
    let all = [("grant_type", "password")];
    let headers = [("authorization", basic.as_str()), ("host", "evil.example")];
    let reply = post(&wiki.site, "/application/o/token/", &all, &headers).await;
    assert_eq!((reply.status.as_u16(), text(&reply, "error")), (401, "invalid_client"));
    assert_eq!(reply.headers["www-authenticate"], "Basic realm=\"id.example\"");
    assert_eq!(text(&reply, "request_id"), reply.headers["x-authentik-id"].to_str().expect("text"));
    for (grant, secret, error) in [
        ("", "", "unsupported_grant_type"),
        ("implicit", "", "unsupported_grant_type"),
        ("urn:ietf:params:oauth:grant-type:device_code", "", "unauthorized_client"),
        ("authorization_code", "wrong", "invalid_client"),
        ("refresh_token", "wrong", "invalid_client"),
        ("refresh_token", &wiki.client_secret, "invalid_grant"),
        ("authorization_code", &wiki.client_secret, "invalid_grant"),
    ] {
        let reply = wiki.token(&[("grant_type", grant), ("client_secret", secret)]).await;
        assert_eq!((reply.status.as_u16(), text(&reply, "error")), (400, error), "{grant}");
    }
    let assertion =
        [("grant_type", "client_credentials"), ("client_assertion_type", "x"), ("username", "ada"), ("password", KEY)];
    assert_eq!(text(&wiki.token(&assertion).await, "error"), "invalid_grant", "OA-280");
}

/// OA-680, OA-682, OA-222, OA-811: ten failures close the door for that address and name; the right app password from
/// elsewhere, and other names from there, go on.
#[tokio::test]
async fn oa_680_guessing_closes_the_door_for_the_guesser_alone() {
    let wiki = Wiki::new().await;
    let bob = wiki.site.user("bob").await;
    app_password(&wiki.site, bob, "bob-key", "app-password-of-bob-0000000000000000001").await;
    let attempt = async |from: [u8; 4], username: &str, password: &str| {
        let all = [
            ("client_id", &*wiki.client_id),
            ("grant_type", "client_credentials"),
            ("username", username),
            ("password", password),
        ];
        post_from(&wiki.site, from, "/application/o/token/", &all).await
    };
    let guesser = [198, 51, 100, 7];
    for _ in 0..10 {
        assert_eq!(attempt(guesser, "ada", "guess").await.status, 400);
    }
    let closed = attempt(guesser, "ada", KEY).await;
    assert_eq!((closed.status.as_u16(), text(&closed, "error")), (429, "slow_down"));
    let wait: i64 = closed.headers["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((1..=300).contains(&wait), "{wait}");
    assert_eq!(attempt([198, 51, 100, 8], "ada", KEY).await.status, 200);
    assert_eq!(attempt(guesser, "bob", "app-password-of-bob-0000000000000000001").await.status, 200);
    wiki.site.clock.advance_seconds(wait);
    assert_eq!(attempt(guesser, "ada", KEY).await.status, 200);
}

/// OA-296, OA-313, CO-037: what is taken away while a machine is being checked is taken into account: nothing is
/// issued to a user, or for an account, that was deactivated meanwhile.
#[tokio::test]
async fn oa_296_deactivation_counts_until_the_token_is_issued() {
    let wiki = Wiki::new().await;
    let secret = [
        ("grant_type", "client_credentials"),
        ("client_secret", wiki.client_secret.as_str()),
        ("scope", "openid profile"),
    ];
    let of_client = claims(&wiki.token(&secret).await.json["access_token"]);
    let by_secret = of_client["preferred_username"].as_str().expect("a name").to_owned();
    let password = [("grant_type", "client_credentials"), ("username", "ada"), ("password", KEY)];
    for (username, request) in [("ada", &password[..]), (&by_secret, &secret[..])] {
        assert_eq!(wiki.token(request).await.status, 200, "{username}");
        let mut tx = wiki.site.ctx.db.write().await.expect("writes");
        let (reply, ()) = tokio::join!(wiki.token(request), async {
            // By now the request has been checked, and waits for the database.
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            let mut account =
                portcullis_store::account::by_username(&mut tx, username).await.expect("reads").expect("is there");
            account.is_active = false;
            portcullis_store::account::update(&mut tx, &account).await.expect("stores");
            tx.commit().await.expect("commits");
        });
        assert_eq!((reply.status.as_u16(), text(&reply, "error")), (400, "invalid_grant"), "{username}");
    }
}

/// Keeps tokens of Ada that came from no session.
async fn keep_tokens(wiki: &Wiki, count: u32, expires: Timestamp) {
    let mut tx = wiki.site.ctx.db.write().await.expect("writes");
    for number in 0..count {
        let jti = wiki.site.ctx.entropy.alphanumeric(40);
        let record = AccessToken {
            digest: jti.as_bytes().to_vec(),
            grant_id: jti.clone(),
            jti,
            provider: wiki.pk(),
            account: UserPk(i32::try_from(wiki.ada).expect("small")),
            sid: None,
            app_password: None,
            app_password_key: None,
            traded_sid: None,
            traded_jti: None,
            actor_jti: None,
            source: None,
            source_at: None,
            actor: None,
            scope: String::new(),
            claims_sealed: Vec::new(),
            assertion_sealed: None,
            groups: Vec::new(),
            issued: Timestamp::from_seconds(number.into()),
            expires,
            revoked: None,
        };
        grant::insert_token(&mut tx, &record).await.expect("stores");
    }
    tx.commit().await.expect("commits");
}

/// OA-649: of the tokens without a session, a user has the thousand newest at a provider; the others are gone.
#[tokio::test]
async fn oa_649_tokens_without_a_session_are_bounded() {
    let wiki = Wiki::new().await;
    keep_tokens(&wiki, 1500, wiki.site.ctx.now().plus_seconds(3600)).await;
    let token = wiki.token_of_ada("").await;
    assert!(wiki.is_active(text(&token, "access_token")).await);
    let mut tx = wiki.site.ctx.db.write().await.expect("writes");
    let owner = UserPk(i32::try_from(wiki.ada).expect("small"));
    assert_eq!(grant::bound_sessionless(&mut tx, owner, wiki.pk(), 0).await.expect("counts").len(), 1000);
    assert_eq!(grant::bound_sessionless(&mut tx, owner, wiki.pk(), 0).await.expect("counts").len(), 0);
}

/// OA-643: one sweep removes everything whose time is over, however much it is.
#[tokio::test]
async fn oa_643_a_sweep_leaves_nothing_behind() {
    let wiki = Wiki::new().await;
    keep_tokens(&wiki, 2500, wiki.site.ctx.now()).await;
    portcullis_idp::oauth::sweep(&wiki.site.ctx).await.expect("sweeps");
    let mut tx = wiki.site.ctx.db.write().await.expect("writes");
    let now = wiki.site.ctx.now();
    assert_eq!(grant::sweep(&mut tx, now, now, 10).await.expect("sweeps"), 0);
}

/// OA-680: attempts that name no user are nobody's, and delay nobody.
#[tokio::test]
async fn oa_680_attempts_without_a_name_delay_nobody() {
    let wiki = Wiki::new().await;
    let id = ("client_id", wiki.client_id.as_str());
    for number in 0..200 {
        let all = [id, ("grant_type", "authorization_code"), ("client_secret", "guess")];
        let refused = post_from(&wiki.site, [198, 51, 100, number / 10], "/application/o/token/", &all).await;
        assert_eq!(refused.json["error"], "invalid_client");
    }
    let all = [id, ("client_secret", &wiki.client_secret), ("token", "x")];
    let answered = post_from(&wiki.site, [192, 0, 2, 9], "/application/o/introspect/", &all);
    let answered = tokio::time::timeout(std::time::Duration::from_secs(1), answered).await.expect("at once");
    assert_eq!(answered.json, json!({"active": false}));
}

/// OA-004, OA-008, OA-009, OA-804: nothing that a client sends is a server error.
#[tokio::test]
async fn oa_004_malformed_requests_are_never_server_errors() {
    let wiki = Wiki::new().await;
    let long = "x".repeat(70_000);
    let garbage = [
        "",
        "&&==&",
        "grant_type",
        "grant_type=%",
        "grant_type=%zz&client_id=%ff",
        "a=%00",
        "\u{1}=\u{2}",
        "client_id=a&client_id=b",
        "code=%F0%9F%92%A9&grant_type=authorization_code",
        "token=%ff",
        &long,
    ];
    let basics = ["Basic", "Basic ", "Basic ====", "Basic /////w==", "Basic Og==", "Bearer x", "\u{7f}"];
    for path in
        ["/application/o/token/", "/application/o/introspect/", "/application/o/revoke/", "/application/o/authorize/"]
    {
        for body in garbage {
            for basic in basics {
                let mut request = Request::builder().method(Method::POST).uri(path);
                request = request.header("content-type", "application/x-www-form-urlencoded");
                if let Ok(value) = http::HeaderValue::from_str(basic) {
                    request = request.header("authorization", value);
                }
                let reply = wiki.site.raw(request.body(Body::from(body.to_owned())).expect("a request")).await;
                let asks_again = path.contains("authorize") && reply.status == 303;
                assert!(
                    asks_again || reply.status.is_client_error(),
                    "{path} {basic} {}: {}",
                    &body[..body.len().min(40)],
                    reply.status
                );
            }
        }
        let json = Request::post(path).header("content-type", "application/json").body(Body::from("{}"));
        let reply = wiki.site.raw(json.expect("a request")).await;
        assert_eq!((reply.status.as_u16(), text(&reply, "error")), (400, "invalid_request"), "{path}");
    }
    let huge = wiki.token(&[("grant_type", "password"), ("username", &long)]).await;
    assert_eq!((huge.status.as_u16(), &huge.headers["cache-control"]), (413, &"no-store".parse().expect("a value")));
    let query = "x".repeat(17 * 1024);
    for path in [
        "/application/o/token/",
        "/application/o/userinfo/",
        "/application/o/authorize/",
        "/application/o/wiki/end-session/",
        "/application/o/wiki/jwks/",
        "/device",
    ] {
        let reply = get(&wiki.site, &format!("{path}?{query}"), &[]).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.headers["cache-control"]),
            (414, &"no-store".parse().expect("a value"))
        );
    }
}
