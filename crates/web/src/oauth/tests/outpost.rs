//! What the embedded outpost is answered in the same process.

use std::sync::{Arc, Mutex};

use portcullis_core::clock::Timestamp;
use portcullis_core::entropy::Entropy;
use portcullis_core::epoch::Subject;
use portcullis_core::keys::sha256;
use portcullis_core::outpost::{SessionRecord, Source};
use portcullis_idp::outpost::{self, OutpostError, sessions};
use portcullis_store::token;
use tokio::sync::oneshot;

use super::login::{FROM, authorize, callback, exchange, member, signed_in};
use super::*;
use crate::testing::context;

/// PX-091, PX-410, OA-080, OA-082: a user name and app password give a grant with the attributes that the
/// provider uses; no access token is kept, and the same event is recorded as at the endpoint.
#[tokio::test]
async fn px_091_an_app_password_gives_a_grant() {
    let wiki = Wiki::new().await;
    let ctx = &wiki.site.ctx;
    let mut grant = outpost::verify_password(ctx, wiki.pk(), "ada", KEY, FROM).await.expect("holds");
    assert_eq!(grant.claims.preferred_username, "ada");
    let attributes = Value::Object(grant.claims.ak_proxy.user_attributes.clone());
    assert_eq!(attributes, json!({"app_username": "upstream", "app_password": "open sesame"}));
    assert!(grant.raw_token.is_empty() && grant.upstream_token.is_none());
    for full in [false, true] {
        outpost::sign(ctx, wiki.pk(), &mut grant, full).await.expect("signs");
    }
    for token in [grant.upstream_token.as_deref().expect("an assertion"), &grant.raw_token] {
        assert!(
            matches!(
                outpost::introspect(ctx, wiki.pk(), token, [192, 0, 2, 1].into()).await,
                Err(OutpostError::Refused)
            ),
            "PX-417"
        );
    }
    assert_eq!(wiki.site.events("login").await.0, 1);
    for (name, password) in [("ada", "wrong"), ("", KEY), ("nobody", KEY), ("ada", "")] {
        let refused = outpost::verify_password(ctx, wiki.pk(), name, password, FROM).await;
        assert!(matches!(refused, Err(OutpostError::Refused)), "{name} {password}");
    }
    for _ in 0..10 {
        outpost::verify_password(ctx, wiki.pk(), "ada", "guess", FROM).await.err();
    }
    let throttled = outpost::verify_password(ctx, wiki.pk(), "ada", KEY, FROM).await;
    assert!(matches!(throttled, Err(OutpostError::Throttled { .. })), "the limits of the endpoint");
}

