//! Identity headers, and what clients may not send.

use std::time::Duration;

use portcullis_testkit::raw::Raw;
use portcullis_testkit::{Go as _, run};
use serde_json::json;
use tokio::time::Instant;

use crate::stage::{Stage, shared};

const IDENTITY: &[&str] = &[
    "X-Authentik-Username",
    "X-Authentik-Groups",
    "X-Authentik-Entitlements",
    "X-Authentik-Email",
    "X-Authentik-Name",
    "X-Authentik-Uid",
    "X-Authentik-Jwt",
    "X-Authentik-Meta-Jwks",
    "X-Authentik-Meta-Outpost",
    "X-Authentik-Meta-Provider",
    "X-Authentik-Meta-App",
    "X-Authentik-Meta-Version",
];

/// PX-200, PX-201: every authenticated request carries all twelve identity headers, in title case on the wire.
#[test]
fn px_200_all_identity_headers_are_sent_in_title_case() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let group = stage.site.api.group("editors", json!({}), &[&stage.person]).await;
        let group = stage.site.api.get(&format!("core/groups/{group}/")).await;
        let cookie = stage.login_cookie().await;
        for request in
            [stage.get("/a").header("authorization", stage.basic()), stage.get("/b").header("cookie", cookie)]
        {
            assert_eq!(request.go().await.status, 200);
            let seen = stage.recorder.last();
            for name in IDENTITY {
                assert_eq!(seen.names().iter().filter(|other| *other == name).count(), 1, "{name}: {seen:?}");
            }
            let one = |name: &str| seen.one(name).unwrap();
            assert_eq!(one("x-authentik-username"), stage.person.username);
            assert_eq!(one("x-authentik-email"), stage.person.email);
            assert_eq!(one("x-authentik-name"), format!("Name of {}", stage.person.username));
            assert_eq!(one("x-authentik-groups"), group["name"].as_str().unwrap());
            assert_eq!(one("x-authentik-entitlements"), "");
            assert_eq!(one("x-authentik-meta-app"), stage.app.slug);
            assert_eq!(one("x-authentik-meta-provider"), format!("Provider of {}", stage.app.slug));
            assert_eq!(one("x-authentik-meta-outpost"), stage.site.outpost_name());
            let jwks = format!("{}/application/o/{}/jwks/", stage.site.base(), stage.app.slug);
            assert_eq!(one("x-authentik-meta-jwks"), jwks);
            assert!(one("x-authentik-meta-version").starts_with("goauthentik.io/outpost/"));
            assert!(!one("x-authentik-uid").is_empty());
        }
    });
}

/// PX-200, CO-151, CO-152: applications are told the entitlements that users hold for them, whichever way they come, and
/// at the next request no longer what they lost.
#[test]
fn co_152_entitlements_reach_the_application() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let api = &stage.site.api;
        let mut bindings = Vec::new();
        for name in ["write", "read"] {
            let made = json!({"name": name, "app": stage.app.uuid});
            let target = api.post("core/application_entitlements/", made).await["pbm_uuid"].clone();
            let binding = json!({"target": target, "order": 0, "user": stage.person.pk});
            bindings.push(api.post("policies/bindings/", binding).await["pk"].as_str().unwrap().to_owned());
        }
        let told = async |cookie: &str| {
            assert_eq!(stage.get("/a").header("authorization", stage.basic()).go().await.status, 200);
            let by_basic = stage.recorder.last().one("x-authentik-entitlements").unwrap().to_owned();
            assert_eq!(stage.get("/b").header("cookie", cookie).go().await.status, 200);
            assert_eq!(stage.recorder.last().one("x-authentik-entitlements").unwrap(), by_basic);
            by_basic
        };
        let cookie = stage.login_cookie().await;
        assert_eq!(told(&cookie).await, "read|write");
        api.delete(&format!("policies/bindings/{}/", bindings[0])).await;
        let (began, promised) = (Instant::now(), Duration::from_secs(1));
        while stage.get("/b").header("cookie", &cookie).go().await.status == 200 {
            // PX-198: at the next request, or within a second at a stand-alone outpost.
            assert!(stage.site.has_outpost() && began.elapsed() < promised);
        }
        let cookie = stage.login_cookie().await;
        assert_eq!(told(&cookie).await, "read");
    });
}

