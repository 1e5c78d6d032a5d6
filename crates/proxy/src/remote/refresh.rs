//! Reads the outpost's configuration, again and again (PX-350 … PX-355, PX-360 … PX-362).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};
use portcullis_core::clock::Timestamp;
use portcullis_core::entropy::Entropy;
use portcullis_core::id::CertificateId;
use portcullis_core::outpost::{Certificate, Configuration};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::caller::of_api;
use super::reading::{self, Outpost, Served, Views};
use super::{Remote, Table, Unreadable};
use crate::metrics;

/// Until another attempt, while the control plane was never reached (PX-006).
const RETRY: Duration = Duration::from_secs(3);
/// Attempts at one page (PX-355).
const ATTEMPTS: u32 = 5;
/// Until the second attempt at a page; each further one takes twice as long.
const PAUSE: Duration = Duration::from_millis(250);
/// Pages of a list at most.
const MOST_PAGES: i64 = 10_000;
/// Between two looks for sessions whose time is over (PX-176).
const SWEEP: Duration = Duration::from_secs(300);

/// Why the configuration is not read.
pub(super) type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// A certificate that was read, and what it was known by.
pub(super) struct Fetched {
    fingerprint: String,
    certificate: Certificate,
}

impl Remote {
    /// Keeps the outpost up to date until `stop`: its configuration, its channel, its sessions. Never fails: whatever the
    /// control plane does, it is asked again.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let work = async {
            self.reach().await;
            // What the answer says matters to nobody here; some control planes count those who ask (PX-352).
            if let Err(error) = self.get("root/config/").await {
                tracing::debug!(%error, "the control plane does not tell its settings");
            }
            let channel = super::channel::keep(Arc::clone(&self), stop.clone());
            tokio::join!(self.follow(), channel, self.sweep());
        };
        tokio::select! {
            () = work => {}
            // The channel ends in order, by itself.
            () = async { stop.cancelled().await; self.link.closed().await } => {}
        }
    }

    /// Asks until there is a configuration.
    async fn reach(&self) {
        let mut told = String::new();
        while let Err(error) = self.read().await {
            let error = error.to_string();
            if error == told {
                tracing::debug!(error, "still no configuration");
            } else {
                tracing::warn!(error, "cannot reach the control plane yet; applications get 503 meanwhile");
                told = error;
            }
            tokio::time::sleep(jitter(&*self.entropy, RETRY)).await;
        }
        tracing::info!("the configuration is there");
    }

    /// Reads again whenever there is a reason to.
    async fn follow(&self) {
        loop {
            let interval = self.table.load().outpost.as_ref().map_or(RETRY, |outpost| outpost.interval);
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = self.now.notified() => {}
                () = async {
                    self.soon.notified().await;
                    tokio::time::sleep(self.delay).await;
                } => {}
            }
            if let Err(error) = self.read().await {
                tracing::error!(%error, "cannot read the configuration; the one before stays in force");
            }
        }
    }

    async fn sweep(&self) {
        loop {
            ::metrics::gauge!("portcullis_proxy_sessions").set(count(self.sessions.len()));
            tokio::time::sleep(SWEEP).await;
            if let Err(error) = self.sessions.sweep().await {
                tracing::error!(%error, "cannot remove sessions whose time is over");
            }
        }
    }

    /// Reads the configuration as a whole; it comes into force as a whole, or not at all.
    pub(super) async fn read(&self) -> Result<(), Trouble> {
        let began = Instant::now();
        let outcome = self.read_all().await;
        let result = if outcome.is_ok() { "ok" } else { "failed" };
        ::metrics::counter!("portcullis_proxy_refreshes_total", "result" => result).increment(1);
        tracing::debug!(result, duration_ms = began.elapsed().as_millis(), "read the configuration");
        outcome
    }

    async fn read_all(&self) -> Result<(), Trouble> {
        const INSTANCES: &str = "outposts/instances/";
        // Nobody has a use for patience before there is a configuration: it is asked for again in any case (PX-006).
        let is_first = !self.is_ready.load(Ordering::Acquire);
        let instances = if is_first { self.get(INSTANCES).await? } else { self.page(INSTANCES).await? };
        let outpost = reading::outpost(&instances)?;
        let others = reading::other_outposts(&instances);
        if others > 0 && !self.has_told_of_others.swap(true, Ordering::AcqRel) {
            tracing::warn!(
                outpost.name = outpost.name,
                others,
                "the token is not an outpost's own: it sees several, and this process serves the first of them; set the token of \
                 the outpost that is meant"
            );
        }
        let views = Views::new(&self.host_browser, &outpost);
        let before = self.table.load_full();
        let mut served = HashMap::new();
        let mut page = 1;
        loop {
            let list = self.page(&format!("outposts/proxy/?page={page}&page_size=100")).await?;
            let results = list.get("results").and_then(Value::as_array).ok_or(Unreadable)?;
            for said in results {
                let Some(one) = self.one(said, &views, &before) else { continue };
                served.insert(one.provider.pk, one);
            }
            match reading::next_page(&list, page) {
                Some(next) if page < MOST_PAGES => page = next,
                _ => break,
            }
        }
        let certificates = self.certificates(&served).await;
        self.publish(outpost, served, certificates);
        Ok(())
    }

    /// One provider; as it was before, if it cannot be read (PX-008).
    fn one(&self, said: &Value, views: &Views, before: &Table) -> Option<Arc<Served>> {
        match reading::provider(said, views) {
            Ok(mut one) => {
                one.provider.header_names = self.sessions.header_names(one.provider.pk);
                // Once for each configuration.
                if before.served.get(&one.provider.pk).is_none_or(|before| **before != one) {
                    self.look_at_places(&one);
                }
                Some(Arc::new(one))
            }
            Err(problem) => {
                let known = reading::pk(said).and_then(|pk| before.served.get(&pk)).cloned();
                let name = said.get("name").and_then(Value::as_str).unwrap_or_default();
                tracing::error!(provider.name = name, stale = known.is_some(), problem, "a provider cannot be read");
                known
            }
        }
    }

    /// Tells where the configuration sends what is secret, if that is less safe than the control plane, or not there.
    fn look_at_places(&self, one: &Served) {
        let name = &one.provider.name;
        for (endpoint, problem) in reading::doubtful_places(one, &self.base) {
            tracing::error!(provider.name = name, %endpoint, problem, "an endpoint of a provider is not safe");
        }
        if one.token.origin() != self.base.origin() {
            tracing::warn!(
                provider.name = name,
                endpoint = %one.token,
                "tokens are asked for elsewhere than at the control plane: it is not told there who asks for whom"
            );
        }
    }

    fn publish(
        &self,
        outpost: Outpost,
        served: HashMap<portcullis_core::id::ProviderPk, Arc<Served>>,
        certificates: Vec<Certificate>,
    ) {
        let mut providers: Vec<_> = served.values().map(|one| one.provider.clone()).collect();
        providers.sort_by(|left, right| (&left.name, left.pk).cmp(&(&right.name, right.pk)));
        (self.log_level)(&outpost.log_level);
        metrics::outpost_updated(&outpost.name, &outpost.pk, env!("CARGO_PKG_VERSION"), "", self.clock.now());
        self.link.tell(&outpost);
        let outpost_name = outpost.name.clone();
        // First what requests are asked about with, then what makes requests.
        self.table.store(Arc::new(Table { outpost: Some(outpost), served }));
        self.configuration.send_if_modified(|present| {
            let next = Configuration {
                revision: present.revision,
                outpost_name,
                providers,
                certificates,
                ..Configuration::default()
            };
            if self.is_ready.swap(true, Ordering::AcqRel) && next == **present {
                return false;
            }
            *present = Arc::new(Configuration { revision: next.revision.saturating_add(1), ..next });
            true
        });
    }

    /// The certificates that providers name. One that cannot be read is as it was before, or missing (PX-301).
    async fn certificates(&self, served: &HashMap<portcullis_core::id::ProviderPk, Arc<Served>>) -> Vec<Certificate> {
        let mut wanted: Vec<_> = served.values().filter_map(|one| one.provider.certificate).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut known = self.certificates.lock().await;
        known.retain(|pk, _| wanted.contains(pk));
        for pk in wanted {
            match self.certificate(pk, known.get(&pk).map(|fetched| fetched.fingerprint.as_str())).await {
                Ok(Some(fetched)) => drop(known.insert(pk, fetched)),
                Ok(None) => {}
                Err(error) => tracing::error!(certificate = %pk, %error, "cannot read a certificate"),
            }
        }
        let mut all: Vec<_> = known.values().map(|fetched| fetched.certificate.clone()).collect();
        all.sort_by_key(|certificate| certificate.pk);
        all
    }

    /// A certificate; nothing if it is the one that is known.
    async fn certificate(&self, pk: CertificateId, known: Option<&str>) -> Result<Option<Fetched>, Trouble> {
        let path = format!("crypto/certificatekeypairs/{pk}/");
        let about = self.get(&path).await?;
        let text = |from: &Value, name: &str| from.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let fingerprint = text(&about, "fingerprint_sha256");
        if !fingerprint.is_empty() && known == Some(fingerprint.as_str()) {
            return Ok(None);
        }
        let chain = text(&self.get(&format!("{path}view_certificate/")).await?, "data");
        let key = text(&self.get(&format!("{path}view_private_key/")).await?, "data");
        let expires = Timestamp::parse_iso8601(&text(&about, "cert_expiry")).unwrap_or(Timestamp(i64::MAX));
        let certificate = Certificate { pk, name: text(&about, "name"), chain, key, expires };
        Ok(Some(Fetched { fingerprint, certificate }))
    }

    /// A page, with patience (PX-355).
    async fn page(&self, path: &str) -> Result<Value, Trouble> {
        let mut pause = PAUSE;
        for _ in 1..ATTEMPTS {
            match self.get(path).await {
                Ok(page) => return Ok(page),
                Err(error) => tracing::debug!(%error, "a page is asked for again"),
            }
            tokio::time::sleep(jitter(&*self.entropy, pause)).await;
            pause = pause.saturating_mul(2);
        }
        self.get(path).await
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, Trouble> {
        let url = self.base.join(&format!("api/v3/{path}"))?;
        let headers = of_api(&self.token).ok_or("the token cannot stand in a header")?;
        let reply = self.caller.call(Method::GET, &url, headers, Bytes::new()).await?;
        match reply.status {
            StatusCode::OK => Ok(serde_json::from_slice(&reply.body).map_err(|_| Unreadable)?),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(format!("{path}: the control plane does not take the token (status {})", reply.status).into())
            }
            status => Err(format!("{path}: status {status}").into()),
        }
    }

    /// Sends an event (PX-363).
    pub(super) async fn send_event(&self, event: &Value) -> Result<(), Trouble> {
        let url = self.base.join("api/v3/events/events/")?;
        let mut headers = of_api(&self.token).ok_or("the token cannot stand in a header")?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let reply = self.caller.call(Method::POST, &url, headers, event.to_string().into()).await?;
        match reply.status.is_success() {
            true => Ok(()),
            false => Err(format!("events: status {}", reply.status).into()),
        }
    }
}

/// A length of time, give or take a fifth.
pub(super) fn jitter(entropy: &dyn Entropy, around: Duration) -> Duration {
    let random = f64::from(u16::from_be_bytes(entropy.bytes())) / f64::from(u16::MAX);
    around.mul_f64(0.8 + 0.4 * random)
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn count(number: usize) -> f64 {
    number as f64
}
