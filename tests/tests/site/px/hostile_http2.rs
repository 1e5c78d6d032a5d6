//! Hostile HTTP/2, from the tables in `tests/cases/http2/`, over TLS before an application that records.
//!
//! Beside what a table says holds what holds for HTTP/1.1 ([`super::hostile`]), and after every case the server answers
//! a sound request.

use std::path::Path;

use portcullis_testkit::api::{fresh, text};
use portcullis_testkit::frames::{self, Case};
use portcullis_testkit::http2::{Http2, PREFACE};
use portcullis_testkit::process::free_port;
use portcullis_testkit::{Site, raw, run};
use serde_json::json;
use tokio::sync::OnceCell;

use super::hostile::{LONGEST, PING, Words, judge_arrivals};
use crate::stage::Stage;

/// A site with an HTTPS listener to which the tests are strangers, and that listener's port.
async fn among_strangers() -> &'static (Site, u16) {
    static SITE: OnceCell<(Site, u16)> = OnceCell::const_new();
    let start = || async {
        let port = free_port();
        let site = Site::options()
            .env("PORTCULLIS_LISTEN__HTTPS", &format!("127.0.0.1:{port}"))
            .env("PORTCULLIS_LISTEN__TRUSTED_PROXY_CIDRS", "192.0.2.0/24")
            .env("PORTCULLIS_PROXY__AUTH_FAILURE_LIMIT_PER_ADDRESS", "1000/60s");
        (site.start().await, port)
    };
    SITE.get_or_init(start).await
}

/// An application before which HTTP/2 is spoken.
struct Before {
    stage: Stage<'static>,
    words: Words,
    port: u16,
    name: String,
    certificate: String,
}

impl Before {
    async fn an_application() -> Self {
        let (site, port) = among_strangers().await;
        let stage = Stage::on(site, json!({"skip_path_regex": "^/public/"})).await;
        let words = Words::of(&stage).await;
        let name = stage.app.authority().split(':').next().unwrap().to_owned();
        let pairs = "crypto/certificatekeypairs/";
        let wanted = json!({"common_name": fresh("h2"), "subject_alt_name": name, "validity_days": 90, "alg": "ecdsa"});
        let pair = text(&site.api.post(&format!("{pairs}generate/"), wanted).await["pk"]);
        let provider = format!("providers/proxy/{}/", stage.app.provider);
        site.api.patch(&provider, json!({"certificate": pair})).await;
        let certificate = text(&site.api.get(&format!("{pairs}{pair}/view_certificate/")).await["data"]);
        Self { stage, words, port: *port, name, certificate }
    }

    async fn connect(&self) -> Http2 {
        Http2::connect(self.port, &self.name, &self.certificate).await
    }

    /// What is wrong with what a case's connection heard.
    async fn ask(&self, case: &Case) -> Result<(), String> {
        let words = self.words.all();
        let (last, request) = Case::last(PING, &words);
        let mut connection = self.connect().await;
        connection.send(case.sent(&words));
        if case.is_kept() {
            connection.listen(|heard| case.is_answered(heard)).await;
            connection.send(request.clone());
            connection.listen(|heard| heard.ended.contains(&last)).await;
        } else {
            connection.listen(|_| false).await;
        }
        case.judge(&connection.heard)?;
        let mut another = self.connect().await;
        another.send([PREFACE, &request].concat());
        another.listen(|heard| heard.ended.contains(&last)).await;
        match another.heard.outcomes.get(&last) {
            Some(status) if status == "204" => Ok(()),
            other => Err(format!("another connection got {other:?} afterwards")),
        }
    }

    /// What is wrong with a case: with what was heard, or with what reached the application.
    async fn judge(&self, case: &Case) -> Result<(), String> {
        let before = self.stage.recorder.count();
        let asked = tokio::time::timeout(LONGEST, self.ask(case)).await;
        let seen = self.stage.recorder.seen().split_off(before);
        asked.unwrap_or_else(|_| Err("neither answered nor closed".to_owned()))?;
        judge_arrivals(&case.arrivals, &seen, &self.words)
    }
}

/// Runs a table; all of its cases, so that one failure shows what the others do.
async fn family(name: &str) {
    let before = Before::an_application().await;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/http2").join(name).with_extension("txt");
    let mut failures = Vec::new();
    for case in frames::read(&file) {
        if let Err(problem) = before.judge(&case).await {
            failures.push(format!("== {}\n{problem}", case.name));
        }
    }
    assert!(failures.is_empty(), "{} of {name}:\n\n{}", failures.len(), failures.join("\n\n"));
    let bytes = before.stage.recorder.bytes();
    assert!(raw::find(&bytes, b"forged").is_none(), "{}", String::from_utf8_lossy(&bytes));
    let log = before.stage.site.log();
    assert!(!log.contains("panicked") && !log.contains("made us panic"), "{log}");
}

/// PX-044, PX-223, PX-287: what HTTP/2 says about a request's method, host and path is sound and said once, or the
/// request is refused.
#[test]
fn px_223_hostile_http2_heads() {
    run(async { family("heads").await });
}

/// PX-220, PX-222, PX-223: over HTTP/2, too, no field and no trailer poses as ours, and none is there that would frame
/// a request anew.
#[test]
fn px_220_hostile_http2_fields() {
    run(async { family("fields").await });
}

/// PX-009, PX-302: frames out of place, shape or measure end their stream or connection and harm nobody else.
#[test]
fn px_009_hostile_http2_frames() {
    run(async { family("frames").await });
}
