//! A login: authorization endpoint, code, tokens.

use portcullis_core::keys::sha256;
use portcullis_idp::outpost::CodeExchange;

use super::browser::{Browser, set_password};
use super::*;

const PASSWORD: &str = "correct horse battery";
/// Where clients of applications are.
pub(super) const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9));
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// The instance, and a browser in which Ada is signed in.
pub(super) async fn signed_in() -> (Wiki, Browser) {
    let wiki = Wiki::new().await;
    set_password(&wiki.site, wiki.ada, PASSWORD).await;
    let mut browser = Browser::default();
    assert_eq!(browser.sign_in(&wiki.site, "ada", PASSWORD).await.status, 303);
    (wiki, browser)
}

pub(super) fn callback() -> String {
    format!("{EXTERNAL}/outpost.goauthentik.io/callback?X-authentik-auth-callback=true")
}

pub(super) fn authorize(wiki: &Wiki, more: &[(&str, &str)]) -> String {
    let challenge = URL_SAFE_NO_PAD.encode(sha256(VERIFIER.as_bytes()));
    let redirect_uri = callback();
    let mut all = vec![
        ("client_id", wiki.client_id.as_str()),
        ("redirect_uri", &redirect_uri),
        ("response_type", "code"),
        ("scope", "openid profile ak_proxy"),
        ("state", "s&t=1#"),
        ("nonce", "n-1"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    for (name, value) in more {
        all.retain(|(known, _)| known != name);
        all.push((name, value));
    }
    all.retain(|(_, value)| !value.is_empty());
    format!("/application/o/authorize/?{}", encoded(&all))
}

/// A member of the answer that a redirect carries.
/// What an embedded outpost asks about the code that [`authorize`] leads to.
pub(super) fn exchange<'a>(wiki: &Wiki, code: &'a str, redirect_uri: &'a str, nonce: &'a str) -> CodeExchange<'a> {
    CodeExchange { provider: wiki.pk(), code, redirect_uri, code_verifier: VERIFIER, nonce, client: FROM }
}

pub(super) fn member(reply: &Reply, name: &str) -> Option<String> {
    let url = url::Url::parse(location(reply)).expect("a URL");
    url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

pub(super) async fn code(wiki: &Wiki, browser: &mut Browser) -> String {
    let reply = browser.get(&wiki.site, &authorize(wiki, &[])).await;
    assert_eq!(reply.status, 302, "{}", reply.text);
    member(&reply, "code").expect("a code")
}

pub(super) async fn redeem(wiki: &Wiki, code: &str, more: &[(&str, &str)]) -> Reply {
    let redirect_uri = callback();
    let mut all = vec![
        ("grant_type", "authorization_code"),
        ("client_secret", wiki.client_secret.as_str()),
        ("code", code),
        ("redirect_uri", &redirect_uri),
        ("code_verifier", VERIFIER),
    ];
    for (name, value) in more {
        all.retain(|(known, _)| known != name);
        all.push((name, value));
    }
    wiki.token(&all).await
}

/// OA-158, OA-240, OA-247, OA-176, OA-662, PX-413: a browser signs in, comes back with a code, and the code gives tokens with
/// nonce, session and method of the login.
#[tokio::test]
async fn oa_240_a_login_gives_tokens() {
    let (wiki, _) = signed_in().await;
    let mut browser = Browser::default();
    let sent = browser.get(&wiki.site, &authorize(&wiki, &[])).await;
    assert_eq!(sent.status, 302);
    let sign_in = location(&sent).to_owned();
    assert!(sign_in.starts_with("/if/flow/default-authentication-flow/?next=%2Fapplication%2Fo%2Fauthorize"));
    let page = browser.get(&wiki.site, &sign_in).await;
    assert!(page.text.contains("Sign in to wiki"), "{}", page.text);
    let policy = page.headers["content-security-policy"].to_str().expect("text");
    assert!(policy.contains("form-action 'self' http://wiki.example;"), "{policy}");
    let done = browser.post(&wiki.site, &sign_in, &[("uid_field", "ada"), ("password", PASSWORD)]).await;
    let back = browser.get(&wiki.site, location(&done)).await;
    assert!(location(&back).starts_with(&callback()));
    assert_eq!(member(&back, "state").as_deref(), Some("s&t=1#"));
    assert_eq!(member(&back, "iss").as_deref(), Some("http://id.example/application/o/wiki/"));
    let reply = redeem(&wiki, &member(&back, "code").expect("a code"), &[]).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    for token in [claims(&reply.json["access_token"]), claims(&reply.json["id_token"])] {
        assert_eq!((&token["nonce"], &token["amr"]), (&json!("n-1"), &json!(["pwd"])));
        assert_eq!(token["sid"].as_str().map(str::len), Some(64));
    }
    assert_eq!(text(&reply, "scope"), "ak_proxy openid profile");
    assert!(text(&reply, "logout_hint").len() <= 128, "PX-419");
    assert_eq!(wiki.site.events("authorize_application").await.0, 1);
}

/// OA-241, OA-242, OA-243, OA-703, OA-706, OA-743, OA-860: redirect URI, client, lifetime and PKCE verifier must fit,
/// and a wrong try spends the code.
#[tokio::test]
async fn oa_243_a_code_needs_its_verifier_and_redirect_uri() {
    let (wiki, mut browser) = signed_in().await;
    for wrong in [
        [("code_verifier", "")],
        [("code_verifier", "short")],
        [("code_verifier", "ABjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")],
        [("code_verifier", "ä-ftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk1")],
        [("redirect_uri", "http://wiki.example/?X-authentik-auth-callback=true")],
        [("redirect_uri", "")],
    ] {
        let code = code(&wiki, &mut browser).await;
        let reply = redeem(&wiki, &code, &wrong).await;
        assert_eq!((reply.status.as_u16(), text(&reply, "error")), (400, "invalid_grant"), "{wrong:?}");
        assert_eq!(text(&redeem(&wiki, &code, &[]).await, "error"), "invalid_grant", "spent: {wrong:?}");
    }
    let late = code(&wiki, &mut browser).await;
    wiki.site.clock.advance_seconds(61);
    assert_eq!(text(&redeem(&wiki, &late, &[]).await, "error"), "invalid_grant");
    let (_, client_id, client_secret) = application(&wiki.site, "other", "http://other.example").await;
    let foreign = code(&wiki, &mut browser).await;
    let all = [("client_id", client_id.as_str()), ("client_secret", &client_secret)];
    assert_eq!(text(&redeem_as(&wiki, &foreign, &all).await, "error"), "invalid_grant");
    assert_eq!(redeem(&wiki, &foreign, &[]).await.status, 200, "another client spends nothing");
    let without = authorize(&wiki, &[("code_challenge", ""), ("code_challenge_method", "")]);
    let unbound = member(&browser.get(&wiki.site, &without).await, "code").expect("a code");
    assert_eq!(text(&redeem(&wiki, &unbound, &[]).await, "error"), "invalid_grant", "a downgrade");
}

async fn redeem_as(wiki: &Wiki, code: &str, client: &[(&str, &str)]) -> Reply {
    let redirect_uri = callback();
    let mut all = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", &*redirect_uri),
        ("code_verifier", VERIFIER),
    ];
    all.extend_from_slice(client);
    post(&wiki.site, "/application/o/token/", &all, &[]).await
}

