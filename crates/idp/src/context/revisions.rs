//! Changes to what outposts are configured by.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use portcullis_core::id::ProviderPk;
use tokio::sync::watch;

/// Counts changes to what outposts are configured by, and how many of them the embedded one works by.
#[derive(Debug)]
pub struct Revisions {
    made: watch::Sender<u64>,
    in_force: watch::Sender<u64>,
    /// What the latest of them concern, oldest first.
    latest: Mutex<VecDeque<(u64, Concerned)>>,
}

/// What a change to what outposts are configured by concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Concerned {
    Provider(ProviderPk),
    Everything,
}

impl Default for Revisions {
    fn default() -> Self {
        Self { made: watch::Sender::new(0), in_force: watch::Sender::new(0), latest: Mutex::default() }
    }
}

impl Revisions {
    /// How long a change waits for the embedded outpost (PX-028).
    const PATIENCE: Duration = Duration::from_secs(2);
    /// Changes of which it is known what they concern.
    const MOST: usize = 256;

    /// Tells outposts to fetch their configuration again. Call it after the change is committed.
    pub fn add(&self) {
        self.note(Concerned::Everything);
    }

    /// The same for a change to one provider, with its application and bindings, and nothing else.
    pub fn add_of(&self, provider: ProviderPk) {
        self.note(Concerned::Provider(provider));
    }

    fn note(&self, concerned: Concerned) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.present().wrapping_add(1);
        if latest.len() >= Self::MOST {
            latest.pop_front();
        }
        // Before the count: whoever sees that finds this.
        latest.push_back((number, concerned));
        self.made.send_replace(number);
    }

    /// The providers that changes since the first `revision` ones concern. None if that is not known, or they concern more.
    pub fn since(&self, revision: u64) -> Option<BTreeSet<ProviderPk>> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = latest.front().map_or(self.present(), |(number, _)| number.saturating_sub(1));
        if revision < oldest {
            return None;
        }
        let since = latest.iter().filter(|(number, _)| *number > revision);
        since
            .map(|(_, concerned)| match concerned {
                Concerned::Provider(pk) => Some(*pk),
                Concerned::Everything => None,
            })
            .collect()
    }

    /// The changes made so far.
    pub fn present(&self) -> u64 {
        *self.made.borrow()
    }

    /// Hears of further changes.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.made.subscribe()
    }

    /// The embedded outpost works by the configuration that was read at `revision`.
    pub fn came_into_force(&self, revision: u64) {
        self.in_force.send_modify(|present| *present = revision.max(*present));
    }

    /// Waits, but not for long, until the embedded outpost works by all changes made so far: who changed
    /// something meets it at the next request.
    pub async fn in_force(&self) {
        if self.made.receiver_count() == 0 {
            return;
        }
        let (wanted, mut present) = (self.present(), self.in_force.subscribe());
        let follows = present.wait_for(|revision| *revision >= wanted);
        if tokio::time::timeout(Self::PATIENCE, follows).await.is_err() {
            tracing::warn!("the embedded outpost has not taken over the configuration yet");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PX-008: what changes concern is known of the latest ones, unless one of them concerns everything.
    #[test]
    fn px_008_it_is_known_what_changed_lately() {
        let revisions = Revisions::default();
        assert_eq!(revisions.since(0), Some(BTreeSet::new()));
        for pk in [7, 8, 7] {
            revisions.add_of(ProviderPk(pk));
        }
        let keys = |keys: &[i32]| Some(keys.iter().copied().map(ProviderPk).collect());
        assert_eq!((revisions.present(), revisions.since(0)), (3, keys(&[7, 8])));
        assert_eq!((revisions.since(2), revisions.since(3)), (keys(&[7]), keys(&[])));
        revisions.add();
        revisions.add_of(ProviderPk(9));
        assert_eq!((revisions.since(3), revisions.since(4)), (None, keys(&[9])));
        for _ in 0..Revisions::MOST {
            revisions.add_of(ProviderPk(1));
        }
        assert_eq!((revisions.since(4), revisions.since(5)), (None, keys(&[1])), "the oldest are forgotten");
    }
}
