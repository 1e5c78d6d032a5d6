//! Pages for what no plane gets to see.

use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response, StatusCode};
use portcullis_core::page;

use crate::body::Body;

/// A page with a status and one sentence (PX-063, PX-310).
pub(super) fn page(status: StatusCode, sentence: &str, request_id: &str) -> Response<Body> {
    let title = status.canonical_reason().unwrap_or("Error");
    let id = if request_id.is_empty() {
        String::new()
    } else {
        format!("<p class=\"fine\">Request <code>{}</code></p>", page::escape(request_id))
    };
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
         <title>{title}</title><style>{}</style></head><body><main class=\"card\"><p class=\"status\">{}</p><h1>{title}</h1><p>{}</p>{id}</main></body></html>",
        page::STYLE,
        status.as_u16(),
        page::escape(sentence),
    );
    let mut answer = Response::new(Body::from(html));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if let Ok(policy) = HeaderValue::try_from(page::content_security_policy("'none'")) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    answer
}
