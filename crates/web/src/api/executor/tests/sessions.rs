//! The session that a login begins: its cookie, what it is good for, and how it ends.

use super::*;

/// CO-319, CO-384: the session is another one after every login, and the one before it has ended. A run has another
/// cookie once the password was right: whoever planted the first one cannot go on with it.
#[tokio::test]
async fn co_384_identifiers_change_with_what_they_are_worth() {
    let (site, _) = with_ada().await;
    tune(&site, stages::LOGIN, json!({"remember_me_offset": "days=1"})).await;
    let mut client = Client::new();
    client.answer(&site, SIGN_IN, "", json!({"uid_field": "ada"})).await;
    let planted = client.cookies.clone();
    assert_eq!(
        client.answer(&site, SIGN_IN, "", json!({"password": PASSWORD})).await["component"],
        "ak-stage-user-login"
    );
    let mut other = Client { cookies: planted, ..Client::new() };
    let theirs =
        other.answer(&site, SIGN_IN, "", json!({"component": "ak-stage-user-login", "remember_me": true})).await;
    assert_eq!(theirs["component"], "ak-stage-identification");
    client.answer(&site, SIGN_IN, "", json!({"remember_me": false})).await;
    let first = client.cookies["authentik_session"].clone();
    client.sign_in(&site, "ada", PASSWORD).await;
    client.answer(&site, SIGN_IN, "", json!({"remember_me": false})).await;
    assert_ne!(client.cookies["authentik_session"], first);
    let mut old = Client::new();
    old.cookies.insert("authentik_session".to_owned(), first);
    assert_eq!(old.whoami(&site).await, 403);
}

/// CO-320, CO-381, CO-382: who wants to stay signed in does, by the offset; others end with the browser and after a
/// day without use; nobody stays beyond the absolute limit.
#[tokio::test]
async fn co_320_staying_signed_in_adds_the_offset() {
    let (site, _) = with_ada().await;
    tune(&site, stages::LOGIN, json!({"remember_me_offset": "days=10"})).await;
    for (stays, hours, status) in [(false, 23, 200), (false, 25, 403), (true, 239, 200), (true, 241, 403)] {
        let mut client = Client::new();
        client.sign_in(&site, "ada", PASSWORD).await;
        let reply = client.answered(&site, SIGN_IN, "", json!({"remember_me": stays})).await;
        let cookies: Vec<_> = reply.headers.get_all(header::SET_COOKIE).iter().collect();
        let session = cookies
            .iter()
            .filter_map(|cookie| cookie.to_str().ok())
            .find(|cookie| cookie.starts_with("authentik_session="));
        let session = session.expect("a session").to_owned();
        assert_eq!(session.contains("Max-Age="), stays, "{session}");
        assert!(session.contains("HttpOnly") && session.contains("SameSite=Lax"), "{session}");
        site.clock.advance_seconds(hours * 3600);
        assert_eq!(client.whoami(&site).await, status, "{stays} {hours}");
    }
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    client.answer(&site, SIGN_IN, "", json!({"remember_me": true})).await;
    for _ in 0..29 {
        site.clock.advance_seconds(24 * 3600);
        assert_eq!(client.whoami(&site).await, 200, "use keeps it");
    }
    site.clock.advance_seconds(24 * 3600);
    assert_eq!(client.whoami(&site).await, 403, "not for ever");
}

/// CO-385: a login may end all other sessions of the user.
#[tokio::test]
async fn co_385_a_login_may_end_the_others() {
    let (site, _) = with_ada().await;
    let (mut one, mut other) = (Client::new(), Client::new());
    one.sign_in(&site, "ada", PASSWORD).await;
    other.sign_in(&site, "ada", PASSWORD).await;
    assert_eq!((one.whoami(&site).await, other.whoami(&site).await), (200, 200));
    tune(&site, stages::LOGIN, json!({"terminate_other_sessions": true})).await;
    let mut third = Client::new();
    third.sign_in(&site, "ada", PASSWORD).await;
    assert_eq!([one.whoami(&site).await, other.whoami(&site).await, third.whoami(&site).await], [403, 403, 200]);
}

