//! One line per request (PX-320), without secrets (PX-321).
//!
//! A line is built into a buffer that one thread writes out in batches. A request never waits for
//! it: when the buffer is full, lines are dropped and counted.

mod line;

use std::collections::HashSet;
use std::io::Write;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, SET_COOKIE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use portcullis_core::auth_via::AuthVia;
use portcullis_core::clock::Clock;
use portcullis_core::origin::Origin;
use tokio::time::Instant;

use crate::origin::starts_alike;

/// Lines that may wait to be written, in bytes.
const MAX_WAITING: usize = 1024 * 1024;
/// How long lines are gathered before they are written together.
const GATHER: Duration = Duration::from_millis(20);

/// What is logged as the status when the client goes before there is an answer: nginx's word for it.
const CLIENT_GONE: u16 = 499;

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    #[default]
    Json,
    /// For people.
    Text,
}

/// Who was served, told by the plane that answers.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The provider's name.
    pub provider: Arc<str>,
    /// User name, else subject; empty if nobody is known.
    pub user: Arc<str>,
}

/// The access log. Dropping the last copy writes what is left.
#[derive(Clone)]
pub struct AccessLog(Arc<Shared>);

struct Shared {
    pipe: Arc<Waiting>,
    format: Format,
    headers: Vec<(HeaderName, String)>,
    clock: Arc<dyn Clock>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Waiting {
    lines: Mutex<Lines>,
    some: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    closed: bool,
}

impl AccessLog {
    /// Starts the writer thread. `headers` are the request headers logged beside `User-Agent`; those
    /// that carry secrets are ignored.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        format: Format,
        headers: &[HeaderName],
        clock: Arc<dyn Clock>,
        out: Box<dyn Write + Send>,
    ) -> std::io::Result<Self> {
        let pipe = Arc::new(Waiting::default());
        let headers = headers.iter().filter(|name| **name != USER_AGENT && !is_secret(name));
        let headers = headers.map(|name| (name.clone(), name.as_str().replace('-', "_")));
        // What a line has anyway is not there twice.
        let mut shown: HashSet<String> = line::FIELDS.iter().map(ToString::to_string).collect();
        let headers = headers.filter(|(_, name)| shown.insert(name.clone())).collect();
        let from = pipe.clone();
        let writer = std::thread::Builder::new().name("access-log".to_owned()).spawn(move || write_out(&from, out))?;
        Ok(Self(Arc::new(Shared { pipe, format, headers, clock, writer: Some(writer) })))
    }

    /// Lines that were dropped since the start because they could not be written fast enough.
    pub fn dropped(&self) -> u64 {
        self.0.pipe.dropped.load(Ordering::Relaxed)
    }

    pub(crate) fn begin<B>(&self, request: &Request<B>, peer: IpAddr) -> Pending {
        let kept = |headers: &HeaderMap| {
            self.0.headers.iter().map(|(name, _)| headers.get(name).cloned()).collect::<Vec<Option<HeaderValue>>>()
        };
        Pending {
            log: self.clone(),
            started: Instant::now(),
            method: request.method().clone(),
            target: request.uri().clone(),
            user_agent: request.headers().get(USER_AGENT).cloned(),
            headers: if self.0.headers.is_empty() { Vec::new() } else { kept(request.headers()) },
            peer,
            origin: None,
            status: CLIENT_GONE,
            seen: None,
            via: None,
            size: 0,
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.pipe.lines.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.pipe.some.notify_one();
        if let Some(writer) = self.writer.take() {
            drop(writer.join());
        }
    }
}

impl Waiting {
    fn add(&self, line: &[u8]) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.bytes.len() + line.len() > MAX_WAITING {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let first = lines.bytes.is_empty();
        lines.bytes.extend_from_slice(line);
        drop(lines);
        // Only the first line of a batch wakes the writer: waking costs more than building the line.
        if first {
            self.some.notify_one();
        }
    }
}

fn write_out(waiting: &Waiting, mut out: Box<dyn Write + Send>) {
    let mut batch = Vec::new();
    loop {
        let mut lines = waiting.lines.lock().unwrap_or_else(PoisonError::into_inner);
        while lines.bytes.is_empty() && !lines.closed {
            lines = waiting.some.wait(lines).unwrap_or_else(PoisonError::into_inner);
        }
        let closed = lines.closed;
        drop(lines);
        if !closed {
            std::thread::sleep(GATHER);
        }
        std::mem::swap(&mut batch, &mut waiting.lines.lock().unwrap_or_else(PoisonError::into_inner).bytes);
        // Nobody can be told that the log cannot be written.
        drop(out.write_all(&batch).and_then(|()| out.flush()));
        batch.clear();
        if closed {
            return;
        }
    }
}

/// Whether a header is never written, whatever the settings say (PX-321).
fn is_secret(name: &HeaderName) -> bool {
    [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, SET_COOKIE].contains(name)
        || starts_alike(name.as_str(), "x-authentik-")
        || starts_alike(name.as_str(), "x-portcullis-")
}

/// A request whose line is not written yet.
pub(crate) struct Pending {
    log: AccessLog,
    started: Instant,
    method: Method,
    target: Uri,
    user_agent: Option<HeaderValue>,
    headers: Vec<Option<HeaderValue>>,
    peer: IpAddr,
    origin: Option<Arc<Origin>>,
    status: u16,
    seen: Option<Seen>,
    via: Option<AuthVia>,
    size: u64,
}

impl Pending {
    pub(crate) fn from(&mut self, origin: &Arc<Origin>) {
        self.origin = Some(origin.clone());
    }

