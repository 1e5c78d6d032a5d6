//! The pages are another face of the same flows.

use super::*;

impl Client {
    pub(super) async fn form(&mut self, site: &Site, path: &str, fields: &[(&str, &str)]) -> Reply {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = Request::post(path)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ORIGIN, "http://id.example");
        self.send(site, request, Body::from(body)).await
    }
}

const PAGE: &str = "/if/flow/default-authentication-flow/?next=%2Fx";

/// CO-301, CO-304: a flow begun by program goes on as a page, and the other way round.
#[tokio::test]
async fn co_301_pages_and_programs_are_at_the_same_flow() {
    let (site, _) = with_ada().await;
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    let page = client.page(&site, "/if/flow/default-authenticator-totp-setup/").await;
    assert!(page.text.contains("data:image/svg+xml;base64,"), "{}", page.text);
    let asked = client.show(&site, flows::TOTP_SETUP, "").await;
    let seed = seed_of(asked["config_url"].as_str().expect("a URL"));
    let typed = page.text.split("<code>").nth(1).expect("the key").split('<').next().expect("text").replace(' ', "");
    assert_eq!(typed, totp::base32(&seed), "the key of the page is that of the program");
    let wrong = client.form(&site, "/if/flow/default-authenticator-totp-setup/", &[("code", "1")]).await;
    assert!(wrong.text.contains("role=\"alert\""));
    let code = totp::code(&seed, totp::step_at(site.ctx.now()), 6);
    let done = client.form(&site, "/if/flow/default-authenticator-totp-setup/", &[("code", &code)]).await;
    assert_eq!((done.status.as_u16(), &done.headers["location"]), (303, &"/".parse().expect("a value")));
    let mut client = Client::new();
    let asks = client.form(&site, PAGE, &[("uid_field", "ada"), ("password", PASSWORD)]).await;
    assert!(asks.text.contains("One more step") && asks.text.contains("one-time-code"), "{}", asks.text);
    assert_eq!(client.show(&site, SIGN_IN, "").await["component"], "ak-stage-authenticator-validate");
    let code = next_code(&site, &seed);
    let fields = [("component", "ak-stage-authenticator-validate"), ("code", code.as_str())];
    let done = client.form(&site, PAGE, &fields).await;
    assert_eq!((done.status.as_u16(), &done.headers["location"]), (303, &"/x".parse().expect("a value")));
    assert_eq!(client.whoami(&site).await, 200);
}

/// CO-308: a page for signed-in users leads others to sign in, and back.
#[tokio::test]
async fn co_308_pages_of_users_lead_strangers_to_sign_in() {
    let (site, _) = with_ada().await;
    let mut client = Client::new();
    for slug in [flows::PASSWORD_CHANGE, flows::TOTP_SETUP, flows::USER_SETTINGS] {
        let path = format!("/if/flow/{slug}/");
        let led = client.page(&site, &path).await;
        let target = led.headers["location"].to_str().expect("text").to_owned();
        assert!(target.starts_with("/if/flow/default-authentication-flow/?next=%2Fif%2Fflow%2F"), "{target}");
    }
    client.sign_in(&site, "ada", PASSWORD).await;
    for (slug, says) in [
        (flows::PASSWORD_CHANGE, "Choose a new password"),
        (flows::USER_SETTINGS, "Your details"),
        (flows::STATIC_SETUP, "Recovery codes"),
        (flows::PROVIDER_INVALIDATION, "Signed out of the application"),
        (flows::RECOVERY, "Sign out first"),
    ] {
        let page = client.page(&site, &format!("/if/flow/{slug}/")).await;
        assert!(page.text.contains(says), "{slug}: {}", page.text);
        assert!(!page.text.contains("<script"), "{slug}");
    }
    assert_eq!(client.page(&site, "/if/flow/nothing/").await.status, 404);
}

/// CO-702: users see their second factors on a page, and remove them there; another site cannot.
#[tokio::test]
async fn co_702_a_page_lists_and_removes_second_factors() {
    let (site, _) = with_ada().await;
    let mut client = Client::new();
    let page = "/account/second-factors/";
    let led = client.page(&site, page).await;
    assert!(led.headers["location"].to_str().expect("text").ends_with("?next=%2Faccount%2Fsecond%2Dfactors%2F"));
    client.sign_in(&site, "ada", PASSWORD).await;
    assert!(client.page(&site, page).await.text.contains("You have none"));
    client.enrol(&site).await;
    let shown = client.page(&site, page).await.text;
    let pk = shown.split("name=\"pk\" value=\"").nth(1).expect("a key").split('"').next().expect("text").to_owned();
    let body = format!("pk={pk}");
    let foreign = Request::post(page)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::ORIGIN, "http://evil.example");
    assert_eq!(client.send(&site, foreign, Body::from(body)).await.status, 403);
    let asked = client.form(&site, page, &[("pk", &pk)]).await;
    assert!(asked.status == 200 && asked.text.contains("Remove Authenticator app?"), "{}", asked.text);
    assert!(!client.page(&site, page).await.text.contains("You have none"), "nobody has said yes");
    assert_eq!(client.form(&site, page, &[("pk", &pk), ("yes", "true")]).await.status, 303);
    assert!(client.page(&site, page).await.text.contains("You have none"));
}

