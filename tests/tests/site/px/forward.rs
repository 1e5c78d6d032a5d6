//! Carrying requests and answers.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use portcullis_testkit::raw::{self, Raw};
use portcullis_testkit::{Go as _, Site, api, run};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::stage::Stage;

async fn open() -> Stage<'static> {
    Stage::new(json!({"skip_path_regex": "^/public/"})).await
}

fn head(stage: &Stage<'_>, request: &str, fields: &str) -> String {
    let (host, authorization) = (stage.app.authority(), stage.basic());
    format!("{request} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {authorization}\r\n{fields}\r\n")
}

/// PX-280: WebSockets are tunnelled both ways, and the handshake is authenticated like any request.
#[test]
fn px_280_websocket_echo() {
    run(async {
        let stage = open().await;
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", stage.site.gate())).await.unwrap();
        let request = tokio_tungstenite::tungstenite::handshake::client::Request::builder()
            .uri(format!("ws://{}/chat/ws", stage.app.authority()))
            .header("host", stage.app.authority())
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("authorization", stage.basic())
            .body(())
            .unwrap();
        let (mut socket, answer) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        assert_eq!(answer.status(), 101);
        for size in [1, 1000, 100_000] {
            let text = "x".repeat(size);
            socket.send(Message::text(text.clone())).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap().into_text().unwrap().as_str(), text);
        }
        let seen = stage.recorder.last();
        assert_eq!(seen.one("x-authentik-username").as_ref(), Some(&stage.person.username));
        assert_eq!(seen.one("authorization"), None);
        socket.close(None).await.unwrap();
        stage.recorder.departure("/chat/ws").await;
        let anonymous = stage.get("/chat/ws").header("connection", "upgrade").header("upgrade", "websocket");
        assert_eq!(anonymous.go().await.status, 401);
    });
}

/// PX-280: any other protocol is tunnelled as well, early bytes and half-close included.
#[test]
fn px_280_other_upgrades_and_half_close() {
    run(async {
        let stage = open().await;
        let mut raw = Raw::connect(stage.site.gate()).await;
        raw.send(head(&stage, "GET /tunnel", "Connection: Upgrade\r\nUpgrade: echo/1\r\n")).await;
        let answer = raw.head().await;
        assert_eq!(raw::status(&answer), 101, "{answer}");
        assert_eq!(raw::fields(&answer, "upgrade"), ["echo/1"]);
        raw.send("hello").await;
        assert_eq!(raw.exactly(5).await, b"hello");
        use tokio::io::AsyncWriteExt as _;
        raw.stream.shutdown().await.unwrap();
        assert_eq!(raw.rest().await, b"bye", "after our half-close the other half still speaks");
    });
}

/// PX-197, PX-519: a WebSocket ends within five seconds after its session was ended.
#[test]
fn px_197_an_ended_session_closes_its_websocket() {
    run(async {
        let stage = open().await;
        let cookie = stage.login_cookie().await;
        let mut raw = Raw::connect(stage.site.gate()).await;
        let host = stage.app.authority();
        raw.send(format!(
            "GET /s/tunnel HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\n"
        ))
        .await;
        assert_eq!(raw::status(&raw.head().await), 101);
        let path = format!("core/users/{}/", stage.person.pk);
        stage.site.api.patch(&path, json!({"is_active": false})).await;
        let ended = tokio::time::timeout(Duration::from_secs(6), raw.rest()).await;
        assert!(ended.is_ok(), "still open");
    });
}

/// PX-281: a server-sent event arrives before the answer is over.
#[test]
fn px_281_events_arrive_as_they_are_sent() {
    run(async {
        let stage = open().await;
        let mut raw = Raw::connect(stage.site.gate()).await;
        raw.send(head(&stage, "GET /events/stream", "")).await;
        assert_eq!(raw::status(&raw.head().await), 200);
        assert!(raw.read_to("data: one\n\n").await.contains("one"));
        stage.recorder.release();
        assert!(raw.read_to("data: two\n\n").await.contains("two"));
        raw.read_to("0\r\n\r\n").await;
    });
}

/// PX-281, PX-083: a request body reaches the application while it is being sent, and its echo comes back meanwhile.
#[test]
fn px_281_bodies_stream_both_ways_at_once() {
    run(async {
        let stage = open().await;
        let mut raw = Raw::connect(stage.site.gate()).await;
        raw.send(head(&stage, "POST /both/echo", "Transfer-Encoding: chunked\r\n")).await;
        assert_eq!(raw::status(&raw.head().await), 200);
        for turn in 0..5 {
            let text = format!("part number {turn}");
            raw.send(format!("{:x}\r\n{text}\r\n", text.len())).await;
            raw.read_to(&text).await;
        }
        raw.send("0\r\n\r\n").await;
        raw.read_to("0\r\n\r\n").await;
    });
}

