//! What the data plane answers by itself: one refusal, one answer.

pub mod page;

use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, LOCATION, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use portcullis_core::causes::causes;
use portcullis_core::negotiate;
use portcullis_core::origin::Origin;

use crate::application::Application;
use crate::body::Body;
use crate::forward::ForwardError;
use crate::identity_headers::Fault;
use crate::upstream::UpstreamError;
use page::Page;

/// Seconds after which a client may try again when something is unavailable.
const PAUSE: u32 = 5;

/// Why the data plane answers a request itself instead of forwarding it.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Nobody is signed in; a person is sent to the login at this URL (PX-130).
    #[error("login required")]
    LoginRequired(String),
    /// Nobody is signed in, and nobody would see a login page; the URL of one for later (PX-133).
    #[error("login required of a program")]
    LoginRequiredOfProgram(String),
    /// Credentials were presented and do not hold (PX-098).
    #[error("credentials rejected")]
    CredentialsRejected,
    /// Too many attempts failed (PX-110).
    #[error("too many failed attempts")]
    Throttled {
        /// Seconds until another attempt makes sense.
        retry_after: u32,
    },
    /// Nobody could tell who this is (PX-085).
    #[error("control plane or session store unavailable")]
    Unavailable,
    /// The identity's claims cannot be sent to the application (PX-203, PX-209, PX-276).
    #[error("identity cannot be sent: {0}")]
    Unsendable(Fault),
    /// Nothing is there (PX-060).
    #[error("not found")]
    NotFound,
    /// The endpoint has no such method; these it has (PX-062, PX-287).
    #[error("method not allowed")]
    MethodNotAllowed(&'static str),
    /// Somebody who is no trusted proxy asked about a request (PX-249).
    #[error("not a trusted proxy")]
    NotTrusted,
    /// Somebody wants to ask what proxies ask, through a proxy (PX-251).
    #[error("a request for what proxies ask")]
    NotForClients,
    /// A proxy asked about a request without saying which (PX-245, PX-246).
    #[error("the proxy does not say which request it asks about")]
    NotDeterminable,
    /// Another site asked for something that only the user may ask for (PX-193).
    #[error("cross-site request")]
    CrossSite,
    /// The identity provider did not let the user in (PX-147).
    #[error("login denied")]
    LoginDenied {
        /// What it said about that.
        description: String,
    },
    /// A login came back in a way that cannot be believed or used (PX-146, PX-147, PX-148).
    #[error("login failed: {reason}")]
    LoginFailed {
        /// What was wrong, in words for the user.
        reason: String,
    },
    /// A login could not be ended because the control plane did not answer (PX-148).
    #[error("login unavailable")]
    LoginUnavailable,
    /// The request did not reach the application, or the application did not answer (PX-288).
    #[error("not forwarded")]
    NotForwarded {
        /// What happened.
        error: ForwardError,
        /// Whether details may be shown (PX-289).
        to_superuser: bool,
    },
}

/// What an answer depends on besides the refusal.
pub struct Asker {
    accept: Option<HeaderValue>,
}

impl Asker {
    /// Keeps of a request what the answer's form depends on.
    pub fn of(headers: &HeaderMap) -> Self {
        Self { accept: headers.get(ACCEPT).cloned() }
    }

    fn wants_json(&self) -> bool {
        let headers = self.accept.iter().map(|value| (ACCEPT, value.clone())).collect();
        negotiate::prefers_json(&headers) || !negotiate::takes_pages(&headers)
    }
}

