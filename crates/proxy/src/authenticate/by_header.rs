//! `Authorization`: header cache, then the control plane (PX-090 … PX-111).

use std::net::IpAddr;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use portcullis_core::claims::Claims;
use portcullis_core::clock::Timestamp;
use portcullis_core::credentials::{Credentials, is_current_jws};
use portcullis_core::keys::{Digest, keyed_digest};
use portcullis_core::outpost::Grant;

use super::{Attempt, Rejected};
use crate::application::Application;
use crate::control::{ControlError, SessionRecord, Source};
use crate::identity::{Identity, Session, SessionCookie};
use crate::path_class::PathClass;
use crate::plane::DataPlane;
use crate::recent_digests::Shown;
use crate::settings::{ForwardJwt, seconds};

/// The `Authorization` fields of a request.
#[derive(Clone, Copy)]
pub enum Header<'a> {
    /// There is none.
    None,
    /// There is one.
    One(&'a HeaderValue),
    /// There are several, which is never right (PX-090).
    Several(&'a HeaderMap),
}

impl<'a> Header<'a> {
    /// Looks, without judging.
    pub fn of(headers: &'a HeaderMap) -> Self {
        let mut all = headers.get_all(AUTHORIZATION).iter();
        match (all.next(), all.next()) {
            (None, _) => Self::None,
            (Some(one), None) => Self::One(one),
            (Some(_), Some(_)) => Self::Several(headers),
        }
    }

    /// All values.
    fn values(self) -> impl Iterator<Item = &'a HeaderValue> {
        let (one, several) = match self {
            Self::None => (None, None),
            Self::One(one) => (Some(one), None),
            Self::Several(headers) => (None, Some(headers.get_all(AUTHORIZATION))),
        };
        one.into_iter().chain(several.into_iter().flatten())
    }
}

impl DataPlane {
    /// Who the `Authorization` value belongs to.
    pub(super) async fn by_header(
        &self,
        application: &Application,
        class: PathClass,
        header: Header<'_>,
        client: IpAddr,
        now: Timestamp,
    ) -> Attempt {
        let value = match header {
            Header::None => return Attempt::Absent,
            // On an open target, what is not known already is not ours (PX-082).
            Header::Several(_) if class == PathClass::Open => return Attempt::Absent,
            Header::Several(_) => return self.invalid("other"),
            Header::One(value) => value.as_bytes(),
        };
        let key = self.header_key(application, value);
        if let Some(identity) = self.known(application, &key, now) {
            if !identity.admits(client) {
                return self.invalid("basic");
            }
            self.meters.header_hits.increment(1);
            return Attempt::Accepted(identity);
        }
        if class == PathClass::Open {
            return Attempt::Absent;
        }
        let Some(credentials) = Credentials::parse(value) else { return self.invalid("other") };
        let username = match &credentials {
            Credentials::Basic { username, .. } => Some(username.as_str()),
            Credentials::Bearer(_) => None,
        };
        if let Some(retry_after) = self.limiter.wait(client, username, now) {
            self.meters.rate_limited.increment(1);
            return Attempt::Rejected(Rejected::Throttled { retry_after });
        }
        if self.was_refused(application, &self.refusal_key(&key, client), &credentials, now) {
            return self.invalid(credentials.scheme());
        }
        // Boxed, as all that is seldom: else every request would carry room for it.
        Box::pin(self.verify(application, key, value, &credentials, client, now)).await
    }

    /// Whether one of the `Authorization` values is the credential that a session came from, or one that we
    /// verified (PX-096): then none of them is for the application.
    pub(super) fn is_ours(
        &self,
        application: &Application,
        session: Option<&Identity>,
        header: Header<'_>,
        now: Timestamp,
    ) -> bool {
        let made_by = session.and_then(|identity| identity.fingerprint);
        for value in header.values() {
            let fingerprint = || self.control.sessions().fingerprint(application.provider.pk, value.as_bytes());
            if made_by.is_some_and(|made_by| made_by == fingerprint()) {
                return true;
            }
            let key = self.header_key(application, value.as_bytes());
            if application.credentials.get(&key, now, self.control.epochs()).is_some() {
                return true;
            }
        }
        false
    }

