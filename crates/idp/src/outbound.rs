//! Requests of ours to servers that administrators name (OA-699, CO-841).
//!
//! The address is looked up once, judged, and then connected to: a name that leads elsewhere a moment later gains
//! nothing. Redirects are not followed.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HOST};
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A request takes at most so long, whatever happens.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same for something that is sent (OA-558).
const SENDING_PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer, in bytes.
const LONGEST: usize = 512 * 1024;

/// Networks that are not asked unless somebody says so: this machine, its neighbours, and what is no single host.
const INNER: [&str; 17] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/3",
    "::/127",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "2002::/16",
    "fc00::/7",
    "fe80::/10",
    "ff00::/8",
];

/// What may be asked.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Whether plain `http` is good enough.
    pub allow_http: bool,
    /// Networks inside that may be asked all the same.
    pub allowed_networks: Vec<IpNet>,
}

/// Requests of ours to others.
#[derive(Default)]
pub struct Outbound {
    policy: Policy,
    tls: OnceLock<Arc<ClientConfig>>,
}

/// Why there is no answer. Never what the server said (CO-841).
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// It is no URL of a server, or holds credentials.
    #[error("Enter a valid URL.")]
    BadUrl,
    /// It is not `https`.
    #[error("Only https URLs are fetched.")]
    Plain,
    /// It leads to a network that is not asked.
    #[error("This URL leads to a network that is not asked.")]
    Inner,
    /// The server did not answer with 200.
    #[error("The server answered with status {0}.")]
    Status(u16),
    /// It answered something that is no JSON object.
    #[error("The server answered with status 200, but not with a JSON object.")]
    NoObject,
    /// No answer in time, or none at all.
    #[error("The server cannot be reached.")]
    Unreachable,
}

/// A JSON object that was fetched.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetched {
    /// The object.
    pub object: Value,
    /// For how long the server calls it fresh, in seconds, if it says so.
    pub max_age: Option<i64>,
}

impl Outbound {
    /// Requests that obey `policy`.
    pub fn new(policy: Policy) -> Self {
        Self { policy, tls: OnceLock::new() }
    }

    /// Fetches a JSON object.
    ///
    /// # Errors
    /// [`OutboundError`].
    pub async fn json(&self, url: &str) -> Result<Fetched, OutboundError> {
        match tokio::time::timeout(PATIENCE, self.fetch(url)).await {
            Ok(answer) => answer,
            Err(_) => Err(OutboundError::Unreachable),
        }
    }

    /// Sends a form; 200 and 204 say that it was taken, and whatever else the answer says is not read.
    ///
    /// # Errors
    /// [`OutboundError`].
    pub async fn post_form(&self, url: &str, form: String) -> Result<(), OutboundError> {
        let wanted = Wanted { method: Method::POST, body: form.into(), good: &[200, 204], reads: false };
        match tokio::time::timeout(SENDING_PATIENCE, self.send(url, wanted)).await {
            Ok(answer) => answer.map(drop),
            Err(_) => Err(OutboundError::Unreachable),
        }
    }

    async fn fetch(&self, url: &str) -> Result<Fetched, OutboundError> {
        let wanted = Wanted { method: Method::GET, body: Bytes::new(), good: &[200], reads: true };
        let (headers, body) = self.send(url, wanted).await?;
        let max_age = headers.get(CACHE_CONTROL).and_then(|value| value.to_str().ok()).and_then(max_age);
        match serde_json::from_slice(&body) {
            Ok(object @ Value::Object(_)) => Ok(Fetched { object, max_age }),
            _ => Err(OutboundError::NoObject),
        }
    }

    async fn send(&self, url: &str, wanted: Wanted) -> Result<(HeaderMap, Bytes), OutboundError> {
        let parsed = url::Url::parse(url).map_err(|_| OutboundError::BadUrl)?;
        let secure = match parsed.scheme() {
            "https" => true,
            "http" if self.policy.allow_http => false,
            "http" => return Err(OutboundError::Plain),
            _ => return Err(OutboundError::BadUrl),
        };
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(OutboundError::BadUrl);
        }
        let host = parsed.host_str().ok_or(OutboundError::BadUrl)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = parsed.port_or_known_default().ok_or(OutboundError::BadUrl)?;
        let stream = self.connect(&bare, port).await?;
        let authority = &parsed[url::Position::BeforeHost..url::Position::AfterPort];
        let target = &parsed[url::Position::BeforePath..url::Position::AfterQuery];
        let request = Request::builder().method(wanted.method.clone()).uri(target).header(HOST, authority);
        let request = match wanted.method {
            Method::POST => request.header(CONTENT_TYPE, "application/x-www-form-urlencoded"),
            _ => request.header(ACCEPT, "application/json"),
        };
        let request = request.body(Full::new(wanted.body.clone())).map_err(|_| OutboundError::BadUrl)?;
        if !secure {
            return ask(stream, request, &wanted).await;
        }
        let name = ServerName::try_from(bare).map_err(|_| OutboundError::BadUrl)?;
        let connector = TlsConnector::from(self.tls()?);
        let stream = connector.connect(name, stream).await.map_err(|_| OutboundError::Unreachable)?;
        ask(stream, request, &wanted).await
    }

    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, OutboundError> {
        let found: Vec<SocketAddr> =
            tokio::net::lookup_host((host, port)).await.map_err(|_| OutboundError::Unreachable)?.collect();
        if found.is_empty() {
            return Err(OutboundError::Unreachable);
        }
        let allowed: Vec<_> = found.into_iter().filter(|address| self.may_ask(address.ip())).collect();
        if allowed.is_empty() {
            return Err(OutboundError::Inner);
        }
        match tokio::time::timeout(PATIENCE, TcpStream::connect(allowed.as_slice())).await {
            Ok(Ok(stream)) => Ok(stream),
            _ => Err(OutboundError::Unreachable),
        }
    }

    /// Whether an address may be asked.
    fn may_ask(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if self.policy.allowed_networks.iter().any(|network| network.contains(&address)) {
            return true;
        }
        !INNER.iter().any(|network| network.parse::<IpNet>().is_ok_and(|network| network.contains(&address)))
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, OutboundError> {
        if let Some(known) = self.tls.get() {
            return Ok(Arc::clone(known));
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| OutboundError::Unreachable)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::clone(self.tls.get_or_init(|| Arc::new(config))))
    }
}

