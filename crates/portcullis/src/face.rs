//! Routers as the listener takes them, and what the metrics listener answers.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::{any, get};
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode, Uri};
use portcullis_idp::context::{Context, is_ready};
use portcullis_proxy::body::Body;
use portcullis_proxy::control::ControlPlane;
use portcullis_proxy::listener::Core;
use portcullis_proxy::plane::asks_ready;
use tokio::runtime::Handle;
use tower::ServiceExt;

use crate::histograms::Counted;
use crate::{connected, source_keys};

/// A router behind a listener.
///
/// A handler runs to its end even if the client hangs up meanwhile: a change that the database has taken
/// must still be told to everybody who holds something built on the state before it. It runs on the runtime that this is
/// called on, however long it takes: threads that carry connections have others to look after.
pub(crate) fn core(router: Router) -> Core {
    let runtime = Handle::current();
    Box::new(move |request: Request<Body>| {
        let handled = runtime.spawn(router.clone().oneshot(request.map(axum::body::Body::new)));
        Box::pin(async move {
            match handled.await {
                Ok(Ok(answer)) => answer.map(Body::new),
                Ok(Err(never)) => match never {},
                // A panic goes on in the listener, which answers 500; so does what ends because the process does.
                Err(ended) => std::panic::resume_unwind(ended.try_into_panic().unwrap_or_else(|ended| Box::new(ended))),
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
pub(crate) fn metrics(rendered: Counted, context: Arc<Context>) -> Router {
    let of_outposts = Arc::clone(&context);
    let page = move || async move {
        // The rest is worth seeing, above all when the database is not to be had.
        let outposts = connected::page(&of_outposts).await.unwrap_or_default();
        let keys = source_keys::page(&of_outposts).await.unwrap_or_default();
        (TEXT, rendered.render() + &outposts + &keys)
    };
    portcullis_web::health(Arc::clone(&context))
        .route("/metrics", get(page))
        .route("/outpost.goauthentik.io/ping", any(ping).with_state(context))
}

/// The text format of Prometheus.
const TEXT: [(http::HeaderName, &str); 1] = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];

/// The same of a stand-alone outpost, which is ready once it has had a configuration.
pub(crate) fn of_outpost(rendered: Counted, control: Arc<dyn ControlPlane>) -> Router {
    let ready = {
        let control = Arc::clone(&control);
        move || async move { if control.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE } }
    };
    let ping = move |uri: Uri| async move {
        let waits = asks_ready(&uri) && !control.is_ready();
        if waits { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::NO_CONTENT }
    };
    Router::new()
        .route("/metrics", get(move || async move { (TEXT, rendered.render()) }))
        .route("/-/health/live/", get(|| async { StatusCode::OK }))
        .route("/-/health/ready/", get(ready))
        .route("/outpost.goauthentik.io/ping", any(ping))
}
