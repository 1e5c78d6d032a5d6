//! Connections to applications: connect, TLS, pool.

pub(crate) mod dial;
mod driven;
mod secure;
mod via;

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;

pub use self::driven::Driven;
pub use self::via::Via;

use self::dial::{Dial, DialError, Tls};
use self::driven::{DrivenError, Pool};
use self::secure::Secure;
use crate::body::{Body, BodyError};
use crate::lines::Lines;

type Client = legacy::Client<Dial, Body>;

/// Distinct upstreams whose pools are kept at a time. Past it, all are forgotten and made anew.
const MAX_POOLS: usize = 4096;

/// Where an application is, parsed once per provider (PX-275).
#[derive(Clone, Debug)]
pub struct Target {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Host and perhaps port that is dialled, and that a certificate must name (PX-277).
    pub authority: Authority,
    /// Path in front of every request's path, without a slash at its end; mostly empty.
    pub base_path: String,
    /// Whether the upstream's certificate is verified (PX-279).
    pub verify: bool,
    /// The pools once they were used.
    pools: Arc<Pools>,
}

/// The pools of one target.
#[derive(Default)]
struct Pools {
    /// For requests without a body over plain HTTP.
    driven: OnceLock<Arc<Pool>>,
    /// For all others over plain HTTP.
    shared: OnceLock<Client>,
    /// For all over https.
    secure: OnceLock<Arc<Secure>>,
    /// For upgrades.
    tunnel: OnceLock<Client>,
}

impl std::fmt::Debug for Pools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pools").finish_non_exhaustive()
    }
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
        let url = url.trim();
        let uri: Uri = match url.is_ascii() {
            true => url.parse().or_else(|_| encoded(url).parse()),
            false => encoded(url).parse(),
        }
        .map_err(|_| TargetError::NotAbsolute)?;
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
        Ok(Self { scheme, authority, base_path, verify, pools: Arc::default() })
    }
}

/// A URL as it is sent: names of any language and other characters encoded as browsers do it.
fn encoded(url: &str) -> String {
    // Without these it would guess what is meant.
    let host = url.split_once("://").and_then(|(scheme, rest)| {
        let is_known = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
        rest.chars().next().filter(|first| is_known && *first != '/')
    });
    let is_sure = host.is_some() && !url.chars().any(|letter| letter == '\\' || letter.is_control());
    url::Url::parse(url).ok().filter(|_| is_sure).map(String::from).unwrap_or_default()
}

/// Why the upstream gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Nobody answers there, or the name is unknown.
    #[error("cannot connect to the upstream")]
    Connect(#[source] Box<dyn Error + Send + Sync>),
    /// The TLS handshake failed, for example for an untrusted certificate.
    #[error("TLS handshake with the upstream failed")]
    Tls(#[source] Box<dyn Error + Send + Sync>),
    /// It took too long (PX-283); answered with 504.
    #[error("the upstream took too long")]
    Timeout,
    /// It spoke something else than HTTP, or went away before it answered.
    #[error("the upstream broke off")]
    Protocol(#[source] Box<dyn Error + Send + Sync>),
}

/// Who of the two sides is to blame when no answer came.
#[derive(Debug)]
pub(crate) enum SendError {
    Upstream(UpstreamError),
    RequestBody(BodyError),
}

/// Time limits and trust toward upstreams.
#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    /// Limit to connect, name lookup and TLS handshake included (PX-283).
    pub connect: Duration,
    /// How long an unused connection is kept (PX-284).
    pub idle: Duration,
    /// Certificate authorities beside those of the system (PX-279).
    pub authorities: Vec<CertificateDer<'static>>,
    /// The proxy that all connections go through, if there is one.
    pub via: Option<Via>,
}

impl Default for UpstreamSettings {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), idle: Duration::from_secs(90), authorities: Vec::new(), via: None }
    }
}

/// What connections may be shared by (PX-284).
#[derive(Clone, PartialEq, Eq, Hash)]
struct PoolKey {
    scheme: Scheme,
    authority: Authority,
    verify: bool,
    upgrade: bool,
}

