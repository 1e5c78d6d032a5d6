//! Accepts connections and hands each request to the plane it is for.

mod connection;
mod http2;
mod lane;
mod plain_page;
mod proxy_protocol;
mod seldom;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use portcullis_core::entropy::Entropy;
use portcullis_core::origin::Origin;
use rustls::ServerConfig;
use tokio::io::AsyncRead;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::connection::Connection;
use self::proxy_protocol::Replay;
use crate::access_log::{AccessLog, Seen};
use crate::body::Body;
use crate::guard::{Limits, Progress};
use crate::origin::Trust;
use crate::request_ids::RequestIds;
use crate::tcp;
use crate::threads::Threads;

/// What the data plane did with a request.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "taken apart where it is returned; a box would be one more piece of memory per request"
)]
pub enum Handled {
    /// It has answered, and tells the access log who was served.
    Answered(Response<Body>, Option<Seen>),
    /// No provider's host: the request, which is as it was, is the control plane's (PX-058).
    NotOurs,
}

/// What the listener asks first about every request.
pub trait Plane: Send + Sync + 'static {
    /// Answers the request, of which it may leave nothing, or does not touch it.
    fn handle(&self, request: &mut Request<Body>, origin: &Origin) -> impl Future<Output = Handled> + Send;
}

/// A data plane for which no host is configured.
impl Plane for () {
    async fn handle(&self, _: &mut Request<Body>, _: &Origin) -> Handled {
        Handled::NotOurs
    }
}

/// A data plane that somebody else looks after as well.
impl<P: Plane> Plane for Arc<P> {
    fn handle(&self, request: &mut Request<Body>, origin: &Origin) -> impl Future<Output = Handled> + Send {
        P::handle(self, request, origin)
    }
}

/// An answer that is on its way.
pub type CoreAnswer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// The control plane's HTTP face. Its requests carry an `Arc<Origin>` in their extensions.
pub type Core = Box<dyn Fn(Request<Body>) -> CoreAnswer + Send + Sync>;

/// Limits of the listener.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Time limits of a connection (PX-283).
    pub limits: Limits,
    /// Without a byte of a request's body coming in (PX-283).
    pub body: Duration,
    /// To send a TLS handshake.
    pub handshake: Duration,
    /// For requests in flight when we stop (PX-007).
    pub drain: Duration,
    /// Connections at a time, tunnels included; further ones wait until others end or make room because they are idle.
    pub connections: usize,
    /// Most bytes of a request head; more is answered with 431.
    pub head_bytes: usize,
    /// Whether `103 Early Hints` of upstreams reach clients (PX-281). A proxy in front that takes one for the answer would
    /// give the answer to whoever asks next over the same connection (RFC 8297 §3).
    pub early_hints: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            body: Duration::from_secs(30),
            handshake: Duration::from_secs(5),
            drain: Duration::from_secs(30),
            connections: 10_000,
            head_bytes: 48 * 1024,
            early_hints: false,
        }
    }
}

/// One bound socket.
pub struct Socket {
    /// Where connections come in.
    pub listener: std::net::TcpListener,
    /// Set on HTTPS sockets; see [`crate::tls`].
    pub tls: Option<Arc<ServerConfig>>,
}

