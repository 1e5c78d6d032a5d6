//! Connections that speak HTTP/2, and the time limits that are their streams'.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::Plane;
use super::connection::{Connection, Protocol, Way};
use super::seldom::Seldom;
use crate::guard::{Guard, Progress};

/// Requests that one connection may have open.
const MAX_STREAMS: u32 = 128;

/// What of request bodies may wait to be taken, in bytes: of all of a connection together, enough that a few which wait do
/// not hold up the others. The proxies of many people share one. Anybody may have that much held.
const CONNECTION_WINDOW: u32 = 8 * STREAM_WINDOW;
const STREAM_WINDOW: u32 = 256 * 1024;

/// How long a connection may take to end after our good-bye: the ends of its answers may be on their way.
const GOOD_BYE: Duration = Duration::from_secs(300);

impl<P: Plane> Connection<P> {
    pub(super) async fn http2<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let progress = Arc::new(Progress::default());
        let settings = self.server.settings;
        let life = self.life.clone();
        let stream = TokioIo::new(Guard::http2(stream, settings.limits, progress.clone()));
        let way = Arc::new(Way { connection: self, tls: true, progress: progress.clone(), protocol: Protocol::Http2 });
        let service = service_fn(move |request| {
            let way = way.clone();
            async move { Ok::<_, Infallible>(way.serve(request).await) }
        });
        let connection = http2::Builder::new(Streams { patience: settings.limits.write })
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(u32::try_from(settings.head_bytes).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(Some(20))
            // A client that is gone or deaf is noticed this way.
            .keep_alive_interval(Some(Duration::from_secs(30)))
            .keep_alive_timeout(Duration::from_secs(20))
            .serve_connection(stream, service);
        let mut connection = pin!(connection);
        let outcome = tokio::select! {
            biased;
            outcome = connection.as_mut() => Some(outcome),
            () = Seldom::new(life.over(&progress)) => None,
            () = progress.idle(settings.limits.idle) => None,
        };
        let outcome = match outcome {
            Some(outcome) => outcome,
            None => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    outcome = connection => outcome,
                    () = life.abort.cancelled() => return,
                    // It hears our good-bye, but neither leaves nor takes what is left of its answers.
                    () = tokio::time::sleep(GOOD_BYE.max(settings.drain)) => return,
                }
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "a connection broke");
        }
    }
}

tokio::task_local! {
    /// What is known of the stream whose task this is.
    static STREAM: Arc<Handed>;
}

/// Runs each stream in a task of its own, and resets one whose client takes nothing for too long: a client
/// that never opens its window would keep the upstream waiting for ever (PX-283).
#[derive(Clone, Copy)]
struct Streams {
    patience: Duration,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let (handed, patience) = (Arc::<Handed>::default(), self.patience);
        let watched = handed.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = STREAM.scope(handed, stream) => {}
                () = watched.stalled(patience) => tracing::debug!("a stream was reset: its client takes nothing"),
            }
        });
    }
}

/// Since when a part of an answer waits for the client to take it.
#[derive(Default)]
pub(super) struct Handed(Mutex<Option<Instant>>);

impl Handed {
    /// That of the stream whose task this is; none over HTTP/1.1, where the guard keeps the time.
    pub(super) fn of_stream() -> Option<Arc<Self>> {
        STREAM.try_with(Arc::clone).ok()
    }

    /// The next part was asked for, so the last was taken; `ready` if there was one to hand over.
    pub(super) fn note(&self, ready: bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = ready.then(Instant::now);
    }

    async fn stalled(&self, patience: Duration) {
        loop {
            let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let end = since.unwrap_or_else(Instant::now) + patience;
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}
