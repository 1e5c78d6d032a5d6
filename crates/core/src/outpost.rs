//! What the control plane tells an outpost, and what an outpost asks it.

use crate::claims::Claims;
use crate::clock::Timestamp;
use crate::epoch::{Epochs, Mark, Subject};
use crate::id::ProviderPk;

/// One consistent configuration of an outpost (PX-008).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configuration {
    /// The outpost's name; `X-authentik-meta-outpost`.
    pub outpost_name: String,
    /// Providers with an application, by name (PX-027).
    pub providers: Vec<Provider>,
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

/// What an identity rests on. When one of these falls, so does the identity (PX-198).
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Bearings {
    /// UUID text of the user at the control plane.
    pub user: String,
    /// Public id of the identity provider's session; empty for machine credentials.
    pub sid: String,
    /// Id of the app password that was used; empty otherwise.
    pub app_password: String,
    /// Id (`jti`) of the access token that was used or issued; empty when none is stored.
    pub access_token: String,
}

impl Bearings {
    /// Ties something built at `built_at` to everything that this identity rests on.
    ///
    /// At most one of the two credentials is set for an identity, so four subjects suffice.
    pub fn mark(&self, epochs: &Epochs, built_at: u64, provider: ProviderPk) -> Mark {
        let credential = if self.app_password.is_empty() { &self.access_token } else { &self.app_password };
        epochs.mark(
            built_at,
            &[
                Subject::User(&self.user),
                Subject::Session(&self.sid),
                Subject::Credential(credential),
                Subject::Provider(provider.0),
            ],
        )
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
    /// The assertion meant for the application (PX-417), if there is one.
    pub upstream_token: Option<String>,
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