/// PX-281: trailers pass in both directions, except those that would carry identity or credentials.
#[test]
fn px_281_trailers_pass() {
    run(async {
        let stage = open().await;
        let mut raw = Raw::connect(stage.site.gate()).await;
        raw.send(head(&stage, "GET /with/trailers", "TE: trailers\r\n")).await;
        assert_eq!(raw::status(&raw.head().await), 200);
        let body = raw.read_to("0\r\n").await + &raw.read_to("\r\n\r\n").await;
        assert!(body.to_ascii_lowercase().contains("x-checksum: 42"), "{body}");
        let mut raw = Raw::connect(stage.site.gate()).await;
        let fields = "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\nConnection: close\r\n";
        raw.send(head(&stage, "POST /up", fields)).await;
        raw.send("4\r\nbody\r\n0\r\nX-Sum: 7\r\n\r\n").await;
        assert_eq!(raw::status(&raw.head().await), 200);
        let seen = stage.recorder.last();
        assert!(
            seen.trailers.iter().any(|(name, value)| name.eq_ignore_ascii_case("x-sum") && value == b"7"),
            "{seen:?}"
        );
        for forged in ["X-Authentik-Username: forged", "Authorization: Basic Zm9yZ2Vk", "X_Authentik_Groups: forged"] {
            let mut raw = Raw::connect(stage.site.gate()).await;
            raw.send(head(&stage, "POST /forged", fields)).await;
            raw.send(format!("4\r\nbody\r\n0\r\n{forged}\r\n\r\n")).await;
            let answer = String::from_utf8_lossy(&raw.rest().await).into_owned();
            assert!([200, 400].contains(&raw::status(&answer)), "{answer}");
        }
        let seen = stage.recorder.seen();
        assert!(
            seen.iter().all(|seen| !seen.contains("forged") && !seen.contains("Zm9yZ2Vk") || seen.target == "/forged")
        );
        for seen in seen {
            assert!(seen.trailers.iter().all(|(name, _)| name.eq_ignore_ascii_case("x-sum")), "{seen:?}");
        }
    });
}

/// PX-281: `Expect: 100-continue` works, and the body is asked for only after the decision.
#[test]
fn px_281_expect_continue() {
    run(async {
        let stage = open().await;
        let mut raw = Raw::connect(stage.site.gate()).await;
        raw.send(head(&stage, "POST /continued", "Content-Length: 4\r\nExpect: 100-continue\r\n")).await;
        assert_eq!(raw::status(&raw.head().await), 100);
        raw.send("body").await;
        assert_eq!(raw::status(&raw.head().await), 200);
        assert_eq!(stage.recorder.last().body, b"body");
        let mut raw = Raw::connect(stage.site.gate()).await;
        let host = stage.app.authority();
        let anonymous = format!(
            "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\nExpect: 100-continue\r\nAccept: text/html\r\n\r\n"
        );
        raw.send(anonymous).await;
        assert_eq!(raw::status(&raw.head().await), 302, "PX-083: refused before a byte of the body");
    });
}

/// PX-282, PX-587: when the client goes away, the application sees it within a second.
#[test]
fn px_282_the_application_sees_the_client_leave() {
    run(async {
        let stage = open().await;
        for target in ["/a/hold", "/a/endless"] {
            let mut raw = Raw::connect(stage.site.gate()).await;
            raw.send(head(&stage, &format!("GET {target}"), "")).await;
            stage.recorder.arrival(target).await;
            if target.ends_with("endless") {
                raw.head().await;
            }
            drop(raw);
            let seen = tokio::time::timeout(Duration::from_secs(1), stage.recorder.departure(target)).await;
            assert!(seen.is_ok(), "{target}");
        }
    });
}

/// PX-288: an upstream that dies in the middle of its answer cuts the client's connection, so that it shows.
#[test]
fn px_288_a_truncated_answer_is_visible() {
    run(async {
        let stage = open().await;
        assert!(stage.get("/die").header("authorization", stage.basic()).try_go().await.is_none());
    });
}

/// PX-288, PX-290, PX-289, PX-310: an unreachable or failing application is a 502 page, or JSON, without details.
#[test]
fn px_288_bad_gateway() {
    run(async {
        let stage = open().await;
        let site = stage.site;
        let closed = portcullis_testkit::process::free_port();
        let dead = site.app_before(&format!("http://127.0.0.1:{closed}"), json!({"skip_path_regex": ".*"})).await;
        for request in
            [stage.get("/drop").header("authorization", stage.basic()), portcullis_testkit::http().get(dead.url("/"))]
        {
            let json = request.try_clone().unwrap().header("accept", "application/json").go().await;
            assert_eq!(json.status, 502);
            assert_eq!(json.json(), json!({"error": "bad_gateway"}));
            let page = request.go().await;
            assert_eq!(page.status, 502);
            assert!(page.header("content-type").unwrap().starts_with("text/html"));
            assert!(page.text().contains("lang=") && !page.text().contains(&closed.to_string()), "{}", page.text());
            assert!(page.header("cache-control").unwrap().contains("no-store"));
        }
    });
}

