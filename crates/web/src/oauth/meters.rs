//! How often endpoints are asked, with what outcome, and how long that takes (OA-668). Labels are words of the protocol: no
//! client, no user.

use std::borrow::Cow;
use std::future::Future;

use axum::response::Response;
use http::StatusCode;
use metrics::{Label, counter, histogram};
use portcullis_idp::Visitor;
use tokio::time::Instant;

/// Grants with a label of their own; all others are `other`.
const GRANTS: [&str; 6] = [
    "authorization_code",
    "refresh_token",
    "client_credentials",
    "password",
    "urn:ietf:params:oauth:grant-type:device_code",
    "urn:ietf:params:oauth:grant-type:token-exchange",
];

/// The label of a grant.
pub(super) fn grant(named: &str) -> &'static str {
    GRANTS.into_iter().find(|known| *known == named).unwrap_or("other")
}

/// Counts a request to an endpoint, whose answer is `asked`; `grant` is empty where there is none, and so is the label
/// `variant` where no machine has proven itself, or tried to.
pub(super) async fn counted<T, E: std::fmt::Display>(
    endpoint: &'static str,
    grant: &'static str,
    visitor: &Visitor,
    asked: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let began = Instant::now();
    let answer = asked.await;
    let outcome = match &answer {
        Ok(_) => OK.into(),
        Err(error) => error.to_string().into(),
    };
    let variant = visitor.request.asked.as_ref().map_or("", |asked| asked.proof.variant());
    count([("endpoint", endpoint), ("grant", grant), ("variant", variant)], outcome, began);
    answer
}

/// What came of a request that a browser sent, or that went no further.
pub(super) type Outcome = Cow<'static, str>;

/// What was asked for was done.
pub(super) const OK: &str = "ok";
/// The request cannot be read, or is not one that is answered.
pub(super) const INVALID: &str = "invalid_request";
/// There is no such application.
pub(super) const NOT_FOUND: &str = "not_found";
/// We cannot answer at present.
pub(super) const UNAVAILABLE: &str = "temporarily_unavailable";

/// Counts a request to an endpoint whose answer says itself what came of it.
pub(super) async fn counted_as(endpoint: &'static str, asked: impl Future<Output = (Outcome, Response)>) -> Response {
    let began = Instant::now();
    let (outcome, answer) = asked.await;
    count(of(endpoint), outcome, began);
    answer
}

/// Counts a request for a document, whose status says what came of it.
pub(super) async fn counted_document(endpoint: &'static str, asked: impl Future<Output = Response>) -> Response {
    let told = async {
        let answer = asked.await;
        let outcome = match answer.status() {
            StatusCode::OK => OK,
            StatusCode::NOT_FOUND => NOT_FOUND,
            _ => UNAVAILABLE,
        };
        (outcome.into(), answer)
    };
    counted_as(endpoint, told).await
}

/// Counts a request to an endpoint that goes no further.
pub(super) fn count_refused(endpoint: &'static str, outcome: impl Into<Outcome>) {
    count(of(endpoint), outcome.into(), Instant::now());
}

type Of = [(&'static str, &'static str); 3];

/// Labels of a request without a grant.
const fn of(endpoint: &'static str) -> Of {
    [("endpoint", endpoint), ("grant", ""), ("variant", "")]
}

fn count(of: Of, outcome: Outcome, began: Instant) {
    let fixed = of.iter().map(|(name, value)| Label::from_static_parts(name, value));
    let labels: Vec<Label> = fixed.chain([Label::new("outcome", outcome)]).collect();
    counter!("portcullis_oauth_requests_total", labels.clone()).increment(1);
    histogram!("portcullis_oauth_request_duration_seconds", labels).record(began.elapsed());
}
