//! Signing out (section 12).

use http::{Method, StatusCode};
use portcullis_core::id::ProviderPk;

use super::site::{Site, ada, basic, body, get, header, request_of, set_cookies};

const PATH: &str = "/outpost.goauthentik.io/sign_out";

/// PX-190, PX-512: signing out ends all of the user's sessions, for every provider, and what is cached.
#[tokio::test]
async fn px_190_all_sessions_end() {
    let site = Site::several(
        |_| {},
        |_| {},
        |first| {
            let mut other = first.clone();
            other.pk = ProviderPk(8);
            other.external_host = "https://mail.example".to_owned();
            vec![other]
        },
    )
    .await;
    let cookie = site.session().await;
    let elsewhere = get("/").header("authorization", basic("ada", "secret"));
    site.send_to("mail.example", "192.0.2.1", elsewhere).await.unwrap();
    assert_eq!(site.core.memory().sessions.len(), 2);
    let response = site.send(get(PATH).header("cookie", &cookie)).await;
    assert_eq!(response.status(), StatusCode::FOUND);
    assert_eq!(header(&response, "location"), "https://id.example/application/o/wiki/end-session/");
    assert!(set_cookies(&response).iter().all(|line| line.contains("Max-Age=0")));
    assert_eq!(set_cookies(&response).len(), 2);
    assert!(site.core.memory().sessions.is_empty());
    assert_eq!(site.send(get("/").header("cookie", &cookie)).await.status(), StatusCode::FOUND);
    let calls = site.core.calls("verify_password");
    site.send(get("/").header("authorization", basic("ada", "secret"))).await;
    assert_eq!(site.core.calls("verify_password"), calls + 1);
}

