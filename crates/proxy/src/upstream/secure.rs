//! Requests to one https upstream, over HTTP/2 if it speaks that.
//!
//! Connections are shared by the target alone (PX-284). The usual client shares them by the URI of a request, whose authority
//! over HTTP/2 is the host that the client asked for: any client could make as many connections as there are names for
//! an application.

mod connection;

use std::error::Error;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST};
use http::uri::Authority;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use self::connection::{Open, Place, Shared};
use super::dial::{Dial, DialError};
use super::{Client, SendError, UpstreamSettings, classify, shared_by};
use crate::body::{Body, BodyError};

/// For how long an upstream that did not want HTTP/2 is not asked again.
const CONTENT: Duration = Duration::from_secs(600);
/// How often one request is sent at most, where upstreams say that they did not look at it.
const MOST_ATTEMPTS: u32 = 3;

/// The pool of one https upstream.
pub(super) struct Secure {
    /// Offers both versions.
    dial: Dial,
    /// Offers HTTP/1.1 alone.
    http1: Client,
    authority: Authority,
    limit: Duration,
    keep: Duration,
    known: Mutex<Known>,
    /// A place on a connection has become free.
    freed: Arc<Notify>,
}

/// What is known of the upstream.
#[derive(Default)]
struct Known {
    /// Since when it wants no HTTP/2.
    http1: Option<Instant>,
    /// Connections over HTTP/2. Not one of them has ended, as far as is known.
    all: Vec<Shared>,
    /// The outcome of the connection that is being made, or was made last.
    dialled: Option<Dialled>,
}

/// Gone with its sender when a connection is made, or is not.
type Dialled = watch::Receiver<Option<Result<(), DialError>>>;

/// Where a request may go.
enum Way {
    Http1,
    Http2(Found),
    /// Nowhere before this connection is made, or a place is free.
    Full(Dialled),
}

/// A place on a connection over HTTP/2.
struct Found {
    sender: SendRequest<Body>,
    place: Place,
    is_new: bool,
}

/// What became of a request that got no answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The upstream did not look at it (RFC 9113 §8.7).
    Unseen,
    /// The connection broke; nobody knows.
    Lost,
    /// The upstream gave it up.
    Reset,
    Failed,
}

impl Secure {
    /// A pool without connections.
    pub(super) fn new(dial: Dial, http1: Client, authority: Authority, settings: &UpstreamSettings) -> Arc<Self> {
        let UpstreamSettings { connect: limit, idle: keep, .. } = *settings;
        Arc::new(Self { dial, http1, authority, limit, keep, known: Mutex::default(), freed: Arc::default() })
    }

