//! One connection: its protocol, and the way of each of its requests.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{ALLOW, CONNECTION, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use portcullis_core::origin::Origin;
use portcullis_core::path::Reserved;
use tokio::io::{AsyncRead, AsyncWrite};

use super::http2::Handed;
use super::lane::{self, Left};
use super::plain_page::page;
use super::proxy_protocol::Replay;
use super::seldom::Seldom;
use super::{Handled, Life, Plane, Server, Slot};
use crate::access_log::Pending;
use crate::answer::not_determinable;
use crate::body::{Body, BodyError};
use crate::forward::clean_aside;
use crate::guard::{Guard, Progress};
use crate::lines;
use crate::origin;
use crate::request_ids::RequestIds;
use crate::splice::{Pipe, Sink};
use crate::upstream::Driven;

/// A connection and what its requests share.
pub(super) struct Connection<P> {
    pub(super) server: Arc<Server<P>>,
    pub(super) peer: IpAddr,
    pub(super) slot: Slot,
    pub(super) life: Life,
    pub(super) ids: RequestIds,
}

impl<P: Plane> Connection<P> {
    pub(super) async fn http1<S>(self, stream: S, tls: bool)
    where
        S: AsyncRead + AsyncWrite + Sink + Unpin + Send + 'static,
    {
        let progress = Arc::new(Progress::default());
        let settings = self.server.settings;
        let life = self.life.clone();
        let mut over = Seldom::new({
            let (life, progress) = (life.clone(), progress.clone());
            async move { life.over(&progress).await }
        });
        let mut abort = Seldom::new(life.abort.cancelled());
        let mut stream = Guard::new(stream, settings.limits, progress.clone());
        let way = Arc::new(Way { connection: self, tls, progress, protocol: Protocol::Http1 });
        let left = tokio::select! {
            biased;
            left = lane::serve(&mut stream, &way, &mut over) => left,
            () = &mut abort => return,
        };
        let Some(Left { read, last }) = left else { return };
        let stream = TokioIo::new(Replay::behind(read, stream));
        let service = service_fn(move |request: Request<Incoming>| {
            let way = way.clone();
            async move { Ok::<_, Infallible>(way.serve(request).await) }
        });
        let connection = http1::Builder::new()
            .keep_alive(!last)
            .title_case_headers(true)
            // The guard keeps the time.
            .header_read_timeout(None)
            .max_header_size(settings.head_bytes)
            .max_buf_size(settings.head_bytes.max(16 * 1024) * 2)
            .serve_connection(stream, service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let outcome = tokio::select! {
            biased;
            outcome = connection.as_mut() => outcome,
            () = &mut over, if !last => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    outcome = connection => outcome,
                    () = &mut abort => return,
                }
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "a connection broke");
        }
    }
}

/// What the requests of one connection go through.
pub(super) struct Way<P> {
    pub(super) connection: Connection<P>,
    pub(super) tls: bool,
    pub(super) progress: Arc<Progress>,
    pub(super) protocol: Protocol,
}

/// Whose business it is to note that a request has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// The guard's, which reads the heads.
    Http1,
    /// Ours.
    Http2,
}

/// A request that has begun. It is over when this is dropped.
struct Open(Arc<Progress>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.done();
    }
}

impl<P: Plane> Way<P> {
    /// Answers a request that hyper has read.
    pub(super) async fn serve(&self, request: Request<Incoming>) -> Response<Answer> {
        let patience = self.connection.server.settings.body;
        let mut answer = self.answer(&mut request.map(|body| Body::patient(body, patience))).await;
        lines::settle(&mut answer);
        answer
    }

    /// Answers a request, of which nothing is left; to the answer belong the lines that travel with its body.
    pub(super) async fn answer(&self, request: &mut Request<Body>) -> Response<Answer> {
        if self.protocol == Protocol::Http2 {
            self.progress.begin(false);
        }
        let open = Open(self.progress.clone());
        let server = &*self.connection.server;
        let asks_upgrade = request.headers().contains_key(UPGRADE);
        let mut pending = server.log.as_ref().map(|log| log.begin(request, self.connection.peer));
        if asks_upgrade {
            request.extensions_mut().insert(self.connection.slot.clone());
        }
        let mut found = None;
        let dispatched = self.dispatch(request, &mut pending, &mut found);
        let answer = match AssertUnwindSafe(dispatched).catch_unwind().await {
            Ok(answer) => answer,
            Err(_) => {
                let request_id = found.as_ref().map_or("", |origin: &Arc<Origin>| &origin.request_id);
                tracing::error!(request_id, "a request made us panic");
                page(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "Something went wrong here. Try again; if it goes on, tell the administrator the request id.",
                    request_id,
                )
            }
        };
        let switched = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        if asks_upgrade {
            self.progress.decide_upgrade(switched);
        }
        if let Some(pending) = &mut pending {
            pending.answered(answer.status());
        }
        answer.map(|body| Answer {
            body,
            failure: None,
            handed: Handed::of_stream(),
            rest: Bytes::new(),
            _open: open,
            pending,
        })
    }

