//! Threads that carry connections, each with a runtime of its own (decision 0015).
//!
//! A connection, its requests, and the connections to upstreams that these use stay on one thread: what one processor
//! has at hand need not be fetched by another. What takes long, like a page of the control plane, runs on the runtime
//! beside them, so that it holds up nobody's connection.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio_util::task::TaskTracker;

use crate::splice;

/// One for each processor that the process may use.
static COUNT: LazyLock<usize> = LazyLock::new(|| thread::available_parallelism().map_or(1, NonZero::get));

thread_local! {
    static HERE: Cell<usize> = const { Cell::new(0) };
}

/// Which thread this is: 0 if it carries no connections, below [`places`] in any case.
pub(crate) fn here() -> usize {
    HERE.get()
}

/// How many different answers [`here`] may give.
pub(crate) fn places() -> usize {
    1 + count()
}

/// How many threads carry connections, where any do.
pub(crate) fn count() -> usize {
    *COUNT
}

/// Threads that carry connections; by default none, and each connection stays on the runtime that accepted it.
#[derive(Clone, Debug, Default)]
pub struct Threads(Arc<Carriers>);

#[derive(Debug, Default)]
struct Carriers {
    threads: Box<[Handle]>,
    /// How many connections were given to them so far.
    given: AtomicUsize,
}

impl Threads {
    /// One for each processor. They live as long as the process.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn start() -> io::Result<Self> {
        splice::prepare();
        let start = |place| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let handle = runtime.handle().clone();
            thread::Builder::new().name(format!("connections-{place}")).spawn(move || {
                HERE.set(place);
                runtime.block_on(std::future::pending::<()>());
            })?;
            Ok(handle)
        };
        let threads = (1..places()).map(start).collect::<io::Result<_>>()?;
        Ok(Self(Arc::new(Carriers { threads, given: AtomicUsize::new(0) })))
    }

    /// Gives connections that were accepted to one thread after the other. `task` is made there.
    ///
    /// In turn, and not by what each has to do: what can be counted is no measure of that, and whoever makes a thread look
    /// busy, by connections that are idle, would choose who goes where.
    pub(crate) fn carry<F>(
        &self,
        stream: TcpStream,
        connections: &TaskTracker,
        task: impl FnOnce(TcpStream) -> F + Send + 'static,
    ) -> io::Result<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Carriers { threads, given } = &*self.0;
        let turn = given.fetch_add(1, Ordering::Relaxed).checked_rem(threads.len());
        let Some(thread) = turn.and_then(|turn| threads.get(turn)) else {
            connections.spawn(task(stream));
            return Ok(());
        };
        let stream = stream.into_std()?;
        let carried = async move {
            match TcpStream::from_std(stream) {
                Ok(stream) => task(stream).await,
                Err(error) => tracing::warn!(%error, "cannot take over a connection"),
            }
        };
        connections.spawn_on(carried, thread);
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;

    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;

    /// Makes this thread answer as that place.
    pub(crate) fn stand_at(place: usize) {
        HERE.set(place);
    }

    /// Connections are given to the threads in turn, whatever each of them has to do.
    #[tokio::test]
    async fn each_thread_carries_as_many_connections_as_the_others() {
        let (threads, connections) = (Threads::start().unwrap(), TaskTracker::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (tell, mut told) = mpsc::unbounded_channel();
        let mut clients = Vec::new();
        for round in 0..3 {
            let mut seen = BTreeSet::new();
            for _ in 1..places() {
                clients.push(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
                let (stream, _) = listener.accept().await.unwrap();
                let tell = tell.clone();
                let carry = move |stream: TcpStream| async move {
                    tell.send(here()).unwrap();
                    drop(stream.readable().await);
                };
                threads.carry(stream, &connections, carry).unwrap();
                seen.insert(told.recv().await.unwrap());
            }
            assert_eq!(seen, (1..places()).collect(), "{round}");
        }
        drop(clients);
        connections.close();
        connections.wait().await;
    }

    /// Without threads that carry connections, one stays where it was accepted.
    #[tokio::test]
    async fn without_threads_a_connection_stays() {
        let connections = TaskTracker::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let _client = client.unwrap();
        let (tell, mut told) = mpsc::unbounded_channel();
        let carry = move |_| async move { tell.send(here()).unwrap() };
        Threads::default().carry(accepted.unwrap().0, &connections, carry).unwrap();
        assert_eq!(told.recv().await, Some(0));
    }
}
