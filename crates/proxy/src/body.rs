//! The one body type of requests and answers in both planes.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::forward::Until;
use crate::http1::Came;
use crate::lines::{Lines, Ready};
use crate::upstream::Driven;

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection it came over broke, or its framing did.
    #[error("the body was cut off: {0}")]
    Connection(#[from] hyper::Error),
    /// No byte came for as long as we wait (PX-283).
    #[error("the body made no progress")]
    Stalled,
    /// A trailer poses as something that only we may say.
    #[error("a trailer field is not allowed")]
    Trailer,
    /// The session that it was sent under has ended (PX-197).
    #[error("the session has ended")]
    Ended,
    /// Whoever made the body failed.
    #[error(transparent)]
    Source(Box<dyn Error + Send + Sync>),
}

/// A body whose type is not worth a variant.
pub type BoxedBody = Pin<Box<dyn HttpBody<Data = Bytes, Error = BodyError> + Send>>;

/// A request's or an answer's body. Never copied, never buffered whole.
#[derive(Default)]
pub enum Body {
    /// No body.
    #[default]
    Empty,
    /// A body that is at hand.
    Full(Bytes),
    /// A body that is still on its way from a peer, trailers included.
    Incoming(hyper::body::Incoming),
    /// An answer's body from an upstream, which drives its connection.
    Driven(Driven),
    /// An answer's body that ends with a session.
    Until(Box<Until>),
    /// No body; but to the answer's fields belong these, none of whose names it has.
    Lines([Option<Lines>; 2]),
    /// Anything else.
    Boxed(BoxedBody),
}

impl Body {
    /// Boxes a body of another type, such as axum's.
    pub fn new<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        if body.is_end_stream() {
            return Self::Empty;
        }
        Self::Boxed(Box::pin(http_body_util::BodyExt::map_err(body, |error| BodyError::Source(error.into()))))
    }
}

impl AsMut<Self> for Body {
    fn as_mut(&mut self) -> &mut Self {
        self
    }
}

impl Body {
    /// Takes out the fields of the answer that are ready to be written, if there are some: they travel with its body.
    pub(crate) fn take_ready(&mut self) -> Option<Ready> {
        if let Self::Lines(lines) = self {
            let lines = std::mem::take(lines);
            *self = Self::Empty;
            return Some(Ready::Set(lines));
        }
        self.came()?.take().map(Ready::Came)
    }

    /// Where the fields are that came from the upstream.
    pub(crate) fn came(&mut self) -> Option<&mut Option<Came>> {
        match self {
            Self::Driven(body) => Some(&mut body.came),
            Self::Until(body) => body.body.came(),
            _ => None,
        }
    }

    /// The body that drives its connection, if it is one.
    pub(crate) const fn driven(&self) -> Option<&Driven> {
        if let Self::Driven(body) = self { Some(body) } else { None }
    }

    /// The same, to change it.
    pub(crate) const fn driven_mut(&mut self) -> Option<&mut Driven> {
        if let Self::Driven(body) = self { Some(body) } else { None }
    }

    /// A peer's body that fails when no byte comes for as long as `patience` (PX-283).
    pub(crate) fn patient(body: hyper::body::Incoming, patience: Duration) -> Self {
        if body.is_end_stream() {
            return Self::Empty;
        }
        Self::Boxed(Box::pin(Patient { body, patience, waiting: None }))
    }
}

/// A body with a limit to the time without progress. Time in which nobody asks for it does not count.
struct Patient {
    body: hyper::body::Incoming,
    patience: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl HttpBody for Patient {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.waiting = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Connection)));
        }
        let deadline = Instant::now() + self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Some(Err(BodyError::Stalled)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.size_hint();
        f.debug_struct("Body").field("lower", &size.lower()).field("upper", &size.upper()).finish()
    }
}

impl From<hyper::body::Incoming> for Body {
    fn from(body: hyper::body::Incoming) -> Self {
        if body.is_end_stream() { Self::Empty } else { Self::Incoming(body) }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Full(bytes) }
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Empty | Self::Lines(_) => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Incoming(body) => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Connection)))
            }
            Self::Driven(body) => Pin::new(body).poll_frame(cx),
            Self::Until(body) => Pin::new(&mut **body).poll_frame(cx),
            Self::Boxed(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Lines(_) => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Incoming(body) => body.is_end_stream(),
            Self::Driven(body) => body.is_end_stream(),
            Self::Until(body) => body.is_end_stream(),
            Self::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Lines(_) => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len().try_into().unwrap_or(u64::MAX)),
            Self::Incoming(body) => body.size_hint(),
            Self::Driven(body) => body.size_hint(),
            Self::Until(body) => body.size_hint(),
            Self::Boxed(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    /// PX-281: a body keeps its length, its bytes and its trailers, whatever it is made of.
    #[tokio::test]
    async fn px_281_a_body_keeps_length_bytes_and_trailers() {
        let full = Body::from("hello");
        assert_eq!(full.size_hint().exact(), Some(5));
        assert_eq!(full.collect().await.unwrap().to_bytes(), "hello");
        assert!(Body::from("").is_end_stream());

        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
        let frames = [Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"x"))), Ok(Frame::trailers(trailers))];
        let collected = Body::new(StreamBody::new(futures_util::stream::iter(frames))).collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(collected.to_bytes(), "x");
    }
}
