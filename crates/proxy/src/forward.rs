//! Carries one request to the upstream, and its answer back (section 16 of the proxy specification).

mod bodies;
mod headers;
mod tunnel;

use std::sync::Arc;

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, FORWARDED, HOST, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use portcullis_core::origin::Origin;
use tokio_util::sync::CancellationToken;

use self::bodies::Continue;
pub(crate) use self::bodies::Until;
use self::headers::Trailers;
pub(crate) use self::headers::clean_aside;
use crate::body::{Body, BodyError};
use crate::http1::give_back_text;
use crate::lines::Lines;
use crate::listener::Slot;
use crate::live::{Held, Lasting};
use crate::upstream::{SendError, Target, UpstreamError, Upstreams};

/// Says whether a client may not use a field name, neither in the head (whose fields the caller has
/// removed already) nor as a trailer.
pub type ForbiddenName = Arc<dyn Fn(&HeaderName) -> bool + Send + Sync>;

/// Binds something that lasts to the session of the request.
pub type Watch<'a> = dyn Fn(Lasting) -> Held + Send + Sync + 'a;

/// How a request goes on, decided by the pipeline.
pub struct Plan<'a> {
    /// Where to.
    pub target: &'a Target,
    /// `Host` sent upstream; the effective host of the request if none (PX-277).
    pub host: Option<&'a HeaderValue>,
    /// Headers that replace whatever the client sent under these names: what is the same for everybody, and then identity,
    /// HTTP Basic, additional headers. Set after the hop-by-hop headers are gone (PX-222).
    pub set: [Option<&'a Lines>; 2],
    /// Names that clients may not use (PX-220, PX-221); asked for trailers only. Names of `set`,
    /// identity headers, `Authorization` and forwarded headers are always refused there.
    pub forbidden: Option<ForbiddenName>,
    /// Watches the session that a tunnel or a streamed answer is opened under (PX-197).
    pub session: Option<&'a Watch<'a>>,
}

