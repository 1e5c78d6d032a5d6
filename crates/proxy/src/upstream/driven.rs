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
    /// None once it is over.
    driver: Option<http1::Connection<TokioIo<Stream>, Body>>,
}

impl Connection {
    /// Moves bytes; whether the connection still lives. A driver that is over is dropped: so it gives back a
    /// request that it has not begun to send.
    fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        if self.driver.as_mut().is_some_and(|driver| Pin::new(driver).poll(cx).is_ready()) {
            self.driver = None;
        }
        self.driver.is_some()
    }

    /// Moves bytes without asking to be called again. hyper remembers who drove last, and wakes them with the next step:
    /// that would be this task, which is awake, or for the next request one that has long gone on.
    fn drive_unasked(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()))
    }

    /// Moves bytes until `wanted` is there, and asks to be called again only if it is not.
    fn drive_for<T>(&mut self, cx: &mut Context<'_>, mut wanted: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        // It comes from the driver alone, which this task polls: it need not be woken for it. When the driver is over,
        // it is there or an error.
        let mut noop = Context::from_waker(Waker::noop());
        self.drive_unasked();
        if let Poll::Ready(there) = wanted(&mut noop) {
            return Poll::Ready(there);
        }
        self.drive(cx);
        wanted(&mut noop)
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
    pub(super) async fn send(self: &Arc<Self>, request: &mut Request<Body>) -> Result<Response<Body>, DrivenError> {
        loop {
            let reused = self.take();
            let was_reused = reused.is_some();
            let mut connection = match reused {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            match exchange(&mut connection, std::mem::take(request)).await {
                Ok(answer) => return Ok(answer.map(|body| self.body(body, connection))),
                Err(mut error) => match error.take_message() {
                    // Nothing of it was sent: the connection was dead already.
                    Some(unsent) if was_reused => *request = unsent,
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
        Ok(Box::new(Connection { sender, driver: Some(driver) }))
    }

    /// The connection used last that can take a request. The upstream may have closed it meanwhile: then it gives
    /// the request back.
    fn take(&self) -> Option<Box<Connection>> {
        loop {
            let Idle { mut connection, .. } = self.idle().pop()?;
            // To the end of its last exchange, if it is not there yet; it also learns whether the upstream has closed it.
            if connection.drive_unasked() && connection.sender.is_ready() {
                return Some(connection);
            }
        }
    }

    fn put(&self, connection: Box<Connection>) {
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
    let mut sent = false;
    std::future::poll_fn(move |cx| {
        // Nothing can be there before the request was sent, so that this is the time to ask.
        if !std::mem::replace(&mut sent, true) {
            connection.drive(cx);
            return answer.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }
        connection.drive_for(cx, |noop| answer.as_mut().poll(noop))
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
        let mut body = Pin::new(&mut this.body);
        // Asked for first: then it is wanted, and the driver may have it at hand.
        let mut frame = body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop()));
        if frame.is_pending() {
            frame = connection.drive_for(cx, |noop| body.as_mut().poll_frame(noop));
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
        if over && let Some(connection) = this.connection.take() {
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Counts how often it is woken, and passes that on.
    struct Bell(AtomicU32, Waker);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
            self.1.wake_by_ref();
        }
    }

    /// PX-284: an exchange over a pooled connection wakes the request when there is something to read, and at no other
    /// time; the next exchange wakes it no more.
    #[tokio::test]
    async fn px_284_an_exchange_wakes_the_request_for_what_there_is_to_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string().parse().unwrap();
        let pool = Pool::new(Dial::new(&authority, None, Duration::from_secs(5)), Duration::from_secs(60));
        tokio::spawn(async move {
            let (mut peer, _) = listener.accept().await.unwrap();
            while peer.read(&mut [0; 1024]).await.unwrap() > 0 {
                peer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            }
        });
        let outer = std::future::poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let mut bells = Vec::new();
        for _ in 0..3 {
            let bell = Arc::new(Bell(AtomicU32::new(0), outer.clone()));
            let waker = Waker::from(Arc::clone(&bell));
            bells.push(bell);
            let mut exchange = pin!(async {
                let mut request = Request::builder().uri("/").header("host", "a").body(Body::Empty).unwrap();
                let answer = pool.send(&mut request).await.ok().unwrap();
                answer.into_body().collect().await.unwrap().to_bytes()
            });
            let body = std::future::poll_fn(|_| exchange.as_mut().poll(&mut Context::from_waker(&waker))).await;
            assert_eq!(body, "ok");
        }
        let wakes: Vec<u32> = bells.iter().map(|bell| bell.0.load(Ordering::Relaxed)).collect();
        assert!(wakes[1..].iter().all(|&wakes| wakes <= 1), "{wakes:?}");
    }
}
