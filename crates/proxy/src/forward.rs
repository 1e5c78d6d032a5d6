//! Carries one request to the upstream, and its answer back (section 16 of the proxy specification).

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Request, Response};
use portcullis_core::origin::Origin;
use tokio_util::sync::CancellationToken;

use crate::body::Body;
use crate::upstream::{Target, UpstreamError};

/// Says whether a client may not use a field name, neither in the head (whose fields the caller has
/// removed already) nor as a trailer.
pub type ForbiddenName = Arc<dyn Fn(&HeaderName) -> bool + Send + Sync>;

/// How a request goes on, decided by the pipeline.
pub struct Plan<'a> {
    /// Where to.
    pub target: &'a Target,
    /// `Host` sent upstream; the effective host of the request if none (PX-277).
    pub host: Option<&'a HeaderValue>,
    /// Headers that replace whatever the client sent under these names: identity, HTTP Basic,
    /// additional headers. Set after the hop-by-hop headers are gone (PX-222).
    pub set: &'a [(HeaderName, HeaderValue)],
    /// Names that clients may not use (PX-220, PX-221); asked for trailers only. Names of `set`,
    /// identity headers, `Authorization` and forwarded headers are always refused there.
    pub forbidden: Option<ForbiddenName>,
    /// Ends a tunnel or a streamed answer when the session does (PX-197).
    pub ends: Option<CancellationToken>,
}

/// Why there is no answer from the upstream.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The client's request cannot be forwarded; answered with 400.
    #[error("the request cannot be forwarded: {0}")]
    BadRequest(&'static str),
    /// The client's body came to nothing; answered with 400, or 408 if it stalled.
    #[error("the request body failed")]
    Body(#[source] crate::body::BodyError),
    /// 502, or 504 for [`UpstreamError::Timeout`].
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

/// Forwards requests.
pub struct Forwarder {
    _private: (),
}

impl Forwarder {
    /// Sends `request` as `plan` says and gives the answer back, cleaned of hop-by-hop headers.
    ///
    /// `Authorization`, identity headers and others that the application must not see are removed
    /// by the caller; this removes hop-by-hop headers and sets the forwarded ones (PX-278).
    ///
    /// # Errors
    /// When the request cannot be forwarded or the upstream does not answer.
    pub async fn forward(
        &self,
        request: Request<Body>,
        origin: &Origin,
        plan: Plan<'_>,
    ) -> Result<Response<Body>, ForwardError> {
        let _ = (request, origin, plan);
        Err(ForwardError::Upstream(UpstreamError::Timeout))
    }
}
