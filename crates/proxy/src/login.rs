//! Logins of browsers: start and callback (section 9 of the proxy specification).

pub mod sign_out;
pub mod state;

use std::sync::Arc;

use http::header::COOKIE;
use http::{Method, Response};
use portcullis_core::cookie;
use portcullis_core::epoch::Subject;
use portcullis_core::keys::{same_secret, sha256};
use url::Url;

use self::state::{State, StateError};
use crate::answer::{Refusal, redirect, set_cookie};
use crate::application::Application;
use crate::authenticate::Attempt;
use crate::body::Body;
use crate::control::{CodeExchange, ControlError, SessionRecord, Source};
use crate::plane::{DataPlane, Visit};
use crate::settings::seconds;

/// The most text of the identity provider that a page repeats, in characters (PX-147).
const LONGEST_DESCRIPTION: usize = 200;

impl DataPlane {
    /// Sends a browser to the identity provider (PX-140 … PX-144).
    pub(crate) fn start(&self, application: &Application, visit: &Visit<'_>) -> Result<Response<Body>, Refusal> {
        if visit.method != Method::GET {
            return Err(Refusal::MethodNotAllowed("GET"));
        }
        let target = match wanted(visit.uri.query().unwrap_or_default()) {
            Some(rd) => application.target_or_home(&rd),
            None => application.rule.home(),
        };
        self.begin_login(application, visit, target)
    }

    /// Sends a browser to the identity provider, and from there to a target that the provider's redirect rule has let through.
    pub(crate) fn begin_login(
        &self,
        application: &Application,
        visit: &Visit<'_>,
        target: String,
    ) -> Result<Response<Body>, Refusal> {
        let presented = pre_auth_cookies(application, visit).find(|value| cookie::is_token(value)).map(str::to_owned);
        let pre_auth = presented.unwrap_or_else(|| self.entropy.token());
        let state = State::new(&*self.entropy, visit.now, sha256(pre_auth.as_bytes()), target);
        let mut url =
            Url::parse(&application.provider.endpoints.authorization).map_err(|_| Refusal::LoginUnavailable)?;
        url.query_pairs_mut()
            .append_pair("client_id", &application.provider.client_id)
            .append_pair("redirect_uri", &application.redirect_uri())
            .append_pair("response_type", "code")
            .append_pair("scope", &application.provider.scopes_to_request.join(" "))
            .append_pair("nonce", &state.nonce_text())
            .append_pair("code_challenge", &state.challenge())
            .append_pair("code_challenge_method", "S256")
            .append_pair("state", &state.seal(application, &*self.entropy));
        self.meters.logins_started.increment(1);
        let mut response = redirect(url.as_str());
        let until = visit.now.plus_seconds(seconds(self.settings.state_ttl));
        let cookies = &application.cookies;
        set_cookie(&mut response, cookies.scope.set(&cookies.pre_auth, &pre_auth, visit.now, until));
        Ok(response)
    }

    /// Takes a browser back from the identity provider, and signs it in (PX-145 … PX-151).
    pub(crate) async fn callback(
        &self,
        application: &Application,
        visit: &Visit<'_>,
    ) -> Result<Response<Body>, Refusal> {
        if visit.method != Method::GET {
            return Err(Refusal::MethodNotAllowed("GET"));
        }
        let outcome = self.complete(application, visit).await;
        let meter = if outcome.is_ok() { &self.meters.logins_completed } else { &self.meters.logins_failed };
        meter.increment(1);
        outcome
    }

    async fn complete(&self, application: &Application, visit: &Visit<'_>) -> Result<Response<Body>, Refusal> {
        let answer = Answer::of(visit.uri.query().unwrap_or_default());
        if let Some(refusal) = answer.refusal() {
            return Err(refusal);
        }
        let state = match self.claim(application, visit, &answer) {
            Ok(state) => state,
            // Somebody who is signed in has a login behind them, in another tab perhaps.
            Err(error) => match self.by_session(application, visit.headers, visit.now).await.0 {
                Attempt::Accepted(_) => return Ok(redirect(&application.rule.home())),
                Attempt::Rejected(_) => return Err(Refusal::LoginUnavailable),
                Attempt::Absent => {
                    return Err(Refusal::LoginFailed { reason: error.to_string() });
                }
            },
        };
        let (redirect_uri, verifier, nonce) = (application.redirect_uri(), state.verifier_text(), state.nonce_text());
        let exchange = CodeExchange {
            provider: application.provider.pk,
            code: &answer.code,
            redirect_uri: &redirect_uri,
            code_verifier: &verifier,
            nonce: &nonce,
            client: visit.origin.client,
        };
        let grant = self.asked(&self.meters.calls.exchange_code, self.control.exchange_code(exchange)).await.map_err(
            |error| match error {
                ControlError::Refused => {
                    Refusal::LoginFailed { reason: "The identity provider did not confirm this login.".to_owned() }
                }
                ControlError::Throttled { retry_after_seconds } => {
                    Refusal::Throttled { retry_after: retry_after_seconds }
                }
                ControlError::Unavailable(_) => Refusal::LoginUnavailable,
            },
        )?;
        if grant.expires <= visit.now {
            return Err(Refusal::LoginFailed { reason: "The login has expired already.".to_owned() });
        }
        self.end_presented(application, visit).await?;
        let value = self.entropy.token();
        let sessions = self.control.sessions();
        let session = SessionRecord {
            provider: application.provider.pk,
            digest: self.session_digest(application, &value),
            salt: self.entropy.bytes(),
            source: Source::Code,
            fingerprint: None,
            expires: grant.expires,
            grant,
        };
        self.asked(&self.meters.calls.sessions, sessions.put(&session)).await.map_err(|_| Refusal::LoginUnavailable)?;
        let mut response = redirect(&application.target_or_home(&state.target));
        let cookies = &application.cookies;
        set_cookie(&mut response, cookies.scope.set(&cookies.session, &value, visit.now, session.expires));
        set_cookie(&mut response, cookies.scope.clear(&cookies.pre_auth));
        Ok(response)
    }

