//! Second factors, password and recovery in a real browser.

use portcullis_core::clock::{Clock, Timestamp};
use portcullis_core::totp;
use portcullis_testkit::site::portcullis;
use portcullis_testkit::{Browser, Finished, Go, Site, Visitor, http, run};

use crate::stage::shared;

/// The time of the machine, which is that of the site.
pub(crate) struct Now;

impl Clock for Now {
    #[expect(clippy::disallowed_methods, reason = "a code is for the present half minute of a running site")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Timestamp(i64::try_from(since.as_micros()).unwrap())
    }
}

/// The bytes of a base32 text.
fn seed(text: &str) -> Vec<u8> {
    let (mut bits, mut held, mut seed) = (0_u64, 0, Vec::new());
    for letter in text.bytes().filter(|byte| *byte != b' ') {
        let value = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".iter().position(|known| *known == letter).unwrap();
        bits = bits << 5 | u64::try_from(value).unwrap();
        held += 5;
        if held >= 8 {
            held -= 8;
            seed.push(u8::try_from(bits >> held & 0xff).unwrap());
        }
    }
    seed
}

/// CO-314, CO-315, PX-310: somebody sets up an authenticator app and recovery codes, and signs in with a code of each,
/// without script and at every size.
#[test]
fn co_315_second_factors_in_the_browser() {
    run(async {
        let site = shared().await;
        let person = site.api.person("factor").await;
        let browser = Browser::open().await;
        browser.go(&site.url("/if/flow/default-authentication-flow/")).await;
        browser.sign_in(&person.username, &person.password).await;
        browser.sees("Your account").await;
        browser.pictures("home-with-account").await;
        browser.go(&site.url("/if/flow/default-authenticator-static-setup/")).await;
        browser.sees("Recovery codes").await;
        browser.pictures("recovery-codes").await;
        let code = browser.script("return document.querySelector('code').textContent").await;
        let recovery_code = code.as_str().unwrap().to_owned();
        browser.click("button[type=submit]").await;
        browser.sees("Your applications").await;
        browser.go(&site.url("/if/flow/default-authenticator-totp-setup/")).await;
        browser.sees("authenticator app").await;
        let key = browser.script("return document.querySelector('code').textContent").await;
        let seed = seed(key.as_str().unwrap());
        browser.fill("#code", "000000").await;
        browser.click("button[type=submit]").await;
        browser.find("[role=alert]").await;
        browser.pictures("authenticator-app").await;
        let enrolled = totp::step_at(Now.now());
        browser.fill("#code", &totp::code(&seed, enrolled, 6)).await;
        browser.click("button[type=submit]").await;
        browser.sees("Your applications").await;
        browser.go(&site.url("/account/second-factors/")).await;
        browser.sees("6 left").await;
        browser.pictures("second-factors").await;
        for name in ["default-user-settings-flow", "default-password-change"] {
            browser.go(&site.url(&format!("/if/flow/{name}/"))).await;
            browser.find("form button").await;
            browser.pictures(name).await;
        }
        browser.go(&site.url("/if/flow/default-invalidation-flow/")).await;
        browser.click("button[type=submit]").await;
        browser.sees("You are signed out").await;
        for (right, wrong_first) in [(recovery_code, true), (String::new(), false)] {
            browser.go(&site.url("/if/flow/default-authentication-flow/")).await;
            browser.sign_in(&person.username, &person.password).await;
            browser.sees("One more step").await;
            if wrong_first {
                browser.pictures("second-factor").await;
                browser.fill("#code", "123").await;
                browser.click("button[type=submit]").await;
                browser.find("[role=alert]").await;
                browser.pictures("second-factor-wrong").await;
            }
            // Each step counts once; the one after the present one is accepted too.
            let step = totp::step_at(Now.now()).max(enrolled + 1);
            let right = if right.is_empty() { totp::code(&seed, step, 6) } else { right };
            browser.fill("#code", &right).await;
            browser.click("button[type=submit]").await;
            browser.sees("Your applications").await;
            browser.go(&site.url("/if/flow/default-invalidation-flow/")).await;
            browser.click("button[type=submit]").await;
            browser.sees("You are signed out").await;
        }
        browser.go(&site.url("/if/flow/default-recovery-flow/")).await;
        browser.pictures("recovery").await;
        browser.fill("#uid_field", &person.username).await;
        browser.click("button[type=submit]").await;
        browser.sees("Look into your mail").await;
        browser.pictures("recovery-mail").await;
        browser.go(&site.url("/if/flow/default-recovery-flow/?flow_token=used")).await;
        browser.sees("it was used").await;
        browser.pictures("recovery-refused").await;
    });
}

