//! How often endpoints are asked, with what outcome, and how long that takes (OA-668). Labels are words of the protocol: no
//! client, no user.

use std::future::Future;

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
        Ok(_) => "ok".to_owned(),
        Err(error) => error.to_string(),
    };
    let variant = visitor.request.asked.as_ref().map_or("", |asked| asked.proof.variant());
    let of = [("endpoint", endpoint), ("grant", grant), ("variant", variant)];
    let labels = |more: Option<(&'static str, String)>| -> Vec<Label> {
        let fixed = of.iter().map(|(name, value)| Label::from_static_parts(name, value));
        fixed.chain(more.map(|(name, value)| Label::new(name, value))).collect()
    };
    counter!("portcullis_oauth_requests_total", labels(Some(("outcome", outcome)))).increment(1);
    histogram!("portcullis_oauth_request_duration_seconds", labels(None)).record(began.elapsed());
    answer
}
