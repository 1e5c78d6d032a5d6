//! Decides whether a request goes on, and is the proof that it may.

use std::sync::Arc;

use http::header::{AUTHORIZATION, COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Request, Response};
use portcullis_core::clock::Timestamp;
use portcullis_core::cookie;

use crate::answer::Refusal;
use crate::application::Application;
use crate::authenticate::{Attempt, Caller, Rejected};
use crate::body::Body;
use crate::forward::Plan;
use crate::identity::Identity;
use crate::identity_headers::Outfit;
use crate::lines::Lines;
use crate::metrics::Durations;
use crate::path_class::PathClass;

/// Leave to reach the upstream of one application. Made by [`Permit::decide`] alone; nothing is
/// forwarded without one.
pub struct Permit<'a> {
    application: &'a Application,
    identity: Option<Arc<Identity>>,
    keeps_authorization: bool,
    is_new: bool,
}

impl<'a> Permit<'a> {
    /// Decides about a request (PX-080, PX-096).
    ///
    /// # Errors
    /// Everything but a caller who may pass is refused; `login` makes the refusal for somebody unknown.
    pub fn decide(
        application: &'a Application,
        class: PathClass,
        caller: Caller,
        login: impl FnOnce() -> Refusal,
    ) -> Result<Self, Refusal> {
        let permit =
            |identity, keeps_authorization, is_new| Ok(Self { application, identity, keeps_authorization, is_new });
        let intercepts = application.provider.intercept_header_auth;
        match (caller.session, caller.authorization) {
            (Attempt::Accepted(identity), _) => {
                let passes = !intercepts || application.settings.authorization_passthrough_with_session;
                let keeps = passes && !caller.ours && !application.provider.basic_auth_enabled;
                permit(Some(identity), keeps, false)
            }
            (_, Attempt::Accepted(identity)) => permit(Some(identity), false, true),
            (_, _) if class == PathClass::Open => permit(None, !caller.ours, false),
            (Attempt::Rejected(_), _) | (_, Attempt::Rejected(Rejected::Unavailable)) => Err(Refusal::Unavailable),
            (_, Attempt::Rejected(Rejected::Throttled { retry_after })) if intercepts => {
                Err(Refusal::Throttled { retry_after })
            }
            (_, Attempt::Rejected(Rejected::Invalid)) if intercepts => Err(Refusal::CredentialsRejected),
            (Attempt::Absent, Attempt::Rejected(_) | Attempt::Absent) => Err(login()),
        }
    }

    /// Who it was given to; nobody on open targets.
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        self.identity.as_ref()
    }

    /// Takes out of a request what the application must not see or must not believe, and says how many
    /// spoofed headers there were.
    pub fn rewrite(&self, request: &mut Request<Body>) -> u64 {
        let headers = request.headers_mut();
        let stripped = self.application.spoofs.strip(headers);
        hide_cookies(headers);
        if !self.keeps_authorization {
            headers.remove(AUTHORIZATION);
        }
        stripped
    }

    /// What an identity brings, if there is one.
    ///
    /// # Errors
    /// [`Refusal::Unsendable`] when its claims cannot be sent (PX-203, PX-209, PX-276).
    pub fn outfit(&self) -> Result<Option<&Outfit>, Refusal> {
        let outfit = self.identity.as_ref().map(|identity| identity.outfit.as_ref());
        outfit.transpose().map_err(|fault| Refusal::Unsendable(*fault))
    }

    /// All headers that are set in somebody's name.
    pub fn headers<'b>(&'b self, outfit: &'b Outfit) -> [Option<&'b Lines>; 2] {
        [Some(&self.application.constant_headers), Some(&outfit.headers)]
    }

    /// Whether the client's own `Authorization` is for the application (PX-096).
    pub fn keeps_authorization(&self) -> bool {
        self.keeps_authorization
    }

    /// Where the request goes and what is set on its way.
    ///
    /// # Errors
    /// [`Refusal::Unsendable`] when the identity's claims cannot be sent; [`Refusal::NotFound`] in the forward
    /// modes, which have no upstream.
    pub fn plan(&self) -> Result<Plan<'_>, Refusal> {
        let target = self.application.target.as_ref().ok_or(Refusal::NotFound)?;
        let outfit = self.outfit()?;
        Ok(Plan {
            target: outfit.and_then(|outfit| outfit.target.as_deref()).map_or(target, |(target, _)| target),
            host: outfit.and_then(|outfit| outfit.host.as_ref()),
            set: outfit.map(|outfit| self.headers(outfit)).unwrap_or_default(),
            forbidden: Some(Arc::clone(&self.application.forbidden)),
            session: None,
        })
    }

    /// Durations of requests to where this one goes (PX-317).
    pub fn durations(&self) -> &Durations {
        let outfit = self.identity.as_ref().and_then(|identity| identity.outfit.as_ref().ok());
        let own = outfit.and_then(|outfit| outfit.target.as_deref());
        own.map_or(&self.application.durations, |(_, durations)| durations)
    }

    /// Finishes an answer: a client that came without a session cookie gets one (PX-099).
    pub fn finish(&self, response: &mut Response<Body>, now: Timestamp) {
        let cookies = &self.application.cookies;
        if self.is_new
            && let Some(cookie) = self.identity.as_ref().and_then(|identity| identity.cookie.as_ref())
            && let Some(line) = cookie.line(&cookies.session, &cookies.scope, now)
        {
            response.headers_mut().append(SET_COOKIE, line);
        }
    }
}

/// Takes our cookies out of a request (PX-178).
fn hide_cookies(headers: &mut HeaderMap) {
    let mut left = Vec::new();
    let mut found = false;
    for value in headers.get_all(COOKIE) {
        match cookie::without_ours(value.as_bytes()) {
            None => left.push(value.clone()),
            Some(rest) => {
                found = true;
                left.extend(HeaderValue::try_from(rest).ok().filter(|rest| !rest.is_empty()));
            }
        }
    }
    if !found {
        return;
    }
    headers.remove(COOKIE);
    for value in left {
        headers.append(COOKIE, value);
    }
}
