//! Which application answers (sections 4, 5 and 14).

use http::{Method, StatusCode};
use portcullis_core::id::ProviderPk;
use portcullis_core::origin::{Origin, Scheme};
use portcullis_core::outpost::{Mode, Provider};

use super::site::{Site, basic, get, header, request_of};

/// A request's origin with nothing but a host.
pub(crate) fn origin(host: &str) -> Origin {
    let address = "192.0.2.1".parse().unwrap();
    Origin {
        scheme: Scheme::Https,
        host: host.to_owned(),
        client: address,
        peer: address,
        peer_trusted: false,
        request_id: "".into(),
        asked: None,
    }
}

fn another(first: &Provider, pk: i32, external: &str, mode: Mode, domain: &str) -> Provider {
    let mut other = first.clone();
    other.pk = ProviderPk(pk);
    other.external_host = external.to_owned();
    other.mode = mode;
    other.cookie_domain = domain.to_owned();
    other
}

fn found(site: &Site, host: &str) -> Option<i32> {
    site.plane.applications.find(&origin(host)).map(|application| application.provider.pk.0)
}

/// PX-050, PX-051, PX-052, PX-053, PX-055, PX-540, PX-595: the order in which hosts are matched.
#[tokio::test]
async fn px_051_hosts_are_matched_in_order() {
    let site = Site::several(
        |_| {},
        |_| {},
        |first| {
            vec![
                another(first, 9, "https://wiki.example", Mode::Proxy, ""),
                another(first, 8, "https://port.example:8443", Mode::Proxy, ""),
                another(first, 20, "https://auth.corp.test", Mode::ForwardDomain, "corp.test"),
                another(first, 21, "https://auth.eu.corp.test", Mode::ForwardDomain, ".eu.corp.test"),
                another(first, 22, "https://two.corp.test", Mode::ForwardDomain, "corp.test"),
            ]
        },
    )
    .await;
    for (host, pk) in [
        ("wiki.example", Some(7)),
        ("WIKI.example.", Some(7)),
        ("wiki.example:443", Some(7)),
        ("wiki.example:8080", Some(7)),
        ("port.example:8443", Some(8)),
        ("port.example", Some(8)),
        ("auth.corp.test", Some(20)),
        ("two.corp.test", Some(22)),
        ("any.corp.test", Some(20)),
        ("corp.test", Some(20)),
        ("a.eu.corp.test", Some(21)),
        ("badcorp.test", None),
        ("corp.test.evil.test", None),
        ("unknown.example", None),
        ("", None),
    ] {
        assert_eq!(found(&site, host), pk, "{host}");
    }
}

/// PX-056: the only application serves every host if the operator says so.
#[tokio::test]
async fn px_056_the_only_application_serves_all() {
    let site = Site::with(|_| {}, |settings| settings.single_app_fallback = true).await;
    assert_eq!(found(&site, "any.example"), Some(7));
    assert_eq!(found(&Site::new().await, "any.example"), None);
}

/// PX-058: requests for other hosts, and in the forward modes for other paths, are given back.
#[tokio::test]
async fn px_058_other_requests_are_given_back() {
    let site = Site::with(|provider| provider.mode = Mode::ForwardSingle, |_| {}).await;
    let send = |host: &'static str, path: &'static str| site.send_to(host, "192.0.2.1", get(path));
    assert!(send("unknown.example", "/").await.is_none());
    assert!(send("wiki.example", "/page").await.is_none());
    let start = send("wiki.example", "/outpost.goauthentik.io/start").await.unwrap();
    assert!(header(&start, "location").starts_with("https://id.example/"));
    let ping = send("unknown.example", "/outpost.goauthentik.io/ping").await.unwrap();
    assert_eq!(ping.status(), StatusCode::NO_CONTENT);
}

/// PX-315, PX-598: ping says that the process lives; ready also that sessions can be read.
#[tokio::test]
async fn px_315_ping_and_ready() {
    let site = Site::new().await;
    let ping = |path: &'static str| async { site.send(get(path)).await.status() };
    assert_eq!(ping("/outpost.goauthentik.io/ping?ready").await, StatusCode::NO_CONTENT);
    site.core.memory().store_is_down = true;
    assert_eq!(ping("/outpost.goauthentik.io/ping?ready").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ping("/outpost.goauthentik.io/ping").await, StatusCode::NO_CONTENT);
}

/// PX-312: nothing lies below `static`, whatever is asked for: no file, no list, and nothing of the application's.
#[tokio::test]
async fn px_312_no_file_is_served_that_is_not_compiled_in() {
    let site = Site::new().await;
    for path in ["", "x.css", "a/", "static/", "/etc/passwd", "../ping", "%2e%2e/x", "..%2f..%2fetc/passwd", "..\\x"] {
        for method in [Method::GET, Method::HEAD] {
            let response = site.send(request_of(method, &format!("/outpost.goauthentik.io/static/{path}"))).await;
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        }
    }
    assert!(site.seen().is_empty());
}

