//! Sign-out that an application starts (OA section 19.1).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use portcullis_core::origin::Origin;
use portcullis_idp::oauth::by_slug;
use portcullis_idp::oauth::end_session::{Refusal, Wish, end_grants, end_session, frames, read};
use portcullis_idp::oauth::params::Params;
use portcullis_idp::{Account, Application, Context, LoginSession};

use super::authorize::{AGAIN, once_more};
use super::meters::{INVALID, NOT_FOUND, OK, Outcome, UNAVAILABLE, count_refused, counted_as};
use super::request::{form, keep, kept_form};
use crate::pages::browser::{clear_session, own_actor, signed_in};
use crate::pages::respond::{self, PageError, Script, page};
use crate::pages::sign_out::{signed_out, still_signed_in, tell};
use crate::pages::view::{Confirm, Link, Message};
use crate::pages::{look, path};
use crate::same_origin::is_from_here;

/// Its name in metrics.
const ENDPOINT: &str = "end-session";
/// Query of what our own question posts. Its body keeps the wish, which may be too long for an address.
const ANSWERED: &str = "answered";

/// `GET /application/o/{slug}/end-session/`
pub(super) async fn ask(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    Path(slug): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    match Params::parse(uri.query().unwrap_or_default().as_bytes()) {
        Ok(params) => counted_as(ENDPOINT, leave(&ctx, &origin, &slug, &headers, &params, false)).await,
        Err(_) => unread(unreadable(&origin)),
    }
}

