//! A control plane with a memory, an upstream that records, and a data plane between them.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, Method, Request, Response, StatusCode, request};
use http_body_util::BodyExt;
use portcullis_core::claims::{Claims, ProxyClaims};
use portcullis_core::clock::{ManualClock, Timestamp};
use portcullis_core::entropy::{Entropy, SystemEntropy};
use portcullis_core::epoch::{Epochs, Subject};
use portcullis_core::id::ProviderPk;
use portcullis_core::keys::{Digest, Keyring, Purpose, sha256};
use portcullis_core::origin::{Origin, Scheme};
use portcullis_core::outpost::{Bearings, Configuration, Endpoints, Grant, Mode, Provider};
use serde_json::json;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::body::Body;
use crate::control::{
    Answer, CodeExchange, ConfigurationError, ControlError, ControlPlane, SessionRecord, SessionStore,
};
use crate::forward::Forwarder;
use crate::lines;
use crate::listener::Handled;
use crate::plane::DataPlane;
use crate::settings::ProxySettings;
use crate::upstream::{UpstreamSettings, Upstreams};

pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);
pub(crate) const VALIDITY: i64 = 3600;

/// What a control plane remembers.
#[derive(Default)]
pub(crate) struct Memory {
    /// What was reported.
    pub(crate) reports: Vec<ConfigurationError>,
    pub(crate) passwords: HashMap<(String, String), Claims>,
    pub(crate) tokens: HashMap<String, Claims>,
    pub(crate) codes: HashMap<String, Code>,
    pub(crate) sessions: Vec<SessionRecord>,
    pub(crate) calls: Vec<&'static str>,
    /// Users whose grounds have fallen.
    pub(crate) fallen: HashSet<String>,
    pub(crate) core_is_down: bool,
    pub(crate) store_is_down: bool,
    pub(crate) throttles: bool,
    pub(crate) raw_token: String,
    /// The only networks that credentials are taken from.
    pub(crate) networks: Vec<String>,
}

/// An authorization code, with what it must be shown with.
pub(crate) struct Code {
    pub(crate) claims: Claims,
    pub(crate) challenge: String,
    pub(crate) nonce: String,
    pub(crate) redirect_uri: String,
}

/// A control plane in memory.
pub(crate) struct Core {
    pub(crate) configuration: watch::Sender<Arc<Configuration>>,
    pub(crate) epochs: Epochs,
    /// Each answer takes a permit; without any, it never comes.
    pub(crate) gate: Semaphore,
    keys: Keyring,
    memory: Mutex<Memory>,
}

impl Core {
    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap()
    }

    pub(crate) fn calls(&self, name: &str) -> usize {
        self.memory().calls.iter().filter(|call| **call == name).count()
    }

    fn grant(&self, claims: &Claims) -> Grant {
        let networks = self.memory().networks.clone();
        let said = serde_json::to_vec(&Claims { exp: 0, ..claims.clone() }).unwrap();
        Grant {
            raw_token: self.memory().raw_token.clone(),
            access_token: String::new(),
            upstream_token: None,
            statement: Some(serde_json::Map::new()),
            expires: Timestamp::from_seconds(claims.exp),
            bearings: Bearings {
                user: claims.ak_proxy.user_uuid.clone(),
                sid: claims.sid.clone(),
                app_password: format!("password-of-{}", claims.sub),
                networks,
                statement: hex::encode(sha256(&said)),
                ..Bearings::default()
            },
            built_at: self.epochs.present(),
            logout_hint: None,
            claims: claims.clone(),
        }
    }

    async fn core(&self, call: &'static str) -> Result<(), ControlError> {
        self.memory().calls.push(call);
        let _pass = self.gate.acquire().await;
        let memory = self.memory();
        if memory.core_is_down {
            return Err(ControlError::Unavailable("down".to_owned()));
        }
        if memory.throttles {
            return Err(ControlError::Throttled { retry_after_seconds: 7 });
        }
        Ok(())
    }

    fn store(&self, call: &'static str) -> Result<MutexGuard<'_, Memory>, ControlError> {
        let mut memory = self.memory();
        memory.calls.push(call);
        if memory.store_is_down { Err(ControlError::Unavailable("down".to_owned())) } else { Ok(memory) }
    }
}

impl ControlPlane for Core {
    fn came_into_force(&self, _: &Configuration) {}

    fn sign<'a>(&'a self, _: ProviderPk, grant: &'a mut Grant, full: bool) -> Answer<'a, ()> {
        self.memory().calls.push("sign");
        match full {
            true => grant.raw_token = "raw".to_owned(),
            false => grant.upstream_token = Some("assertion".to_owned()),
        }
        Box::pin(async { Ok(()) })
    }

