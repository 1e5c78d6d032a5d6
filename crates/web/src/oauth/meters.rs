//! How often endpoints are asked, with what outcome, and how long that takes (OA-668). Labels are words of the protocol: no
//! client, no user.

use std::future::Future;

use metrics::{counter, histogram};
use portcullis_idp::oauth::OAuthError;
use tokio::time::Instant;

/// Grants with a label of their own; all others are `other`.
const GRANTS: [&str; 5] = [
    "authorization_code",
    "refresh_token",
    "client_credentials",
    "password",
    "urn:ietf:params:oauth:grant-type:device_code",
];

/// The label of a grant.
pub(super) fn grant(named: &str) -> &'static str {
    GRANTS.into_iter().find(|known| *known == named).unwrap_or("other")
}

/// Counts a request to an endpoint, whose answer is `asked`; `grant` is empty where there is none.
pub(super) async fn counted<T>(
    endpoint: &'static str,
    grant: &'static str,
    asked: impl Future<Output = Result<T, OAuthError>>,
) -> Result<T, OAuthError> {
    let began = Instant::now();
    let answer = asked.await;
    let outcome = match &answer {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.to_string(),
    };
    counter!("portcullis_oauth_requests_total", "endpoint" => endpoint, "grant" => grant, "outcome" => outcome)
        .increment(1);
    histogram!("portcullis_oauth_request_duration_seconds", "endpoint" => endpoint, "grant" => grant)
        .record(began.elapsed());
    answer
}
