//! Connections that are driven by the request that uses them.
//!
//! A pooled connection usually has a task of its own, and each request wakes it and is woken by it.
//! For the common request, one without a body over plain HTTP/1.1, the request's own task reads and writes
//! the connection instead: half the scheduling, and cancelling is dropping. A request with a body is not
//! sent this way: while its answer is held back by a slow client, nothing would send the rest of it.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::AsyncWriteExt;
use tokio::task::unconstrained;
use tokio_util::io::poll_read_buf;

use super::dial::{Dial, DialError, Stream};
use crate::body::{Body, BodyError};
use crate::http1::{
    Answered, Came, ChunkError, HeadError, Looked, Next, Received, give_back, read_answer, write_fields,
};
use crate::informational::Allowance;
use crate::lines::Lines;
use crate::splice::Pipe;
use crate::{stages, threads};

/// Idle connections that one upstream may have, shared out among the threads.
const MOST_IDLE: usize = 512;
/// What each thread may have of them in any case.
const FEW_IDLE: usize = 64;
/// Between two looks after idle connections, at most and at least.
const SWEEPS: [Duration; 2] = [Duration::from_secs(15), Duration::from_secs(1)];
/// Longest head of an answer, informational ones before it included.
const LONGEST_HEAD: usize = 256 * 1024;
/// Room to read into, at first and at most.
const LITTLE: usize = 8 * 1024;
const MUCH: usize = 64 * 1024;

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum DrivenError {
    #[error(transparent)]
    Dial(#[from] DialError),
    /// Nothing of the request went out.
    #[error("the request could not be sent")]
    Unsent(#[source] io::Error),
    /// Not a byte came back.
    #[error("the connection broke before an answer came")]
    Unanswered(#[source] io::Error),
    #[error("the connection broke in the head of the answer")]
    Cut(#[source] io::Error),
    #[error(transparent)]
    Head(#[from] HeadError),
    #[error("the answer's head is too long")]
    TooLong,
    #[error("it changed the protocol unasked")]
    Switched,
}

/// A connection, and what was read from it ahead.
struct Connection {
    stream: Stream,
    read: BytesMut,
    /// Room for the next read.
    room: usize,
    /// What requests are written to before they are sent.
    written: Vec<u8>,
}

impl Connection {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut before = self.read.capacity() - self.read.len();
        if before < self.room / 2 {
            self.read.reserve(self.room);
            before = self.read.capacity() - self.read.len();
        }
        let count = ready!(poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.read))?;
        if count == before {
            self.room = MUCH.min(2 * self.room);
        }
        Poll::Ready(Ok(count))
    }

    /// Whether it can take a request: it is open, and says nothing unasked.
    fn is_at_rest(&mut self) -> bool {
        // Whoever asks may have used up what the runtime lets a task do at a time: to it, nothing is ever there.
        let read = pin!(unconstrained(std::future::poll_fn(|cx| self.poll_read(cx))));
        read.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// Watched by the runtime of this thread from now on.
    fn moved_here(mut self: Box<Self>) -> io::Result<Box<Self>> {
        self.stream = self.stream.moved_here()?;
        Ok(self)
    }
}

struct Idle {
    connection: Box<Connection>,
    /// How often idle connections had been looked after when it became one: cheaper to tell than the time.
    since: u64,
}

/// The idle connections of one thread; not beside those of another, which would slow both.
#[derive(Default)]
#[repr(align(64))]
struct List(Mutex<Vec<Idle>>);

impl List {
    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds connections that are used when none of those that came back meanwhile is left.
    fn add_below(&self, mut idle: Vec<Idle>) {
        let mut present = self.lock();
        idle.append(&mut present);
        *present = idle;
    }

    /// The connection used last that can take a request.
    fn take(&self) -> Option<Box<Connection>> {
        loop {
            let Idle { mut connection, .. } = self.lock().pop()?;
            if connection.is_at_rest() {
                return Some(connection);
            }
        }
    }
}

/// The idle connections to one upstream.
pub(super) struct Pool {
    dial: Dial,
    keep: Duration,
    /// By the thread that used them last.
    idle: Box<[List]>,
    /// How many each of them may have.
    most: usize,
    /// How often idle connections were looked after.
    sweeps: AtomicU64,
}

impl Pool {
    /// A pool without connections, which closes those that were unused for `keep` (PX-284).
    pub(super) fn new(dial: Dial, keep: Duration) -> Arc<Self> {
        let pool = Arc::new(Self {
            dial,
            keep,
            idle: (0..threads::places()).map(|_| List::default()).collect(),
            most: (MOST_IDLE / threads::count()).max(FEW_IDLE),
            sweeps: AtomicU64::new(0),
        });
        let [longest, shortest] = SWEEPS;
        tokio::spawn(sweep(Arc::downgrade(&pool), keep.clamp(shortest, longest)));
        pool
    }

    /// Sends a request that has no body, and leaves nothing of it. Dropping the future, or the answer's body, closes the
    /// connection unless the answer was read as a whole.
    pub(super) async fn send(
        self: &Arc<Self>,
        request: &mut Request<Body>,
        told: &[u8],
        set: [Option<&Lines>; 2],
    ) -> Result<Response<Body>, DrivenError> {
        // Before a connection is taken: one that waits is of use to nobody.
        stages::next().await;
        if let Some(mut connection) = self.take() {
            match exchange(&mut connection, request, told, set).await {
                Ok(answered) => return Ok(self.answer(answered, request, connection)),
                // Dead already: the upstream closed it before the request came, or while it was on its way (PX-284).
                Err(DrivenError::Unsent(_)) => {}
                Err(DrivenError::Unanswered(_)) if request.method().is_idempotent() => {}
                Err(error) => return Err(error),
            }
        }
        let mut connection = self.connect().await?;
        let answered = exchange(&mut connection, request, told, set).await?;
        Ok(self.answer(answered, request, connection))
    }

    fn answer(
        self: &Arc<Self>,
        answered: Answered,
        request: &mut Request<Body>,
        connection: Box<Connection>,
    ) -> Response<Body> {
        let left = Received::of(&answered, request.method());
        give_back(std::mem::take(request.headers_mut()));
        let Answered { status, fields, came, keep_alive, .. } = answered;
        let pool = (keep_alive && !matches!(left, Received::UntilClose)).then(|| Arc::clone(self));
        let mut body = Driven { left, connection: Some(connection), pool, came };
        if body.is_end_stream() {
            body.finish();
        }
        let mut answer = Response::new(Body::Driven(body));
        (*answer.status_mut(), *answer.headers_mut()) = (status, fields);
        answer
    }

    async fn connect(&self) -> Result<Box<Connection>, DialError> {
        let stream = self.dial.clone().dial().await?;
        Ok(Box::new(Connection { stream, read: BytesMut::new(), room: LITTLE, written: Vec::new() }))
    }

    /// A connection that can take a request: one of this thread, or else of another, since an application may be able
    /// to serve no more of them.
    fn take(&self) -> Option<Box<Connection>> {
        let (others, from_here) = self.idle.split_at_checked(threads::here())?;
        let (own, more) = from_here.split_first()?;
        let mut of_others = more.iter().chain(others).flat_map(|list| std::iter::from_fn(|| list.take()));
        own.take().or_else(|| of_others.find_map(|it| it.moved_here().ok()))
    }

    fn put(&self, connection: Box<Connection>) {
        let Some(list) = self.idle.get(threads::here()) else { return };
        let mut idle = list.lock();
        if idle.len() < self.most {
            idle.push(Idle { connection, since: self.sweeps.load(Ordering::Relaxed) });
        }
    }
}

/// Closes connections that nobody has used, or that the upstream has closed, until the pool is gone.
async fn sweep(pool: Weak<Pool>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(pool) = pool.upgrade() else { return };
        let before = pool.sweeps.fetch_add(1, Ordering::Relaxed);
        // It was put away at some time between two sweeps: from the later one on, it was unused for sure.
        let unused = |idle: &Idle| every * u32::try_from(before.saturating_sub(idle.since)).unwrap_or(u32::MAX);
        for list in &pool.idle {
            let mut idle = std::mem::take(&mut *list.lock());
            idle.retain_mut(|idle| unused(idle) < pool.keep && idle.connection.is_at_rest());
            list.add_below(idle);
            // Closing takes its time, and others wait for this thread.
            tokio::task::yield_now().await;
        }
    }
}

/// Sends a request, and reads the head of its answer.
async fn exchange(
    connection: &mut Connection,
    request: &mut Request<Body>,
    told: &[u8],
    set: [Option<&Lines>; 2],
) -> Result<Answered, DrivenError> {
    let Connection { stream, written, .. } = connection;
    written.clear();
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    for part in [request.method().as_str(), " ", path, " HTTP/1.1\r\n"] {
        written.extend_from_slice(part.as_bytes());
    }
    write_fields(written, request.headers());
    written.extend_from_slice(told);
    for lines in set.into_iter().flatten() {
        written.extend_from_slice(lines.wire());
    }
    written.extend_from_slice(b"\r\n");
    let sent = stream.write(written).await.map_err(DrivenError::Unsent)?;
    stream.write_all(written.get(sent..).unwrap_or_default()).await.map_err(DrivenError::Unanswered)?;
    if written.capacity() > LITTLE {
        *written = Vec::new();
    }
    let (mut length, mut looked, mut ahead) = (0, Looked::default(), Allowance::default());
    loop {
        let count = match std::future::poll_fn(|cx| connection.poll_read(cx)).await {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            read => read,
        };
        length += count.map_err(if length == 0 { DrivenError::Unanswered } else { DrivenError::Cut })?;
        if length > LONGEST_HEAD {
            return Err(DrivenError::TooLong);
        }
        while let Some(answered) = read_answer(&mut connection.read, &mut looked)? {
            match answered.status {
                StatusCode::SWITCHING_PROTOCOLS => return Err(DrivenError::Switched),
                status if status.is_informational() => ahead.pass_on(status, answered.fields),
                _ => return Ok(answered),
            }
        }
    }
}

/// An answer's body, which is read from the connection that it comes over.
pub struct Driven {
    left: Received,
    connection: Option<Box<Connection>>,
    /// Where the connection goes when it can be used again.
    pool: Option<Arc<Pool>>,
    /// The answer's fields, if they are handed on as they came.
    pub(crate) came: Option<Came>,
}

impl Driven {
    /// Gives the connection back at the end of the body.
    fn finish(&mut self) {
        let (Some(mut connection), Some(pool)) = (self.connection.take(), self.pool.take()) else { return };
        // Whatever says more than it was asked is not to be trusted with another request.
        if !connection.read.is_empty() {
            return;
        }
        if connection.room > LITTLE {
            (connection.read, connection.room) = (BytesMut::new(), LITTLE);
        }
        pool.put(connection);
    }

    /// Whether the rest, of known length, can go into a pipe: all that was read is handed on.
    pub(crate) fn splices(&self) -> bool {
        let plain = |connection: &Connection| connection.read.is_empty() && matches!(connection.stream, Stream::Tcp(_));
        matches!(self.left, Received::Length(_)) && self.connection.as_deref().is_some_and(plain)
    }

    /// Takes some of the rest into a pipe, which is empty: how much, and nothing once that was all. To be asked only where the
    /// body [splices](Self::splices).
    ///
    /// # Errors
    /// When the upstream's connection breaks or ends too early.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        let (Received::Length(left), Some(connection)) = (self.left, &self.connection) else {
            return Poll::Ready(Ok(0));
        };
        let Stream::Tcp(stream) = &connection.stream else {
            return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
        };
        let count = ready!(pipe.poll_fill(cx, stream, usize::try_from(left).unwrap_or(MUCH).min(MUCH)))?;
        if count == 0 {
            return Poll::Ready(Err(io::Error::other(CutOff::Early)));
        }
        self.left.skip(count);
        if matches!(self.left, Received::Over) {
            self.finish();
        }
        Poll::Ready(Ok(count))
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, CutOff>> {
        loop {
            let Some(connection) = &mut self.connection else { return Poll::Ready(Ok(None)) };
            match self.left.next(&mut connection.read)? {
                Next::Data(data) => return Poll::Ready(Ok(Some(Frame::data(data)))),
                Next::End(trailers) => return Poll::Ready(Ok(trailers.map(Frame::trailers))),
                Next::Read => {}
            }
            if let Received::Length(left) = self.left {
                connection.room = usize::try_from(left).unwrap_or(MUCH).clamp(LITTLE, MUCH);
            }
            if ready!(connection.poll_read(cx))? == 0 {
                if !matches!(self.left, Received::UntilClose) {
                    return Poll::Ready(Err(CutOff::Early));
                }
                self.left = Received::Over;
            }
        }
    }
}

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
enum CutOff {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    #[error("the upstream closed the connection in the middle of the body")]
    Early,
}

impl HttpBody for Driven {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(self.poll_next(cx));
        match frame {
            Ok(frame) => {
                if matches!(self.left, Received::Over) {
                    self.finish();
                }
                Poll::Ready(frame.map(Ok))
            }
            Err(error) => {
                self.connection = None;
                Poll::Ready(Some(Err(BodyError::Source(error.into()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.connection.is_none() || matches!(self.left, Received::Over)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.size()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::runtime::Builder;

    use super::*;

    /// Counts how often it is woken, and passes that on.
    struct Bell(AtomicU32, Waker);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
            self.1.wake_by_ref();
        }
    }

    /// PX-284: an exchange over a pooled connection wakes the request when it is its turn to write and when there is something
    /// to read, and at no other time; the next exchange wakes it no more.
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
                let answer = pool.send(&mut request, &[], [None; 2]).await.unwrap();
                answer.into_body().collect().await.unwrap().to_bytes()
            });
            let body = std::future::poll_fn(|_| exchange.as_mut().poll(&mut Context::from_waker(&waker))).await;
            assert_eq!(body, "ok");
        }
        let wakes: Vec<u32> = bells.iter().map(|bell| bell.0.load(Ordering::Relaxed)).collect();
        assert!(wakes[1..].iter().all(|&wakes| wakes <= 2), "{wakes:?}");
    }

    /// PX-284: an idle connection is kept for as long as it was said, and closed soon after.
    #[tokio::test]
    async fn px_284_an_idle_connection_is_closed_when_its_time_is_over() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string().parse().unwrap();
        for (keep, closed_by) in [(5, 10), (40, 75)] {
            let pool = Pool::new(Dial::new(&authority, None, Duration::from_secs(5)), Duration::from_secs(keep));
            let (connection, accepted) = tokio::join!(pool.connect(), listener.accept());
            let _peer = accepted.unwrap();
            tokio::time::pause();
            pool.put(connection.unwrap());
            tokio::time::sleep(Duration::from_millis(1000 * keep - 1)).await;
            assert_eq!(pool.idle[0].lock().len(), 1, "{keep}");
            tokio::time::sleep(Duration::from_secs(closed_by - keep + 1)).await;
            assert_eq!(pool.idle[0].lock().len(), 0, "{keep}");
            tokio::time::resume();
        }
    }

    /// PX-284: a request that waits for its turn leaves the idle connections to others.
    #[tokio::test]
    async fn px_284_a_request_that_waits_for_its_turn_holds_no_connection() {
        let (pool, [_peer]) = pool_at(0).await;
        let mut request = Request::builder().uri("/").header("host", "a").body(Body::Empty).unwrap();
        let mut sent = pin!(pool.send(&mut request, &[], [None; 2]));
        let mut idle = Vec::new();
        for _turn in 0..2 {
            assert!(futures_util::poll!(sent.as_mut()).is_pending());
            idle.push(pool.idle[0].lock().len());
        }
        assert_eq!(idle, [1, 0]);
    }

    /// PX-284: a connection that another thread used is used, and from then on watched by the runtime of the thread that
    /// has it now: the one before may be busy.
    #[test]
    fn px_284_an_idle_connection_goes_to_whichever_thread_needs_it() {
        let [there, here] = [(); 2].map(|()| Builder::new_current_thread().enable_all().build().unwrap());
        let (pool, [mut peer]) = there.block_on(pool_at(1));
        threads::tests::stand_at(0);
        let upstream = std::thread::spawn(move || {
            let mut head = [0; 1024];
            assert!(peer.read(&mut head).unwrap() > 0);
            peer.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
            peer
        });
        here.block_on(async {
            let mut request = Request::builder().uri("/").header("host", "a").body(Body::Empty).unwrap();
            let sent = pool.send(&mut request, &[], [None; 2]);
            let answer = tokio::time::timeout(Duration::from_secs(60), sent).await.expect("it is watched").unwrap();
            assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        });
        assert_eq!([0, 1].map(|place| pool.idle[place].lock().len()), [1, 0]);
        drop(upstream.join().unwrap());
    }

    /// PX-284: of another thread's connection counts how it is now, not what its runtime last heard of it.
    #[test]
    fn px_284_a_connection_that_was_spoilt_while_its_thread_was_busy_is_not_taken() {
        type Spoil = fn(&mut std::net::TcpStream);
        let spoilt: [Spoil; 2] = [
            |peer| peer.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap(),
            |peer| peer.shutdown(std::net::Shutdown::Write).unwrap(),
        ];
        for spoil in spoilt {
            let there = Builder::new_current_thread().enable_all().build().unwrap();
            let (pool, [_good, mut peer]) = there.block_on(pool_at(1));
            spoil(&mut peer);
            threads::tests::stand_at(0);
            let here = Builder::new_current_thread().enable_all().build().unwrap();
            // The one below it is.
            assert_eq!(here.block_on(async { [(); 2].map(|()| pool.take().is_some()) }), [true, false]);
        }
    }

    /// A pool with connections that a thread used, and the other ends of them.
    async fn pool_at<const COUNT: usize>(place: usize) -> (Arc<Pool>, [std::net::TcpStream; COUNT]) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string().parse().unwrap();
        let pool = Pool::new(Dial::new(&authority, None, Duration::from_secs(5)), Duration::from_secs(60));
        threads::tests::stand_at(place);
        let mut peers = Vec::new();
        for _ in 0..COUNT {
            let (connection, accepted) = tokio::join!(pool.connect(), listener.accept());
            pool.put(connection.unwrap());
            let peer = accepted.unwrap().0.into_std().unwrap();
            peer.set_nonblocking(false).unwrap();
            peers.push(peer);
        }
        (pool, peers.try_into().unwrap())
    }

    /// PX-284: a connection over which something came unasked is not used, also by a task that has used up its turn.
    #[tokio::test]
    async fn px_284_a_task_at_the_end_of_its_turn_takes_no_spoilt_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string().parse().unwrap();
        let pool = Pool::new(Dial::new(&authority, None, Duration::from_secs(5)), Duration::from_secs(60));
        let (connection, accepted) = tokio::join!(pool.connect(), listener.accept());
        let connection = connection.unwrap();
        accepted.unwrap().0.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        match &connection.stream {
            Stream::Tcp(stream) => stream.readable().await.unwrap(),
            Stream::Tls(_) => unreachable!(),
        }
        pool.put(connection);
        let turn = tokio::sync::Semaphore::new(1);
        let taken = std::future::poll_fn(|cx| {
            while pin!(turn.acquire()).poll(cx).is_ready() {}
            Poll::Ready(pool.take().is_some())
        });
        assert!(!taken.await);
    }
}
