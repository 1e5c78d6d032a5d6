//! The calls of an outpost elsewhere, read as strictly as the strictest client reads them (PX-421): keys that must be
//! there, closed sets of words, exact JSON types. Keys that it does not know are passed over.

use std::collections::BTreeMap;

use http::Method;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer};
use serde_json::{Value, json};

use crate::channel::Edge;
use crate::site::Site;

/// A member that must be there, and may be null.
fn or_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

#[derive(Debug, Deserialize)]
struct Paginated<T> {
    pagination: Pagination,
    results: Vec<T>,
}

/// Numbers that the client takes for floating ones.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "they must be there")]
struct Pagination {
    next: f64,
    previous: f64,
    count: f64,
    current: f64,
    total_pages: f64,
    start_index: f64,
    end_index: f64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Proxy,
    Ldap,
    Radius,
    Rac,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "they must be there")]
struct Outpost {
    pk: String,
    name: String,
    r#type: Kind,
    providers: Vec<i32>,
    providers_obj: Vec<ServedProvider>,
    #[serde(deserialize_with = "or_null")]
    service_connection: Option<String>,
    #[serde(deserialize_with = "or_null")]
    service_connection_obj: Option<Value>,
    refresh_interval_s: i32,
    token_identifier: String,
    config: BTreeMap<String, Value>,
    #[serde(deserialize_with = "or_null")]
    managed: Option<String>,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "they must be there")]
struct ServedProvider {
    pk: i32,
    name: String,
    #[serde(deserialize_with = "or_null")]
    authentication_flow: Option<String>,
    authorization_flow: String,
    invalidation_flow: String,
    property_mappings: Vec<String>,
    component: String,
    #[serde(deserialize_with = "or_null")]
    assigned_application_slug: Option<String>,
    #[serde(deserialize_with = "or_null")]
    assigned_application_name: Option<String>,
    #[serde(deserialize_with = "or_null")]
    assigned_backchannel_application_slug: Option<String>,
    #[serde(deserialize_with = "or_null")]
    assigned_backchannel_application_name: Option<String>,
    verbose_name: String,
    verbose_name_plural: String,
    meta_model_name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Proxy,
    ForwardSingle,
    ForwardDomain,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "they must be there")]
struct Proxy {
    pk: i32,
    name: String,
    mode: Mode,
    internal_host: String,
    external_host: String,
    internal_host_ssl_validation: bool,
    client_id: String,
    client_secret: String,
    cookie_secret: String,
    cookie_domain: String,
    #[serde(deserialize_with = "or_null")]
    certificate: Option<String>,
    skip_path_regex: String,
    intercept_header_auth: bool,
    basic_auth_enabled: bool,
    basic_auth_user_attribute: String,
    basic_auth_password_attribute: String,
    access_token_validity: f64,
    scopes_to_request: Vec<String>,
    assigned_application_slug: String,
    assigned_application_name: String,
    oidc_configuration: Endpoints,
}

#[derive(Debug, Deserialize)]
struct Endpoints {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    userinfo_endpoint: String,
    end_session_endpoint: String,
    introspection_endpoint: String,
    jwks_uri: String,
    response_types_supported: Vec<String>,
    id_token_signing_alg_values_supported: Vec<String>,
    subject_types_supported: Vec<String>,
    token_endpoint_auth_methods_supported: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "they must be there")]
struct Config {
    error_reporting: Reporting,
    capabilities: Vec<Capability>,
    cache_timeout: i32,
    cache_timeout_flows: i32,
    cache_timeout_policies: i32,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "they must be there")]
