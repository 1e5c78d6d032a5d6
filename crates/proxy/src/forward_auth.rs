//! Answers to other proxies that ask whether a request may pass (section 15 of the proxy specification).
//!
//! Such an answer is read by a proxy, not by a browser: a status of 2xx lets the request through and means
//! nothing else (PX-258).

mod asked;

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, SET_COOKIE, TRANSFER_ENCODING, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use portcullis_core::host::Host;
use portcullis_core::origin::Origin;
use portcullis_core::path::{Dialect, RESERVED, Reserved, climbs};

use self::asked::Asked;
use crate::answer::{self, Refusal, redirect};
use crate::application::Application;
use crate::body::Body;
use crate::http1;
use crate::identity_headers::NAMES;
use crate::path_class::{Endpoint, PathClass, is_preflight, signature};
use crate::permit::Permit;
use crate::plane::{DataPlane, Notes, Visit};

/// Tells Envoy to take a header out of the request (PX-250).
const TO_REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");

impl DataPlane {
    /// The application that a question is about where the host of the question itself names none (PX-054).
    pub(crate) fn asked_about(&self, origin: &Origin, headers: &HeaderMap) -> Option<Arc<Application>> {
        self.applications.find(&asked::by_original_url(headers, origin)?.origin)
    }

    /// Answers a question about a request.
    pub(crate) async fn ask(
        &self,
        dialect: Dialect,
        application: &Arc<Application>,
        question: Visit<'_>,
        notes: &mut Notes,
    ) -> Result<Response<Body>, Refusal> {
        let origin = question.origin;
        if !origin.peer_trusted {
            return Err(Refusal::NotTrusted);
        }
        let asked = Asked::read(dialect, application.rule.scheme(), question).ok_or_else(|| {
            self.report_question(application, dialect, question.headers, origin.client);
            Refusal::NotDeterminable
        })?;
        // A question may name one host and be asked under another one's: the request's own decides.
        let application = match &asked.origin {
            Cow::Borrowed(_) => Arc::clone(application),
            Cow::Owned(other) => match self.applications.find(other) {
                Some(own) => own,
                None if other.host == origin.host => Arc::clone(application),
                None => return Err(Refusal::NotDeterminable),
            },
        };
        let visit = Visit {
            method: &asked.method,
            uri: &asked.uri,
            headers: question.headers,
            origin: &asked.origin,
            now: question.now,
        };
        let answer = self.judge(dialect, &application, &visit, notes).await;
        answer.map(one_cookie)
    }

    async fn judge(
        &self,
        dialect: Dialect,
        application: &Arc<Application>,
        visit: &Visit<'_>,
        notes: &mut Notes,
    ) -> Result<Response<Body>, Refusal> {
        let asks_us = (dialect != Dialect::Nginx)
            .then(|| signature(application, visit.method, visit.uri, visit.headers, visit.origin))
            .flatten();
        match asks_us {
            Some(Endpoint::Callback) => return Box::pin(self.callback(application, visit)).await,
            Some(_) => return Ok(no_page(Box::pin(self.sign_out(application, visit)).await?, application)),
            None => {}
        }
        let base = application.rule.base();
        match Reserved::of(visit.uri.path(), base) {
            // The proxy brings these to us.
            Some(Reserved::Start | Reserved::Callback | Reserved::SignOut | Reserved::Ping | Reserved::Static) => {
                return Ok(answer::empty(StatusCode::OK));
            }
            Some(Reserved::ForwardAuth(_)) => return Err(Refusal::NotForClients),
            Some(Reserved::Unknown) if Reserved::might_ask(visit.uri.path(), base) => {
                return Err(Refusal::NotForClients);
            }
            Some(Reserved::Unknown) | None => {}
        }
        let class = class_of(application, visit);
        let caller = self.authenticate(application, class, visit.headers, visit.origin, visit.now).await;
        notes.stale_cookie = caller.stale_cookie;
        let permit = match Permit::decide(application, class, caller, || self.login_required(application, visit)) {
            Ok(permit) => permit,
            Err(Refusal::LoginRequired(_) | Refusal::LoginRequiredOfProgram(_)) if dialect == Dialect::Nginx => {
                return Ok(answer::unauthorized_for_nginx(application));
            }
            Err(Refusal::LoginRequired(_)) => {
                return self.begin_login(application, visit, target_of(application, visit));
            }
            Err(other) => return Err(other),
        };
        notes.identity = permit.identity().cloned();
        // Envoy puts the path behind that of the question: a proxy in front that resolves it might take the question
        // for one of the login's pages, and hand the answer to a browser (PX-555).
        if dialect == Dialect::Envoy && climbs(visit.uri.path()) {
            return Err(Refusal::NotForClients);
        }
        let mut response = allowed(&permit, dialect, visit.headers)?;
        permit.finish(&mut response, visit.now);
        Ok(response)
    }
}

