//! Connections to one https upstream, over HTTP/2 if it speaks that.
//!
//! They are shared by the target alone (PX-284). The usual client shares them by the URI of a request, whose authority
//! over HTTP/2 is the host that the client asked for: any client could make as many connections as there are names for
//! an application.

use std::error::Error;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST};
use http::uri::Authority;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::Instant;

use super::dial::{Dial, DialError};
use super::{Client, SendError, UpstreamSettings, classify, shared_by};
use crate::body::{Body, BodyError};

/// For how long an upstream that did not want HTTP/2 is not asked again.
const CONTENT: Duration = Duration::from_secs(600);
/// Requests that are under way over one connection at a time; for more there is another. Servers take at least as many
/// (RFC 9113 §6.5.2). Beyond what they take, requests would wait for the end of others, which may be streams that last.
const MOST_OPEN: usize = 100;
/// Requests that are sent over one connection in all. Many servers end one after a thousand, and whether what is on its way
/// then was seen is not known.
const MOST_SENT: u32 = 900;
/// How much of an answer may wait for its client.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// How much of all answers over one connection may: clients that take nothing hold up nobody else.
const CONNECTION_WINDOW: u32 = i32::MAX.cast_unsigned();

/// The pool of one https upstream.
pub(super) struct Secure {
    /// Offers both versions.
    dial: Dial,
    /// Offers HTTP/1.1 alone.
    http1: Client,
    authority: Authority,
    limit: Duration,
    keep: Duration,
    alive: Duration,
    /// Locked while somebody connects: whoever comes meanwhile may share the connection.
    spoken: tokio::sync::Mutex<Spoken>,
}

/// What the upstream speaks, as far as is known.
#[derive(Default)]
enum Spoken {
    #[default]
    Unknown,
    Http1 {
        since: Instant,
    },
    /// Not one of them has ended, as far as is known.
    Http2(Vec<Shared>),
}

/// A connection over HTTP/2.
struct Shared {
    sender: SendRequest<Body>,
    used: Arc<Mutex<Instant>>,
    /// Counts the requests that are under way by being held.
    open: Arc<()>,
    sent: u32,
}

