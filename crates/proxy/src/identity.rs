//! A known someone, with everything that a request in their name needs already built.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use ipnet::IpNet;
use portcullis_core::clock::Timestamp;
use portcullis_core::cookie::CookieScope;
use portcullis_core::epoch::{Epochs, Mark};
use portcullis_core::id::ProviderPk;
use portcullis_core::keys::Digest;
use portcullis_core::outpost::Grant;

use crate::application::Application;
use crate::control::Source;
use crate::identity_headers::{Fault, Outfit};

/// A known someone, bound to one provider (PX-084).
///
/// Built once per login or verification and then shared: a request only copies finished header values.
pub struct Identity {
    /// The provider it is good for, and no other.
    pub provider: ProviderPk,
    /// User name, else subject: for logs.
    pub name: Arc<str>,
    /// Whether the user administers the instance.
    pub is_superuser: bool,
    /// How they proved who they are.
    pub source: Source,
    /// What goes upstream, or why nothing may.
    pub outfit: Result<Outfit, Fault>,
    /// Digest under which the session is stored.
    pub session: Digest,
    /// Store's fingerprint of the credential that made the session; none for logins.
    pub fingerprint: Option<Digest>,
    /// The session cookie to give to a client that has none; none when they came with it.
    pub cookie: Option<SessionCookie>,
    /// When it ends, whatever happens.
    pub expires: Timestamp,
    /// The only networks that its credentials are taken from (OA-816); none for every network.
    networks: Option<Vec<IpNet>>,
    /// Until when it is believed without looking again.
    fresh_until: Timestamp,
    mark: Mark,
    /// Half of the digest of all that is said of them; none when the control plane gave none.
    said: Option<[u8; 16]>,
    /// What sign-out needs to know.
    pub leave: Leave,
}

/// What ends, and what is told to the control plane, when somebody signs out.
#[derive(Clone, Debug, Default)]
pub struct Leave {
    /// The control plane's id of the user.
    pub user: String,
    /// Session at the identity provider; empty without one.
    pub sid: String,
    /// The control plane's own hint (PX-419).
    pub logout_hint: Option<String>,
    /// A token that may stand in a URL, because it holds no attributes (PX-192).
    pub id_token_hint: Option<String>,
}

/// How an identity is tied to its session.
pub struct Session {
    /// Digest under which it is stored.
    pub digest: Digest,
    /// Fingerprint of the credential that made it.
    pub fingerprint: Option<Digest>,
    /// How it came to be.
    pub source: Source,
    /// Its absolute end.
    pub expires: Timestamp,
    /// Its cookie, for clients that came without.
    pub cookie: Option<SessionCookie>,
}

impl Identity {
    /// Builds an identity from a grant.
    ///
    /// It is believed without another look until `fresh_until`, its session's end, or a change to
    /// anything that it rests on since `built_at`.
    pub fn new(
        application: &Application,
        grant: &Grant,
        session: Session,
        fresh_until: Timestamp,
        epochs: &Epochs,
        built_at: u64,
    ) -> Self {
        let claims = &grant.claims;
        let name = if claims.preferred_username.is_empty() { &claims.sub } else { &claims.preferred_username };
        let harmless = claims.ak_proxy.user_attributes.is_empty() && !grant.raw_token.is_empty();
        Self {
            provider: application.provider.pk,
            name: name.as_str().into(),
            is_superuser: claims.ak_proxy.is_superuser,
            source: session.source,
            outfit: Outfit::new(application, grant),
            session: session.digest,
            fingerprint: session.fingerprint,
            cookie: session.cookie,
            expires: session.expires,
            networks: networks(&grant.bearings.networks),
            fresh_until: fresh_until.min(session.expires),
            mark: grant.bearings.mark(epochs, built_at, application.provider.pk, &session.digest),
            said: said(grant),
            leave: Leave {
                user: grant.bearings.user.clone(),
                sid: grant.bearings.sid.clone(),
                logout_hint: grant.logout_hint.clone(),
                id_token_hint: harmless.then(|| grant.raw_token.clone()),
            },
        }
    }

    /// The same, with the same session, after its credential was verified once more: nothing is built anew. None when
    /// the grant says anything else than the one before or rests on anything else, or does not tell what it says.
    pub fn renewed(&self, grant: &Grant, fresh_until: Timestamp, epochs: &Epochs, built_at: u64) -> Option<Self> {
        let said = said(grant).filter(|said| self.said.as_ref() == Some(said))?;
        let mark = grant.bearings.mark(epochs, built_at, self.provider, &self.session);
        if !mark.depends_like(&self.mark) {
            return None;
        }
        Some(Self {
            provider: self.provider,
            name: Arc::clone(&self.name),
            is_superuser: self.is_superuser,
            source: self.source,
            outfit: self.outfit.clone(),
            session: self.session,
            fingerprint: self.fingerprint,
            cookie: self.cookie.clone(),
            expires: self.expires,
            networks: networks(&grant.bearings.networks),
            fresh_until: fresh_until.min(self.expires),
            mark,
            said: Some(said),
            leave: self.leave.clone(),
        })
    }

    /// Whether it may be used from this address: what was proven from one network may not be good elsewhere.
    pub fn admits(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.networks.as_ref().is_none_or(|networks| networks.iter().any(|network| network.contains(&client)))
    }

    /// Whether it may be used now without looking again: fresh, and still good.
    pub fn is_fresh(&self, now: Timestamp, epochs: &Epochs) -> bool {
        now < self.fresh_until && self.stands(now, epochs)
    }

    /// Whether it has not ended, and nothing that it rests on has changed since it was built.
    pub fn stands(&self, now: Timestamp, epochs: &Epochs) -> bool {
        now < self.expires && epochs.stands(&self.mark)
    }
}

/// Half of the digest of all that a grant says, but for when: enough to tell one thing from another.
fn said(grant: &Grant) -> Option<[u8; 16]> {
    let mut said = Digest::default();
    hex::decode_to_slice(&grant.bearings.statement, &mut said).ok()?;
    said.first_chunk().copied()
}

/// Networks that were written down. One that cannot be read admits nobody.
fn networks(written: &[String]) -> Option<Vec<IpNet>> {
    (!written.is_empty()).then(|| written.iter().filter_map(|network| network.parse().ok()).collect())
}

/// The value of a session cookie, and its `Set-Cookie` line, made again at most once a second.
pub struct SessionCookie {
    value: String,
    expires: Timestamp,
    line: ArcSwapOption<(i64, HeaderValue)>,
}

impl Clone for SessionCookie {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), expires: self.expires, line: ArcSwapOption::new(self.line.load_full()) }
    }
}

impl SessionCookie {
    /// The cookie of a session that ends at `expires`.
    pub fn new(value: String, expires: Timestamp) -> Self {
        Self { value, expires, line: ArcSwapOption::empty() }
    }

    /// The `Set-Cookie` line as of `now`. None only if the name or domain cannot stand in a header.
    pub fn line(&self, name: &str, scope: &CookieScope, now: Timestamp) -> Option<HeaderValue> {
        if let Some(made) = &*self.line.load()
            && made.0 == now.seconds()
        {
            return Some(made.1.clone());
        }
        // Copied, so that it takes no more than it needs.
        let mut line = HeaderValue::from_str(&scope.set(name, &self.value, now, self.expires)).ok()?;
        line.set_sensitive(true);
        self.line.store(Some(Arc::new((now.seconds(), line.clone()))));
        Some(line)
    }
}
