//! Introspection and revocation.

use super::browser::set_password;
use super::login::{code, redeem, signed_in};
use super::*;

/// OA-490, OA-494, PX-152: the client learns who its token stands for, with every claim an outpost reads.
#[tokio::test]
async fn oa_494_an_active_token_tells_who_it_is() {
    let wiki = Wiki::new().await;
    let token = wiki.token_of_ada("openid profile email entitlements ak_proxy").await;
    let reply = wiki.introspect(text(&token, "access_token")).await;
    assert_eq!(reply.status, 200);
    let said = &reply.json;
    assert_eq!((&said["active"], &said["token_type"]), (&json!(true), &json!("Bearer")));
    assert_eq!((&said["client_id"], &said["username"]), (&json!(wiki.client_id), &json!("ada")));
    assert_eq!(said["scope"], "ak_proxy email entitlements openid profile");
    for claim in ["iss", "sub", "aud", "exp", "email", "name", "preferred_username", "groups", "entitlements"] {
        assert!(!said[claim].is_null(), "{claim}");
    }
    assert_eq!(said["ak_proxy"]["is_superuser"], false);
    assert_eq!(said["ak_proxy"]["user_uuid"].as_str().map(str::len), Some(36));
    assert!(said.get("azp").is_none() && said.get("uid").is_none());
    assert!(said["upstream_token"].is_string());
}

/// PX-198, PX-416: an outpost learns by which id the user of a token is revoked, whatever scopes the token has; of the rest of
/// the claim, and in tokens, there is nothing without its scope.
#[tokio::test]
async fn px_198_an_outpost_learns_whom_a_token_is_about() {
    let wiki = Wiki::new().await;
    let full = wiki.token_for_outpost("openid ak_proxy").await;
    let uuid = claims(&full.json["access_token"])["ak_proxy"]["user_uuid"].clone();
    assert_eq!(uuid.as_str().map(str::len), Some(36));
    let token = wiki.token_for_outpost("openid").await;
    assert!(claims(&token.json["access_token"]).get("ak_proxy").is_none());
    assert_eq!(token.json["user_uuid"], uuid);
    let said = wiki.introspect(text(&token, "access_token")).await.json;
    assert_eq!((&said["active"], &said["ak_proxy"]), (&json!(true), &json!({"user_uuid": uuid})));
    let anybody = wiki.token_of_ada("openid").await;
    assert!(anybody.json.get("user_uuid").is_none(), "without the client's secret");
}

/// OA-492, OA-493, OA-495, OA-707, OA-880, OA-881: a client that does not prove itself gets 401; whatever is no token
/// of its own is just not active.
#[tokio::test]
async fn oa_493_only_ones_own_tokens_are_visible() {
    let wiki = Wiki::new().await;
    let token = wiki.token_of_ada("openid").await;
    let all = [("client_id", &*wiki.client_id), ("client_secret", "wrong"), ("token", text(&token, "access_token"))];
    let reply = post(&wiki.site, "/application/o/introspect/", &all, &[]).await;
    assert_eq!((reply.status.as_u16(), text(&reply, "error")), (401, "invalid_client"));
    assert!(reply.headers["www-authenticate"].to_str().expect("text").starts_with("Basic realm="));
    for odd in ["", "x", "a.b.c", text(&token, "id_token"), &"y".repeat(60_000)] {
        assert!(!wiki.is_active(odd).await);
    }
    let (_, client_id, client_secret) = application(&wiki.site, "other", "http://other.example").await;
    let all = [("client_id", &*client_id), ("client_secret", &client_secret), ("token", text(&token, "access_token"))];
    let reply = post(&wiki.site, "/application/o/introspect/", &all, &[]).await;
    assert_eq!(reply.json, json!({"active": false}));
}

