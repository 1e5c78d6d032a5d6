//! Passkeys in a real browser, with a virtual authenticator.

use portcullis_testkit::{Browser, Site, run};
use serde_json::{Value, json};

use crate::stage::shared;

const SIGN_IN: &str = "/if/flow/default-authentication-flow/";
const FACTORS: &str = "/account/second-factors/";
const PASSKEY: &str = "form[data-answer=passkey] button";
const KEY: &str = "form[data-answer=webauthn] button";

async fn sign_out(browser: &Browser, site: &Site) {
    browser.go(&site.url("/if/flow/default-invalidation-flow/")).await;
    browser.click("button[type=submit]").await;
    browser.sees("You are signed out").await;
}

async fn enrol(browser: &Browser, site: &Site, name: &str) {
    browser.go(&site.url(FACTORS)).await;
    browser.click("a[href*=webauthn]").await;
    browser.sees("Set up a passkey").await;
    browser.script("document.querySelector('#name').value = ''").await;
    browser.fill("#name", name).await;
    browser.click("form[data-answer=response] button").await;
    browser.sees(name).await;
}

/// CO-315, CO-316, CO-702, PX-310: somebody sets up a passkey, shows it after the password, signs in with it alone, and
/// removes it; then it is refused.
#[test]
fn co_316_passkeys_in_the_browser() {
    run(async {
        let site = shared().await;
        let person = site.api.person("passkey").await;
        let browser = Browser::open().await;
        browser.without_autofill().await;
        let authenticator = browser.authenticator().await;
        browser.go(&site.url(SIGN_IN)).await;
        browser.find(PASSKEY).await;
        browser.pictures("sign-in-passkey").await;
        browser.sign_in(&person.username, &person.password).await;
        browser.sees("Your applications").await;
        browser.go(&site.url("/if/flow/default-authenticator-webauthn-setup/")).await;
        browser.find("form[data-answer=response] button").await;
        browser.pictures("passkey-setup").await;
        enrol(&browser, site, "Blue key").await;
        assert_eq!(authenticator.credentials().await.len(), 1);
        browser.click("summary").await;
        browser.pictures("second-factors-passkey").await;

        // Set up already.
        browser.click("a[href*=webauthn]").await;
        browser.click("form[data-answer=response] button").await;
        browser.sees("This authenticator is set up already").await;
        sign_out(&browser, site).await;

        browser.go(&site.url(SIGN_IN)).await;
        browser.sign_in(&person.username, &person.password).await;
        browser.sees("Confirm that it is you").await;
        browser.pictures("second-factor-passkey").await;
        browser.click(KEY).await;
        browser.sees("Your applications").await;
        sign_out(&browser, site).await;

        browser.go(&site.url(&format!("{SIGN_IN}?next=%2Faccount%2Fsecond-factors%2F"))).await;
        browser.click(PASSKEY).await;
        browser.sees("Second factors").await;
        browser.sees("in use").await;
        sign_out(&browser, site).await;

        // Who is not known to the authenticator is not let in by it alone.
        authenticator.knows_owner(false).await;
        browser.go(&site.url(SIGN_IN)).await;
        browser.click(PASSKEY).await;
        browser.find("form[data-answer=passkey] [role=alert]:not([hidden])").await;
        browser.pictures("sign-in-passkey-refused").await;
        authenticator.knows_owner(true).await;

        browser.go(&site.url(&format!("{SIGN_IN}?next=%2Faccount%2Fsecond-factors%2F"))).await;
        browser.click(PASSKEY).await;
        browser.sees("Blue key").await;
        browser.click("button[aria-label^=Remove]").await;
        browser.sees("It is your last one: your password alone signs you in then.").await;
        browser.pictures("second-factor-removed").await;
        browser.click("form button[type=submit]").await;
        browser.sees("You have none").await;
        sign_out(&browser, site).await;
        browser.go(&site.url(SIGN_IN)).await;
        browser.click(PASSKEY).await;
        browser.sees("This passkey is not known here").await;
        browser.sign_in(&person.username, &person.password).await;
        browser.sees("Your applications").await;
    });
}

