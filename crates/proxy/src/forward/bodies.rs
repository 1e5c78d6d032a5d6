//! Bodies that watch over another body.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::{Request, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Sleep;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::headers::Trailers;
use crate::body::{Body, BodyError};
use crate::live::Held;

type Polled = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

/// A request body whose trailers cannot pose as what only we may say; such fields are left out.
pub(super) struct Checked {
    body: Body,
    trailers: Trailers,
}

impl Checked {
    pub(super) fn new(body: Body, trailers: Trailers) -> Self {
        Self { body, trailers }
    }
}

impl HttpBody for Checked {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let frame = frame.map(|frame| {
            frame.map(|mut frame| {
                if let Some(fields) = frame.trailers_mut() {
                    let refused: Vec<_> = fields.keys().filter(|name| !self.trailers.passes(name)).cloned().collect();
                    for name in refused {
                        fields.remove(name);
                    }
                }
                frame
            })
        });
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer that is cut when the session it was given under ends (PX-197).
pub struct Until {
    pub(crate) body: Body,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Watched for as long as this is open.
    _held: Held,
}

impl Until {
    pub(super) fn new(body: Body, held: Held) -> Self {
        Self { body, ended: Box::pin(held.ends.clone().cancelled_owned()), _held: held }
    }
}

impl HttpBody for Until {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        if self.ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(BodyError::Ended)));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How long an upstream may take to say `100 Continue` before the body is sent anyway (RFC 9110 §10.1.1).
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether the upstream wants the body.
#[derive(Default)]
struct Wanted {
    said: AtomicBool,
    waker: AtomicWaker,
}

/// A request body that is asked from the client only when the upstream wants it (PX-281).
///
/// The client hears our `100 Continue` when the body is first asked for, so it hears it when the
/// upstream has said it, and not at all when the upstream answers at once.
pub(super) struct Continue {
    body: Body,
    wanted: Arc<Wanted>,
    patience: Option<Pin<Box<Sleep>>>,
}

impl Continue {
    /// Wraps `body`, and listens for the upstream's 100 on `request`.
    pub(super) fn install(request: &mut Request<Body>, body: Body) -> Body {
        let wanted = Arc::<Wanted>::default();
        let listener = wanted.clone();
        hyper::ext::on_informational(request, move |response| {
            if response.status() == StatusCode::CONTINUE {
                listener.said.store(true, Ordering::Release);
                listener.waker.wake();
            }
        });
        let patience = Some(Box::pin(tokio::time::sleep(PATIENCE)));
        Body::Boxed(Box::pin(Self { body, wanted, patience }))
    }
}

impl HttpBody for Continue {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        if let Some(patience) = &mut self.patience {
            let over = patience.as_mut().poll(cx).is_ready();
            self.wanted.waker.register(cx.waker());
            if !over && !self.wanted.said.load(Ordering::Acquire) {
                return Poll::Pending;
            }
            self.patience = None;
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
