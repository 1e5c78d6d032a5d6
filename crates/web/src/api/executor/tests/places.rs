//! Where browsers are, as databases of addresses say.

use super::*;
use portcullis_idp::places::Kind;

const CITIES: &[u8] = include_bytes!("../../../../../../tests/cases/places/city.mmdb");
const NETWORKS: &[u8] = include_bytes!("../../../../../../tests/cases/places/asn.mmdb");

/// Bonn, in a network of the harbour.
const BONN: [u8; 4] = [192, 0, 2, 1];
/// The same, but for the address.
const BONN_TOO: [u8; 4] = [192, 0, 2, 2];
/// Elsewhere in the country, in another network of the harbour.
const ULM: [u8; 4] = [192, 0, 2, 20];
/// Another continent.
const SALEM: [u8; 4] = [198, 51, 100, 1];
/// Known to no database.
const NOWHERE: [u8; 4] = [203, 0, 113, 1];

fn know_places(site: &Site) {
    site.ctx.places.cities.load(CITIES.to_vec(), Kind::Cities).expect("a database");
    site.ctx.places.networks.load(NETWORKS.to_vec(), Kind::Networks).expect("a database");
}

impl Client {
    async fn whoami_from(&mut self, site: &Site, address: [u8; 4]) -> u16 {
        self.address = address.into();
        self.whoami(site).await
    }
}

/// CO-386, CO-306: a session that is bound to a network goes on at another address of it; elsewhere it has ended, once, with
/// an event that says why, and for good.
#[tokio::test]
async fn co_386_a_session_ends_outside_its_network() {
    let (site, ada) = with_ada().await;
    know_places(&site);
    let mut before = Client::new();
    before.sign_in(&site, "ada", PASSWORD).await;
    tune(&site, stages::LOGIN, json!({"network_binding": "bind_asn_network"})).await;
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    assert_eq!(client.whoami_from(&site, BONN_TOO).await, 200);
    site.clock.advance_seconds(61);
    assert_eq!(client.whoami_from(&site, BONN_TOO).await, 200, "the address is noted now");
    assert_eq!(client.whoami_from(&site, ULM).await, 403);
    assert_eq!(client.whoami_from(&site, BONN_TOO).await, 403, "it has ended");
    let (count, event) = site.events("logout").await;
    assert_eq!((count, &event["logout_reason"]), (1, &json!("Session binding broken")));
    let networks = json!({
        "reason": "network.asn_network", "previous_value": "192.0.2.0/28", "new_value": "192.0.2.16/28",
    });
    assert_eq!((&event["binding"], &event["model"]["pk"]), (&networks, &json!(ada.to_string())));
    assert_eq!(event["ip"], json!({"previous": "192.0.2.2", "new": "192.0.2.20"}));
    assert_eq!((&event["geo"]["city"], &event["asn"]["asn"]), (&json!("Ulm"), &json!(64496)));
    assert_eq!(event["http_request"]["request_id"], "0123456789abcdef0123456789abcdef");
    let list = site.admin(Method::GET, "/events/events/?action=logout", None).await;
    assert_eq!(list.json["results"][0]["user"]["username"], "ada");
    // Bound is what began so.
    assert_eq!(before.whoami_from(&site, SALEM).await, 200);
}

/// CO-386: a session may be bound to a place, on pages as for programs, and what is known of neither address ends it.
#[tokio::test]
async fn co_386_a_session_ends_outside_its_country() {
    let (site, _) = with_ada().await;
    know_places(&site);
    tune(&site, stages::LOGIN, json!({"geoip_binding": "bind_continent_country"})).await;
    for (address, reason) in [(SALEM, "geoip.continent"), (NOWHERE, "geoip.missing")] {
        let mut client = Client::new();
        client.sign_in(&site, "ada", PASSWORD).await;
        assert_eq!(client.whoami_from(&site, ULM).await, 200);
        client.address = address.into();
        let page = client.page(&site, "/").await;
        assert!(
            page.status.is_redirection() && page.headers["location"].to_str().is_ok_and(|to| to.contains("/flow/"))
        );
        assert_eq!(client.whoami_from(&site, BONN).await, 403);
        assert_eq!(site.events("logout").await.1["binding"]["reason"], reason);
    }
    // Without a database nothing is known of any address.
    let (other, _) = with_ada().await;
    tune(&other, stages::LOGIN, json!({"geoip_binding": "bind_continent"})).await;
    let mut client = Client::new();
    client.sign_in(&other, "ada", PASSWORD).await;
    assert_eq!((client.whoami(&other).await, client.whoami_from(&other, BONN_TOO).await), (200, 403));
}

