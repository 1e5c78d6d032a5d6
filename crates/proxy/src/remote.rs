//! The control plane as a stand-alone outpost sees it: another process, over HTTP and a websocket (sections 20 to 22 of
//! the proxy specification).
//!
//! [`Remote::run`] reads the configuration and keeps the control channel; the rest answers the data plane.

mod caller;
mod channel;
mod claims;
mod keys;
mod link;
mod oauth;
mod reading;
mod refresh;
pub mod sessions;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use portcullis_core::clock::Clock;
use portcullis_core::entropy::Entropy;
use portcullis_core::epoch::Epochs;
use portcullis_core::id::{CertificateId, ProviderPk};
use portcullis_core::keys::Digest;
use portcullis_core::outpost::{Configuration, Grant, SessionRecord};
use rustls::pki_types::CertificateDer;
use serde_json::json;
use tokio::sync::{Notify, watch};
use url::Url;
use zeroize::Zeroizing;

use self::caller::Caller;
use self::keys::Keys;
use self::link::Link;
pub use self::reading::is_loopback;
use self::reading::{Outpost, Served};
use self::refresh::Fetched;
use self::sessions::{Sessions, Standing};
use crate::control::{Answer, CodeExchange, ConfigurationError, ControlError, ControlPlane, SessionStore};
use crate::upstream::Via;

/// Seconds within which outposts begin to read again after a change, each at its own moment (PX-355).
pub const SPREAD: Duration = Duration::from_secs(9);

/// Which part of [`RemoteSettings::limit`] one request may take. The rest is for what follows from there being no answer
/// (PX-196): whoever waits for that must still be there.
const SHARE: f64 = 0.8;

/// Where the control plane is, and how this outpost behaves towards it.
pub struct RemoteSettings {
    /// Base URL of the control plane, perhaps with a path.
    pub host: Url,
    /// API token of the outpost's account.
    pub token: Zeroizing<String>,
    /// Whether the control plane's certificate is not verified.
    pub insecure: bool,
    /// URL under which browsers find the control plane, if it differs; empty otherwise (PX-340).
    pub host_browser: String,
    /// Limit to connect (PX-111).
    pub connect: Duration,
    /// How long the data plane waits for an answer; what is asked here ends somewhat before (PX-111).
    pub limit: Duration,
    /// Certificate authorities beside those of the system.
    pub authorities: Vec<CertificateDer<'static>>,
    /// The proxy of the network through which the control plane is reached, if it is (PX-380).
    pub via: Option<Via>,
    /// How long sessions are believed while nobody can be asked (PX-196).
    pub grace: Duration,
    /// Longest delay between a change and its reading, at most [`SPREAD`] (PX-355).
    pub spread: Duration,
    /// Name of the machine.
    pub hostname: String,
    /// Told the level that the outpost's configuration wants for logs, after each reading (PX-322).
    pub log_level: Box<dyn Fn(&str) + Send + Sync>,
}

/// What was read last.
#[derive(Default)]
struct Table {
    outpost: Option<Outpost>,
    served: HashMap<ProviderPk, Arc<Served>>,
}

/// Something that is no answer of a control plane.
#[derive(Debug, thiserror::Error)]
#[error("the answer is not what a control plane answers")]
struct Unreadable;

/// Asks a control plane elsewhere.
pub struct Remote {
    base: Url,
    token: Zeroizing<String>,
    host_browser: String,
    grace: Duration,
    /// This process's own moment after a change.
    delay: Duration,
    hostname: String,
    /// Tells this process from others of the same outpost.
    instance: String,
    log_level: Box<dyn Fn(&str) + Send + Sync>,
    caller: Caller,
    keys: Keys,
    link: Link,
    sessions: Sessions,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    table: ArcSwap<Table>,
    certificates: tokio::sync::Mutex<HashMap<CertificateId, Fetched>>,
    configuration: watch::Sender<Arc<Configuration>>,
    is_ready: AtomicBool,
    /// Whether it was told that the token sees several outposts.
    has_told_of_others: AtomicBool,
    /// The configuration is to be read now.
    now: Notify,
    /// The configuration has changed.
    soon: Notify,
}

impl Remote {
    /// An outpost that knows nothing yet: [`Remote::run`] brings its configuration.
    pub fn new(settings: RemoteSettings, sessions: Sessions, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let RemoteSettings { mut host, connect, limit, authorities, insecure, via, .. } = settings;
        if !host.path().ends_with('/') {
            let path = format!("{}/", host.path());
            host.set_path(&path);
        }
        let random = f64::from(u16::from_be_bytes(entropy.bytes())) / f64::from(u16::MAX);
        Self {
            base: host,
            token: settings.token,
            host_browser: settings.host_browser,
            grace: settings.grace,
            delay: settings.spread.min(SPREAD).mul_f64(random),
            hostname: settings.hostname,
            instance: entropy.uuid().to_string(),
            log_level: settings.log_level,
            caller: Caller::new(authorities, !insecure, connect, limit.mul_f64(SHARE), via),
            keys: Keys::default(),
            link: Link::default(),
            sessions,
            clock,
            entropy,
            table: ArcSwap::default(),
            certificates: tokio::sync::Mutex::default(),
            configuration: watch::Sender::new(Arc::default()),
            is_ready: AtomicBool::new(false),
            has_told_of_others: AtomicBool::new(false),
            now: Notify::new(),
            soon: Notify::new(),
        }
    }