/// OA-037, OA-493, PX-418, PX-533: a provider's token is visible to those it lists, without other people's secrets,
/// and the policies of the application that is accessed decide.
#[tokio::test]
async fn px_418_federated_tokens_obey_the_accessed_application() {
    let wiki = Wiki::new().await;
    let (other, client_id, client_secret) = application(&wiki.site, "other", "http://other.example").await;
    let path = format!("/providers/proxy/{}/", wiki.provider);
    let changed = wiki.site.admin(Method::PATCH, &path, json!({"jwt_federation_providers": [other]})).await;
    assert_eq!(changed.status, 200, "{:?}", changed.json);
    let token = wiki.token_of_ada("openid ak_proxy").await;
    let all = [("client_id", &*client_id), ("client_secret", &client_secret), ("token", text(&token, "access_token"))];
    let reply = post(&wiki.site, "/application/o/introspect/", &all, &[]).await;
    assert_eq!((&reply.json["active"], &reply.json["client_id"]), (&json!(true), &json!(wiki.client_id)));
    assert_eq!(reply.json["ak_proxy"]["user_attributes"], json!({}));
    let bob = wiki.site.user("bob").await;
    let target = wiki.site.admin(Method::GET, "/core/applications/other/", None).await;
    let body = json!({"target": target.json["pk"], "user": bob, "order": 0});
    assert_eq!(wiki.site.admin(Method::POST, "/policies/bindings/", body).await.status, 201);
    let reply = post(&wiki.site, "/application/o/introspect/", &all, &[]).await;
    assert_eq!(reply.json, json!({"active": false}));
    assert!(wiki.is_active(text(&token, "access_token")).await);
}

/// OA-463, PX-418, OA-498, OA-462: a token falls with its binding, its time, its app password, that password's key, its
/// user's activity and its session.
#[tokio::test]
async fn oa_463_a_token_falls_with_what_it_rests_on() {
    let (wiki, mut browser) = signed_in().await;
    let fresh = async || text(&wiki.token_of_ada("openid").await, "access_token").to_owned();
    let patch = async |path: String, body: Value| {
        assert!(wiki.site.admin(Method::PATCH, &path, body).await.status.is_success(), "{path}");
    };

    let token = fresh().await;
    let bob = wiki.site.user("bob").await;
    let binding = wiki.bind_to(bob).await;
    assert!(!wiki.is_active(&token).await, "binding");
    wiki.site.admin(Method::DELETE, &format!("/policies/bindings/{binding}/"), None).await;
    assert!(wiki.is_active(&token).await);

    wiki.site.admin(Method::POST, "/core/tokens/ada-key/set_key/", json!({"key": "a-different-key-000001"})).await;
    assert!(!wiki.is_active(&token).await, "another key");
    wiki.site.admin(Method::POST, "/core/tokens/ada-key/set_key/", json!({"key": KEY})).await;

    let token = fresh().await;
    patch(format!("/core/users/{}/", wiki.ada), json!({"is_active": false})).await;
    assert!(!wiki.is_active(&token).await, "inactive");
    patch(format!("/core/users/{}/", wiki.ada), json!({"is_active": true})).await;

    let token = fresh().await;
    wiki.site.clock.advance_seconds(25 * 3600);
    assert!(!wiki.is_active(&token).await, "expired");

    let token = fresh().await;
    wiki.site.admin(Method::DELETE, "/core/tokens/ada-key/", None).await;
    assert!(!wiki.is_active(&token).await, "app password deleted");

    set_password(&wiki.site, wiki.ada, "correct horse battery").await;
    browser.sign_in(&wiki.site, "ada", "correct horse battery").await;
    let approved = code(&wiki, &mut browser).await;
    let token = text(&redeem(&wiki, &approved, &[]).await, "access_token").to_owned();
    assert!(wiki.is_active(&token).await);
    browser.post(&wiki.site, "/if/flow/default-invalidation-flow/", &[]).await;
    assert!(!wiki.is_active(&token).await, "session ended");
}

