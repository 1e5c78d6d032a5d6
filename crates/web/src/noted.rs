//! Notes what a request asks for, where events of it can find that (CO-411).

use std::sync::Arc;

use axum::extract::Request;
use http::header::USER_AGENT;
use portcullis_core::auth_via::Proof;
use portcullis_core::origin::{Asked, Origin};

/// Longest text that is noted, in characters; events keep less.
const LONGEST: usize = 8 * 1024;

/// Adds to the request's origin what it asks for, once.
pub(crate) fn note(request: &mut Request) {
    let Some(origin) = request.extensions().get::<Arc<Origin>>() else { return };
    if origin.asked.is_some() {
        return;
    }
    let user_agent = request.headers().get(USER_AGENT).map(|agent| String::from_utf8_lossy(agent.as_bytes()));
    let asked = Asked {
        method: request.method().to_string(),
        path: shortened(request.uri().path()),
        query: shortened(request.uri().query().unwrap_or_default()),
        user_agent: shortened(&user_agent.unwrap_or_default()),
        proof: Proof::default(),
    };
    let origin = Origin { asked: Some(Arc::new(asked)), ..origin.as_ref().clone() };
    request.extensions_mut().insert(Arc::new(origin));
}

fn shortened(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}