    /// Opens the state, checks that it is this browser's and was not used before (PX-146).
    fn claim(&self, application: &Application, visit: &Visit<'_>, answer: &Answer) -> Result<State, StateError> {
        let state = State::open(application, &answer.state, visit.now, seconds(self.settings.state_ttl))?;
        let same_browser =
            pre_auth_cookies(application, visit).any(|value| same_secret(&sha256(value.as_bytes()), &state.pre_auth));
        if !same_browser {
            return Err(StateError::OtherBrowser);
        }
        if answer.iss.as_deref().is_some_and(|iss| iss != application.provider.endpoints.issuer) {
            return Err(StateError::OtherIssuer);
        }
        if !self.used_states.entry(state.id).or_insert_with(|| ()).is_fresh() {
            return Err(StateError::Used);
        }
        Ok(state)
    }

    /// Ends the sessions of this provider that the browser presents (PX-151).
    async fn end_presented(&self, application: &Application, visit: &Visit<'_>) -> Result<(), Refusal> {
        let pk = application.provider.pk;
        for value in presented(visit, &application.cookies.session).filter(|v| cookie::is_token(v)).take(8) {
            let digest = self.session_digest(application, value);
            self.asked(&self.meters.calls.sessions, self.control.sessions().end(pk, digest))
                .await
                .map_err(|_| Refusal::LoginUnavailable)?;
            application.sessions.forget(&digest);
        }
        Ok(())
    }

    /// Ends everything of somebody at this outpost (PX-190, PX-191).
    pub(crate) async fn end_all(
        &self,
        application: &Application,
        identity: &Arc<crate::identity::Identity>,
    ) -> Result<(), ControlError> {
        let (sessions, leave) = (self.control.sessions(), &identity.leave);
        self.asked(&self.meters.calls.sessions, sessions.end(application.provider.pk, identity.session)).await?;
        if !leave.user.is_empty() {
            self.asked(&self.meters.calls.sessions, sessions.end_of_user(&leave.user)).await?;
            self.control.epochs().bump(Subject::User(&leave.user));
        }
        if !leave.sid.is_empty() {
            self.asked(&self.meters.calls.sessions, sessions.end_of_sid(&leave.sid)).await?;
            self.control.epochs().bump(Subject::Session(&leave.sid));
        }
        application.sessions.forget(&identity.session);
        Ok(())
    }
}

/// The target that a `start` URL asks for (PX-140).
fn wanted(query: &str) -> Option<String> {
    if let Some(rest) = query.strip_prefix("rd=").filter(|_| is_bare_target(query)) {
        return Some(rest.to_owned());
    }
    url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "rd").map(|(_, value)| value.into_owned())
}

/// Whether the query of a `start` URL is one target that is not encoded (PX-140): a template that does not encode its value
/// writes a whole URL, whose `&` are not ours. Some encode what follows the host, and nothing else.
pub(crate) fn is_bare_target(query: &str) -> bool {
    let Some(rest) = query.strip_prefix("rd=") else { return false };
    let host = rest.split("://").nth(1).and_then(|after| after.split(['/', '?', '#', '&']).next());
    rest.split('&').next().is_some_and(|value| value.contains("://")) && !host.is_some_and(|host| host.contains('%'))
}

fn presented<'a>(visit: &Visit<'a>, name: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
    visit.headers.get_all(COOKIE).into_iter().flat_map(move |header| cookie::values(header.as_bytes(), name))
}

fn pre_auth_cookies<'a>(application: &'a Application, visit: &Visit<'a>) -> impl Iterator<Item = &'a str> + use<'a> {
    presented(visit, &application.cookies.pre_auth)
}

/// The parameters that a callback brings.
#[derive(Default)]
struct Answer {
    code: String,
    state: String,
    iss: Option<String>,
    error: Option<String>,
    description: String,
}

impl Answer {
    fn of(query: &str) -> Self {
        let mut answer = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "code" => answer.code = value.into_owned(),
                "state" => answer.state = value.into_owned(),
                "iss" => answer.iss = Some(value.into_owned()),
                "error" => answer.error = Some(value.into_owned()),
                "error_description" => {
                    answer.description = value.chars().filter(|c| !c.is_control()).take(LONGEST_DESCRIPTION).collect();
                }
                _ => {}
            }
        }
        answer
    }

    /// What the identity provider refused, or forgot (PX-147).
    fn refusal(&self) -> Option<Refusal> {
        let description = || self.description.clone();
        match self.error.as_deref() {
            Some("access_denied") => Some(Refusal::LoginDenied { description: description() }),
            Some(_) if self.description.is_empty() => {
                Some(Refusal::LoginFailed { reason: "The identity provider reported an error.".to_owned() })
            }
            Some(_) => Some(Refusal::LoginFailed { reason: description() }),
            None if self.code.is_empty() && !self.state.is_empty() => {
                Some(Refusal::LoginFailed { reason: "The identity provider sent no code.".to_owned() })
            }
            None => None,
        }
    }
}
