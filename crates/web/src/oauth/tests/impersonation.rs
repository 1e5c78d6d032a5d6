//! What comes of applications and pages while somebody acts as somebody else (CO-388).

use super::browser::{Browser, hidden, lent};
use super::login::{authorize, callback, code, member, redeem, signed_in};
use super::*;

const EXPLICIT: &str = "default-provider-authorization-explicit-consent";
const HTML: (&str, &str) = ("accept", "text/html");

/// The instance, and a browser in which an administrator acts as Ada.
async fn acting() -> (Wiki, Browser) {
    let (wiki, _) = signed_in().await;
    let boss = wiki.site.user("boss").await;
    super::browser::set_password(&wiki.site, boss, "correct horse battery").await;
    let groups = wiki.site.admin(Method::GET, "/core/groups/?is_superuser=true", None).await;
    let group = groups.json["results"][0]["pk"].as_str().expect("a group").to_owned();
    let path = format!("/core/groups/{group}/add_user/");
    assert_eq!(wiki.site.admin(Method::POST, &path, json!({"pk": boss})).await.status, 204);
    let mut browser = Browser::default();
    assert_eq!(browser.sign_in(&wiki.site, "boss", "correct horse battery").await.status, 303);
    let request = Request::post(format!("/api/v3/core/users/{}/impersonate/", wiki.ada))
        .header("cookie", format!("{}; authentik_csrf=x", session(&browser)))
        .header("x-authentik-csrf", "x")
        .header("content-type", "application/json");
    let reply = wiki.site.raw(request.body(Body::from(json!({"reason": "r"}).to_string())).expect("a request")).await;
    assert_eq!(reply.status, 204, "{}", reply.text);
    let cookies = reply.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
    let cookie =
        cookies.filter_map(|value| value.split(';').next()).find(|value| value.starts_with("authentik_session"));
    browser.cookie = cookie.map(str::to_owned);
    (wiki, browser)
}

fn session(browser: &Browser) -> &str {
    browser.cookie.as_deref().expect("a cookie")
}

async fn page(wiki: &Wiki, browser: &Browser, path: &str) -> Reply {
    get(&wiki.site, path, &[("cookie", session(browser)), HTML, ("sec-fetch-site", "none")]).await
}

async fn end(wiki: &Wiki, browser: &mut Browser) {
    let reply = browser.post(&wiki.site, "/account/impersonation/", &[]).await;
    assert_eq!((reply.status.as_u16(), location(&reply)), (303, "/"), "{}", reply.text);
}

/// CO-388: every page says whom somebody acts as and has a button, which works without script and ends it; pages for what
/// people sign in by are refused.
#[tokio::test]
async fn co_388_pages_say_whom_somebody_acts_as() {
    let (wiki, mut browser) = acting().await;
    let home = page(&wiki, &browser, "/").await;
    for part in
        ["You act as <strong>ada</strong>", "action=\"/account/impersonation/\"", "Signed in as <strong>ada</strong>"]
    {
        assert!(home.text.contains(part), "{part}: {}", home.text);
    }
    for path in ["/if/flow/default-password-change/", "/if/flow/default-authenticator-static-setup/"] {
        let refused = page(&wiki, &browser, path).await;
        assert!(refused.text.contains("theirs alone"), "{path}: {}", refused.text);
    }
    assert_eq!(page(&wiki, &browser, "/account/second-factors/").await.status, 403);
    let foreign = post(
        &wiki.site,
        "/account/impersonation/",
        &[],
        &[("cookie", session(&browser)), ("origin", "https://evil.example")],
    )
    .await;
    assert_eq!(foreign.status, 403);
    end(&wiki, &mut browser).await;
    let home = page(&wiki, &browser, "/").await;
    assert!(home.text.contains("Signed in as <strong>boss</strong>") && !home.text.contains("You act as"));
}

