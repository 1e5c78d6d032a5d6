//! Revocation by epoch (design: what is revoked is refused at the next request).
//!
//! Whoever changes something that identities were built on *bumps* its [`Subject`]s, after commit.
//! Whoever caches an identity notes the [`Epochs::present`] moment **before** verifying it, and the
//! subjects it depends on afterwards; the cached value stands while none of them was bumped since.
//!
//! Subjects share a fixed number of slots. Two that fall into the same slot only cost a needless
//! second look, never a missed one. A check is a few relaxed loads: no lock, no allocation.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Something that an identity depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject<'a> {
    /// A user, by UUID text: active flag, memberships, password.
    User(&'a str),
    /// Any of the users whose UUID is not known: what happens to a user may concern each of them.
    UnknownUsers,
    /// An app password, API token or access token, by its id.
    Credential(&'a str),
    /// A session at the identity provider, by its public id (`sid`).
    Session(&'a str),
    /// A session of an outpost, by the digest under which it is stored.
    OutpostSession(&'a [u8; 32]),
    /// A provider, with its application and bindings.
    Provider(i32),
    /// Whatever reaches everybody: a group's parents, a deleted group, a setting.
    Everyone,
}

const SLOTS: usize = 1 << 14;

/// The moment a cached value was built at, and the slots of what it depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    built_at: u64,
    slots: [u16; 7],
}

impl Mark {
    /// Whether the other depends on the same.
    pub fn depends_like(&self, other: &Self) -> bool {
        self.slots == other.slots
    }
}

/// The epochs of all subjects.
#[derive(Debug)]
pub struct Epochs {
    hasher: RandomState,
    sequence: AtomicU64,
    slots: Box<[AtomicU64]>,
}

impl Default for Epochs {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            sequence: AtomicU64::new(1),
            slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl Epochs {
    /// The present moment. Take it before reading what the cached value is made of.
    pub fn present(&self) -> u64 {
        self.sequence.load(Ordering::SeqCst)
    }

    /// Ties a value built at `built_at` to at most six subjects, and to [`Subject::Everyone`].
    pub fn mark(&self, built_at: u64, subjects: &[Subject<'_>]) -> Mark {
        debug_assert!(subjects.len() <= 6, "a mark holds six subjects");
        let mut slots = [self.slot(Subject::Everyone); 7];
        for (place, subject) in slots.iter_mut().skip(1).zip(subjects) {
            *place = self.slot(*subject);
        }
        Mark { built_at, slots }
    }

    /// Whether nothing that the value depends on was bumped since it was built.
    pub fn stands(&self, mark: &Mark) -> bool {
        mark.slots.iter().all(|&slot| {
            self.slots.get(usize::from(slot)).is_some_and(|bumped| bumped.load(Ordering::Acquire) <= mark.built_at)
        })
    }

    /// Makes everything that depends on `subject` look again. Call it after the change is committed.
    pub fn bump(&self, subject: Subject<'_>) {
        let moment = self.sequence.fetch_add(1, Ordering::SeqCst).saturating_add(1);
        if let Some(slot) = self.slots.get(usize::from(self.slot(subject))) {
            slot.fetch_max(moment, Ordering::AcqRel);
        }
    }

    fn slot(&self, subject: Subject<'_>) -> u16 {
        #[expect(clippy::cast_possible_truncation, reason = "the remainder is below 2^14")]
        let slot = (self.hasher.hash_one(subject) % SLOTS as u64) as u16;
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OA-081: a bump ends exactly the values built before it on that subject or on everyone.
    #[test]
    fn oa_081_a_bump_ends_what_was_built_before_it() {
        let epochs = Epochs::default();
        let ada = epochs.mark(epochs.present(), &[Subject::User("ada"), Subject::Provider(7)]);
        assert!(epochs.stands(&ada));
        epochs.bump(Subject::User("ada"));
        assert!(!epochs.stands(&ada));
        let again = epochs.mark(epochs.present(), &[Subject::User("ada")]);
        assert!(epochs.stands(&again));
        epochs.bump(Subject::Everyone);
        assert!(!epochs.stands(&again));
    }

    /// OA-081: a value whose reading began before a change, and ended after it, does not stand.
    #[test]
    fn oa_081_a_change_during_verification_is_noticed() {
        let epochs = Epochs::default();
        let began = epochs.present();
        epochs.bump(Subject::Credential("k"));
        assert!(!epochs.stands(&epochs.mark(began, &[Subject::Credential("k")])));
    }
}
