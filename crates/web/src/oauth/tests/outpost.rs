//! What the embedded outpost is answered in the same process.

use portcullis_core::clock::Timestamp;
use portcullis_core::keys::sha256;
use portcullis_core::outpost::{SessionRecord, Source};
use portcullis_idp::outpost::{self, CodeExchange, OutpostError, sessions};

use super::login::{authorize, callback, member, signed_in};
use super::*;

const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9));

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
        let exchange = CodeExchange {
            provider: wiki.pk(),
            code: &code,
            redirect_uri: &callback(),
            code_verifier: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
            nonce,
            client: FROM,
        };
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
    sessions::put(ctx, &second).await.expect("keeps");
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
