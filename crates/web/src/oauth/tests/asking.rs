//! What authorization requests may ask for, and how.

use super::browser::{Browser, set_password};
use super::clients::App;
use super::login::{self, authorize, member};
use super::*;

const PASSWORD: &str = "correct horse battery";

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
