//! How long requests take (PX-317), with bounded labels (PX-318).

use std::sync::OnceLock;
use std::time::Duration;

use http::Method;
use metrics::{Histogram, gauge, histogram};
use portcullis_core::clock::Timestamp;

/// Methods with a label of their own; all others are `other`.
const METHODS: [&str; 17] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "REPORT",
    "SEARCH",
    "other",
];

/// What kind of answer was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// For an application, also when it was refused.
    App,
    /// `ping`.
    Ping,
    /// A static file.
    Static,
}

impl Kind {
    const fn label(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Ping => "ping",
            Self::Static => "static",
        }
    }
}

/// The label of a method.
fn label(method: &Method) -> &'static str {
    METHODS.iter().find(|name| **name == method.as_str()).copied().unwrap_or("other")
}

/// One histogram per method, made when it is first needed.
#[derive(Debug, Default)]
struct ByMethod([OnceLock<Histogram>; METHODS.len()]);

impl ByMethod {
    fn record(&self, method: &Method, took: Duration, make: impl FnOnce(&'static str) -> Histogram) {
        let known = METHODS.iter().zip(&self.0).find(|(name, _)| **name == method.as_str());
        if let Some((name, slot)) = known.or_else(|| METHODS.iter().zip(&self.0).next_back()) {
            slot.get_or_init(|| make(name)).record(took);
        }
    }
}

/// Durations of one application's requests.
#[derive(Debug, Default)]
pub struct Durations {
    outpost: String,
    host: String,
    scheme: &'static str,
    upstream_host: String,
    requests: ByMethod,
    upstream: ByMethod,
}

impl Durations {
    /// For an application under the configured `host`; `upstream` is the scheme and authority dialled.
    pub fn new(outpost: &str, host: &str, upstream: Option<(&http::uri::Scheme, &str)>) -> Self {
        let (scheme, authority) = match upstream {
            Some((scheme, authority)) => {
                (if *scheme == http::uri::Scheme::HTTPS { "https" } else { "http" }, authority)
            }
            None => ("", ""),
        };
        Self {
            outpost: outpost.to_owned(),
            host: host.to_owned(),
            scheme,
            upstream_host: authority.to_owned(),
            ..Self::default()
        }
    }

    /// A request was answered.
    pub fn request(&self, method: &Method, took: Duration, kind: Kind) {
        let make = |method| {
            histogram!("authentik_outpost_proxy_request_duration_seconds", "outpost_name" => self.outpost.clone(),
                "method" => method, "host" => self.host.clone(), "type" => kind.label())
        };
        if kind == Kind::App {
            self.requests.record(method, took, make);
        } else {
            make(label(method)).record(took);
        }
    }

    /// The upstream answered, or did not.
    pub fn upstream(&self, method: &Method, took: Duration) {
        self.upstream.record(method, took, |method| {
            histogram!("authentik_outpost_proxy_upstream_response_duration_seconds",
                "outpost_name" => self.outpost.clone(), "method" => method, "scheme" => self.scheme,
                "host" => self.host.clone(), "upstream_host" => self.upstream_host.clone())
        });
    }
}

/// Tells about the outpost itself: at start, and whenever its configuration came anew.
pub fn outpost_updated(name: &str, uuid: &str, version: &'static str, build: &'static str, now: Timestamp) {
    let labels = || {
        [
            ("outpost_name", name.to_owned()),
            ("outpost_type", "proxy".to_owned()),
            ("uuid", uuid.to_owned()),
            ("version", version.to_owned()),
            ("build", build.to_owned()),
        ]
    };
    gauge!("authentik_outpost_info", &labels()).set(1.0);
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 have 31 bits")]
    gauge!("authentik_outpost_last_update", &labels()).set(now.seconds() as f64);
}

/// Tells whether the outpost is connected to its control plane; an embedded one always is.
pub fn outpost_connected(name: &str, uuid: &str, connected: bool) {
    let labels = [("outpost_name", name.to_owned()), ("outpost_type", "proxy".to_owned()), ("uuid", uuid.to_owned())];
    gauge!("authentik_outpost_connection", &labels).set(f64::from(u8::from(connected)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PX-317, PX-318: whatever is no application's business is told apart by type and method.
    #[test]
    fn px_317_types_and_methods_are_labels() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let rendered = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            let durations = Durations::new("edge", "other", None);
            for kind in [Kind::App, Kind::Ping, Kind::Static] {
                durations.request(&Method::HEAD, Duration::ZERO, kind);
            }
        });
        let page = rendered.render();
        for kind in ["app", "ping", "static"] {
            let labels = format!("{{outpost_name=\"edge\",method=\"HEAD\",host=\"other\",type=\"{kind}\"");
            assert!(page.contains(&labels), "{labels} in {page}");
        }
    }

    /// PX-318: a method that a client made up has no label of its own.
    #[test]
    fn px_318_made_up_methods_share_a_label() {
        let by_method = ByMethod::default();
        let mut labels = Vec::new();
        for method in ["GET", "MADE-UP", "get", "MADE-UP-TOO", "PROPFIND"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            by_method.record(&method, Duration::ZERO, |label| {
                labels.push(label);
                Histogram::noop()
            });
        }
        assert_eq!(labels, ["GET", "other", "PROPFIND"]);
    }
}