/// A request, and what is made of its answer.
struct Wanted {
    method: Method,
    body: Bytes,
    /// Statuses that are no failure.
    good: &'static [u16],
    /// Whether the answer is read.
    reads: bool,
}

async fn ask<S>(stream: S, request: Request<Full<Bytes>>, wanted: &Wanted) -> Result<(HeaderMap, Bytes), OutboundError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|_| OutboundError::Unreachable)?;
    let answered = async {
        let response = sender.send_request(request).await.map_err(|_| OutboundError::Unreachable)?;
        let status = response.status().as_u16();
        if !wanted.good.contains(&status) {
            return Err(OutboundError::Status(status));
        }
        let (head, body) = response.into_parts();
        if !wanted.reads {
            return Ok((head.headers, Bytes::new()));
        }
        let body = Limited::new(body, LONGEST).collect().await.map_err(|_| OutboundError::NoObject)?;
        Ok((head.headers, body.to_bytes()))
    };
    tokio::pin!(connection);
    tokio::pin!(answered);
    // The connection is driven here, and dropped with the request.
    tokio::select! {
        answer = &mut answered => answer,
        ended = &mut connection => match ended {
            Ok(()) => answered.await,
            Err(_) => Err(OutboundError::Unreachable),
        },
    }
}

fn max_age(cache_control: &str) -> Option<i64> {
    let directives = cache_control.split(',').map(|directive| directive.trim().to_ascii_lowercase());
    for directive in directives {
        if directive == "no-store" || directive == "no-cache" {
            return Some(0);
        }
        if let Some(seconds) = directive.strip_prefix("max-age=") {
            return seconds.trim_matches('"').parse().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-841, OA-699: addresses inside are not asked unless they are allowed, in whatever form they are written.
    #[test]
    fn co_841_addresses_inside_are_not_asked() {
        let outbound = Outbound::default();
        let may = |address: &str| outbound.may_ask(address.parse().expect("an address"));
        for inside in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "172.16.9.9",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "224.0.0.1",
            "255.255.255.255",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
        ] {
            assert!(!may(inside), "{inside}");
        }
        for outside in ["192.0.2.1", "8.8.8.8", "172.32.0.1", "2001:db8::1", "2606:4700::1111"] {
            assert!(may(outside), "{outside}");
        }
        let allowed_networks = vec!["127.0.0.0/8".parse().expect("a network")];
        let outbound = Outbound::new(Policy { allow_http: false, allowed_networks });
        assert!(outbound.may_ask([127, 0, 0, 1].into()) && !outbound.may_ask([10, 0, 0, 1].into()));
    }

    /// CO-841: only https is fetched unless plain http is allowed, and no URL with credentials.
    #[tokio::test]
    async fn co_841_only_https_is_fetched() {
        let outbound = Outbound::default();
        let why = async |url: &str| outbound.json(url).await.expect_err("refused").to_string();
        assert_eq!(why("http://192.0.2.1/").await, "Only https URLs are fetched.");
        assert_eq!(why("https://127.0.0.1/").await, "This URL leads to a network that is not asked.");
        assert_eq!(why("https://[::1]/").await, "This URL leads to a network that is not asked.");
        for bad in ["ftp://a/", "words", "https://user:pw@a.example/", "file:///etc/passwd"] {
            assert_eq!(why(bad).await, "Enter a valid URL.", "{bad}");
        }
    }

    /// OA-329: what a server says of freshness is read.
    #[test]
    fn oa_329_freshness_is_read() {
        assert_eq!(max_age("public, Max-Age=600"), Some(600));
        assert_eq!((max_age("no-cache"), max_age("private"), max_age("max-age=x")), (Some(0), None, None));
    }
}