    fn report(&self, error: ConfigurationError) -> Answer<'_, ()> {
        self.memory().reports.push(error);
        Box::pin(async { Ok(()) })
    }

    fn configuration(&self) -> watch::Receiver<Arc<Configuration>> {
        self.configuration.subscribe()
    }

    fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    fn verify_password<'a>(
        &'a self,
        _: ProviderPk,
        username: &'a str,
        password: &'a str,
        _: IpAddr,
    ) -> Answer<'a, Grant> {
        Box::pin(async move {
            self.core("verify_password").await?;
            let claims = self.memory().passwords.get(&(username.to_owned(), password.to_owned())).cloned();
            Ok(self.grant(&claims.ok_or(ControlError::Refused)?))
        })
    }

    fn introspect<'a>(&'a self, _: ProviderPk, token: &'a str, _: IpAddr) -> Answer<'a, Grant> {
        Box::pin(async move {
            self.core("introspect").await?;
            let claims = self.memory().tokens.get(token).cloned();
            Ok(self.grant(&claims.ok_or(ControlError::Refused)?))
        })
    }

    fn exchange_code<'a>(&'a self, exchange: CodeExchange<'a>) -> Answer<'a, Grant> {
        Box::pin(async move {
            self.core("exchange_code").await?;
            let code = self.memory().codes.remove(exchange.code).ok_or(ControlError::Refused)?;
            let challenge = URL_SAFE_NO_PAD.encode(sha256(exchange.code_verifier.as_bytes()));
            if (code.challenge, code.nonce.as_str(), code.redirect_uri.as_str())
                != (challenge, exchange.nonce, exchange.redirect_uri)
            {
                return Err(ControlError::Refused);
            }
            Ok(self.grant(&code.claims))
        })
    }

    fn still_stands<'a>(&'a self, session: &'a SessionRecord) -> Answer<'a, bool> {
        Box::pin(async move {
            self.core("still_stands").await?;
            Ok(!self.memory().fallen.contains(&session.grant.bearings.user))
        })
    }

    fn sessions(&self) -> &dyn SessionStore {
        self
    }
}

impl SessionStore for Core {
    fn digest(&self, provider: ProviderPk, value: &str) -> Digest {
        self.keys.digest(Purpose::SessionLookup, &[&provider.0.to_be_bytes(), value.as_bytes()])
    }

    fn fingerprint(&self, provider: ProviderPk, header: &[u8]) -> Digest {
        self.keys.digest(Purpose::CredentialFingerprint, &[&provider.0.to_be_bytes(), header])
    }

    fn value(&self, provider: ProviderPk, salt: &[u8; 32]) -> String {
        URL_SAFE_NO_PAD.encode(self.keys.digest(Purpose::SessionValue, &[&provider.0.to_be_bytes(), salt]))
    }

    fn put<'a>(&'a self, session: &'a SessionRecord) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut memory = self.store("put")?;
            let same = |old: &SessionRecord| {
                old.provider == session.provider
                    && (old.digest == session.digest
                        || (old.fingerprint.is_some() && old.fingerprint == session.fingerprint))
            };
            memory.sessions.retain(|old| !same(old));
            memory.sessions.push(session.clone());
            Ok(())
        })
    }

    fn by_digest(&self, provider: ProviderPk, digest: Digest) -> Answer<'_, Option<SessionRecord>> {
        Box::pin(async move {
            let memory = self.store("by_digest")?;
            Ok(memory.sessions.iter().find(|s| s.provider == provider && s.digest == digest).cloned())
        })
    }

    fn by_fingerprint(&self, provider: ProviderPk, fingerprint: Digest) -> Answer<'_, Option<SessionRecord>> {
        Box::pin(async move {
            let memory = self.store("by_fingerprint")?;
            Ok(memory.sessions.iter().find(|s| s.provider == provider && s.fingerprint == Some(fingerprint)).cloned())
        })
    }

    fn end(&self, provider: ProviderPk, digest: Digest) -> Answer<'_, ()> {
        Box::pin(async move {
            self.store("end")?.sessions.retain(|s| s.provider != provider || s.digest != digest);
            self.epochs.bump(Subject::OutpostSession(&digest));
            Ok(())
        })
    }

    fn end_of_user<'a>(&'a self, user: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            self.store("end_of_user")?.sessions.retain(|s| s.grant.bearings.user != user);
            Ok(())
        })
    }

    fn end_of_sid<'a>(&'a self, sid: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            self.store("end_of_sid")?.sessions.retain(|s| s.grant.bearings.sid != sid);
            Ok(())
        })
    }
}

/// A request as the upstream saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
}

impl Seen {
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        let text = |v: &http::HeaderValue| String::from_utf8_lossy(v.as_bytes()).into_owned();
        self.headers.get_all(name).iter().map(text).collect()
    }
}