/// OA-510, OA-512, OA-513, OA-496, OA-708: a revoked token is inactive at once; unknown ones are no error, a missing
/// one is; its later use is reported once.
#[tokio::test]
async fn oa_512_revocation() {
    let wiki = Wiki::new().await;
    let token = wiki.token_of_ada("openid").await;
    let other = wiki.token_of_ada("openid").await;
    let revoke = async |token: &str, secret: &str| {
        let all = [("client_id", &*wiki.client_id), ("client_secret", secret), ("token", token)];
        post(&wiki.site, "/application/o/revoke/", &all, &[]).await
    };
    assert_eq!(revoke("unknown", &wiki.client_secret).await.json, json!({}));
    let missing = revoke("", &wiki.client_secret).await;
    assert_eq!((missing.status.as_u16(), text(&missing, "error")), (400, "invalid_request"));
    assert_eq!(revoke(text(&token, "access_token"), "wrong").await.status, 401);
    assert!(wiki.is_active(text(&token, "access_token")).await);
    let done = revoke(text(&token, "access_token"), &wiki.client_secret).await;
    assert_eq!((done.status.as_u16(), &done.json), (200, &json!({})));
    for _ in 0..3 {
        assert!(!wiki.is_active(text(&token, "access_token")).await);
    }
    assert!(wiki.is_active(text(&other, "access_token")).await);
    let (count, event) = wiki.site.events("suspicious_request").await;
    assert_eq!((count, &event["provider"], &event["affected_user"]["name"]), (1, &json!("wiki"), &json!("ada")));
}

/// PX-198, PX-418: a token whose user has lost a group that it names is inactive to the outpost, which would go on naming it.
#[tokio::test]
async fn px_418_a_lost_group_makes_a_token_inactive() {
    let wiki = Wiki::new().await;
    let group = wiki.site.admin(Method::POST, "/core/groups/", json!({"name": "editors"})).await.json["pk"].clone();
    let group = group.as_str().expect("a key").to_owned();
    let member = json!({"pk": wiki.ada});
    wiki.site.admin(Method::POST, &format!("/core/groups/{group}/add_user/"), member.clone()).await;
    let token = text(&wiki.token_of_ada("openid profile").await, "access_token").to_owned();
    assert_eq!(wiki.introspect(&token).await.json["groups"], json!(["editors"]));
    wiki.site.admin(Method::POST, "/core/groups/", json!({"name": "others", "users": [wiki.ada]})).await;
    assert!(wiki.is_active(&token).await, "one more is no loss");
    wiki.site.admin(Method::POST, &format!("/core/groups/{group}/remove_user/"), member).await;
    assert!(!wiki.is_active(&token).await);
}

