//! Headers sent to the application (section 13).

use http::{HeaderName, StatusCode};
use portcullis_core::claims::Claims;
use portcullis_core::outpost::Provider;
use serde_json::{Value, json};

use super::site::{Seen, Site, ada, basic, body, get};
use crate::settings::{EmptyBasicPassword, ForwardJwt, ProxySettings};

/// The request that the upstream sees of a user with these claims.
async fn seen(
    claims: impl FnOnce(&mut Claims),
    provider: impl FnOnce(&mut Provider),
    settings: impl FnOnce(&mut ProxySettings),
) -> Seen {
    let site = Site::with(provider, settings).await;
    assert_eq!(status(&site, claims).await, StatusCode::OK);
    site.last()
}

async fn status(site: &Site, change: impl FnOnce(&mut Claims)) -> StatusCode {
    let mut claims = ada();
    change(&mut claims);
    site.core.memory().passwords.insert(("ada".to_owned(), "secret".to_owned()), claims);
    site.send(get("/").header("authorization", basic("ada", "secret"))).await.status()
}

fn attributes(claims: &mut Claims, value: &Value) {
    claims.ak_proxy.user_attributes = value.as_object().unwrap().clone();
}

fn basic_enabled(provider: &mut Provider) {
    provider.basic_auth_enabled = true;
}

/// PX-200: all twelve headers, with the user's values.
#[tokio::test]
async fn px_200_all_twelve_headers() {
    let seen = seen(|_| {}, |_| {}, |_| {}).await;
    for (name, value) in [
        ("x-authentik-username", "ada"),
        ("x-authentik-groups", "staff|maths"),
        ("x-authentik-entitlements", "read"),
        ("x-authentik-email", "ada@example.org"),
        ("x-authentik-name", "Ada Lovelace"),
        ("x-authentik-uid", "5ad0"),
        ("x-authentik-jwt", "assertion"),
        ("x-authentik-meta-jwks", "https://id.example/application/o/wiki/jwks/"),
        ("x-authentik-meta-outpost", "edge"),
        ("x-authentik-meta-provider", "Wiki provider"),
        ("x-authentik-meta-app", "wiki"),
        ("x-authentik-meta-version", concat!("goauthentik.io/outpost/", env!("CARGO_PKG_VERSION"))),
    ] {
        assert_eq!(seen.all(name), [value], "{name}");
    }
}

/// PX-200: a missing claim gives an empty header, not a missing one.
#[tokio::test]
async fn px_200_missing_claims_are_empty_headers() {
    let bare = |claims: &mut Claims| *claims = Claims { sub: "s".to_owned(), exp: claims.exp, ..Claims::default() };
    let seen = seen(bare, |_| {}, |_| {}).await;
    for name in ["username", "groups", "entitlements", "email", "name"] {
        assert_eq!(seen.all(&format!("x-authentik-{name}")), [""], "{name}");
    }
}

/// PX-202: values travel as the bytes that they are.
#[tokio::test]
async fn px_202_values_are_raw_utf8() {
    let seen = seen(|claims| claims.name = "Åsa Ünï 漢".to_owned(), |_| {}, |_| {}).await;
    assert_eq!(seen.headers["x-authentik-name"].as_bytes(), "Åsa Ünï 漢".as_bytes());
}

/// PX-203, PX-573: names that cannot be sent as they are refuse the request.
#[tokio::test]
async fn px_203_unclean_names_are_refused() {
    let cases: [fn(&mut Claims); 4] = [
        |claims| claims.preferred_username = "ada\n".to_owned(),
        |claims| claims.preferred_username = " ada".to_owned(),
        |claims| claims.email = "a\0b".to_owned(),
        |claims| claims.sub = "s\x7f".to_owned(),
    ];
    for case in cases {
        let site = Site::new().await;
        assert_eq!(status(&site, case).await, StatusCode::BAD_GATEWAY);
        assert!(site.seen().is_empty());
    }
}

/// PX-203: somebody in whose name nothing can be sent is reported, once a minute.
#[tokio::test]
async fn px_203_unclean_names_are_reported() {
    let site = Site::new().await;
    for (seconds, reports) in [(0, 1), (59, 1), (1, 2)] {
        site.clock.advance_seconds(seconds);
        assert_eq!(status(&site, |claims| claims.email = "a\0b".to_owned()).await, StatusCode::BAD_GATEWAY);
        tokio::task::yield_now().await;
        assert_eq!(site.core.memory().reports.len(), reports);
    }
    let report = site.core.memory().reports[0].clone();
    assert_eq!(report.provider, "Wiki provider");
    assert_eq!(report.details, json!({"user": "ada", "reason": "email cannot be sent in a header"}));
    assert_eq!(report.client, Some([192, 0, 2, 1].into()));
}

