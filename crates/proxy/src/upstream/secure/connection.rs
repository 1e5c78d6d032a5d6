//! One connection over HTTP/2 to an upstream, and the places on it.

use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use hyper::client::conn::http2::{self, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Found;
use crate::body::Body;
use crate::upstream::dial::{DialError, Stream};

/// Requests that are under way over one connection at a time, unless the upstream takes fewer; for more there is another.
/// Beyond what it takes, requests would wait for the end of others, which may be streams that last.
const MOST_OPEN: usize = 100;
/// Requests after which another connection is preferred. Many servers end one after a thousand.
const MANY_SENT: u32 = 900;
/// For how long requests are under way without a sign of an answer before another connection is preferred: what carries this
/// one may have ceased to, with nobody who says so.
const SILENCE: Duration = Duration::from_secs(20);
/// How much of an answer may wait for its client, in bytes.
const STREAM_WINDOW: u32 = 128 * 1024;
/// How much of all answers over one connection may: clients that take nothing hold up nobody else.
const CONNECTION_WINDOW: u32 = 100 * STREAM_WINDOW;

type Driver = http2::Connection<TokioIo<Stream>, Body, Noting>;

/// A connection.
pub(super) struct Shared {
    sender: SendRequest<Body>,
    /// Knows what the upstream takes; gone when the connection has ended.
    driver: Arc<Mutex<Option<Driver>>>,
    open: Arc<Open>,
    used: Instant,
    sent: u32,
}

/// Counts the requests that are under way.
pub(super) struct Open {
    waiting: Mutex<Waiting>,
    freed: Arc<Notify>,
}

/// How many requests are under way, and for how long nothing has come of their answers.
struct Waiting {
    count: usize,
    /// For how long there were requests, up to `seen`, since anything of an answer came. Those that were given up count: their
    /// clients may be less patient than we are.
    silent: Duration,
    seen: Instant,
}

impl Open {
    /// What holds now.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        let mut waiting = lock(&self.waiting);
        let now = Instant::now();
        if waiting.count > 0 {
            let passed = now.saturating_duration_since(waiting.seen);
            waiting.silent += passed;
        }
        waiting.seen = now;
        waiting
    }
}

/// A request's place on a connection, until its answer has come as a whole.
pub(super) struct Place(Arc<Open>);

impl Place {
    pub(super) fn is_on(&self, shared: &Shared) -> bool {
        Arc::ptr_eq(&self.0, &shared.open)
    }

    /// Something of an answer has come.
    pub(super) fn heard(&self) {
        self.0.waiting().silent = Duration::ZERO;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting().count -= 1;
        self.0.freed.notify_one();
    }
}

impl Shared {
    /// A connection that the upstream takes requests over. Whenever a place on it becomes free, somebody is told.
    pub(super) async fn new(stream: Stream, freed: Arc<Notify>) -> Result<Self, DialError> {
        let failed = |error: hyper::Error| DialError::Connect(Arc::new(io::Error::other(error)));
        let heard = Noting::default();
        let (sender, driver) = http2::Builder::new(heard.clone())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            // Until it says how many it takes.
            .initial_max_send_streams(0)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(failed)?;
        let driver = Arc::new(Mutex::new(Some(driver)));
        let driven = driver.clone();
        heard.execute(async move {
            let ended = std::future::poll_fn(|cx| match &mut *lock(&driven) {
                Some(driver) => Pin::new(driver).poll(cx),
                None => Poll::Ready(Ok(())),
            })
            .await;
            // What waits in it is given back.
            let driver = lock(&driven).take();
            drop(driver);
            if let Err(error) = ended {
                tracing::debug!(%error, cause = std::error::Error::source(&error), "a connection to an upstream broke");
            }
        });
        let waiting = Mutex::new(Waiting { count: 0, silent: Duration::ZERO, seen: Instant::now() });
        let open = Arc::new(Open { waiting, freed });
        let shared = Self { sender, driver, open, used: Instant::now(), sent: 0 };
        loop {
            let more = pin!(heard.0.notified());
            if shared.takes() > 0 {
                return Ok(shared);
            }
            if shared.is_closed() {
                return Err(DialError::Connect(Arc::new(io::ErrorKind::ConnectionReset.into())));
            }
            more.await;
        }
    }

    /// Requests that the upstream takes at a time; none before it has said so.
    fn takes(&self) -> usize {
        lock(&self.driver).as_ref().map_or(0, Driver::current_max_send_streams)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether another connection is preferred, since its end is near.
    pub(super) fn is_spent(&self) -> bool {
        self.sent >= MANY_SENT
    }

    /// Whether it may be dead: requests are, or were, under way, and nothing comes. An application that takes its time looks
    /// the same.
    pub(super) fn is_silent(&self) -> bool {
        self.open.waiting().silent >= SILENCE
    }

    /// No other connection can be had.
    pub(super) fn renew(&mut self) {
        if self.is_spent() {
            self.sent = 0;
        }
        self.open.waiting().silent = Duration::ZERO;
    }

    pub(super) fn open(&self) -> &Arc<Open> {
        &self.open
    }

    pub(super) fn last_use(&self) -> Instant {
        self.used
    }

    /// A place for a request, if there is one.
    pub(super) fn place(&mut self) -> Option<Found> {
        let takes = self.takes();
        let mut waiting = self.open.waiting();
        if waiting.count >= takes.min(MOST_OPEN) {
            return None;
        }
        waiting.count += 1;
        drop(waiting);
        let is_new = self.sent == 0;
        self.used = Instant::now();
        self.sent += 1;
        Some(Found { sender: self.sender.clone(), place: Place(self.open.clone()), is_new })
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a connection's tasks, and notes whenever one has gone on: nothing else tells that an upstream has said how many
/// requests it takes.
#[derive(Clone, Default)]
struct Noting(Arc<Notify>);

impl<F> Executor<F> for Noting
where
    F: Future + Send + 'static,
{
    fn execute(&self, task: F) {
        let heard = self.0.clone();
        tokio::spawn(async move {
            let mut task = pin!(task);
            std::future::poll_fn(|cx| {
                let polled = task.as_mut().poll(cx).map(drop);
                heard.notify_waiters();
                polled
            })
            .await;
        });
    }
}
