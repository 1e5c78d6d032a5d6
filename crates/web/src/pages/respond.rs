//! Pages become answers; what went wrong becomes a page.

use std::collections::BTreeSet;

use askama::Template;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, REFRESH, RETRY_AFTER};
use http::header::{X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use http::{HeaderMap, HeaderValue, StatusCode};
use portcullis_core::origin::Origin;
use portcullis_idp::{Context, Error};
use url::Url;

use super::browser::came_from_elsewhere;
use super::path;
use super::view::{Link, Message};
use crate::PAUSE_SECONDS;

/// A page with its status and the headers that every page carries.
pub fn page(status: StatusCode, page: &impl Template) -> Response {
    page_posting_to(status, page, &[])
}

/// A page whose form leads to other places than ours in the end. Browsers hold the policy of forms against
/// every redirect that follows, so those places are named in it; what is no URL is left out.
pub fn page_posting_to(status: StatusCode, page: &impl Template, places: &[&str]) -> Response {
    answer(status, page, &policy(&named(places), Script::None))
}

/// The same with a script of ours.
pub fn page_with_script(status: StatusCode, page: &impl Template, places: &[&str]) -> Response {
    answer(status, page, &policy(&named(places), Script::Own))
}

/// A page whose only form leads to ourselves, and in the end to `back`, an application's address, and from there wherever the
/// application sends people: browsers hold the policy of forms against all of that, and block it once what was agreed to is
/// spent.
///
/// This is sound because the policy of forms keeps a foreign form from sending what people enter elsewhere, and there is no
/// such form: the page has one, to a path of ours, no field to enter anything, no markup from elsewhere, and at most our own
/// script. Where our answer leads is checked when it is given.
pub fn page_ending_anywhere(page: &impl Template, back: &str, script: Script) -> Response {
    answer(StatusCode::OK, page, &policy(&anywhere(back), script))
}

/// A page with frames of other sites, which goes on to `next` by itself after so many seconds (OA-550, OA-551).
pub fn page_framing(page: &impl Template, frames: &[String], seconds: u32, next: &str) -> Response {
    let sources: BTreeSet<String> = frames
        .iter()
        .filter_map(|frame| Url::parse(frame).ok().map(|url| url.origin().ascii_serialization()))
        .collect();
    let sources = sources.into_iter().collect::<Vec<_>>().join(" ");
    let mut response =
        answer(StatusCode::OK, page, &format!("{}; frame-src {sources}", policy("'self'", Script::None)));
    if let Ok(refresh) = HeaderValue::from_str(&format!("{seconds};url={next}")) {
        response.headers_mut().insert(REFRESH, refresh);
    }
    response
}

/// Which scripts a page may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// None at all.
    None,
    /// Files of ours.
    Own,
}

fn answer(status: StatusCode, page: &impl Template, policy: &str) -> Response {
    let (Ok(html), Ok(policy)) = (page.render(), HeaderValue::from_str(policy)) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (CONTENT_SECURITY_POLICY, policy),
        (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    ];
    (status, headers, html).into_response()
}

/// Sources of forms: we, and the origins of these places, or their schemes where they have no host.
fn named(places: &[&str]) -> String {
    let mut forms = "'self'".to_owned();
    for url in places.iter().filter_map(|place| Url::parse(place).ok()) {
        let origin = url.origin();
        let source = if origin.is_tuple() { origin.ascii_serialization() } else { format!("{}:", url.scheme()) };
        // A host may have characters that end a source, or the policy.
        if source.contains([';', ',', '\'', '"', ' ']) {
            continue;
        }
        forms.push(' ');
        forms.push_str(&source);
        // All hosts of a domain, on whatever port.
        if url.host_str().is_some_and(|host| host.starts_with("*.")) {
            forms.push_str(":*");
        }
    }
    forms
}

/// Sources of forms: we, every place of the web, and the scheme of `back`, which may be an app's.
fn anywhere(back: &str) -> String {
    let forms = "'self' http: https:";
    match Url::parse(back) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") => format!("{forms} {}:", url.scheme()),
        _ => forms.to_owned(),
    }
}

/// No script but our own file, nothing from elsewhere, no frame around it (D9 of the design).
fn policy(forms: &str, script: Script) -> String {
    let scripts = match script {
        Script::None => "",
        Script::Own => "script-src 'self'; ",
    };
    format!(
        "default-src 'none'; style-src 'self'; img-src 'self' data:; {scripts}form-action {forms}; base-uri 'none'; \
         frame-ancestors 'none'"
    )
}

/// Why a page could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// Another site asked for it (CO-387).
    #[error("refused: the request came from another site")]
    CrossSite,
    /// Too many failed attempts from this address.
    #[error("too many failed attempts")]
    Throttled {
        /// Whole seconds until an attempt is examined again.
        retry_after_seconds: u32,
    },
    /// The form cannot be read.
    #[error("the form could not be read")]
    BadForm,
    /// A service failed.
    #[error(transparent)]
    Service(Error),
}

impl From<Error> for PageError {
    fn from(error: Error) -> Self {
        match error {
            Error::Throttled { retry_after_seconds } => Self::Throttled { retry_after_seconds },
            other => Self::Service(other),
        }
    }
}

impl From<portcullis_idp::StoreError> for PageError {
    fn from(error: portcullis_idp::StoreError) -> Self {
        Self::Service(error.into())
    }
}

impl PageError {
    /// Another site asked for it. If it did so with somebody's session, that is recorded.
    pub async fn cross_site(ctx: &Context, headers: &HeaderMap, origin: &Origin) -> Self {
        came_from_elsewhere(ctx, headers, origin).await.map_or_else(Self::from, |()| Self::CrossSite)
    }

