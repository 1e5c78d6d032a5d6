//! Watches the bytes of an HTTP/1.1 connection below the parser (PX-223, PX-283).
//!
//! The parser is lenient where a proxy must not be: it forgets `Content-Length` beside
//! `Transfer-Encoding`, takes a bare LF for a line's end, and hands what is pipelined behind an
//! upgrade to the tunnel. [`Guard`] frames the same bytes by the strict rules and refuses what is
//! doubtful: in a head it replaces the offending byte by NUL, which the parser answers with 400 and
//! close; inside a body the connection breaks. Whatever passes is framed the same way by both.
//!
//! It also keeps the time limits of a connection, since it alone knows what the connection waits for.

mod frame;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use self::frame::{Frame, Verdict};
use crate::splice::{Pipe, Sink};

/// Time limits of a connection (PX-283).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// To send a whole request head, from its first byte; on a new connection from its start.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// Without a byte of an answer going out.
    pub write: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head: Duration::from_secs(5), idle: Duration::from_secs(120), write: Duration::from_secs(60) }
    }
}

/// What the service above tells the guard below about the request at hand.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Requests whose heads were read and whose answers are not sent yet.
    open: AtomicU32,
    /// When the last of them was handed over as a whole, in milliseconds since `began`.
    idle_since: AtomicU64,
    began: Instant,
    /// What became of a request with `Upgrade`.
    upgrade: AtomicU8,
}

const UNDECIDED: u8 = 0;
const DECLINED: u8 = 1;
const SWITCHED: u8 = 2;

impl Default for Progress {
    fn default() -> Self {
        let (open, upgrade, idle_since) = Default::default();
        Self { open, upgrade, idle_since, began: Instant::now() }
    }
}

impl Progress {
    /// A head was read as a whole.
    pub(crate) fn begin(&self, upgrade: bool) {
        self.open.fetch_add(1, Ordering::AcqRel);
        if upgrade {
            self.upgrade.store(UNDECIDED, Ordering::Release);
        }
    }

    /// An answer is on its way as a whole. To be said once for every request.
    pub(crate) fn done(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.idle_since.store(now, Ordering::Release);
        self.open.fetch_sub(1, Ordering::AcqRel);
    }

