//! One protected application, ready to serve requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64};

use http::HeaderValue;
use portcullis_core::cookie::{self, CookieScope};
use portcullis_core::header::{alias, quoted};
use portcullis_core::host;
use portcullis_core::keys::{Digest, Keyring, sha256};
use portcullis_core::origin::Scheme;
use portcullis_core::outpost::{Mode, Provider};
use portcullis_core::path::RESERVED;
use portcullis_core::redirect::{BadExternalHost, RedirectRule};
use portcullis_core::skip::{BadLine, SkipSet};

use crate::forward::ForbiddenName;
use crate::identity_cache::{Caches, IdentityCache, RefusedCache};
use crate::identity_headers::{self, Spoofs};
use crate::lines::Lines;
use crate::metrics::Durations;
use crate::settings::ProxySettings;
use crate::upstream::{Target, TargetError};

/// One provider with its application: everything about it that is the same for every request.
///
/// Made once per change of the provider. What is cached for it is forgotten with it (PX-108).
pub struct Application {
    /// As the control plane delivered it.
    pub provider: Provider,
    /// The provider's name, for logs.
    pub name: Arc<str>,
    /// Nobody's name, for logs.
    pub nobody: Arc<str>,
    /// Lifetime of header-authenticated sessions in seconds (PX-030, PX-101).
    pub validity: i64,
    /// Ties session cookies to the provider's secret: another secret ends its sessions (PX-029).
    session_suffix: String,
    /// The name of the outpost at that time.
    pub outpost_name: String,
    /// The operator's settings.
    pub settings: Arc<ProxySettings>,
    /// Where browsers may be sent, and the parsed `external_host`.
    pub rule: RedirectRule,
    /// The upstream; none in the forward modes.
    pub target: Option<Target>,
    /// What is open to everybody.
    pub skip: SkipSet,
    /// Lines of `skip_path_regex` that are no expressions (PX-232).
    pub bad_lines: Vec<BadLine>,
    /// Its cookies.
    pub cookies: Cookies,
    /// `Basic …, charset="UTF-8"` for a 401 (PX-098).
    pub basic_challenge: HeaderValue,
    /// `Bearer …, error="invalid_token"` for a 401 (PX-098).
    pub bearer_challenge: HeaderValue,
    /// `Bearer …` alone, which opens no prompt in a browser (PX-133).
    pub quiet_challenge: HeaderValue,
    /// Seals the state of logins (PX-144).
    pub state_keys: Keyring,
    /// Headers that clients may not send.
    pub spoofs: Arc<Spoofs>,
    /// The same as the forwarder asks it.
    pub forbidden: ForbiddenName,
    /// Headers that are the same for everybody.
    pub constant_headers: Lines,
    /// Identities by process digest of their `Authorization` value (PX-107).
    pub credentials: IdentityCache,
    /// Identities by store digest of their session cookie.
    pub sessions: IdentityCache,
    /// How long its requests take.
    pub durations: Durations,
    /// Whether the bad lines were reported.
    pub reported_lines: AtomicBool,
    /// Whether it was reported that another application has its host.
    pub reported_host: AtomicBool,
    /// When a question that says nothing was last reported, in seconds.
    pub reported_question: AtomicI64,
    /// When somebody who cannot be told to the application was last reported, in seconds.
    pub reported_identity: AtomicI64,
    /// Refused `Authorization` values by process digest (PX-109).
    pub refused: RefusedCache,
}

/// Names and attributes of a provider's cookies.
pub struct Cookies {
    /// The session cookie (PX-170).
    pub session: String,
    /// The pre-auth cookie (PX-143).
    pub pre_auth: String,
    /// Their attributes (PX-172).
    pub scope: CookieScope,
}

