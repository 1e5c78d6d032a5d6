//! The authorization flows (CO-322): a signed-in user goes on to the application that asked, and agrees before where
//! that is wanted. The query is that of the authorization endpoint, which decides here as it does there.

use std::sync::Arc;

use http::HeaderMap;
use portcullis_core::origin::Origin;
use portcullis_idp::oauth::authorize::{Answer, Brought, Mode, Outcome, Refusal, check, decide};
use portcullis_idp::oauth::marker::Marker;
use portcullis_idp::oauth::params::Params;
use portcullis_idp::{Context, Error, flows};
use serde_json::Value;

use super::shape;
use crate::asked;
use crate::pages::browser::signed_in;

/// The authorization endpoint.
const AUTHORIZE: &str = "/application/o/authorize/";

/// Whether a flow is one of these.
pub(super) fn is_for(slug: &str) -> bool {
    slug == flows::IMPLICIT_CONSENT || slug == flows::EXPLICIT_CONSENT
}

/// What comes of a request, and of a yes if one was given.
pub(super) async fn answer(
    ctx: &Arc<Context>,
    origin: &Origin,
    headers: &HeaderMap,
    slug: &str,
    query: &str,
    consent: Option<&str>,
) -> Result<Value, Error> {
    let flow = flows::get(ctx, slug).await?;
    let Some((login, account)) = signed_in(ctx, headers, origin).await? else {
        return Ok(shape::denied(&flow, "", "Flow does not apply to current user."));
    };
    let denied = |message: &str| shape::denied(&flow, &account.username, message);
    let Ok(params) = Params::parse(query.as_bytes()) else {
        return Ok(denied("The request of the application cannot be read."));
    };
    let visitor = asked::visitor(origin, headers, "GET", AUTHORIZE, query).in_session(&login);
    let request = match check(ctx, &visitor, &params).await {
        Ok(request) => request,
        Err(Refusal::Page { text, .. }) => return Ok(denied(text)),
        Err(Refusal::Answer(answer)) => return Ok(shape::redirect(&flow, "", &to(&answer, &params))),
        Err(Refusal::Failed(error)) => return Err(error),
    };
    let brought = Brought { marker: Marker::open(ctx, &params), consent };
    Ok(match decide(ctx, &visitor, &request, Some(&login), &brought).await? {
        Outcome::Answer(answer) => shape::redirect(&flow, request.application_name(), &to(&answer, &params)),
        // The endpoint knows what the login is to be for.
        Outcome::SignIn { .. } => shape::redirect(&flow, request.application_name(), &endpoint(&params)),
        Outcome::Ask(question) => shape::consent(&flow, &question),
        Outcome::Denied { messages, .. } if messages.is_empty() => denied("This application is not open to you."),
        Outcome::Denied { messages, .. } => denied(&messages.join(" ")),
    })
}

/// Where the browser goes with an answer. One that is to be posted is brought by a page of the endpoint.
fn to(answer: &Answer, params: &Params) -> String {
    match answer.mode {
        Mode::Query | Mode::Fragment => answer.url(),
        Mode::FormPost => endpoint(params),
    }
}

fn endpoint(params: &Params) -> String {
    format!("{AUTHORIZE}?{}", params.encoded())
}