/// A connection's place among those allowed at a time; a tunnel keeps it.
#[derive(Clone, Debug)]
pub struct Slot(#[expect(dead_code, reason = "counts by being held")] Arc<OwnedSemaphorePermit>);

/// Everything that a connection needs.
pub struct Server<P> {
    /// The data plane.
    pub plane: P,
    /// The control plane, in the process that has one.
    pub core: Option<Core>,
    /// Whose forwarded headers are believed, and whose PROXY protocol.
    pub trust: Trust,
    /// Makes request ids.
    pub entropy: Arc<dyn Entropy>,
    /// One line per request, unless it is off.
    pub log: Option<AccessLog>,
    /// Limits.
    pub settings: Settings,
    /// Cancelled when the time to drain is over; the forwarder's tunnels share it.
    pub cut: CancellationToken,
}

impl<P: Plane> Server<P> {
    /// Serves until `stop`, then finishes requests in flight for at most [`Settings::drain`] (PX-007). Connections are
    /// carried by `threads`.
    ///
    /// # Errors
    /// When a socket cannot be used by the runtime.
    pub async fn serve(self, sockets: Vec<Socket>, threads: Threads, stop: CancellationToken) -> io::Result<()> {
        let server = Arc::new(self);
        let slots = Arc::new(Semaphore::new(server.settings.connections));
        let (accepting, connections) = (TaskTracker::new(), TaskTracker::new());
        let crowd = Arc::<Notify>::default();
        for Socket { listener, tls } in sockets {
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            let tls = tls.map(TlsAcceptor::from);
            let life = Life { stop: stop.clone(), abort: server.cut.clone(), crowd: crowd.clone() };
            let carried = (threads.clone(), connections.clone());
            accepting.spawn(accept(server.clone(), listener, tls, slots.clone(), carried, life));
        }
        // Also without sockets: what shares `cut` is not to end before its time.
        stop.cancelled().await;
        accepting.close();
        accepting.wait().await;
        connections.close();
        // All places are free when no connection and no tunnel is left.
        let all = u32::try_from(server.settings.connections).unwrap_or(u32::MAX);
        if tokio::time::timeout(server.settings.drain, slots.acquire_many(all)).await.is_err() {
            tracing::warn!("connections are cut: the time to drain is over");
        }
        server.cut.cancel();
        connections.wait().await;
        Ok(())
    }
}

#[cfg(any(test, feature = "fuzz"))]
impl<P: Plane> Server<P> {
    /// Serves one stream.
    pub(crate) async fn serve_stream(
        self,
        stream: impl AsyncRead + tokio::io::AsyncWrite + crate::splice::Sink + Unpin + Send + 'static,
        peer: std::net::IpAddr,
        version: http::Version,
    ) {
        let Ok(place) = Arc::new(Semaphore::new(1)).acquire_owned().await else { return };
        let slot = Slot(Arc::new(place));
        let life = Life { stop: CancellationToken::new(), abort: self.cut.clone(), crowd: Arc::default() };
        let ids = RequestIds::new(&*self.entropy);
        let mut connection = Connection { server: Arc::new(self), peer, slot, life, ids };
        let Some(stream) = introduced(&mut connection, stream).await else { return };
        match version {
            http::Version::HTTP_2 => connection.http2(stream).await,
            _ => connection.http1(stream, false).await,
        }
    }
}

/// When a connection is to finish, and when to break off.
#[derive(Clone)]
struct Life {
    stop: CancellationToken,
    abort: CancellationToken,
    /// Tells one connection after the other, longest first, that somebody waits for its place.
    crowd: Arc<Notify>,
}

impl Life {
    /// A place among the connections. When there is none, idle connections make room: else a few thousand that do
    /// nothing would keep everybody out.
    async fn slot(&self, slots: &Arc<Semaphore>) -> Option<Slot> {
        const PATIENCE: Duration = Duration::from_millis(10);
        let place = match slots.clone().try_acquire_owned() {
            Ok(place) => place,
            Err(_) => loop {
                self.crowd.notify_one();
                // Who was told may be busy.
                if let Ok(place) = tokio::time::timeout(PATIENCE, slots.clone().acquire_owned()).await {
                    break place.ok()?;
                }
            },
        };
        Some(Slot(Arc::new(place)))
    }

    /// Returns when the connection is to finish: all are, or it is idle and its place is wanted.
    async fn over(&self, progress: &Progress) {
        let unwanted = async {
            loop {
                self.crowd.notified().await;
                if progress.is_idle() {
                    return;
                }
            }
        };
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = unwanted => {}
        }
    }
}

async fn accept<P: Plane>(
    server: Arc<Server<P>>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    slots: Arc<Semaphore>,
    (threads, connections): (Threads, TaskTracker),
    life: Life,
) {
    loop {
        let next = async {
            // The place first: connections beyond the limit wait in the kernel.
            let slot = life.slot(&slots).await?;
            Some((listener.accept().await, slot))
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            () = life.stop.cancelled() => return,
        };
        match accepted {
            None => return,
            Some((Ok((stream, peer)), slot)) => {
                let (server, tls, life) = (server.clone(), tls.clone(), life.clone());
                let carried = threads.carry(stream, &connections, move |stream| async move {
                    let ids = RequestIds::new(&*server.entropy);
                    let connection = Connection { server, peer: peer.ip(), slot, life, ids };
                    start(connection, stream, tls).await;
                });
                if let Err(error) = carried {
                    tracing::warn!(%error, "cannot hand over a connection");
                }
            }
            Some((Err(error), _)) => {
                // Mostly too many open files: trying again at once would only burn the processor.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn start<P: Plane>(mut connection: Connection<P>, stream: TcpStream, tls: Option<TlsAcceptor>) {
    if let Err(error) = tcp::set_up(&stream) {
        tracing::debug!(%error, "a connection was gone before it began");
        return;
    }
    let Some(stream) = introduced(&mut connection, stream).await else { return };
    let Some(tls) = tls else { return connection.http1(stream, false).await };
    let stream = match tokio::time::timeout(connection.server.settings.handshake, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => return tracing::debug!("a TLS handshake took too long"),
    };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        connection.http2(stream).await;
    } else {
        connection.http1(stream, true).await;
    }
}

/// Makes whoever a trusted peer says it speaks for the connection's peer, and gives what the stream holds apart from
/// that (PX-041). Peers that are not trusted are not listened to here.
async fn introduced<P, S>(connection: &mut Connection<P>, stream: S) -> Option<Replay<S>>
where
    S: AsyncRead + Unpin,
{
    let server = &connection.server;
    if !server.trust.contains(connection.peer) {
        return Some(Replay::nothing(stream));
    }
    let header = tokio::time::timeout(server.settings.limits.head, proxy_protocol::take(stream));
    let taken = tokio::select! {
        biased;
        taken = header => taken,
        () = connection.life.stop.cancelled() => return None,
    };
    match taken {
        Ok(Ok((stream, source))) => {
            connection.peer = source.unwrap_or(connection.peer);
            Some(stream)
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "a connection broke before its first byte");
            None
        }
        Err(_) => {
            tracing::debug!("a connection that was opened said nothing");
            None
        }
    }
}