/// Makes the answer to a refused request. There is no other place where a refusal gets its status.
pub fn refuse(refusal: &Refusal, application: &Application, asker: &Asker, origin: &Origin) -> Response<Body> {
    let home = application.rule.home();
    let start = application.start_url(&home);
    let name = application.provider.application_name.as_str();
    let home_link = Some((home.as_str(), name));
    let start_link = Some((start.as_str(), "Sign in again"));
    // No `_` arm: a new refusal must choose its answer.
    let (status, error, title, sentence, link) = match refusal {
        Refusal::LoginRequired(url) => return redirect(url),
        Refusal::LoginRequiredOfProgram(url) => return login_for_program(url, application, asker),
        Refusal::NotDeterminable => return not_determinable(),
        Refusal::NotTrusted => {
            return text(StatusCode::FORBIDDEN, "this address is not a trusted proxy: see listen.trusted_proxy_cidrs");
        }
        Refusal::NotForClients => return text(StatusCode::FORBIDDEN, "this address is for reverse proxies alone"),
        Refusal::CredentialsRejected => (
            StatusCode::UNAUTHORIZED,
            "invalid_credentials",
            "Unauthenticated",
            "The credentials sent with this request were not accepted.",
            None,
        ),
        Refusal::Throttled { .. } => (
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_attempts",
            "Too many attempts",
            "Too many failed attempts came from your address. Wait a moment before you try again.",
            None,
        ),
        Refusal::Unavailable => (
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "Temporarily unavailable",
            "Your access cannot be checked at the moment. Please try again shortly.",
            home_link,
        ),
        Refusal::Unsendable(_) => (
            StatusCode::BAD_GATEWAY,
            "bad_gateway",
            "Your account cannot be used here",
            "Your account holds values that cannot be sent to the application. An administrator can mend this.",
            None,
        ),
        Refusal::NotFound => {
            (StatusCode::NOT_FOUND, "not_found", "Not found", "There is nothing at this address.", home_link)
        }
        Refusal::MethodNotAllowed(_) => (
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "Method not allowed",
            "This address does not take such requests.",
            None,
        ),
        Refusal::CrossSite => (
            StatusCode::FORBIDDEN,
            "cross_site",
            "Not from another site",
            "Another site asked for this. Nothing was changed.",
            home_link,
        ),
        Refusal::LoginDenied { description } => (
            StatusCode::FORBIDDEN,
            "access_denied",
            "Access denied",
            if description.is_empty() { "You may not use this application." } else { description.as_str() },
            start_link,
        ),
        Refusal::LoginFailed { reason } => {
            (StatusCode::BAD_REQUEST, "login_failed", "The sign-in did not work", reason.as_str(), start_link)
        }
        Refusal::LoginUnavailable => (
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "Temporarily unavailable",
            "The sign-in cannot be completed at the moment. Please try again shortly.",
            start_link,
        ),
        Refusal::NotForwarded { error, .. } => match error {
            ForwardError::BadRequest(reason) => {
                (StatusCode::BAD_REQUEST, "bad_request", "The request cannot be forwarded", *reason, None)
            }
            ForwardError::Body(crate::body::BodyError::Stalled) => (
                StatusCode::REQUEST_TIMEOUT,
                "request_timeout",
                "The request took too long",
                "The rest of the request did not arrive in time.",
                None,
            ),
            ForwardError::Body(_) => {
                (StatusCode::BAD_REQUEST, "bad_request", "The request broke off", "Its body could not be read.", None)
            }
            ForwardError::Upstream(UpstreamError::Timeout) => (
                StatusCode::GATEWAY_TIMEOUT,
                "gateway_timeout",
                "The application took too long",
                "The application did not answer in time. Please try again shortly.",
                None,
            ),
            ForwardError::Upstream(UpstreamError::Connect(_) | UpstreamError::Tls(_) | UpstreamError::Protocol(_)) => (
                StatusCode::BAD_GATEWAY,
                "bad_gateway",
                "The application does not answer",
                "The application behind this address cannot be reached at the moment. Please try again shortly.",
                None,
            ),
        },
    };
    let detail = match refusal {
        Refusal::NotForwarded { error, to_superuser: true } => Some(causes(error)),
        Refusal::Unsendable(fault) => Some(fault.to_string()),
        _ => None,
    };
    let mut response = if asker.wants_json() {
        let gateway = matches!(status, StatusCode::BAD_GATEWAY);
        json(
            status,
            &if gateway {
                serde_json::json!({ "error": error })
            } else {
                serde_json::json!({ "error": error, "detail": sentence, "request_id": origin.request_id.as_str() })
            },
        )
    } else {
        Page {
            status,
            title,
            text: sentence,
            detail: detail.as_deref(),
            link,
            form: None,
            request_id: &origin.request_id,
        }
        .response()
    };
    let headers = response.headers_mut();
    match refusal {
        Refusal::CredentialsRejected => {
            headers.append(WWW_AUTHENTICATE, application.basic_challenge.clone());
            headers.append(WWW_AUTHENTICATE, application.bearer_challenge.clone());
        }
        Refusal::Throttled { retry_after } => {
            headers.insert(RETRY_AFTER, HeaderValue::from((*retry_after).max(1)));
        }
        Refusal::Unavailable | Refusal::LoginUnavailable => {
            headers.insert(RETRY_AFTER, HeaderValue::from(PAUSE));
        }
        Refusal::MethodNotAllowed(methods) => {
            headers.insert(ALLOW, HeaderValue::from_static(methods));
        }
        _ => {}
    }
    response
}

