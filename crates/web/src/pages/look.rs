//! How the pages look: title, pictures and stylesheet of the brand that the request's host belongs to (CO-502,
//! CO-504).
//!
//! Every page is rendered inside [`around`], which finds the brand; the layout asks for [`current`].

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use portcullis_core::keys::sha256;
use portcullis_core::origin::Origin;
use portcullis_idp::brands::{self, Brand};
use portcullis_idp::settings::{self, FooterLink};
use portcullis_idp::{Context, Error, impersonation};

use super::browser::signed_in;
use crate::assets;

/// How pages look.
#[derive(Clone, Debug)]
pub struct Look {
    /// What the instance calls itself.
    pub title: String,
    /// Where its logo is; the title alone without.
    pub logo: Option<String>,
    /// Where the icon of the browser's tab is.
    pub icon: String,
    /// Where the administrator's stylesheet is.
    pub stylesheet: Option<String>,
    /// Links below the page.
    pub links: Vec<FooterLink>,
    /// User name of whom the browser acts as, if that is somebody else than signed in (CO-388).
    pub acting_as: Option<String>,
}

impl Default for Look {
    fn default() -> Self {
        Self {
            title: brands::TITLE.to_owned(),
            logo: None,
            icon: assets::ICON.href(),
            stylesheet: None,
            links: Vec::new(),
            acting_as: None,
        }
    }
}

impl Look {
    fn of(brand: &Brand, links: Vec<FooterLink>) -> Self {
        let local = |picture: &str| brands::local_picture(picture).map(str::to_owned);
        let stylesheet = (!brand.custom_css.is_empty()).then(|| format!("/static/brand/{}", file_name(brand)));
        let title = Some(&brand.title).filter(|title| !title.is_empty());
        Self {
            title: title.map_or_else(|| brands::TITLE.to_owned(), Clone::clone),
            logo: local(&brand.logo),
            icon: local(&brand.favicon).unwrap_or_else(|| assets::ICON.href()),
            stylesheet,
            links,
            acting_as: None,
        }
    }
}

tokio::task_local! {
    static LOOK: Arc<Look>;
}

/// How the page that is being rendered looks.
pub fn current() -> Arc<Look> {
    LOOK.try_with(Arc::clone).unwrap_or_default()
}

/// Finds the look of what a browser asks for. Machines are answered without.
pub async fn around(State(ctx): State<Arc<Context>>, request: Request, next: Next) -> Response {
    let origin = request.extensions().get::<Arc<Origin>>().cloned();
    // An answer to anything else may be about a session that has just ended.
    let shown_to = (request.method() == Method::GET).then(|| request.headers().clone());
    match origin.filter(|_| asks_for_page(&request)) {
        Some(origin) => LOOK.scope(found(&ctx, &origin, shown_to).await, next.run(request)).await,
        None => next.run(request).await,
    }
}

fn asks_for_page(request: &Request) -> bool {
    let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accept.contains("text/html")
}

/// The brand's look, or ours: that a page can be shown matters more.
async fn found(ctx: &Arc<Context>, origin: &Origin, shown_to: Option<HeaderMap>) -> Arc<Look> {
    let look = async {
        let mut conn = ctx.db.read().await?;
        let brand = brands::of_host(&mut conn, &origin.host).await?;
        let links = settings::footer_links(&mut conn).await?;
        drop(conn);
        let signed_in = match &shown_to {
            Some(headers) => signed_in(ctx, headers, origin).await?,
            None => None,
        };
        let acting_as = match signed_in {
            Some((session, _)) => impersonation::shown(ctx, &session).await?,
            None => None,
        };
        Ok::<_, Error>(Look { acting_as, ..Look::of(&brand, links) })
    };
    Arc::new(look.await.unwrap_or_else(|error| {
        tracing::warn!(%error, "the look of a page could not be read");
        Look::default()
    }))
}