/// `POST /application/o/{slug}/end-session/`: from the application, or the answer to our own question.
pub(super) async fn submit(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    Path(slug): Path<String>,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Response {
    let is_form = headers.contains_key(CONTENT_TYPE);
    let posted = match uri.query() {
        _ if !is_form => Ok(Params::default()),
        Some(AGAIN | ANSWERED) => kept_form(&origin, &headers, body).await,
        _ => form(&origin, &headers, body).await,
    };
    let posted = match posted {
        Ok(params) => params,
        Err(response) => return unread(response),
    };
    let params = match posted.is_empty() {
        true => Params::parse(uri.query().unwrap_or_default().as_bytes()),
        false => Ok(posted),
    };
    let Ok(params) = params else { return unread(unreadable(&origin)) };
    // No browser sends neither a form nor a wish.
    if (is_form || !params.is_empty())
        && let Some(again) = once_more(&headers, &uri, &params, params.text("post_logout_redirect_uri"))
    {
        return again;
    }
    // Only a browser that shows our page says that it comes from here, and only our question leads to this address: what is
    // posted once more comes from here, too.
    let ours = is_from_here(&ctx, &headers, &origin) && uri.query() == Some(ANSWERED);
    counted_as(ENDPOINT, leave(&ctx, &origin, &slug, &headers, &params, ours)).await
}

/// `GET /application/o/{slug}/signed-out/`: what has ended, once clients have heard of it from the browser.
pub(super) async fn ended(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    Path(slug): Path<String>,
    headers: HeaderMap,
) -> Response {
    let told = async {
        let Some((application, provider)) = by_slug(&ctx, &slug).await? else {
            let text = "There is no such application.";
            return Ok(respond::error(&origin, StatusCode::NOT_FOUND, "Not found", text));
        };
        Ok::<_, PageError>(match signed_in(&ctx, &headers, &origin).await? {
            Some(_) => left(&application, &provider.external_host),
            None => signed_out(&origin, &headers),
        })
    };
    told.await.unwrap_or_else(|error| error.into_page(&origin))
}

fn unreadable(origin: &Origin) -> Response {
    let text = "The request of the application cannot be read.";
    respond::error(origin, StatusCode::BAD_REQUEST, "This sign-out cannot go on", text)
}

/// Counts a request that cannot be read.
fn unread(response: Response) -> Response {
    count_refused(ENDPOINT, INVALID);
    response
}

/// The answer, and what came of the request.
async fn leave(
    ctx: &Arc<Context>,
    origin: &Origin,
    slug: &str,
    headers: &HeaderMap,
    params: &Params,
    answered: bool,
) -> (Outcome, Response) {
    let failed = |error: PageError| (UNAVAILABLE.into(), error.into_page(origin));
    let (application, provider) = match by_slug(ctx, slug).await {
        Ok(Some(found)) => found,
        Ok(None) => {
            let text = "There is no such application.";
            return (NOT_FOUND.into(), respond::error(origin, StatusCode::NOT_FOUND, "Not found", text));
        }
        Err(error) => return failed(error.into()),
    };
    let login = match signed_in(ctx, headers, origin).await {
        Ok(login) => login,
        Err(error) => return failed(error.into()),
    };
    let wish = match read(ctx, &application, &provider, params, login.as_ref().map(|(session, _)| session)).await {
        Ok(wish) => wish,
        Err(Refusal::BadAddress) => return (INVALID.into(), unreadable(origin)),
        Err(Refusal::Failed(error)) => return failed(error.into()),
    };
    let Some((session, account)) = login else {
        // Nobody is signed in: there is nothing to end, and nobody is asked to sign in (OA-545).
        return (OK.into(), over(origin, headers, wish.back.as_deref()));
    };
    if !wish.confirmed && !answered {
        return ("confirm".into(), question(&application, &account, &wish, params));
    }
    let frames = match finish(ctx, origin, &session, &account, &wish).await {
        Ok(frames) => frames,
        Err(error) => return failed(error),
    };
    let response = match (&wish.back, wish.full) {
        (back, full) if !frames.is_empty() => {
            let here = match full {
                true => path::SIGN_OUT.to_owned(),
                false => format!("/application/o/{}/signed-out/", application.slug),
            };
            let mut response = tell(&frames, back.as_deref().unwrap_or(&here));
            if full {
                clear_session(&mut response, origin, headers);
            }
            response
        }
        (back, true) => over(origin, headers, back.as_deref()),
        (Some(back), false) => found(back),
        (None, false) => left(&application, &provider.external_host),
    };
    (OK.into(), response)
}

/// Follows a wish. Gives what the browser loads so that clients hear of it.
async fn finish(
    ctx: &Context,
    origin: &Origin,
    session: &LoginSession,
    account: &Account,
    wish: &Wish,
) -> Result<Vec<String>, PageError> {
    let actor = own_actor(session, account, origin);
    let frames = frames(ctx, wish, session).await?;
    if wish.full {
        end_session(ctx, &actor, wish, session).await?;
    } else {
        end_grants(ctx, &actor, wish, session).await?;
    }
    Ok(frames)
}

/// Asks before another site's wish is followed (OA-544).
fn question(application: &Application, account: &Account, wish: &Wish, params: &Params) -> Response {
    let question = Confirm {
        title: &format!("Sign out of {}?", application.name),
        text: &format!("You are signed in as {}.", account.username),
        action: &format!("/application/o/{}/end-session/?{ANSWERED}", application.slug),
        members: &keep(params),
        button: "Sign out",
        back: path::HOME,
        stay: "Stay signed in",
    };
    match &wish.back {
        Some(back) => respond::page_ending_anywhere(&question, back, Script::None),
        None => page(StatusCode::OK, &question),
    }
}

/// The session here goes on: offers the way back, and the full sign-out (OA-548).
fn left(application: &Application, external_host: &str) -> Response {
    let mut links = vec![Link { href: path::SIGN_OUT, text: "Sign out of everything" }];
    if !external_host.is_empty() {
        // A client of its own is nowhere that is known.
        links.push(Link { href: external_host, text: "Back to the application" });
    }
    let message = Message {
        status: None,
        title: &format!("Signed out of {}", application.name),
        text: &still_signed_in(&look::current().title),
        messages: &[],
        trace: &[],
        links: &links,
        request_id: "",
    };
    page(StatusCode::OK, &message)
}

/// Nobody is signed in any more: the way back, or the page that says so.
fn over(origin: &Origin, headers: &HeaderMap, back: Option<&str>) -> Response {
    let Some(back) = back else { return signed_out(origin, headers) };
    let mut response = found(back);
    clear_session(&mut response, origin, headers);
    response
}

fn found(target: &str) -> Response {
    let Ok(location) = HeaderValue::from_str(target) else { return StatusCode::BAD_REQUEST.into_response() };
    (StatusCode::FOUND, [(LOCATION, location), (CACHE_CONTROL, HeaderValue::from_static("no-store"))]).into_response()
}
