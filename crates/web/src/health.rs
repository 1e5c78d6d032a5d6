//! Whether the process lives and can serve.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::StatusCode;
use portcullis_idp::{Context, is_ready};

/// Where probes ask.
pub(crate) const BASE: &str = "/-/health/";

/// `/-/health/live/` and `/-/health/ready/`.
pub(crate) fn router() -> Router<Arc<Context>> {
    Router::new().route("/-/health/live/", get(async || StatusCode::OK)).route("/-/health/ready/", get(ready))
}

/// 200 when the store answers and the first start is complete (CO-485), else 503.
async fn ready(State(ctx): State<Arc<Context>>) -> StatusCode {
    if is_ready(&ctx).await { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
