//! What the control plane tells an outpost, and what an outpost asks it.

use std::net::IpAddr;

use crate::claims::Claims;
use crate::clock::Timestamp;
use crate::epoch::{Epochs, Mark, Subject};
use crate::id::{BrandId, CertificateId, ProviderPk};
use crate::keys::Digest;

/// One consistent configuration of an outpost (PX-008).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configuration {
    /// How many changes to it the control plane had made when it was read.
    pub revision: u64,
    /// The outpost's name; `X-authentik-meta-outpost`.
    pub outpost_name: String,
    /// Providers with an application, by name (PX-027).
    pub providers: Vec<Provider>,
    /// The certificates that these providers, `own_host` and `brands` name, each once.
    pub certificates: Vec<Certificate>,
    /// The control plane's own host, if this outpost's listeners serve it and there is a certificate for it (PX-300).
    pub own_host: Option<OwnHost>,
    /// What brands show for the control plane, if this outpost's listeners serve it (CO-502, PX-300).
    pub brands: Vec<BrandHost>,
}

/// What is shown over TLS to clients that ask for the control plane itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnHost {
    /// Host name of its public URL.
    pub host: String,
    /// The certificate.
    pub certificate: CertificateId,
}

/// What a brand shows over TLS to clients that ask for the control plane under its domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrandHost {
    /// Key of the brand.
    pub pk: BrandId,
    /// The host name that it is for, with all names below it; in the form in which hosts are compared.
    pub domain: String,
    /// Whether it is for all other names, too, and for clients that ask for none.
    pub is_default: bool,
    /// The certificate.
    pub certificate: CertificateId,
}

/// A certificate to show to clients, with its private key (section 17 of the proxy specification).
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Key.
    pub pk: CertificateId,
    /// What administrators call it.
    pub name: String,
    /// The certificate and what it is signed with, leaf first, as PEM.
    pub chain: String,
    /// The private key as PEM; empty if there is none (PX-303).
    pub key: String,
    /// When the leaf ends (PX-304).
    pub expires: Timestamp,
}

/// Never prints the private key.
impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").field("pk", &self.pk).field("name", &self.name).finish_non_exhaustive()
    }
}

/// How a provider takes part in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// We carry the request to the upstream.
    Proxy,
    /// Another proxy asks us, for one application.
    ForwardSingle,
    /// Another proxy asks us, for a whole cookie domain.
    ForwardDomain,
}

/// One proxy provider with its application, as an outpost needs it (PX-020).
#[derive(Clone, PartialEq)]
pub struct Provider {
    /// Integer key.
    pub pk: ProviderPk,
    /// Provider name; `X-authentik-meta-provider`.
    pub name: String,
    /// How it takes part.
    pub mode: Mode,
    /// Where browsers reach it: scheme, host, perhaps a path; no trailing slash rule applies yet.
    pub external_host: String,
    /// Where the application is; empty in the forward modes.
    pub internal_host: String,
    /// Whether the upstream's certificate is verified (PX-279).
    pub internal_host_ssl_validation: bool,
    /// OAuth client id.
    pub client_id: String,
    /// OAuth client secret.
    pub client_secret: String,
    /// Keys the state token (PX-144).
    pub cookie_secret: String,
    /// Domain of the session cookie, or empty.
    pub cookie_domain: String,
    /// What is shown to clients that ask for its host over TLS (PX-300).
    pub certificate: Option<CertificateId>,
    /// One expression a line (section 14 of the proxy specification).
    pub skip_path_regex: String,
    /// Whether wrong credentials get a 401 (PX-096).
    pub intercept_header_auth: bool,
    /// Whether HTTP Basic is sent upstream.
    pub basic_auth_enabled: bool,
    /// Attribute that holds the upstream user name.
    pub basic_auth_user_attribute: String,
    /// Attribute that holds the upstream password.
    pub basic_auth_password_attribute: String,
    /// Session lifetime in seconds, at least 1 (PX-030).
    pub access_token_validity: i64,
    /// Scopes asked for (OA-074), joined by spaces when sent.
    pub scopes_to_request: Vec<String>,
    /// Application slug; `X-authentik-meta-app`.
    pub application_slug: String,
    /// Application name; the realm of a challenge.
    pub application_name: String,
    /// Names of additional headers that claims have held, as `header::alias` writes them (PX-221).
    pub header_names: Vec<String>,
    /// Where browsers and applications find the OAuth endpoints.
    pub endpoints: Endpoints,
}

/// Never prints the two secrets.
impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider").field("pk", &self.pk).field("name", &self.name).finish_non_exhaustive()
    }
}

/// Absolute URLs of one provider at the control plane, after rewriting (PX-340).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// `iss` of its tokens.
    pub issuer: String,
    /// Where browsers are sent to log in.
    pub authorization: String,
    /// Where browsers are sent after sign-out.
    pub end_session: String,
    /// `X-authentik-meta-jwks`.
    pub jwks: String,
}

