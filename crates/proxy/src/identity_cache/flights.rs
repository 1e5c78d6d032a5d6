//! One question at a time: whoever asks the same meanwhile gets the same answer (PX-111).

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::table::Key;

/// An answer once there is one. Locked by whoever asks.
type Flight<A> = Arc<tokio::sync::Mutex<Option<A>>>;

/// Questions that are being asked.
pub(super) struct Flights<A>(Mutex<HashMap<Key, Flight<A>>>);

impl<A> Default for Flights<A> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<A: Clone> Flights<A> {
    /// The answer to the question that is being asked under `key`, else to `ask`. When whoever asks has gone, the next
    /// of those who wait asks.
    pub(super) async fn share(&self, key: Key, ask: impl Future<Output = A>) -> A {
        let flight = Arc::clone(self.all().entry(key).or_default());
        let waiting = Waiting { flights: self, key, flight };
        let mut answer = waiting.flight.lock().await;
        if let Some(answer) = &*answer {
            return answer.clone();
        }
        let found = ask.await;
        // Whoever comes from here on asks anew.
        self.all().remove(&key);
        answer.insert(found).clone()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Key, Flight<A>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who waits for an answer.
struct Waiting<'a, A: Clone> {
    flights: &'a Flights<A>,
    key: Key,
    flight: Flight<A>,
}

impl<A: Clone> Drop for Waiting<'_, A> {
    fn drop(&mut self) {
        let mut all = self.flights.all();
        let ours = all.get(&self.key).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight));
        // The last to go leaves nothing behind: the map's own copy and ours.
        if ours && Arc::strong_count(&self.flight) <= 2 {
            all.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const KEY: Key = Key { owner: 1, digest: [7; 32] };

    /// PX-111: who asks at the same time gets the same answer; who asks later asks anew; nothing is left behind.
    #[tokio::test]
    async fn px_111_one_question_at_a_time() {
        let (flights, asked) = (Flights::default(), AtomicU32::new(0));
        let ask = || async {
            tokio::task::yield_now().await;
            asked.fetch_add(1, Ordering::Relaxed)
        };
        let both = tokio::join!(flights.share(KEY, ask()), flights.share(KEY, ask()));
        assert_eq!((both, flights.share(KEY, ask()).await), ((0, 0), 1));
        assert!(flights.all().is_empty());
    }

    /// PX-111: when whoever asks has gone, the next asks; when all have, so is the question.
    #[tokio::test]
    async fn px_111_the_next_takes_over() {
        let flights = Flights::default();
        let mut first = Box::pin(flights.share(KEY, std::future::pending()));
        assert!(futures_util::poll!(&mut first).is_pending());
        let mut second = Box::pin(flights.share(KEY, std::future::ready("second")));
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(first);
        assert_eq!(second.await, "second");
        let mut alone = Box::pin(flights.share(KEY, std::future::pending()));
        assert!(futures_util::poll!(&mut alone).is_pending());
        drop(alone);
        assert!(flights.all().is_empty());
    }
}
