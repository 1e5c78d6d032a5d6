//! Signing out (section 12 of the proxy specification).

use http::header::ORIGIN;
use http::{HeaderMap, Method, Response, StatusCode};
use portcullis_core::origin::Origin;
use portcullis_core::path::RESERVED;
use url::Url;

use crate::answer::page::{Form, Page};
use crate::answer::{Refusal, redirect, set_cookie};
use crate::application::Application;
use crate::authenticate::Attempt;
use crate::body::Body;
use crate::identity::Leave;
use crate::path_class::text;
use crate::plane::{DataPlane, Visit};

/// The longest URL that may carry a token (PX-192).
const LONGEST_URL: usize = 2048;

/// What becomes of a wish to sign out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// It is the user's own.
    Now,
    /// Another site led the browser here: the user is asked.
    Ask,
    /// Another site made the browser send it: nothing happens.
    Never,
}

/// Whose wish it is (PX-193).
pub fn leaving(application: &Application, method: &Method, headers: &HeaderMap, origin: &Origin) -> Leaving {
    let (site, mode) = (text(headers, "sec-fetch-site"), text(headers, "sec-fetch-mode"));
    let own = match *method {
        Method::POST => {
            let effective = || format!("{}://{}", origin.scheme.as_str(), origin.host);
            // A browser that tells which site asked need not tell the origin, too; on our own page it may say `null`.
            site == Some("same-origin")
                || headers.get(ORIGIN).is_some_and(|sent| {
                    sent.as_bytes() == application.rule.origin().as_bytes() || sent.as_bytes() == effective().as_bytes()
                })
        }
        Method::GET => match (site, mode) {
            (None, None) => !headers.contains_key("sec-fetch-dest"),
            (site, mode) => mode == Some("navigate") && site != Some("cross-site"),
        },
        _ => false,
    };
    match (own, mode) {
        (true, _) => Leaving::Now,
        (false, Some("navigate")) => Leaving::Ask,
        (false, _) => Leaving::Never,
    }
}

impl DataPlane {
    /// Ends all of the user's sessions at this outpost (PX-190 … PX-194).
    pub(crate) async fn sign_out(
        &self,
        application: &Application,
        visit: &Visit<'_>,
    ) -> Result<Response<Body>, Refusal> {
        if visit.method != Method::GET && visit.method != Method::POST {
            return Err(Refusal::MethodNotAllowed("GET, POST"));
        }
        match leaving(application, visit.method, visit.headers, visit.origin) {
            Leaving::Now => {}
            Leaving::Ask => return Ok(question(application, visit)),
            Leaving::Never => return Err(Refusal::CrossSite),
        }
        let mut response = match self.by_session(application, visit.headers, visit.now).await.0 {
            Attempt::Rejected(_) => return Err(Refusal::Unavailable),
            Attempt::Absent => signed_out(application, visit),
            Attempt::Accepted(identity) => {
                self.end_all(application, &identity).await.map_err(|_| Refusal::Unavailable)?;
                redirect(&end_session_url(application, &identity.leave))
            }
        };
        let cookies = &application.cookies;
        set_cookie(&mut response, cookies.scope.clear(&cookies.session));
        set_cookie(&mut response, cookies.scope.clear(&cookies.pre_auth));
        Ok(response)
    }
}

/// Where the browser goes to end its session at the identity provider (PX-192).
fn end_session_url(application: &Application, leave: &Leave) -> String {
    let plain = application.provider.endpoints.end_session.as_str();
    let with = |name: &str, value: &str| {
        let mut url = Url::parse(plain).ok()?;
        url.query_pairs_mut().append_pair(name, value);
        Some(String::from(url))
    };
    let hinted = match (&leave.logout_hint, &leave.id_token_hint) {
        (Some(hint), _) => with("logout_hint", hint),
        (None, Some(token)) => with("id_token_hint", token).filter(|url| url.len() <= LONGEST_URL),
        (None, None) => None,
    };
    hinted.unwrap_or_else(|| if plain.is_empty() { application.rule.home() } else { plain.to_owned() })
}

fn question(application: &Application, visit: &Visit<'_>) -> Response<Body> {
    let action = format!("{}{RESERVED}/sign_out", application.rule.base());
    let leads_to = Url::parse(&application.provider.endpoints.end_session)
        .map(|url| url.origin().ascii_serialization())
        .unwrap_or_default();
    let home = application.rule.home();
    Page {
        status: StatusCode::OK,
        title: "Sign out?",
        text: "Another site led you here. Do you want to sign out of all applications?",
        detail: None,
        link: Some((&home, "Stay signed in")),
        form: Some(Form { action: &action, label: "Sign out", leads_to: &leads_to }),
        request_id: &visit.origin.request_id,
    }
    .response()
}

fn signed_out(application: &Application, visit: &Visit<'_>) -> Response<Body> {
    let home = application.rule.home();
    Page {
        status: StatusCode::OK,
        title: "You are signed out",
        text: "You have no session here any more.",
        detail: None,
        link: Some((&home, &application.provider.application_name)),
        form: None,
        request_id: &visit.origin.request_id,
    }
    .response()
}
