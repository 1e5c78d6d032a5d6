//! Connections to one https upstream, over HTTP/2 if it speaks that.
//!
//! They are shared by the target alone (PX-284). The usual client shares them by the URI of a request, whose authority
//! over HTTP/2 is the host that the client asked for: any client could make as many connections as there are names for
//! an application.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use http::uri::Authority;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::Instant;

use super::dial::{Dial, DialError};
use super::{Client, SendError, classify, shared_by};
use crate::body::Body;

/// For how long an upstream that did not want HTTP/2 is not asked again.
const CONTENT: Duration = Duration::from_secs(600);

/// The pool of one https upstream.
pub(super) struct Secure {
    /// Offers both versions.
    dial: Dial,
    /// Offers HTTP/1.1 alone.
    http1: Client,
    authority: Authority,
    limit: Duration,
    keep: Duration,
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
    Http2(Shared),
}

/// A connection over HTTP/2.
#[derive(Clone)]
struct Shared {
    sender: SendRequest<Body>,
    used: Arc<Mutex<Instant>>,
}

impl Shared {
    fn note_use(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last_use(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Secure {
    /// A pool without connections, which closes those that were unused for `keep`.
    pub(super) fn new(dial: Dial, http1: Client, authority: Authority, limit: Duration, keep: Duration) -> Arc<Self> {
        Arc::new(Self { dial, http1, authority, limit, keep, spoken: tokio::sync::Mutex::default() })
    }

    /// Sends a request whose URI has the host that is asked for. Dropping the future cancels it.
    pub(super) async fn send(self: &Arc<Self>, mut request: Request<Body>) -> Result<Response<Incoming>, SendError> {
        loop {
            // Who waits for another's connection to no end has waited long enough, too.
            let found = tokio::time::timeout(self.limit, self.find()).await.unwrap_or(Err(DialError::Timeout));
            let Some((mut shared, is_new)) = found.map_err(|error| classify(error.into(), true))? else {
                shared_by(&self.authority, request.uri_mut())?;
                let sent = self.http1.request(request).await;
                return sent.map_err(|error| {
                    let is_connect = error.is_connect();
                    classify(error.into(), is_connect)
                });
            };
            match shared.sender.try_send_request(request).await {
                Ok(answer) => return Ok(answer),
                Err(mut error) => match error.take_message() {
                    // Nothing of it was sent: the connection was dead already.
                    Some(unsent) if !is_new => request = unsent,
                    _ => return Err(classify(error.into_error().into(), false)),
                },
            }
        }
    }

    /// A connection over HTTP/2, and whether it is new; nothing if the upstream speaks HTTP/1.1.
    async fn find(self: &Arc<Self>) -> Result<Option<(Shared, bool)>, DialError> {
        let mut spoken = self.spoken.lock().await;
        match &mut *spoken {
            Spoken::Http1 { since } if since.elapsed() < CONTENT => return Ok(None),
            Spoken::Http2(shared) => {
                shared.note_use();
                if shared.sender.ready().await.is_ok() {
                    return Ok(Some((shared.clone(), false)));
                }
            }
            Spoken::Http1 { .. } | Spoken::Unknown => {}
        }
        *spoken = Spoken::Unknown;
        let stream = self.dial.clone().dial().await?;
        if !stream.speaks_http2() {
            *spoken = Spoken::Http1 { since: Instant::now() };
            return Ok(None);
        }
        let (sender, driver) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| DialError::Connect(std::io::Error::other(error)))?;
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a connection to an upstream broke");
            }
        });
        let shared = Shared { sender, used: Arc::new(Mutex::new(Instant::now())) };
        tokio::spawn(forget_unused(Arc::downgrade(self), shared.used.clone(), self.keep));
        *spoken = Spoken::Http2(shared.clone());
        Ok(Some((shared, true)))
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
        match &*spoken {
            Spoken::Http2(shared) if Arc::ptr_eq(&shared.used, &used) => {
                if shared.last_use() + keep <= Instant::now() {
                    *spoken = Spoken::Unknown;
                    return;
                }
            }
            _ => return,
        }
    }
}
