//! Connections that are driven by the request that uses them.
//!
//! A pooled connection usually has a task of its own, and each request wakes it and is woken by it.
//! For the common request, one without a body over plain HTTP/1.1, the request's own task drives the
//! connection instead: half the scheduling, and cancelling is dropping. A request with a body is not
//! sent this way: while its answer is held back by a slow client, nothing would send the rest of it.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::dial::{Dial, DialError, Stream};
use crate::body::{Body, BodyError};

/// Idle connections that one upstream may have.
const MOST_IDLE: usize = 512;
/// How often idle connections are looked after.
const SWEEP: Duration = Duration::from_secs(15);

/// Why a request got no answer.
pub(super) enum DrivenError {
    Dial(DialError),
    Http(hyper::Error),
}

/// A connection and the handle that puts requests into it.
struct Connection {
    sender: SendRequest<Body>,
    driver: http1::Connection<TokioIo<Stream>, Body>,
}

impl Connection {
    /// Moves bytes; whether the connection still lives.
    fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        Pin::new(&mut self.driver).poll(cx).is_pending()
    }
}

struct Idle {
    connection: Box<Connection>,
    since: Instant,
}

/// The idle connections to one upstream.
pub(super) struct Pool {
    dial: Dial,
    keep: Duration,
    idle: Mutex<Vec<Idle>>,
}

impl Pool {
    /// A pool without connections, which closes those that were unused for `keep` (PX-284).
    pub(super) fn new(dial: Dial, keep: Duration) -> Arc<Self> {
        let pool = Arc::new(Self { dial, keep, idle: Mutex::default() });
        tokio::spawn(sweep(Arc::downgrade(&pool)));
        pool
    }

    /// Sends a request that has no body. Dropping the future, or the answer's body, closes the
    /// connection unless the answer was read as a whole.
    pub(super) async fn send(self: &Arc<Self>, mut request: Request<Body>) -> Result<Response<Body>, DrivenError> {
        loop {
            let reused = self.take().await;
            let was_reused = reused.is_some();
            let mut connection = match reused {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            match exchange(&mut connection, request).await {
                Ok(answer) => return Ok(answer.map(|body| self.body(body, connection))),
                Err(mut error) => match error.take_message() {
                    // Nothing of it was sent: the connection was dead already.
                    Some(unsent) if was_reused => request = unsent,
                    _ => return Err(DrivenError::Http(error.into_error())),
                },
            }
        }
    }

    fn body(self: &Arc<Self>, body: Incoming, connection: Box<Connection>) -> Body {
        if body.is_end_stream() {
            self.put(connection);
            return Body::Empty;
        }
        Body::Driven(Driven { body, connection: Some(connection), pool: Arc::clone(self) })
    }

    async fn connect(&self) -> Result<Box<Connection>, DrivenError> {
        let stream = self.dial.clone().dial().await.map_err(DrivenError::Dial)?;
        let (sender, driver) = http1::Builder::new()
            .title_case_headers(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(DrivenError::Http)?;
        Ok(Box::new(Connection { sender, driver }))
    }

    /// The connection used last, if it still lives.
    async fn take(&self) -> Option<Box<Connection>> {
        loop {
            let Idle { mut connection, .. } = self.idle().pop()?;
            let alive = std::future::poll_fn(|cx| {
                let alive = connection.drive(cx);
                Poll::Ready(alive && connection.sender.is_ready())
            });
            if alive.await {
                return Some(connection);
            }
        }
    }

    fn put(&self, connection: Box<Connection>) {
        if connection.sender.is_closed() {
            return;
        }
        let mut idle = self.idle();
        if idle.len() < MOST_IDLE {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes connections that nobody has used, or that the upstream has closed, until the pool is gone.
async fn sweep(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(pool) = pool.upgrade() else { return };
        let now = Instant::now();
        let mut cx = Context::from_waker(Waker::noop());
        let mut idle = std::mem::take(&mut *pool.idle());
        idle.retain_mut(|idle| now.duration_since(idle.since) < pool.keep && idle.connection.drive(&mut cx));
        // Those that came back meanwhile were used last, and are used next.
        let mut present = pool.idle();
        idle.append(&mut present);
        *present = idle;
    }
}

type Exchanged = Result<Response<Incoming>, hyper::client::conn::TrySendError<Request<Body>>>;

async fn exchange(connection: &mut Connection, request: Request<Body>) -> Exchanged {
    let mut answer = pin!(connection.sender.try_send_request(request));
    let driver = &mut connection.driver;
    std::future::poll_fn(move |cx| {
        // When it is done, the answer below is an error. The answer comes from the driver alone, which
        // this task polls: it need not be woken for it.
        let _done = Pin::new(&mut *driver).poll(cx).is_ready();
        answer.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    })
    .await
}

/// An answer's body, which drives the connection that it comes over.
pub struct Driven {
    body: Incoming,
    connection: Option<Box<Connection>>,
    pool: Arc<Pool>,
}

impl HttpBody for Driven {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(connection) = &mut this.connection else { return Poll::Ready(None) };
        let mut noop = Context::from_waker(Waker::noop());
        let mut frame = Pin::new(&mut this.body).poll_frame(&mut noop);
        if frame.is_pending() {
            // Now that it is wanted, the driver may have it at hand.
            let _done = Pin::new(&mut connection.driver).poll(cx).is_ready();
            frame = Pin::new(&mut this.body).poll_frame(&mut noop);
        }
        let frame = ready!(frame);
        let over = match &frame {
            None => true,
            Some(Ok(_)) => this.body.is_end_stream(),
            Some(Err(_)) => {
                this.connection = None;
                false
            }
        };
        if over && let Some(mut connection) = this.connection.take()
            // To its end, so that it is ready for the next request.
            && connection.drive(cx)
        {
            this.pool.put(connection);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Connection)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