/// PX-060, PX-257, PX-592: unknown reserved paths are 404 and never reach the application.
#[tokio::test]
async fn px_060_unknown_reserved_paths_are_not_found() {
    let site = Site::new().await;
    let cookie = site.session().await;
    for path in
        ["", "/", "/x", "/startx", "/static/../x", "/auth/nginx", "/auth/traefik", "/auth/envoy/x", "/static/a.css"]
    {
        let path = format!("/outpost.goauthentik.io{path}");
        let response = site.send(get(&path).header("cookie", &cookie)).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(site.seen().len(), 1);
}

/// PX-233, PX-562: traversal does not open a protected path; matching and forwarding use the same bytes.
#[tokio::test]
async fn px_233_traversal_is_not_open() {
    let site = Site::new().await;
    for path in ["/public/../admin", "/public/%2e%2e/admin", "/public%2f..%2fadmin", "/public//x", "/public/..;/admin"]
    {
        assert_eq!(site.send(get(path)).await.status(), StatusCode::FOUND, "{path}");
    }
    assert!(site.seen().is_empty());
    site.send(get("/public/a%20b?c=%2F")).await;
    assert_eq!(site.last().path, "/public/a%20b?c=%2F");
}

/// PX-287, PX-593: TRACE and CONNECT are never forwarded.
#[tokio::test]
async fn px_287_trace_is_refused() {
    let site = Site::new().await;
    let cookie = site.session().await;
    for method in [Method::TRACE, Method::CONNECT] {
        let response = site.send(request_of(method, "/").header("cookie", &cookie)).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
    assert_eq!(site.seen().len(), 1);
}

/// PX-008: a provider that cannot be set up leaves the others alone, and keeps its old self.
#[tokio::test]
async fn px_008_a_bad_provider_keeps_its_old_self() {
    let site = Site::several(|_| {}, |_| {}, |first| vec![another(first, 8, "not a url", Mode::Proxy, "")]).await;
    assert_eq!(found(&site, "wiki.example"), Some(7));
    let cookie = site.session().await;
    site.reconfigure(|configuration| configuration.providers[0].internal_host = "nonsense".to_owned());
    assert_eq!(site.send(get("/").header("cookie", cookie)).await.status(), StatusCode::OK);
    site.reconfigure(|configuration| configuration.providers.clear());
    assert_eq!(found(&site, "wiki.example"), None);
}

/// PX-008, PX-108: caches outlive a configuration that left their provider as it was, and no other.
#[tokio::test]
async fn px_108_caches_end_with_a_change_of_the_provider() {
    let site = Site::new().await;
    let send = || site.send(get("/").header("authorization", basic("ada", "secret")));
    send().await;
    site.reconfigure(|_| {});
    send().await;
    assert_eq!(site.core.calls("verify_password"), 1);
    site.reconfigure(|configuration| configuration.providers[0].name = "Renamed".to_owned());
    send().await;
    assert_eq!(site.core.calls("verify_password"), 2);
    assert_eq!(site.last().all("x-authentik-meta-provider"), ["Renamed"]);
}

/// PX-008: a new configuration is taken over as soon as the control plane has it.
#[tokio::test]
async fn px_008_configurations_are_followed() {
    let site = Site::new().await;
    let plane = std::sync::Arc::clone(&site.plane);
    let following = tokio::spawn(async move { plane.follow_configuration().await });
    site.core.configuration.send_modify(|configuration| {
        std::sync::Arc::make_mut(configuration).providers[0].external_host = "https://moved.example".to_owned();
    });
    while found(&site, "moved.example").is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(found(&site, "wiki.example"), None);
    following.abort();
}

/// PX-055: a provider whose host another one has is reported as an event, once for each time that it changes.
#[tokio::test]
async fn px_055_a_shadowed_provider_is_reported() {
    let twin = |first: &Provider| {
        let mut twin = another(first, 9, "https://WIKI.example:443/", Mode::Proxy, "");
        twin.name = "Twin".to_owned();
        vec![twin]
    };
    let site = Site::several(|_| {}, |_| {}, twin).await;
    let reports = async || {
        site.plane.report_shadowed();
        tokio::task::yield_now().await;
        site.core.memory().reports.clone()
    };
    for _ in 0..2 {
        let told = reports().await;
        assert_eq!((told.len(), told[0].provider.as_str()), (1, "Twin"));
        assert_eq!(told[0].details, serde_json::json!({"host": "wiki.example", "served_by": "Wiki provider"}));
    }
    site.reconfigure(|configuration| configuration.providers[1].external_host = "https://twin.example".to_owned());
    assert_eq!((reports().await.len(), found(&site, "twin.example")), (1, Some(9)));
}

/// PX-564, PX-232: a line that is no expression is reported as an event, once for each time that the provider changes;
/// the other lines stay in force.
#[tokio::test]
async fn px_564_bad_lines_are_reported() {
    let site = Site::with(|provider| provider.skip_path_regex.push_str("\n(?x)/wide\n(?=/)"), |_| {}).await;
    let reports = async || {
        site.plane.report_bad_lines();
        tokio::task::yield_now().await;
        site.core.memory().reports.clone()
    };
    for _ in 0..2 {
        let told = reports().await;
        assert_eq!((told.len(), told[0].provider.as_str()), (1, "Wiki provider"));
        let lines: Vec<_> = told[0].details["lines"].as_array().unwrap().iter().map(|bad| &bad["line"]).collect();
        assert_eq!(lines, [2, 3]);
    }
    assert_eq!(site.send(get("/public/")).await.status(), StatusCode::OK);
    assert_eq!(site.send(get("/wide")).await.status(), StatusCode::FOUND);
    site.reconfigure(|configuration| configuration.providers[0].name = "renamed".to_owned());
    assert_eq!(reports().await.len(), 2);
}
