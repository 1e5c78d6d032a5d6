//! How often the core is asked, and what is kept.

use std::collections::HashSet;

use futures_util::future::join_all;
use portcullis_testkit::{Go as _, Site, run};
use serde_json::json;

use crate::stage::{Stage, basic};

/// PX-099, PX-107: a client that keeps cookies is verified once; so is one that does not, while the cache holds.
#[test]
fn px_107_credentials_are_verified_once_while_the_cache_holds() {
    run(async {
        let site = Site::start().await;
        let stage = Stage::on(&site, json!({})).await;
        for _ in 0..100 {
            let reply = stage.get("/").header("authorization", stage.basic()).go().await;
            assert_eq!(reply.status, 200);
            assert!(reply.cookie(&stage.app.cookie_name()).is_some(), "PX-099: also on a cache hit");
        }
        assert_eq!(site.core_calls("verify_password").await, 1);
        let cookie = stage.header_cookie(&stage.basic()).await;
        for _ in 0..100 {
            assert_eq!(stage.get("/").header("cookie", &cookie).go().await.status, 200);
        }
        assert_eq!(site.core_calls("verify_password").await, 1);
        let bearer = stage.bearer().await;
        for _ in 0..100 {
            assert_eq!(stage.get("/").header("authorization", &bearer).go().await.status, 200);
        }
        assert_eq!(site.core_calls("introspect").await, 1);
    });
}

/// PX-102, PX-107, PX-010: without a cookie and without a cache, every single request is verified by the core.
#[test]
fn px_102_without_cookie_and_cache_every_request_is_verified() {
    run(async {
        let site = Site::options().env("PORTCULLIS_PROXY__HEADER_CACHE_TTL", "0s").start().await;
        let stage = Stage::on(&site, json!({})).await;
        let bearer = stage.bearer().await;
        for _ in 0..5 {
            assert_eq!(stage.get("/").header("authorization", stage.basic()).go().await.status, 200);
            assert_eq!(stage.get("/").header("authorization", &bearer).go().await.status, 200);
        }
        assert_eq!(site.core_calls("verify_password").await, 5);
        assert_eq!(site.core_calls("introspect").await, 5);
        let cookie = stage.header_cookie(&stage.basic()).await;
        for _ in 0..5 {
            assert_eq!(stage.get("/").header("cookie", &cookie).go().await.status, 200);
        }
        assert_eq!(site.core_calls("verify_password").await, 6, "PX-099: with a cookie nobody is asked");
    });
}

/// PX-111: a crowd that arrives at once with the same credential makes one call to the core.
#[test]
fn px_111_identical_verifications_share_one_call() {
    run(async {
        let site = Site::start().await;
        let stage = Stage::on(&site, json!({})).await;
        let crowd = (0..50).map(|_| stage.get("/").header("authorization", stage.basic()).go());
        for reply in join_all(crowd).await {
            assert_eq!(reply.status, 200);
        }
        assert_eq!(site.core_calls("verify_password").await, 1);
    });
}

/// PX-109, PX-524: refused credentials are refused again without asking the core.
#[test]
fn px_109_refused_credentials_are_remembered() {
    run(async {
        let site = Site::start().await;
        let stage = Stage::on(&site, json!({})).await;
        let wrong = basic(&stage.person.username, "wrong");
        for _ in 0..5 {
            assert_eq!(stage.get("/").header("authorization", &wrong).go().await.status, 401);
        }
        assert_eq!(site.core_calls("verify_password").await, 1);
    });
}

/// PX-092: what is no compact JWS is refused without asking the core.
#[test]
fn px_092_no_jws_no_core_call() {
    run(async {
        let site = Site::start().await;
        let stage = Stage::on(&site, json!({})).await;
        for token in ["opaque", "a.b", "a.b.c.d", "!.!.!", &"x".repeat(20_000)] {
            let reply = stage.get_as_stranger("/").header("authorization", format!("Bearer {token}")).go().await;
            assert!(reply.status == 401 || (token.len() > 10_000 && reply.status == 431), "{}", reply.status);
        }
        let reserved = basic("goauthentik.io/token", &stage.key);
        assert_eq!(stage.get_as_stranger("/").header("authorization", reserved).go().await.status, 401);
        assert_eq!(site.core_calls("introspect").await, 0);
        assert_eq!(site.core_calls("verify_password").await, 0, "PX-093, PX-525: no password grant is tried");
    });
}

/// PX-100, PX-501: a thousand requests without cookies keep one session record; PX-135, PX-500: anonymous ones none.
#[test]
fn px_100_cookie_less_requests_share_one_session() {
    run(async {
        let site = Site::start().await;
        let stage = Stage::on(&site, json!({})).await;
        let name = stage.app.cookie_name();
        let mut values = HashSet::new();
        for _ in 0..20 {
            let batch = (0..50).map(|_| stage.get("/").header("authorization", stage.basic()).go());
            values.extend(join_all(batch).await.iter().map(|reply| reply.cookie(&name).unwrap()));
        }
        assert!(values.len() <= 2, "{} different sessions", values.len());
        for _ in 0..10 {
            join_all((0..50).map(|_| stage.get("/anonymous").go())).await;
        }
        assert_eq!(site.core_calls("verify_password").await, 1);
    });
}

/// PX-101, PX-502: a session made by a bearer token ends with the token.
#[test]
fn px_101_a_header_session_ends_with_the_token() {
    run(async {
        let stage = Stage::new(json!({"access_token_validity": "seconds=3"})).await;
        let bearer = stage.bearer().await;
        let cookie = stage.header_cookie(&bearer).await;
        portcullis_testkit::until("the end of the session", async || {
            (stage.get("/").header("cookie", &cookie).go().await.status == 302).then_some(())
        })
        .await;
        assert_eq!(stage.get_as_stranger("/").header("authorization", &bearer).go().await.status, 401);
    });
}
