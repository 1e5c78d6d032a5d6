//! Logs and metrics.

use std::io::IsTerminal;
use std::sync::Arc;

use portcullis_core::clock::Clock;
use portcullis_proxy::access_log::{AccessLog, Format};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::Failure;
use crate::histograms::{Counted, Counting};
use crate::settings::{LogFormat, LogLevel, Settings};

/// Libraries that show headers or statements when asked for details: they are never asked (PX-321).
const QUIET: [&str; 6] = ["h2", "hyper", "hyper_util", "rustls", "sqlx", "tokio_tungstenite"];

/// Sends log messages to standard error.
///
/// # Errors
/// When there is a logger already.
pub(crate) fn start_logging(format: LogFormat, level: &LogLevel) -> Result<(), Failure> {
    Ok(tracing_subscriber::registry().with(lines(format).with_filter(filter(level))).try_init()?)
}

/// The same, where the level may be changed later.
///
/// # Errors
/// When there is a logger already.
pub(crate) fn start_adjustable_logging(format: LogFormat, level: &LogLevel) -> Result<Level, Failure> {
    let (filter, handle) = reload::Layer::new(filter(level));
    tracing_subscriber::registry().with(lines(format).with_filter(filter)).try_init()?;
    Ok(Level(handle))
}

/// Which messages are logged, of a logger at work.
pub(crate) struct Level(reload::Handle<Targets, Registry>);

impl Level {
    /// Logs what this level says from now on.
    pub(crate) fn change(&self, level: &LogLevel) {
        let wanted = filter(level);
        if self.0.with_current(|present| *present == wanted).unwrap_or(true) {
            return;
        }
        if let Err(error) = self.0.reload(wanted) {
            tracing::warn!(%error, "the log level stays as it is");
        }
    }
}

fn filter(level: &LogLevel) -> Targets {
    QUIET.iter().fold(level.filter(), |filter, name| filter.with_target(*name, LevelFilter::WARN))
}

fn lines(format: LogFormat) -> Box<dyn Layer<Registry> + Send + Sync> {
    let lines = fmt::layer().with_writer(std::io::stderr);
    match form(format) {
        Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    }
}

/// How lines look on standard error.
pub(crate) fn form(format: LogFormat) -> Format {
    form_on(format, std::io::stderr().is_terminal())
}

const fn form_on(format: LogFormat, terminal: bool) -> Format {
    match (format, terminal) {
        (LogFormat::Text, _) | (LogFormat::Auto, true) => Format::Text,
        (LogFormat::Json, _) | (LogFormat::Auto, false) => Format::Json,
    }
}

/// The log of requests, unless it is turned off.
///
/// # Errors
/// When no thread can be started for it.
pub(crate) fn access_log(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Option<AccessLog>, Failure> {
    if !settings.log.access {
        return Ok(None);
    }
    let format = form(settings.log.format);
    let headers: Vec<_> = settings.log.http_headers.iter().map(|name| name.0.clone()).collect();
    Ok(Some(AccessLog::start(format, &headers, clock, Box::new(std::io::stderr()))?))
}

/// Starts to count. Call it before anything takes a counter.
///
/// # Errors
/// When something counts already.
pub(crate) fn start_metrics() -> Result<Counted, Failure> {
    let counting = Counting::new();
    let counted = counting.counted();
    metrics::set_global_recorder(counting)?;
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PX-320: without a word about it, lines are JSON wherever no person looks on.
    #[test]
    fn px_320_lines_are_json_unless_they_go_to_a_terminal() {
        assert_eq!((form_on(LogFormat::Auto, false), form_on(LogFormat::Auto, true)), (Format::Json, Format::Text));
        for terminal in [false, true] {
            assert_eq!(form_on(LogFormat::Json, terminal), Format::Json);
            assert_eq!(form_on(LogFormat::Text, terminal), Format::Text);
        }
    }
}
