//! Hostile requests, from the tables in `tests/cases/hostile/`, before an application that records.
//!
//! Whatever a table says, no answer is a server error, nothing panics, nothing marked `forged` and no credentials of
//! the client reach the application, and what reaches it on a protected path has the identity of who sent it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_testkit::cases::{self, Arrival, Case, bytes, shown};
use portcullis_testkit::peers::Environment;
use portcullis_testkit::raw::{self, Raw};
use portcullis_testkit::recorder::Seen;
use portcullis_testkit::{Site, run};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::OnceCell;

use crate::stage::{Stage, shared};

/// A site to which the tests are strangers, as its clients are.
pub(crate) async fn among_strangers() -> &'static Site {
    static SITE: OnceCell<Site> = OnceCell::const_new();
    let start = || {
        Site::options()
            .env("PORTCULLIS_LISTEN__TRUSTED_PROXY_CIDRS", "192.0.2.0/24")
            .env("PORTCULLIS_WEB__TIMEOUT_HTTP_READ_HEADER", "2s")
            .env("PORTCULLIS_PROXY__AUTH_FAILURE_LIMIT_PER_ADDRESS", "1000/60s")
            .start()
    };
    SITE.get_or_init(start).await
}

pub(crate) fn file(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/hostile").join(family).with_extension("txt")
}

/// What stands in braces in the tables.
pub(crate) struct Words(Vec<(&'static str, String)>);

impl Words {
    pub(crate) async fn of(stage: &Stage<'_>) -> Self {
        let host = stage.app.authority().to_owned();
        let (name, port) = host.split_once(':').map(|(name, port)| (name.to_owned(), port.to_owned())).unwrap();
        let cookie = stage.header_cookie(&stage.basic()).await;
        let (cookie_name, cookie_value) = cookie.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned())).unwrap();
        Self(vec![
            ("host", host),
            ("name", name),
            ("port", port),
            ("core", format!("localhost:{}", stage.site.port)),
            ("basic", stage.basic()),
            ("token", stage.basic().replace("Basic ", "")),
            ("cookie", cookie),
            ("cookie-name", cookie_name),
            ("cookie-value", cookie_value),
            ("alice", stage.person.username.clone()),
        ])
    }

    pub(crate) fn all(&self) -> Vec<(&str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }

    pub(crate) fn bytes(&self, text: &str) -> Vec<u8> {
        bytes(text, &self.all())
    }

    fn text(&self, text: &str) -> String {
        String::from_utf8(self.bytes(text)).unwrap()
    }
}

/// Sends a case on a connection of its own; what was answered until the connection closed.
///
/// A connection that is to be kept gets a last request, whose answer shows that both sides still agree about where
/// requests begin.
pub(crate) async fn ask(port: u16, case: &Case, sent: &[u8], last: &str) -> Vec<u8> {
    let mut raw = Raw::connect(port).await;
    // It may be refused before it is read as a whole.
    drop(raw.stream.write_all(sent).await);
    let mut answered = Vec::new();
    if case.kept {
        for _ in &case.statuses {
            let Some(answer) = raw.answer().await else { break };
            answered.extend(answer);
        }
        let request = format!("GET {PING} HTTP/1.1\r\nHost: {last}\r\nConnection: close\r\n\r\n");
        drop(raw.stream.write_all(request.as_bytes()).await);
    }
    answered.extend(raw.rest().await);
    answered
}

/// More than the time limit for heads, after which a connection is closed that nothing else closed.
pub(crate) const LONGEST: Duration = Duration::from_secs(10);

pub(crate) const PING: &str = "/outpost.goauthentik.io/ping";

/// What is wrong with what was answered.
fn judge_answers(case: &Case, answered: &[u8]) -> Result<(), String> {
    let answers = raw::answers(answered).ok_or_else(|| format!("no sound answer: {}", shown(answered)))?;
    let mut statuses: Vec<u16> = answers.iter().map(|(status, _)| *status).collect();
    if case.kept && statuses.pop() != Some(204) {
        return Err(format!("the connection was not kept: {}", shown(answered)));
    }
    let fits = statuses.len() == case.statuses.len()
        && statuses.iter().zip(&case.statuses).all(|(status, allowed)| allowed.contains(status));
    if !fits {
        return Err(format!("answered with {statuses:?}, not {:?}: {}", case.statuses, shown(answered)));
    }
    Ok(())
}