/// PX-204, PX-205, PX-574: other odd values are left out, and forge nothing.
#[tokio::test]
async fn px_205_odd_values_are_left_out() {
    let odd = |claims: &mut Claims| {
        claims.name = "a\r\nX-Evil: 1".to_owned();
        claims.groups = vec!["staff".to_owned(), "x|admins".to_owned(), "b\nc".to_owned()];
    };
    let site = Site::new().await;
    let mut claims = ada();
    odd(&mut claims);
    site.core.memory().passwords.insert(("ada".to_owned(), "secret".to_owned()), claims);
    let request = get("/").header("authorization", basic("ada", "secret")).header("x-authentik-name", "root");
    assert_eq!(site.send(request).await.status(), StatusCode::OK);
    assert_eq!(site.last().all("x-authentik-groups"), ["staff"]);
    assert!(site.last().all("x-authentik-name").is_empty() && site.last().all("x-evil").is_empty());
}

/// PX-206: the operator decides what `X-authentik-jwt` carries.
#[tokio::test]
async fn px_206_the_jwt_follows_the_setting() {
    for (forward, values) in
        [(ForwardJwt::Assertion, &["assertion"][..]), (ForwardJwt::Full, &["raw"]), (ForwardJwt::Off, &[])]
    {
        let site = Site::with(|_| {}, |settings| settings.forward_jwt = forward).await;
        site.core.memory().raw_token = "raw".to_owned();
        let request = get("/").header("authorization", basic("ada", "secret")).header("x-authentik-jwt", "forged");
        site.send(request).await;
        assert_eq!(site.last().all("x-authentik-jwt"), values);
    }
}

/// PX-206, PX-100: what an application gets to see is signed once per identity, also when every request is verified.
#[tokio::test]
async fn px_206_a_token_is_signed_once() {
    let each = |settings: &mut ProxySettings| settings.header_cache_ttl = std::time::Duration::ZERO;
    let site = Site::with(|_| {}, each).await;
    for _ in 0..3 {
        site.send(get("/").header("authorization", basic("ada", "secret"))).await;
        assert_eq!(site.last().all("x-authentik-jwt"), ["assertion"]);
    }
    assert_eq!((site.core.calls("verify_password"), site.core.calls("sign")), (3, 1));
    // Other claims are another statement.
    status(&site, |claims| claims.name = "Ada King".to_owned()).await;
    assert_eq!(site.core.calls("sign"), 2);
}

/// PX-208: a session's headers are those of its login.
#[tokio::test]
async fn px_208_headers_are_those_of_the_login() {
    let site = Site::new().await;
    let cookie = site.session().await;
    status(&site, |claims| claims.groups.clear()).await;
    site.clock.advance_seconds(10);
    site.send(get("/").header("cookie", cookie)).await;
    assert_eq!(site.last().all("x-authentik-groups"), ["staff|maths"]);
}

/// PX-209: headers that are too large lose the JWT first; then the request is refused.
#[tokio::test]
async fn px_209_large_headers() {
    let large = |size: usize| move |claims: &mut Claims| claims.groups = vec!["g".repeat(size)];
    let site = Site::with(|_| {}, |settings| settings.forward_jwt = ForwardJwt::Full).await;
    site.core.memory().raw_token = "t".repeat(10_000);
    assert_eq!(status(&site, large(10_000)).await, StatusCode::OK);
    assert_eq!(site.last().all("x-authentik-jwt"), [""; 0]);
    assert_eq!(site.last().all("x-authentik-groups")[0].len(), 10_000);
    let site = Site::new().await;
    assert_eq!(status(&site, large(17_000)).await, StatusCode::BAD_GATEWAY);
}

/// PX-210, PX-211, PX-212, PX-214, PX-572: HTTP Basic for the application, from the user's attributes.
#[tokio::test]
async fn px_211_upstream_basic() {
    for (given, sent) in [
        (json!({"wiki_user": "u", "wiki_password": "p"}), basic("u", "p")),
        (json!({"wiki_user": "ü", "wiki_password": 42}), basic("ü", "42")),
        (json!({"wiki_password": "p"}), basic("ada@example.org", "p")),
        (json!({"wiki_user": ["u"], "wiki_password": true}), basic("ada@example.org", "")),
        (json!({"nested": {"wiki_user": "u"}}), basic("ada@example.org", "")),
        (json!({}), basic("ada@example.org", "")),
    ] {
        let seen = seen(|claims| attributes(claims, &given), basic_enabled, |_| {}).await;
        assert_eq!(seen.all("authorization"), [sent], "{given}");
    }
    let omit = |settings: &mut ProxySettings| settings.empty_basic_password = EmptyBasicPassword::Omit;
    assert_eq!(seen(|_| {}, basic_enabled, omit).await.all("authorization"), [""; 0]);
}