/// CO-177, CO-134, CO-803: an outcome is never remembered: whatever decides it counts at the next request, although
/// definitions are kept in memory.
#[tokio::test]
async fn co_177_every_change_counts_at_the_next_verification() {
    let wiki = Wiki::new().await;
    let (ctx, site) = (&wiki.site.ctx, &wiki.site);
    let group = site.admin(Method::POST, "/core/groups/", json!({"name": "editors"})).await.json["pk"].clone();
    let group = group.as_str().expect("a key");
    let application = site.admin(Method::GET, "/core/applications/wiki/", None).await.json["pk"].clone();
    let holds = async || outpost::verify_password(ctx, wiki.pk(), "ada", KEY, FROM).await.is_ok();
    assert!(holds().await, "no binding");

    let body = json!({"target": application, "group": group, "order": 0, "enabled": true});
    let binding = site.admin(Method::POST, "/policies/bindings/", body).await.json["pk"].clone();
    let binding = format!("/policies/bindings/{}/", binding.as_str().expect("a key"));
    assert!(!holds().await, "a binding to a group");
    let member = json!({"pk": wiki.ada});
    site.admin(Method::POST, &format!("/core/groups/{group}/add_user/"), member.clone()).await;
    assert!(holds().await, "a member");
    site.admin(Method::POST, &format!("/core/groups/{group}/remove_user/"), member.clone()).await;
    assert!(!holds().await, "no member any more");

    let parent = site.admin(Method::POST, "/core/groups/", json!({"name": "below", "parents": [group]})).await;
    let below = parent.json["pk"].as_str().expect("a key").to_owned();
    site.admin(Method::POST, &format!("/core/groups/{below}/add_user/"), member).await;
    assert!(holds().await, "a member of a descendant");
    site.admin(Method::PATCH, &format!("/core/groups/{below}/"), json!({"parents": []})).await;
    assert!(!holds().await, "a descendant no more");

    site.admin(Method::PATCH, &binding, json!({"enabled": false})).await;
    assert!(holds().await, "a binding that does not count");
    site.admin(Method::PATCH, &binding, json!({"enabled": true})).await;
    assert!(!holds().await, "a binding that counts again");
    site.admin(Method::DELETE, &format!("/core/groups/{group}/"), None).await;
    assert!(!holds().await, "CO-180: an orphan");
    site.admin(Method::DELETE, &binding, None).await;
    assert!(holds().await, "no binding any more");

    site.admin(Method::PATCH, "/core/applications/wiki/", json!({"provider": null})).await;
    assert!(!holds().await, "no application");
    site.admin(Method::PATCH, "/core/applications/wiki/", json!({"provider": wiki.provider})).await;
    assert!(holds().await, "an application again");
    let provider = format!("/providers/proxy/{}/", wiki.provider);
    site.admin(Method::PATCH, &provider, json!({"basic_auth_enabled": false})).await;
    let grant = outpost::verify_password(ctx, wiki.pk(), "ada", KEY, FROM).await.expect("holds");
    assert!(grant.claims.ak_proxy.user_attributes.is_empty(), "no attribute is used any more");
    site.admin(Method::DELETE, &provider, None).await;
    assert!(!holds().await, "no provider");
}

/// OA-081, PX-107: an app password that is revoked while it is verified opens nothing: the grant was built before
/// the revocation, and is not used.
#[tokio::test]
async fn oa_081_a_revocation_during_the_verification_is_noticed() {
    struct Telling(Mutex<Option<oneshot::Sender<()>>>);
    impl Entropy for Telling {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(7);
            if let Some(drawn) = self.0.lock().expect("no panic").take() {
                drawn.send(()).expect("somebody waits");
            }
        }
    }
    let wiki = Wiki::new().await;
    let (drawn, checked) = oneshot::channel();
    let mut ctx = context(wiki.site.ctx.db.clone(), Arc::clone(&wiki.site.clock)).await.expect("the right key");
    // The first draw is for the event: everything has been checked by then, and nothing is written.
    ctx.entropy = Arc::new(Telling(Mutex::new(Some(drawn))));
    let mut tx = ctx.db.write().await.expect("writes");
    let revoke = async {
        checked.await.expect("is told");
        let token = token::by_identifier(&mut tx, "ada-key").await.expect("reads").expect("is there");
        token::delete(&mut tx, token.uuid).await.expect("deletes");
        tx.commit().await.expect("commits");
        ctx.epochs.bump(Subject::Credential(&token.uuid.to_string()));
    };
    let (grant, ()) = tokio::join!(outpost::verify_password(&ctx, wiki.pk(), "ada", KEY, FROM), revoke);
    let grant = grant.expect("held when it was checked");
    let mark = grant.bearings.mark(&ctx.epochs, grant.built_at, wiki.pk(), &[0; 32]);
    assert!(!ctx.epochs.stands(&mark));
    assert!(!outpost::still_stands(&ctx, wiki.pk(), &grant.bearings).await.expect("answers"));
}

