//! Two windows of one browser, and two answers to one question.

use super::*;

const PAGE: &str = "/if/flow/default-authentication-flow/";
const CODES: &str = "/if/flow/default-authenticator-static-setup/";
const KEPT: [(&str, &str); 1] = [("component", "ak-stage-authenticator-static")];

impl Client {
    /// Another request of the same browser, at the same time.
    fn beside(&self) -> Self {
        Self { cookies: self.cookies.clone(), address: self.address }
    }

    async fn codes(&mut self, site: &Site) -> Vec<String> {
        let asked = self.show(site, flows::STATIC_SETUP, "").await;
        let codes = asked["codes"].as_array().expect("a list").iter();
        codes.map(|code| code.as_str().expect("text").to_owned()).collect()
    }

    /// User name and password, as the page of signing in sends them.
    async fn typed(&mut self, site: &Site, username: &str, password: &str) -> Reply {
        self.form(site, PAGE, &[("uid_field", username), ("password", password)]).await
    }

    /// The same by a form that its page has named.
    async fn pressed(&mut self, site: &Site, form: &str, username: &str, password: &str) -> Reply {
        self.form(site, PAGE, &[("form", form), ("uid_field", username), ("password", password)]).await
    }

    /// A code, as the page that asks for one sends it.
    async fn code(&mut self, site: &Site, code: &str) -> Reply {
        self.form(site, PAGE, &[("component", "ak-stage-authenticator-validate"), ("code", code)]).await
    }
}

/// What the form of the sign-in page is known by.
fn form_of(page: &Reply) -> String {
    let (_, value) = page.text.split_once("name=\"form\" value=\"").expect("a form");
    value.split_once('"').expect("a value").0.to_owned()
}

/// Signs somebody in and gives them recovery codes.
async fn with_codes(site: &Site, username: &str) -> Vec<String> {
    let mut client = Client::new();
    client.sign_in(site, username, PASSWORD).await;
    let codes = client.codes(site).await;
    client.answer(site, flows::STATIC_SETUP, "", json!({})).await;
    codes
}

async fn remove_second_factors(site: &Site, user: i64) {
    let list = site.admin(Method::GET, &format!("/authenticators/admin/all/?user={user}"), None).await;
    for device in list.json.as_array().expect("a list") {
        let (pk, class) = (device["pk"].as_str().expect("a key"), device["type"].as_str().expect("a class"));
        let class = if class.contains("static") { "static" } else { "totp" };
        let path = format!("/authenticators/admin/{class}/{pk}/");
        assert_eq!(site.admin(Method::DELETE, &path, None).await.status, 204);
    }
}

/// CO-315, CO-304: recovery codes that nobody was shown do not take the place of others, by pages or programs.
#[tokio::test]
async fn co_315_only_codes_that_were_shown_count() {
    let (site, _) = with_ada().await;
    let first = with_codes(&site, "ada").await;
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    client.answer(&site, SIGN_IN, "", json!({"code": first[0]})).await;
    assert_eq!(client.whoami(&site).await, 200);
    client.show(&site, flows::TOTP_SETUP, "").await;
    let unseen = client.answer(&site, flows::STATIC_SETUP, "", json!({})).await;
    assert_eq!((&unseen["component"], errors(&unseen)), (&json!("ak-stage-authenticator-static"), vec!["codes"]));
    client.page(&site, CODES).await;
    client.page(&site, "/if/flow/default-user-settings-flow/").await;
    let replaced = client.form(&site, CODES, &KEPT).await;
    assert!(replaced.status == 200 && replaced.text.contains("These are new codes"), "{}", replaced.text);
    // Shown in one window, and others in another one since.
    client.page(&site, "/if/flow/default-user-settings-flow/").await;
    let shown = client.codes(&site).await.join(" ");
    client.page(&site, "/if/flow/default-user-settings-flow/").await;
    client.page(&site, CODES).await;
    let replaced = client.form(&site, CODES, &[KEPT[0], ("codes", &shown)]).await;
    assert!(replaced.status == 200 && replaced.text.contains("These are new codes"), "{}", replaced.text);
    let mut other = Client::new();
    other.sign_in(&site, "ada", PASSWORD).await;
    let done = other.answer(&site, SIGN_IN, "", json!({"code": first[1]})).await;
    assert_eq!(done["component"], "xak-flow-redirect", "the old ones count: {done}");
    let codes = client.codes(&site).await;
    assert_eq!(client.form(&site, CODES, &[KEPT[0], ("codes", &codes.join(" "))]).await.status, 303);
    let mut other = Client::new();
    other.sign_in(&site, "ada", PASSWORD).await;
    let done = other.answer(&site, SIGN_IN, "", json!({"code": codes[0]})).await;
    assert_eq!(done["component"], "xak-flow-redirect", "{done}");
}

