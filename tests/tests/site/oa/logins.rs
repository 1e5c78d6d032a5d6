//! Many people at once.

use futures_util::future::join_all;
use portcullis_testkit::{Go as _, Visitor, api, http, run};
use serde_json::json;

use crate::stage::{Stage, shared};

/// PX-151, CO-384: two hundred people sign in at the same time, and each of them is themselves.
#[test]
fn px_151_two_hundred_parallel_logins() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let site = shared().await;
        let people = join_all((0..200).map(|_| site.api.person("crowd"))).await;
        let visits = people.iter().map(async |person| {
            let target = format!("/who/{}", person.username);
            let mut visitor = Visitor::new();
            let page = visitor.sign_in(&stage.app.url(&target), person).await;
            assert_eq!(page.reply.text(), format!("GET {target}\n"), "{:#?}", visitor.trace);
            let again = visitor.get(&stage.app.url(&format!("{target}/again"))).await;
            assert_eq!(again.status, 200);
        });
        join_all(visits).await;
        let seen = stage.recorder.seen();
        assert_eq!(seen.len(), 400);
        for request in seen {
            let name = request.target.split('/').nth(2).unwrap().to_owned();
            assert_eq!(request.one("x-authentik-username"), Some(name));
        }
    });
}

/// OA-680, OA-681: guessing locks the guesser out and says for how long; the owner signs in from elsewhere meanwhile.
#[test]
fn oa_680_guessing_locks_out_the_guesser_alone() {
    run(async {
        let site = shared().await;
        let person = site.api.person("victim").await;
        let guesser = api::fresh_address();
        let guess = async |password: &str| {
            let form = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs([("uid_field", person.username.as_str()), ("password", password)])
                .finish();
            let request = http().post(site.url("/if/flow/default-authentication-flow/")).body(form);
            let request = request.header("content-type", "application/x-www-form-urlencoded");
            request.header("origin", site.base()).header("x-forwarded-for", &guesser).go().await
        };
        for turn in 0..10 {
            let reply = guess(&format!("guess {turn}")).await;
            assert_eq!(reply.status, 200, "the form again: {}", reply.text());
        }
        let refused = guess(&person.password).await;
        assert_eq!(refused.status, 429, "{}", refused.text());
        assert!(refused.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
        assert_eq!(refused.all("set-cookie"), [""; 0]);
        let page = Visitor::new().sign_in(&site.url("/if/flow/default-authentication-flow/"), &person).await;
        assert!(page.reply.text().contains(&person.username), "from elsewhere: {}", page.reply.text());
    });
}

/// CO-387: other sites cannot sign anybody in.
#[test]
fn co_387_cross_site_sign_in_is_refused() {
    run(async {
        let site = shared().await;
        let person = site.api.person("victim").await;
        let form = format!("uid_field={}&password=x", person.username);
        let request = http().post(site.url("/if/flow/default-authentication-flow/")).body(form);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let reply = request.header("origin", "http://evil.example").go().await;
        assert_eq!(reply.status, 403);
    });
}
