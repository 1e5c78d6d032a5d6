//! The only way from the data plane to the control plane.
//!
//! The embedded outpost asks services in the same process, a stand-alone one asks over HTTP and
//! WebSocket; the data plane cannot tell which.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use portcullis_core::epoch::Epochs;
use portcullis_core::id::ProviderPk;
use portcullis_core::keys::Digest;
use portcullis_core::outpost::{Configuration, Grant};
pub use portcullis_core::outpost::{SessionRecord, Source};
use tokio::sync::watch;

pub use crate::report::ConfigurationError;

/// An answer that is on its way.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ControlError>> + Send + 'a>>;

/// Why the control plane gave no grant.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// It looked, and says no: credentials that do not hold, a policy that denies (PX-094).
    #[error("refused by the control plane")]
    Refused,
    /// Too many failures from this client (OA-680); credentials were not examined.
    #[error("too many failed attempts, retry after {retry_after_seconds} s")]
    Throttled {
        /// Whole seconds until another attempt makes sense.
        retry_after_seconds: u32,
    },
    /// It could not answer; nothing is known about the credentials (PX-085).
    #[error("control plane unavailable: {0}")]
    Unavailable(String),
}

/// What the data plane asks of the control plane.
pub trait ControlPlane: Send + Sync + 'static {
    /// The configuration in force, replaced as a whole when anything changes (PX-008).
    fn configuration(&self) -> watch::Receiver<Arc<Configuration>>;

    /// Tells that requests from now on are judged by this configuration.
    fn came_into_force(&self, configuration: &Configuration);

    /// Epochs of everything that identities rest on.
    fn epochs(&self) -> &Epochs;

    /// Tells what an administrator has to mend (PX-363).
    fn report(&self, error: ConfigurationError) -> Answer<'_, ()>;

    /// Whether revocations reach this process as they happen, so that bearer tokens may be believed for
    /// a moment (PX-107). In the control plane's own process they always do.
    fn hears_revocations(&self) -> bool {
        true
    }

    /// Checks a user name and app password by the machine-to-machine flow (PX-091).
    fn verify_password<'a>(
        &'a self,
        provider: ProviderPk,
        username: &'a str,
        password: &'a str,
        client: IpAddr,
    ) -> Answer<'a, Grant>;

    /// Checks a bearer token issued for the provider (PX-092, PX-418).
    fn introspect<'a>(&'a self, provider: ProviderPk, token: &'a str, client: IpAddr) -> Answer<'a, Grant>;

    /// Trades an authorization code for a grant (PX-148). `nonce` must be the token's (PX-150).
    fn exchange_code<'a>(&'a self, exchange: CodeExchange<'a>) -> Answer<'a, Grant>;

    /// Signs what a grant says for the application, where it has no token for it yet: the assertion, or with `full`
    /// the raw token (PX-206, PX-417).
    fn sign<'a>(&'a self, provider: ProviderPk, grant: &'a mut Grant, full: bool) -> Answer<'a, ()>;

    /// Whether what a session rests on still holds, policies included (PX-196, PX-198).
    fn still_stands<'a>(&'a self, session: &'a SessionRecord) -> Answer<'a, bool>;

    /// Whether there ever was a configuration (PX-006). In the control plane's own process there always is.
    fn is_ready(&self) -> bool {
        true
    }

    /// The sessions of this outpost.
    fn sessions(&self) -> &dyn SessionStore;
}

/// What the callback brings, and what `start` remembered.
#[derive(Clone, Copy)]
pub struct CodeExchange<'a> {
    /// The provider that the login was for.
    pub provider: ProviderPk,
    /// The authorization code.
    pub code: &'a str,
    /// The redirect URI, as sent to the authorization endpoint (PX-142).
    pub redirect_uri: &'a str,
    /// PKCE code verifier.
    pub code_verifier: &'a str,
    /// Nonce of the authorization request.
    pub nonce: &'a str,
    /// The client's address.
    pub client: IpAddr,
}

/// Where sessions are kept. Expired ones are never returned; every operation uses an index (PX-175).
pub trait SessionStore: Send + Sync {
    /// Keyed digest of a session cookie's value, as found in [`SessionRecord::digest`].
    fn digest(&self, provider: ProviderPk, value: &str) -> Digest;
    /// Keyed digest of an `Authorization` value, as found in [`SessionRecord::fingerprint`].
    fn fingerprint(&self, provider: ProviderPk, header: &[u8]) -> Digest;
    /// The cookie value of a header-authenticated session, 43 characters of base64url.
    fn value(&self, provider: ProviderPk, salt: &[u8; 32]) -> String;
    /// Keeps a session; one with the same provider and fingerprint is replaced in the same step.
    fn put<'a>(&'a self, session: &'a SessionRecord) -> Answer<'a, ()>;
    /// Finds a session by its cookie.
    fn by_digest(&self, provider: ProviderPk, digest: Digest) -> Answer<'_, Option<SessionRecord>>;
    /// Finds a session by the credential that made it.
    fn by_fingerprint(&self, provider: ProviderPk, fingerprint: Digest) -> Answer<'_, Option<SessionRecord>>;
    /// Ends one session.
    fn end(&self, provider: ProviderPk, digest: Digest) -> Answer<'_, ()>;
    /// Ends all sessions of a user (PX-190, PX-191), in every provider.
    fn end_of_user<'a>(&'a self, user: &'a str) -> Answer<'a, ()>;
    /// Ends all sessions that came from one session of the identity provider (PX-195).
    fn end_of_sid<'a>(&'a self, sid: &'a str) -> Answer<'a, ()>;
}
