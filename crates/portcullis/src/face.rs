//! Routers as the listener takes them, and what the metrics listener answers.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::{any, get};
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode, Uri};
use metrics_exporter_prometheus::PrometheusHandle;
use portcullis_idp::context::{Context, is_ready};
use portcullis_proxy::body::Body;
use portcullis_proxy::listener::Core;
use portcullis_proxy::plane::asks_ready;
use tower::ServiceExt;

use crate::connected;

/// A router behind a listener.
///
/// A handler runs to its end even if the client hangs up meanwhile: a change that the database has taken
/// must still be told to everybody who holds something built on the state before it.
pub(crate) fn core(router: Router) -> Core {
    Box::new(move |request: Request<Body>| {
        let router = router.clone();
        Box::pin(async move {
            let handled = tokio::spawn(router.oneshot(request.map(axum::body::Body::new)));
            match handled.await {
                Ok(Ok(answer)) => answer.map(Body::new),
                Ok(Err(never)) => match never {},
                // A panic goes on in the listener, which answers 500; there is no other way to end early.
                Err(ended) => std::panic::resume_unwind(ended.into_panic()),
            }
        })
    })
}

/// 204 while the process lives; with `?ready`, 503 unless it can serve (PX-315).
async fn ping(State(context): State<Arc<Context>>, uri: Uri) -> StatusCode {
    if asks_ready(&uri) && !is_ready(&context).await {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    StatusCode::NO_CONTENT
}

/// `/metrics`, health and ping (PX-315, PX-317).
pub(crate) fn metrics(rendered: PrometheusHandle, context: Arc<Context>) -> Router {
    let of_outposts = Arc::clone(&context);
    let page = move || async move {
        // The rest is worth seeing, above all when the database is not to be had.
        let outposts = connected::page(&of_outposts).await.unwrap_or_default();
        ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], rendered.render() + &outposts)
    };
    portcullis_web::health(Arc::clone(&context))
        .route("/metrics", get(page))
        .route("/outpost.goauthentik.io/ping", any(ping).with_state(context))
}