/// PX-191, PX-512: a user is known by the control plane's id, whatever an application is told as subject: all of the
/// user's sessions end, and none of somebody with the same subject elsewhere.
#[tokio::test]
async fn px_191_subjects_do_not_decide() {
    let site = Site::several(
        |_| {},
        |_| {},
        |first| {
            let mut other = first.clone();
            other.pk = ProviderPk(8);
            other.external_host = "https://mail.example".to_owned();
            vec![other]
        },
    )
    .await;
    let mut known = ada();
    known.sub = "ada@example.org".to_owned();
    let mut stranger = ada();
    stranger.ak_proxy.user_uuid = "uuid-of-somebody".to_owned();
    for (name, claims) in [("by-mail", known), ("namesake", stranger)] {
        site.core.memory().passwords.insert((name.to_owned(), "secret".to_owned()), claims);
    }
    let cookie = site.session().await;
    for name in ["by-mail", "namesake"] {
        let elsewhere = get("/").header("authorization", basic(name, "secret"));
        assert_eq!(site.send_to("mail.example", "192.0.2.1", elsewhere).await.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(site.core.memory().sessions.len(), 3);
    site.send(get(PATH).header("cookie", &cookie)).await;
    let left = site.core.memory().sessions.clone();
    assert_eq!(left.len(), 1);
    assert_eq!((left[0].grant.bearings.user.as_str(), left[0].grant.claims.sub.as_str()), ("uuid-of-somebody", "5ad0"));
}

/// PX-192, PX-516: a token goes into the URL only if it holds no attributes.
#[tokio::test]
async fn px_192_no_attributes_in_urls() {
    let site = Site::new().await;
    site.core.memory().raw_token = "raw.token.x".to_owned();
    let cookie = site.session().await;
    let response = site.send(get(PATH).header("cookie", &cookie)).await;
    assert!(header(&response, "location").ends_with("/end-session/?id_token_hint=raw.token.x"));
    let mut claims = ada();
    claims.ak_proxy.user_attributes.insert("password".to_owned(), "x".into());
    site.core.memory().passwords.insert(("ada".to_owned(), "secret".to_owned()), claims);
    let cookie = site.session().await;
    let response = site.send(get(PATH).header("cookie", &cookie)).await;
    assert!(header(&response, "location").ends_with("/end-session/"));
    let site = Site::with(|provider| provider.endpoints.end_session.push_str("?next=1"), |_| {}).await;
    site.core.memory().raw_token = "t".repeat(3000);
    let cookie = site.session().await;
    let response = site.send(get(PATH).header("cookie", &cookie)).await;
    assert!(header(&response, "location").ends_with("/end-session/?next=1"));
}

/// PX-193, PX-515: the matrix of who may sign a user out, and from where.
#[tokio::test]
async fn px_193_other_sites_sign_nobody_out() {
    type Case = (Method, &'static [(&'static str, &'static str)], StatusCode);
    const NAVIGATE: (&str, &str) = ("sec-fetch-mode", "navigate");
    let cases: [Case; 14] = [
        (Method::GET, &[], StatusCode::FOUND),
        (Method::GET, &[NAVIGATE], StatusCode::FOUND),
        (Method::GET, &[NAVIGATE, ("sec-fetch-site", "same-origin")], StatusCode::FOUND),
        (Method::GET, &[NAVIGATE, ("sec-fetch-site", "none")], StatusCode::FOUND),
        (Method::GET, &[NAVIGATE, ("sec-fetch-site", "cross-site")], StatusCode::OK),
        (Method::GET, &[("sec-fetch-mode", "no-cors"), ("sec-fetch-site", "cross-site")], StatusCode::FORBIDDEN),
        (Method::GET, &[("sec-fetch-mode", "cors"), ("sec-fetch-site", "cross-site")], StatusCode::FORBIDDEN),
        (Method::GET, &[("sec-fetch-dest", "image")], StatusCode::FORBIDDEN),
        (Method::POST, &[("origin", "https://wiki.example")], StatusCode::FOUND),
        (Method::POST, &[("origin", "https://evil.test")], StatusCode::FORBIDDEN),
        (Method::POST, &[("origin", "null"), NAVIGATE, ("sec-fetch-site", "cross-site")], StatusCode::OK),
        (Method::POST, &[("origin", "null"), NAVIGATE, ("sec-fetch-site", "same-origin")], StatusCode::FOUND),
        (Method::POST, &[("origin", "null"), NAVIGATE, ("sec-fetch-site", "same-site")], StatusCode::OK),
        (Method::POST, &[], StatusCode::FORBIDDEN),
    ];
    for (method, headers, status) in cases {
        let site = Site::new().await;
        let cookie = site.session().await;
        let mut request = request_of(method.clone(), PATH).header("cookie", &cookie);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = site.send(request).await;
        assert_eq!(response.status(), status, "{method} {headers:?}");
        assert_eq!(site.core.memory().sessions.is_empty(), status == StatusCode::FOUND, "{method} {headers:?}");
        if status == StatusCode::OK {
            assert!(header(&response, "content-security-policy").contains("form-action 'self' https://id.example;"));
            let page = body(response).await;
            assert!(page.contains("<form method=\"post\" action=\"/outpost.goauthentik.io/sign_out\">"));
        }
    }
}

/// PX-194, PX-514: without a session there is a page and no login.
#[tokio::test]
async fn px_194_without_a_session_there_is_a_page() {
    let site = Site::new().await;
    let stale = format!("authentik_proxy_01d4e0c9={}", super::site::random());
    let response = site.send(get(PATH).header("cookie", stale)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(set_cookies(&response).iter().any(|line| line.starts_with("authentik_proxy_01d4e0c9=;")));
    let page = body(response).await;
    assert!(page.contains("You are signed out") && page.contains("href=\"https://wiki.example/\""));
}

/// PX-065, PX-515: a logout signature elsewhere counts only where signing out would be allowed.
#[tokio::test]
async fn px_065_a_foreign_logout_signature_is_an_ordinary_request() {
    let site = Site::new().await;
    let cookie = site.session().await;
    let image = get("/page?X-authentik-logout=true")
        .header("cookie", &cookie)
        .header("sec-fetch-mode", "no-cors")
        .header("sec-fetch-site", "cross-site");
    assert_eq!(site.send(image).await.status(), StatusCode::OK);
    assert_eq!(site.last().path, "/page?X-authentik-logout=true");
    assert_eq!(site.core.memory().sessions.len(), 1);
    let own = get("/page?X-authentik-logout=TRUE").header("cookie", &cookie);
    assert_eq!(site.send(own).await.status(), StatusCode::FOUND);
    assert!(site.core.memory().sessions.is_empty());
}

/// PX-085: when sessions cannot be ended, nothing is said to have ended.
#[tokio::test]
async fn px_085_a_failed_sign_out_says_so() {
    let site = Site::new().await;
    let cookie = site.session().await;
    site.core.memory().store_is_down = true;
    let response = site.send(get(PATH).header("cookie", &cookie)).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(set_cookies(&response), [""; 0]);
}