/// CO-416, OA-299: however many verify at the same time, each success is recorded before it is acknowledged; the
/// use of the app password is noted once a minute, and its own failures are forgotten.
#[tokio::test]
async fn co_416_each_of_many_successes_is_recorded() {
    let wiki = Wiki::new().await;
    let ctx = &wiki.site.ctx;
    outpost::verify_password(ctx, wiki.pk(), "ada", "guess", FROM).await.err();
    let pk = wiki.pk();
    let all = (0..40).map(|number| {
        let from = IpAddr::from([203, 0, 113, number]);
        async move { outpost::verify_password(ctx, pk, "ada", KEY, from).await.map(drop) }
    });
    for outcome in futures_util::future::join_all(all).await {
        outcome.expect("holds");
    }
    assert_eq!(wiki.site.events("login").await.0, 40);
    let noted = async || {
        let mut conn = ctx.db.read().await.expect("reads");
        let token = token::by_identifier(&mut conn, "ada-key").await.expect("reads").expect("is there");
        (token.last_used.expect("noted").seconds() - wiki.site.ctx.now().seconds(), token.last_used_from)
    };
    assert_eq!(noted().await.0, 0);
    for (seconds, expected) in [(30, -30), (30, 0)] {
        wiki.site.clock.advance_seconds(seconds);
        outpost::verify_password(ctx, wiki.pk(), "ada", KEY, FROM).await.expect("holds");
        assert_eq!(noted().await.0, expected);
    }
    assert_eq!(noted().await.1.as_deref(), Some("203.0.113.9"));
    // Nine more: with the one before, which was forgotten, these would be ten.
    for _ in 0..9 {
        outpost::verify_password(ctx, wiki.pk(), "ada", "guess", FROM).await.err();
    }
    outpost::verify_password(ctx, wiki.pk(), "ada", KEY, FROM).await.expect("is not throttled");
}

/// OA-078, OA-882, PX-092: as Bearer holds only what this very provider issued.
#[tokio::test]
async fn oa_882_a_bearer_token_holds_at_its_own_provider() {
    let wiki = Wiki::new().await;
    let ctx = &wiki.site.ctx;
    let token = wiki.token_of_ada("openid profile ak_proxy").await;
    let token = text(&token, "access_token");
    let grant = outpost::introspect(ctx, wiki.pk(), token, [192, 0, 2, 1].into()).await.expect("holds");
    assert_eq!((grant.raw_token.as_str(), grant.claims.preferred_username.as_str()), (token, "ada"));
    let (other, ..) = application(&wiki.site, "other", "http://other.example").await;
    let path = format!("/providers/proxy/{}/", wiki.provider);
    wiki.site.admin(Method::PATCH, &path, json!({"jwt_federation_providers": [other]})).await;
    let other = ProviderPk(i32::try_from(other).expect("small"));
    assert!(matches!(outpost::introspect(ctx, other, token, [192, 0, 2, 1].into()).await, Err(OutpostError::Refused)));
    assert!(outpost::still_stands(ctx, wiki.pk(), &grant.bearings).await.expect("answers"));
    // Its app password goes: the cached identity hears of it at once.
    let grant = outpost::introspect(ctx, wiki.pk(), token, [192, 0, 2, 1].into()).await.expect("holds");
    let mark = grant.bearings.mark(&ctx.epochs, grant.built_at, wiki.pk(), &[0; 32]);
    assert!(ctx.epochs.stands(&mark));
    wiki.site.admin(Method::DELETE, "/core/tokens/ada-key/", None).await;
    assert!(!ctx.epochs.stands(&mark));
    assert!(!outpost::still_stands(ctx, wiki.pk(), &grant.bearings).await.expect("answers"));
}

/// PX-148, PX-150: a code gives a grant to whoever knows verifier and nonce of its login.
#[tokio::test]
async fn px_150_a_code_needs_the_nonce_of_its_login() {
    let (wiki, mut browser) = signed_in().await;
    let ctx = &wiki.site.ctx;
    for (nonce, holds) in [("n-2", false), ("", false), ("n-1", true)] {
        let reply = browser.get(&wiki.site, &authorize(&wiki, &[])).await;
        let code = member(&reply, "code").expect("a code");
        let redirect_uri = callback();
        let exchange = exchange(&wiki, &code, &redirect_uri, nonce);
        let grant = outpost::exchange_code(ctx, exchange).await;
        assert_eq!(grant.is_ok(), holds, "{nonce}");
        assert!(outpost::exchange_code(ctx, exchange).await.is_err(), "spent");
        if let Ok(grant) = grant {
            assert_eq!(grant.claims.sid, grant.bearings.sid);
            assert!(grant.logout_hint.is_some());
            // Its second use, above, revoked it.
            assert!(!outpost::still_stands(ctx, wiki.pk(), &grant.bearings).await.expect("answers"), "OA-245");
        }
    }
}

