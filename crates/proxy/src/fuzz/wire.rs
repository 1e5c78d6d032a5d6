//! Targets that are asked over a connection, or by another proxy.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode, Version};
use portcullis_core::entropy::SystemEntropy;
use portcullis_core::outpost::Mode;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::Target;
#[cfg(test)]
use super::engine::tried;
use crate::guard::Limits;
use crate::listener::{Server, Settings};
use crate::origin::{Trust, starts_alike};
use crate::plane::tests::site::{Seen, Site, get};

/// The only credentials in the corpus that are good for something: ada's.
const CREDENTIALS: &[u8] = b"YWRhOnNlY3JldA==";

/// What is sent behind every input, so that a connection that is still in step comes to its end.
const LAST: &[u8] = b"GET /public/last HTTP/1.1\r\nHost: wiki.example\r\nConnection: close\r\n\r\n";

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

pub(super) fn request() -> Target {
    let runtime = runtime();
    let site = runtime.block_on(Site::new());
    Box::new(move |input| {
        let answers = runtime.block_on(exchange(&site, input));
        let seen = site.take_seen();
        site.core.memory().calls.clear();
        let shown = input.escape_ascii();
        for text in answers.split("HTTP/1.1 ").skip(1) {
            assert!(!text.starts_with('5'), "{shown}: {text}");
        }
        let named = input.windows(CREDENTIALS.len()).any(|piece| piece == CREDENTIALS);
        seen.iter().for_each(|seen| judge(seen, named, &shown.to_string()));
        assert!(answers.matches("HTTP/1.1 200").count() <= seen.len(), "{shown}: {answers}");
        !seen.is_empty()
    })
}

/// PX-223, PX-233, PX-009: of any bytes on a connection, nothing reaches a protected path without credentials, nothing
/// reaches the application under a forged identity, and no answer is a server error.
#[test]
fn px_223_any_bytes_on_a_connection() {
    let reached = tried("request", 6_000);
    assert!(reached > 1000, "only {reached} inputs reached the application");
}

/// What is wrong with a request that reached the application.
fn judge(seen: &Seen, named: bool, shown: &str) {
    let users = seen.all("x-authentik-username");
    let identity = seen.headers.keys().filter(|name| starts_alike(name.as_str(), "x-authentik-")).count();
    if users.is_empty() {
        let path = seen.path.split('?').next().unwrap();
        let decoded = portcullis_core::path::decode_normal(path);
        assert!(decoded.is_some_and(|path| path.starts_with("/public/")), "{shown}: {seen:?}");
        assert_eq!(identity, 0, "{shown}: {seen:?}");
    } else {
        assert!(named && users == ["ada"] && identity == 12, "{shown}: {seen:?}");
        assert!(seen.all("authorization").is_empty(), "{shown}: {seen:?}");
    }
    assert_eq!(seen.all("x-forwarded-for"), ["192.0.2.1"], "{shown}");
    assert!(!seen.headers.contains_key("upgrade") || seen.all("connection") == ["upgrade"], "{shown}: {seen:?}");
}

/// Sends an input over a connection in memory; what came back.
async fn exchange(site: &Site, input: &[u8]) -> String {
    let (mut client, ours) = duplex(256 * 1024);
    let limits = Limits { head: Duration::from_millis(30), ..Limits::default() };
    let server = Server {
        plane: Arc::clone(&site.plane),
        core: None,
        trust: Trust::new(Vec::new()),
        entropy: Arc::new(SystemEntropy),
        log: None,
        settings: Settings { limits, body: Duration::from_millis(30), ..Settings::default() },
        cut: CancellationToken::new(),
    };
    let serving = tokio::spawn(server.serve_stream(ours, [192, 0, 2, 1].into(), Version::HTTP_11));
    // A refused connection may be gone before everything is written.
    drop(client.write_all(&[input, LAST].concat()).await);
    let mut answers = Vec::new();
    // What is half a request by now waits for the rest in vain.
    drop(tokio::time::timeout(Duration::from_millis(100), client.read_to_end(&mut answers)).await);
    drop(client);
    drop(tokio::time::timeout(Duration::from_secs(5), serving).await.expect("the connection ends with its client"));
    String::from_utf8_lossy(&answers).into_owned()
}

pub(super) fn question() -> Target {
    let runtime = runtime();
    let forward = |provider: &mut portcullis_core::outpost::Provider| {
        provider.mode = Mode::ForwardSingle;
        provider.internal_host = String::new();
    };
    let site = runtime.block_on(Site::with(forward, |_| {}));
    Box::new(move |input| {
        let Some(question) = asked(input) else { return false };
        site.core.memory().calls.clear();
        let shown = input.escape_ascii();
        let Some(answer) = runtime.block_on(site.ask_as("wiki.example", question)) else { return false };
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap_or("?").to_owned());
        let named = input.windows(CREDENTIALS.len()).any(|piece| piece == CREDENTIALS);
        match answer.status() {
            StatusCode::OK => {
                // The last is the page that says that somebody has signed out, which is for everybody.
                let open = ["/public/", "/outpost.goauthentik.io/", "X-authentik-logout="];
                let open = open.map(|part| shown.to_string().contains(part));
                let user = header("x-authentik-username").unwrap_or_default();
                assert!(if user.is_empty() { open.contains(&true) } else { named && user == "ada" }, "{shown}");
                return true;
            }
            StatusCode::FOUND => {
                let to = header("location").unwrap();
                let ours = ["https://wiki.example/", "https://id.example/application/o/"];
                assert!(ours.iter().any(|start| to.starts_with(start)), "{shown}: {to}");
            }
            StatusCode::INTERNAL_SERVER_ERROR => {}
            other => assert!(other.is_client_error() || other == StatusCode::NO_CONTENT, "{shown}: {other}"),
        }
        false
    })
}

/// PX-246, PX-245, PX-251: of any question of another proxy, only what is open or has credentials passes, and a redirect leads
/// to our own start of a login.
#[test]
fn px_246_any_question_of_another_proxy() {
    let passed = tried("question", 20_000);
    assert!(passed > 100, "only {passed} questions passed");
}

/// A question from lines: the target, then fields.
fn asked(input: &[u8]) -> Option<http::request::Builder> {
    let mut lines = input.split(|&byte| byte == b'\n');
    let target = std::str::from_utf8(lines.next()?).ok()?;
    let mut question = get(target);
    for line in lines {
        let at = line.iter().position(|&byte| byte == b':')?;
        let name = HeaderName::from_bytes(&line[..at]).ok()?;
        question = question.header(name, HeaderValue::from_bytes(line[at + 1..].trim_ascii()).ok()?);
    }
    question.uri_ref().is_some().then_some(question)
}
