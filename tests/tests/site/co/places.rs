//! Databases of addresses, and what hangs on them.

use std::path::Path;

use portcullis_testkit::site::Options;
use portcullis_testkit::{Go as _, Site, Visitor, http, run, until};
use serde_json::{Value, json};

use crate::stage::{Stage, basic};

const BONN: &str = "192.0.2.1";
const BONN_TOO: &str = "192.0.2.2";
const SALEM: &str = "198.51.100.1";

fn database(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/places").join(name);
    path.canonicalize().unwrap().to_str().unwrap().to_owned()
}

fn options() -> Options {
    Site::options()
        .env("PORTCULLIS_EVENTS__CONTEXT_PROCESSORS__GEOIP", &database("city.mmdb"))
        .env("AUTHENTIK_EVENTS__CONTEXT_PROCESSORS__ASN", &database("asn.mmdb"))
}

/// Has a blueprint set a tunable of the stage that starts sessions.
async fn tune(site: &Site, tunables: Value) {
    let blueprint = json!({"version": 1, "metadata": {"name": "bound"}, "entries": [{
        "model": "authentik_stages_user_login.userloginstage",
        "identifiers": {"name": "default-authentication-login"},
        "attrs": tunables,
    }]});
    let made = site.api.post("managed/blueprints/", json!({"name": "bound", "content": blueprint.to_string()})).await;
    let path = format!("managed/blueprints/{}/", made["pk"].as_str().unwrap());
    assert_eq!(site.api.get(&path).await["status"], "successful");
}

/// CO-386, CO-385, CO-733: with databases in the settings and a blueprint that binds sessions to their network, a browser that
/// comes from elsewhere is signed out everywhere, the application included, also where a stand-alone outpost serves it; who is at
/// home goes on.
#[test]
fn co_386_a_bound_session_ends_with_what_came_from_it() {
    run(async {
        signed_out_everywhere(&options().start().await).await;
        signed_out_everywhere(&options().by_outpost().start().await).await;
    });
}

async fn signed_out_everywhere(site: &Site) {
    tune(site, json!({"network_binding": "bind_asn"})).await;
    let stage = Stage::on(site, json!({})).await;
    let application = stage.app.url("/");
    let mut visitor = Visitor::new();
    visitor.move_to(BONN);
    assert_eq!(visitor.sign_in(&application, &stage.person).await.reply.status, 200);
    let portal = site.url("/");
    visitor.move_to(BONN_TOO);
    assert_eq!(visitor.get(&portal).await.status, 200);
    assert_eq!(visitor.get(&application).await.status, 200);
    // Somebody else took the cookies along.
    visitor.move_to(SALEM);
    assert!((300..400).contains(&visitor.get(&portal).await.status));
    visitor.move_to(BONN);
    assert!((300..400).contains(&visitor.get(&portal).await.status));
    if site.has_outpost() {
        let ended = async || (visitor.get(&application).await.status == 302).then_some(());
        until("the application's session to end", ended).await;
    } else {
        assert_eq!(visitor.get(&application).await.status, 302, "at the next request");
    }
    let events = site.api.get("events/events/?action=logout").await;
    let event = &events["results"][0];
    assert_eq!(event["context"]["binding"]["reason"], "network.asn", "{event}");
    let values = (&event["context"]["binding"]["previous_value"], &event["context"]["binding"]["new_value"]);
    assert_eq!(values, (&json!(64496), &json!(64497)));
    assert_eq!((&event["client_ip"], &event["context"]["geo"]["country"]), (&json!(SALEM), &json!("US")));
}

/// OA-407: a policy that looks at the country decides about HTTP Basic and about token requests, by the client's own address.
#[test]
fn oa_407_a_policy_asks_where_the_client_is() {
    run(async {
        let site = options().start().await;
        let stage = Stage::on(&site, json!({})).await;
        let expression = "return context[\"geoip\"][\"country\"] == \"DE\"";
        let policy = site.api.post("policies/expression/", json!({"name": "at home", "expression": expression})).await;
        site.api.bind(&stage.app, json!({"policy": policy["pk"]})).await;
        for (address, status) in [(BONN, 200), (SALEM, 401), (BONN_TOO, 200)] {
            // What was found out about credentials is known for a while: each address has its own.
            let (_, key) = site.api.app_password(&stage.person).await;
            let request = http().get(stage.app.url("/")).header("x-forwarded-for", address);
            let basic = basic(&stage.person.username, &key);
            assert_eq!(request.header("authorization", basic).go().await.status, status, "{address}");
        }
        for (address, status) in [(BONN, 200), (SALEM, 400)] {
            let form = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs([
                    ("grant_type", "client_credentials"),
                    ("client_id", &stage.app.client_id),
                    ("username", &stage.person.username),
                    ("password", &stage.key),
                ])
                .finish();
            let request = http().post(site.url("/application/o/token/")).header("x-forwarded-for", address).body(form);
            let reply = request.header("content-type", "application/x-www-form-urlencoded").go().await;
            assert_eq!(reply.status, status, "{address}: {}", reply.text());
        }
    });
}
