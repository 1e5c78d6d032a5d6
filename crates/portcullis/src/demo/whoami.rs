//! The demo application: it shows the request that reached it.
//!
//! A page for browsers, JSON for everything else. What it shows is what any application behind
//! Portcullis would see, `Authorization` included: that is the point.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Request, Response};
use portcullis_core::page::{self, escape};
use portcullis_proxy::body::Body;
use serde_json::{Map, Value, json};

/// What people look for first among the headers that say who they are.
const FIRST: [&str; 4] = ["x-authentik-username", "x-authentik-name", "x-authentik-email", "x-authentik-groups"];

/// Answers any request with what it looks like from here.
pub(crate) fn answer(request: &Request<Body>) -> Response<Body> {
    let wants_page = request.headers().get(ACCEPT).is_some_and(|accept| contains(accept, "text/html"));
    let (kind, body) = if wants_page {
        ("text/html; charset=utf-8", as_page(request))
    } else {
        ("application/json", format!("{:#}\n", as_json(request)))
    };
    let mut answer = Response::new(Body::from(body));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(policy) = HeaderValue::try_from(page::content_security_policy("'none'")) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    answer
}

fn contains(value: &HeaderValue, word: &str) -> bool {
    value.to_str().is_ok_and(|text| text.contains(word))
}

fn as_json(request: &Request<Body>) -> Value {
    let mut headers = Map::new();
    for (name, value) in shown(request.headers()) {
        match headers.get_mut(&name) {
            Some(Value::String(before)) => {
                let _ = write!(before, ", {value}");
            }
            _ => {
                headers.insert(name, value.into());
            }
        }
    }
    let mut seen = json!({
        "method": request.method().as_str(),
        "path": request.uri().path_and_query().map_or("/", |path| path.as_str()),
        "headers": headers,
    });
    if let (Some(decoded), Value::Object(seen)) = (authorization(request.headers()), &mut seen) {
        seen.insert("authorization_decoded".to_owned(), decoded.into());
    }
    seen
}

fn as_page(request: &Request<Body>) -> String {
    let (mut identity, other): (Vec<_>, Vec<_>) = shown(request.headers()).partition(|(name, _)| is_identity(name));
    identity.sort_by_key(|(name, _)| FIRST.iter().position(|first| first == name).unwrap_or(FIRST.len()));
    let decoded = authorization(request.headers()).map(|text| row("authorization, decoded", &text)).unwrap_or_default();
    let rows = |headers: &[(String, String)]| headers.iter().map(|(name, value)| row(name, value)).collect::<String>();
    let user = request.headers().get("x-authentik-username").map_or("nobody", |name| name.to_str().unwrap_or("?"));
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
         <title>What the application sees</title><style>{}</style></head><body><main class=\"card wide\">\
         <p class=\"brand\">Demo application</p><h1>Hello, {}</h1><p>This application has no sign-in of its own. \
         Below is the request as Portcullis passed it on: <code>{} {}</code></p>\
         <h2>Who you are</h2><table class=\"pairs\">{}{decoded}</table>\
         <h2>Other headers</h2><table class=\"pairs\">{}</table>\
         <p class=\"actions\"><a class=\"button quiet\" href=\"/outpost.goauthentik.io/sign_out\">Sign out</a></p>\
         </main></body></html>\n",
        page::STYLE,
        escape(user),
        escape(request.method().as_str()),
        escape(path),
        rows(&identity),
        rows(&other),
    )
}

fn is_identity(name: &str) -> bool {
    name.starts_with("x-authentik-") || name == "authorization"
}

fn row(name: &str, value: &str) -> String {
    // A token fills a screen and says nothing to the eye; JSON has it whole.
    let length = value.chars().count();
    let value = if length > 120 {
        format!("{}… ({length} characters)", value.chars().take(48).collect::<String>())
    } else {
        value.to_owned()
    };
    format!("<tr><th scope=\"row\"><code>{}</code></th><td><code>{}</code></td></tr>", escape(name), escape(&value))
}

fn shown(headers: &HeaderMap) -> impl Iterator<Item = (String, String)> {
    headers.iter().map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
}

/// `user:password` of HTTP Basic.
fn authorization(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    let decoded = STANDARD.decode(encoded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn body(accept: &str) -> String {
        let request = Request::get("/a?b=c")
            .header(ACCEPT, accept)
            .header(AUTHORIZATION, "Basic aW50cmFuZXQ6c2VzYW1l")
            .header("x-authentik-name", "<ada>")
            .header("x-authentik-username", "ada")
            .body(Body::Empty)
            .unwrap();
        let bytes = answer(&request).into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    /// PX-210: the demo application shows the upstream credentials that reached it, as JSON and as a page.
    #[tokio::test]
    async fn px_210_the_demo_application_shows_what_reached_it() {
        let seen: Value = serde_json::from_str(&body("*/*").await).unwrap();
        assert_eq!(seen["path"], "/a?b=c");
        assert_eq!(seen["headers"]["x-authentik-username"], "ada");
        assert_eq!(seen["authorization_decoded"], "intranet:sesame");
        let page = body("text/html,*/*").await;
        assert!(
            page.contains("Hello, ada")
                && page.contains("intranet:sesame")
                && page.contains("&lt;ada&gt;")
                && !page.contains("<ada>")
        );
        assert!(page.find("x-authentik-username") < page.find("x-authentik-name"), "{page}");
    }
}
