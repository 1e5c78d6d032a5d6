//! Many people at once.

use futures_util::future::join_all;
use portcullis_testkit::{Visitor, run};
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