/// The whole: `https://wiki.example` is a provider of the fake control plane.
pub(crate) struct Site {
    pub(crate) core: Arc<Core>,
    pub(crate) plane: Arc<DataPlane>,
    pub(crate) clock: Arc<ManualClock>,
    seen: Arc<Mutex<Vec<Seen>>>,
    upstream_cookies: Arc<Mutex<Vec<String>>>,
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}, |_| {}).await
    }

    /// A site whose first provider and settings were changed.
    pub(crate) async fn with(provider: impl FnOnce(&mut Provider), settings: impl FnOnce(&mut ProxySettings)) -> Self {
        Self::several(provider, settings, |_| Vec::new()).await
    }

    /// A site with further providers, made from the first.
    pub(crate) async fn several(
        provider: impl FnOnce(&mut Provider),
        settings: impl FnOnce(&mut ProxySettings),
        others: impl FnOnce(&Provider) -> Vec<Provider>,
    ) -> Self {
        let (seen, upstream_cookies) = (Arc::default(), Arc::default());
        let upstream = upstream(Arc::clone(&seen), Arc::clone(&upstream_cookies)).await;
        let mut first = wiki(&upstream);
        provider(&mut first);
        let mut providers = others(&first);
        providers.insert(0, first);
        let mut set = ProxySettings::default();
        settings(&mut set);
        let clock = Arc::new(ManualClock::at(NOW));
        let configuration = Configuration { outpost_name: "edge".to_owned(), providers, ..Configuration::default() };
        let core = Arc::new(Core {
            configuration: watch::Sender::new(Arc::new(configuration)),
            epochs: Epochs::default(),
            gate: Semaphore::new(1000),
            keys: Keyring::derive(b"0123456789abcdef0123456789abcdef"),
            memory: Mutex::default(),
        });
        core.memory().passwords.insert(("ada".to_owned(), "secret".to_owned()), ada());
        core.memory().tokens.insert(bearer_token(), ada());
        let forwarder =
            Forwarder::new(Upstreams::new(UpstreamSettings::default()), set.powered_by, CancellationToken::new());
        let plane = Arc::new(DataPlane::new(
            Arc::clone(&core) as Arc<dyn ControlPlane>,
            forwarder,
            set,
            Arc::clone(&clock) as _,
            Arc::new(SystemEntropy),
        ));
        Self { core, plane, clock, seen, upstream_cookies }
    }

    /// Sends a request to `https://wiki.example` from 192.0.2.1.
    pub(crate) async fn send(&self, request: request::Builder) -> Response<Body> {
        self.send_to("wiki.example", "192.0.2.1", request).await.expect("the data plane's own")
    }

    /// Sends a request; `None` if the data plane gives it back.
    pub(crate) async fn send_to(&self, host: &str, client: &str, request: request::Builder) -> Option<Response<Body>> {
        let origin = Origin {
            scheme: Scheme::Https,
            host: host.to_owned(),
            client: client.parse().unwrap(),
            peer: client.parse().unwrap(),
            peer_trusted: false,
            request_id: "0123456789abcdef0123456789abcdef".into(),
            asked: None,
        };
        match self.plane.handle(&mut request.body(Body::Empty).unwrap(), &origin).await {
            Handled::Answered(mut response, _) => {
                lines::settle(&mut response);
                Some(response)
            }
            Handled::NotOurs => None,
        }
    }

    /// A trusted proxy asks about a request to `https://wiki.example`.
    pub(crate) async fn ask(&self, question: request::Builder) -> Response<Body> {
        self.ask_as("wiki.example", question).await.expect("the data plane's own")
    }

    /// A trusted proxy asks under some host.
    pub(crate) async fn ask_as(&self, host: &str, question: request::Builder) -> Option<Response<Body>> {
        let origin = Origin {
            scheme: Scheme::Https,
            host: host.to_owned(),
            client: [192, 0, 2, 1].into(),
            peer: [127, 0, 0, 1].into(),
            peer_trusted: true,
            request_id: "0123456789abcdef0123456789abcdef".into(),
            asked: None,
        };
        match self.plane.handle(&mut question.body(Body::Empty).unwrap(), &origin).await {
            Handled::Answered(mut response, _) => {
                lines::settle(&mut response);
                Some(response)
            }
            Handled::NotOurs => None,
        }
    }

    /// Changes the configuration, and lets the data plane take it over.
    pub(crate) fn reconfigure(&self, change: impl FnOnce(&mut Configuration)) {
        self.core.configuration.send_modify(|configuration| change(Arc::make_mut(configuration)));
        self.plane.applications.update(&self.core.configuration.borrow());
    }

    /// Requests that reached the upstream.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Requests that reached the upstream since this was asked last.
    pub(crate) fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// The last request that reached the upstream.
    pub(crate) fn last(&self) -> Seen {
        self.seen().pop().expect("the upstream saw a request")
    }

    /// The upstream sets this cookie from now on.
    pub(crate) fn upstream_sets(&self, cookie: &str) {
        self.upstream_cookies.lock().unwrap().push(cookie.to_owned());
    }

    /// Signs in with Basic; gives the session cookie as it would be sent back.
    pub(crate) async fn session(&self) -> String {
        let response = self.send(get("/").header("authorization", basic("ada", "secret"))).await;
        assert_eq!(response.status(), StatusCode::OK);
        cookie_of(&response).expect("a session cookie")
    }
}