/// CO-316: passkeys are offered where the user name is typed; who takes one up is signed in.
#[test]
fn co_316_passkeys_are_offered_with_the_user_name() {
    run(async {
        let site = shared().await;
        let person = site.api.person("autofill").await;
        let browser = Browser::open().await;
        browser.authenticator().await;
        browser.go(&site.url(SIGN_IN)).await;
        browser.sign_in(&person.username, &person.password).await;
        browser.sees("Your applications").await;
        enrol(&browser, site, "White key").await;
        sign_out(&browser, site).await;
        // The virtual authenticator chooses it, as a person would from the list below the field.
        browser.go(&site.url(&format!("{SIGN_IN}?next=%2Faccount%2Fsecond-factors%2F"))).await;
        browser.sees("White key").await;
    });
}

/// CO-315: of a key and its copy, whichever comes with the lower count is refused.
#[test]
fn co_315_a_cloned_key_is_refused_in_the_browser() {
    run(async {
        let site = shared().await;
        let person = site.api.person("clone").await;
        let browser = Browser::open().await;
        browser.without_autofill().await;
        let authenticator = browser.authenticator().await;
        browser.go(&site.url(SIGN_IN)).await;
        browser.sign_in(&person.username, &person.password).await;
        browser.sees("Your applications").await;
        enrol(&browser, site, "Green key").await;
        let copy = authenticator.credentials().await.remove(0);
        sign_out(&browser, site).await;
        browser.go(&site.url(SIGN_IN)).await;
        browser.click(PASSKEY).await;
        browser.sees("Your applications").await;
        sign_out(&browser, site).await;
        authenticator.replace(&copy).await;
        browser.go(&site.url(SIGN_IN)).await;
        browser.click(PASSKEY).await;
        browser.sees("a copy of it seems to be in use").await;
        browser.sign_in(&person.username, &person.password).await;
        browser.sees("Confirm that it is you").await;
        assert!(copy["signCount"].is_u64(), "{copy}");
    });
}

/// CO-506, CO-825: at another address of the site, pages say where passkeys work; what a key has signed at another origin
/// of the same host does not count.
#[test]
fn co_506_a_wrong_origin_is_refused_in_the_browser() {
    run(async {
        let (site, other) = (shared().await, Site::start().await);
        let person = site.api.person("origin").await;
        let browser = Browser::open().await;
        browser.without_autofill().await;
        browser.authenticator().await;
        browser.go(&site.url(SIGN_IN)).await;
        browser.sign_in(&person.username, &person.password).await;
        browser.sees("Your applications").await;
        enrol(&browser, site, "Red key").await;
        sign_out(&browser, site).await;

        browser.go(&site.url(SIGN_IN)).await;
        browser.find(PASSKEY).await;
        let options =
            browser.script("return document.querySelector('form[data-answer=passkey]').dataset.options").await;
        let challenge = serde_json::from_str::<Value>(options.as_str().unwrap()).unwrap()["challenge"].clone();
        // No page, so that the cookie of the host stays.
        browser.go(&other.url("/-/health/live/")).await;
        let text = format!(
            "const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)));
            const plain = atob({challenge}.replace(/-/g, '+').replace(/_/g, '/'));
            const challenge = Uint8Array.from(plain, (letter) => letter.charCodeAt(0));
            return navigator.credentials.get({{publicKey: {{challenge, rpId: 'localhost', userVerification: 'required'}}}})
                .then((key) => JSON.stringify({{id: key.id, rawId: text(key.rawId), type: key.type, response: {{
                    clientDataJSON: text(key.response.clientDataJSON), signature: text(key.response.signature),
                    authenticatorData: text(key.response.authenticatorData), userHandle: text(key.response.userHandle)}}}}));",
        );
        let signed = browser.script(&text).await;
        browser.go(&site.url("/-/health/live/")).await;
        let body = json!(format!("passkey={}", url_encoded(signed.as_str().unwrap())));
        let text = format!(
            "return fetch({SIGN_IN:?}, {{method: 'POST', body: {body},
                headers: {{'content-type': 'application/x-www-form-urlencoded'}}}}).then((reply) => reply.text());"
        );
        let answer = browser.script(&text).await;
        assert!(answer.as_str().unwrap().contains("own address only"), "{answer}");

        let elsewhere = format!("http://127.0.0.1:{}", site.port);
        browser.go(&format!("{elsewhere}{SIGN_IN}")).await;
        let hidden = browser.script("return document.querySelector('form[data-answer=passkey]').hidden").await;
        assert_eq!(hidden, true, "passkeys are not offered where they do not work");
        browser.sign_in(&person.username, &person.password).await;
        browser.sees(&format!("Passkeys of this site work at {} only", site.base())).await;
        browser.pictures("second-factor-elsewhere").await;
    });
}

fn url_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}
