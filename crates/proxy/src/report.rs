//! What an administrator has to mend, told to the control plane (PX-055, PX-232, PX-254, PX-363).

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use http::HeaderMap;
use http::header::HOST;
use portcullis_core::path::Dialect;
use portcullis_core::skip::BadLine;
use serde_json::{Map, Value, json};

use crate::application::Application;
use crate::identity::Identity;
use crate::identity_headers::Fault;
use crate::origin::starts_alike;
use crate::plane::DataPlane;

/// Seconds between two reports about one provider.
const PAUSE: i64 = 60;

/// Something that is configured wrongly.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigurationError {
    /// The provider's name.
    pub provider: String,
    /// What is wrong, and what to do.
    pub message: String,
    /// More about it, without secrets.
    pub details: Value,
    /// Who met it.
    pub client: Option<IpAddr>,
}

impl DataPlane {
    /// Reports the lines of `skip_path_regex` that open nothing because they are no expressions, once for each
    /// time that the provider changes (PX-232).
    pub(crate) fn report_bad_lines(&self) {
        for application in self.applications.all() {
            if application.bad_lines.is_empty() || application.reported_lines.swap(true, Ordering::AcqRel) {
                continue;
            }
            let line = |bad: &BadLine| json!({"line": bad.line, "reason": bad.reason.to_string()});
            self.report(ConfigurationError {
                provider: application.provider.name.clone(),
                message: "Lines of skip_path_regex are no expressions: they open nothing.".to_owned(),
                details: json!({"lines": application.bad_lines.iter().map(line).collect::<Vec<_>>()}),
                client: None,
            });
        }
    }

    /// Reports providers that nobody reaches because another one has the same host, once for each time that they change
    /// (PX-055).
    pub(crate) fn report_shadowed(&self) {
        for (application, by) in self.applications.shadowed() {
            if application.reported_host.swap(true, Ordering::AcqRel) {
                continue;
            }
            self.report(ConfigurationError {
                provider: application.provider.name.clone(),
                message:
                    "Another provider has the same host in external_host and answers in its place: give this one a \
                          host of its own."
                        .to_owned(),
                details: json!({"host": application.rule.host().to_string(), "served_by": by.provider.name}),
                client: None,
            });
        }
    }

    /// Reports a question that does not say what it is about, at most once a minute and provider (PX-254).
    pub(crate) fn report_question(
        &self,
        application: &Application,
        dialect: Dialect,
        headers: &HeaderMap,
        client: IpAddr,
    ) {
        if !self.is_due(&application.reported_question) {
            return;
        }
        let names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).take(100).collect();
        self.report(ConfigurationError {
            provider: application.provider.name.clone(),
            message: format!(
                "The reverse proxy does not say which request it asks about: {dialect:?} has to send other headers."
            ),
            // Not under a word that has `header` in it: what stands there is taken for values, and hidden (PX-408).
            details: json!({"fields": names, "values": shown(headers)}),
            client: Some(client),
        });
    }

    /// Reports somebody in whose name nothing can be sent, at most once a minute and provider (PX-203).
    pub(crate) fn report_identity(
        &self,
        application: &Application,
        fault: Fault,
        identity: Option<&Identity>,
        client: IpAddr,
    ) {
        if !self.is_due(&application.reported_identity) {
            return;
        }
        let user = identity.map(|identity| identity.name.chars().take(200).collect::<String>());
        self.report(ConfigurationError {
            provider: application.provider.name.clone(),
            message:
                "A user's requests are refused, because their account holds what cannot be sent to the application."
                    .to_owned(),
            details: json!({"user": user, "reason": fault.to_string()}),
            client: Some(client),
        });
    }

    /// Whether the last report is long enough ago; then this is the next one.
    fn is_due(&self, reported: &AtomicI64) -> bool {
        let now = self.clock.now().seconds();
        let last = reported.load(Ordering::Acquire);
        now >= last.saturating_add(PAUSE)
            && reported.compare_exchange(last, now, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn report(&self, error: ConfigurationError) {
        tracing::error!(
            provider.name = error.provider,
            details = %error.details,
            "{}", error.message
        );
        let control = Arc::clone(&self.control);
        tokio::spawn(async move {
            if let Err(failed) = control.report(error).await {
                tracing::warn!(%failed, "the control plane did not take a report");
            }
        });
    }
}

/// The values that say what was asked about; all others may be secrets.
fn shown(headers: &HeaderMap) -> Map<String, Value> {
    let is_shown = |name: &str| ["x-forwarded-", "x-original-"].iter().any(|known| starts_alike(name, known));
    let text = |value: &http::HeaderValue| {
        let all = String::from_utf8_lossy(value.as_bytes()).into_owned();
        // Targets without what may follow: queries hold codes and tokens.
        all.split('?').next().unwrap_or_default().chars().take(200).collect::<String>()
    };
    headers
        .iter()
        .filter(|(name, _)| is_shown(name.as_str()) || *name == HOST)
        .take(20)
        .map(|(name, value)| (name.as_str().to_owned(), Value::from(text(value))))
        .collect()
}