/// OA-466, OA-664: what is too long is recorded at the embedded outpost as at the token endpoint: with a warning that names the
/// mapping where it is issued, with an error where it is not, by code and by app password.
#[tokio::test]
async fn oa_466_the_embedded_outpost_says_what_is_too_long() {
    let (wiki, mut browser) = signed_in().await;
    let (ctx, site) = (&wiki.site.ctx, &wiki.site);
    for (count, holds) in [(100, true), (700, false)] {
        for number in 0..count {
            let body = json!({"name": format!("{}-{count}-{number}", "g".repeat(100)), "users": [wiki.ada]});
            assert_eq!(site.admin(Method::POST, "/core/groups/", body).await.status, 201);
        }
        let reply = browser.get(site, &authorize(&wiki, &[])).await;
        let code = member(&reply, "code").expect("a code");
        let redirect_uri = callback();
        let exchange = exchange(&wiki, &code, &redirect_uri, "n-1");
        let grant = outpost::exchange_code(ctx, exchange).await;
        assert_eq!(grant.is_ok(), holds, "{count}");
        let (warnings, warning) = site.events("configuration_warning").await;
        assert_eq!((warnings, &warning["provider"]), (1, &json!("wiki")), "{warning}");
        let (errors, error) = site.events("configuration_error").await;
        assert_eq!(errors, usize::from(!holds), "{error}");
        assert!(holds || error["message"].as_str().is_some_and(|said| said.contains("too long")), "{error}");
    }
    site.clock.advance_seconds(3601);
    let mut grant = outpost::verify_password(ctx, wiki.pk(), "ada", KEY, FROM).await.expect("holds");
    for full in [false, true] {
        assert!(matches!(outpost::sign(ctx, wiki.pk(), &mut grant, full).await, Err(OutpostError::Refused)), "{full}");
    }
    assert_eq!(site.events("configuration_error").await.0, 2, "once an hour");
}

/// PX-198: what a session rests on is asked of the store: user, binding, app password and its key.
#[tokio::test]
async fn px_198_a_session_stands_only_while_everything_does() {
    let wiki = Wiki::new().await;
    let ctx = &wiki.site.ctx;
    let grant = outpost::verify_password(ctx, wiki.pk(), "ada", KEY, FROM).await.expect("holds");
    let stands = async || outpost::still_stands(ctx, wiki.pk(), &grant.bearings).await.expect("answers");
    assert!(stands().await);
    let bob = wiki.site.user("bob").await;
    let binding = wiki.bind_to(bob).await;
    assert!(!stands().await, "binding");
    wiki.site.admin(Method::DELETE, &format!("/policies/bindings/{binding}/"), None).await;
    assert!(stands().await);
    let user = format!("/core/users/{}/", wiki.ada);
    wiki.site.admin(Method::PATCH, &user, json!({"is_active": false})).await;
    assert!(!stands().await, "inactive");
    wiki.site.admin(Method::PATCH, &user, json!({"is_active": true})).await;
    assert!(stands().await);
    wiki.site.admin(Method::POST, "/core/tokens/ada-key/set_key/", json!({"key": "a-different-key-000001"})).await;
    assert!(!stands().await, "another key");
    assert!(!outpost::still_stands(ctx, ProviderPk(999), &grant.bearings).await.expect("answers"));
}