/// CO-314: recovery codes are offered beside another second factor, go with the last one, and the page says how many are
/// left.
///
/// Alone they would be asked for at each sign-in until none is left.
#[tokio::test]
async fn co_314_recovery_codes_come_and_go_with_another_factor() {
    let (site, _) = with_ada().await;
    let (mut client, page) = (Client::new(), "/account/second-factors/");
    client.sign_in(&site, "ada", PASSWORD).await;
    assert!(!client.page(&site, page).await.text.contains("recovery codes"));
    client.enrol(&site).await;
    assert!(client.page(&site, page).await.text.contains("Make recovery codes"));
    let app = client.page(&site, page).await.text;
    let app = app.split("name=\"pk\" value=\"").nth(1).expect("a key").split('"').next().expect("text").to_owned();
    client.show(&site, flows::STATIC_SETUP, "").await;
    client.answer(&site, flows::STATIC_SETUP, "", json!({})).await;
    let shown = client.page(&site, page).await.text;
    assert!(shown.contains("6 left") && shown.contains("Make new recovery codes"), "{shown}");
    let asked = client.form(&site, page, &[("pk", &app)]).await;
    assert!(asked.text.contains("Your recovery codes go with it"), "{}", asked.text);
    client.form(&site, page, &[("pk", &app), ("yes", "true")]).await;
    assert!(client.page(&site, page).await.text.contains("You have none"));
    assert_eq!(Client::new().sign_in(&site, "ada", PASSWORD).await["component"], "xak-flow-redirect");
    client.show(&site, flows::STATIC_SETUP, "").await;
    client.answer(&site, flows::STATIC_SETUP, "", json!({})).await;
    assert!(client.page(&site, page).await.text.contains("each sign-in uses one up"), "made by program");
    let mut client = Client::new();
    client.form(&site, PAGE, &[("uid_field", "ada"), ("password", PASSWORD)]).await;
    let wrong = client.form(&site, PAGE, &[("component", "ak-stage-authenticator-validate"), ("code", "x")]).await;
    assert!(wrong.text.contains("none of your recovery codes"), "{}", wrong.text);
}

/// CO-326: whoever has changed their password is told so where they land, and not because of a link.
#[tokio::test]
async fn co_326_the_page_after_a_change_says_so() {
    let (site, _) = with_ada().await;
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    site.clock.advance_seconds(400);
    assert!(!client.page(&site, "/?done=password").await.text.contains("was changed"));
    let path = format!("/if/flow/{}/", flows::PASSWORD_CHANGE);
    let asked = client.page(&site, &path).await.text;
    assert!(asked.contains("value=\"ada\" autocomplete=\"username\" readonly hidden"), "{asked}");
    let new = "something else entirely";
    let done = client.form(&site, &path, &[("password", new), ("password_repeat", new)]).await;
    let lands = done.headers["location"].to_str().expect("text").to_owned();
    assert!(client.page(&site, &lands).await.text.contains("Your password was changed."));
    assert!(!client.page(&site, "/").await.text.contains("was changed"));
}

/// CO-327: what users may not change of themselves is shown and cannot be typed over; one begins at what they may.
#[tokio::test]
async fn co_327_what_may_not_be_changed_is_read_only() {
    let (site, _) = with_ada().await;
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    let path = format!("/if/flow/{}/", flows::USER_SETTINGS);
    let page = client.page(&site, &path).await.text;
    let input = |id: &str| {
        let from = page.split(&format!("<input id=\"{id}\"")).nth(1).expect("is there");
        from.split('>').next().expect("text").to_owned()
    };
    for (id, may) in [("username", false), ("name", true), ("email", false), ("attributes.settings.locale", true)] {
        assert_eq!(input(id).contains(" readonly"), !may, "{id}");
        assert_eq!(input(id).contains(" autofocus"), id == "name", "{id}");
    }
    assert_eq!(page.matches("(set by your administrator)").count(), 2, "{page}");
    for (language, is_one) in [("klingon!", false), ("e", false), ("de-", false), ("de-CH", true), ("zh_Hans", true)] {
        let sent = client.form(&site, &path, &[("attributes.settings.locale", language)]).await;
        assert_eq!(sent.status == 303, is_one, "{language}");
    }
}