/// PX-202: names beyond ASCII arrive as their UTF-8 bytes.
#[test]
fn px_202_values_are_raw_utf8() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let name = json!({"name": "Zoë Müller 王"});
        stage.site.api.patch(&format!("core/users/{}/", stage.person.pk), name).await;
        assert_eq!(stage.get("/").header("authorization", stage.basic()).go().await.status, 200);
        let seen = stage.recorder.last();
        let (_, value) = seen.fields.iter().find(|(key, _)| key == "X-Authentik-Name").unwrap();
        assert_eq!(value, "Zoë Müller 王".as_bytes());
    });
}

/// PX-205, PX-574: a group whose name holds `|` is left out, so that it cannot pretend to be others.
#[test]
fn px_205_a_group_name_with_a_pipe_is_left_out() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let good = portcullis_testkit::api::fresh("good");
        for name in [good.clone(), portcullis_testkit::api::fresh("staff|administrators")] {
            stage.site.api.post("core/groups/", json!({"name": name, "users": [stage.person.pk]})).await;
        }
        assert_eq!(stage.get("/").header("authorization", stage.basic()).go().await.status, 200);
        assert_eq!(stage.recorder.last().one("x-authentik-groups"), Some(good));
    });
}

/// PX-206, PX-207, PX-414, PX-575, PX-576, PX-582: the JWT for the application is signed with a published key, carries
/// nobody's attributes, and is worthless as a bearer token.
#[test]
fn px_206_the_assertion_is_for_the_application_alone() {
    run(async {
        let site = shared().await;
        let person = site.api.person_with("carol", json!({"other_secret": "of-another-application"})).await;
        let stage = Stage::with(site, person, json!({})).await;
        assert_eq!(stage.get("/").header("authorization", stage.basic()).go().await.status, 200);
        let jwt = stage.recorder.last().one("x-authentik-jwt").unwrap();
        let parts: Vec<serde_json::Value> = jwt.split('.').take(2).map(decode).collect();
        assert_eq!(parts[0]["alg"], "RS256");
        assert!(!parts[1].to_string().contains("of-another-application"), "{}", parts[1]);
        let jwks = stage.recorder.last().one("x-authentik-meta-jwks").unwrap();
        let jwks = portcullis_testkit::http().get(jwks).go().await.json();
        assert!(jwks["keys"].as_array().unwrap().iter().any(|key| key["kid"] == parts[0]["kid"]), "{jwks}");
        let replay = stage.get_as_stranger("/").header("authorization", format!("Bearer {jwt}")).go().await;
        assert_eq!(replay.status, 401);
    });
}