/// OA-245, OA-663, OA-644: a code that is used twice revokes what its first use gave, and is reported.
#[tokio::test]
async fn oa_245_a_code_used_twice_revokes_its_tokens() {
    let (wiki, mut browser) = signed_in().await;
    let code = code(&wiki, &mut browser).await;
    let first = redeem(&wiki, &code, &[]).await;
    assert!(wiki.is_active(text(&first, "access_token")).await);
    assert_eq!(text(&redeem(&wiki, &code, &[]).await, "error"), "invalid_grant");
    assert!(!wiki.is_active(text(&first, "access_token")).await);
    let (count, event) = wiki.site.events("suspicious_request").await;
    assert_eq!((count >= 1, &event["affected_user"]["name"]), (true, &json!("ada")));
}

/// OA-244, OA-861: of many redemptions at once exactly one wins.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn oa_244_one_of_many_redemptions_wins() {
    let (wiki, mut browser) = signed_in().await;
    let code = code(&wiki, &mut browser).await;
    let wiki = std::sync::Arc::new(wiki);
    let tries: Vec<_> = (0..12)
        .map(|_| {
            let (wiki, code) = (std::sync::Arc::clone(&wiki), code.clone());
            tokio::spawn(async move { redeem(&wiki, &code, &[]).await.status.as_u16() })
        })
        .collect();
    let mut won = 0;
    for attempt in tries {
        won += i32::from(attempt.await.expect("no panic") == 200);
    }
    assert_eq!(won, 1);
}

/// OA-246: a code dies with the session that approved it, and with its user's right to sign in.
#[tokio::test]
async fn oa_246_a_code_dies_with_its_session() {
    let (wiki, mut browser) = signed_in().await;
    let left = code(&wiki, &mut browser).await;
    assert_eq!(browser.post(&wiki.site, "/if/flow/default-invalidation-flow/", &[]).await.status, 200);
    assert_eq!(text(&redeem(&wiki, &left, &[]).await, "error"), "invalid_grant");
    assert_eq!(browser.sign_in(&wiki.site, "ada", PASSWORD).await.status, 303);
    let inactive = code(&wiki, &mut browser).await;
    let path = format!("/core/users/{}/", wiki.ada);
    wiki.site.admin(Method::PATCH, &path, json!({"is_active": false})).await;
    assert_eq!(text(&redeem(&wiki, &inactive, &[]).await, "error"), "invalid_grant");
}