/// PX-176: sessions that have ended are removed; where there are too many, the oldest that a header made go first.
#[tokio::test]
async fn px_176_sessions_are_swept_and_bounded() {
    let wiki = Wiki::new().await;
    let ctx = &wiki.site.ctx;
    let grant = outpost::verify_password(ctx, wiki.pk(), "ada", KEY, FROM).await.expect("holds");
    let digest = |salt: u8| sessions::digest(ctx, wiki.pk(), &sessions::value(ctx, wiki.pk(), &[salt; 32]));
    let present = async || {
        let mut found = Vec::new();
        for salt in 1..=5 {
            if sessions::by_digest(ctx, wiki.pk(), digest(salt)).await.expect("reads").is_some() {
                found.push(salt);
            }
        }
        let mut conn = ctx.db.read().await.expect("a connection");
        (found, portcullis_store::proxy_session::count(&mut conn).await.expect("counts"))
    };
    for (salt, seconds) in [(1, 600), (2, 600), (3, 600), (4, 600), (5, 30)] {
        let by_browser = matches!(salt, 1 | 3);
        let session = SessionRecord {
            provider: wiki.pk(),
            digest: digest(salt),
            salt: [salt; 32],
            source: if by_browser { Source::Code } else { Source::Basic },
            fingerprint: (!by_browser).then(|| sessions::fingerprint(ctx, wiki.pk(), &[salt])),
            expires: ctx.now().plus_seconds(seconds),
            grant: grant.clone(),
        };
        sessions::put(ctx, &session).await.expect("keeps");
        wiki.site.clock.advance_seconds(1);
    }
    wiki.site.clock.advance_seconds(30);
    assert_eq!(present().await, (vec![1, 2, 3, 4], 5));
    sessions::sweep(ctx).await.expect("sweeps");
    assert_eq!(present().await, (vec![1, 2, 3, 4], 4));
    for left in [vec![1, 3, 4], vec![1, 3], vec![3]] {
        let mut tx = ctx.db.write().await.expect("a connection");
        portcullis_store::proxy_session::shed(&mut tx, 1).await.expect("sheds");
        tx.commit().await.expect("commits");
        assert_eq!(present().await.0, left);
    }
}

/// PX-518, PX-195: an ended session without an id ends nobody's; one with an id ends what came from it, and no more.
#[tokio::test]
async fn px_518_no_id_matches_nothing() {
    let wiki = Wiki::new().await;
    let ctx = &wiki.site.ctx;
    let grant = outpost::verify_password(ctx, wiki.pk(), "ada", KEY, FROM).await.expect("holds");
    let digest = |salt: u8| sessions::digest(ctx, wiki.pk(), &sessions::value(ctx, wiki.pk(), &[salt; 32]));
    for (salt, sid) in [(1, ""), (2, "a"), (3, "b")] {
        let mut session = SessionRecord {
            provider: wiki.pk(),
            digest: digest(salt),
            salt: [salt; 32],
            source: Source::Code,
            fingerprint: None,
            expires: grant.expires,
            grant: grant.clone(),
        };
        session.grant.bearings.sid = sid.to_owned();
        sessions::put(ctx, &session).await.expect("keeps");
    }
    for (ended, left) in [("", vec![1, 2, 3]), ("c", vec![1, 2, 3]), ("a", vec![1, 3]), ("", vec![1, 3])] {
        sessions::end_of_sid(ctx, ended).await.expect("ends");
        let mut found = Vec::new();
        for salt in 1..=3 {
            if sessions::by_digest(ctx, wiki.pk(), digest(salt)).await.expect("reads").is_some() {
                found.push(salt);
            }
        }
        assert_eq!(found, left, "{ended:?}");
    }
}