/// CO-389, CO-442, OA-816: an outpost that shows its token speaks for its client's address: that is what failures are counted
/// by and what app passwords are limited by. Whoever has no such token speaks for themselves.
#[tokio::test]
async fn co_389_an_outpost_speaks_for_its_client() {
    let wiki = Wiki::new().await;
    let body = json!({"name": "edge", "type": "proxy", "providers": [wiki.provider], "config": {}});
    let made = wiki.site.admin(Method::POST, "/outposts/instances/", body).await;
    let path = format!("/core/tokens/{}/view_key/", text(&made, "token_identifier"));
    let key = text(&wiki.site.admin(Method::GET, &path, None).await, "key").to_owned();
    let limits = json!({"allowed_networks": ["203.0.113.0/24"]});
    let limited = wiki.site.admin(Method::PATCH, "/core/tokens/ada-key/", limits).await;
    assert_eq!(limited.status, 200, "{:?}", limited.json);
    let ask = async |headers: &[(&str, &str)], password: &str| {
        let all = [
            ("client_id", wiki.client_id.as_str()),
            ("grant_type", "client_credentials"),
            ("username", "ada"),
            ("password", password),
            ("scope", "openid"),
        ];
        post(&wiki.site, "/application/o/token/", &all, headers).await
    };
    let from = |address, key| [("x-authentik-remote-ip", address), ("x-authentik-outpost-token", key)];
    assert_eq!(ask(&[], KEY).await.status, 400);
    assert_eq!(
        ask(&from("203.0.113.9", crate::testing::TOKEN), KEY).await.status,
        400,
        "an administrator is no outpost"
    );
    assert_eq!(ask(&from("203.0.113.9", "wrong"), KEY).await.status, 400);
    assert_eq!(ask(&from("198.51.100.1", &key), KEY).await.status, 400);
    let told = ask(&from("203.0.113.9", &key), KEY).await;
    assert!(told.json["upstream_token"].is_string(), "PX-417: it is the outpost that asks");
    assert_eq!(told.json["allowed_networks"], json!(["203.0.113.0/24"]), "the outpost goes on to look");
    let token = text(&told, "access_token").to_owned();

    let introspect = async |headers: &[(&str, &str)]| {
        let (id, secret) = (wiki.client_id.as_str(), wiki.client_secret.as_str());
        let all = [("client_id", id), ("client_secret", secret), ("token", token.as_str())];
        post(&wiki.site, "/application/o/introspect/", &all, headers).await.json
    };
    let inside = introspect(&from("203.0.113.9", &key)).await;
    assert_eq!((&inside["active"], &inside["allowed_networks"]), (&json!(true), &json!(["203.0.113.0/24"])));
    assert_eq!(introspect(&from("198.51.100.1", &key)).await, json!({"active": false}));

    for _ in 0..12 {
        ask(&from("203.0.113.66", &key), "guess").await;
    }
    assert_eq!(ask(&from("203.0.113.66", &key), KEY).await.status, 429);
    assert_eq!(ask(&from("203.0.113.9", &key), KEY).await.status, 200, "others behind the same outpost go on");

    let outpost = format!("/outposts/instances/{}/", text(&made, "pk"));
    let known = wiki.site.admin(Method::GET, &format!("/providers/proxy/{}/", wiki.provider), None).await.json;
    let other = json!({"name": "other", "external_host": "https://other.example", "internal_host": "http://127.0.0.1:1",
        "authorization_flow": known["authorization_flow"], "invalidation_flow": known["invalidation_flow"]});
    let other = wiki.site.admin(Method::POST, "/providers/proxy/", other).await.json["pk"].clone();
    let taken_away = wiki.site.admin(Method::PATCH, &outpost, json!({"providers": [other]})).await;
    assert_eq!(taken_away.status, 200, "{:?}", taken_away.json);
    assert_eq!(ask(&from("203.0.113.9", &key), KEY).await.status, 400, "it has no say about what it does not serve");
}

/// OA-514: a revocation is in force before it is answered: here nothing that was built on the token is used any more, and
/// another process that shares the database refuses it at once.
#[tokio::test]
async fn oa_514_a_revocation_is_in_force_when_it_is_answered() {
    let wiki = Wiki::new().await;
    let ctx = &wiki.site.ctx;
    let clock = std::sync::Arc::clone(&wiki.site.clock);
    let other = crate::testing::context(ctx.db.clone(), clock).await.expect("the right key");
    let token = wiki.token_of_ada("openid profile ak_proxy").await;
    let token = text(&token, "access_token");
    let from = [192, 0, 2, 1].into();
    let grant = portcullis_idp::outpost::introspect(ctx, wiki.pk(), token, from).await.expect("holds");
    portcullis_idp::outpost::introspect(&other, wiki.pk(), token, from).await.expect("holds");
    let mark = grant.bearings.mark(&ctx.epochs, grant.built_at, wiki.pk(), &[0; 32]);
    assert!(ctx.epochs.stands(&mark));
    let all = [("client_id", &*wiki.client_id), ("client_secret", &*wiki.client_secret), ("token", token)];
    assert_eq!(post(&wiki.site, "/application/o/revoke/", &all, &[]).await.status, 200);
    assert!(!ctx.epochs.stands(&mark));
    assert!(portcullis_idp::outpost::introspect(&other, wiki.pk(), token, from).await.is_err());
}