/// CO-386, CO-388: who acts as somebody else stays bound as they were, and both sessions end together.
#[tokio::test]
async fn co_386_acting_as_somebody_loosens_nothing() {
    let (site, ada) = with_ada().await;
    know_places(&site);
    let root = site.admin(Method::GET, "/core/users/me/", None).await.json["user"]["pk"].as_i64().expect("a key");
    set_password(&site, root, PASSWORD).await;
    tune(&site, stages::LOGIN, json!({"network_binding": "bind_asn"})).await;
    let mut client = Client::new();
    client.sign_in(&site, "akadmin", PASSWORD).await;
    client.page(&site, "/api/v3/core/users/me/").await;
    let own = client.cookies.clone();
    let request = Request::post(format!("/api/v3/core/users/{ada}/impersonate/"));
    let request = request.header(header::CONTENT_TYPE, "application/json").header("sec-fetch-site", "same-origin");
    let begun = client.send(&site, request, Body::from(json!({"reason": "support"}).to_string())).await;
    assert_eq!(begun.status, 204, "{}", begun.text);
    assert_eq!((client.whoami_from(&site, ULM).await, client.whoami_from(&site, SALEM).await), (200, 403));
    let (_, event) = site.events("logout").await;
    assert_eq!(event["binding"]["reason"], "network.asn");
    let list = site.admin(Method::GET, "/events/events/?action=logout", None).await;
    let user = &list.json["results"][0]["user"];
    assert_eq!((&user["username"], &user["on_behalf_of"]["username"]), (&json!("akadmin"), &json!("ada")));
    let sessions = site.admin(Method::GET, "/core/authenticated_sessions/", None).await;
    assert_eq!(sessions.json["pagination"]["count"], 0, "{}", sessions.text);
    client.cookies = own;
    assert_eq!(client.whoami_from(&site, BONN).await, 403);
}

/// CO-181, CO-173, CO-305: policies find where the client is; one that needs to know it of an address that no database
/// has cannot be evaluated, and the binding says what counts.
#[tokio::test]
async fn co_181_policies_know_where_the_client_is() {
    let site = Site::with_expressions().await;
    let flow = site.admin(Method::GET, "/flows/instances/default-authentication-flow/", None).await.json["pk"].clone();
    let expression = "return context[\"geoip\"][\"country\"] == \"DE\" and context[\"asn\"][\"asn\"] in [64496, 64497]";
    let policy = json!({"name": "at home", "expression": expression});
    let policy = site.admin(Method::POST, "/policies/expression/", policy).await.json["pk"].clone();
    let binding = json!({"target": flow, "policy": policy, "order": 0});
    assert_eq!(site.admin(Method::POST, "/policies/bindings/", binding).await.status, 201);
    let asked = async |address: [u8; 4]| {
        let asked = Client::at(address).show(&site, SIGN_IN, "").await;
        asked["component"].as_str().expect("a component").to_owned()
    };
    assert_eq!(asked(BONN).await, "ak-stage-access-denied", "there is no database");
    let (failures, event) = site.events("policy_exception").await;
    assert!(failures > 0 && event["message"].as_str().is_some_and(|text| text.contains("geoip")), "{event}");
    know_places(&site);
    for address in [BONN, ULM] {
        assert_eq!(asked(address).await, "ak-stage-identification");
    }
    assert_eq!(asked(SALEM).await, "ak-stage-access-denied");
    assert_eq!(site.events("policy_exception").await.0, failures, "a country is known");
    assert_eq!(asked(NOWHERE).await, "ak-stage-access-denied");
    let (after, event) = site.events("policy_exception").await;
    assert!(after > failures && event.get("geo").is_none(), "{event}");
    let list = site.admin(Method::GET, "/policies/bindings/", None).await;
    let path = format!("/policies/bindings/{}/", list.json["results"][0]["pk"].as_str().expect("a key"));
    assert_eq!(site.admin(Method::PATCH, &path, json!({"failure_result": true})).await.status, 200);
    assert_eq!(
        (asked(NOWHERE).await.as_str(), asked(SALEM).await.as_str()),
        ("ak-stage-identification", "ak-stage-access-denied",)
    );
}
