//! Something without a browser is let in by somebody who has one.

use super::browser::Browser;
use super::clients::{App, client};
use super::refresh::offer;
use super::*;

const PASSWORD: &str = "correct horse battery";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// An instance whose brand lets devices in, with a client for them.
async fn app(more: Value) -> App {
    let mut all = json!({"grant_types": [GRANT, "refresh_token"], "client_type": "public"});
    for (key, value) in more.as_object().expect("an object") {
        all[key] = value.clone();
    }
    let app = App::new(all).await;
    offer(&app.site, "oauth2", &app.provider["pk"], "offline_access").await;
    let brand = app.site.admin(Method::GET, "/core/brands/", None).await.json["results"][0].clone();
    let path = format!("/core/brands/{}/", brand["brand_uuid"].as_str().expect("a key"));
    let flow = app.site.admin(Method::GET, "/flows/instances/default-authentication-flow/", None).await;
    let changed = app.site.admin(Method::PATCH, &path, json!({"flow_device_code": flow.json["pk"]})).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    app
}

async fn start(app: &App, more: &[(&str, &str)]) -> Reply {
    app.ask("/application/o/device/", more).await
}

async fn poll(app: &App, code: &str) -> Reply {
    app.ask("/application/o/token/", &[("grant_type", GRANT), ("device_code", code)]).await
}

async fn refusal(app: &App, code: &str) -> String {
    let reply = poll(app, code).await;
    assert_eq!(reply.status, 400, "{}", reply.text);
    assert_eq!(reply.json.as_object().map(serde_json::Map::len), Some(3), "OA-011");
    assert_eq!(
        (&reply.headers["cache-control"], &reply.headers["pragma"]),
        (&"no-store".parse().expect("a value"), &"no-cache".parse().expect("a value")),
        "OA-012"
    );
    text(&reply, "error").to_owned()
}

async fn signed_in(app: &App) -> Browser {
    let mut browser = Browser::default();
    assert_eq!(browser.sign_in(&app.site, "ada", PASSWORD).await.status, 303);
    browser
}

async fn answer(app: &App, browser: &mut Browser, code: &str, answer: &str) -> Reply {
    browser.post(&app.site, "/device", &[("code", code), ("answer", answer)]).await
}

/// OA-052: a device that was let in at an application is not let in at another one.
#[tokio::test]
async fn oa_052_devices_end_with_the_application() {
    let app = app(json!({})).await;
    let mut browser = signed_in(&app).await;
    let started = start(&app, &[("scope", "openid")]).await;
    answer(&app, &mut browser, text(&started, "user_code"), "allow").await;
    assert_eq!(app.site.admin(Method::DELETE, "/core/applications/app/", None).await.status, 204);
    let body = json!({"name": "other", "slug": "other", "provider": app.provider["pk"]});
    assert_eq!(app.site.admin(Method::POST, "/core/applications/", body).await.status, 201);
    assert_eq!(refusal(&app, text(&started, "device_code")).await, "invalid_grant");
}

/// OA-087, OA-370, OA-371, OA-372, OA-012, OA-106, OA-870: a device gets a code for itself and one to show; it may ask
/// for what its client is offered and no more, whatever it says later.
#[tokio::test]
async fn oa_372_a_device_gets_two_codes() {
    let app = app(json!({})).await;
    let found = get(&app.site, "/application/o/app/.well-known/openid-configuration", &[]).await.json;
    assert_eq!(found["device_authorization_endpoint"], "http://id.example/application/o/device/");
    assert!(found["grant_types_supported"].as_array().expect("a list").contains(&json!(GRANT)));
    let started = start(&app, &[("scope", "openid goauthentik.io/api profile")]).await;
    assert_eq!((started.status.as_u16(), &started.headers["pragma"]), (200, &"no-cache".parse().expect("a value")));
    let user_code = text(&started, "user_code");
    assert_eq!((&started.json["expires_in"], &started.json["interval"]), (&json!(600), &json!(5)));
    assert_eq!(text(&started, "verification_uri"), "http://id.example/device");
    assert_eq!(text(&started, "verification_uri_complete"), format!("http://id.example/device?code={user_code}"));
    assert!(text(&started, "device_code").len() >= 43, "256 bits");
    let mut browser = signed_in(&app).await;
    assert_eq!(answer(&app, &mut browser, user_code, "allow").await.status, 200);
    let all = [("grant_type", GRANT), ("device_code", text(&started, "device_code")), ("scope", "email")];
    let tokens = app.ask("/application/o/token/", &all).await;
    assert_eq!(text(&tokens, "scope"), "openid profile");
    let nothing = start(&app, &[]).await;
    assert_eq!(answer(&app, &mut browser, text(&nothing, "user_code"), "allow").await.status, 200);
    assert_eq!(text(&poll(&app, text(&nothing, "device_code")).await, "scope"), "");
}