/// The stylesheet's name changes whenever its content does.
fn file_name(brand: &Brand) -> String {
    let hash: String = sha256(brand.custom_css.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{}.{hash}.css", brand.pk)
}

/// `GET /static/brand/{name}`: a brand's stylesheet, as a file of its own. Pages allow styles and pictures of this
/// server alone, so that nothing in it loads anything from elsewhere (CO-504).
pub async fn stylesheet(State(ctx): State<Arc<Context>>, Path(name): Path<String>) -> Response {
    match content(&ctx, &name).await {
        Ok(Some(css)) => {
            let headers: [(HeaderName, &str); 4] = [
                (CONTENT_TYPE, "text/css; charset=utf-8"),
                (CACHE_CONTROL, "public, max-age=31536000, immutable"),
                (X_CONTENT_TYPE_OPTIONS, "nosniff"),
                (CONTENT_SECURITY_POLICY, "default-src 'none'"),
            ];
            (headers, css).into_response()
        }
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => {
            tracing::error!(%error, "a stylesheet could not be read");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

async fn content(ctx: &Context, name: &str) -> Result<Option<String>, Error> {
    let Some(pk) = name.split('.').next().and_then(|pk| pk.parse().ok()) else { return Ok(None) };
    let brand = brands::public(&mut ctx.db.read().await?, pk).await?;
    Ok(brand.filter(|brand| !brand.custom_css.is_empty() && file_name(brand) == name).map(|brand| brand.custom_css))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Reply, Site};
    use axum::body::Body;
    use http::Method;
    use serde_json::json;

    async fn page(site: &Site, host: &str, path: &str) -> Reply {
        let request = Request::get(path).header("host", host).header("accept", "text/html,*/*;q=0.8");
        site.raw(request.body(Body::empty()).expect("a request")).await
    }

    /// CO-502, CO-504: the sign-in page carries title, pictures, links and stylesheet of the brand of its host; the
    /// stylesheet is a file of this server, and the policy of the page allows no other.
    #[tokio::test]
    async fn co_504_pages_look_like_their_brand() {
        let site = Site::new().await;
        let css = ".card { background: url(https://evil.example/x.png) } @import 'https://evil.example/x.css';";
        let brand = json!({
            "domain": "wiki.example", "branding_title": "The <Wiki>", "branding_logo": "/static/logo.png",
            "branding_favicon": "data:image/png;base64,AAAA", "branding_custom_css": css,
        });
        assert_eq!(site.admin(Method::POST, "/core/brands/", brand).await.status, 201);
        let links = json!({"footer_links": [{"name": "Help & more", "href": "https://help.example/"}]});
        assert_eq!(site.admin(Method::PATCH, "/admin/settings/", links).await.status, 200);

        let sign_in = "/if/flow/default-authentication-flow/";
        let branded = page(&site, "id.wiki.example:8443", sign_in).await;
        for part in [
            "<title>Sign in · The &#60;Wiki&#62;</title>",
            "<link rel=\"icon\" href=\"data:image/png;base64,AAAA\">",
            "<img src=\"/static/logo.png\" alt=\"The &#60;Wiki&#62;\">",
            "<a href=\"https://help.example/\">Help &#38; more</a>",
        ] {
            assert!(branded.text.contains(part), "{part}: {}", branded.text);
        }
        let policy = branded.headers["content-security-policy"].to_str().expect("text");
        assert!(policy.starts_with("default-src 'none'; style-src 'self'; img-src 'self' data:; "), "{policy}");
        let (_, rest) = branded.text.split_once("href=\"/static/brand/").expect("a stylesheet");
        let file = format!("/static/brand/{}", rest.split_once('"').expect("its end").0);
        let served = page(&site, "id.wiki.example", &file).await;
        assert_eq!((served.status.as_u16(), served.text.as_str()), (200, css));
        assert_eq!(served.headers["content-type"], "text/css; charset=utf-8");
        assert_eq!(served.headers["x-content-type-options"], "nosniff");
        for unknown in [file.replace(".css", "0.css"), "/static/brand/x.css".to_owned()] {
            assert_eq!(page(&site, "id.wiki.example", &unknown).await.status, 404, "{unknown}");
        }

        let plain = page(&site, "id.example", sign_in).await;
        assert!(plain.text.contains("<title>Sign in · Portcullis</title>") && !plain.text.contains("/static/brand/"));
    }

    /// CO-504: a picture that would have to be fetched from elsewhere is not shown by pages.
    #[tokio::test]
    async fn co_504_pages_ask_nobody_else_for_pictures() {
        let site = Site::new().await;
        let brand = json!({"domain": "wiki.example", "branding_logo": "https://cdn.example/logo.png"});
        assert_eq!(site.admin(Method::POST, "/core/brands/", brand).await.status, 201);
        let page = page(&site, "wiki.example", "/if/flow/default-authentication-flow/").await;
        assert!(!page.text.contains("cdn.example") && page.text.contains("<p class=\"brand\">Portcullis</p>"));
    }
}