/// PX-100, PX-171, PX-174: sessions are found by cookie and by credential, replaced rather than repeated,
/// worthless elsewhere, and sealed in the file.
#[tokio::test]
async fn px_174_sessions_are_sealed_and_indexed() {
    let wiki = Wiki::new().await;
    let ctx = &wiki.site.ctx;
    let grant = outpost::verify_password(ctx, wiki.pk(), "ada", KEY, FROM).await.expect("holds");
    let fingerprint = sessions::fingerprint(ctx, wiki.pk(), b"Basic x");
    let session = |salt: u8, expires: Timestamp| {
        let value = sessions::value(ctx, wiki.pk(), &[salt; 32]);
        assert_eq!(value.len(), 43);
        SessionRecord {
            provider: wiki.pk(),
            digest: sessions::digest(ctx, wiki.pk(), &value),
            salt: [salt; 32],
            source: Source::Basic,
            fingerprint: Some(fingerprint),
            expires,
            grant: grant.clone(),
        }
    };
    let (first, second) = (session(1, grant.expires), session(2, grant.expires));
    sessions::put(ctx, &first).await.expect("keeps");
    let mark = |session: &SessionRecord| {
        session.grant.bearings.mark(&ctx.epochs, ctx.epochs.present(), wiki.pk(), &session.digest)
    };
    let (on_first, on_second) = (mark(&first), mark(&second));
    sessions::put(ctx, &second).await.expect("keeps");
    assert!(!ctx.epochs.stands(&on_first) && ctx.epochs.stands(&on_second), "who holds what is gone looks again");
    assert!(sessions::by_digest(ctx, wiki.pk(), first.digest).await.expect("reads").is_none(), "replaced");
    let found = sessions::by_fingerprint(ctx, wiki.pk(), fingerprint).await.expect("reads").expect("is there");
    assert_eq!((found.digest, &found.grant.claims), (second.digest, &grant.claims));
    assert!(sessions::by_digest(ctx, ProviderPk(99), second.digest).await.expect("reads").is_none());
    assert!(!wiki.site.file_bytes().windows(11).any(|bytes| bytes == b"open sesame"));

    sessions::end_of_sid(ctx, "").await.expect("ends nothing");
    assert!(sessions::by_digest(ctx, wiki.pk(), second.digest).await.expect("reads").is_some());
    sessions::end_of_user(ctx, &grant.bearings.user).await.expect("ends");
    assert!(sessions::by_digest(ctx, wiki.pk(), second.digest).await.expect("reads").is_none());

    sessions::put(ctx, &session(3, ctx.now().plus_seconds(10))).await.expect("keeps");
    wiki.site.clock.advance_seconds(10);
    assert!(sessions::by_fingerprint(ctx, wiki.pk(), fingerprint).await.expect("reads").is_none(), "PX-173");
    sessions::sweep(ctx).await.expect("sweeps");
    let other = sessions::digest(ctx, wiki.pk(), "v");
    assert_ne!(other, sessions::digest(ctx, ProviderPk(99), "v"));
    assert_ne!(other, sha256(b"v"));
}

/// OA-077, PX-091: HTTP Basic at the proxy is what a machine does at the token endpoint with all scopes of the provider: the
/// same is said of the same user, and a login password is no app password.
#[tokio::test]
async fn oa_077_basic_at_the_proxy_is_a_machine() {
    let wiki = Wiki::new().await;
    let ctx = &wiki.site.ctx;
    let login = "correct horse battery staple";
    super::browser::set_password(&wiki.site, wiki.ada, login).await;
    let refused = outpost::verify_password(ctx, wiki.pk(), "ada", login, FROM).await;
    assert!(matches!(refused, Err(OutpostError::Refused)));
    let grant = outpost::verify_password(ctx, wiki.pk(), "ada", KEY, FROM).await.expect("holds");
    let scopes = "openid profile email entitlements ak_proxy";
    let said = claims(&wiki.token_of_ada(scopes).await.json["id_token"]);
    let found = grant.statement.expect("a statement");
    for (name, value) in said.as_object().expect("an object") {
        // Attributes stay on the server, and the rest is another in every token.
        if !["ak_proxy", "jti", "at_hash", "uid", "azp", "scope"].contains(&name.as_str()) {
            assert_eq!(found.get(name), Some(value), "{name}");
        }
    }
    assert_eq!(grant.claims.preferred_username, "ada");
    assert_eq!(found["aud"], wiki.client_id.as_str());
}
