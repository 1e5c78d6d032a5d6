//! Sets up the first administrator, for whoever can read the server's log (CO-486).

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode};
use portcullis_core::origin::Origin;
use portcullis_idp::flow::{self, Next, Turn};
use portcullis_idp::{Actor, Context, Error, Problems, bootstrap, flows, setup};
use serde::Deserialize;

use super::form::form;
use super::path;
use super::respond::{PageError, page};
use super::view::{Link, Message, Setup};
use crate::asked;
use crate::same_origin::is_same_origin;
use crate::visit::{remember, visit};

/// What the form sends.
#[derive(Deserialize)]
pub struct SetupForm {
    #[serde(default)]
    code: String,
    #[serde(default)]
    email: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    password_repeat: String,
}

/// `GET /if/flow/initial-setup/` asks for code, e-mail address and password.
pub async fn show(State(ctx): State<Arc<Context>>, Extension(origin): Extension<Arc<Origin>>) -> Response {
    match setup::is_open(&ctx).await {
        Ok(true) => page(StatusCode::OK, &Setup { code: "", email: "", problem: None, wrong: "" }),
        Ok(false) => done(&origin),
        Err(error) => PageError::from(error).into_page(&origin),
    }
}

/// `POST /if/flow/initial-setup/` sets the administrator up and signs in, or shows the form again.
pub async fn submit(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    headers: HeaderMap,
    request: Request,
) -> Response {
    if !is_same_origin(&ctx, &headers, &origin) {
        return PageError::cross_site(&ctx, &headers, &origin).await.into_page(&origin);
    }
    let sent: SetupForm = match form(request).await {
        Ok(sent) => sent,
        Err(error) => return error.into_page(&origin),
    };
    let email = sent.email.trim();
    let again = |problem: &str, wrong: &str| {
        page(StatusCode::OK, &Setup { code: sent.code.trim(), email, problem: Some(problem), wrong })
    };
    if sent.password != sent.password_repeat {
        return again("The two passwords differ. Type the same password twice.", "password");
    }
    let asked = portcullis_idp::Request::of(&origin);
    let actor = Actor {
        client: Some(origin.client),
        request: asked,
        username: bootstrap::ADMINISTRATOR.to_owned(),
        ..Actor::system()
    };
    match setup::complete(&ctx, &actor, &sent.code, email, &sent.password).await {
        Ok(_) => sign_in(&ctx, &origin, &headers, &sent.password).await,
        Err(Error::Invalid(problems)) => {
            let wrong = problems.iter().next().map_or("", |(field, _)| field);
            again(&in_words(&problems), wrong)
        }
        Err(Error::Forbidden) => done(&origin),
        Err(error) => PageError::from(error).into_page(&origin),
    }
}

async fn sign_in(ctx: &Context, origin: &Origin, headers: &HeaderMap, password: &str) -> Response {
    let visitor = asked::visitor(origin, headers, "POST", path::SETUP, "");
    let visit = visit(flows::AUTHENTICATION, "", headers, visitor);
    match flow::sign_in(ctx, &visit, bootstrap::ADMINISTRATOR, password).await {
        Ok(Turn { next: Next::To(to), cookies, .. }) => {
            let mut response = Redirect::to(&to).into_response();
            remember(&mut response, origin, headers, &cookies);
            response
        }
        // The administrator is set up all the same, and signs in by hand.
        Ok(_) | Err(_) => Redirect::to(path::SIGN_IN).into_response(),
    }
}

fn done(origin: &Origin) -> Response {
    let message = Message {
        status: Some(StatusCode::FORBIDDEN.as_u16()),
        title: "Portcullis is set up already",
        text: "The first administrator has a password. Sign in with it.",
        messages: &[],
        trace: &[],
        links: &[Link { href: path::SIGN_IN, text: "Sign in" }],
        request_id: &origin.request_id,
    };
    page(StatusCode::FORBIDDEN, &message)
}

/// The problems as one text for people: the field's label, then what is wrong with it.
fn in_words(problems: &Problems) -> String {
    let sentences = problems.iter().map(|(field, messages)| {
        let label = match field {
            "code" => "Setup code",
            "email" => "E-mail address",
            "password" => "Password",
            other => other,
        };
        format!("{label}: {}", messages.join(" "))
    });
    sentences.collect::<Vec<_>>().join(" ")
}