/// OA-370, OA-043, OA-050, OA-805: a client that is unknown, belongs to no application, may not use the grant or has a
/// secret and does not show it begins nothing.
#[tokio::test]
async fn oa_370_only_clients_begin() {
    let app = app(json!({})).await;
    let refused = async |parameters: &[(&str, &str)]| {
        let reply = post(&app.site, "/application/o/device/", parameters, &[]).await;
        assert_eq!(reply.status, 400, "{}", reply.text);
        text(&reply, "error").to_owned()
    };
    assert_eq!(refused(&[]).await, "invalid_client");
    assert_eq!(refused(&[("client_id", "nobody")]).await, "invalid_client");
    let other = client(&app.site, "other", json!({"grant_types": ["authorization_code"]})).await;
    let (id, secret) = (other["client_id"].as_str().expect("text"), other["client_secret"].as_str().expect("text"));
    assert_eq!(refused(&[("client_id", id)]).await, "invalid_client");
    assert_eq!(refused(&[("client_id", id), ("client_secret", secret)]).await, "unauthorized_client");
    let path = format!("/providers/oauth2/{}/", other["pk"]);
    app.site.admin(Method::PATCH, &path, json!({"grant_types": [GRANT]})).await;
    assert_eq!(refused(&[("client_id", id), ("client_secret", "wrong")]).await, "invalid_client");
    let all = [("client_id", id), ("client_secret", secret)];
    let started = post(&app.site, "/application/o/device/", &all, &[]).await;
    assert_eq!(started.status, 200, "{}", started.text);
    let code = text(&started, "device_code");
    assert_eq!(refusal(&app, code).await, "invalid_grant", "another client's");
    let all = [("client_id", id), ("grant_type", GRANT), ("device_code", code)];
    let unproven = post(&app.site, "/application/o/token/", &all, &[]).await;
    assert_eq!(text(&unproven, "error"), "invalid_client");
    let gone = app.site.admin(Method::DELETE, "/core/applications/other/", None).await;
    assert_eq!(gone.status, 204);
    assert_eq!(refused(&[("client_id", id), ("client_secret", secret)]).await, "invalid_client");
}

/// OA-042, OA-872: a device waits for as long as its client's provider says.
#[tokio::test]
async fn oa_042_devices_wait_as_long_as_the_provider_says() {
    let app = app(json!({"device_code_validity": "minutes=2"})).await;
    let started = start(&app, &[]).await;
    assert_eq!(started.json["expires_in"], 120);
    app.site.clock.advance_seconds(119);
    assert_eq!(refusal(&app, text(&started, "device_code")).await, "authorization_pending");
    app.site.clock.advance_seconds(1);
    assert_eq!(refusal(&app, text(&started, "device_code")).await, "expired_token");
}

/// OA-043, OA-213, OA-370, OA-805: a client that has a secret need not show it where its provider says so; a wrong one is refused
/// all the same.
#[tokio::test]
async fn oa_043_devices_can_do_without_the_secret() {
    let app = app(json!({"client_type": "confidential", "device_require_client_auth": false})).await;
    let started = start(&app, &[("scope", "openid")]).await;
    assert_eq!(started.status, 200, "{}", started.text);
    let code = text(&started, "device_code");
    let mut browser = signed_in(&app).await;
    answer(&app, &mut browser, text(&started, "user_code"), "allow").await;
    for secret in ["wrong", " "] {
        assert_eq!(text(&start(&app, &[("client_secret", secret)]).await, "error"), "invalid_client");
        let all = [("grant_type", GRANT), ("device_code", code), ("client_secret", secret)];
        assert_eq!(text(&app.ask("/application/o/token/", &all).await, "error"), "invalid_client");
    }
    assert_eq!(poll(&app, code).await.status, 200);
    app.change(json!({"device_require_client_auth": true})).await;
    assert_eq!(text(&start(&app, &[]).await, "error"), "invalid_client");
}