/// What is wrong with what reached the application.
pub(crate) fn judge_arrivals(arrivals: &[Arrival], seen: &[Seen], words: &Words) -> Result<(), String> {
    let names = |seen: &[Seen]| seen.iter().map(|seen| format!("{} {}", seen.method, seen.target)).collect::<Vec<_>>();
    let expected: Vec<String> =
        arrivals.iter().map(|arrival| words.text(&format!("{} {}", arrival.method, arrival.target))).collect();
    if names(seen) != expected {
        return Err(format!("{expected:?} should have arrived, not {seen:#?}"));
    }
    seen.iter().zip(arrivals).try_for_each(|(seen, arrival)| judge_arrival(arrival, seen, words))
}

fn judge_arrival(arrival: &Arrival, seen: &Seen, words: &Words) -> Result<(), String> {
    let who = seen.all("x-authentik-username");
    let expected = if arrival.identified { vec![words.text("{alice}")] } else { Vec::new() };
    let is_identity = |name: &&str| {
        name.to_ascii_lowercase().replace(|c: char| !c.is_alphanumeric(), "-").starts_with("x-authentik-")
    };
    let count = seen.names().into_iter().filter(is_identity).count();
    if who != expected || count != if arrival.identified { 12 } else { 0 } {
        return Err(format!("wrong identity: {seen:#?}"));
    }
    if seen.contains("forged") || seen.names().iter().any(|name| name.to_ascii_lowercase().contains("forged")) {
        return Err(format!("something forged arrived: {seen:#?}"));
    }
    for (name, value) in &arrival.with {
        if seen.all(name) != [words.text(value)] {
            return Err(format!("{name} is not {value:?} alone: {seen:#?}"));
        }
    }
    let told = arrival.with.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    let credentials = ["authorization", "cookie", "proxy-authorization"].map(|name| seen.all(name).join("; "));
    if !told
        && (!credentials[0].is_empty() || credentials[1].contains("authentik_proxy_") || !credentials[2].is_empty())
    {
        return Err(format!("credentials arrived: {seen:#?}"));
    }
    match arrival.without.iter().find(|name| !seen.all(name).is_empty()) {
        Some(name) => Err(format!("{name} arrived: {seen:#?}")),
        None => Ok(()),
    }
}

/// Runs a table; all of its cases, so that one failure shows what the others do.
async fn family(site: &'static Site, name: &str) {
    let stage = Stage::on(site, json!({"skip_path_regex": "^/public/"})).await;
    let words = Words::of(&stage).await;
    let mut failures = Vec::new();
    let before = stage.recorder.count();
    let mut arrivals = before;
    for case in cases::read(&file(name)) {
        let sent = words.bytes(&case.sent);
        let asked = ask(site.port, &case, &sent, stage.app.authority());
        let answered =
            tokio::time::timeout(LONGEST, asked).await.unwrap_or_else(|_| b"(neither answered nor closed)".into());
        let seen = stage.recorder.seen().split_off(arrivals);
        arrivals += seen.len();
        let verdict = judge_answers(&case, &answered).and_then(|()| judge_arrivals(&case.arrivals, &seen, &words));
        if let Err(problem) = verdict {
            failures.push(format!("== {}\n{}\n{problem}", case.name, shown(&sent)));
        }
    }
    assert!(failures.is_empty(), "{} of {name}:\n\n{}", failures.len(), failures.join("\n\n"));
    assert_eq!(stage.recorder.count(), arrivals, "something arrived late: {:#?}", stage.recorder.seen());
    let bytes = stage.recorder.bytes();
    assert!(raw::find(&bytes, b"forged").is_none(), "{}", shown(&bytes));
    for word in ["panicked", "made us panic"] {
        assert!(!site.log().contains(word), "{}", site.log());
    }
}

/// PX-220, PX-221, PX-222: no spelling of an identity header, and no list in `Connection`, passes or removes one.
#[test]
fn px_220_hostile_header_names() {
    run(async { family(among_strangers().await, "header-names").await });
}

/// PX-223: whatever two parsers could frame differently is refused, and no second request comes out of it.
#[test]
fn px_223_hostile_framing() {
    run(async { family(among_strangers().await, "framing").await });
}

/// PX-223: chunks that are not exactly chunks reach nobody as a complete request.
#[test]
fn px_223_hostile_chunks() {
    run(async { family(among_strangers().await, "chunks").await });
}

/// PX-223: heads with bytes that have no place in them are refused.
#[test]
fn px_223_hostile_bytes_in_heads() {
    run(async { family(among_strangers().await, "head-bytes").await });
}

/// PX-044: a request that names its host twice, differently, oddly or not at all is refused.
#[test]
fn px_044_hostile_hosts() {
    run(async { family(among_strangers().await, "hosts").await });
}