/// CO-388: tokens that applications get meanwhile end with it, and are no way into the API, where nobody would know who
/// acts; what is agreed to meanwhile is not remembered; and it is recorded who authorized.
#[tokio::test]
async fn co_388_nothing_of_it_outlives_it() {
    let (wiki, mut browser) = acting().await;
    let flow = wiki.site.admin(Method::GET, &format!("/flows/instances/{EXPLICIT}/"), None).await;
    let path = format!("/providers/proxy/{}/", wiki.provider);
    let code = code(&wiki, &mut browser).await;
    let tokens = redeem(&wiki, &code, &[]).await;
    assert_eq!(tokens.status, 200, "{}", tokens.text);
    let token = tokens.json["access_token"].as_str().expect("a token").to_owned();
    assert!(wiki.is_active(&token).await);
    let (_, event) = wiki.site.events("authorize_application").await;
    assert_eq!(event["scopes"], "ak_proxy openid profile", "{event}");
    let recorded = wiki.site.admin(Method::GET, "/events/events/?action=authorize_application", None).await;
    let user = &recorded.json["results"][0]["user"];
    assert_eq!((&user["username"], &user["on_behalf_of"]["username"]), (&json!("boss"), &json!("ada")));

    assert_eq!(wiki.site.admin(Method::PATCH, &path, json!({"authorization_flow": flow.json["pk"]})).await.status, 200);
    let asks = browser.get(&wiki.site, &authorize(&wiki, &[])).await;
    let action = format!("/if/flow/{EXPLICIT}/");
    assert!(asks.text.contains(&format!("action=\"{action}\"")), "{}", asks.text);
    let agreed = browser.post(&wiki.site, &action, &lent(&hidden(&asks.text))).await;
    assert!(member(&agreed, "code").is_some(), "{} {}", agreed.status, agreed.text);
    let consents = wiki.site.admin(Method::GET, &format!("/core/user_consent/?user={}", wiki.ada), None).await;
    assert_eq!(consents.json["results"], json!([]));

    end(&wiki, &mut browser).await;
    assert!(!wiki.is_active(&token).await);
    assert!(callback().starts_with(EXTERNAL));
}

/// CO-388, OA-247: nobody gets access in somebody else's name that goes on when nobody is there.
#[tokio::test]
async fn co_388_nothing_goes_on_offline() {
    let (wiki, mut browser) = acting().await;
    super::refresh::offer(&wiki.site, "proxy", wiki.provider, "offline_access").await;
    let asked = authorize(&wiki, &[("scope", "openid offline_access")]);
    let code = member(&browser.get(&wiki.site, &asked).await, "code").expect("a code");
    let tokens = redeem(&wiki, &code, &[]).await;
    assert_eq!((tokens.status.as_u16(), text(&tokens, "scope")), (200, "openid"), "{}", tokens.text);
    assert!(tokens.json.get("refresh_token").is_none(), "{}", tokens.text);

    let mut own = Browser::default();
    assert_eq!(own.sign_in(&wiki.site, "ada", "correct horse battery").await.status, 303);
    let code = member(&own.get(&wiki.site, &asked).await, "code").expect("a code");
    assert!(redeem(&wiki, &code, &[]).await.json.get("refresh_token").is_some());
}

/// CO-388: who signs out while acting as somebody else is signed out altogether.
#[tokio::test]
async fn co_388_signing_out_ends_both() {
    let (wiki, mut browser) = acting().await;
    let cookie = session(&browser).to_owned();
    assert_eq!(browser.post(&wiki.site, "/if/flow/default-invalidation-flow/", &[]).await.status, 200);
    let me = get(&wiki.site, "/api/v3/core/users/me/", &[("cookie", &cookie)]).await;
    assert_eq!(me.status, 403);
    let sessions = wiki.site.admin(Method::GET, "/core/authenticated_sessions/?user__username=boss", None).await;
    assert_eq!(sessions.json["results"], json!([]));
    assert_eq!(wiki.site.events("impersonation_ended").await.0, 1);
}
