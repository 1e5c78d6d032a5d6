//! Who is examined now, and who waits: some at a time, fewer of one address, nobody for ever.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// How long somebody waits to be let in.
const PATIENCE: Duration = Duration::from_secs(20);

/// Lets some through at a time.
pub(super) struct Gate {
    all: Semaphore,
    of_one: usize,
    by_address: Mutex<BTreeMap<IpAddr, Arc<Semaphore>>>,
}

/// Leave to examine one attempt. Hold it until the outcome is counted.
#[derive(Debug)]
#[must_use = "without it, guesses made at once are not counted in time"]
pub struct Turn {
    /// Whether failures of this address with this client and user name are counted, which a success forgets.
    pub failed_before: bool,
    _all: SemaphorePermit<'static>,
    _of_one: OwnedSemaphorePermit,
}

impl Gate {
    /// For `all` at a time, of which `of_one` address at most so many.
    pub(super) const fn new(all: usize, of_one: usize) -> Self {
        Self { all: Semaphore::const_new(all), of_one, by_address: Mutex::new(BTreeMap::new()) }
    }

    /// Waits for a turn; none when it does not come in time.
    pub(super) async fn pass(&'static self, address: IpAddr) -> Option<Turn> {
        // Its own queue first: whoever sends many at once does not stand in the common one with all of them.
        let queue = self.queue_of(address);
        let turn = async {
            let of_one = queue.acquire_owned().await.ok()?;
            Some(Turn { failed_before: false, _all: self.all.acquire().await.ok()?, _of_one: of_one })
        };
        timeout(PATIENCE, turn).await.ok().flatten()
    }

    fn queue_of(&self, address: IpAddr) -> Arc<Semaphore> {
        let mut queues = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        // A queue that nobody else knows has nobody in it.
        queues.retain(|_, queue| Arc::strong_count(queue) > 1);
        Arc::clone(queues.entry(address).or_insert_with(|| Arc::new(Semaphore::new(self.of_one))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OA-680: one address takes no more than its share, others pass meanwhile, and who waits too long is sent
    /// away.
    #[tokio::test(start_paused = true)]
    async fn oa_680_one_address_does_not_take_every_turn() {
        static GATE: Gate = Gate::new(2, 1);
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let held = GATE.pass(one).await.expect("is let in");
        assert!(GATE.pass(one).await.is_none(), "the second of one address waits in vain");
        let second = GATE.pass(other).await.expect("is let in");
        assert!(GATE.pass(IpAddr::from([192, 0, 2, 3])).await.is_none(), "no more than two at a time");
        drop((held, second));
        assert!(GATE.pass(one).await.is_some());
        drop(GATE.queue_of(other));
        assert_eq!(GATE.by_address.lock().expect("no panic").len(), 1, "nobody's queue is kept");
    }
}