/// Whether a stale session cookie is cleared with this refusal (PX-177): not where the answer must not
/// touch cookies (PX-085, PX-098).
pub fn clears_stale_cookie(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::LoginRequired(_)
            | Refusal::LoginRequiredOfProgram(_)
            | Refusal::LoginDenied { .. }
            | Refusal::LoginFailed { .. }
    )
}

/// 302 to a place that the caller has checked (PX-160).
pub fn redirect(location: &str) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::FOUND;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Everything that reaches this place is percent-encoded or taken from a request line.
    let location = HeaderValue::from_bytes(location.as_bytes()).unwrap_or(const { HeaderValue::from_static("/") });
    headers.insert(LOCATION, location);
    response
}

/// Adds a `Set-Cookie` line.
pub fn set_cookie(response: &mut Response<Body>, line: String) {
    if let Ok(mut line) = HeaderValue::try_from(line) {
        line.set_sensitive(true);
        response.headers_mut().append(SET_COOKIE, line);
    }
}

/// 400 for a host that no application has (PX-057).
pub fn no_application(origin: &Origin) -> Response<Body> {
    let detail = if origin.peer_trusted {
        "Check that the external host of a provider matches this host."
    } else {
        "The address that asks is not a trusted proxy (listen.trusted_proxy_cidrs), so that what it says about the host is not believed."
    };
    let body = serde_json::json!({
        "Message": "no app for hostname",
        "Host": origin.host,
        "Detail": detail,
    });
    json(StatusCode::BAD_REQUEST, &body)
}

/// 503 while an outpost has not reached its control plane for the first time (PX-006).
pub fn not_yet(origin: &Origin) -> Response<Body> {
    let page = Page {
        status: StatusCode::SERVICE_UNAVAILABLE,
        title: "Not ready yet",
        text: "This service is starting. Please try again in a moment.",
        detail: None,
        link: None,
        form: None,
        request_id: &origin.request_id,
    };
    let mut response = page.response();
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(PAUSE));
    response
}

/// Says of a request that is given back: its host is an application's, which another proxy stands in front of.
#[derive(Clone, Copy, Debug)]
pub struct BehindAnother;

/// 404 for the pages of an application that another proxy stands in front of: here are only those of its login.
pub fn behind_another(origin: &Origin) -> Response<Body> {
    let page = Page {
        status: StatusCode::NOT_FOUND,
        title: "Not found",
        text: "The application of this name is behind another reverse proxy, which asks here who may use it. This request \
               did not go through that one.",
        detail: None,
        link: None,
        form: None,
        request_id: &origin.request_id,
    };
    page.response()
}

/// An empty answer that is not kept.
pub fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// 401 without a prompt, with the place of a login (PX-133).
fn login_for_program(login_url: &str, application: &Application, asker: &Asker) -> Response<Body> {
    let mut response = if asker.wants_json() {
        json(StatusCode::UNAUTHORIZED, &serde_json::json!({ "error": "login_required", "login_url": login_url }))
    } else {
        text(StatusCode::UNAUTHORIZED, &format!("login required\nlogin_url: {login_url}\n"))
    };
    response.headers_mut().insert(WWW_AUTHENTICATE, application.quiet_challenge.clone());
    response
}

/// 401 as nginx takes it from the request that it asks with (PX-245).
pub fn unauthorized_for_nginx(application: &Application) -> Response<Body> {
    let mut response = text(StatusCode::UNAUTHORIZED, "unauthorized request");
    response.headers_mut().insert(WWW_AUTHENTICATE, application.quiet_challenge.clone());
    response
}

/// 500 to a proxy that does not say what it asks about (PX-245).
pub fn not_determinable() -> Response<Body> {
    text(StatusCode::INTERNAL_SERVER_ERROR, "configuration error")
}

fn text(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(text.to_owned()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn json(status: StatusCode, body: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
