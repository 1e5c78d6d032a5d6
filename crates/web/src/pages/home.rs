//! Home: who you are, and what is open to you (CO-132, CO-137).

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode, Uri};
use portcullis_core::origin::Origin;
use portcullis_idp::access::AccessContext;
use portcullis_idp::{Account, Context, Visitor, applications, brands, portal, setup};

use super::browser::signed_in;
use super::path;
use super::respond::{PageError, page};
use super::view::{Home, Link, Message, Tile};
use crate::asked;

/// `GET /`
pub async fn show(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    match signed_in(&ctx, &headers, &origin).await {
        // Guests open their applications where those are (CO-034).
        Ok(Some((_, account))) if account.kind == "external" => match default_application(&ctx, &origin).await {
            Ok(Some(slug)) => Redirect::to(&format!("{}{slug}/", path::LAUNCH)).into_response(),
            Ok(None) => guests_only(&origin),
            Err(error) => error.into_page(&origin),
        },
        Ok(Some((session, account))) => {
            let visitor = asked::visitor(&origin, &headers, "GET", path::HOME, "").in_session(&session);
            let asks = uri.path_and_query().is_some_and(|asked| asked.as_str() == path::PASSWORD_CHANGED);
            match home(&ctx, &account, &visitor, asks).await {
                Ok(response) => response,
                Err(error) => error.into_page(&origin),
            }
        }
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
        trace: &[],
        links: &[Link { href: path::SIGN_OUT, text: "Sign out" }],
        request_id: &origin.request_id,
    };
    page(StatusCode::FORBIDDEN, &message)
}

/// How long it may be said that the password was changed, in seconds.
const JUST_NOW: i64 = 300;

async fn home(ctx: &Context, account: &Account, visitor: &Visitor, after_change: bool) -> Result<Response, PageError> {
    let open = portal::open_to(ctx, account.pk, &AccessContext::of(visitor)).await?;
    let applications: Vec<Tile> = open
        .into_iter()
        .map(|portal::Open { application, href }| Tile {
            name: application.name,
            description: application.meta_description,
            href,
            new_tab: application.open_in_new_tab,
        })
        .collect();
    // Anybody can make a link that says so: it has to be true.
    let changed = after_change && ctx.now() < account.password_changed.plus_seconds(JUST_NOW);
    let done = changed.then_some("Your password was changed.");
    let home = Home { done, username: &account.username, name: &account.name, applications: &applications };
    Ok(page(StatusCode::OK, &home))
}

#[cfg(test)]
mod tests {
    use crate::testing::Site;
    use axum::body::Body;
    use http::{Method, Request};
    use portcullis_core::id::UserPk;
    use portcullis_idp::sessions;
    use serde_json::json;

    /// CO-034: guests are sent to the default application of the brand, and without one to nowhere.
    #[tokio::test]
    async fn co_034_guests_are_sent_to_the_default_application() {
        let site = Site::new().await;
        let guest = site.user("guest").await;
        let external = json!({"type": "external"});
        assert_eq!(site.admin(Method::PATCH, &format!("/core/users/{guest}/"), external).await.status, 200);
        let mut tx = site.ctx.db.write().await.expect("writes");
        let guest = UserPk(i32::try_from(guest).expect("small"));
        let client = [192, 0, 2, 1].into();
        let started = sessions::start(&site.ctx, &mut tx, guest, "password", client, "").await.expect("starts");
        tx.commit().await.expect("commits");
        let home = async || {
            let request = Request::get("/").header("cookie", format!("authentik_session={}", started.cookie));
            let reply = site.raw(request.body(Body::empty()).expect("a request")).await;
            let target = reply.headers.get("location").map(|target| target.to_str().expect("text").to_owned());
            (reply.status.as_u16(), target)
        };
        assert_eq!(home().await, (403, None));
        let wiki = json!({"name": "Wiki", "slug": "wiki", "meta_launch_url": "https://wiki.example/"});
        let wiki = site.admin(Method::POST, "/core/applications/", wiki).await.json["pk"].clone();
        let brands = site.admin(Method::GET, "/core/brands/?default=true", None).await.json;
        let brand = format!("/core/brands/{}/", brands["results"][0]["brand_uuid"].as_str().expect("text"));
        let sends = json!({"default_application": wiki});
        assert_eq!(site.admin(Method::PATCH, &brand, sends).await.status, 200);
        assert_eq!(home().await, (303, Some("/application/launch/wiki/".to_owned())));
        assert_eq!(site.admin(Method::DELETE, "/core/applications/wiki/", None).await.status, 204);
        assert_eq!(home().await, (403, None));
    }
}
