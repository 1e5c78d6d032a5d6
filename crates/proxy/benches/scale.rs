//! What a decision costs with few and with many applications and identities, and what each of them holds in memory:
//! `cargo bench -p portcullis-proxy --bench scale`.
//!
//! A decision is one forward-auth question for a known HTTP Basic credential, answered in this process, without a
//! network: host, path class, identity, headers of the answer. The control plane below knows everybody at once, so
//! that what is measured is the data plane alone.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement"
)]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Request, StatusCode};
use portcullis_core::claims::Claims;
use portcullis_core::clock::{ManualClock, Timestamp};
use portcullis_core::entropy::SystemEntropy;
use portcullis_core::epoch::Epochs;
use portcullis_core::id::ProviderPk;
use portcullis_core::keys::{Digest, Keyring, Purpose};
use portcullis_core::origin::{Origin, Scheme};
use portcullis_core::outpost::{Bearings, Configuration, Endpoints, Grant, Mode, Provider};
use portcullis_proxy::body::Body;
use portcullis_proxy::control::{
    Answer, CodeExchange, ConfigurationError, ControlError, ControlPlane, SessionRecord, SessionStore,
};
use portcullis_proxy::forward::Forwarder;
use portcullis_proxy::listener::Handled;
use portcullis_proxy::plane::DataPlane;
use portcullis_proxy::settings::{ForwardJwt, ProxySettings};
use portcullis_proxy::upstream::{UpstreamSettings, Upstreams};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);
const ROUNDS: usize = 200_000;
const CASES: [(usize, usize); 4] = [(10, 10), (10, 50_000), (10_000, 10_000), (10_000, 100_000)];

/// A control plane to which every password is right, and which stores nothing.
struct Everybody {
    configuration: watch::Sender<Arc<Configuration>>,
    epochs: Epochs,
    keys: Keyring,
}

fn yes<'a, T: Send + 'a>(answer: T) -> Answer<'a, T> {
    Box::pin(async move { Ok(answer) })
}

fn no<'a, T: Send + 'a>() -> Answer<'a, T> {
    Box::pin(async { Err(ControlError::Refused) })
}

impl ControlPlane for Everybody {
    fn configuration(&self) -> watch::Receiver<Arc<Configuration>> {
        self.configuration.subscribe()
    }
    fn came_into_force(&self, _: &Configuration) {}
    fn epochs(&self) -> &Epochs {
        &self.epochs
    }
    fn report(&self, _: ConfigurationError) -> Answer<'_, ()> {
        yes(())
    }
    fn verify_password<'a>(&'a self, _: ProviderPk, username: &'a str, _: &'a str, _: IpAddr) -> Answer<'a, Grant> {
        let claims = Claims {
            sub: format!("{username}-5cf5b8a7c0f6f6a9c6f3"),
            email: format!("{username}@example.org"),
            name: username.to_owned(),
            preferred_username: username.to_owned(),
            groups: vec!["staff".to_owned(), "editors".to_owned()],
            ..Claims::default()
        };
        yes(Grant {
            raw_token: String::new(),
            upstream_token: None,
            statement: None,
            expires: NOW.plus_seconds(3600),
            bearings: Bearings {
                user: username.to_owned(),
                app_password: format!("password-of-{username}"),
                ..Bearings::default()
            },
            built_at: self.epochs.present(),
            logout_hint: None,
            claims,
        })
    }
    fn introspect<'a>(&'a self, _: ProviderPk, _: &'a str, _: IpAddr) -> Answer<'a, Grant> {
        no()
    }
    fn exchange_code<'a>(&'a self, _: CodeExchange<'a>) -> Answer<'a, Grant> {
        no()
    }
    fn sign<'a>(&'a self, _: ProviderPk, _: &'a mut Grant, _: bool) -> Answer<'a, ()> {
        yes(())
    }
    fn still_stands<'a>(&'a self, _: ProviderPk, _: &'a Bearings) -> Answer<'a, bool> {
        yes(true)
    }
    fn sessions(&self) -> &dyn SessionStore {
        self
    }
}

impl SessionStore for Everybody {
    fn digest(&self, provider: ProviderPk, value: &str) -> Digest {
        self.keys.digest(Purpose::SessionLookup, &[&provider.0.to_be_bytes(), value.as_bytes()])
    }
    fn fingerprint(&self, provider: ProviderPk, header: &[u8]) -> Digest {
        self.keys.digest(Purpose::CredentialFingerprint, &[&provider.0.to_be_bytes(), header])
    }
    fn value(&self, _: ProviderPk, salt: &[u8; 32]) -> String {
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(salt)
    }
    fn put<'a>(&'a self, _: &'a SessionRecord) -> Answer<'a, ()> {
        yes(())
    }
    fn by_digest(&self, _: ProviderPk, _: Digest) -> Answer<'_, Option<SessionRecord>> {
        yes(None)
    }
    fn by_fingerprint(&self, _: ProviderPk, _: Digest) -> Answer<'_, Option<SessionRecord>> {
        yes(None)
    }
    fn end(&self, _: ProviderPk, _: Digest) -> Answer<'_, ()> {
        yes(())
    }
    fn end_of_user<'a>(&'a self, _: &'a str) -> Answer<'a, ()> {
        yes(())
    }
    fn end_of_sid<'a>(&'a self, _: &'a str) -> Answer<'a, ()> {
        yes(())
    }
}

