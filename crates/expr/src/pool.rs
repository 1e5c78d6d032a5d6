//! Threads for evaluations.
//!
//! An evaluation blocks its thread and cannot be killed. So it runs on threads that do nothing else: whoever waits for
//! it goes on at the deadline, and the thread comes back when the interpreter notices its own limit. Should it never
//! notice in time, as with arithmetic on enormous numbers, another thread takes its place, so that nobody else waits for
//! it (CO-225).

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use std::collections::VecDeque;

use tokio::{sync::oneshot, time::Instant};

/// Room for the interpreter's own recursion at its deepest.
const STACK: usize = 8 << 20;

/// How long an evaluation may hold its place. One that takes longer goes on, but no longer counts.
const PATIENCE: Duration = Duration::from_secs(3);

/// Threads that have lost their place and have not come back, at most.
const LOST: usize = 60;

/// How often those who wait look whether a place can be had, and how often the log hears of lost ones.
const LOOK: Duration = Duration::from_secs(1);
const QUIET: Duration = Duration::from_secs(60);

type Job = Box<dyn FnOnce() + Send>;

/// A bounded pool of threads that evaluate.
#[derive(Debug, Clone)]
pub struct Pool(Arc<Owner>);

/// Sends the threads home when the last pool goes.
#[derive(Debug)]
struct Owner(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    threads: usize,
    waiting: usize,
    patience: Duration,
    /// Whether nobody's place is taken for now: who has one holds more memory than it may, or waits for one that does.
    held: fn() -> bool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("threads", &self.threads).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Those that have a place.
    threads: usize,
    idle: usize,
    running: Vec<Running>,
    next: u64,
    /// Those that have lost it.
    lost: usize,
    /// When the log heard of it.
    told: Option<Instant>,
    closed: bool,
}

/// A job that is being done.
struct Running {
    id: u64,
    since: Instant,
    lost: bool,
}

/// Why an evaluation was not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// It did not end in time. Its effects are discarded, whenever it ends.
    #[error("the expression took more time than it may")]
    Overrun,
    /// Too many wait already.
    #[error("too many expressions are waiting to be evaluated")]
    Full,
    /// It ended without an answer.
    #[error("the evaluation failed")]
    Lost,
}

impl Pool {
    /// A pool of up to `threads` threads, which are started as they are needed, and room for `waiting` evaluations.
    #[must_use]
    pub fn new(threads: usize, waiting: usize) -> Self {
        Self::with_patience(threads, waiting, PATIENCE, crate::memory::is_alarmed)
    }

    fn with_patience(threads: usize, waiting: usize, patience: Duration, held: fn() -> bool) -> Self {
        let threads = threads.max(1);
        let shared = Shared { queue: Mutex::default(), wake: Condvar::new(), threads, waiting, patience, held };
        Self(Arc::new(Owner(Arc::new(shared))))
    }

    /// Runs `job` on a thread of the pool. It is given up `within` this time, queueing included.
    ///
    /// # Errors
    /// When it does not end in time, or too many are waiting.
    pub async fn run<T: Send + 'static>(
        &self,
        within: Duration,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        let (answer, mut answered) = oneshot::channel();
        self.push(Box::new(move || {
            // Whoever waited may have gone; then there is nobody to evaluate for.
            if !answer.is_closed() {
                let _ = answer.send(job());
            }
        }))?;
        let shared = &self.0.0;
        let waiting = async {
            loop {
                match tokio::time::timeout(LOOK, &mut answered).await {
                    Ok(answer) => return answer,
                    Err(_) => shared.relieve(&mut shared.lock()),
                }
            }
        };
        match tokio::time::timeout(within, waiting).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_)) => Err(PoolError::Lost),
            Err(_) => Err(PoolError::Overrun),
        }
    }

    fn push(&self, job: Job) -> Result<(), PoolError> {
        let shared = &self.0.0;
        let mut queue = shared.lock();
        if queue.jobs.len() >= shared.waiting + shared.threads {
            return Err(PoolError::Full);
        }
        queue.jobs.push_back(job);
        shared.relieve(&mut queue);
        if queue.threads == 0 && queue.lost == 0 {
            queue.jobs.pop_back();
            return Err(PoolError::Full);
        }
        shared.wake.notify_one();
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts threads for what waits, after taking their place from those that are not done in time.
    fn relieve(self: &Arc<Self>, queue: &mut Queue) {
        let busy = queue.jobs.len() > queue.idle;
        if busy
            && queue.threads >= self.threads
            && queue.lost < LOST
            && !(self.held)()
            && let Some(slow) = queue.running.iter_mut().find(|job| !job.lost && job.since.elapsed() >= self.patience)
        {
            slow.lost = true;
            queue.lost += 1;
            queue.threads -= 1;
            queue.tell();
        }
        if busy && queue.threads < self.threads {
            let worker = Worker(Arc::clone(self));
            let spawned = thread::Builder::new().name("expr".to_owned()).stack_size(STACK).spawn(move || worker.work());
            queue.threads += usize::from(spawned.is_ok());
        }
    }
}

