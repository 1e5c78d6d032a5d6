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
    assert_eq!(client.form(&site, page, &[("pk", &pk)]).await.status, 303);
    assert!(client.page(&site, page).await.text.contains("You have none"));
}