struct Reporting {
    enabled: bool,
    sentry_dsn: String,
    environment: String,
    send_pii: bool,
    traces_sample_rate: f64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Capability {
    CanSaveMedia,
    CanSaveReports,
    CanGeoIp,
    CanAsn,
    CanImpersonate,
    CanDebug,
    IsEnterprise,
}

#[derive(Debug, Deserialize)]
struct KeyPair {
    pk: String,
    name: String,
    fingerprint_sha256: String,
}

#[derive(Debug, Deserialize)]
struct Data {
    data: String,
}

/// What the outpost reads at a path; it gives up on any other status and any other shape.
async fn read<T: DeserializeOwned>(site: &Site, edge: &Edge, path: &str) -> T {
    let (status, said) = site.send(&edge.key, Method::GET, path, None).await;
    assert_eq!(status, 200, "{path}: {said}");
    serde_json::from_value(said.clone()).unwrap_or_else(|error| panic!("{path}: {error}: {said}"))
}

/// PX-351, PX-356, PX-401, PX-421: an outpost finds itself, and no other, with every key that it needs.
#[tokio::test]
async fn px_401_an_outpost_finds_itself() {
    let site = Site::new().await;
    let (edge, _other) = (Edge::new(&site, "wiki").await, Edge::new(&site, "notes").await);
    let found: Paginated<Outpost> = read(&site, &edge, "/outposts/instances/").await;
    let [outpost] = &found.results[..] else { panic!("{found:?}") };
    assert_eq!((outpost.pk.as_str(), &json!(outpost.providers)), (edge.pk.as_str(), &json!([edge.provider])));
    assert!(matches!(outpost.r#type, Kind::Proxy) && outpost.refresh_interval_s == 300);
    assert_eq!(outpost.providers_obj.len(), 1);
    for key in ["authentik_host", "log_level"] {
        assert!(outpost.config[key].is_string(), "{key}");
    }
    assert!(found.pagination.next == 0.0);
}

/// PX-401: `authentik_host` and `log_level` are texts although nobody has set them.
#[tokio::test]
async fn px_401_what_an_outpost_needs_of_its_settings_is_there() {
    let site = Site::new().await;
    let provider = site.provider("wiki").await["pk"].clone();
    let body = json!({"name": "edge", "type": "proxy", "providers": [provider], "config": {}});
    let made = site.post("/outposts/instances/", body).await;
    let token = made["token_identifier"].as_str().unwrap();
    let view = site.get(&format!("/core/tokens/{token}/view_key/")).await;
    let (_, found) = site.send(view["key"].as_str().unwrap(), Method::GET, "/outposts/instances/", None).await;
    let config = &found["results"][0]["config"];
    assert!(config["authentik_host"].is_string() && config["log_level"].is_string(), "{config}");
    assert_eq!(made["config"], json!({}), "CO-593: to others it is what they wrote");
}

/// PX-353, PX-357, PX-402, PX-403, PX-027, OA-075: the list of what it serves has every key, page by page, and nothing of others.
#[tokio::test]
async fn px_402_the_list_of_providers_is_complete() {
    let site = Site::new().await;
    let edge = Edge::new(&site, "wiki").await;
    let _other = Edge::new(&site, "notes").await;
    let mut served = vec![edge.provider.clone()];
    for (name, more) in [
        ("one", json!({"mode": "forward_single", "internal_host": "", "access_token_validity": "minutes=5"})),
        ("two", json!({"mode": "forward_domain", "internal_host": "", "cookie_domain": "example.com"})),
        ("unassigned", json!({})),
    ] {
        let body = site.provider_body(name, more).await;
        let pk = site.post("/providers/proxy/", body).await["pk"].clone();
        if name != "unassigned" {
            site.application(name, &pk).await;
        }
        served.push(pk);
    }
    site.patch(&format!("/outposts/instances/{}/", edge.pk), json!({"providers": served})).await;
    let all: Paginated<Proxy> = read(&site, &edge, "/outposts/proxy/?page=1&page_size=100").await;
    let names: Vec<_> = all.results.iter().map(|proxy| proxy.name.as_str()).collect();
    assert_eq!((names.as_slice(), all.pagination.next == 0.0), (&["one", "two", "wiki"][..], true));
    let mut pages = Vec::new();
    let mut page = 1.0;
    while page > 0.0 {
        let one: Paginated<Proxy> = read(&site, &edge, &format!("/outposts/proxy/?page={page}&page_size=2")).await;
        pages.extend(one.results.into_iter().map(|proxy| proxy.name));
        page = one.pagination.next;
    }
    assert_eq!(pages, names);
    for proxy in &all.results {
        assert!(proxy.access_token_validity > 0.0 && proxy.client_secret.len() > 20 && proxy.cookie_secret.len() >= 32);
        assert!(
            ["openid", "profile", "email", "entitlements", "ak_proxy"]
                .iter()
                .all(|scope| { proxy.scopes_to_request.iter().any(|asked| asked == scope) })
        );
    }
    assert!(all.results[0].access_token_validity == 300.0);
    // A user, with whatever rights on providers, is told no secret.
    let (_, stranger) = site.user("ada").await;
    let (_, viewer) = site.user_with("bob", &[("authentik_providers_proxy.view_proxyprovider", None)]).await;
    for key in [&stranger, &viewer] {
        let (status, said) = site.send(key, Method::GET, "/outposts/proxy/", None).await;
        for proxy in &all.results {
            let told = said.to_string();
            assert!(!told.contains(&proxy.client_secret) && !told.contains(&proxy.cookie_secret), "{status}: {told}");
        }
    }
}

/// PX-340, PX-412: outposts elsewhere are delivered the endpoints of the base URL, which is what tokens say of their
/// issuer, whatever host the embedded outpost is told to use.
#[tokio::test]
async fn px_412_endpoints_are_those_of_the_base_url() {
    let site = Site::new().await;
    let edge = Edge::new(&site, "wiki").await;
    let outposts = site.get("/outposts/instances/?managed__iexact=goauthentik.io/outposts/embedded").await;
    let embedded = outposts["results"][0]["pk"].as_str().unwrap();
    let elsewhere = json!({"config": {"authentik_host": "http://elsewhere.example"}});
    site.patch(&format!("/outposts/instances/{embedded}/"), elsewhere).await;
    let served: Paginated<Proxy> = read(&site, &edge, "/outposts/proxy/").await;
    let endpoints = &served.results[0].oidc_configuration;
    assert_eq!(endpoints.issuer, "https://id.example/application/o/wiki/");
    for endpoint in [
        &endpoints.authorization_endpoint,
        &endpoints.token_endpoint,
        &endpoints.userinfo_endpoint,
        &endpoints.end_session_endpoint,
        &endpoints.introspection_endpoint,
        &endpoints.jwks_uri,
    ] {
        assert!(endpoint.starts_with("https://id.example/application/o/"), "{endpoint}");
    }
    assert_eq!(endpoints.id_token_signing_alg_values_supported, ["RS256"]);
    assert_eq!(endpoints.response_types_supported, ["code"]);
    assert!(
        !endpoints.subject_types_supported.is_empty() && !endpoints.token_endpoint_auth_methods_supported.is_empty()
    );
}

/// PX-352, PX-358: the configuration names no ability that the client does not know.
#[tokio::test]
async fn px_358_abilities_are_of_a_closed_set() {
    let site = Site::new().await;
    let edge = Edge::new(&site, "wiki").await;
    let config: Config = read(&site, &edge, "/root/config/").await;
    assert!(!config.error_reporting.enabled && config.error_reporting.sentry_dsn.is_empty());
}

/// PX-400, PX-360, PX-361, PX-362, CO-466, CO-704: an outpost reads certificate and key of what it serves, without an event, and
/// of nothing else.
#[tokio::test]
async fn px_400_an_outpost_reads_its_own_keys() {
    let site = Site::new().await;
    let (edge, other) = (Edge::new(&site, "wiki").await, Edge::new(&site, "notes").await);
    let pair = json!({"common_name": "wiki.example.com", "validity_days": 30, "alg": "ecdsa"});
    let generate = "/crypto/certificatekeypairs/generate/";
    let (_, pair) = site.send(crate::site::ADMIN, Method::POST, generate, Some(pair)).await;
    let pair = pair["pk"].as_str().unwrap();
    site.patch(&format!("/providers/proxy/{}/", edge.provider), json!({"certificate": pair})).await;
    let at = format!("/crypto/certificatekeypairs/{pair}/");
    let seen: KeyPair = read(&site, &edge, &at).await;
    assert_eq!((seen.pk.as_str(), seen.name.as_str()), (pair, "wiki.example.com"));
    assert!(seen.fingerprint_sha256.len() >= 64);
    let certificate: Data = read(&site, &edge, &format!("{at}view_certificate/")).await;
    let key: Data = read(&site, &edge, &format!("{at}view_private_key/")).await;
    assert!(certificate.data.contains("BEGIN CERTIFICATE") && key.data.contains("PRIVATE KEY"));
    assert!(site.events("secret_view").await.iter().all(|event| !event.to_string().contains("wiki.example.com")));
    for path in [at.clone(), format!("{at}view_certificate/"), format!("{at}view_private_key/")] {
        let (status, said) = site.send(&other.key, Method::GET, &path, None).await;
        assert!(status == 403 || status == 404, "{path}: {said}");
    }
    let path = format!("/outposts/instances/{}/", other.pk);
    assert_eq!(site.send(&edge.key, Method::GET, &path, None).await.0, 404);
}

/// PX-363, PX-408: what an outpost reports is recorded with the address of its client, without the port, and without
/// secrets and headers.
#[tokio::test]
async fn px_408_reports_are_cleansed() {
    let site = Site::new().await;
    let edge = Edge::new(&site, "wiki").await;
    let report = |client: &str| {
        json!({
            "action": "configuration_error",
            "app": "authentik.providers.proxy",
            "client_ip": client,
            "context": {
                "message": "no upstream", "provider": "wiki", "client_secret": "s3cr3t",
                "request": {"Headers": {"X-Custom": ["s3cr3t"]}},
            },
        })
    };
    for (sent, kept) in [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9:4711", "203.0.113.9"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("nobody", "192.0.2.7"),
    ] {
        let (status, made) = site.send(&edge.key, Method::POST, "/events/events/", Some(report(sent))).await;
        assert_eq!((status.as_u16(), &made["client_ip"]), (201, &json!(kept)), "{sent}: {made}");
        assert_eq!(
            (&made["context"]["message"], made["context"]["request"].is_object()),
            (&json!("no upstream"), true)
        );
        assert!(!made.to_string().contains("s3cr3t"), "{made}");
    }
    let made = site.post("/events/events/", report("203.0.113.9")).await;
    assert_eq!(made["client_ip"], "192.0.2.7", "CO-573: of others it is not believed");
}
