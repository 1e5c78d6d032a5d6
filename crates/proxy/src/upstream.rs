//! Connections to applications: connect, TLS, pool.

use http::Uri;
use http::uri::{Authority, Scheme};

/// Where an application is, parsed once per provider (PX-275).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Host and perhaps port that is dialled, and that a certificate must name (PX-277).
    pub authority: Authority,
    /// Path in front of every request's path, without a slash at its end; mostly empty.
    pub base_path: String,
    /// Whether the upstream's certificate is verified (PX-279).
    pub verify: bool,
}

/// Why a text is no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not an absolute URL of scheme `http` or `https`.
    #[error("not an absolute http or https URL")]
    NotAbsolute,
    /// It carries user information or a query.
    #[error("a URL with user information or a query is no target")]
    Excess,
}

impl Target {
    /// Reads `internal_host` or `backend_override` (PX-275, PX-276).
    ///
    /// # Errors
    /// When it is no absolute http or https URL, or has user information or a query.
    pub fn parse(url: &str, verify: bool) -> Result<Self, TargetError> {
        let uri: Uri = url.trim().parse().map_err(|_| TargetError::NotAbsolute)?;
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(TargetError::NotAbsolute);
        };
        if (scheme != Scheme::HTTP && scheme != Scheme::HTTPS) || authority.host().is_empty() {
            return Err(TargetError::NotAbsolute);
        }
        let path_and_query = parts.path_and_query;
        if authority.as_str().contains('@') || path_and_query.as_ref().is_some_and(|all| all.query().is_some()) {
            return Err(TargetError::Excess);
        }
        let base_path = path_and_query.map_or_else(String::new, |all| all.path().trim_end_matches('/').to_owned());
        Ok(Self { scheme, authority, base_path, verify })
    }
}

/// Why the upstream gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Nobody answers there, or the name is unknown.
    #[error("cannot connect to the upstream")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The TLS handshake failed, for example for an untrusted certificate.
    #[error("TLS handshake with the upstream failed")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It took too long (PX-283); answered with 504.
    #[error("the upstream took too long")]
    Timeout,
    /// It spoke something else than HTTP, or went away before it answered.
    #[error("the upstream broke off")]
    Protocol(#[source] Box<dyn std::error::Error + Send + Sync>),
}
