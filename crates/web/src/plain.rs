//! Plain HTTP from the network (OA-014).

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, LOCATION};
use http::{HeaderValue, Method, StatusCode};
use portcullis_core::origin::{Origin, Scheme};
use portcullis_idp::Context;
use serde_json::json;

use crate::{api, health, pages};

/// Sends whoever comes by plain HTTP to the public URL, if that is one of HTTPS, before anything of theirs is read. This
/// machine and trusted proxies may come as they like, and so may probes.
pub(crate) async fn refuse(State(ctx): State<Arc<Context>>, request: Request, next: Next) -> Response {
    let exposed = request.extensions().get::<Arc<Origin>>().filter(|origin| is_exposed(&ctx.base_url, origin)).cloned();
    match exposed {
        Some(origin) if !request.uri().path().starts_with(health::BASE) => answer(&ctx.base_url, &origin, &request),
        _ => next.run(request).await,
    }
}

fn is_exposed(base_url: &str, origin: &Origin) -> bool {
    base_url.starts_with("https://")
        && origin.scheme == Scheme::Http
        && !origin.peer_trusted
        && !origin.peer.to_canonical().is_loopback()
}

fn answer(base_url: &str, origin: &Origin, request: &Request) -> Response {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let there = HeaderValue::from_str(&format!("{base_url}{target}")).ok();
    if let (&Method::GET | &Method::HEAD, Some(there)) = (request.method(), there) {
        let no_store = HeaderValue::from_static("no-store");
        return (StatusCode::PERMANENT_REDIRECT, [(LOCATION, there), (CACHE_CONTROL, no_store)]).into_response();
    }
    const TEXT: &str = "This is served by HTTPS alone.";
    if request.uri().path().starts_with(api::BASE) {
        return (StatusCode::FORBIDDEN, Json(json!({"detail": TEXT}))).into_response();
    }
    pages::respond::error(origin, StatusCode::FORBIDDEN, "Not by plain HTTP", TEXT)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use axum::body::Body;
    use tower::ServiceExt;

    use super::*;
    use crate::testing::{Site, TOKEN};

    fn origin(scheme: Scheme, peer: &str, peer_trusted: bool) -> Origin {
        let peer: IpAddr = peer.parse().expect("an address");
        let (host, request_id) = ("id.example".to_owned(), "r".to_owned());
        Origin { scheme, host, client: [203, 0, 113, 9].into(), peer, peer_trusted, request_id, asked: None }
    }

    /// OA-014: plain HTTP is for this machine and trusted proxies; a public URL of plain HTTP is for everybody.
    #[test]
    fn oa_014_who_may_come_by_plain_http() {
        let (https, http) = ("https://id.example", "http://id.example");
        assert!(is_exposed(https, &origin(Scheme::Http, "203.0.113.9", false)));
        assert!(!is_exposed(https, &origin(Scheme::Https, "203.0.113.9", false)));
        assert!(!is_exposed(https, &origin(Scheme::Http, "10.0.0.1", true)));
        for loopback in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!(!is_exposed(https, &origin(Scheme::Http, loopback, false)), "{loopback}");
        }
        assert!(!is_exposed(http, &origin(Scheme::Http, "203.0.113.9", false)));
    }

    /// OA-014: from the network, plain HTTP is redirected or refused, with right credentials too, and leaves no trace; probes
    /// are answered.
    #[tokio::test]
    async fn oa_014_credentials_by_plain_http_are_not_read() {
        let site = Site::at("https://id.example").await;
        let router = crate::router(Arc::clone(&site.ctx));
        let ask = async |method: Method, path: &str, trusted: bool| {
            let request = Request::builder().method(method).uri(path);
            let mut request =
                request.header("authorization", format!("Bearer {TOKEN}")).body(Body::empty()).expect("one");
            request.extensions_mut().insert(Arc::new(origin(Scheme::Http, "203.0.113.9", trusted)));
            router.clone().oneshot(request).await.expect("infallible")
        };
        let me = "/api/v3/core/users/me/";
        assert_eq!(ask(Method::GET, me, true).await.status(), 200);
        for path in [me, "/", "/application/o/authorize/?client_id=x"] {
            let redirected = ask(Method::GET, path, false).await;
            assert_eq!(redirected.status(), 308, "{path}");
            assert_eq!(redirected.headers()["location"], format!("https://id.example{path}"));
        }
        let before = site.database.state();
        for path in ["/api/v3/core/users/", "/application/o/token/", "/if/flow/default-authentication-flow/"] {
            assert_eq!(ask(Method::POST, path, false).await.status(), 403, "{path}");
        }
        assert!(site.database.state() == before, "something was written");
        assert_eq!(ask(Method::GET, "/-/health/live/", false).await.status(), 200);
    }
}