fn decode(part: &str) -> serde_json::Value {
    use base64::Engine as _;
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// PX-220, PX-560, PX-578: identity headers of the client never arrive, whatever their spelling, signed in or not.
#[test]
fn px_220_identity_headers_of_the_client_are_removed() {
    run(async {
        let stage = Stage::new(json!({"skip_path_regex": "^/public/"})).await;
        let spellings = [
            "X-authentik-username",
            "X_authentik_username",
            "x-AUTHENTIK_groups",
            "X-Authentik.Email",
            "X-authentik-other",
        ];
        for path in ["/public/page", "/private/page"] {
            let mut raw = Raw::connect(stage.site.gate()).await;
            let mut request =
                format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", stage.app.authority());
            for name in spellings {
                request.push_str(&format!("{name}: forged\r\n"));
            }
            if path.starts_with("/private") {
                request.push_str(&format!("Authorization: {}\r\n", stage.basic()));
            }
            raw.send(request + "\r\n").await;
            assert!(raw.head().await.starts_with("HTTP/1.1 200"));
            assert!(!stage.recorder.last().contains("forged"), "{:?}", stage.recorder.last());
        }
    });
}

/// PX-221, PX-579: a header that another user gets from attributes cannot be sent by a user who lacks it.
#[test]
fn px_221_additional_headers_of_others_are_removed() {
    run(async {
        let stage = Stage::new(json!({"skip_path_regex": "^/public/"})).await;
        let rich = json!({"additionalHeaders": {"X-Clearance": "top"}});
        let rich = stage.site.api.person_with("rich", rich).await;
        let (_, key) = stage.site.api.app_password(&rich).await;
        let first = stage.get("/").header("authorization", crate::stage::basic(&rich.username, &key));
        assert_eq!(first.go().await.status, 200);
        assert_eq!(stage.recorder.last().all("x-clearance"), ["top"]);
        for request in [stage.get("/").header("authorization", stage.basic()), stage.get("/public/")] {
            let reply = request.header("x-clearance", "forged").header("x_clearance", "forged").go().await;
            assert_eq!(reply.status, 200);
            assert!(!stage.recorder.last().contains("forged"));
        }
    });
}

/// PX-221, PX-010: the operator can name further headers that never arrive; other underscores pass.
#[test]
fn px_221_configured_names_are_removed_and_other_underscores_pass() {
    run(async {
        let options = portcullis_testkit::Site::options().env("PORTCULLIS_PROXY__STRIP_REQUEST_HEADERS", "X-Internal");
        let site = options.start().await;
        let stage = Stage::on(&site, json!({})).await;
        let request = stage.get("/").header("authorization", stage.basic());
        let request = request.header("x-internal", "forged").header("x_internal", "forged").header("my_own", "passes");
        assert_eq!(request.go().await.status, 200);
        let seen = stage.recorder.last();
        assert!(!seen.contains("forged"), "{seen:?}");
        assert_eq!(seen.all("my_own"), ["passes"]);
    });
}

/// PX-222, PX-577: a client cannot have our headers removed by naming them in `Connection`.
#[test]
fn px_222_connection_cannot_name_our_headers_away() {
    run(async {
        let stage = Stage::new(portcullis_testkit::site::basic_upstream()).await;
        let mut raw = Raw::connect(stage.site.gate()).await;
        raw.send(format!(
            "GET / HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nX-Mine: hop\r\nKeep-Alive: 5\r\n\
             Connection: close, X-Authentik-Username, X-Authentik-Groups, Authorization, X-Forwarded-Host, X-Mine\r\n\r\n",
            stage.app.authority(),
            stage.basic()
        ))
        .await;
        assert!(raw.head().await.starts_with("HTTP/1.1 200"));
        let seen = stage.recorder.last();
        assert_eq!(seen.one("x-authentik-username").as_ref(), Some(&stage.person.username));
        assert_eq!(seen.all("x-authentik-groups").len(), 1);
        assert_eq!(seen.all("x-forwarded-host"), [stage.app.authority()]);
        assert_eq!(seen.all("authorization"), [crate::stage::basic(&stage.person.email, "")]);
        assert_eq!(seen.all("x-mine"), [""; 0]);
        assert_eq!(seen.all("keep-alive"), [""; 0]);
    });
}

/// PX-178, PX-511: session cookies of ours never reach an application, and it cannot set them.
#[test]
fn px_178_our_cookies_stay_ours() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let cookie = stage.login_cookie().await;
        let jar = format!("mine=1; {cookie}; authentik_proxy_00000000=x; other=2");
        let reply = stage.get("/hop").header("cookie", jar).go().await;
        assert_eq!(reply.status, 200);
        assert_eq!(stage.recorder.last().all("cookie"), ["mine=1; other=2"]);
        assert_eq!(reply.cookie("authentik_proxy_00000000"), None);
        assert_eq!(reply.cookie("mine").as_deref(), Some("1"));
    });
}
