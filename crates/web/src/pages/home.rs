//! Home: who you are, and what is open to you (CO-132, CO-137).

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode};
use portcullis_core::origin::Origin;
use portcullis_idp::{Account, Context, applications, brands, portal, setup};

use super::browser::signed_in;
use super::path;
use super::respond::{PageError, page};
use super::view::{Home, Link, Message, Tile};

/// `GET /`
pub async fn show(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    headers: HeaderMap,
) -> Response {
    match signed_in(&ctx, &headers, &origin).await {
        // Guests open their applications where those are (CO-034).
        Ok(Some((_, account))) if account.kind == "external" => match default_application(&ctx, &origin).await {
            Ok(Some(slug)) => Redirect::to(&format!("{}{slug}/", path::LAUNCH)).into_response(),
            Ok(None) => guests_only(&origin),
            Err(error) => error.into_page(&origin),
        },
        Ok(Some((_, account))) => match home(&ctx, &account).await {
            Ok(response) => response,
            Err(error) => error.into_page(&origin),
        },
        Ok(None) => match setup::is_open(&ctx).await {
            Ok(true) => Redirect::to(path::SETUP).into_response(),
            Ok(false) => Redirect::to(path::SIGN_IN).into_response(),
            Err(error) => PageError::from(error).into_page(&origin),
        },
        Err(error) => PageError::from(error).into_page(&origin),
    }
}

/// Where the brand sends guests.
async fn default_application(ctx: &Context, origin: &Origin) -> Result<Option<String>, PageError> {
    let mut conn = ctx.db.read().await?;
    let brand = brands::of_host(&mut conn, &origin.host).await?;
    let Some(application) = brand.default_application else { return Ok(None) };
    Ok(applications::slug_of(&mut conn, application).await?)
}

fn guests_only(origin: &Origin) -> Response {
    let message = Message {
        status: Some(StatusCode::FORBIDDEN.as_u16()),
        title: "Access denied",
        text: "You are signed in as a guest. Open your application at its own address.",
        messages: &[],
        links: &[Link { href: path::SIGN_OUT, text: "Sign out" }],
        request_id: &origin.request_id,
    };
    page(StatusCode::FORBIDDEN, &message)
}

async fn home(ctx: &Context, account: &Account) -> Result<Response, PageError> {
    let open = portal::open_to(ctx, account.pk).await?;
    let applications: Vec<Tile> = open
        .into_iter()
        .map(|portal::Open { application, href }| Tile {
            name: application.name,
            description: application.meta_description,
            href,
            new_tab: application.open_in_new_tab,
        })
        .collect();
    let home = Home { username: &account.username, name: &account.name, applications: &applications };
    Ok(page(StatusCode::OK, &home))
}
