//! What the pipeline counts (PX-319). Handles are made once; a request only adds.

use metrics::{Counter, counter};

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
    /// Questions about passwords.
    pub calls_verify_password: Counter,
    /// Questions about tokens.
    pub calls_introspect: Counter,
    /// Codes exchanged.
    pub calls_exchange_code: Counter,
    /// Questions whether a session's grounds still hold.
    pub calls_still_stands: Counter,
    /// Questions that were not answered.
    pub failed_calls: Counter,
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
        let calls = |endpoint: &'static str| counter!("portcullis_proxy_core_calls_total", "endpoint" => endpoint);
        let logins = |outcome: &'static str| counter!("portcullis_proxy_logins_total", "outcome" => outcome);
        let cache = |cache: &'static str, result: &'static str| counter!("portcullis_proxy_identity_cache_total", "cache" => cache, "result" => result);
        Self {
            accepted: ByScheme::new("accepted"),
            refused: ByScheme::new("refused"),
            header_hits: cache("header", "hit"),
            session_hits: cache("session", "hit"),
            session_misses: cache("session", "miss"),
            calls_verify_password: calls("verify_password"),
            calls_introspect: calls("introspect"),
            calls_exchange_code: calls("exchange_code"),
            calls_still_stands: calls("still_stands"),
            failed_calls: counter!("portcullis_proxy_core_failures_total"),
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