/// PX-213, PX-581: a user name that would shift the split is not sent.
#[tokio::test]
async fn px_213_a_colon_suppresses_the_header() {
    let colon = |claims: &mut Claims| attributes(claims, &json!({"wiki_user": "a:b", "wiki_password": "p"}));
    assert_eq!(seen(colon, basic_enabled, |_| {}).await.all("authorization"), [""; 0]);
}

/// PX-216, PX-217, PX-219, PX-572, PX-578: additional headers are converted and sent under their names.
#[tokio::test]
async fn px_216_additional_headers() {
    let given = json!({"additionalHeaders": {
        "X-Tenant": "blue", "REMOTE_USER": "ada", "X-Level": 7, "X-Flag": true, "X-List": ["a", 1], "X-Gone": null,
        "X-Object": {"k": 1}, "bad name": "x", "X-Control": "a\nb"
    }});
    let seen = seen(|claims| attributes(claims, &given), |_| {}, |_| {}).await;
    for (name, value) in [
        ("x-tenant", "blue"),
        ("remote_user", "ada"),
        ("x-level", "7"),
        ("x-flag", "true"),
        ("x-list", "a|1"),
        ("x-object", r#"{"k":1}"#),
    ] {
        assert_eq!(seen.all(name), [value], "{name}");
    }
    assert!(seen.all("x-gone").is_empty() && seen.all("x-control").is_empty());
}

/// PX-216, PX-571: `additionalHeaders` of another type is ignored.
#[tokio::test]
async fn px_216_other_types_are_ignored() {
    for odd in [json!("text"), json!(["a"]), json!(7), json!(null)] {
        let site = Site::new().await;
        let given = json!({ "additionalHeaders": odd });
        assert_eq!(status(&site, |claims| attributes(claims, &given)).await, StatusCode::OK);
    }
}

/// PX-218, PX-570: additional headers cannot replace what others rely on; `Authorization` they may set.
#[tokio::test]
async fn px_218_additional_headers_cannot_forge() {
    let given = json!({"additionalHeaders": {
        "X-authentik-username": "root", "X_authentik_uid": "0", "Host": "evil.test", "X-Forwarded-For": "1.2.3.4",
        "Authorization": "Token t"
    }});
    let seen = seen(|claims| attributes(claims, &given), basic_enabled, |_| {}).await;
    assert_eq!(seen.all("x-authentik-username"), ["ada"]);
    assert_eq!(seen.all("host"), ["wiki.example"]);
    assert!(seen.all("x_authentik_uid").is_empty() && !seen.all("x-forwarded-for").contains(&"1.2.3.4".to_owned()));
    assert_eq!(seen.all("authorization"), ["Token t"]);
}

/// PX-220, PX-293, PX-560, PX-578: identity headers of a client are removed, in any spelling, on every target.
#[tokio::test]
async fn px_220_spoofed_headers_are_removed() {
    let site = Site::new().await;
    let cookie = site.session().await;
    for path in ["/", "/public/"] {
        let request = get(path)
            .header("cookie", &cookie)
            .header("x-authentik-username", "root")
            .header("x-authentik-made-up", "1")
            .header("x_authentik_groups", "admins")
            .header("X-AUTHENTIK_uid", "0")
            .header("x_other_header", "kept");
        site.send(request).await;
        let seen = site.last();
        assert_eq!(seen.all("x-authentik-username"), ["ada"]);
        assert_eq!(seen.all("x_other_header"), ["kept"]);
        for name in ["x-authentik-made-up", "x_authentik_groups", "x-authentik_uid"] {
            assert_eq!(seen.all(name), [""; 0], "{name}");
        }
    }
    site.send(get("/public/").header("x-authentik-username", "root")).await;
    assert_eq!(site.last().all("x-authentik-username"), [""; 0]);
}

/// PX-221, PX-579: a header that some user has as an additional one cannot be sent by another.
#[tokio::test]
async fn px_221_additional_names_are_remembered() {
    let site = Site::with(|_| {}, |settings| settings.strip_request_headers = vec!["X-Internal".to_owned()]).await;
    let given = json!({"additionalHeaders": {"X-Tenant": "blue", "X-Off": null}});
    status(&site, |claims| attributes(claims, &given)).await;
    site.core.memory().passwords.insert(("bob".to_owned(), "secret".to_owned()), ada());
    for path in ["/", "/public/"] {
        let request = get(path)
            .header("authorization", basic("bob", "secret"))
            .header("x-tenant", "red")
            .header("x_tenant", "red")
            .header("x-off", "1")
            .header("x_internal", "1")
            .header("x-else", "kept");
        site.send(request).await;
        for name in ["x-tenant", "x_tenant", "x-off", "x_internal"] {
            assert_eq!(site.last().all(name), [""; 0], "{name}");
        }
        assert_eq!(site.last().all("x-else"), ["kept"]);
    }
}

/// PX-221, PX-008: remembered names survive a change of the provider.
#[tokio::test]
async fn px_221_remembered_names_survive_a_change() {
    let site = Site::new().await;
    let given = json!({"additionalHeaders": {"X-Tenant": "blue"}});
    status(&site, |claims| attributes(claims, &given)).await;
    site.reconfigure(|configuration| configuration.providers[0].name = "Renamed".to_owned());
    site.send(get("/public/").header("x-tenant", "red")).await;
    assert_eq!(site.last().all("x-tenant"), [""; 0]);
}

/// PX-221, PX-579: names that claims held before the process started count from its first request.
#[tokio::test]
async fn px_221_names_of_earlier_claims_are_known_at_start() {
    let site = Site::with(|provider| provider.header_names = vec!["x-role".to_owned()], |_| {}).await;
    site.send(get("/public/").header("x_role", "admin").header("x-else", "kept")).await;
    assert_eq!((site.last().all("x_role"), site.last().all("x-else")), (vec![], vec!["kept".to_owned()]));
}

/// PX-009, PX-209: more additional headers than any request should have are refused, not sent in part.
#[tokio::test]
async fn px_209_a_heap_of_additional_headers_is_refused() {
    let many: serde_json::Map<_, _> = (0..40_000).map(|n| (format!("X-{n}"), json!("v"))).collect();
    for given in [json!({"additionalHeaders": many}), json!({"additionalHeaders": {"X-Long": "v".repeat(100_000)}})] {
        let site = Site::new().await;
        assert_eq!(status(&site, |claims| attributes(claims, &given)).await, StatusCode::BAD_GATEWAY);
        assert!(site.seen().is_empty());
    }
}

/// PX-222, PX-577: a client's `Connection` cannot take our headers away.
#[tokio::test]
async fn px_222_connection_removes_none_of_ours() {
    let site = Site::with(basic_enabled, |_| {}).await;
    let request = get("/")
        .header("authorization", basic("ada", "secret"))
        .header("connection", "X-Authentik-Groups, Authorization, X-Forwarded-Host, X-Mine")
        .header("x-mine", "1");
    site.send(request).await;
    let seen = site.last();
    assert_eq!(seen.all("x-authentik-groups"), ["staff|maths"]);
    assert_eq!(seen.all("authorization"), [basic("ada@example.org", "")]);
    assert_eq!(seen.all("x-forwarded-host"), ["wiki.example"]);
    assert_eq!(seen.all("x-mine"), [""; 0]);
}

/// PX-276, PX-277, PX-523: upstream and host of an identity are used from session and cache alike.
#[tokio::test]
async fn px_276_the_identitys_own_upstream() {
    let other = Site::new().await;
    other.session().await; // Its upstream has an address that we can borrow.
    let address = other.plane.applications.find(&super::hosts::origin("wiki.example")).unwrap();
    let site = Site::new().await;
    let target = format!("{}/base", address.provider.internal_host);
    for _ in 0..2 {
        let set = |claims: &mut Claims| {
            claims.ak_proxy.backend_override = target.clone();
            claims.ak_proxy.host_header = "inner.example".to_owned();
        };
        assert_eq!(status(&site, set).await, StatusCode::OK);
        assert_eq!(other.last().path, "/base/");
        assert_eq!(other.last().all("host"), ["inner.example"]);
    }
    assert!(site.seen().is_empty());
}

/// PX-276, PX-585: an upstream that is no URL refuses the request.
#[tokio::test]
async fn px_276_a_bad_override_is_refused() {
    for bad in ["ftp://x", "not a url", "//x", "/path"] {
        let site = Site::new().await;
        assert_eq!(status(&site, |c| c.ak_proxy.backend_override = bad.to_owned()).await, StatusCode::BAD_GATEWAY);
        assert!(site.seen().is_empty());
    }
}

/// PX-288, PX-289, PX-290, PX-594: an upstream that is gone gives 502, with details for administrators only.
#[tokio::test]
async fn px_289_an_upstream_that_is_gone() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for superuser in [false, true] {
        let site = Site::with(|provider| provider.internal_host = format!("http://{free}"), |_| {}).await;
        let mut claims = ada();
        claims.ak_proxy.is_superuser = superuser;
        site.core.memory().passwords.insert(("ada".to_owned(), "secret".to_owned()), claims);
        let request = || get("/").header(HeaderName::from_static("authorization"), basic("ada", "secret"));
        let response = site.send(request()).await;
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
        assert_eq!(body(response).await.contains("<code>cannot connect"), superuser);
        let response = site.send(request().header("accept", "application/json")).await;
        assert_eq!(body(response).await, r#"{"error":"bad_gateway"}"#);
        assert_eq!(site.core.calls("verify_password"), 1);
    }
}