impl Queue {
    /// Tells the log, not too often.
    fn tell(&mut self) {
        if self.told.is_some_and(|told| told.elapsed() < QUIET) {
            return;
        }
        self.told = Some(Instant::now());
        tracing::error!(lost = self.lost, most = LOST, "expressions take too long; other threads take their place");
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.wake.notify_all();
    }
}

struct Worker(Arc<Shared>);

impl Worker {
    fn work(&self) {
        while let Some((id, job)) = self.next() {
            // A panic loses this job's answer, not the thread.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
            if !self.keeps_place(id) {
                return;
            }
        }
    }

    /// Ends a job; whether nobody took the thread's place meanwhile.
    fn keeps_place(&self, id: u64) -> bool {
        let mut queue = self.0.lock();
        let at = queue.running.iter().position(|job| job.id == id);
        let lost = at.is_some_and(|at| queue.running.swap_remove(at).lost);
        queue.lost -= usize::from(lost);
        !lost
    }

    fn next(&self) -> Option<(u64, Job)> {
        let mut queue = self.0.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                let id = queue.next;
                queue.next += 1;
                queue.running.push(Running { id, since: Instant::now(), lost: false });
                return Some((id, job));
            }
            if queue.closed {
                queue.threads -= 1;
                return None;
            }
            queue.idle += 1;
            queue = self.0.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::mpsc;

    use super::*;

    /// An evaluation that has begun, and ends when it hears from its gate, or when that is gone.
    async fn held_up(pool: &Pool) -> (Pin<Box<impl Future<Output = Result<bool, PoolError>>>>, mpsc::Sender<()>) {
        let (open, gate) = mpsc::channel::<()>();
        let (begin, begun) = mpsc::channel::<()>();
        let job = move || begin.send(()).is_ok() && gate.recv().is_ok();
        let mut job = Box::pin(pool.run(Duration::from_secs(60), job));
        assert!(tokio::time::timeout(Duration::ZERO, &mut job).await.is_err());
        begun.recv().unwrap();
        (job, open)
    }

    /// CO-225: evaluations that never notice their limits do not keep others from theirs, and end when they come back.
    #[tokio::test]
    async fn co_225_lost_threads_are_replaced() {
        let pool = Pool::with_patience(2, 8, Duration::ZERO, || false);
        let mut gates = Vec::new();
        let mut held = Vec::new();
        for _ in 0..4 {
            let (job, gate) = held_up(&pool).await;
            held.push(job);
            gates.push(gate);
        }
        assert!(pool.run(Duration::from_secs(60), || true).await.unwrap());
        assert!(pool.0.0.lock().lost >= 2);
        for gate in gates {
            gate.send(()).unwrap();
        }
        for job in held {
            assert!(job.await.unwrap());
        }
        // Threads answer before they end.
        while pool.0.0.lock().lost > 0 {
            thread::yield_now();
        }
        assert!(pool.run(Duration::from_secs(60), || true).await.unwrap());
        assert!(pool.0.0.lock().threads <= 2);
    }

    /// CO-225: while one that is to end for its memory still runs, nobody's place is taken.
    #[tokio::test]
    async fn co_225_no_thread_is_replaced_while_memory_is_short() {
        let pool = Pool::with_patience(1, 1, Duration::ZERO, || true);
        let (held, gate) = held_up(&pool).await;
        let mut waiting = Box::pin(pool.run(Duration::from_secs(60), || true));
        assert!(tokio::time::timeout(Duration::ZERO, &mut waiting).await.is_err());
        assert_eq!(pool.run(Duration::ZERO, || true).await, Err(PoolError::Overrun));
        let (lost, threads) = {
            let queue = pool.0.0.lock();
            (queue.lost, queue.threads)
        };
        assert_eq!((lost, threads), (0, 1));
        gate.send(()).unwrap();
        assert!(held.await.unwrap() && waiting.await.unwrap());
    }

    /// CO-225: no more than so many threads are ever replaced.
    #[tokio::test]
    async fn co_225_lost_threads_are_bounded() {
        let pool = Pool::with_patience(1, 0, Duration::ZERO, || false);
        let mut gates = Vec::new();
        let mut held = Vec::new();
        for _ in 0..=LOST {
            let (job, gate) = held_up(&pool).await;
            held.push(job);
            gates.push(gate);
        }
        let mut waiting = Box::pin(pool.run(Duration::from_secs(60), || true));
        assert!(tokio::time::timeout(Duration::ZERO, &mut waiting).await.is_err());
        assert_eq!(pool.run(Duration::from_secs(60), || true).await, Err(PoolError::Full));
        drop(gates);
        assert!(waiting.await.unwrap());
    }
}
