//! The pages in a real browser, by keyboard alone.

use portcullis_testkit::browser::ENTER;
use portcullis_testkit::{Browser, Site, run};
use serde_json::json;

use crate::stage::{Stage, shared};

/// CO-310, PX-310: sign in, be refused, try again, reach the application and sign out, without a pointing device.
#[test]
fn co_310_sign_in_by_keyboard_alone() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let browser = Browser::open().await;
        browser.go(&stage.app.url("/page")).await;
        browser.pictures("sign-in").await;
        browser.tab_to("input[type=text]").await;
        browser.press(&stage.person.username).await;
        browser.tab_to("input[type=password]").await;
        browser.press("not the password").await;
        browser.press(ENTER).await;
        browser.find("[role=alert]").await;
        browser.pictures("wrong-password").await;
        browser.tab_to("input[type=password]").await;
        browser.press(&stage.person.password).await;
        browser.tab_to("button[type=submit]").await;
        browser.press(ENTER).await;
        browser.sees("GET /page").await;
        assert!(browser.cookies().await.iter().any(|cookie| cookie["name"] == json!(stage.app.cookie_name())));
        browser.go(&stage.site.base()).await;
        browser.sees("Your applications").await;
        browser.pictures("home").await;
        browser.tab_to("form button[type=submit]").await;
        browser.press(ENTER).await;
        browser.sees("You are signed out").await;
        browser.pictures("signed-out").await;
        browser.go(&stage.app.url("/again")).await;
        browser.find("input[type=password]").await;
    });
}

/// PX-190, OA-548: sign-out at an application leads to the identity provider, which offers to end its own session too.
#[test]
fn px_190_sign_out_in_the_browser() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let browser = Browser::open().await;
        browser.go(&stage.app.url("/")).await;
        browser.sign_in(&stage.person.username, &stage.person.password).await;
        browser.sees("GET /").await;
        browser.go(&stage.app.url("/outpost.goauthentik.io/sign_out")).await;
        browser.sees("Signed out of").await;
        browser.pictures("signed-out-of-application").await;
        browser.click("a.button").await;
        browser.sees("Sign out?").await;
        browser.pictures("sign-out-question").await;
        browser.click("button[type=submit]").await;
        browser.sees("You are signed out").await;
        browser.go(&stage.app.url("/")).await;
        browser.find("input[type=password]").await;
    });
}

/// OA-164, OA-166, PX-310: with the explicit flow a person is asked once what the application may know, says yes by
/// keyboard, and is not asked again.
#[test]
fn oa_164_consent_in_the_browser() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let flow = stage.site.api.get("flows/instances/default-provider-authorization-explicit-consent/").await;
        let change = json!({"authorization_flow": flow["pk"]});
        stage.site.api.patch(&format!("providers/proxy/{}/", stage.app.provider), change).await;
        let browser = Browser::open().await;
        browser.go(&stage.app.url("/page?x=1")).await;
        browser.sign_in(&stage.person.username, &stage.person.password).await;
        browser.sees(&stage.app.slug).await;
        browser.pictures("consent").await;
        assert_eq!(stage.recorder.count(), 0, "nobody has agreed yet");
        browser.tab_to("form button[type=submit]").await;
        browser.press(ENTER).await;
        browser.sees("GET /page?x=1").await;
        browser.go(&stage.app.url("/outpost.goauthentik.io/sign_out")).await;
        browser.sees("Signed out of").await;
        browser.go(&stage.app.url("/again")).await;
        browser.sees("GET /again").await;
    });
}

/// CO-171, PX-310: someone without access reads so in a page.
#[test]
fn co_171_access_denied_page() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let other = stage.site.api.person("other").await;
        stage.site.api.bind(&stage.app, json!({"user": other.pk})).await;
        let browser = Browser::open().await;
        browser.go(&stage.app.url("/")).await;
        browser.sign_in(&stage.person.username, &stage.person.password).await;
        browser.sees("enied").await;
        browser.pictures("denied").await;
        assert_eq!(stage.recorder.count(), 0);
    });
}

/// CO-486: without a bootstrap password, the setup page takes the one-time code and makes the administrator; then it closes.
#[test]
fn co_486_first_run_with_the_setup_code() {
    run(async {
        let folder = portcullis_testkit::process::directory("setup");
        let file = folder.path().join("code");
        let options = Site::options().env("PORTCULLIS_BOOTSTRAP_PASSWORD", "");
        let site = options.env("PORTCULLIS_SETUP_CODE_FILE", &file.display().to_string()).start().await;
        let code = std::fs::read_to_string(&file).unwrap().trim().to_owned();
        let browser = Browser::open().await;
        browser.go(&site.url("/if/flow/initial-setup/")).await;
        browser.pictures("setup").await;
        let fill = async |code: &str| {
            for (css, text) in [
                ("#code", code),
                ("#email", "admin@example.org"),
                ("#password", "a long pass phrase"),
                ("#password_repeat", "a long pass phrase"),
            ] {
                browser.script(&format!("document.querySelector('{css}').value = ''")).await;
                browser.fill(css, text).await;
            }
            browser.click("button[type=submit]").await;
        };
        fill("00000000000000000000000000000000").await;
        browser.find("[role=alert]").await;
        fill(&code).await;
        portcullis_testkit::until("the end of the setup", async || {
            (!browser.url().await.contains("initial-setup")).then_some(())
        })
        .await;
        let page = portcullis_testkit::http().get(site.url("/if/flow/initial-setup/"));
        let page = portcullis_testkit::Go::go(page).await;
        assert_ne!(page.status, 200, "the setup is closed");
        let mut visitor = portcullis_testkit::Visitor::new();
        let page = visitor
            .sign_in_as(&site.url("/if/flow/default-authentication-flow/"), "akadmin", "a long pass phrase")
            .await;
        assert_eq!(page.reply.status, 200);
        assert!(page.reply.text().contains("akadmin"), "{}", page.reply.text());
    });
}

/// PX-310, PX-311: error pages of the data plane say what happened, at every size and in both schemes.
#[test]
fn px_310_error_pages_of_the_data_plane() {
    run(async {
        let site = shared().await;
        let closed = portcullis_testkit::process::free_port();
        let dead = site.app_before(&format!("http://127.0.0.1:{closed}"), json!({"skip_path_regex": "^/"})).await;
        let stage = Stage::new(json!({})).await;
        let browser = Browser::open().await;
        let pages = [
            ("bad-gateway", dead.url("/"), "502"),
            (
                "bad-state",
                stage.app.url("/outpost.goauthentik.io/callback?X-authentik-auth-callback=true&state=x&code=y"),
                "400",
            ),
            ("not-found", stage.app.url("/outpost.goauthentik.io/unknown"), "404"),
        ];
        for (name, url, part) in pages {
            browser.go(&url).await;
            browser.sees(part).await;
            browser.pictures(name).await;
        }
    });
}
