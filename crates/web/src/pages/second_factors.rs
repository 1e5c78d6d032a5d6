//! A user's second factors: what there is, another name for it, and away with it (CO-702).

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode};
use portcullis_core::id::UserPk;
use portcullis_core::origin::Origin;
use portcullis_idp::authenticators::{RECOVERY_CODES, Shown};
use portcullis_idp::{Actor, Context, Error, authenticators};
use serde::Deserialize;

use super::browser::{own_actor, signed_in};
use super::form::form;
use super::respond::{PageError, page};
use super::{flow, path, view};
use crate::same_origin::is_same_origin;

/// What the form sends.
#[derive(Deserialize)]
pub struct Sent {
    #[serde(default)]
    pk: i32,
    /// Another name; without it, the second factor goes.
    name: Option<String>,
    /// The yes to that, without which it is asked for.
    yes: Option<String>,
}

/// `GET /account/second-factors/` lists them.
pub async fn show(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    headers: HeaderMap,
) -> Response {
    let list = async {
        let Some((session, account)) = signed_in(&ctx, &headers, &origin).await? else {
            return Ok(Redirect::to(&flow::before(path::SECOND_FACTORS)).into_response());
        };
        let devices = authenticators::list(&ctx, &own_actor(&session, &account, &origin), account.pk).await?;
        let has_another = devices.iter().any(|device| device.class != RECOVERY_CODES);
        let has_codes = devices.iter().any(|device| device.class == RECOVERY_CODES);
        Ok::<_, PageError>(page(StatusCode::OK, &view::SecondFactors { devices: &devices, has_another, has_codes }))
    };
    list.await.unwrap_or_else(|error| error.into_page(&origin))
}

/// `POST /account/second-factors/` removes one, once that was asked and said yes to, or gives it another name.
pub async fn submit(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    headers: HeaderMap,
    request: Request,
) -> Response {
    if !is_same_origin(&ctx, &headers, &origin) {
        return PageError::cross_site(&ctx, &headers, &origin).await.into_page(&origin);
    }
    let done = async {
        let Sent { pk, name, yes } = form(request).await?;
        if let Some((session, account)) = signed_in(&ctx, &headers, &origin).await? {
            let actor = own_actor(&session, &account, &origin);
            if name.is_none() && yes.is_none() {
                return ask(&ctx, &actor, account.pk, pk).await;
            }
            let done = match name {
                Some(name) => authenticators::rename(&ctx, &actor, account.pk, pk, &name).await,
                None => authenticators::remove(&ctx, &actor, account.pk, pk).await,
            };
            match done {
                // Gone already: that is what was wanted. A form of ours sends no name that is none.
                Ok(()) | Err(Error::NotFound(_) | Error::Invalid(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok::<_, PageError>(Redirect::to(path::SECOND_FACTORS).into_response())
    };
    done.await.unwrap_or_else(|error| error.into_page(&origin))
}

/// Asks before a second factor goes.
async fn ask(ctx: &Context, actor: &Actor, user: UserPk, pk: i32) -> Result<Response, PageError> {
    let devices = authenticators::list(ctx, actor, user).await?;
    let Some(device) = devices.iter().find(|device| device.pk == pk) else {
        return Ok(Redirect::to(path::SECOND_FACTORS).into_response());
    };
    let remains = |other: &&Shown| other.pk != pk && other.class != RECOVERY_CODES;
    let codes_end = device.class != RECOVERY_CODES && devices.iter().any(|other| other.class == RECOVERY_CODES);
    let text = match (devices.iter().find(remains), codes_end) {
        (None, true) => "It is your last one. Your recovery codes go with it: your password alone signs you in then.",
        (None, false) => "It is your last one: your password alone signs you in then.",
        (Some(_), _) => "You cannot sign in with it any more.",
    };
    let question = view::Confirm {
        title: &format!("Remove {}?", device.name),
        text,
        action: path::SECOND_FACTORS,
        members: &[("pk".to_owned(), pk.to_string()), ("yes".to_owned(), "true".to_owned())],
        button: "Remove it",
        back: path::SECOND_FACTORS,
        stay: "Keep it",
    };
    Ok(page(StatusCode::OK, &question))
}
