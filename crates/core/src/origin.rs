//! Where a request comes from, as far as it can be believed (PX-040 … PX-044).

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use crate::auth_via::{AuthVia, Proof};

/// The scheme a client used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Where a request comes from. The listener makes one per request; both planes read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Effective scheme (PX-043).
    pub scheme: Scheme,
    /// Effective host with port if one was given (PX-044), in lower case.
    pub host: String,
    /// The client's address (PX-042).
    pub client: IpAddr,
    /// Address of the effective peer.
    pub peer: IpAddr,
    /// Whether the peer's `X-Forwarded-*` are believed.
    pub peer_trusted: bool,
    /// 32 lower-case hex digits, unique per request (OA-010, PX-323).
    pub request_id: RequestId,
    /// What is asked for. Known where events are recorded, which the data plane leaves to others.
    pub asked: Option<Arc<Asked>>,
}

/// What a request is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestId {
    /// By us: hex digits. In place, since every request has one.
    Ours([u8; 32]),
    /// By somebody else.
    Told(Box<str>),
}

impl RequestId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Ours(id) => std::str::from_utf8(id).unwrap_or_default(),
            Self::Told(id) => id,
        }
    }

    /// The id in bytes, if it is a value that any header may have.
    pub fn visible(&self) -> Option<&[u8]> {
        match self {
            Self::Ours(id) => Some(id),
            Self::Told(id) => Some(id.as_bytes()).filter(|id| id.iter().all(u8::is_ascii_graphic)),
        }
    }
}

impl Deref for RequestId {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self::from("")
    }
}

impl From<&str> for RequestId {
    fn from(id: &str) -> Self {
        Self::Told(id.into())
    }
}

impl Origin {
    /// The request has proven itself by this. Where nobody notes what is asked for, nobody notes this.
    pub fn succeeded(&self, via: AuthVia) {
        if let Some(asked) = &self.asked {
            asked.proof.succeeded(via);
        }
    }
}

/// What a request asks for, as far as events tell (CO-411).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// `GET` and the like.
    pub method: String,
    /// The path, as it was sent.
    pub path: String,
    /// The query, as it was sent.
    pub query: String,
    /// The client, as it names itself.
    pub user_agent: String,
    /// What it has proven itself by so far.
    pub proof: Proof,
}
