//! Requests of an outpost to its control plane.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use portcullis_core::causes::causes;
use rustls::pki_types::CertificateDer;
use url::Url;

use crate::body::Body;
use crate::upstream::dial::{Dial, DialError, Stream, Tls};
use crate::upstream::{SendError, Target, UpstreamSettings, Upstreams, Via};

/// The longest answer, in bytes: a page of a hundred providers with long lists of open paths.
const LONGEST: usize = 16 * 1024 * 1024;

/// How outposts call themselves (PX-350).
pub(super) const AGENT: &str = concat!("goauthentik.io/outpost/", env!("CARGO_PKG_VERSION"));

/// Name the client of an outpost to its control plane (CO-389).
const REMOTE_IP: HeaderName = HeaderName::from_static("x-authentik-remote-ip");
const OUTPOST_TOKEN: HeaderName = HeaderName::from_static("x-authentik-outpost-token");

/// An answer, whatever it says.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NoReply(String);

/// Connections to the control plane, with their limits (PX-111).
pub(super) struct Caller {
    upstreams: Upstreams,
    tls: Tls,
    verify: bool,
    connect: Duration,
    limit: Duration,
    via: Option<Via>,
}

impl Caller {
    pub(super) fn new(
        authorities: Vec<CertificateDer<'static>>,
        verify: bool,
        connect: Duration,
        limit: Duration,
        via: Option<Via>,
    ) -> Self {
        let tls = Tls::new(authorities.clone());
        let settings = UpstreamSettings { connect, authorities, via: via.clone(), ..UpstreamSettings::default() };
        Self { upstreams: Upstreams::new(settings), tls, verify, connect, limit, via }
    }

    /// Sends a request and reads the whole answer. Dropping the future abandons both.
    pub(super) async fn call(
        &self,
        method: Method,
        url: &Url,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Reply, NoReply> {
        let failed = |what: &dyn std::fmt::Display| NoReply(format!("{}: {what}", without_query(url)));
        let origin = url.origin().ascii_serialization();
        let target = Target::parse(&origin, self.verify).map_err(|error| failed(&error))?;
        if !headers.contains_key(HOST) {
            let host = HeaderValue::try_from(target.authority.as_str()).map_err(|error| failed(&error))?;
            headers.insert(HOST, host);
        }
        let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
        let uri: Uri = format!("{origin}{path}").parse().map_err(|error| failed(&error))?;
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        let asked = async {
            // Over HTTP/1.1, so that `Host` may differ from what is dialled (PX-341).
            let response = self.upstreams.send(&target, request, true).await.map_err(|error| match error {
                SendError::Upstream(error) => failed(&causes(&error)),
                SendError::RequestBody(error) => failed(&error),
            })?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, LONGEST).collect().await.map_err(|error| failed(&error))?.to_bytes();
            Ok(Reply { status: parts.status, headers: parts.headers, body })
        };
        tokio::time::timeout(self.limit, asked).await.unwrap_or_else(|_| Err(failed(&"no answer in time")))
    }

    /// A connection for something else than requests.
    pub(super) async fn connect(&self, url: &Url) -> Result<Stream, NoReply> {
        let failed = |what: &dyn std::fmt::Display| NoReply(format!("{}: {what}", without_query(url)));
        let target = Target::parse(&url.origin().ascii_serialization(), self.verify).map_err(|error| failed(&error))?;
        let tls = (url.scheme() == "https").then(|| self.tls.connector(self.verify, true));
        let dialled = Dial::new(&target.authority, tls, self.connect).through(self.via.clone()).dial().await;
        dialled.map_err(|error: DialError| failed(&causes(&error)))
    }
}

fn without_query(url: &Url) -> &str {
    &url[..url::Position::AfterPath]
}

/// Headers of calls to the API (PX-350).
pub(super) fn of_api(token: &str) -> Option<HeaderMap> {
    let mut bearer = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    bearer.set_sensitive(true);
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, bearer);
    headers.insert(http::header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    Some(headers)
}

/// Headers of calls to the OAuth endpoints of a provider (PX-111, PX-341), with the outpost's token and the client on
/// whose behalf it asks, where it may show them: it is the client's address that counts, and the token says who may name
/// another than its own (CO-389).
pub(super) fn of_provider(name: &str, seen_as: Option<&Url>, speaks_for: Option<(&str, Option<IpAddr>)>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let plain: String = name.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
    let agent = HeaderValue::try_from(format!("{AGENT} (provider={plain})"));
    headers.insert(USER_AGENT, agent.unwrap_or_else(|_| HeaderValue::from_static(AGENT)));
    headers.insert(http::header::ACCEPT, HeaderValue::from_static("application/json"));
    if let Some((token, client)) = speaks_for {
        if let Ok(mut token) = HeaderValue::try_from(token) {
            token.set_sensitive(true);
            headers.insert(OUTPOST_TOKEN, token);
        }
        let address = client.and_then(|client| HeaderValue::try_from(client.to_canonical().to_string()).ok());
        if let Some(address) = address {
            headers.insert(REMOTE_IP, address);
        }
    }
    if let Some(url) = seen_as
        && let (Ok(host), Ok(scheme)) = (HeaderValue::try_from(authority(url)), HeaderValue::try_from(url.scheme()))
    {
        headers.insert(HOST, host);
        headers.insert(crate::origin::X_FORWARDED_PROTO, scheme);
    }
    headers
}

/// Host and port of a URL, the scheme's own port left out.
fn authority(url: &Url) -> &str {
    &url[url::Position::BeforeHost..url::Position::AfterPort]
}