/// Why there is no answer from the upstream.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The client's request cannot be forwarded; answered with 400.
    #[error("the request cannot be forwarded: {0}")]
    BadRequest(&'static str),
    /// The client's body came to nothing; answered with 400, or 408 if it stalled.
    #[error("the request body failed")]
    Body(#[source] BodyError),
    /// 502, or 504 for [`UpstreamError::Timeout`].
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

/// Forwards requests.
pub struct Forwarder {
    upstreams: Upstreams,
    powered_by: bool,
    closing: CancellationToken,
}

impl Forwarder {
    /// Forwards over these pools; `powered_by` adds `X-Powered-By` to answers (PX-291).
    ///
    /// `closing` cuts the tunnels that are left when the time to drain is over (PX-007): it is
    /// [`crate::listener::Server::cut`].
    pub fn new(upstreams: Upstreams, powered_by: bool, closing: CancellationToken) -> Self {
        Self { upstreams, powered_by, closing }
    }

    /// Sends `request` as `plan` says and gives the answer back, cleaned of hop-by-hop headers. Nothing is left of the
    /// request.
    ///
    /// `Authorization`, identity headers and others that the application must not see are removed
    /// by the caller; this removes hop-by-hop headers and sets the forwarded ones (PX-278).
    ///
    /// # Errors
    /// When the request cannot be forwarded or the upstream does not answer.
    pub async fn forward(
        &self,
        request: &mut Request<Body>,
        origin: &Origin,
        plan: Plan<'_>,
    ) -> Result<Response<Body>, ForwardError> {
        let upgrade = headers::upgrade(request);
        let client_side = upgrade.is_some().then(|| hyper::upgrade::on(&mut *request));
        let slot = request.extensions_mut().remove::<Slot>();
        *request.extensions_mut() = Extensions::new();
        let from = std::mem::replace(request.version_mut(), Version::HTTP_11);
        to_upstream_path(request.uri_mut(), plan.target)?;
        let drives = upgrade.is_none() && Upstreams::drives(plan.target, request);
        if !headers::is_text(&origin.host) {
            return Err(ForwardError::BadRequest("host"));
        }
        // Before the hop-by-hop headers go: a `Connection` of the client may name the field that has the chain so far.
        let (told, chain) = if drives {
            (headers::tell_in_lines(request.headers_mut(), origin, plan.set), Vec::new())
        } else {
            (Vec::new(), headers::forwarded_for(request.headers(), origin))
        };
        let host = set_host(request.headers_mut(), origin, &plan)?;
        if drives {
            plan.set.into_iter().flatten().for_each(|lines| lines.unset(request.headers_mut()));
        } else {
            headers::tell(request.headers_mut(), origin, chain);
            plan.set.into_iter().flatten().for_each(|lines| lines.set(request.headers_mut()));
        }

        let body = std::mem::take(request.body_mut());
        if let (true, Some(length)) = (request.headers().contains_key(CONTENT_LENGTH), body.size_hint().exact()) {
            // As a plain number: some read `010` as eight.
            request.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
        if let Some(protocol) = &upgrade {
            request.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
            request.headers_mut().insert(UPGRADE, protocol.clone());
        }
        if !body.is_end_stream() {
            *request.body_mut() = request_body(request, from, body, &plan);
        }

        let answer = if drives {
            let answer = self.upstreams.send_driven(plan.target, request, &told, plan.set).await;
            give_back_text(told);
            answer
        } else {
            to_absolute_form(request.uri_mut(), plan.target, &host)?;
            self.upstreams.send(plan.target, std::mem::take(request), upgrade.is_some()).await
        };
        let mut answer = answer.map_err(|error| match error {
            SendError::Upstream(error) => ForwardError::Upstream(error),
            SendError::RequestBody(error) => ForwardError::Body(error),
        })?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            let same = upgrade.is_some() && answer.headers().get(UPGRADE).is_some_and(|to| alike(to, upgrade.as_ref()));
            let (true, Some(client_side)) = (same, client_side) else {
                return Err(UpstreamError::Protocol("it changed the protocol unasked".into()).into());
            };
            let upstream_side = hyper::upgrade::on(&mut answer);
            let closing = (self.closing.clone(), plan.session.map(|watch| watch(Lasting::Tunnel)));
            tokio::spawn(tunnel::run(client_side, upstream_side, closing, slot));
            *answer.body_mut() = Body::Empty;
            self.clean(&mut answer, upgrade);
            return Ok(answer);
        }
        if let Some(watch) = plan.session
            && answer.body().size_hint().exact().is_none()
        {
            let body = std::mem::take(answer.body_mut());
            *answer.body_mut() = Body::Until(Box::new(Until::new(body, watch(Lasting::Answer))));
        }
        self.clean(&mut answer, None);
        Ok(answer)
    }

    /// Takes out of an answer what is not for the client.
    fn clean(&self, answer: &mut Response<Body>, upgrade: Option<HeaderValue>) {
        *answer.version_mut() = Version::HTTP_11;
        *answer.extensions_mut() = Extensions::new();
        let status = answer.status();
        let headers = answer.headers_mut();
        headers::remove_hop_by_hop(headers);
        headers::remove_own_cookies(headers);
        if status == StatusCode::NO_CONTENT {
            // There is no body for it to be the length of (RFC 9110 §8.6).
            headers.remove(CONTENT_LENGTH);
        }
        if let Some(protocol) = upgrade {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, protocol);
        }
        match answer.body_mut().came() {
            _ if !self.powered_by => {}
            Some(Some(came)) => came.powered_by_us(),
            _ => {
                const X_POWERED_BY: HeaderName = HeaderName::from_static("x-powered-by");
                answer.headers_mut().insert(X_POWERED_BY, HeaderValue::from_static("goauthentik.io"));
            }
        }
    }
}

/// Removes what was meant for us alone, and sets `Host`, which it gives.
fn set_host(headers: &mut HeaderMap, origin: &Origin, plan: &Plan<'_>) -> Result<HeaderValue, ForwardError> {
    let mut sent = headers.get_all(HOST).iter();
    // Mostly the client's own field says it as we would.
    let own = sent.next().filter(|own| sent.next().is_none() && own.as_bytes() == origin.host.as_bytes()).cloned();
    let is_kept = own.is_some() && plan.host.is_none();
    let host = match (plan.host, own) {
        (Some(host), _) => host.clone(),
        (None, Some(own)) => own,
        (None, None) => HeaderValue::try_from(&origin.host).map_err(|_| ForwardError::BadRequest("host"))?,
    };
    headers::remove_hop_by_hop(headers);
    if !origin.peer_trusted {
        // Gone already when the listener made the origin; kept here so that nobody has to know.
        headers.remove(FORWARDED);
    }
    // A `Connection` of the client may have named it.
    if !is_kept || !headers.contains_key(HOST) {
        headers.insert(HOST, host.clone());
    }
    Ok(host)
}

fn alike(theirs: &HeaderValue, asked: Option<&HeaderValue>) -> bool {
    asked.is_some_and(|asked| theirs.as_bytes().eq_ignore_ascii_case(asked.as_bytes()))
}

/// Base path, and the request's own path and query byte for byte (PX-275).
fn to_upstream_path(uri: &mut Uri, target: &Target) -> Result<(), ForwardError> {
    let path = uri.path_and_query().filter(|path| path.as_str().starts_with('/'));
    let path = path.ok_or(ForwardError::BadRequest("the target is no path"))?;
    if !target.base_path.is_empty() {
        if has_dot_segment(path.path()) {
            return Err(ForwardError::BadRequest("the path has a dot segment"));
        }
        let joined = format!("{}{}", target.base_path, path.as_str());
        *uri = PathAndQuery::try_from(joined).map_err(|_| ForwardError::BadRequest("the target is no path"))?.into();
    } else if uri.authority().is_some() {
        *uri = path.clone().into();
    }
    Ok(())
}

/// Adds the scheme, and the authority that connections are shared by.
fn to_absolute_form(uri: &mut Uri, target: &Target, host: &HeaderValue) -> Result<(), ForwardError> {
    let mut parts = std::mem::take(uri).into_parts();
    // Over HTTP/2 the URI's authority is what the upstream sees as the host; the connection goes to
    // the target in any case.
    parts.authority = Some(if target.scheme == Scheme::HTTPS {
        Authority::try_from(host.as_bytes()).map_err(|_| ForwardError::BadRequest("host"))?
    } else {
        target.authority.clone()
    });
    parts.scheme = Some(target.scheme.clone());
    *uri = Uri::from_parts(parts).map_err(|_| ForwardError::BadRequest("the target is no path"))?;
    Ok(())
}

/// Whether some reading of the path could leave its base: `.` or `..` between slashes of any kind.
fn has_dot_segment(path: &str) -> bool {
    let plain = path.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "/");
    plain.split(['/', '\\']).any(|segment| {
        let name = segment.split(';').next().unwrap_or_default();
        name == "." || name == ".."
    })
}

/// Frames the body anew, keeps trailers honest, and waits for the upstream's 100 if the client does.
fn request_body(request: &mut Request<Body>, from: Version, body: Body, plan: &Plan<'_>) -> Body {
    let expects =
        request.headers().get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let is_sized = body.size_hint().exact().is_some();
    // Over HTTP/2 a body whose length is known may have trailers, too.
    let body = if is_sized && from != Version::HTTP_2 {
        body
    } else {
        let trailers = Trailers::new(plan.set, plan.forbidden.clone());
        if !is_sized {
            // Without this a GET with a chunked body would be sent as one without a body.
            request.headers_mut().remove(CONTENT_LENGTH);
            request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        trailers.announce(request.headers_mut());
        Body::Boxed(Box::pin(bodies::Checked::new(body, trailers)))
    };
    if expects { Continue::install(request, body) } else { body }
}
