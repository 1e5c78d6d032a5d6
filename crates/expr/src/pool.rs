//! Threads for evaluations.
//!
//! An evaluation blocks its thread and cannot be killed. So it runs on threads that do nothing else: whoever waits for
//! it goes on at the deadline, and the thread comes back when the interpreter notices its own limit. Should it never
//! notice, as with arithmetic on enormous numbers, one of a few threads is lost and nothing else (CO-225).

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

use std::collections::VecDeque;

use tokio::sync::oneshot;

/// Room for the interpreter's own recursion at its deepest.
const STACK: usize = 8 << 20;

type Job = Box<dyn FnOnce() + Send>;

/// A bounded pool of threads that evaluate.
#[derive(Debug, Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    threads: usize,
    waiting: usize,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("threads", &self.threads).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closed: bool,
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
        let shared = Shared { queue: Mutex::default(), wake: Condvar::new(), threads: threads.max(1), waiting };
        Self(Arc::new(shared))
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
        match tokio::time::timeout(within, &mut answered).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_)) => Err(PoolError::Lost),
            Err(_) => Err(PoolError::Overrun),
        }
    }

    fn push(&self, job: Job) -> Result<(), PoolError> {
        let shared = &self.0;
        let mut queue = shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.idle <= queue.jobs.len() && queue.threads < shared.threads {
            let worker = Worker(Arc::clone(shared));
            let spawned = thread::Builder::new().name("expr".to_owned()).stack_size(STACK).spawn(move || worker.work());
            queue.threads += usize::from(spawned.is_ok());
        }
        if queue.threads == 0 || queue.jobs.len() >= shared.waiting + shared.threads {
            return Err(PoolError::Full);
        }
        queue.jobs.push_back(job);
        shared.wake.notify_one();
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Workers hold the rest; the last pool that goes sends them home.
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::strong_count(&self.0) <= queue.threads + 1 {
            queue.closed = true;
            self.0.wake.notify_all();
        }
    }
}

struct Worker(Arc<Shared>);

impl Worker {
    fn work(&self) {
        while let Some(job) = self.next() {
            // A panic loses this job's answer, not the thread.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
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