    /// The page that tells what went wrong and what to do.
    pub fn into_page(self, origin: &Origin) -> Response {
        let (status, title, text) = match &self {
            Self::CrossSite => (
                StatusCode::FORBIDDEN,
                "Refused",
                "This request came from another site, so nothing was done. Open the page directly and try again."
                    .to_owned(),
            ),
            Self::Throttled { retry_after_seconds } => (
                StatusCode::TOO_MANY_REQUESTS,
                "Too many failed attempts",
                format!(
                    "Sign-in from your network is paused. Try again in {}. Whoever is signed in already is not affected.",
                    in_words(*retry_after_seconds)
                ),
            ),
            Self::BadForm => (
                StatusCode::BAD_REQUEST,
                "The form could not be read",
                "Go back, fill in the form again and send it.".to_owned(),
            ),
            Self::Service(Error::Busy | Error::Answered) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Busy",
                "Many people sign in at this moment. Try again in a few seconds.".to_owned(),
            ),
            Self::Service(Error::Forbidden) => (
                StatusCode::FORBIDDEN,
                "Not allowed",
                "You may not do this. Whoever acts as somebody else neither sees nor changes what they sign in by."
                    .to_owned(),
            ),
            Self::Service(error) => {
                tracing::error!(error = %error, request.id = origin.request_id.as_str(), "a page failed");
                (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Not available right now",
                    "Portcullis could not reach its data. Try again in a moment; if it goes on, tell the administrator \
                     the request id below."
                        .to_owned(),
                )
            }
        };
        let message = Message {
            status: Some(status.as_u16()),
            title,
            text: &text,
            messages: &[],
            trace: &[],
            links: &[Link { href: path::HOME, text: "Home" }],
            request_id: &origin.request_id,
        };
        let mut response = page(status, &message);
        let pause = match self {
            Self::Throttled { retry_after_seconds } => Some(retry_after_seconds),
            _ => (status == StatusCode::SERVICE_UNAVAILABLE).then_some(PAUSE_SECONDS),
        };
        if let Some(seconds) = pause {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

fn in_words(seconds: u32) -> String {
    match seconds {
        0..=90 => format!("{seconds} seconds"),
        _ => format!("{} minutes", seconds.div_ceil(60)),
    }
}

/// Says that somebody is signed in and yet may not use an application, and leads back to it with that news
/// (CO-140, OA-165).
pub fn denied(
    origin: &Origin,
    application: &str,
    messages: &[String],
    trace: &[String],
    back: Option<&str>,
) -> Response {
    let ours = [Link { href: path::HOME, text: "Your applications" }, Link { href: path::SIGN_OUT, text: "Sign out" }];
    let to_application = format!("Back to {application}");
    let links: Vec<_> = ours.into_iter().chain(back.map(|href| Link { href, text: &to_application })).collect();
    let message = Message {
        status: Some(403),
        title: "Access denied",
        text: &format!(
            "You are signed in, but {application} is not open to you. Its administrator decides who may use it."
        ),
        messages,
        trace,
        links: &links,
        request_id: &origin.request_id,
    };
    page(StatusCode::FORBIDDEN, &message)
}

/// An error page with its own words.
pub fn error(origin: &Origin, status: StatusCode, title: &str, text: &str) -> Response {
    let message = Message {
        status: Some(status.as_u16()),
        title,
        text,
        messages: &[],
        trace: &[],
        links: &[Link { href: path::HOME, text: "Home" }],
        request_id: &origin.request_id,
    };
    page(status, &message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OA-175: the policy of a page with a form names where the form leads in the end, and nothing else of it.
    #[test]
    fn oa_175_the_policy_names_where_forms_lead() {
        let policy = |places: &[&str], script| policy(&named(places), script);
        assert!(policy(&[], Script::None).contains("form-action 'self'; "));
        let several = policy(&["https://wiki.example:8443/cb?x=1; script-src *", "app://cb", "no url"], Script::None);
        assert!(several.contains("form-action 'self' https://wiki.example:8443 app:; base-uri"), "{several}");
        assert!(!several.contains("script-src"));
        let odd = policy(&["https://x;sandbox/", "https://x,y.example/"], Script::None);
        assert!(odd.contains("form-action 'self'; base-uri"), "{odd}");
        let domain = policy(&["https://example.com", "https://*.example.com"], Script::Own);
        assert!(domain.contains("data:; script-src 'self'; form-action "), "{domain}");
        assert!(domain.contains("form-action 'self' https://example.com https://*.example.com:*; "), "{domain}");
    }

    /// OA-166: a page that may end anywhere names the web and the scheme of an app, and nothing else of its address.
    #[test]
    fn oa_166_a_page_may_end_anywhere() {
        for back in ["https://wiki.example/cb", "http://wiki.example", "no url", ""] {
            assert_eq!(anywhere(back), "'self' http: https:", "{back}");
        }
        assert_eq!(anywhere("com.example.app:/cb; script-src *"), "'self' http: https: com.example.app:");
        let own = policy(&anywhere("https://wiki.example"), Script::Own);
        assert!(own.contains("script-src 'self'; form-action 'self' http: https:; base-uri 'none'"), "{own}");
    }

    /// CO-443: who has to wait is told for how long, in words a person uses.
    #[test]
    fn co_443_waiting_time_is_told_in_words() {
        assert_eq!(in_words(30), "30 seconds");
        assert_eq!(in_words(91), "2 minutes");
        assert_eq!(in_words(300), "5 minutes");
    }
}
