//! A control plane without a store, and applications, for measurements.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use portcullis_core::claims::Claims;
use portcullis_core::clock::Timestamp;
use portcullis_core::epoch::Epochs;
use portcullis_core::id::ProviderPk;
use portcullis_core::keys::{Digest, Keyring, Purpose};
use portcullis_core::outpost::{Bearings, Configuration, Endpoints, Grant, Mode, Provider};
use portcullis_proxy::control::{
    Answer, CodeExchange, ConfigurationError, ControlError, ControlPlane, SessionRecord, SessionStore,
};
use tokio::sync::watch;

/// The binary's.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// When it is.
pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);

/// A control plane to which every password is right, and which stores nothing.
pub(crate) struct Everybody {
    configuration: watch::Sender<Arc<Configuration>>,
    epochs: Epochs,
    keys: Keyring,
    /// What applications get to see in `X-authentik-jwt`.
    token: Option<String>,
}

impl Everybody {
    /// Of these applications.
    pub(crate) fn new(providers: Vec<Provider>, token: Option<String>) -> Self {
        let configuration = Configuration { outpost_name: "bench".to_owned(), providers, ..Configuration::default() };
        Self {
            configuration: watch::Sender::new(Arc::new(configuration)),
            epochs: Epochs::default(),
            keys: Keyring::derive(b"0123456789abcdef0123456789abcdef"),
            token,
        }
    }
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
            access_token: String::new(),
            upstream_token: self.token.clone(),
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
    fn still_stands<'a>(&'a self, _: &'a SessionRecord) -> Answer<'a, bool> {
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

/// An application under the host `appN.example.org`.
pub(crate) fn provider(number: i32) -> Provider {
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
