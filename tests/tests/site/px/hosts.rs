//! Which application answers for a host.

use portcullis_testkit::raw;
use portcullis_testkit::{Go as _, Recorder, Site, run};
use serde_json::json;

use crate::stage::{Stage, shared};

async fn get(port: u16, host: &str, path: &str) -> String {
    raw::exchange(port, format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await
}

/// PX-050, PX-595: hosts are compared without regard to case and a final dot.
#[test]
fn px_050_hosts_are_normalised() {
    run(async {
        let stage = Stage::new(json!({"skip_path_regex": "^/public$"})).await;
        let (name, port) = stage.app.authority().split_once(':').unwrap();
        for host in [stage.app.authority().to_owned(), stage.app.authority().to_uppercase(), format!("{name}.:{port}")]
        {
            let answer = get(stage.site.gate(), &host, "/public").await;
            assert_eq!(raw::status(&answer), 200, "{host}: {answer}");
        }
    });
}

/// PX-052: a host name that only one provider has finds it whatever the port.
#[test]
fn px_052_a_unique_host_name_matches_without_its_port() {
    run(async {
        let stage = Stage::new(json!({"skip_path_regex": "^/public$"})).await;
        let name = stage.app.authority().split(':').next().unwrap();
        let answer = get(stage.site.gate(), &format!("{name}:1"), "/public").await;
        assert_eq!(raw::status(&answer), 200, "{answer}");
    });
}

/// PX-055: of two providers with the same external host the older answers.
#[test]
fn px_055_the_lowest_pk_wins() {
    run(async {
        let site = shared().await;
        let first = Stage::new(json!({"skip_path_regex": "^/public$"})).await;
        let second = Recorder::start().await;
        site.api.app(&first.app.external, &second.url(), &json!({"skip_path_regex": "^/public$"})).await;
        assert_eq!(first.get("/public").go().await.status, 200);
        assert_eq!((first.recorder.count(), second.count()), (1, 0));
    });
}

/// PX-058: hosts that no application has belong to the core, and `ping` answers on every host.
#[test]
fn px_058_other_hosts_belong_to_the_core() {
    run(async {
        let site = shared().await;
        for host in [format!("localhost:{}", site.port), "unknown.example".to_owned()] {
            let live = get(site.port, &host, "/-/health/live/").await;
            assert_eq!(raw::status(&live), 200, "{host}");
            let ping = get(site.port, &host, "/outpost.goauthentik.io/ping").await;
            assert_eq!(raw::status(&ping), 204, "{host}");
        }
        let stage = Stage::new(json!({})).await;
        let api = get(site.port, stage.app.authority(), "/api/v3/root/config/").await;
        assert_eq!(raw::status(&api), 302, "on an application's host the core does not answer");
    });
}

/// PX-044, PX-223: a request with no host, two hosts, or another authority in its target is refused.
#[test]
fn px_044_conflicting_hosts_are_refused() {
    run(async {
        let stage = Stage::new(json!({"skip_path_regex": ".*"})).await;
        let (port, host) = (stage.site.gate(), stage.app.authority());
        for request in [
            "GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(),
            format!("GET / HTTP/1.1\r\nHost: {host}\r\nHost: evil.example\r\nConnection: close\r\n\r\n"),
            format!("GET http://evil.example/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
            format!("GET / HTTP/1.1\r\nHost: user@{host}\r\nConnection: close\r\n\r\n"),
            format!("GET / HTTP/1.1\r\nHost: {host}/path\r\nConnection: close\r\n\r\n"),
            format!(
                "GET / HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-Host: {host}, evil.example\r\nConnection: close\r\n\r\n"
            ),
        ] {
            let answer = raw::exchange(port, &request).await;
            assert_eq!(raw::status(&answer), 400, "{request:?}: {answer}");
        }
        assert_eq!(stage.recorder.count(), 0);
    });
}

/// PX-040, PX-042, PX-278, PX-586: forwarded headers of strangers are replaced; those of a trusted proxy are extended.
#[test]
fn px_278_forwarded_headers() {
    run(async {
        let stranger = Site::options().env("PORTCULLIS_LISTEN__TRUSTED_PROXY_CIDRS", "192.0.2.0/24").start().await;
        let stage = Stage::on(&stranger, json!({"skip_path_regex": ".*"})).await;
        let forged = |request: reqwest::RequestBuilder| {
            request
                .header("x-forwarded-proto", "https")
                .header("x-real-ip", "203.0.113.9")
                .header("forwarded", "for=203.0.113.9")
                .header("x-forwarded-port", "443")
                .header("x-original-url", "http://evil.example/")
        };
        assert_eq!(forged(stage.get("/a")).go().await.status, 200);
        let seen = stage.recorder.last();
        assert_eq!(seen.all("x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(seen.all("x-forwarded-proto"), ["http"]);
        assert_eq!(seen.all("x-forwarded-host"), [stage.app.authority()]);
        for name in ["x-real-ip", "forwarded", "x-forwarded-port", "x-original-url"] {
            assert_eq!(seen.all(name), [""; 0], "{name}");
        }
        let trusting = Stage::new(json!({"skip_path_regex": ".*"})).await;
        assert_eq!(forged(trusting.get("/b")).go().await.status, 200);
        let seen = trusting.recorder.last();
        assert_eq!(seen.all("x-forwarded-for"), [format!("{}, 127.0.0.1", trusting.address)]);
        assert_eq!(seen.all("x-forwarded-proto"), ["https"]);
        assert_eq!(seen.all("x-real-ip"), ["203.0.113.9"]);
    });
}

/// PX-233, PX-562, PX-561: only a path in normal form is public, and an empty line in the list opens nothing.
#[test]
fn px_233_tricks_with_paths_open_nothing() {
    run(async {
        let stage = Stage::new(json!({"skip_path_regex": "\r\n^/public/\r\n\r\n"})).await;
        let (port, host) = (stage.site.gate(), stage.app.authority());
        assert_eq!(raw::status(&get(port, host, "/public/page").await), 200);
        for path in [
            "/",
            "/private",
            "/public/../private",
            "/public/%2e%2e/private",
            "/public/..%2fprivate",
            "/public/%2F../private",
            "/public//private",
            "/public/./private",
            "/public/..;x/private",
            "/public/%5c..%5cprivate",
            "/public/%00",
            "/private?x=/public/",
            "//public/page",
        ] {
            let answer = get(port, host, path).await;
            assert!([302, 400, 401].contains(&raw::status(&answer)), "{path}: {answer}");
        }
        assert_eq!(stage.recorder.count(), 1);
    });
}