/// CO-314: whose second factor is removed while they are asked for it goes on as if there had been none.
#[tokio::test]
async fn co_314_nobody_is_asked_for_what_was_removed() {
    let (site, ada) = with_ada().await;
    for by_form in [false, true] {
        with_codes(&site, "ada").await;
        let mut client = Client::new();
        assert_eq!(client.sign_in(&site, "ada", PASSWORD).await["component"], "ak-stage-authenticator-validate");
        remove_second_factors(&site, ada).await;
        match by_form {
            false => {
                let on = client.show(&site, SIGN_IN, "").await;
                assert_eq!(on["component"], "xak-flow-redirect", "{on}");
            }
            true => assert_eq!(client.code(&site, "abc").await.status, 303),
        }
        assert_eq!(client.whoami(&site).await, 200);
    }
    with_codes(&site, "ada").await;
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    tune(&site, stages::VALIDATION, json!({"device_classes": ["totp"], "not_configured_action": "deny"})).await;
    let denied = client.answer(&site, SIGN_IN, "", json!({"code": "abc"})).await;
    assert_eq!(denied["component"], "ak-stage-access-denied", "{denied}");
}

/// CO-314: who is asked what to set up can leave, and is not asked when nothing can be set up any more.
#[tokio::test]
async fn co_314_nobody_chooses_from_nothing() {
    let (site, _) = with_ada().await;
    let both = json!([stages::TOTP_SETUP, stages::STATIC_SETUP]);
    tune(&site, stages::VALIDATION, json!({"not_configured_action": "configure", "configuration_stages": both})).await;
    let mut client = Client::new();
    let choice = client.typed(&site, "ada", PASSWORD).await;
    assert!(choice.text.contains("Recovery codes") && choice.text.contains("/flows/-/cancel/"), "{}", choice.text);
    tune(&site, stages::VALIDATION, json!({"not_configured_action": "deny", "configuration_stages": []})).await;
    assert_eq!(client.show(&site, SIGN_IN, "").await["component"], "ak-stage-access-denied");
}

/// CO-302: a button that is pressed twice signs in once, also after a mistake: whichever answer the browser heeds leads to the
/// same session.
#[tokio::test]
async fn co_302_a_button_pressed_twice_signs_in_once() {
    let (site, _) = with_ada().await;
    for (mistakes, logins) in [(0, 1), (1, 2)] {
        let mut client = Client::new();
        let mut page = client.page(&site, PAGE).await;
        for _ in 0..mistakes {
            page = client.pressed(&site, &form_of(&page), "ada", "wrong").await;
        }
        let (form, mut again, mut late) = (form_of(&page), client.beside(), client.beside());
        let (first, second) =
            tokio::join!(client.pressed(&site, &form, "ada", PASSWORD), again.pressed(&site, &form, "ada", PASSWORD));
        assert_eq!([first.status.as_u16(), second.status.as_u16()], [303, 303], "{} {}", first.text, second.text);
        assert_eq!(late.pressed(&site, &form, "ada", PASSWORD).await.status, 303);
        let session = client.cookies["authentik_session"].clone();
        assert_eq!([&again.cookies["authentik_session"], &late.cookies["authentik_session"]], [&session, &session]);
        assert_eq!((client.whoami(&site).await, site.events("login").await.0), (200, logins));
    }
}

