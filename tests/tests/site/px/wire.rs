//! HTTP/1.1 as attackers write it, and what passes through untouched.

use portcullis_testkit::raw::{self, Raw};
use portcullis_testkit::{Go as _, run};
use serde_json::json;

use crate::stage::Stage;

/// PX-223: requests whose framing two parties could read differently are refused, and the connection is closed.
#[test]
fn px_223_ambiguous_framing_is_refused() {
    run(async {
        let stage = Stage::new(json!({"skip_path_regex": ".*"})).await;
        let host = stage.app.authority();
        let cases = [
            format!(
                "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            format!(
                "POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"
            ),
            format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
            format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: +5\r\n\r\nhello"),
            format!("POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
            format!("GET / HTTP/1.1\nHost: {host}\n\n"),
            format!("GET / HTTP/1.1\r\nHost: {host}\r\nX-A: 1\nX-B: 2\r\n\r\n"),
            format!("GET / HTTP/1.1\r\nHost: {host}\r\nX-A: 1\rX-B: 2\r\n\r\n"),
            format!("GET / HTTP/1.1\r\nHost: {host}\r\nX A: 1\r\n\r\n"),
            format!("GET / HTTP/1.1\r\nHost: {host}\r\nX-A : 1\r\n\r\n"),
            format!("GET / HTTP/1.1\r\nHost: {host}\r\n folded: 1\r\n\r\n"),
            format!("GET / HTTP/1.1\r\nHost: {host}\r\nX-A: \0\r\n\r\n"),
        ];
        for case in cases {
            let answer = raw::exchange(stage.site.gate(), &case).await;
            assert_eq!(raw::status(&answer), 400, "{case:?}: {answer}");
        }
        assert_eq!(stage.recorder.count(), 0, "{:?}", stage.recorder.seen());
    });
}

/// PX-287, PX-593: TRACE and CONNECT are refused; other methods pass.
#[test]
fn px_287_trace_and_connect_are_refused() {
    run(async {
        let stage = Stage::new(json!({"skip_path_regex": ".*"})).await;
        for method in ["TRACE", "CONNECT"] {
            let target = if method == "CONNECT" { stage.app.authority() } else { "/" };
            let request =
                format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", stage.app.authority());
            let answer = raw::exchange(stage.site.gate(), request).await;
            assert_eq!(raw::status(&answer), 405, "{method}: {answer}");
        }
        for method in ["PROPFIND", "MKCOL", "REPORT", "PATCH", "DELETE", "OPTIONS"] {
            assert_eq!(stage.request(method, "/").go().await.status, 200, "{method}");
            assert_eq!(stage.recorder.last().method, method);
        }
    });
}

/// PX-275, PX-591: the request target goes upstream byte for byte.
#[test]
fn px_275_the_target_is_forwarded_byte_for_byte() {
    run(async {
        let stage = Stage::new(json!({})).await;
        for target in ["//a", "/a/../b", "/a%2Fb", "/a%2fb", "/%C3%A4?q=%20+&x", "/a;b=c?", "/?", "/a//b/", "/a|b\"c"] {
            let answer = raw::exchange(
                stage.site.gate(),
                format!(
                    "GET {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nConnection: close\r\n\r\n",
                    stage.app.authority(),
                    stage.basic()
                ),
            )
            .await;
            assert_eq!(raw::status(&answer), 200, "{target}: {answer}");
            assert_eq!(stage.recorder.last().target, target);
        }
    });
}

/// PX-275, PX-585: the path of the internal host comes first, and dot segments cannot leave it.
#[test]
fn px_275_the_base_path_cannot_be_left() {
    run(async {
        let site = crate::stage::shared().await;
        let recorder = portcullis_testkit::Recorder::start().await;
        let app = site.app_before(&format!("{}/base/", recorder.url()), json!({"skip_path_regex": ".*"})).await;
        let person = site.api.person("alice").await;
        let (_, key) = site.api.app_password(&person).await;
        let get = async |target: &str| {
            let authorization = crate::stage::basic(&person.username, &key);
            let host = app.authority();
            let request = format!(
                "GET {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {authorization}\r\nConnection: close\r\n\r\n"
            );
            raw::status(&raw::exchange(site.gate(), request).await)
        };
        assert_eq!(get("/page?x=1").await, 200);
        assert_eq!(recorder.last().target, "/base/page?x=1");
        for target in ["/../secret", "/a/../../secret", "/%2e%2e/secret", "/.%2E/secret", "/a/./b"] {
            assert_eq!(get(target).await, 400, "{target}");
        }
        assert_eq!(recorder.count(), 1);
    });
}

/// PX-283: a client that does not finish its head is cut off.
#[test]
fn px_283_a_slow_head_is_cut_off() {
    run(async {
        let site =
            portcullis_testkit::Site::options().env("PORTCULLIS_WEB__TIMEOUT_HTTP_READ_HEADER", "1s").start().await;
        let mut raw = Raw::connect(site.gate()).await;
        raw.send("GET / HTTP/1.1\r\nHost: loc").await;
        let answer = String::from_utf8(raw.rest().await).unwrap();
        assert!(answer.is_empty() || raw::status(&answer) == 408 || raw::status(&answer) == 400, "{answer}");
    });
}

/// PX-009: a head beyond every limit is refused and harms nobody else.
#[test]
fn px_009_endless_heads_are_refused() {
    run(async {
        let stage = Stage::new(json!({"skip_path_regex": ".*"})).await;
        let mut raw = Raw::connect(stage.site.gate()).await;
        let line = format!("X-Filler: {}\r\n", "x".repeat(1000));
        use tokio::io::AsyncWriteExt as _;
        let head = format!("GET / HTTP/1.1\r\nHost: {}\r\n{}", stage.app.authority(), line.repeat(2000));
        drop(raw.stream.write_all(head.as_bytes()).await);
        let answer = String::from_utf8_lossy(&raw.rest().await).into_owned();
        assert!(answer.is_empty() || [400, 431].contains(&raw::status(&answer)), "{answer}");
        assert_eq!(stage.get("/").go().await.status, 200);
        assert_eq!(stage.recorder.count(), 1);
    });
}