    /// Has the configuration read now (PX-007).
    pub fn refresh(&self) {
        self.now.notify_one();
    }

    fn served(&self, provider: ProviderPk) -> Result<Arc<Served>, ControlError> {
        self.table.load().served.get(&provider).cloned().ok_or(ControlError::Refused)
    }

    async fn stands(&self, session: &SessionRecord) -> Result<bool, ControlError> {
        let standing = self.sessions.standing(session);
        if standing == Standing::Proven && self.link.is_alive() {
            return Ok(true);
        }
        let is_believed = standing != Standing::Doubtful && self.link.since_gap() < self.grace;
        if is_believed && self.link.is_futile() {
            return Ok(true);
        }
        let (built_at, named_at) = (self.sessions.epochs.present(), self.sessions.named.present());
        let served = self.served(session.provider)?;
        match self.ask_again(&served, session).await {
            Ok(true) => {
                self.sessions.proven(session, built_at, named_at);
                Ok(true)
            }
            Err(ControlError::Unavailable(reason)) if is_believed => {
                tracing::warn!(reason, "a session is believed for a while, as nobody can be asked");
                Ok(true)
            }
            other => other,
        }
    }
}

impl ControlPlane for Remote {
    fn configuration(&self) -> watch::Receiver<Arc<Configuration>> {
        self.configuration.subscribe()
    }

    fn came_into_force(&self, _: &Configuration) {}

    fn epochs(&self) -> &Epochs {
        &self.sessions.epochs
    }

    fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Acquire)
    }

    fn hears_revocations(&self) -> bool {
        self.link.feeds()
    }

    fn report(&self, error: ConfigurationError) -> Answer<'_, ()> {
        Box::pin(async move {
            let ConfigurationError { provider, message, details, client } = error;
            let event = json!({
                "action": "configuration_error",
                "app": "authentik.providers.proxy",
                "client_ip": client.map(|address| address.to_canonical().to_string()),
                "context": {"message": message, "provider": provider, "details": details},
            });
            self.send_event(&event).await.map_err(|error| ControlError::Unavailable(error.to_string()))
        })
    }

    fn verify_password<'a>(
        &'a self,
        provider: ProviderPk,
        username: &'a str,
        password: &'a str,
        client: IpAddr,
    ) -> Answer<'a, Grant> {
        Box::pin(async move {
            let mut grant = self.ask_password(&*self.served(provider)?, username, password, client).await?;
            grant.bearings.client = Some(client);
            Ok(grant)
        })
    }

    fn introspect<'a>(&'a self, provider: ProviderPk, token: &'a str, client: IpAddr) -> Answer<'a, Grant> {
        Box::pin(async move {
            let mut grant = self.ask_token(&*self.served(provider)?, token, client).await?;
            grant.bearings.client = Some(client);
            Ok(grant)
        })
    }

    fn exchange_code<'a>(&'a self, exchange: CodeExchange<'a>) -> Answer<'a, Grant> {
        Box::pin(async move {
            let mut grant = self.ask_code(&*self.served(exchange.provider)?, &exchange).await?;
            grant.bearings.client = Some(exchange.client);
            Ok(grant)
        })
    }

    /// Nothing can be signed here: what the control plane gave is what there is (PX-206).
    fn sign<'a>(&'a self, _: ProviderPk, _: &'a mut Grant, _: bool) -> Answer<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn still_stands<'a>(&'a self, session: &'a SessionRecord) -> Answer<'a, bool> {
        Box::pin(self.stands(session))
    }

    fn sessions(&self) -> &dyn SessionStore {
        self
    }
}

impl SessionStore for Remote {
    fn digest(&self, provider: ProviderPk, value: &str) -> Digest {
        self.sessions.digest(provider, value)
    }

    fn fingerprint(&self, provider: ProviderPk, header: &[u8]) -> Digest {
        self.sessions.fingerprint(provider, header)
    }

    fn value(&self, provider: ProviderPk, salt: &[u8; 32]) -> String {
        self.sessions.value(provider, salt)
    }

    fn put<'a>(&'a self, session: &'a SessionRecord) -> Answer<'a, ()> {
        Box::pin(self.sessions.put(session))
    }

    fn by_digest(&self, provider: ProviderPk, digest: Digest) -> Answer<'_, Option<SessionRecord>> {
        Box::pin(async move { Ok(self.sessions.by_digest((provider, digest))) })
    }

    fn by_fingerprint(&self, provider: ProviderPk, fingerprint: Digest) -> Answer<'_, Option<SessionRecord>> {
        Box::pin(async move { Ok(self.sessions.by_fingerprint(provider, fingerprint)) })
    }

    fn end(&self, provider: ProviderPk, digest: Digest) -> Answer<'_, ()> {
        Box::pin(self.sessions.end((provider, digest)))
    }

    fn end_of_user<'a>(&'a self, user: &'a str) -> Answer<'a, ()> {
        Box::pin(self.sessions.end_of_user(user, None))
    }

    fn end_of_sid<'a>(&'a self, sid: &'a str) -> Answer<'a, ()> {
        Box::pin(self.sessions.end_of_sid(sid, None))
    }
}

#[cfg(test)]
mod tests;