/// CO-302, CO-384: the session that a form began is nobody's who does not know the password, or knows it elsewhere; and once it
/// has ended the form begins another one.
#[tokio::test]
async fn co_384_a_form_that_was_sent_opens_nothing() {
    let (site, _) = with_ada().await;
    let bob = site.user("bob").await;
    set_password(&site, bob, PASSWORD).await;
    let mut client = Client::new();
    let form = form_of(&client.page(&site, PAGE).await);
    client.pressed(&site, &form, "ada", PASSWORD).await;
    let wrong = Client::new().pressed(&site, &form, "ada", "wrong").await;
    assert!(wrong.text.contains("Wrong user name or password"), "{}", wrong.text);
    let mut other = Client::new();
    other.pressed(&site, &form, "bob", PASSWORD).await;
    assert_eq!(other.page(&site, "/api/v3/core/users/me/").await.json["user"]["username"], "bob");
    let (mut elsewhere, logins) = (Client::at([203, 0, 113, 9]), site.events("login").await.0);
    elsewhere.pressed(&site, &form, "ada", PASSWORD).await;
    assert_ne!(elsewhere.cookies["authentik_session"], client.cookies["authentik_session"]);
    assert_eq!(site.events("login").await.0, logins + 1);
    let before = client.cookies["authentik_session"].clone();
    client.show(&site, flows::INVALIDATION, "").await;
    client.answer(&site, flows::INVALIDATION, "", json!({})).await;
    client.pressed(&site, &form, "ada", PASSWORD).await;
    assert_ne!(client.cookies["authentik_session"], before);
    assert_eq!(client.whoami(&site).await, 200);
}

/// CO-315, CO-302: of two equal answers with the same right code one counts, and the other is led on, or told that what it
/// answers has ended: it is no failure.
#[tokio::test]
async fn co_315_a_code_sent_twice_is_no_failure() {
    let (site, _) = with_ada().await;
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    let seed = client.enrol(&site).await;
    for by_form in [false, true] {
        let mut client = Client::new();
        client.sign_in(&site, "ada", PASSWORD).await;
        let (code, mut again) = (next_code(&site, &seed), client.beside());
        let answer = json!({"component": "ak-stage-authenticator-validate", "code": &code});
        let (first, second) = match by_form {
            false => tokio::join!(
                client.answered(&site, SIGN_IN, "", answer.clone()),
                again.answered(&site, SIGN_IN, "", answer)
            ),
            true => tokio::join!(client.code(&site, &code), again.code(&site, &code)),
        };
        for reply in [first, second] {
            let led_on = reply.status == 303 || reply.json["component"] == "xak-flow-redirect";
            assert!(led_on || reply.text.contains("another window took its place"), "{}", reply.text);
        }
        assert!(client.whoami(&site).await == 200 || again.whoami(&site).await == 200);
    }
    assert_eq!((site.events("login").await.0, site.events("login_failed").await.0), (3, 0));
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    let (mut again, wrong) = (client.beside(), json!({"code": "000000"}));
    tokio::join!(client.answered(&site, SIGN_IN, "", wrong.clone()), again.answered(&site, SIGN_IN, "", wrong));
    assert_eq!(site.events("login_failed").await.0, 2, "each guess counts");
}