/// How [`Bearings::user`] begins where it is no UUID.
pub const ALIAS: &str = "sub:";

/// What an identity rests on. When one of these falls, so does the identity (PX-198).
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Bearings {
    /// UUID text of the user at the control plane. Where that does not tell it, what stands for them: [`ALIAS`] and their
    /// subject.
    pub user: String,
    /// Public id of the identity provider's session; empty for machine credentials.
    pub sid: String,
    /// Id of the app password that was used; empty otherwise.
    pub app_password: String,
    /// Which key the app password had, as a short keyed digest: another key ends what the old one made.
    #[serde(default)]
    pub app_password_key: String,
    /// Id (`jti`) of the access token that was used or issued; empty when none is stored.
    pub access_token: String,
    /// Digest of everything that a token of it says, but for when: what was signed for another statement is not
    /// used for this one.
    #[serde(default)]
    pub statement: String,
    /// Names of the groups that the claims were made of. Applications are told them, so that the loss of
    /// any of them ends the identity.
    #[serde(default)]
    pub groups: Vec<String>,
    /// The only networks that the app password is taken from, if there are any here (OA-816).
    #[serde(default)]
    pub networks: Vec<String>,
    /// Names of the entitlements that the claims were made of. Their loss counts like that of a group.
    #[serde(default)]
    pub entitlements: Vec<String>,
    /// The address that the user proved themselves from: what policies ask for when it is decided again.
    #[serde(default)]
    pub client: Option<IpAddr>,
}

impl Bearings {
    /// Ties something built at `built_at` to everything that this identity rests on, and to the outpost's own
    /// session.
    ///
    /// Six subjects suffice: an access token that was obtained with an app password has no session.
    pub fn mark(&self, epochs: &Epochs, built_at: u64, provider: ProviderPk, session: &Digest) -> Mark {
        let (login, credential) = match (self.app_password.as_str(), self.access_token.as_str()) {
            ("", token) => (Subject::Session(&self.sid), token),
            (password, "") => (Subject::Session(&self.sid), password),
            (password, token) => (Subject::Credential(token), password),
        };
        let subjects = [
            Subject::User(&self.user),
            login,
            Subject::Credential(credential),
            Subject::Provider(provider.0),
            Subject::OutpostSession(session),
            if self.user.starts_with(ALIAS) { Subject::UnknownUsers } else { Subject::Everyone },
        ];
        epochs.mark(built_at, &subjects)
    }
}

/// The control plane's word that somebody may use a provider's application.
#[derive(Clone, PartialEq)]
pub struct Grant {
    /// Who it is.
    pub claims: Claims,
    /// The token itself: access token (code flow), id token (Basic), presented token (Bearer).
    /// Empty when the control plane issued none because nobody would see it (OA-082).
    pub raw_token: String,
    /// The access token by which an outpost elsewhere asks whether the grant still holds (PX-196), where that is not
    /// `raw_token`; else empty.
    pub access_token: String,
    /// The assertion meant for the application (PX-417), if there is one already.
    pub upstream_token: Option<String>,
    /// All that a token of this grant would say, for whoever has one signed: that costs more than everything
    /// else about a grant, and is done once per identity. Not kept.
    pub statement: Option<serde_json::Map<String, serde_json::Value>>,
    /// When the grant ends.
    pub expires: Timestamp,
    /// What it rests on.
    pub bearings: Bearings,
    /// [`Epochs::present`] before the control plane began to look.
    pub built_at: u64,
    /// Opaque hint for sign-out (PX-419).
    pub logout_hint: Option<String>,
}

/// Never prints a token.
impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grant").field("sub", &self.claims.sub).field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// How a session of an outpost came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A browser login.
    Code,
    /// HTTP Basic with an app password.
    Basic,
    /// A bearer token, perhaps under the reserved user name.
    Bearer,
}

impl Source {
    /// The word that stands for it in stores.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Basic => "basic",
            Self::Bearer => "bearer",
        }
    }

    /// Reads the word again.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Code, Self::Basic, Self::Bearer].into_iter().find(|source| source.as_str() == word)
    }
}

/// A session as it is kept (PX-171, PX-174).
#[derive(Clone, Debug)]
pub struct SessionRecord {
    /// The provider it is good for, and no other (PX-171).
    pub provider: ProviderPk,
    /// Keyed digest of the cookie's value; the value itself is stored nowhere.
    pub digest: Digest,
    /// 32 random bytes from which the value of a header-authenticated session can be made again, so
    /// that cookie-less clients with the same credential share one record (PX-100). Unused for logins.
    pub salt: [u8; 32],
    /// How it came to be.
    pub source: Source,
    /// Keyed digest of provider and exact header value (PX-106); none for logins.
    pub fingerprint: Option<Digest>,
    /// Absolute end (PX-173).
    pub expires: Timestamp,
    /// Who, and on what it rests. Sealed at rest.
    pub grant: Grant,
}