    /// Key of the header cache: says nothing about the credentials to who has no process key (PX-106).
    fn header_key(&self, application: &Application, value: &[u8]) -> Digest {
        self.recent_digests.of(Shown::Header, application.credentials.owner(), value, || {
            keyed_digest(&self.process_key, &[&application.provider.pk.0.to_be_bytes(), value])
        })
    }

    /// Key of the cache of refusals: what is refused from one address may hold from another (OA-816).
    fn refusal_key(&self, key: &Digest, client: IpAddr) -> Digest {
        let address = match client.to_canonical() {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        keyed_digest(&self.process_key, &[key, &address.octets()])
    }

    /// An identity from the header cache, as far as it may be used (PX-107).
    fn known(&self, application: &Application, key: &Digest, now: Timestamp) -> Option<Arc<Identity>> {
        let identity = application.credentials.get(key, now, self.control.epochs())?;
        (identity.source != Source::Bearer || self.control.hears_revocations()).then_some(identity)
    }

    /// Refused a moment ago, or not worth a question (PX-092, PX-109).
    fn was_refused(&self, application: &Application, key: &Digest, credentials: &Credentials, now: Timestamp) -> bool {
        if let Credentials::Bearer(token) = credentials
            && !is_current_jws(token, now.seconds())
        {
            return true;
        }
        application.refused.holds(key, now, self.control.epochs())
    }

    /// Credentials that do not hold. Only those that the control plane refused just now count as a guess: a program
    /// that repeats one stale header must not slow down those who share its address (PX-110, OA-682).
    fn invalid(&self, scheme: &str) -> Attempt {
        self.meters.refused.of(scheme).increment(1);
        Attempt::Rejected(Rejected::Invalid)
    }

    async fn verify(
        &self,
        application: &Application,
        key: Digest,
        value: &[u8],
        credentials: &Credentials,
        client: IpAddr,
        now: Timestamp,
    ) -> Attempt {
        let epochs = self.control.epochs();
        let before = application.credentials.take(&key);
        let began = epochs.present();
        let find = || self.find_owner(application, value, credentials, client, now, before.as_deref());
        match application.credentials.load(&key, now, epochs, find).await {
            // Whoever asked at the same time from elsewhere got the same answer.
            Ok(identity) if !identity.admits(client) => self.invalid(credentials.scheme()),
            Ok(identity) => {
                self.meters.accepted.of(credentials.scheme()).increment(1);
                Attempt::Accepted(identity)
            }
            Err(error) => {
                let rejected = Rejected::from(&*error);
                match rejected {
                    Rejected::Invalid => {
                        let until = now.plus_seconds(seconds(self.settings.negative_cache_ttl));
                        let subject = portcullis_core::epoch::Subject::Provider(application.provider.pk.0);
                        let mark = epochs.mark(began, &[subject]);
                        application.refused.put(self.refusal_key(&key, client), until, mark);
                        let username = match credentials {
                            Credentials::Basic { username, .. } => Some(username.as_str()),
                            Credentials::Bearer(_) => None,
                        };
                        self.limiter.failed(client, username, now);
                        return self.invalid(credentials.scheme());
                    }
                    Rejected::Throttled { .. } => self.meters.rate_limited.increment(1),
                    Rejected::Unavailable => {}
                }
                Attempt::Rejected(rejected)
            }
        }
    }

    /// Asks the control plane, and ties the answer to the one session of these credentials. `before` is who they belonged
    /// to when they were last verified.
    async fn find_owner(
        &self,
        application: &Application,
        value: &[u8],
        credentials: &Credentials,
        client: IpAddr,
        now: Timestamp,
        before: Option<&Identity>,
    ) -> Result<Arc<Identity>, ControlError> {
        let epochs = self.control.epochs();
        let built_at = epochs.present();
        let pk = application.provider.pk;
        let calls = &self.meters.calls;
        let (source, grant) = match credentials {
            Credentials::Basic { username, password } => (
                Source::Basic,
                self.asked(&calls.verify_password, self.control.verify_password(pk, username, password, client))
                    .await?,
            ),
            Credentials::Bearer(token) => {
                (Source::Bearer, self.asked(&calls.introspect, self.control.introspect(pk, token, client)).await?)
            }
        };
        // The session may be older than the present end of the credential.
        let fresh_until = now.plus_seconds(seconds(self.settings.header_cache_ttl)).min(grant.expires);
        // While it stands, so does its session in the store: that ends with everything that it rests on.
        if let Some(before) = before
            && before.stands(now, epochs)
            && is_young(before.expires, grant.expires, application, now)
            && let Some(identity) = before.renewed(&grant, fresh_until, epochs, built_at)
        {
            let identity = Arc::new(identity);
            application.sessions.put(identity.session, Arc::clone(&identity));
            return Ok(identity);
        }
        let (record, cookie) = self.session_of(application, value, source, grant, now).await?;
        let session = Session {
            digest: record.digest,
            fingerprint: record.fingerprint,
            source,
            expires: record.expires,
            cookie: Some(SessionCookie::new(cookie, record.expires)),
        };
        let identity = Arc::new(Identity::new(application, &record.grant, session, fresh_until, epochs, built_at));
        application.sessions.put(record.digest, Arc::clone(&identity));
        Ok(identity)
    }

    /// The stored session of these credentials: the one there is, renewed if need be, or a new one
    /// (PX-100, PX-101). Also gives the value of its cookie.
    async fn session_of(
        &self,
        application: &Application,
        value: &[u8],
        source: Source,
        grant: Grant,
        now: Timestamp,
    ) -> Result<(SessionRecord, String), ControlError> {
        let pk = application.provider.pk;
        let sessions = self.control.sessions();
        let validity = application.validity;
        let expires = grant.expires.min(now.plus_seconds(validity));
        if expires <= now {
            return Err(ControlError::Refused);
        }
        let fingerprint = sessions.fingerprint(pk, value);
        let existing = self
            .asked(&self.meters.calls.sessions, sessions.by_fingerprint(pk, fingerprint))
            .await?
            .filter(|record| record.provider == pk && same_owner(record, &grant));
        let salt = existing.as_ref().map_or_else(|| self.entropy.bytes(), |record| record.salt);
        let cookie = sessions.value(pk, &salt);
        let digest = self.session_digest(application, &cookie);
        if let Some(mut record) = existing
            && record.digest == digest
            && is_young(record.expires, grant.expires, application, now)
            && says_the_same(&record, &grant)
            && !(self.lacks_token(&record.grant) && grant.statement.is_some())
        {
            let (raw_token, upstream_token) = (record.grant.raw_token, record.grant.upstream_token);
            record.grant = Grant { expires: record.grant.expires, raw_token, upstream_token, ..grant };
            return Ok((record, cookie));
        }
        let mut grant = grant;
        if self.lacks_token(&grant) {
            let full = self.settings.forward_jwt == ForwardJwt::Full;
            self.asked(&self.meters.calls.sign, self.control.sign(pk, &mut grant, full)).await?;
        }
        grant.statement = None;
        let record =
            SessionRecord { provider: pk, digest, salt, source, fingerprint: Some(fingerprint), expires, grant };
        self.asked(&self.meters.calls.sessions, sessions.put(&record)).await?;
        Ok((record, cookie))
    }

    /// Whether the token that the application gets to see has still to be signed (PX-206).
    fn lacks_token(&self, grant: &Grant) -> bool {
        match self.settings.forward_jwt {
            ForwardJwt::Assertion => grant.upstream_token.is_none(),
            ForwardJwt::Full => grant.raw_token.is_empty(),
            ForwardJwt::Off => false,
        }
    }
}

/// Whether a session that ends then need not be made anew yet: it ends no later than its credential, and has time left or could
/// not have more.
fn is_young(expires: Timestamp, most: Timestamp, application: &Application, now: Timestamp) -> bool {
    expires == most || (expires < most && expires > now.plus_seconds(application.validity / 2))
}

/// Whether a new grant is for the same user and credential as a session.
fn same_owner(record: &SessionRecord, grant: &Grant) -> bool {
    let (old, new) = (&record.grant.bearings, &grant.bearings);
    let same_key = old.app_password == new.app_password && old.app_password_key == new.app_password_key;
    old.user == new.user && old.sid == new.sid && same_key
}

/// Whether a new grant tells the application nothing that a session does not tell already.
fn says_the_same(record: &SessionRecord, grant: &Grant) -> bool {
    if record.grant.bearings.statement != grant.bearings.statement {
        return false;
    }
    let (old, new) = (&record.grant.claims, &grant.claims);
    Claims { exp: new.exp, ..old.clone() } == *new
}