/// CO-302: of two answers by program one counts, and the other one is told where the flow leads.
#[tokio::test]
async fn co_302_the_second_of_two_answers_is_led_on() {
    let (site, _) = with_ada().await;
    let mut client = Client::new();
    client.answer(&site, SIGN_IN, "next=/x", json!({"uid_field": "ada"})).await;
    let mut again = client.beside();
    let right = || json!({"password": PASSWORD});
    let (first, second) = tokio::join!(
        client.answered(&site, SIGN_IN, "next=/x", right()),
        again.answered(&site, SIGN_IN, "next=/x", right())
    );
    for reply in [first, second] {
        assert_eq!((reply.status.as_u16(), &reply.json["to"]), (200, &json!("/x")), "{}", reply.text);
    }
    assert_eq!(site.events("login").await.0, 1);
}

/// CO-312, CO-304: of wrong passwords that come at once in one run, one is told to be wrong and counts, and the others are not
/// taken.
#[tokio::test]
async fn co_312_wrong_passwords_at_once_are_one_answer() {
    let (site, _) = with_ada().await;
    let mut client = Client::new();
    client.answer(&site, SIGN_IN, "", json!({"uid_field": "ada"})).await;
    let wrong = || json!({"password": "wrong"});
    let (mut a, mut b) = (client.beside(), client.beside());
    let (first, second) = tokio::join!(a.answer(&site, SIGN_IN, "", wrong()), b.answer(&site, SIGN_IN, "", wrong()));
    let mut told = [errors(&first), errors(&second)];
    told.sort();
    assert_eq!(told, [["non_field_errors"], ["password"]]);
}

/// CO-302, CO-441: who signs in as somebody else is not taken for whoever was on their way in; the page names whom it is about.
#[tokio::test]
async fn co_302_another_name_begins_anew() {
    let (site, _) = with_ada().await;
    let bob = site.user("bob").await;
    set_password(&site, bob, PASSWORD).await;
    with_codes(&site, "ada").await;
    let codes = with_codes(&site, "bob").await;
    let mut client = Client::new();
    let asked = client.typed(&site, "ada", PASSWORD).await;
    assert!(asked.text.contains("You sign in as ada."), "{}", asked.text);
    let same = client.typed(&site, "ada", PASSWORD).await;
    assert!(same.text.contains("One more step"), "{}", same.text);
    let asked = client.typed(&site, "bob", PASSWORD).await;
    assert!(asked.text.contains("You sign in as bob."), "{}", asked.text);
    assert_eq!(client.code(&site, &codes[0]).await.status, 303);
    assert_eq!(client.page(&site, "/api/v3/core/users/me/").await.json["user"]["username"], "bob");
    let mut client = Client::new();
    client.typed(&site, "ada", PASSWORD).await;
    let wrong = client.typed(&site, "bob", "wrong").await;
    assert!(wrong.text.contains("Wrong user name or password"), "{}", wrong.text);
    assert_eq!(client.show(&site, SIGN_IN, "").await["component"], "ak-stage-password");
}

/// CO-302, CO-304: an answer to a flow that another window has ended is told so, and not that it was wrong.
#[tokio::test]
async fn co_304_an_answer_to_what_has_ended_is_told_so() {
    let (site, _) = with_ada().await;
    let codes = with_codes(&site, "ada").await;
    let mut client = Client::new();
    client.typed(&site, "ada", PASSWORD).await;
    client.page(&site, "/if/flow/default-recovery-flow/").await;
    let late = client.code(&site, &codes[0]).await;
    assert!(late.text.contains("another window took its place") && !late.text.contains("Wrong"), "{}", late.text);
    client.typed(&site, "ada", PASSWORD).await;
    assert_eq!(client.code(&site, &codes[0]).await.status, 303, "it was not used up");
    let path = "/if/flow/default-authenticator-totp-setup/";
    let fields = [("component", "ak-stage-authenticator-totp"), ("code", "123456")];
    client.page(&site, path).await;
    client.page(&site, "/if/flow/default-user-settings-flow/").await;
    let late = client.form(&site, path, &fields).await;
    assert!(late.text.contains("Scan the new picture") && !late.text.contains("does not match"), "{}", late.text);
    assert!(client.form(&site, path, &fields).await.text.contains("Code does not match"));
}
