//! Routers as the listener takes them, and what the metrics listener answers.

use std::sync::Arc;

use axum::Router;
use axum::routing::{any, get};
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use metrics_exporter_prometheus::PrometheusHandle;
use portcullis_idp::context::Context;
use portcullis_proxy::body::Body;
use portcullis_proxy::listener::Core;
use tower::ServiceExt;

/// A router behind a listener.
pub(crate) fn core(router: Router) -> Core {
    Box::new(move |request: Request<Body>| {
        let router = router.clone();
        Box::pin(async move {
            match router.oneshot(request.map(axum::body::Body::new)).await {
                Ok(answer) => answer.map(Body::new),
                Err(never) => match never {},
            }
        })
    })
}

/// `/metrics`, health and ping (PX-315, PX-317).
pub(crate) fn metrics(rendered: PrometheusHandle, context: Arc<Context>) -> Router {
    let page = move || async move { ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], rendered.render()) };
    portcullis_web::health(context)
        .route("/metrics", get(page))
        .route("/outpost.goauthentik.io/ping", any(|| async { StatusCode::NO_CONTENT }))
}