    /// Returns when no request was open for `limit`.
    pub(crate) async fn idle(&self, limit: Duration) {
        loop {
            let end = self.idle_since().unwrap_or_else(Instant::now) + limit;
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }

    /// Whether no request was open for a second: somebody who is about to send one is not meant.
    pub(crate) fn is_idle(&self) -> bool {
        self.idle_since().is_some_and(|since| since.elapsed() >= Duration::from_secs(1))
    }

    /// Since when no request is open, if none is.
    fn idle_since(&self) -> Option<Instant> {
        let idle = self.open.load(Ordering::Acquire) == 0;
        idle.then(|| self.began + Duration::from_millis(self.idle_since.load(Ordering::Acquire)))
    }

    /// Tells whether the connection is a tunnel from here on. To be said of every request that has
    /// an `Upgrade` field, before its answer goes out.
    pub(crate) fn decide_upgrade(&self, switched: bool) {
        self.upgrade.store(if switched { SWITCHED } else { DECLINED }, Ordering::Release);
    }
}

/// How long, and for how many bytes, a refused client is listened to so that it gets to read why.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 256 * 1024;

/// A connection that lets only well-framed requests through.
pub(crate) struct Guard<S> {
    stream: S,
    frame: Frame,
    progress: Arc<Progress>,
    limits: Limits,
    refused: bool,
    fresh: bool,
    /// Until when a head must be there that has begun.
    deadline: Option<Instant>,
    /// Registered for an instant that may lie before the deadline: moving a timer costs more than a
    /// look at it once in a while.
    timer: Option<Pin<Box<Sleep>>>,
    stalled: Option<Pin<Box<Sleep>>>,
    /// Whether something waits to be written, and when the last such thing went out.
    stalling: bool,
    written: Option<Instant>,
    lingering: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<S> Guard<S> {
    pub(crate) fn new(stream: S, limits: Limits, progress: Arc<Progress>) -> Self {
        Self::with(stream, Frame::default(), limits, progress)
    }

    /// Keeps the time limits of an HTTP/2 connection as far as they are the connection's: to begin, and to take
    /// what is written.
    pub(crate) fn http2(stream: S, limits: Limits, progress: Arc<Progress>) -> Self {
        Self::with(stream, Frame::http2(), limits, progress)
    }

    fn with(stream: S, frame: Frame, limits: Limits, progress: Arc<Progress>) -> Self {
        Self {
            stream,
            frame,
            progress,
            limits,
            refused: false,
            fresh: true,
            deadline: None,
            timer: None,
            stalled: None,
            stalling: false,
            written: None,
            lingering: None,
        }
    }

    /// Whether the client has kept silent for too long.
    fn overdue(&mut self, cx: &mut Context<'_>) -> bool {
        let in_head = self.frame.in_head() || self.fresh;
        // Then the timer, whatever it was set for, never goes off later than a deadline between two requests: until it
        // does, there is no need for the time.
        let early = !in_head && self.limits.idle >= self.limits.head;
        loop {
            if early
                && let Some(timer) = &mut self.timer
                && timer.as_mut().poll(cx).is_pending()
            {
                return false;
            }
            let deadline = if in_head {
                *self.deadline.get_or_insert_with(|| Instant::now() + self.limits.head)
            } else if self.frame.between_requests() || self.frame.awaits_upgrade() {
                match self.progress.idle_since().filter(|_| !self.stalling) {
                    Some(since) => since.max(self.written.unwrap_or(since)) + self.limits.idle,
                    // Nobody calls when the answer is sent, so this looks again now and then.
                    None => Instant::now() + self.limits.idle,
                }
            } else {
                return false;
            };
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            if timer.deadline() > deadline {
                timer.as_mut().reset(deadline);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return false;
            }
            if timer.deadline() >= deadline {
                return true;
            }
            timer.as_mut().reset(deadline);
        }
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the request's framing is broken")
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.refused {
            // The end of what we listen to.
            return Poll::Ready(Ok(()));
        }
        if this.frame.awaits_upgrade() {
            match this.progress.upgrade.load(Ordering::Acquire) {
                UNDECIDED => {}
                decision => this.frame.upgraded(decision == SWITCHED),
            }
        }
        let before = buf.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            Poll::Ready(outcome) => outcome?,
            // The end of input: the parser says good-bye, or cancels what is at hand.
            Poll::Pending if this.overdue(cx) => {
                this.refused = true;
                return Poll::Ready(Ok(()));
            }
            Poll::Pending => return Poll::Pending,
        }
        let (was_in_head, heads) = (this.frame.in_head(), this.frame.heads());
        let Some(fresh) = buf.filled_mut().get_mut(before..) else { return Poll::Ready(Err(broken())) };
        if fresh.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let verdict = this.frame.read(fresh, &this.progress);
        // Only a head that goes on keeps the deadline it began with.
        if this.fresh || !was_in_head || heads != this.frame.heads() {
            this.deadline = None;
        }
        this.fresh = false;
        match verdict {
            Verdict::Sound => Poll::Ready(Ok(())),
            Verdict::BrokenHead(good) => {
                tracing::debug!("refused a request with a doubtful head");
                this.refused = true;
                buf.set_filled(before + good);
                // There is room: at least one byte was read and is not passed on.
                buf.put_slice(b"\0");
                Poll::Ready(Ok(()))
            }
            Verdict::Broken => {
                tracing::debug!("refused a request with a doubtful body");
                this.refused = true;
                buf.set_filled(before);
                Poll::Ready(Err(broken()))
            }
        }
    }
}

impl<S> Guard<S> {
    /// Ends the connection when nothing could be written for too long.
    fn watch<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            if self.stalling {
                self.stalling = false;
                self.written = Some(Instant::now());
            }
            return outcome;
        }
        let limit = self.limits.write;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if !self.stalling {
            self.stalling = true;
            timer.as_mut().reset(Instant::now() + limit);
        }
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: Sink> Sink for Guard<S> {
    fn splices(&self) -> bool {
        self.stream.splices()
    }

    fn poll_splice(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<()>> {
        let outcome = self.stream.poll_splice(cx, pipe);
        self.watch(cx, outcome)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.lingering.is_none() {
            let outcome = Pin::new(&mut this.stream).poll_shutdown(cx);
            ready!(this.watch(cx, outcome))?;
            if !this.refused {
                return Poll::Ready(Ok(()));
            }
        }
        // Closing while the client still sends would reset the connection and lose our answer.
        let (timer, left) = this.lingering.get_or_insert_with(|| (Box::pin(tokio::time::sleep(LINGER)), LINGER_BYTES));
        let mut scrap = [0; 4096];
        while timer.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut scrap);
            match ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() && *left > 0 => *left = left.saturating_sub(buf.filled().len()),
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