/// What a command of whoever has the data directory prints.
async fn operator(site: &Site, arguments: &[&str]) -> Finished {
    let mut command = portcullis(site.data().parent().unwrap(), arguments);
    command.env("PORTCULLIS_DATA_DIR", site.data()).env("PORTCULLIS_BASE_URL", site.base());
    Finished::run(command).await
}

/// CO-328, CO-324: on the machine, a recovery link and an administrator are made without a password while the site is
/// served; the link leads to a new password once.
#[test]
fn co_328_the_operator_needs_no_password() {
    run(async {
        let site = Site::start().await;
        let person = site.api.person("forgot").await;
        let printed = operator(&site, &["recovery-link", &person.username, "5"]).await;
        assert_eq!(printed.code, Some(0), "{printed:#?}");
        let link = printed.stdout.trim().to_owned();
        assert!(link.starts_with(&site.url("/if/flow/default-recovery-flow/?flow_token=")), "{link}");
        let mut visitor = Visitor::new();
        let asks = visitor.visit(&link).await;
        assert!(asks.reply.text().contains(&person.username), "{}", asks.reply.text());
        let prompt = visitor.submit(&asks, &[]).await;
        let twice = [("password", "a new pass phrase"), ("password_repeat", "a new pass phrase")];
        let done = visitor.submit(&prompt, &twice).await;
        assert!(done.reply.text().contains("Your applications"), "{}", done.reply.text());
        let again = Visitor::new().visit(&link).await;
        assert_eq!(again.reply.status, 403);
        let made = operator(&site, &["create-admin-group", &person.username]).await;
        assert_eq!(made.code, Some(0), "{made:#?}");
        let user = site.api.get(&format!("core/users/{}/", person.pk)).await;
        assert_eq!(user["is_superuser"], true);
        let removed = operator(&site, &["remove-second-factors", &person.username]).await;
        assert_eq!(removed.stdout.trim(), format!("{}: 0 second factors removed", person.username), "{removed:#?}");
        for command in ["recovery-link", "create-admin-group", "unlock", "remove-second-factors"] {
            let refused = operator(&site, &[command, "nobody"]).await;
            assert!(refused.code == Some(1) && refused.stderr.contains("nobody"), "{refused:#?}");
        }
    });
}

/// CO-445, CO-442: counters of failures are there after a restart, and `unlock` clears them.
#[test]
fn co_445_unlock_clears_counters() {
    run(async {
        let site = Site::options().env("PORTCULLIS_LIMITS__PER_NAME_AND_ADDRESS", "3/1h").start().await;
        let person = site.api.person("locked").await;
        let address = portcullis_testkit::api::fresh_address();
        let opens = async |password: &str| {
            let form = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs([("uid_field", person.username.as_str()), ("password", password)])
                .finish();
            let request = http().post(site.url("/if/flow/default-authentication-flow/")).body(form);
            let request = request.header("content-type", "application/x-www-form-urlencoded");
            request.header("origin", site.base()).header("x-forwarded-for", &address).go().await.status == 303
        };
        for _ in 0..3 {
            assert!(!opens("wrong").await);
        }
        site.process().signal("TERM");
        assert_eq!(site.process().end().await.code(), Some(0));
        site.restart().await;
        assert!(!opens(&person.password).await, "not examined");
        let scores = format!("policies/reputation/scores/?identifier={}", person.username);
        assert_eq!(site.api.get(&scores).await["pagination"]["count"], 1);
        let unlocked = operator(&site, &["unlock", &person.username]).await;
        assert_eq!(unlocked.code, Some(0), "{unlocked:#?}");
        assert_eq!(site.api.get(&scores).await["pagination"]["count"], 0, "{unlocked:#?}");
        assert!(opens(&person.password).await);
    });
}
