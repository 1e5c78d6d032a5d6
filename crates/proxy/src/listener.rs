//! Accepts connections and hands each request to the plane it is for.

use std::future::Future;
use std::sync::Arc;

use http::{Request, Response};
use portcullis_core::origin::Origin;

use crate::body::Body;

/// What the data plane did with a request.
#[derive(Debug)]
pub enum Handled {
    /// It has answered.
    Answered(Response<Body>),
    /// No provider's host: the request is the control plane's (PX-058).
    NotOurs(Request<Body>),
}

/// What the listener asks first about every request.
pub trait Plane: Send + Sync + 'static {
    /// Answers the request or gives it back.
    fn handle(&self, request: Request<Body>, origin: Arc<Origin>) -> impl Future<Output = Handled> + Send;
}

/// A connection's place among those allowed at a time; a tunnel keeps it.
#[derive(Clone, Debug)]
pub struct Slot(#[expect(dead_code, reason = "counts by being held")] Arc<tokio::sync::OwnedSemaphorePermit>);