/// CO-387, CO-826: answers come as JSON and from here, also those of strangers; a signed-in browser repeats its cookie.
#[tokio::test]
async fn co_387_answers_come_from_here() {
    let (site, _) = with_ada().await;
    let mut client = Client::new();
    let path = Client::path(SIGN_IN, "");
    let body = || Body::from(json!({"uid_field": "ada"}).to_string());
    let json_type = || Request::post(&path).header(header::CONTENT_TYPE, "application/json");
    for (name, value) in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        assert_eq!(client.send(&site, json_type().header(name, value), body()).await.status, 403, "{name}: {value}");
    }
    assert_eq!(client.send(&site, json_type().header("origin", "http://id.example"), body()).await.status, 200);
    assert_eq!(client.send(&site, json_type(), Body::from("{")).await.status, 400);
    for media_type in ["application/x-www-form-urlencoded", "text/plain"] {
        let request = Request::post(&path).header(header::CONTENT_TYPE, media_type);
        assert_eq!(client.send(&site, request, body()).await.status, 415);
    }
    client.sign_in_again(&site, PASSWORD).await;
    assert_eq!(client.show(&site, flows::STATIC_SETUP, "").await["component"], "ak-stage-authenticator-static");
    let csrf = client.cookies.remove("authentik_csrf").expect("given by the first look");
    assert_eq!(client.answered(&site, flows::STATIC_SETUP, "", json!({})).await.status, 403);
    client.cookies.insert("authentik_csrf".to_owned(), csrf);
    assert_eq!(client.answer(&site, flows::STATIC_SETUP, "", json!({})).await["component"], "xak-flow-redirect");
}

/// CO-323: a look at the sign-out flow changes nothing; its answer ends the session.
#[tokio::test]
async fn co_323_signing_out_takes_an_answer() {
    let (site, _) = with_ada().await;
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    let asked = client.show(&site, flows::INVALIDATION, "").await;
    assert_eq!((&asked["component"], &asked["pending_user"]), (&json!("ak-stage-session-end"), &json!("ada")));
    assert_eq!(client.whoami(&site).await, 200);
    assert_eq!(client.answer(&site, flows::INVALIDATION, "next=/bye", json!({})).await["to"], "/bye");
    assert_eq!(client.whoami(&site).await, 403);
    assert_eq!(site.events("logout").await.0, 1);
}

/// CO-412, CO-385: who signs in as somebody else ends the session that was there, and who ends all others by signing in does: each
/// is recorded.
#[tokio::test]
async fn co_412_sessions_that_a_login_ends_are_recorded() {
    let (site, _) = with_ada().await;
    let bob = site.user("bob").await;
    set_password(&site, bob, PASSWORD).await;
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    client.sign_in(&site, "ada", PASSWORD).await;
    assert_eq!(site.events("logout").await.0, 0, "the same user");
    let signed_in =
        client.form(&site, "/if/flow/default-authentication-flow/", &[("uid_field", "bob"), ("password", PASSWORD)]);
    assert_eq!(signed_in.await.status, 303);
    let (count, event) = site.events("logout").await;
    assert_eq!((count, &event["logout_reason"], &event["model"]["name"]), (1, &json!("replaced"), &json!("ada")));
    tune(&site, stages::LOGIN, json!({"terminate_other_sessions": true})).await;
    Client::new().sign_in(&site, "bob", PASSWORD).await;
    let (count, event) = site.events("logout").await;
    assert_eq!((count, &event["logout_reason"]), (2, &json!("terminate_other_sessions")));
    assert_eq!((&event["model"]["name"], &event["sessions"]), (&json!("bob"), &json!(1)));
}

/// CO-412, CO-387: what another site has a browser send with a session's cookie is recorded at every door; of strangers nothing is.
#[tokio::test]
async fn co_412_requests_of_other_sites_are_recorded() {
    let (site, _) = with_ada().await;
    let mut client = Client::new();
    let executor = Client::path(SIGN_IN, "");
    let doors = [
        executor.as_str(),
        "/if/flow/default-authentication-flow/",
        "/if/flow/default-invalidation-flow/",
        "/account/second-factors/",
    ];
    let knock = async |client: &mut Client, door: &str| {
        let request = Request::post(door).header(header::ORIGIN, "http://evil.example");
        let reply = client.send(&site, request, Body::empty()).await;
        assert_eq!(reply.status, 403, "{door}");
        assert_ne!(reply.via, Some(portcullis_core::auth_via::AuthVia::Session), "{door}");
    };
    for door in doors {
        knock(&mut client, door).await;
    }
    assert_eq!(site.events("suspicious_request").await.0, 0);
    client.sign_in(&site, "ada", PASSWORD).await;
    for (door, count) in doors.iter().zip(1..) {
        knock(&mut client, door).await;
        assert_eq!(site.events("suspicious_request").await.0, count, "{door}");
    }
    assert_eq!(client.whoami(&site).await, 200);
}

/// CO-381: a cookie that a sibling domain has planted keeps nobody from the API.
#[tokio::test]
async fn co_381_planted_cookies_are_passed_over() {
    let (site, _) = with_ada().await;
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    let cookie = client.cookies["authentik_session"].clone();
    for planted in ["planted".to_owned(), "a".repeat(cookie.len())] {
        let cookies = format!("authentik_session={planted}; authentik_session={cookie}");
        let request = Request::get("/api/v3/core/users/me/").header(header::COOKIE, cookies);
        assert_eq!(Client::new().send(&site, request, Body::empty()).await.status, 200, "{planted}");
    }
}