impl Shared {
    fn note_use(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last_use(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a request, if there is one.
    fn place(&mut self) -> Option<Place> {
        // One is the connection's own, which is locked: nobody else takes a place meanwhile.
        let place = (Arc::strong_count(&self.open) <= MOST_OPEN).then(|| Place(Arc::clone(&self.open)))?;
        self.note_use();
        self.sent += 1;
        Some(place)
    }
}

/// A request's place on a connection, until its answer has come as a whole.
struct Place(#[expect(dead_code, reason = "counts by being held")] Arc<()>);

impl Secure {
    /// A pool without connections.
    pub(super) fn new(dial: Dial, http1: Client, authority: Authority, settings: &UpstreamSettings) -> Arc<Self> {
        let UpstreamSettings { connect: limit, idle: keep, alive, .. } = *settings;
        Arc::new(Self { dial, http1, authority, limit, keep, alive, spoken: tokio::sync::Mutex::default() })
    }

    /// Sends a request whose URI has the host that is asked for. Dropping the future cancels it.
    pub(super) async fn send(self: &Arc<Self>, mut request: Request<Body>) -> Result<Response<Body>, SendError> {
        // Over HTTP/2 the host is in the URI, and some servers refuse a request that says it twice (RFC 9113 §8.3.1). What
        // `Connection` names would be taken out: `TE`, which goes on.
        let of_http1 = [HOST, CONNECTION].map(|name| request.headers_mut().remove(&name).map(|value| (name, value)));
        let mut again = true;
        loop {
            // Who waits for another's connection to no end has waited long enough, too.
            let found = tokio::time::timeout(self.limit, self.find()).await.unwrap_or(Err(DialError::Timeout));
            let Some((mut sender, place, is_new)) = found.map_err(|error| classify(error.into(), true))? else {
                request.headers_mut().extend(of_http1.into_iter().flatten().map(|(name, value)| (Some(name), value)));
                shared_by(&self.authority, request.uri_mut())?;
                let sent = self.http1.request(request).await;
                return sent.map(|answer| answer.map(Body::from)).map_err(|error| {
                    let is_connect = error.is_connect();
                    classify(error.into(), is_connect)
                });
            };
            let mut copy = if again && !is_new { copy(&request) } else { None };
            match sender.try_send_request(request).await {
                Ok(answer) => return Ok(answer.map(|body| placed(body, place))),
                Err(mut error) => match (error.take_message(), copy.take_if(|_| was_left(error.error()))) {
                    // Nothing of it was sent: the connection was dead already.
                    (Some(unsent), _) if !is_new => request = unsent,
                    // It was on its way when the connection ended: many servers end one after a thousand requests.
                    (_, Some(copy)) => (request, again) = (copy, false),
                    _ => return Err(classify(error.into_error().into(), false)),
                },
            }
        }
    }

    /// A place on a connection over HTTP/2, and whether that is new; nothing if the upstream speaks HTTP/1.1.
    async fn find(self: &Arc<Self>) -> Result<Option<(SendRequest<Body>, Place, bool)>, DialError> {
        let mut spoken = self.spoken.lock().await;
        match &mut *spoken {
            Spoken::Http1 { since } if since.elapsed() < CONTENT => return Ok(None),
            Spoken::Http2(all) => {
                all.retain(|shared| !shared.sender.is_closed() && shared.sent < MOST_SENT);
                let mut found = all.iter_mut().filter_map(|shared| Some((shared.place()?, shared.sender.clone())));
                if let Some((place, sender)) = found.next() {
                    return Ok(Some((sender, place, false)));
                }
            }
            Spoken::Http1 { .. } | Spoken::Unknown => *spoken = Spoken::Unknown,
        }
        let stream = self.dial.clone().dial().await?;
        if !stream.speaks_http2() {
            *spoken = Spoken::Http1 { since: Instant::now() };
            return Ok(None);
        }
        let (sender, driver) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            // All requests go over it: they are not to wait for somebody who is gone.
            .keep_alive_interval(Some(self.alive))
            .keep_alive_timeout(self.alive)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| DialError::Connect(std::io::Error::other(error)))?;
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a connection to an upstream broke");
            }
        });
        let used = Arc::new(Mutex::new(Instant::now()));
        let shared = Shared { sender: sender.clone(), used, open: Arc::default(), sent: 1 };
        tokio::spawn(forget_unused(Arc::downgrade(self), shared.used.clone(), self.keep));
        let place = Place(Arc::clone(&shared.open));
        match &mut *spoken {
            Spoken::Http2(all) => all.push(shared),
            other => *other = Spoken::Http2(vec![shared]),
        }
        Ok(Some((sender, place, true)))
    }
}

/// A request that may be sent once more, if this one may (PX-284).
fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    if !matches!(request.body(), Body::Empty) || !request.method().is_idempotent() {
        return None;
    }
    let mut copy = Request::new(Body::Empty);
    request.method().clone_into(copy.method_mut());
    request.uri().clone_into(copy.uri_mut());
    request.headers().clone_into(copy.headers_mut());
    Some(copy)
}

/// Whether a request got no answer because the upstream takes no more over its connection, or that is dead.
fn was_left(error: &hyper::Error) -> bool {
    let mut cause = error.source();
    while let Some(present) = cause {
        if let Some(error) = present.downcast_ref::<h2::Error>() {
            let is_refused = error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM);
            return error.is_remote() && is_refused;
        }
        if present.is::<std::io::Error>() {
            return true;
        }
        cause = present.source();
    }
    false
}

/// An answer's body that keeps its request's place to its end.
fn placed(body: Incoming, place: Place) -> Body {
    if body.is_end_stream() { Body::Empty } else { Body::Boxed(Box::pin(Placed { body, _place: place })) }
}

struct Placed {
    body: Incoming,
    _place: Place,
}

impl HttpBody for Placed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Connection)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Lets go of a connection that nobody has used for a while. It closes when the last answer that is under way over it is
/// complete.
async fn forget_unused(pool: Weak<Secure>, used: Arc<Mutex<Instant>>, keep: Duration) {
    loop {
        let end = *used.lock().unwrap_or_else(PoisonError::into_inner) + keep;
        tokio::time::sleep_until(end).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut spoken = pool.spoken.lock().await;
        let Spoken::Http2(all) = &mut *spoken else { return };
        let Some(place) = all.iter().position(|shared| Arc::ptr_eq(&shared.used, &used)) else { return };
        if all.get(place).is_some_and(|shared| shared.last_use() + keep <= Instant::now()) {
            all.remove(place);
            return;
        }
    }
}