/// OA-374, OA-375, OA-376, OA-873, OA-712, OA-093: a device waits until somebody says yes on a page that names
/// application, code and scopes; a link alone lets nobody in. It then gets tokens once, of the login that said yes and
/// not bound to its session.
#[tokio::test]
async fn oa_376_a_device_is_let_in() {
    let app = app(json!({})).await;
    let started = start(&app, &[("scope", "openid profile offline_access")]).await;
    let (device, user) = (text(&started, "device_code"), text(&started, "user_code"));
    assert_eq!(refusal(&app, device).await, "authorization_pending");
    let page = format!("/device?code={}", user.to_lowercase());
    let mut browser = Browser::default();
    let asked = browser.get(&app.site, &page).await;
    assert!(location(&asked).starts_with("/if/flow/default-authentication-flow/?next=%2Fdevice%3Fcode%3D"));
    let mut browser = signed_in(&app).await;
    let auth_time = app.site.ctx.now().seconds();
    let question = browser.get(&app.site, &page).await;
    for shown in ["Let app in?", user, "<strong>ada</strong>"] {
        assert!(question.text.contains(shown), "{shown}: {}", question.text);
    }
    app.site.clock.advance_seconds(10);
    assert_eq!(refusal(&app, device).await, "authorization_pending", "a link lets nobody in");
    let foreign = [("cookie", browser.cookie.as_deref().expect("a cookie")), ("sec-fetch-site", "cross-site")];
    let forged = post(&app.site, "/device", &[("code", user), ("answer", "allow")], &foreign).await;
    assert_eq!(forged.status, 403);
    let done = answer(&app, &mut browser, user, "allow").await;
    assert!(done.text.contains("You are signed in"), "{}", done.text);
    assert!(answer(&app, &mut browser, user, "deny").await.text.contains("not valid"), "an answer is one");
    let (_, event) = app.site.events("authorize_application").await;
    assert_eq!(
        (&event["scopes"], &event["authorized_application"]["name"]),
        (&json!("offline_access openid profile"), &json!("app"))
    );
    app.site.clock.advance_seconds(60);
    let tokens = poll(&app, device).await;
    assert_eq!(tokens.status, 200, "{}", tokens.text);
    let said = claims(&tokens.json["id_token"]);
    assert_eq!((&said["auth_time"], &said["amr"], said.get("sid")), (&json!(auth_time), &json!(["pwd"]), None));
    assert_eq!(refusal(&app, device).await, "invalid_grant", "once");
    browser.post(&app.site, "/if/flow/default-invalidation-flow/", &[]).await;
    assert_eq!(app.userinfo(text(&tokens, "access_token")).await.status, 200, "the device stays signed in");
    let all = [("grant_type", "refresh_token"), ("refresh_token", text(&tokens, "refresh_token"))];
    let next = app.ask("/application/o/token/", &all).await;
    assert_eq!(next.status, 200, "{}", next.text);
    assert_eq!(
        (claims(&next.json["id_token"]).get("sid"), &claims(&next.json["id_token"])["auth_time"]),
        (None, &json!(auth_time))
    );
    // It ends with its user, though.
    app.site.admin(Method::PATCH, &format!("/core/users/{}/", app.ada), json!({"is_active": false})).await;
    assert_eq!(app.userinfo(text(&next, "access_token")).await.status, 401);
}

/// OA-375, OA-872: who asks too often is told to slow down, and waits longer each time; a code ends; a no is one.
#[tokio::test]
async fn oa_375_devices_are_told_why_they_wait() {
    let app = app(json!({})).await;
    let started = start(&app, &[]).await;
    let device = text(&started, "device_code");
    let mut told = Vec::new();
    for wait in [0, 5, 4, 9, 14, 20] {
        app.site.clock.advance_seconds(wait);
        told.push(refusal(&app, device).await);
    }
    let (go_on, slow) = ("authorization_pending", "slow_down");
    assert_eq!(told, [go_on, go_on, slow, slow, slow, go_on]);
    app.site.clock.advance_seconds(600);
    assert_eq!(refusal(&app, device).await, "expired_token");
    let mut browser = signed_in(&app).await;
    assert!(answer(&app, &mut browser, text(&started, "user_code"), "allow").await.text.contains("not valid"));
    portcullis_idp::oauth::sweep(&app.site.ctx).await.expect("sweeps");
    assert_eq!(refusal(&app, device).await, "expired_token", "for a while");
    app.site.clock.advance_seconds(700);
    portcullis_idp::oauth::sweep(&app.site.ctx).await.expect("sweeps");
    for unknown in [device, "x", &"x".repeat(10_000)] {
        assert_eq!(refusal(&app, unknown).await, "invalid_grant");
    }
    let second = start(&app, &[]).await;
    let mut browser = signed_in(&app).await;
    let no = answer(&app, &mut browser, text(&second, "user_code"), "deny").await;
    assert!(no.text.contains("was told no"), "{}", no.text);
    assert_eq!(refusal(&app, text(&second, "device_code")).await, "access_denied");
    assert_eq!(app.site.events("authorize_application").await.0, 0);
}

