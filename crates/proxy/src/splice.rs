//! The parts of a body that go from one TCP connection to another without passing through our memory (`splice(2)`).
//!
//! The system moves what it has received from one connection into a pipe, and from there to the other connection. A pipe
//! takes two open files and room in the system, so there are not many of them: who gets none copies.

use std::io;
use std::task::{Context, Poll};

use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

pub(crate) use self::system::{Pipe, prepare};

/// Where bytes go that never were in our memory.
pub(crate) trait Sink {
    /// Whether it takes them: it is a TCP connection, and nothing is done to what it carries.
    fn splices(&self) -> bool {
        false
    }

    /// Sends what a pipe holds, as far as it goes out now.
    fn poll_splice(&mut self, _: &mut Context<'_>, _: &mut Pipe) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

impl Sink for TcpStream {
    fn splices(&self) -> bool {
        true
    }

    fn poll_splice(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<()>> {
        pipe.poll_empty(cx, self)
    }
}

impl<S> Sink for TlsStream<S> {}

#[cfg(any(test, feature = "fuzz"))]
impl Sink for tokio::io::DuplexStream {}

#[cfg(target_os = "linux")]
mod system {
    use std::cell::RefCell;
    use std::io::{self, Read, Write};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, ready};

    use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, pipe_with, splice};
    use tokio::io::Interest;
    use tokio::net::TcpStream;

    /// How many pipes there are at most: a user without privileges may have 1024 of the usual size.
    const MOST: usize = 256;
    /// That size. With less, a pipe would cost more calls than it saves.
    const ROOM: usize = 64 * 1024;
    /// How many of them each thread keeps for later use.
    const SPARE_MOST: usize = 8;

    /// How many there are.
    static MADE: AtomicUsize = AtomicUsize::new(0);
    /// Whether the system does it at all, which not everything does that passes for Linux.
    static WORKS: LazyLock<bool> = LazyLock::new(|| works().unwrap_or(false));

    /// Sends a byte from one socket to another.
    fn works() -> io::Result<bool> {
        let ((mut from, out), (into, mut to)) = (UnixStream::pair()?, UnixStream::pair()?);
        let (end, begin) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        from.write_all(b"1")?;
        to.set_nonblocking(true)?;
        let moved = [
            splice(out, None, begin, None, 1, SpliceFlags::NONBLOCK)?,
            splice(end, None, into, None, 1, SpliceFlags::NONBLOCK)?,
        ];
        Ok(moved == [1, 1] && to.read(&mut [0])? == 1)
    }

    thread_local! {
        static SPARE: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
        #[cfg(test)]
        static NONE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    }

    /// A pipe, and how many bytes are in it. What is in it when it is dropped is lost.
    pub(crate) struct Pipe {
        out: OwnedFd,
        into: OwnedFd,
        held: usize,
    }

    impl Pipe {
        /// An empty pipe; none where there are too many, or the system gives none.
        pub(crate) fn take() -> Option<Self> {
            #[cfg(test)]
            if NONE.get() {
                return None;
            }
            SPARE.with_borrow_mut(Vec::pop).or_else(Self::new)
        }

        fn new() -> Option<Self> {
            if !*WORKS {
                return None;
            }
            let counted =
                MADE.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |made| (made < MOST).then_some(made + 1));
            counted.ok()?;
            let made = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK);
            // Who has too many gets smaller ones.
            let usable = made.ok().filter(|(out, _)| fcntl_getpipe_size(out).is_ok_and(|size| size >= ROOM));
            if usable.is_none() {
                MADE.fetch_sub(1, Ordering::Relaxed);
            }
            usable.map(|(out, into)| Self { out, into, held: 0 })
        }

        /// Keeps it for later use, if it is empty. When there are no more, another thread may want it.
        pub(crate) fn give_back(self) {
            SPARE.with_borrow_mut(|spare| {
                if self.held == 0 && spare.len() < SPARE_MOST && MADE.load(Ordering::Relaxed) < MOST {
                    spare.push(self);
                }
            });
        }

        pub(crate) const fn is_empty(&self) -> bool {
            self.held == 0
        }

        /// How many this thread keeps.
        #[cfg(test)]
        pub(crate) fn kept() -> usize {
            SPARE.with_borrow(Vec::len)
        }

        /// From now on this thread gets none.
        #[cfg(test)]
        pub(crate) fn are_gone() {
            NONE.set(true);
        }

        /// Takes so many bytes at most from a connection into the pipe, which is empty; none at the connection's end.
        pub(crate) fn poll_fill(
            &mut self,
            cx: &mut Context<'_>,
            from: &TcpStream,
            most: usize,
        ) -> Poll<io::Result<usize>> {
            let fill = || Ok(splice(from, None, &self.into, None, most, SpliceFlags::NONBLOCK)?);
            let count = ready!(poll_moved(|| from.poll_read_ready(cx), || from.try_io(Interest::READABLE, fill)))?;
            self.held += count;
            Poll::Ready(Ok(count))
        }

        /// Gives a connection what is in the pipe, as far as it takes that now.
        pub(super) fn poll_empty(&mut self, cx: &mut Context<'_>, to: &TcpStream) -> Poll<io::Result<()>> {
            let empty = || Ok(splice(&self.out, None, to, None, self.held, SpliceFlags::NONBLOCK)?);
            let count = ready!(poll_moved(|| to.poll_write_ready(cx), || to.try_io(Interest::WRITABLE, empty)))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held = self.held.saturating_sub(count);
            Poll::Ready(Ok(()))
        }
    }

    /// Moves bytes as soon as a connection is ready for it.
    fn poll_moved(
        mut poll_ready: impl FnMut() -> Poll<io::Result<()>>,
        mut moved: impl FnMut() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(poll_ready())?;
            match moved() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                moved => return Poll::Ready(moved),
            }
        }
    }

    /// Finds out whether bodies can be sent so, which takes some open files: better before all are in use.
    pub(crate) fn prepare() {
        LazyLock::force(&WORKS);
    }

    impl Drop for Pipe {
        fn drop(&mut self) {
            MADE.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Elsewhere everything is copied.
#[cfg(not(target_os = "linux"))]
mod system {
    use std::io;
    use std::task::{Context, Poll};

    use tokio::net::TcpStream;

    pub(crate) enum Pipe {}

    pub(crate) const fn prepare() {}

    impl Pipe {
        pub(crate) const fn take() -> Option<Self> {
            None
        }

        pub(crate) fn give_back(self) {}

        pub(crate) const fn is_empty(&self) -> bool {
            match *self {}
        }

        pub(crate) fn poll_fill(&mut self, _: &mut Context<'_>, _: &TcpStream, _: usize) -> Poll<io::Result<usize>> {
            match *self {}
        }

        pub(super) fn poll_empty(&mut self, _: &mut Context<'_>, _: &TcpStream) -> Poll<io::Result<()>> {
            match *self {}
        }

        #[cfg(test)]
        pub(crate) const fn kept() -> usize {
            0
        }

        #[cfg(test)]
        pub(crate) const fn are_gone() {}
    }
}