/// Whether the request needs an identity (PX-235, PX-237).
fn class_of(application: &Application, visit: &Visit<'_>) -> PathClass {
    let skip = &application.skip;
    let opens = || {
        // Only put together where it is compared.
        let origin = match skip.takes_origin() {
            true => {
                let host = Host::parse(&visit.origin.host, visit.origin.scheme)?;
                format!("{}://{host}", visit.origin.scheme.as_str())
            }
            false => String::new(),
        };
        Some(skip.opens(&origin, visit.uri.path(), visit.uri.query()))
    };
    let opens = !skip.is_empty() && opens() == Some(true);
    let has_body = || {
        let says_so = |name| visit.headers.get(name).is_some_and(|value| value.as_bytes() != b"0");
        [CONTENT_LENGTH, TRANSFER_ENCODING].iter().any(says_so)
    };
    let preflight = is_preflight(application, visit.method, visit.headers) && !has_body();
    if opens || preflight { PathClass::Open } else { PathClass::Protected }
}

/// Where the login leads in the end: the request itself, if that is a place of the application (PX-166, PX-252).
fn target_of(application: &Application, visit: &Visit<'_>) -> String {
    let rule = &application.rule;
    let url = format!("{}://{}{}", visit.origin.scheme.as_str(), visit.origin.host, visit.uri);
    let target = application.target_or_home(&url);
    let below = rule.domain().is_some() || rule.base().is_empty() || target == rule.home();
    if below { target } else { rule.of_request(&visit.uri.to_string()).unwrap_or_else(|| rule.home()) }
}

/// 200 with everything that the proxy is to set on the request (PX-200, PX-238, PX-245).
fn allowed(permit: &Permit<'_>, dialect: Dialect, sent: &HeaderMap) -> Result<Response<Body>, Refusal> {
    let outfit = permit.outfit()?;
    let mut response = Response::new(Body::Empty);
    let headers = response.headers_mut();
    *headers = http1::no_fields();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(agent) = sent.get(USER_AGENT) {
        headers.insert(USER_AGENT, agent.clone());
    }
    // Whether the application is sent credentials of ours.
    let mut sends = false;
    match outfit {
        Some(outfit) => {
            let lines = permit.headers(outfit);
            sends = lines.iter().flatten().any(|lines| lines.names().contains(&AUTHORIZATION));
            // They win over what was set before.
            lines.iter().flatten().for_each(|lines| lines.unset(headers));
            *response.body_mut() = Body::Lines(lines.map(|lines| lines.cloned()));
        }
        // Empty, so that whatever the client sent under these names is overwritten.
        None => {
            for name in NAMES {
                headers.insert(HeaderName::from_static(name), HeaderValue::from_static(""));
            }
        }
    }
    // The proxy takes `Authorization` from us: what is not here is not for the application.
    if sends {
        // It wins over the client's.
    } else if permit.keeps_authorization() {
        for value in sent.get_all(AUTHORIZATION) {
            response.headers_mut().append(AUTHORIZATION, value.clone());
        }
    } else if dialect == Dialect::Envoy && sent.contains_key(AUTHORIZATION) {
        response.headers_mut().insert(TO_REMOVE, HeaderValue::from_static("authorization"));
    }
    Ok(response)
}

/// What is a page elsewhere: here its status would let the request through (PX-258).
fn no_page(response: Response<Body>, application: &Application) -> Response<Body> {
    if response.status().is_success() {
        redirect(&application.rule.external(&format!("{RESERVED}/sign_out")))
    } else {
        response
    }
}

/// Leaves one `Set-Cookie` line, since nginx relays no more: what is set counts more than what is cleared (PX-179).
fn one_cookie(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    let lines: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().cloned().collect();
    if lines.len() > 1 {
        let clears = |line: &&HeaderValue| line.as_bytes().windows(9).any(|part| part == b"Max-Age=0");
        if let Some(kept) = lines.iter().find(|line| !clears(line)).or_else(|| lines.first()) {
            headers.insert(SET_COOKIE, kept.clone());
        }
    }
    response
}