    async fn dispatch(
        &self,
        request: &mut Request<Body>,
        pending: &mut Option<Pending>,
        found: &mut Option<Arc<Origin>>,
    ) -> Response<Body> {
        let server = &*self.connection.server;
        if matches!(*request.method(), Method::TRACE | Method::CONNECT) {
            let unknown = self.unknown(request, pending);
            let sentence = "This method is not served here.";
            let mut answer = page(StatusCode::METHOD_NOT_ALLOWED, sentence, &unknown.request_id);
            let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
            answer.headers_mut().insert(ALLOW, allowed);
            return answer;
        }
        let origin = origin::origin(request, self.connection.peer, self.tls, &server.trust, &self.connection.ids);
        let origin = match origin {
            Ok(origin) => &*found.insert(Arc::new(origin)),
            // To a proxy that asks, it is its own configuration that is wrong (PX-245).
            Err(_) if matches!(Reserved::of(request.uri().path(), ""), Some(Reserved::ForwardAuth(_))) => {
                self.unknown(request, pending);
                return not_determinable();
            }
            Err(contradiction) => {
                let unknown = self.unknown(request, pending);
                let sentence = format!("This request does not say clearly what it is for: {}.", contradiction.0);
                let mut answer = page(StatusCode::BAD_REQUEST, &sentence, &unknown.request_id);
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                return answer;
            }
        };
        if let Some(pending) = pending {
            pending.from(origin);
        }
        if let Handled::Answered(answer, seen) = server.plane.handle(request, origin).await {
            if let Some(pending) = pending {
                pending.served(seen);
            }
            return answer;
        }
        match &server.core {
            Some(core) => {
                request.extensions_mut().insert(Arc::clone(origin));
                let answer = core(std::mem::take(request)).await;
                if let Some(pending) = pending {
                    pending.proven(answer.extensions().get().copied());
                }
                answer
            }
            None => page(
                StatusCode::NOT_FOUND,
                "No application answers under this name. Check the address; if it is right, tell the administrator.",
                &origin.request_id,
            ),
        }
    }

    /// What is known of a request that is refused at once, also to the log.
    fn unknown(&self, request: &Request<Body>, pending: &mut Option<Pending>) -> Arc<Origin> {
        let Connection { server, peer, ids, .. } = &self.connection;
        let unknown = Arc::new(origin::unknown(request.headers(), *peer, self.tls, &server.trust, ids));
        if let Some(pending) = pending {
            pending.from(&unknown);
        }
        unknown
    }
}

/// An answer's body on its way to the client. Its end, however it comes, is the request's end.
pub(super) struct Answer {
    pub(super) body: Body,
    /// Why the body is cut off, until what came before is sent.
    failure: Option<BodyError>,
    handed: Option<Arc<Handed>>,
    /// What came from the body and was not handed over yet: only over HTTP/2.
    rest: Bytes,
    _open: Open,
    pending: Option<Pending>,
}

/// The most that is handed over at a time over HTTP/2, where it is not seen how much of it the client has taken: with more, a
/// slow client would look like one that takes nothing (PX-283).
const PART: usize = 16 * 1024;

impl Answer {
    /// Whether the rest of the body can go through a pipe.
    pub(super) fn splices(&self) -> bool {
        self.body.driven().is_some_and(Driven::splices)
    }

    /// Takes some of the rest into a pipe: how much, and nothing at its end.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        let Some(body) = self.body.driven_mut() else { return Poll::Ready(Ok(0)) };
        let count = ready!(body.poll_fill(cx, pipe))?;
        if let Some(pending) = &mut self.pending {
            pending.sent(count);
        }
        Poll::Ready(Ok(count))
    }
}

impl AsMut<Body> for Answer {
    fn as_mut(&mut self) -> &mut Body {
        &mut self.body
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(failure) = self.failure.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        let mut polled = match self.rest.is_empty() {
            true => Pin::new(&mut self.body).poll_frame(cx),
            false => Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.rest))))),
        };
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(trailers) = frame.trailers_mut()
        {
            clean_aside(trailers);
        }
        if let Some(handed) = &self.handed {
            handed.note(polled.is_ready());
            if let Poll::Ready(Some(Ok(frame))) = &mut polled
                && let Some(data) = frame.data_mut().filter(|data| data.len() > PART)
            {
                self.rest = data.split_off(PART);
            }
        }
        if let Poll::Ready(Some(Err(failure))) = polled {
            // The connection breaks at once when it hears of this, with the head still unsent perhaps.
            // One turn later the client has seen what there is (PX-288).
            self.failure = Some(failure);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let (Poll::Ready(Some(Ok(frame))), Some(pending)) = (&polled, &mut self.pending)
            && let Some(data) = frame.data_ref()
        {
            pending.sent(data.len());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.failure.is_none() && self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