/// The pools of connections to all upstreams.
pub struct Upstreams {
    settings: UpstreamSettings,
    tls: Tls,
    clients: Mutex<HashMap<PoolKey, Client>>,
    driven: Mutex<HashMap<Authority, Arc<Pool>>>,
    /// By authority, and whether certificates are verified.
    secure: Mutex<HashMap<(Authority, bool), Arc<Secure>>>,
}

impl Upstreams {
    /// Pools without connections.
    pub fn new(settings: UpstreamSettings) -> Self {
        let tls = Tls::new(settings.authorities.clone());
        Self { settings, tls, clients: Mutex::default(), driven: Mutex::default(), secure: Mutex::default() }
    }

    /// Whether [`Upstreams::send_driven`] is the way for a request that is no upgrade.
    pub(crate) fn drives(target: &Target, request: &Request<Body>) -> bool {
        target.scheme == Scheme::HTTP && matches!(request.body(), Body::Empty)
    }

    /// Sends a request whose URI is absolute. Dropping the future cancels the request (PX-282).
    ///
    /// `upgrade` asks for a connection that can become a tunnel, which HTTP/2 cannot.
    pub(crate) async fn send(
        &self,
        target: &Target,
        mut request: Request<Body>,
        upgrade: bool,
    ) -> Result<Response<Body>, SendError> {
        let pools = &*target.pools;
        if !upgrade && target.scheme == Scheme::HTTPS {
            let pool = pools.secure.get_or_init(|| self.secure(target));
            return pool.send(request).await;
        }
        if upgrade {
            shared_by(&target.authority, request.uri_mut())?;
        }
        let slot = if upgrade { &pools.tunnel } else { &pools.shared };
        let client = slot.get_or_init(|| self.client(target, upgrade));
        client.request(request).await.map(|answer| answer.map(Body::from)).map_err(|error| {
            let is_connect = error.is_connect();
            classify(error.into(), is_connect)
        })
    }

    fn secure(&self, target: &Target) -> Arc<Secure> {
        let mut pools = self.secure.lock().unwrap_or_else(PoisonError::into_inner);
        if pools.len() >= MAX_POOLS {
            pools.clear();
        }
        let make = || {
            let tls = Some(self.tls.connector(target.verify, false));
            let dial = Dial::new(&target.authority, tls, self.settings.connect).through(self.settings.via.clone());
            Secure::new(dial, self.client(target, false), target.authority.clone(), &self.settings)
        };
        pools.entry((target.authority.clone(), target.verify)).or_insert_with(make).clone()
    }

    /// Sends a request without a body, whose URI is a path, over plain HTTP; behind its own fields, `told` (lines of
    /// HTTP/1.1) and `set`, of which it has none. Dropping the future, or the answer's body, cancels it.
    pub(crate) async fn send_driven(
        &self,
        target: &Target,
        request: &mut Request<Body>,
        told: &[u8],
        set: [Option<&Lines>; 2],
    ) -> Result<Response<Body>, SendError> {
        let pool = target.pools.driven.get_or_init(|| self.pool(target));
        pool.send(request, told, set).await.map_err(|error| {
            SendError::Upstream(match error {
                DrivenError::Dial(DialError::Timeout) => UpstreamError::Timeout,
                DrivenError::Dial(error) => UpstreamError::Connect(Box::new(error)),
                error => UpstreamError::Protocol(Box::new(error)),
            })
        })
    }

    fn pool(&self, target: &Target) -> Arc<Pool> {
        let mut pools = self.driven.lock().unwrap_or_else(PoisonError::into_inner);
        if pools.len() >= MAX_POOLS {
            pools.clear();
        }
        let dial = || Dial::new(&target.authority, None, self.settings.connect).through(self.settings.via.clone());
        let make = || Pool::new(dial(), self.settings.idle);
        pools.entry(target.authority.clone()).or_insert_with(make).clone()
    }

