//! What the pipeline counts (PX-319). Handles are made once; a request only adds.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// Counters of the pipeline.
pub struct Meters {
    /// Header authentications that held, by scheme.
    pub accepted: ByScheme,
    /// Header authentications that did not hold, by scheme.
    pub refused: ByScheme,
    /// Requests recognised by their `Authorization` value without a question.
    pub header_hits: Counter,
    /// Requests recognised by their session cookie without a question.
    pub session_hits: Counter,
    /// Sessions that had to be looked up.
    pub session_misses: Counter,
    /// Questions to the control plane, by endpoint.
    pub calls: Calls,
    /// Sessions under which a tunnel or a streamed answer is open.
    pub live_sessions: Gauge,
    /// Sessions in memory.
    pub cached_sessions: Gauge,
    /// Logins that began.
    pub logins_started: Counter,
    /// Logins that ended in a session.
    pub logins_completed: Counter,
    /// Logins that ended otherwise.
    pub logins_failed: Counter,
    /// Attempts that were not looked at, because too many had failed.
    pub rate_limited: Counter,
    /// Headers removed because only we may set them.
    pub stripped_headers: Counter,
}

/// Questions to the control plane.
pub struct Calls {
    /// About passwords.
    pub verify_password: Call,
    /// About tokens.
    pub introspect: Call,
    /// Codes to exchange.
    pub exchange_code: Call,
    /// Whether a session's grounds still hold.
    pub still_stands: Call,
    /// Tokens to sign.
    pub sign: Call,
    /// Sessions to find, keep and end.
    pub sessions: Call,
}

/// One kind of question: how often, how often in vain, how long.
pub struct Call {
    made: Counter,
    failed: Counter,
    took: Histogram,
}

impl Call {
    fn new(endpoint: &'static str) -> Self {
        Self {
            made: counter!("portcullis_proxy_core_calls_total", "endpoint" => endpoint),
            failed: counter!("portcullis_proxy_core_failures_total", "endpoint" => endpoint),
            took: histogram!("portcullis_proxy_core_call_duration_seconds", "endpoint" => endpoint),
        }
    }

    /// A question was asked, and answered or not.
    pub fn ended(&self, took: Duration, answered: bool) {
        self.made.increment(1);
        self.took.record(took);
        if !answered {
            self.failed.increment(1);
        }
    }
}

/// One counter per scheme.
pub struct ByScheme {
    /// HTTP Basic.
    pub basic: Counter,
    /// Bearer tokens.
    pub bearer: Counter,
    /// What could not be understood.
    pub other: Counter,
}

impl ByScheme {
    fn new(result: &'static str) -> Self {
        let of = |scheme: &'static str| counter!("portcullis_proxy_header_auth_total", "scheme" => scheme, "result" => result);
        Self { basic: of("basic"), bearer: of("bearer"), other: of("other") }
    }

    /// The counter of a scheme's name.
    pub fn of(&self, scheme: &str) -> &Counter {
        match scheme {
            "basic" => &self.basic,
            "bearer" => &self.bearer,
            _ => &self.other,
        }
    }
}

impl Meters {
    /// Makes all handles with the recorder that is installed now.
    pub fn new() -> Self {
        let logins = |outcome: &'static str| counter!("portcullis_proxy_logins_total", "outcome" => outcome);
        let cache = |cache: &'static str, result: &'static str| counter!("portcullis_proxy_identity_cache_total", "cache" => cache, "result" => result);
        Self {
            accepted: ByScheme::new("accepted"),
            refused: ByScheme::new("refused"),
            header_hits: cache("header", "hit"),
            session_hits: cache("session", "hit"),
            session_misses: cache("session", "miss"),
            calls: Calls {
                verify_password: Call::new("verify_password"),
                introspect: Call::new("introspect"),
                exchange_code: Call::new("exchange_code"),
                still_stands: Call::new("still_stands"),
                sign: Call::new("sign"),
                sessions: Call::new("sessions"),
            },
            live_sessions: gauge!("portcullis_proxy_live_sessions"),
            cached_sessions: gauge!("portcullis_proxy_cached_sessions"),
            logins_started: logins("started"),
            logins_completed: logins("completed"),
            logins_failed: logins("failed"),
            rate_limited: counter!("portcullis_proxy_rate_limited_total"),
            stripped_headers: counter!("portcullis_proxy_stripped_headers_total"),
        }
    }
}

impl Default for Meters {
    fn default() -> Self {
        Self::new()
    }
}