/// PX-281, PX-588: a hundred megabytes go up and down in bounded memory.
#[test]
fn px_281_large_bodies_in_bounded_memory() {
    run(async {
        const SIZE: usize = 100 * 1024 * 1024;
        let site = Site::start().await;
        let stage = Stage::on(&site, json!({})).await;
        assert_eq!(stage.get("/").header("authorization", stage.basic()).go().await.status, 200);
        let before = site.process().resident_kib();
        let block = bytes::Bytes::from(vec![b'u'; 64 * 1024]);
        let body =
            futures_util::stream::iter((0..SIZE / block.len()).map(move |_| Ok::<_, std::io::Error>(block.clone())));
        let upload = stage.request("PUT", "/up").header("authorization", stage.basic());
        assert_eq!(upload.body(reqwest::Body::wrap_stream(body)).go().await.status, 200);
        assert_eq!(stage.recorder.last().length, SIZE as u64);
        let download = stage.get(&format!("/size/{SIZE}")).header("authorization", stage.basic());
        let mut answer = download.send().await.unwrap();
        let mut length = 0;
        while let Some(chunk) = answer.chunk().await.unwrap() {
            length += chunk.len();
        }
        assert_eq!(length, SIZE);
        let growth = site.process().resident_kib().saturating_sub(before);
        assert!(growth < 24 * 1024, "{growth} KiB more");
    });
}

/// PX-281: a slow reader holds the application back instead of filling the proxy.
#[test]
fn px_281_back_pressure() {
    run(async {
        let site = Site::start().await;
        let stage = Stage::on(&site, json!({})).await;
        assert_eq!(stage.get("/").header("authorization", stage.basic()).go().await.status, 200);
        let before = site.process().resident_kib();
        let mut raw = Raw::connect(site.gate()).await;
        raw.send(head(&stage, "GET /size/500000000", "")).await;
        raw.head().await;
        raw.exactly(1_000_000).await;
        let growth = site.process().resident_kib().saturating_sub(before);
        assert!(growth < 24 * 1024, "{growth} KiB more");
    });
}

/// PX-286, PX-590, PX-292, PX-291: encodings, status and headers are the application's; hop-by-hop ones end here.
#[test]
fn px_292_answers_pass_as_they_are() {
    run(async {
        let stage = open().await;
        for status in [201, 204, 206, 301, 304, 404, 418, 500, 503] {
            let reply = stage.get(&format!("/status/{status}")).header("authorization", stage.basic()).go().await;
            assert_eq!(reply.status, status);
        }
        let reply = stage.get("/hop").header("authorization", stage.basic()).go().await;
        for name in ["x-internal", "keep-alive", "content-encoding"] {
            assert_eq!(reply.header(name), None, "{name}");
        }
        assert_eq!(reply.header("x-kept").as_deref(), Some("yes"));
        assert_eq!(reply.header("x-powered-by").as_deref(), Some("goauthentik.io"));
        let request =
            stage.get("/plain").header("authorization", stage.basic()).header("accept-encoding", "gzip, br;q=0.5");
        assert_eq!(request.go().await.text(), "plain");
        assert_eq!(stage.recorder.last().all("accept-encoding"), ["gzip, br;q=0.5"]);
        assert_eq!(stage.get("/").header("authorization", stage.basic()).go().await.status, 200);
        assert_eq!(stage.recorder.last().all("accept-encoding"), [""; 0]);
    });
}

/// PX-277: the application is addressed by the name that the client used.
#[test]
fn px_277_host_is_the_clients() {
    run(async {
        let stage = open().await;
        assert_eq!(stage.get("/").header("authorization", stage.basic()).go().await.status, 200);
        assert_eq!(stage.recorder.last().all("host"), [stage.app.authority()]);
    });
}

/// PX-284: connections to the application are used again.
#[test]
fn px_284_upstream_connections_are_pooled() {
    run(async {
        let stage = open().await;
        for _ in 0..50 {
            assert_eq!(stage.get("/").header("authorization", stage.basic()).go().await.status, 200);
        }
        assert!(stage.recorder.connections() <= 2, "{} connections", stage.recorder.connections());
    });
}

/// PX-284, PX-589: connections to the application survive a change of the configuration that is not about them.
#[test]
fn px_589_a_refresh_keeps_connections() {
    run(async {
        let stage = open().await;
        let ask = async |body: &'static str| {
            let request = stage.request(if body.is_empty() { "GET" } else { "POST" }, "/").body(body);
            assert_eq!(request.header("authorization", stage.basic()).go().await.status, 200);
        };
        // Requests with and without a body have pools of their own.
        ask("").await;
        ask("body").await;
        let before = stage.recorder.connections();
        for number in 0..5 {
            let path = format!("providers/proxy/{}/", stage.app.provider);
            let change = json!({"name": api::fresh("renamed"), "skip_path_regex": format!("^/open-{number}$")});
            stage.site.api.patch(&path, change).await;
            ask("").await;
            ask("body").await;
        }
        assert_eq!(stage.recorder.connections(), before);
    });
}