pub(crate) fn get(path: &str) -> request::Builder {
    request_of(Method::GET, path)
}

pub(crate) fn request_of(method: Method, path: &str) -> request::Builder {
    Request::builder().method(method).uri(path)
}

pub(crate) fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
}

/// A token that looks like one, and is known to the fake control plane.
pub(crate) fn bearer_token() -> String {
    let payload = json!({"exp": NOW.seconds() + VALIDITY});
    format!("eyJhbGciOiJSUzI1NiJ9.{}.c2lnbmF0dXJl", URL_SAFE_NO_PAD.encode(payload.to_string()))
}

/// `name=value` of the session cookie that an answer sets.
pub(crate) fn cookie_of(response: &Response<Body>) -> Option<String> {
    set_cookies(response)
        .into_iter()
        .find(|line| line.starts_with("authentik_proxy_01d4e0c9=") && !line.contains("Max-Age=0"))
        .and_then(|line| line.split(';').next().map(str::to_owned))
}

pub(crate) fn set_cookies(response: &Response<Body>) -> Vec<String> {
    response.headers().get_all("set-cookie").iter().map(|v| v.to_str().unwrap().to_owned()).collect()
}

pub(crate) fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |v| v.to_str().unwrap())
}

pub(crate) async fn body(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

pub(crate) fn ada() -> Claims {
    Claims {
        sub: "5ad0".to_owned(),
        exp: NOW.seconds() + VALIDITY,
        email: "ada@example.org".to_owned(),
        name: "Ada Lovelace".to_owned(),
        preferred_username: "ada".to_owned(),
        groups: vec!["staff".to_owned(), "maths".to_owned()],
        entitlements: vec!["read".to_owned()],
        sid: String::new(),
        ak_proxy: ProxyClaims { user_uuid: "uuid-of-ada".to_owned(), ..ProxyClaims::default() },
    }
}

pub(crate) fn wiki(upstream: &str) -> Provider {
    let core = "https://id.example/application/o";
    Provider {
        pk: ProviderPk(7),
        name: "Wiki provider".to_owned(),
        mode: Mode::Proxy,
        external_host: "https://wiki.example".to_owned(),
        internal_host: upstream.to_owned(),
        internal_host_ssl_validation: true,
        client_id: "Yk3vX0cQm1".to_owned(),
        client_secret: "client secret".to_owned(),
        cookie_secret: "COOKIESECRET".to_owned(),
        cookie_domain: String::new(),
        certificate: None,
        skip_path_regex: "^/public/".to_owned(),
        intercept_header_auth: true,
        basic_auth_enabled: false,
        basic_auth_user_attribute: "wiki_user".to_owned(),
        basic_auth_password_attribute: "wiki_password".to_owned(),
        access_token_validity: VALIDITY,
        scopes_to_request: vec!["openid".to_owned(), "ak_proxy".to_owned()],
        application_slug: "wiki".to_owned(),
        application_name: "The \"Wiki\"".to_owned(),
        header_names: Vec::new(),
        endpoints: Endpoints {
            issuer: format!("{core}/wiki/"),
            authorization: format!("{core}/authorize/"),
            end_session: format!("{core}/wiki/end-session/"),
            jwks: format!("{core}/wiki/jwks/"),
        },
    }
}

/// 32 bytes that differ each time, for values that must not be guessed in tests either.
pub(crate) fn random() -> String {
    let entropy: &dyn Entropy = &SystemEntropy;
    entropy.token()
}

async fn upstream(seen: Arc<Mutex<Vec<Seen>>>, cookies: Arc<Mutex<Vec<String>>>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (seen, cookies) = (Arc::clone(&seen), Arc::clone(&cookies));
            let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                let path = request.uri().path_and_query().map(|p| p.as_str().to_owned()).unwrap_or_default();
                seen.lock().unwrap().push(Seen { path, headers: request.headers().clone() });
                let mut response = Response::new(Body::from("application"));
                for cookie in cookies.lock().unwrap().iter() {
                    response.headers_mut().append("set-cookie", cookie.parse().unwrap());
                }
                async move { Ok::<_, std::convert::Infallible>(response) }
            });
            let socket = hyper_util::rt::TokioIo::new(socket);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(socket, service));
        }
    });
    format!("http://{address}")
}
