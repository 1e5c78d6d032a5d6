//! What is known of addresses, as clients see it.

use authentik_client::models;
use portcullis_core::id::UserPk;
use portcullis_idp::access::{self, AccessContext};
use portcullis_idp::places::Kind;
use portcullis_idp::{directory, reputation};
use portcullis_store::application;
use serde_json::{Value, json};

use crate::site::Site;

const CITIES: &[u8] = include_bytes!("../../../../tests/cases/places/city.mmdb");
const NETWORKS: &[u8] = include_bytes!("../../../../tests/cases/places/asn.mmdb");

fn know_places(site: &Site) {
    site.ctx.places.cities.load(CITIES.to_vec(), Kind::Cities).unwrap();
    site.ctx.places.networks.load(NETWORKS.to_vec(), Kind::Networks).unwrap();
}

fn bonn() -> Value {
    json!({"continent": "EU", "country": "DE", "lat": 50.75, "long": 7.125, "city": "Bonn"})
}

fn harbour() -> Value {
    json!({"asn": 64496, "as_org": "Harbour Net", "network": "192.0.2.0/28"})
}

/// CO-411, CO-440, CO-554, CO-592: sessions, events and scores tell where an address is and whose network it belongs to as soon
/// as there are databases, and clients learn that there are.
#[tokio::test]
async fn co_411_addresses_are_told_with_their_places() {
    let site = Site::new().await;
    let (ada, _) = site.user("ada").await;
    let (_, session) = site.sign_in(ada, "").await;
    let before = site.get("/events/events/?action=model_created").await["results"][0]["context"].clone();
    assert_eq!((before.get("geo"), before.get("asn")), (None, None));
    assert_eq!(site.get("/root/config/").await["capabilities"], json!(["can_impersonate"]));
    know_places(&site);

    let config = site.get("/root/config/").await;
    let _: models::Config = serde_json::from_value(config.clone()).unwrap();
    assert_eq!(config["capabilities"], json!(["can_geo_ip", "can_asn", "can_impersonate"]));
    let shown = site.get(&format!("/core/authenticated_sessions/{session}/")).await;
    let _: models::AuthenticatedSession = serde_json::from_value(shown.clone()).unwrap();
    assert_eq!((&shown["geo_ip"], &shown["asn"]), (&bonn(), &harbour()));

    site.user("bob").await;
    let event = site.get("/events/events/?action=model_created").await["results"][0]["context"].clone();
    assert_eq!((&event["geo"], &event["asn"]), (&bonn(), &harbour()));

    let mut tx = site.ctx.db.write().await.unwrap();
    for address in [[192, 0, 2, 7], [203, 0, 113, 1]] {
        reputation::note(&site.ctx, &mut tx, address.into(), "ada", reputation::Attempt::Failed).await.unwrap();
    }
    tx.commit().await.unwrap();
    let scores = site.get("/policies/reputation/scores/?ordering=ip").await;
    let [known, unknown] = [&scores["results"][0], &scores["results"][1]];
    assert_eq!((&known["ip_geo_data"], &known["ip_asn_data"]), (&bonn(), &harbour()));
    assert_eq!((&unknown["ip_geo_data"], &unknown["ip_asn_data"]), (&json!({}), &json!({})));
}

/// OA-407, CO-181: a policy of an application finds where the client is, whoever asks for it, and what a caller says goes before.
#[tokio::test]
async fn oa_407_policies_of_applications_know_places() {
    let site = crate::expressions::site().await;
    know_places(&site);
    let (ada, _) = site.user("ada").await;
    let made = site.application("wiki", &Value::Null).await;
    let expression = "return [context['geoip'], context['asn']] == [None, None] or context['geoip']['city'] == 'Bonn'";
    let policy = json!({"name": "here", "expression": expression});
    let policy = site.post("/policies/expression/", policy).await;
    let binding = json!({"target": made["pk"], "policy": policy["pk"], "order": 0});
    site.post("/policies/bindings/", binding).await;

    let mut conn = site.ctx.db.read().await.unwrap();
    let person = directory::person(&site.ctx, &mut conn, UserPk(i32::try_from(ada).unwrap())).await.unwrap().unwrap();
    let wiki = application::by_slug(&mut conn, "wiki").await.unwrap().unwrap();
    drop(conn);
    for (client, given, passing) in [
        (Some([192, 0, 2, 7]), json!({}), true),
        (Some([192, 0, 2, 20]), json!({}), false),
        (Some([203, 0, 113, 1]), json!({}), true),
        (None, json!({}), true),
        (Some([192, 0, 2, 20]), json!({"geoip": {"city": "Bonn"}}), true),
    ] {
        let entries = given.as_object().unwrap().clone();
        let context = AccessContext { client: client.map(Into::into), entries, ..AccessContext::default() };
        let judged = access::judge(&site.ctx, &person, &wiki, &context).await.unwrap();
        assert_eq!(judged.decision.passing, passing, "{client:?} {given}");
    }
}