    /// Sends a request whose URI has the host that is asked for. Dropping the future cancels it.
    pub(super) async fn send(self: &Arc<Self>, mut request: Request<Body>) -> Result<Response<Body>, SendError> {
        // Over HTTP/2 the host is in the URI, and some servers refuse a request that says it twice (RFC 9113 §8.3.1). What
        // `Connection` names would be taken out: `TE`, which goes on.
        let of_http1 = [HOST, CONNECTION].map(|name| request.headers_mut().remove(&name).map(|value| (name, value)));
        let (mut attempt, mut was_lost) = (1, false);
        loop {
            let found = tokio::time::timeout(self.limit, self.find()).await.unwrap_or(Err(DialError::Timeout));
            let Some(Found { mut sender, place, is_new }) = found.map_err(|error| classify(error.into(), true))? else {
                request.headers_mut().extend(of_http1.into_iter().flatten().map(|(name, value)| (Some(name), value)));
                shared_by(&self.authority, request.uri_mut())?;
                let sent = self.http1.request(request).await;
                return sent.map(|answer| answer.map(Body::from)).map_err(|error| {
                    let is_connect = error.is_connect();
                    classify(error.into(), is_connect)
                });
            };
            let may_lose = !was_lost && !is_new && request.method().is_idempotent();
            let copy = if attempt < MOST_ATTEMPTS { copy(&request) } else { None };
            let mut error = match sender.try_send_request(request).await {
                Ok(answer) => {
                    place.heard();
                    return Ok(answer.map(|body| placed(body, place)));
                }
                Err(error) => error,
            };
            // That the connection had ended before is found out so often at most as there are connections.
            let unsent = error.take_message().filter(|_| !is_new || attempt < MOST_ATTEMPTS);
            let counts = u32::from(is_new || unsent.is_none());
            let fate = if unsent.is_some() { Fate::Unseen } else { fate(error.error()) };
            was_lost |= fate == Fate::Lost;
            match fate {
                Fate::Unseen | Fate::Lost => self.leave(&place),
                Fate::Reset => place.heard(),
                Fate::Failed => {}
            }
            let again = unsent.or(copy.filter(|_| fate == Fate::Unseen || fate == Fate::Lost && may_lose));
            let error = error.into_error();
            let Some(next) = again else { return Err(classify(error.into(), false)) };
            tracing::debug!(%error, cause = error.source(), attempt, "a request is sent again over another connection");
            (request, attempt) = (next, attempt + counts);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place on a connection over HTTP/2; nothing if the upstream speaks HTTP/1.1.
    async fn find(self: &Arc<Self>) -> Result<Option<Found>, DialError> {
        loop {
            let mut freed = pin!(self.freed.notified());
            // What becomes free from here on is heard.
            freed.as_mut().enable();
            let mut dialled = match self.way() {
                Way::Http1 => return Ok(None),
                Way::Http2(found) => return Ok(Some(found)),
                Way::Full(dialled) => dialled,
            };
            tokio::select! {
                outcome = dialled.wait_for(Option::is_some) => match outcome.ok().and_then(|outcome| outcome.clone()) {
                    // Who came late has time left for another.
                    None | Some(Ok(()) | Err(DialError::Timeout)) => {}
                    Some(Err(error)) => return Err(error),
                },
                () = freed => {}
            }
        }
    }

    /// Where a request may go now. Whatever is missing is begun.
    fn way(self: &Arc<Self>) -> Way {
        let mut known = self.known();
        if known.http1.is_some_and(|since| since.elapsed() < CONTENT) {
            return Way::Http1;
        }
        known.all.retain(|shared| !shared.is_closed());
        // One that may be dead gets nothing more once there is another. What is under way over it stays.
        if !known.all.iter().all(Shared::is_silent) {
            known.all.retain(|shared| !shared.is_silent());
        }
        // The newest is the farthest from its end.
        let mut good = known.all.iter_mut().rev().filter(|shared| !shared.is_spent() && !shared.is_silent());
        if let Some(found) = good.find_map(Shared::place) {
            return Way::Http2(found);
        }
        let dialled = match &known.dialled {
            Some(dialled) if dialled.has_changed().is_ok() => dialled.clone(),
            _ => known.dialled.insert(self.clone().dial()).clone(),
        };
        // Until there is a successor, one that is spent, or silent, is as good as any.
        known.all.iter_mut().find_map(Shared::place).map_or(Way::Full(dialled), Way::Http2)
    }

    /// Makes a connection for all who wait for one.
    fn dial(self: Arc<Self>) -> Dialled {
        let (told, dialled) = watch::channel(None);
        tokio::spawn(async move {
            let made = async {
                let stream = self.dial.clone().dial().await?;
                if stream.speaks_http2() { Shared::new(stream, self.freed.clone()).await.map(Some) } else { Ok(None) }
            };
            let made = tokio::time::timeout(self.limit, made).await.unwrap_or(Err(DialError::Timeout));
            let mut known = self.known();
            let outcome = made.map(|made| match made {
                Some(shared) => {
                    tokio::spawn(forget_unused(Arc::downgrade(&self), Arc::downgrade(shared.open()), self.keep));
                    known.http1 = None;
                    if let Some(spent) = known.all.iter().position(Shared::is_spent) {
                        known.all.remove(spent);
                    }
                    known.all.push(shared);
                }
                None => (known.http1, known.all) = (Some(Instant::now()), Vec::new()),
            });
            if let Err(error) = &outcome {
                tracing::debug!(%error, "no connection to an upstream");
                known.all.iter_mut().for_each(Shared::renew);
            }
            drop(known);
            let _nobody_waits = told.send(Some(outcome));
        });
        dialled
    }

    /// Sends nothing more over a connection. It closes when the last answer that is under way over it is complete.
    fn leave(&self, place: &Place) {
        self.known().all.retain(|shared| !place.is_on(shared));
    }
}

/// A request that may be sent once more, if it has no body.
fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    if !matches!(request.body(), Body::Empty) {
        return None;
    }
    let mut copy = Request::new(Body::Empty);
    request.method().clone_into(copy.method_mut());
    request.uri().clone_into(copy.uri_mut());
    request.headers().clone_into(copy.headers_mut());
    Some(copy)
}

/// What became of a request that went out and got no answer.
fn fate(error: &hyper::Error) -> Fate {
    let mut cause = error.source();
    while let Some(present) = cause {
        if let Some(error) = present.downcast_ref::<h2::Error>() {
            // A good-bye is the error of those requests alone that it says were not looked at.
            let is_refused = error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM);
            if error.is_remote() && is_refused {
                return Fate::Unseen;
            }
            return match error.is_io() {
                true => Fate::Lost,
                false if error.is_remote() => Fate::Reset,
                false => Fate::Failed,
            };
        }
        if present.is::<std::io::Error>() {
            return Fate::Lost;
        }
        cause = present.source();
    }
    Fate::Failed
}

/// An answer's body that keeps its request's place to its end.
fn placed(body: Incoming, place: Place) -> Body {
    if body.is_end_stream() { Body::Empty } else { Body::Boxed(Box::pin(Placed { body, place })) }
}

struct Placed {
    body: Incoming,
    place: Place,
}

impl HttpBody for Placed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if !matches!(frame, Some(Err(_))) {
            self.place.heard();
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

/// Lets go of a connection that nobody has used for a while. It closes when the last answer that is under way over it is
/// complete.
async fn forget_unused(pool: Weak<Secure>, open: Weak<Open>, keep: Duration) {
    let mut end = Instant::now() + keep;
    loop {
        tokio::time::sleep_until(end).await;
        let (Some(pool), Some(open)) = (pool.upgrade(), open.upgrade()) else { return };
        let mut known = pool.known();
        let Some(place) = known.all.iter().position(|shared| Arc::ptr_eq(shared.open(), &open)) else { return };
        end = known.all.get(place).map_or(end, |shared| shared.last_use() + keep);
        if end <= Instant::now() {
            known.all.remove(place);
            return;
        }
    }
}
