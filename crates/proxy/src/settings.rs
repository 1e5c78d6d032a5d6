//! What an operator can set about the data plane (PX-010).

use std::time::Duration;

/// At most this many in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How many.
    pub count: u32,
    /// Length of the window.
    pub window: Duration,
}

/// What happens to upstream HTTP Basic when a user has no password attribute (PX-214).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptyBasicPassword {
    /// It is sent with an empty password.
    Send,
    /// It is not sent.
    Omit,
}

/// What `X-authentik-jwt` carries (PX-206).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardJwt {
    /// The assertion for the application, or the raw token if the control plane gave none.
    Assertion,
    /// The raw token.
    Full,
    /// Nothing: the header is absent.
    Off,
}

/// The operator's settings of the data plane. Defaults are those of PX-010.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxySettings {
    /// How long a verified `Authorization` value is believed, at most 60 s (PX-107).
    pub header_cache_ttl: Duration,
    /// How long refused credentials are refused without asking again, at most 60 s (PX-109).
    pub negative_cache_ttl: Duration,
    /// Failed attempts per client address (PX-110).
    pub failures_per_address: Limit,
    /// Failed attempts per client address and user name (PX-110).
    pub failures_per_username: Limit,
    /// Longest wait for an answer of the control plane (PX-111).
    pub core_timeout: Duration,
    /// Whether programs get 401 instead of a redirect (PX-131).
    pub negotiate_unauthenticated: bool,
    /// Whether CORS preflights pass without identity (PX-134).
    pub allow_cors_preflight: bool,
    /// Whether an `Authorization` value that is not ours passes beside a session while intercepting (PX-096).
    pub authorization_passthrough_with_session: bool,
    /// Upstream HTTP Basic without a password (PX-214).
    pub empty_basic_password: EmptyBasicPassword,
    /// What `X-authentik-jwt` carries (PX-206).
    pub forward_jwt: ForwardJwt,
    /// Further headers that no client may send (PX-221).
    pub strip_request_headers: Vec<String>,
    /// How long a login may take (PX-144).
    pub state_ttl: Duration,
    /// Whether the only provider serves every host (PX-056).
    pub single_app_fallback: bool,
    /// Most bytes of identity headers (PX-209).
    pub max_identity_header_bytes: usize,
    /// Whether answers carry `X-Powered-By` (PX-291).
    pub powered_by: bool,
}

impl Default for ProxySettings {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self {
            header_cache_ttl: minute,
            negative_cache_ttl: Duration::from_secs(10),
            failures_per_address: Limit { count: 20, window: minute },
            failures_per_username: Limit { count: 10, window: minute },
            core_timeout: Duration::from_secs(10),
            negotiate_unauthenticated: true,
            allow_cors_preflight: false,
            authorization_passthrough_with_session: false,
            empty_basic_password: EmptyBasicPassword::Send,
            forward_jwt: ForwardJwt::Assertion,
            strip_request_headers: Vec::new(),
            state_ttl: Duration::from_secs(60 * 60),
            single_app_fallback: false,
            max_identity_header_bytes: 16_384,
            powered_by: true,
        }
    }
}

/// Whole seconds of a duration, for arithmetic with instants.
pub(crate) fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PX-010: the defaults of the data plane's settings.
    #[test]
    fn px_010_defaults() {
        let settings = ProxySettings::default();
        assert_eq!(settings.header_cache_ttl.as_secs(), 60);
        assert_eq!(settings.negative_cache_ttl.as_secs(), 10);
        assert_eq!((settings.failures_per_address.count, settings.failures_per_username.count), (20, 10));
        assert_eq!((settings.core_timeout.as_secs(), settings.state_ttl.as_secs()), (10, 3600));
        assert!(settings.negotiate_unauthenticated && !settings.allow_cors_preflight && settings.powered_by);
        assert_eq!(settings.empty_basic_password, EmptyBasicPassword::Send);
        assert_eq!(settings.forward_jwt, ForwardJwt::Assertion);
        assert_eq!(settings.max_identity_header_bytes, 16_384);
    }
}
