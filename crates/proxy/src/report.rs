//! What an administrator has to mend, told to the control plane (PX-232, PX-254, PX-363).

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::HeaderMap;
use http::header::HOST;
use portcullis_core::path::Dialect;
use portcullis_core::skip::BadLine;
use serde_json::{Map, Value, json};

use crate::application::Application;
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

    /// Reports a question that does not say what it is about, at most once a minute and provider (PX-254).
    pub(crate) fn report_question(
        &self,
        application: &Application,
        dialect: Dialect,
        headers: &HeaderMap,
        client: IpAddr,
    ) {
        let now = self.clock.now().seconds();
        let last = application.reported_question.load(Ordering::Acquire);
        let due = now >= last.saturating_add(PAUSE);
        let taken =
            || application.reported_question.compare_exchange(last, now, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if !due || !taken() {
            return;
        }
        let names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).take(100).collect();
        self.report(ConfigurationError {
            provider: application.provider.name.clone(),
            message: format!(
                "The reverse proxy does not say which request it asks about: {dialect:?} has to send other headers."
            ),
            details: json!({"headers": names, "values": shown(headers)}),
            client: Some(client),
        });
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
