//! What policies may know of a request.

use std::sync::Arc;

use axum::extract::{FromRequestParts, OriginalUri};
use http::HeaderMap;
use http::request::Parts;
use portcullis_core::origin::Origin;
use portcullis_idp::Visitor;
use portcullis_idp::access::AccessContext;
use portcullis_idp::context::Request;
use portcullis_idp::policies::HttpFacts;

use crate::api::answer::ApiError;

/// Where a request comes from, and what policies may know of it.
pub(crate) fn visitor(origin: &Origin, headers: &HeaderMap, method: &str, path: &str, query: &str) -> Visitor {
    let facts = HttpFacts {
        method: method.to_owned(),
        path: path.to_owned(),
        host: origin.host.clone(),
        scheme: origin.scheme.as_str().to_owned(),
        query: query.to_owned(),
        headers: Vec::new(),
    };
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value)));
    let http = Some(Arc::new(facts.with_headers(headers)));
    Visitor { client: origin.client, request: Request::of(origin), http, sender: None, explained: false }
}

/// A request to the API, as policies see it.
#[derive(Debug)]
pub(crate) struct Asked(pub(crate) Visitor);

impl Asked {
    /// For a decision.
    pub(crate) fn context(&self) -> AccessContext {
        AccessContext::of(&self.0)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let origin = parts.extensions.get::<Arc<Origin>>().cloned();
        let origin = origin.ok_or_else(|| ApiError::Internal("a request without an origin".to_owned()))?;
        // Whole, also below the path that the API is nested under.
        let Ok(OriginalUri(uri)) = OriginalUri::from_request_parts(parts, state).await;
        let query = uri.query().unwrap_or_default();
        Ok(Self(visitor(&origin, &parts.headers, parts.method.as_str(), uri.path(), query)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use portcullis_core::origin::Scheme;

    /// CO-229, CO-238: policies see the request as it was sent, without what it proves itself by.
    #[tokio::test]
    async fn co_238_policies_see_no_credentials() {
        let request = Request::post("/api/v3/x/?a=1&a=2")
            .header("Authorization", "Bearer s3cret")
            .header("Cookie", "a=s3cret")
            .header("Proxy-Authorization", "Basic s3cret")
            .header("X-authentik-outpost-token", "s3cret")
            .header("User-Agent", "curl");
        let (mut parts, ()) = request.body(()).expect("a request").into_parts();
        parts.extensions.insert(Arc::new(Origin {
            scheme: Scheme::Https,
            host: "id.example:8443".to_owned(),
            client: [192, 0, 2, 1].into(),
            peer: [127, 0, 0, 1].into(),
            peer_trusted: true,
            request_id: "r".into(),
            asked: None,
        }));
        let Asked(visitor) = Asked::from_request_parts(&mut parts, &()).await.expect("has an origin");
        let http = visitor.http.expect("is HTTP");
        assert_eq!((http.method.as_str(), http.path.as_str(), http.query.as_str()), ("POST", "/api/v3/x/", "a=1&a=2"));
        assert_eq!((http.scheme.as_str(), http.host.as_str()), ("https", "id.example:8443"));
        assert_eq!(http.headers, [("user-agent".to_owned(), "curl".to_owned())]);
        assert_eq!(visitor.client.to_string(), "192.0.2.1");
    }
}