/// OA-373, OA-374, CO-388: whom the policies refuse lets no device in, whoever acts as somebody else neither; policies are
/// asked again when the device comes; without a flow in the brand there is no page.
#[tokio::test]
async fn oa_373_policies_decide_about_devices() {
    let app = app(json!({})).await;
    let started = start(&app, &[]).await;
    let (device, user) = (text(&started, "device_code"), text(&started, "user_code"));
    let mut browser = signed_in(&app).await;
    let application = app.site.admin(Method::GET, "/core/applications/app/", None).await;
    let other = app.site.user("bob").await;
    let bind = json!({"target": application.json["pk"], "user": other, "order": 0, "enabled": true});
    let bound = app.site.admin(Method::POST, "/policies/bindings/", bind.clone()).await;
    assert_eq!(answer(&app, &mut browser, user, "allow").await.status, 403);
    assert_eq!(refusal(&app, device).await, "authorization_pending");
    let binding = format!("/policies/bindings/{}/", bound.json["pk"].as_str().expect("a key"));
    app.site.admin(Method::DELETE, &binding, None).await;
    assert_eq!(answer(&app, &mut browser, user, "allow").await.status, 200);
    app.site.admin(Method::POST, "/policies/bindings/", bind).await;
    assert_eq!(refusal(&app, device).await, "invalid_grant");
    let brand = app.site.admin(Method::GET, "/core/brands/", None).await.json["results"][0].clone();
    let path = format!("/core/brands/{}/", brand["brand_uuid"].as_str().expect("a key"));
    app.site.admin(Method::PATCH, &path, json!({"flow_device_code": null})).await;
    assert_eq!(browser.get(&app.site, "/device").await.status, 404);
}

/// OA-377, OA-871: codes are guessed ten times by one user; a right one is not looked at after that for a while.
#[tokio::test]
async fn oa_377_codes_are_not_guessed() {
    let app = app(json!({})).await;
    let started = start(&app, &[]).await;
    let mut browser = signed_in(&app).await;
    let form = browser.get(&app.site, "/device").await;
    assert!(form.status == 200 && form.text.contains("Enter the code"), "{}", form.text);
    for _ in 0..10 {
        let wrong = answer(&app, &mut browser, "BBBB-BBBB", "").await;
        assert!(wrong.status == 200 && wrong.text.contains("not valid"), "{}", wrong.text);
    }
    let refused = answer(&app, &mut browser, text(&started, "user_code"), "allow").await;
    assert_eq!(refused.status, 429);
    assert!(refused.headers.contains_key("retry-after"));
    app.site.clock.advance_seconds(901);
    let again = start(&app, &[]).await;
    assert_eq!(answer(&app, &mut browser, text(&again, "user_code"), "allow").await.status, 200);
}

/// OA-377, OA-871: whoever is lured to links with wrong codes can type a right one afterwards; links guess no better than
/// people do.
#[tokio::test]
async fn oa_377_links_lock_nobody_out() {
    let app = app(json!({})).await;
    let mut browser = signed_in(&app).await;
    for _ in 0..10 {
        let lured = browser.get(&app.site, "/device?code=BBBB-BBBB").await;
        assert!(lured.status == 200 && lured.text.contains("not valid"), "{}", lured.text);
    }
    let started = start(&app, &[]).await;
    let code = text(&started, "user_code");
    for link in ["BBBB-BBBB", code] {
        let unread = browser.get(&app.site, &format!("/device?code={link}")).await;
        assert!(unread.status == 200 && !unread.text.contains("not valid"), "{}", unread.text);
        assert!(unread.text.contains("Enter the code") && unread.text.contains(link), "{}", unread.text);
    }
    let asked = answer(&app, &mut browser, code, "").await;
    assert!(asked.text.contains("app") && !asked.text.contains("Enter the code"), "{}", asked.text);
    let done = answer(&app, &mut browser, code, "allow").await;
    assert!(done.text.contains("You are signed in"), "{}", done.text);
}

/// OA-378, OA-222: one address has twenty devices ask in an hour.
#[tokio::test]
async fn oa_378_devices_are_counted() {
    let app = app(json!({})).await;
    for _ in 0..20 {
        assert_eq!(start(&app, &[]).await.status, 200);
    }
    let refused = start(&app, &[]).await;
    assert_eq!((refused.status.as_u16(), text(&refused, "error")), (429, "slow_down"));
    assert!(refused.headers.contains_key("retry-after"));
    let elsewhere = post_from(&app.site, [198, 51, 100, 9], "/application/o/device/", &[("client_id", app.id())]).await;
    assert_eq!(elsewhere.status, 200);
    app.site.clock.advance_seconds(3601);
    assert_eq!(start(&app, &[]).await.status, 200);
}

/// OA-640, OA-641: neither code of a device is in the database.
#[tokio::test]
async fn oa_641_no_code_is_stored() {
    let app = app(json!({})).await;
    let started = start(&app, &[]).await;
    let bytes = app.site.file_bytes();
    let user = text(&started, "user_code").replace('-', "");
    for code in [text(&started, "device_code"), &user, text(&started, "user_code")] {
        assert!(!bytes.windows(code.len()).any(|part| part == code.as_bytes()), "{code}");
    }
}
