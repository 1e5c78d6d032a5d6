//! The page on which somebody lets a device in (OA-373, OA-374).

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode, Uri};
use portcullis_core::origin::Origin;
use portcullis_idp::oauth::device::{self, Outcome, Typing};
use portcullis_idp::{Account, Context, LoginSession};
use serde::Deserialize;

use crate::asked;
use crate::pages::browser::signed_in;
use crate::pages::form::form;
use crate::pages::respond::{self, PageError, page};
use crate::pages::view::{Device, FlowForm, Input, Link, Message};
use crate::pages::{flow, path};
use crate::same_origin::is_same_origin;

/// What the forms send: a code, and then an answer.
#[derive(Deserialize)]
pub(super) struct Sent {
    #[serde(default)]
    code: String,
    #[serde(default)]
    answer: String,
}

/// `GET /device`, with a code or without: nobody is let in by following a link.
pub(super) async fn show(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let mut pairs = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let code = pairs.find(|(name, _)| name == "code").map(|(_, code)| code.into_owned()).unwrap_or_default();
    let shown = async {
        let (session, account) = match whoever(&ctx, &origin, &headers, &uri).await? {
            Ok(signed_in) => signed_in,
            Err(response) => return Ok(response),
        };
        if code.is_empty() {
            return Ok(enter("", None));
        }
        let from = From { origin: &origin, headers: &headers, method: "GET" };
        from.decide(&ctx, &session, &account, &code, None).await
    };
    shown.await.unwrap_or_else(|error: PageError| error.into_page(&origin))
}

/// `POST /device`: a typed code, or the answer to the question about it.
pub(super) async fn submit(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    uri: Uri,
    request: Request,
) -> Response {
    let headers = request.headers().clone();
    if !is_same_origin(&ctx, &headers, &origin) {
        return PageError::cross_site(&ctx, &headers, &origin).await.into_page(&origin);
    }
    let answered = async {
        let sent: Sent = form(request).await?;
        let (session, account) = match whoever(&ctx, &origin, &headers, &uri).await? {
            Ok(signed_in) => signed_in,
            Err(response) => return Ok(response),
        };
        let answer = match sent.answer.as_str() {
            "allow" => Some(true),
            "deny" => Some(false),
            _ => None,
        };
        let from = From { origin: &origin, headers: &headers, method: "POST" };
        from.decide(&ctx, &session, &account, &sent.code, answer).await
    };
    answered.await.unwrap_or_else(|error: PageError| error.into_page(&origin))
}

/// Who is signed in; else where to go first.
async fn whoever(
    ctx: &Arc<Context>,
    origin: &Origin,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<Result<(LoginSession, Account), Response>, PageError> {
    if !device::is_offered(ctx, &origin.host).await? {
        let text = "Devices are not let in here: the brand names no flow for it.";
        return Ok(Err(respond::error(origin, StatusCode::NOT_FOUND, "Not found", text)));
    }
    let target = uri.query().map_or_else(|| path::DEVICE.to_owned(), |query| format!("{}?{query}", path::DEVICE));
    Ok(signed_in(ctx, headers, origin).await?.ok_or_else(|| Redirect::to(&flow::before(&target)).into_response()))
}

struct From<'a> {
    origin: &'a Origin,
    headers: &'a HeaderMap,
    method: &'a str,
}

impl From<'_> {
    async fn decide(
        &self,
        ctx: &Context,
        session: &LoginSession,
        account: &Account,
        code: &str,
        answer: Option<bool>,
    ) -> Result<Response, PageError> {
        let visitor = asked::visitor(self.origin, self.headers, self.method, path::DEVICE, "").in_session(session);
        let typing = Typing { login: session, visitor: &visitor, code, in_link: self.method == "GET" };
        Ok(match device::decide(ctx, &typing, answer).await? {
            Outcome::Unknown => enter(code, Some("This code is not valid. Look at the device for its present one.")),
            Outcome::Unread => enter(code, None),
            Outcome::Ask(question) => {
                let page_of = Device {
                    application: &question.application,
                    username: &account.username,
                    user_code: &question.user_code,
                    permissions: &question.permissions,
                };
                page(StatusCode::OK, &page_of)
            }
            Outcome::Denied { application, messages, trace } => {
                respond::denied(self.origin, &application, &messages, &trace, None)
            }
            Outcome::Answered { application, allowed } => done(&application, allowed),
        })
    }
}

/// Asks for a code.
fn enter(typed: &str, problem: Option<&str>) -> Response {
    let input = Input {
        value: typed.chars().take(32).collect(),
        wrong: problem.is_some(),
        autofocus: true,
        ..Input::new("code", "Code", "text")
    };
    let form = FlowForm {
        title: "Sign in on a device",
        texts: &["Enter the code that your device shows."],
        problem,
        inputs: &[input],
        hidden: &[],
        action: path::DEVICE,
        button: "Continue",
        back: None,
        username: None,
    };
    page(StatusCode::OK, &form)
}

fn done(application: &str, allowed: bool) -> Response {
    let (title, text) = match allowed {
        true => ("You are signed in", format!("{application} goes on at your device. You can close this page.")),
        false => ("Nothing was done", format!("{application} was told no. You can close this page.")),
    };
    let message = Message {
        status: None,
        title,
        text: &text,
        messages: &[],
        trace: &[],
        links: &[Link { href: path::HOME, text: "Your applications" }],
        request_id: "",
    };
    page(StatusCode::OK, &message)
}
