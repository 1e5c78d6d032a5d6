//! Finds out who sends a request (sections 6 and 7 of the proxy specification).

mod by_header;
mod by_session;

use std::future::Future;
use std::sync::Arc;

use http::HeaderMap;
use portcullis_core::clock::Timestamp;
use portcullis_core::keys::Digest;
use portcullis_core::origin::Origin;
use tokio::time::Instant;

use crate::application::Application;
use crate::control::ControlError;
use crate::identity::Identity;
use crate::meters::Call;
use crate::path_class::PathClass;
use crate::plane::DataPlane;
use crate::recent_digests::Shown;

pub use by_header::Header;

/// What one way to authenticate found in a request.
pub enum Attempt {
    /// Nothing of its kind; the next way may look.
    Absent,
    /// Credentials that hold.
    Accepted(Arc<Identity>),
    /// Credentials that do not hold, or that nobody could look at.
    Rejected(Rejected),
}

/// Why an attempt got nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// The credentials do not hold, or make no sense (PX-090, PX-094).
    Invalid,
    /// Too many attempts failed; these credentials were not looked at (PX-110).
    Throttled {
        /// Seconds until another attempt makes sense.
        retry_after: u32,
    },
    /// Nobody could tell (PX-085).
    Unavailable,
}

/// Who sends a request, as far as it could be found out.
pub struct Caller {
    /// What the session cookie says.
    pub session: Attempt,
    /// What `Authorization` says; not looked at beside a session that holds (PX-081).
    pub authorization: Attempt,
    /// Whether `Authorization` carries credentials that we know as our own (PX-096).
    pub ours: bool,
    /// Whether there were session cookies that name no session (PX-177).
    pub stale_cookie: bool,
}

impl DataPlane {
    /// Looks at the session cookie and then, unless that settles it, at `Authorization` (PX-080).
    pub(crate) async fn authenticate(
        &self,
        application: &Application,
        class: PathClass,
        headers: &HeaderMap,
        origin: &Origin,
        now: Timestamp,
    ) -> Caller {
        let (mut session, stale_cookie) = self.by_session(application, headers, now).await;
        let header = Header::of(headers);
        if matches!(&session, Attempt::Accepted(identity) if !identity.admits(origin.client)) {
            session = Attempt::Absent;
        }
        match &session {
            Attempt::Accepted(identity) => {
                let ours = self.is_ours(application, Some(identity), header, now);
                Caller { session, authorization: Attempt::Absent, ours, stale_cookie }
            }
            Attempt::Rejected(_) if class == PathClass::Protected => {
                Caller { session, authorization: Attempt::Absent, ours: false, stale_cookie }
            }
            Attempt::Rejected(_) | Attempt::Absent => {
                let authorization = self.by_header(application, class, header, origin.client, now).await;
                let ours = matches!(authorization, Attempt::Accepted(_))
                    || (class == PathClass::Open && self.is_ours(application, None, header, now));
                Caller { session, authorization, ours, stale_cookie }
            }
        }
    }

    /// Digest under which the session of a cookie is stored.
    pub(crate) fn session_digest(&self, application: &Application, value: &str) -> Digest {
        self.recent_digests.of(Shown::Cookie, application.sessions.owner(), value.as_bytes(), || {
            self.control.sessions().digest(application.provider.pk, &application.session_key(value))
        })
    }

    /// Waits for an answer of the control plane, but not for long (PX-111).
    pub(crate) async fn asked<T: Send>(
        &self,
        call: &Call,
        question: impl Future<Output = Result<T, ControlError>> + Send,
    ) -> Result<T, ControlError> {
        let began = Instant::now();
        let answer = match tokio::time::timeout(self.settings.core_timeout, question).await {
            Ok(answer) => answer,
            Err(_) => Err(ControlError::Unavailable("no answer in time".to_owned())),
        };
        if let Err(ControlError::Unavailable(reason)) = &answer {
            tracing::error!(reason, "control plane unavailable");
        }
        call.ended(began.elapsed(), !matches!(answer, Err(ControlError::Unavailable(_))));
        answer
    }
}

impl From<&ControlError> for Rejected {
    fn from(error: &ControlError) -> Self {
        match error {
            ControlError::Refused => Self::Invalid,
            ControlError::Throttled { retry_after_seconds } => Self::Throttled { retry_after: *retry_after_seconds },
            ControlError::Unavailable(_) => Self::Unavailable,
        }
    }
}