fn provider(number: i32) -> Provider {
    Provider {
        pk: ProviderPk(number),
        name: format!("Application {number}"),
        mode: Mode::ForwardSingle,
        external_host: format!("https://app{number}.example.org"),
        internal_host: String::new(),
        internal_host_ssl_validation: true,
        client_id: format!("client-{number}"),
        client_secret: format!("secret-{number}"),
        cookie_secret: format!("cookie-secret-{number}"),
        cookie_domain: String::new(),
        certificate: None,
        skip_path_regex: "^/public/.*".to_owned(),
        intercept_header_auth: true,
        basic_auth_enabled: false,
        basic_auth_user_attribute: String::new(),
        basic_auth_password_attribute: String::new(),
        access_token_validity: 3600,
        scopes_to_request: vec!["openid".to_owned(), "ak_proxy".to_owned()],
        application_slug: format!("app-{number}"),
        application_name: format!("Application {number}"),
        header_names: Vec::new(),
        endpoints: Endpoints {
            issuer: format!("https://id.example.org/application/o/app-{number}/"),
            authorization: "https://id.example.org/application/o/authorize/".to_owned(),
            end_session: format!("https://id.example.org/application/o/app-{number}/end-session/"),
            jwks: format!("https://id.example.org/application/o/app-{number}/jwks/"),
        },
    }
}

/// Resident memory in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

struct Asker {
    application: usize,
    authorization: HeaderValue,
}

async fn ask(plane: &DataPlane, asker: &Asker) -> usize {
    let host = format!("app{}.example.org", asker.application + 1);
    let request = Request::get("/outpost.goauthentik.io/auth/traefik")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", &host)
        .header("x-forwarded-uri", "/")
        .header("authorization", asker.authorization.clone())
        .body(Body::Empty)
        .unwrap();
    let origin = Origin {
        scheme: Scheme::Https,
        host,
        client: CLIENT,
        peer: CLIENT,
        peer_trusted: true,
        request_id: String::new(),
        asked: None,
    };
    let Handled::Answered(answer, _) = plane.handle(request, Arc::new(origin)).await else { panic!("not ours") };
    assert_eq!(answer.status(), StatusCode::OK);
    answer.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

async fn measure(applications: usize, identities: usize) {
    let empty = resident();
    let providers = (1..=i32::try_from(applications).unwrap()).map(provider).collect();
    let configuration = Configuration { outpost_name: "bench".to_owned(), providers, ..Configuration::default() };
    let core = Arc::new(Everybody {
        configuration: watch::Sender::new(Arc::new(configuration)),
        epochs: Epochs::default(),
        keys: Keyring::derive(b"0123456789abcdef0123456789abcdef"),
    });
    let settings = ProxySettings { forward_jwt: ForwardJwt::Off, ..ProxySettings::default() };
    let forwarder = Forwarder::new(Upstreams::new(UpstreamSettings::default()), false, CancellationToken::new());
    let began = Instant::now();
    let plane = DataPlane::new(core, forwarder, settings, Arc::new(ManualClock::at(NOW)), Arc::new(SystemEntropy));
    let table = began.elapsed();
    let with_applications = resident();

    let askers: Vec<Asker> = (0..identities)
        .map(|number| {
            let pair = STANDARD.encode(format!("user-{number}:a-password-of-sixty-letters-as-the-api-makes-them"));
            let mut authorization = HeaderValue::try_from(format!("Basic {pair}")).unwrap();
            authorization.set_sensitive(true);
            Asker { application: number % applications, authorization }
        })
        .collect();
    let before = resident();
    let mut answered = 0;
    for asker in &askers {
        answered += ask(&plane, asker).await;
    }
    let with_identities = resident();

    // In an order that neither the processor's caches nor an index by number would like.
    let stride = 7919;
    let warm = Instant::now();
    let mut at = 0;
    for _ in 0..ROUNDS {
        ask(&plane, &askers[at]).await;
        at = (at + stride) % askers.len();
    }
    let each = warm.elapsed() / u32::try_from(ROUNDS).unwrap();
    println!(
        "| {applications} | {identities} | {:.2} | {} | {} | {} | {:.0} |",
        each.as_secs_f64() * 1e6,
        with_applications.saturating_sub(empty) / applications,
        with_identities.saturating_sub(before) / identities,
        answered / identities,
        table.as_secs_f64() * 1e3,
    );
}

fn main() {
    // Each case runs in a process of its own, so that none finds memory that another has left.
    match std::env::var("PORTCULLIS_SCALE_CASE") {
        Ok(case) => {
            let (applications, identities) = CASES[case.parse::<usize>().unwrap()];
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(measure(applications, identities));
        }
        Err(_) => {
            println!(
                "| applications | identities | µs per decision | bytes per application | bytes per identity | of these in headers | table built in ms |"
            );
            println!("|---:|---:|---:|---:|---:|---:|---:|");
            let program = std::env::current_exe().unwrap();
            for case in 0..CASES.len() {
                let mut child = std::process::Command::new(&program);
                assert!(child.env("PORTCULLIS_SCALE_CASE", case.to_string()).status().unwrap().success());
            }
        }
    }
}
