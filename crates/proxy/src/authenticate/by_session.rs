//! The session cookie (PX-171, PX-173, PX-180).

use std::sync::Arc;

use http::HeaderMap;
use http::header::COOKIE;
use portcullis_core::clock::Timestamp;
use portcullis_core::cookie;
use portcullis_core::keys::Digest;

use super::{Attempt, Rejected};
use crate::application::Application;
use crate::control::ControlError;
use crate::identity::{Identity, Session};
use crate::plane::DataPlane;

/// The most cookies of one name that are looked up, so that a planted heap of them costs little.
const MOST_COOKIES: usize = 8;

/// Seconds after which a session is looked at again although no change was heard of (D3).
const LOOK_AGAIN: i64 = 60;

impl DataPlane {
    /// The first session cookie that names a session which holds, and whether there were others.
    pub(crate) async fn by_session(
        &self,
        application: &Application,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> (Attempt, bool) {
        let mut tried = 0;
        let mut stale = false;
        for header in headers.get_all(COOKIE) {
            for value in cookie::values(header.as_bytes(), &application.cookies.session) {
                stale = true;
                if !cookie::is_token(value) {
                    continue;
                }
                tried += 1;
                if tried > MOST_COOKIES {
                    break;
                }
                let digest = self.session_digest(application, value);
                match self.session(application, digest, now).await {
                    Ok(identity) => return (Attempt::Accepted(identity), false),
                    Err(error) => match *error {
                        ControlError::Refused => {}
                        ControlError::Unavailable(_) | ControlError::Throttled { .. } => {
                            return (Attempt::Rejected(Rejected::Unavailable), false);
                        }
                    },
                }
            }
        }
        (Attempt::Absent, stale)
    }

    /// The identity of a stored session; `Refused` if there is none that holds.
    pub(crate) async fn session(
        &self,
        application: &Application,
        digest: Digest,
        now: Timestamp,
    ) -> Result<Arc<Identity>, Arc<ControlError>> {
        let epochs = self.control.epochs();
        if let Some(identity) = application.sessions.get(&digest, now, epochs) {
            self.meters.session_hits.increment(1);
            return Ok(identity);
        }
        self.meters.session_misses.increment(1);
        application.sessions.forget(&digest);
        let find = || self.find_session(application, digest, now);
        Box::pin(application.sessions.load(&digest, now, epochs, find)).await
    }

    /// Reads a session, and asks whether what it rests on still holds: it may have been kept by
    /// another process, or before a change that this one did not see.
    async fn find_session(
        &self,
        application: &Application,
        digest: Digest,
        now: Timestamp,
    ) -> Result<Arc<Identity>, ControlError> {
        let epochs = self.control.epochs();
        let built_at = epochs.present();
        let provider = application.provider.pk;
        let record =
            self.asked(&self.meters.calls.sessions, self.control.sessions().by_digest(provider, digest)).await?;
        let record = record
            .filter(|record| record.provider == provider && record.expires > now && record.grant.expires > now)
            .ok_or(ControlError::Refused)?;
        let stands = match self.asked(&self.meters.calls.still_stands, self.control.still_stands(&record)).await {
            Err(ControlError::Refused) => false,
            other => other?,
        };
        if !stands {
            self.asked(&self.meters.calls.sessions, self.control.sessions().end(provider, digest)).await?;
            return Err(ControlError::Refused);
        }
        let session = Session {
            digest,
            fingerprint: record.fingerprint,
            source: record.source,
            expires: record.expires.min(record.grant.expires),
            cookie: None,
        };
        let fresh_until = now.plus_seconds(LOOK_AGAIN);
        Ok(Arc::new(Identity::new(application, &record.grant, session, fresh_until, epochs, built_at)))
    }
}
