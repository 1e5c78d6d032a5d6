//! A client that follows no redirect, keeps no cookie and finds every name on this machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};

use ::http::HeaderMap;
use bytes::Bytes;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Every host name is this machine, also where the system's resolver does not know `*.localhost`.
struct Here;

impl Resolve for Here {
    fn resolve(&self, _: Name) -> Resolving {
        let here: Addrs = Box::new(std::iter::once(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))));
        Box::pin(async { Ok(here) })
    }
}

/// A new client with connections of its own.
#[must_use]
pub fn client() -> reqwest::Client {
    builder().build().unwrap()
}

/// A new client that knows one certificate, in PEM, and accepts no other over HTTPS.
#[must_use]
pub fn client_that_knows(certificate: &str) -> reqwest::Client {
    let known = reqwest::Certificate::from_pem(certificate.as_bytes()).unwrap();
    builder().tls_certs_only([known]).build().unwrap()
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .dns_resolver(Arc::new(Here))
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(crate::wait::PATIENCE * 2)
}

/// The client that tests share.
#[must_use]
pub fn http() -> &'static reqwest::Client {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(client);
    &CLIENT
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Header fields.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Reply {
    /// The first value of a field, or nothing if it is absent.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    }

    /// All values of a field.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<String> {
        self.headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()).collect()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// Where a redirect points.
    #[must_use]
    pub fn location(&self) -> String {
        self.header("location").unwrap_or_else(|| panic!("no Location: {self:?}"))
    }

    /// The value of a cookie that this answer sets and does not remove at once.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<String> {
        let start = format!("{name}=");
        let set = self.all("set-cookie").into_iter().find(|line| line.starts_with(&start))?;
        if set.to_ascii_lowercase().contains("max-age=0") {
            return None;
        }
        set[start.len()..].split(';').next().map(str::to_owned)
    }
}

/// Sends a request and reads the whole answer.
pub trait Go {
    /// Sends it.
    ///
    /// # Panics
    /// When no complete answer comes.
    fn go(self) -> impl Future<Output = Reply> + Send;

    /// Sends it; nothing when no complete answer comes.
    fn try_go(self) -> impl Future<Output = Option<Reply>> + Send;
}

impl Go for reqwest::RequestBuilder {
    async fn go(self) -> Reply {
        let response = self.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Reply { status, headers, body: response.bytes().await.unwrap() }
    }

    async fn try_go(self) -> Option<Reply> {
        let response = self.send().await.ok()?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Some(Reply { status, headers, body: response.bytes().await.ok()? })
    }
}
