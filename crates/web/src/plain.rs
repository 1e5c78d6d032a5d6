//! Plain HTTP from the network (OA-014).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, LOCATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use portcullis_core::clock::Timestamp;
use portcullis_core::origin::{Origin, Scheme};
use portcullis_idp::Context;
use serde_json::json;

use crate::{api, health, pages};

/// Sends whoever comes by plain HTTP to the public URL, if that is one of HTTPS, before anything of theirs is read. This
/// machine and trusted proxies may come as they like, and so may probes.
pub(crate) async fn refuse(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let base_url = &door.ctx.base_url;
    let exposed = request.extensions().get::<Arc<Origin>>().filter(|origin| is_exposed(base_url, origin)).cloned();
    match exposed {
        Some(origin) if !request.uri().path().starts_with(health::BASE) => {
            if says_https(request.headers()) {
                door.warn(&origin);
                return refusal(&origin, &request, UNTRUSTED);
            }
            answer(base_url, &origin, &request)
        }
        _ => next.run(request).await,
    }
}

/// What stands between the network and everything else.
pub(crate) struct Door {
    ctx: Arc<Context>,
    warned: Mutex<HashMap<IpAddr, Timestamp>>,
}

impl Door {
    pub(crate) fn new(ctx: Arc<Context>) -> Arc<Self> {
        Arc::new(Self { ctx, warned: Mutex::default() })
    }

    /// Tells the operator of a proxy that is not trusted, once an hour.
    fn warn(&self, origin: &Origin) {
        if self.is_news(origin.peer, self.ctx.now()) {
            tracing::warn!(
                peer = %origin.peer,
                "a proxy that is not trusted says that it was asked by HTTPS and asks by plain HTTP: name it in \
                 listen.trusted_proxy_cidrs, or have it speak HTTPS"
            );
        }
    }

    fn is_news(&self, peer: IpAddr, now: Timestamp) -> bool {
        const HOUR: i64 = 3600;
        /// Peers that are remembered at once; others are not told of until one of these is forgotten.
        const MOST: usize = 100;
        let peer = match peer.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) & (u128::MAX << 64))),
            address @ IpAddr::V4(_) => address,
        };
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        warned.retain(|_, at| at.plus_seconds(HOUR) > now);
        if warned.contains_key(&peer) || warned.len() >= MOST {
            return false;
        }
        warned.insert(peer, now);
        true
    }
}

/// Whether somebody on the way says that the request came to them by HTTPS. Believed of nobody here; but sending them there
/// again would not help.
fn says_https(headers: &HeaderMap) -> bool {
    let lists = |name: &str| {
        let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).map(str::trim).collect::<Vec<_>>()
    };
    let is_https = |text: &str| text.trim().trim_matches('"').eq_ignore_ascii_case("https");
    let says = |pair: &str| pair.split_once('=').is_some_and(|(name, of)| is_proto(name) && is_https(of));
    lists("x-forwarded-proto").into_iter().any(is_https)
        || lists("forwarded").into_iter().any(|element| element.split(';').any(says))
}

fn is_proto(name: &str) -> bool {
    name.trim().eq_ignore_ascii_case("proto")
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
    refusal(origin, request, "This is served by HTTPS alone.")
}

const UNTRUSTED: &str = "This is served by HTTPS alone, and was asked for by plain HTTP by a proxy that is not trusted. Whoever \
                         runs this service: name the proxy in the setting listen.trusted_proxy_cidrs.";

fn refusal(origin: &Origin, request: &Request, text: &str) -> Response {
    if request.uri().path().starts_with(api::BASE) {
        return (StatusCode::FORBIDDEN, Json(json!({"detail": text}))).into_response();
    }
    pages::respond::error(origin, StatusCode::FORBIDDEN, "Not by plain HTTP", text)
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
        let (host, request_id) = ("id.example".to_owned(), "r".into());
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

    /// OA-014: the operator is told of a proxy that is not trusted once an hour, whatever comes by it, and of so many at most.
    #[tokio::test]
    async fn oa_014_a_proxy_is_told_of_once_an_hour() {
        let site = Site::at("https://id.example").await;
        let door = Door::new(Arc::clone(&site.ctx));
        let (one, other, now) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), site.ctx.now());
        assert!(door.is_news(one, now) && !door.is_news(one, now.plus_seconds(3599)) && door.is_news(other, now));
        assert!(door.is_news(one, now.plus_seconds(3600)));
        let told = (0..=255).filter(|last| door.is_news([10, 0, 1, *last].into(), now)).count();
        assert!(told < 100, "{told}");
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
        // Somebody in front speaks HTTPS, and is not trusted: whoever was sent to the public URL would come back for ever.
        for (name, value) in [
            ("x-forwarded-proto", "https"),
            ("x-forwarded-proto", "HTTPS, http"),
            ("forwarded", "for=192.0.2.1;proto=https"),
            ("forwarded", "for=192.0.2.1; Proto=\"https\";host=id.example"),
        ] {
            for path in [me, "/"] {
                let request = Request::builder().uri(path).header(name, value);
                let mut request = request.body(Body::empty()).expect("one");
                request.extensions_mut().insert(Arc::new(origin(Scheme::Http, "203.0.113.9", false)));
                let refused = router.clone().oneshot(request).await.expect("infallible");
                assert_eq!(refused.status(), 403, "{name}: {value}");
                let body = axum::body::to_bytes(refused.into_body(), 1 << 20).await.expect("a body");
                let said = String::from_utf8_lossy(&body).into_owned();
                assert!(said.contains("trusted_proxy_cidrs") && !said.contains("203.0.113.9"), "{said}");
            }
        }
        for (name, value) in [("x-forwarded-proto", "http"), ("forwarded", "for=https"), ("forwarded", "proto=http")] {
            let request = Request::builder().uri("/").header(name, value);
            let mut request = request.body(Body::empty()).expect("one");
            request.extensions_mut().insert(Arc::new(origin(Scheme::Http, "203.0.113.9", false)));
            assert_eq!(router.clone().oneshot(request).await.expect("infallible").status(), 308, "{name}: {value}");
        }
        let before = site.database.state();
        for path in ["/api/v3/core/users/", "/application/o/token/", "/if/flow/default-authentication-flow/"] {
            assert_eq!(ask(Method::POST, path, false).await.status(), 403, "{path}");
        }
        assert!(site.database.state() == before, "something was written");
        assert_eq!(ask(Method::GET, "/-/health/live/", false).await.status(), 200);
    }
}