    pub(crate) fn served(&mut self, seen: Option<Seen>) {
        self.seen = seen;
    }

    /// What the control plane says of how the request proved itself (OA-669).
    pub(crate) fn proven(&mut self, via: Option<AuthVia>) {
        self.via = via;
    }

    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.status = status.as_u16();
    }

    pub(crate) fn sent(&mut self, bytes: usize) {
        self.size = self.size.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }
}

/// The answer was sent or broken off, or the client did not wait for one: writes the line.
impl Drop for Pending {
    fn drop(&mut self) {
        line::build(self, |line| self.log.0.pipe.add(line));
    }
}

#[cfg(test)]
mod tests {
    use portcullis_core::clock::{ManualClock, Timestamp};
    use portcullis_core::origin::Scheme;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, request: &Request<()>) -> String {
        logged_via(format, request, None)
    }

    fn logged_via(format: Format, request: &Request<()>, via: Option<AuthVia>) -> String {
        let names = [HeaderName::from_static("referer"), AUTHORIZATION, COOKIE, USER_AGENT];
        logged_with(format, &names, request, via)
    }

    fn logged_with(format: Format, names: &[HeaderName], request: &Request<()>, via: Option<AuthVia>) -> String {
        let sink = Sink::default();
        let clock = Arc::new(ManualClock::at(Timestamp(1_790_000_000_123_456)));
        let log = AccessLog::start(format, names, clock, Box::new(sink.clone())).unwrap();
        let mut pending = log.begin(request, [127, 0, 0, 1].into());
        pending.from(&Arc::new(Origin {
            scheme: Scheme::Https,
            host: "app.example".to_owned(),
            client: [203, 0, 113, 1].into(),
            peer: [127, 0, 0, 1].into(),
            peer_trusted: true,
            request_id: "0123456789abcdef0123456789abcdef".into(),
            asked: None,
        }));
        pending.served(Some(Seen { provider: "wiki \"1\"".into(), user: "ada\n".into() }));
        pending.proven(via);
        pending.answered(StatusCode::CREATED);
        pending.sent(1024);
        drop(pending);
        drop(log);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    /// PX-320: a request that the client did not wait for has its line, too, and so has one without a host.
    #[tokio::test(start_paused = true)]
    async fn px_320_who_does_not_wait_is_logged() {
        let sink = Sink::default();
        let clock = Arc::new(ManualClock::at(Timestamp(1_790_000_000_123_456)));
        let log = AccessLog::start(Format::Json, &[], clock, Box::new(sink.clone())).unwrap();
        drop(log.begin(&request("/delete"), [203, 0, 113, 1].into()));
        drop(log);
        let line: serde_json::Value = serde_json::from_slice(&sink.0.lock().unwrap()).unwrap();
        assert_eq!((line["status"].as_u64(), line["event"].as_str()), (Some(499), Some("/delete")));
        assert_eq!(line["remote"], "203.0.113.1");
    }

    fn request(target: &str) -> Request<()> {
        Request::builder()
            .method("PUT")
            .uri(target)
            .header("user-agent", HeaderValue::from_bytes(b"c\"url\xff").unwrap())
            .header("authorization", "Basic c2VjcmV0")
            .header("cookie", "authentik_proxy_x=hidden")
            .header("referer", "http://app/?token=hidden")
            .body(())
            .unwrap()
    }

    /// PX-320: each request gives one JSON line with all fields.
    #[tokio::test(start_paused = true)]
    async fn px_320_a_request_is_one_json_line() {
        let text = logged(Format::Json, &request("/page?a=b"));
        assert_eq!(text.matches('\n').count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        for (field, value) in [
            ("timestamp", "2026-09-21T14:13:20.123456Z"),
            ("level", "info"),
            ("event", "/page?a=b"),
            ("logger", "portcullis.access"),
            ("name", "wiki \"1\""),
            ("remote", "203.0.113.1"),
            ("host", "app.example"),
            ("runtime", "0.000"),
            ("method", "PUT"),
            ("scheme", "https"),
            ("user_agent", "c\"url\u{fffd}"),
            ("user", "ada\n"),
            ("request_id", "0123456789abcdef0123456789abcdef"),
        ] {
            assert_eq!(line[field], value, "{field}");
        }
        assert_eq!((line["status"].as_u64(), line["size"].as_u64()), (Some(201), Some(1024)));
        assert!(logged(Format::Text, &request("/page")).contains("PUT app.example/page 201"));
    }

    /// OA-669: what the control plane answered has the method by which the request proved itself, and nothing else has.
    #[tokio::test(start_paused = true)]
    async fn oa_669_the_method_that_succeeded_is_told() {
        let text = logged_via(Format::Json, &request("/api/v3/x/"), Some(AuthVia::ApiToken));
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["auth_via"], "api_token");
        let text = logged_via(Format::Text, &request("/x"), Some(AuthVia::Unauthenticated));
        assert!(text.contains(" auth_via=unauthenticated"), "{text}");
        for format in [Format::Json, Format::Text] {
            assert!(!logged(format, &request("/x")).contains("auth_via"));
        }
    }

    /// PX-321: credentials in headers and URLs are never written.
    #[tokio::test(start_paused = true)]
    async fn px_321_no_secret_is_written() {
        for format in [Format::Json, Format::Text] {
            for target in [
                "/x?code=hidden&state=hidden&token=hidden&id_token_hint=hidden&rd=hidden",
                "/x?a=b&c%6Fde=hidden;TOKEN=hidden",
                "/if/flow/x/?flow_token=hidden",
                "/api/v3/flows/executor/x/?query=a%3Db%26flow_token%3Dhidden",
                "/x?access_token=hidden&client_secret=hidden&password=hidden",
                "/outpost.goauthentik.io/start?anything=hidden",
                "/outpost.goauthentik.io?hidden",
            ] {
                let text = logged(format, &request(target));
                assert!(!text.contains("hidden"), "{text}");
                assert!(!text.contains("c2VjcmV0"), "{text}");
            }
            assert!(logged(format, &request("/x?page=2&code=hidden")).contains("/x?page=2&code=[redacted]"));
        }
    }

    /// PX-321: URLs in headers that were asked for have no secrets in them, either.
    #[tokio::test(start_paused = true)]
    async fn px_321_urls_in_headers_have_no_secrets() {
        let fields = ["x-original-url", "x-original-uri", "x-forwarded-uri", "referer"];
        let names = fields.map(HeaderName::from_static);
        for url in [
            "/x?page=2&code=hidden&state=hidden",
            "https://app.example/outpost.goauthentik.io/callback?any=hidden",
            "/wiki/outpost.goauthentik.io/start?any=hidden",
        ] {
            let mut request = Request::builder().uri("/outpost.goauthentik.io/auth/nginx");
            for name in &names {
                request = request.header(name, url);
            }
            let text = logged_with(Format::Json, &names, &request.body(()).unwrap(), None);
            assert!(!text.contains("hidden"), "{text}");
            let line: serde_json::Value = serde_json::from_str(&text).unwrap();
            for name in fields {
                let shown = line[name.replace('-', "_")].as_str().unwrap();
                assert_eq!(shown.split('?').next(), url.split('?').next());
            }
        }
    }

    /// PX-320: no field is there twice, whatever headers are asked for.
    #[tokio::test(start_paused = true)]
    async fn px_320_no_field_is_there_twice() {
        let names = ["host", "name", "user", "x-a"].map(HeaderName::from_static);
        let request = Request::builder().uri("/").header("host", "sent.example").header("x-a", "b").body(()).unwrap();
        let text = logged_with(Format::Json, &names, &request, None);
        for field in ["host", "name", "user", "x_a"] {
            assert_eq!(text.matches(&format!("\"{field}\":")).count(), 1, "{text}");
        }
        assert!(text.contains("\"host\":\"app.example\""));
    }

    /// PX-320: a log that cannot be written drops lines and counts them; nobody waits.
    #[test]
    fn px_320_a_full_log_drops_and_counts() {
        let waiting = Waiting::default();
        let line = vec![b'x'; MAX_WAITING / 2 + 1];
        waiting.add(&line);
        waiting.add(&line);
        assert_eq!(waiting.dropped.load(Ordering::Relaxed), 1);
    }
}