/// Why a provider cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Nobody can reach it.
    #[error(transparent)]
    External(#[from] BadExternalHost),
    /// It cannot reach its application.
    #[error("internal_host: {0}")]
    Internal(#[from] TargetError),
    /// Its name or client id cannot stand in a header.
    #[error("a name holds control bytes")]
    Name,
}

impl Application {
    /// Prepares a provider. `before` is what it was until now: names that its clients may not send
    /// are kept, what was cached for it is not.
    ///
    /// # Errors
    /// When the provider cannot be served as it is configured.
    pub fn new(
        provider: &Provider,
        outpost_name: &str,
        settings: &Arc<ProxySettings>,
        caches: &Caches,
        before: Option<&Self>,
    ) -> Result<Self, Unusable> {
        let rule = RedirectRule::new(&provider.external_host, provider.mode, &provider.cookie_domain)?;
        let target = match provider.mode {
            Mode::Proxy => Some(Target::parse(&provider.internal_host, provider.internal_host_ssl_validation)?),
            Mode::ForwardSingle | Mode::ForwardDomain => None,
        };
        let (skip, bad_lines) = SkipSet::compile(&provider.skip_path_regex, provider.mode);
        let realm = quoted(&provider.application_name);
        let challenge = |text: String| HeaderValue::try_from(text).map_err(|_| Unusable::Name);
        let spoofs = before.map_or_else(Arc::default, |before| Arc::clone(&before.spoofs));
        let operator: Vec<String> = settings.strip_request_headers.iter().map(|name| alias(name)).collect();
        spoofs.remember(&operator);
        spoofs.remember(&provider.header_names);
        let (credentials, sessions, refused) = caches.parts();
        let root = [provider.cookie_secret.as_bytes(), b"\0", provider.client_id.as_bytes()].concat();
        Ok(Self {
            cookies: Cookies::new(provider, rule.scheme()),
            basic_challenge: challenge(format!("Basic realm={realm}, charset=\"UTF-8\""))?,
            bearer_challenge: challenge(format!("Bearer realm={realm}, error=\"invalid_token\""))?,
            quiet_challenge: challenge(format!("Bearer realm={realm}"))?,
            state_keys: Keyring::derive(&root),
            forbidden: identity_headers::forbidden(&spoofs),
            spoofs,
            constant_headers: Lines::new(&identity_headers::constants(provider, outpost_name)),
            durations: durations(provider, outpost_name, target.as_ref()),
            credentials,
            sessions,
            reported_lines: AtomicBool::new(false),
            reported_host: AtomicBool::new(false),
            reported_question: AtomicI64::new(0),
            reported_identity: AtomicI64::new(0),
            refused,
            validity: validity(provider),
            session_suffix: hex(&sha256(&[b"session\0", root.as_slice()].concat())),
            name: provider.name.as_str().into(),
            nobody: "".into(),
            provider: provider.clone(),
            outpost_name: outpost_name.to_owned(),
            settings: Arc::clone(settings),
            rule,
            target,
            skip,
            bad_lines,
        })
    }

    /// What stands for a session cookie's value when the store makes its digest.
    pub fn session_key(&self, value: &str) -> String {
        [value, &self.session_suffix].concat()
    }

    /// Whether this is what the provider is now: nothing that it was made of has changed.
    pub fn is_current(&self, provider: &Provider, outpost_name: &str) -> bool {
        self.provider == *provider && self.outpost_name == outpost_name
    }

    /// Whether a session of what the provider was before is still one.
    pub fn keeps_sessions_of(&self, before: &Self) -> bool {
        self.session_suffix == before.session_suffix
    }

    /// URL that begins a login and then leads to `target`, which the caller has let through
    /// [`RedirectRule`] (PX-130).
    pub fn start_url(&self, target: &str) -> String {
        format!("{}?rd={}", self.rule.external(&format!("{RESERVED}/start")), encode(target))
    }

    /// Redirect URI of logins (PX-142), the same in the authorization request and the exchange.
    pub fn redirect_uri(&self) -> String {
        self.rule.callback()
    }

    /// A target to send a browser to, or `external_host` if this one is not allowed (PX-165).
    pub fn target_or_home(&self, candidate: &str) -> String {
        self.rule.accept(candidate).unwrap_or_else(|| {
            let shown = candidate.split(['?', '#']).next().unwrap_or_default();
            let shown: String = shown.chars().filter(|c| !c.is_control()).take(200).collect();
            tracing::warn!(provider.name = self.provider.name, target = shown, "rejected redirect target");
            self.rule.home()
        })
    }
}

/// Durations under the labels of a provider and of where its requests go.
pub(crate) fn durations(provider: &Provider, outpost_name: &str, target: Option<&Target>) -> Durations {
    let external = provider.external_host.parse::<http::Uri>().ok();
    let host = external.as_ref().and_then(http::Uri::authority).map_or("other", http::uri::Authority::as_str);
    Durations::new(outpost_name, host, target.map(|target| (&target.scheme, target.authority.as_str())))
}

impl Cookies {
    fn new(provider: &Provider, scheme: Scheme) -> Self {
        let session = cookie::session_name(&provider.client_id);
        Self {
            pre_auth: format!("{session}_pre"),
            session,
            scope: CookieScope {
                secure: scheme == Scheme::Https,
                domain: host::cookie_domain(&provider.cookie_domain),
            },
        }
    }
}

/// The lifetime of sessions; an hour where the provider has none that makes sense (PX-030).
fn validity(provider: &Provider) -> i64 {
    if provider.access_token_validity > 0 {
        return provider.access_token_validity;
    }
    tracing::warn!(provider.name = provider.name, "access_token_validity is not positive: sessions last an hour");
    3600
}

/// The first 64 bits in hexadecimal.
fn hex(digest: &Digest) -> String {
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Encodes everything but the unreserved characters of RFC 3986 §2.3.
pub(crate) fn encode(text: &str) -> percent_encoding::PercentEncode<'_> {
    const SET: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    percent_encoding::utf8_percent_encode(text, SET)
}