    fn client(&self, target: &Target, upgrade: bool) -> Client {
        let key = PoolKey {
            scheme: target.scheme.clone(),
            authority: target.authority.clone(),
            verify: target.verify,
            upgrade,
        };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= MAX_POOLS {
            clients.clear();
        }
        clients
            .entry(key)
            .or_insert_with(|| {
                let tls = (target.scheme == Scheme::HTTPS).then(|| self.tls.connector(target.verify, true));
                legacy::Client::builder(TokioExecutor::new())
                    .pool_idle_timeout(self.settings.idle)
                    .pool_timer(TokioTimer::new())
                    .timer(TokioTimer::new())
                    .http1_title_case_headers(true)
                    .set_host(false)
                    .build(Dial::new(&target.authority, tls, self.settings.connect).through(self.settings.via.clone()))
            })
            .clone()
    }
}

/// Has connections over HTTP/1.1 shared by the target (PX-284). On the wire stand path and query alone.
fn shared_by(target: &Authority, uri: &mut Uri) -> Result<(), SendError> {
    let mut parts = std::mem::take(uri).into_parts();
    parts.authority = Some(target.clone());
    *uri = Uri::from_parts(parts).map_err(|error| SendError::Upstream(UpstreamError::Protocol(error.into())))?;
    Ok(())
}

/// Finds out what happened from the causes of a client error.
fn classify(error: Box<dyn Error + Send + Sync>, is_connect: bool) -> SendError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&*error);
    while let Some(present) = cause {
        if let Some(dial) = present.downcast_ref::<DialError>() {
            return SendError::Upstream(match dial {
                DialError::Timeout => UpstreamError::Timeout,
                DialError::Tls(_) => UpstreamError::Tls(error),
                DialError::Connect(_) | DialError::Name => UpstreamError::Connect(error),
            });
        }
        if let Some(body) = present.downcast_ref::<BodyError>() {
            return SendError::RequestBody(match body {
                BodyError::Stalled => BodyError::Stalled,
                BodyError::Trailer => BodyError::Trailer,
                BodyError::Ended => BodyError::Ended,
                BodyError::Connection(_) | BodyError::Source(_) => BodyError::Source(error),
            });
        }
        cause = present.source();
    }
    SendError::Upstream(if is_connect { UpstreamError::Connect(error) } else { UpstreamError::Protocol(error) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PX-275: a target is an absolute http or https URL; its base path loses the slash at its end.
    #[test]
    fn px_275_a_target_is_an_absolute_url() {
        let target = Target::parse("https://app.internal:8443/base/", true).unwrap();
        assert_eq!((target.authority.as_str(), target.base_path.as_str()), ("app.internal:8443", "/base"));
        assert_eq!(Target::parse("http://app", false).unwrap().base_path, "");
        assert_eq!(Target::parse("http://app/é", false).unwrap().base_path, "/%C3%A9");
        assert_eq!(Target::parse("http://[::1]:80", false).unwrap().authority, "[::1]:80");
        let target = Target::parse("http://bücher.example:8080/ein Regal/", true).unwrap();
        assert_eq!(target.authority, "xn--bcher-kva.example:8080");
        assert_eq!(target.base_path, "/ein%20Regal");
        for (url, error) in [
            ("http:bücher.example", TargetError::NotAbsolute),
            ("http:///ein Regal", TargetError::NotAbsolute),
            ("http:app/a b://c", TargetError::NotAbsolute),
            ("http://app\\@evil/", TargetError::NotAbsolute),
            ("http://a\npp/", TargetError::NotAbsolute),
            ("app.internal", TargetError::NotAbsolute),
            ("/path", TargetError::NotAbsolute),
            ("ftp://app/", TargetError::NotAbsolute),
            ("", TargetError::NotAbsolute),
            ("http://u:p@app/", TargetError::Excess),
            ("http://app/?q", TargetError::Excess),
        ] {
            assert_eq!(Target::parse(url, true).err(), Some(error), "{url}");
        }
    }
}