/// PX-233, PX-275: no spelling of a protected path is open, and what is open is forwarded as it was judged.
#[test]
fn px_233_hostile_paths() {
    run(async { family(among_strangers().await, "paths").await });
}

/// PX-060: no spelling of the reserved namespace reaches the application.
#[test]
fn px_060_hostile_reserved_paths() {
    run(async { family(among_strangers().await, "reserved").await });
}

/// PX-009: what is beyond every measure is refused, and harms nobody.
#[test]
fn px_009_hostile_sizes() {
    run(async { family(among_strangers().await, "sizes").await });
}

/// PX-223, PX-280: a request hidden behind another one, or behind an upgrade, is never read with its identity.
#[test]
fn px_280_hostile_sequences() {
    run(async { family(among_strangers().await, "sequences").await });
}

/// PX-287: other protocols, versions and methods are refused or forwarded as what they are.
#[test]
fn px_287_hostile_methods_and_versions() {
    run(async { family(among_strangers().await, "methods").await });
}

/// PX-090, PX-095, PX-096: odd credentials let nobody in, and never reach the application.
#[test]
fn px_090_hostile_credentials() {
    run(async { family(among_strangers().await, "credentials").await });
}

/// PX-178, PX-180: planted, split and misspelled cookies neither hide a session nor reach the application.
#[test]
fn px_178_hostile_cookies() {
    run(async { family(among_strangers().await, "cookies").await });
}

/// PX-040, PX-278: what a stranger says about earlier hops is not believed and not passed on.
#[test]
fn px_040_hostile_forwarded_fields_of_strangers() {
    run(async { family(among_strangers().await, "forwarded-by-strangers").await });
}

/// PX-040, PX-044: a trusted peer is believed, unless it contradicts itself.
#[test]
fn px_044_hostile_forwarded_fields_of_trusted_peers() {
    run(async { family(shared().await, "forwarded-by-trusted-peers").await });
}

/// PX-281: odd expectations neither hang a request nor pass it twice.
#[test]
fn px_281_hostile_expectations() {
    run(async { family(among_strangers().await, "expectations").await });
}

/// What is wrong with the environment of a program that was asked.
fn judge_environment(text: &str, words: &Words) -> Result<(), String> {
    let variables: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let of = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let identity = variables.iter().filter(|(name, _)| name.starts_with("HTTP_X_AUTHENTIK_")).count();
    let fits = match of("HTTP_X_AUTHENTIK_USERNAME") {
        Some(name) => identity == 12 && name == words.text("{alice}"),
        None => identity == 0 && of("PATH_INFO").is_some_and(|path| path.starts_with("/public/")),
    };
    if !fits || text.contains("forged") || of("HTTP_AUTHORIZATION").is_some() {
        return Err(format!("the program saw:\n{text}"));
    }
    Ok(())
}

/// Runs the tables that are about names and paths before a program; how often it was reached.
async fn before_a_program(program: &Environment) -> usize {
    let site = among_strangers().await;
    let mut stage = Stage::on(site, json!({})).await;
    stage.app = site.app_before(&program.url(), json!({"skip_path_regex": "^/public/"})).await;
    let words = Words::of(&stage).await;
    let mut reached = 0;
    for case in ["header-names", "paths"].into_iter().flat_map(|name| cases::read(&file(name))) {
        let sent = words.bytes(&case.sent);
        let answered = ask(site.port, &Case { kept: true, ..case }, &sent, stage.app.authority()).await;
        let answers = raw::answers(&answered).unwrap_or_else(|| panic!("no sound answer: {}", shown(&answered)));
        for (status, body) in answers {
            let text = String::from_utf8_lossy(&body);
            if status == 200 && text.contains("REQUEST_METHOD=") {
                reached += 1;
                judge_environment(&text, &words).unwrap_or_else(|problem| panic!("{}\n{problem}", shown(&sent)));
            }
        }
    }
    reached
}

/// PX-220, PX-233: what a CGI program finds in its environment is what we set, and a path that needs no identity is
/// one that the program's server takes for an open one.
#[test]
fn px_220_a_cgi_program_sees_nothing_forged() {
    run(async {
        let reached = before_a_program(&Environment::cgi().await).await;
        assert!(reached > 30, "only {reached} requests reached the program");
    });
}

/// PX-220, PX-233: what a WSGI application finds in its environment is what we set, and a path that needs no identity
/// is one that its server takes for an open one.
#[test]
fn px_220_a_wsgi_application_sees_nothing_forged() {
    run(async {
        let reached = before_a_program(&Environment::wsgi().await).await;
        assert!(reached > 30, "only {reached} requests reached the application");
    });
}
