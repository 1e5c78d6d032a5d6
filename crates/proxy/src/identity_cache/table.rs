//! A bounded table that forgets what was not used for longest.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use portcullis_core::clock::Timestamp;
use portcullis_core::keys::Digest;

/// Parts of a table, each with a lock of its own.
const PARTS: usize = 64;

/// Entries of one generation of one part: at least 100 000 entries in all that were used last are kept.
const MOST: usize = 100_000 / PARTS + 100;

/// Whose entry it is, and a keyed digest, which nobody can choose: its bits are as good as any hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) owner: u64,
    pub(super) digest: Digest,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.digest;
        state.write_u64(self.owner ^ u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

/// Hands through what [`Key`] is hashed by.
#[derive(Default)]
struct Through(u64);

impl Hasher for Through {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

type Generation<V> = HashMap<Key, V, BuildHasherDefault<Through>>;

/// A table of what was used last.
///
/// Each part has two generations. What is used moves to the young one. When that is full, or old enough, it becomes the
/// old one, and what is still in the old one, not used since that began, is forgotten.
pub(super) struct Table<V> {
    parts: [Mutex<Part<V>>; PARTS],
    aged: Mutex<Timestamp>,
}

struct Part<V> {
    young: Generation<V>,
    old: Generation<V>,
}

impl<V> Part<V> {
    /// Gives what is forgotten, to be dropped when nobody waits for it.
    fn turn(&mut self) -> Generation<V> {
        std::mem::replace(&mut self.old, std::mem::take(&mut self.young))
    }
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        let part = |_| Mutex::new(Part { young: Generation::default(), old: Generation::default() });
        Self { parts: std::array::from_fn(part), aged: Mutex::default() }
    }
}

impl<V: Clone> Table<V> {
    fn part(&self, key: &Key) -> MutexGuard<'_, Part<V>> {
        let [.., last] = key.digest;
        #[expect(clippy::indexing_slicing, reason = "a remainder")]
        let part = &self.parts[usize::from(last) % PARTS];
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept under `key`; it counts as used.
    pub(super) fn get(&self, key: &Key) -> Option<V> {
        let mut part = self.part(key);
        if let Some(value) = part.young.get(key) {
            return Some(value.clone());
        }
        let value = part.old.remove(key)?;
        let found = value.clone();
        let forgotten = insert(&mut part, *key, value);
        drop(part);
        drop(forgotten);
        Some(found)
    }

    /// Keeps `value` under `key`.
    pub(super) fn put(&self, key: Key, value: V) {
        let mut part = self.part(&key);
        let before = part.old.remove(&key);
        let forgotten = insert(&mut part, key, value);
        drop(part);
        drop((before, forgotten));
    }

    /// Forgets what is kept under `key`, and gives it back.
    pub(super) fn take(&self, key: &Key) -> Option<V> {
        let mut part = self.part(key);
        // When generations turn as it is put anew, one from before is in the old one.
        let old = part.old.remove(key);
        part.young.remove(key).or(old)
    }

    /// Forgets what was not used for `longest` seconds, and at the latest for twice as many.
    pub(super) fn age(&self, now: Timestamp, longest: i64) {
        let mut aged = self.aged.lock().unwrap_or_else(PoisonError::into_inner);
        if now < aged.plus_seconds(longest) {
            return;
        }
        *aged = now;
        for part in &self.parts {
            let forgotten = part.lock().unwrap_or_else(PoisonError::into_inner).turn();
            drop(forgotten);
        }
    }

    /// How much is kept.
    pub(super) fn len(&self) -> usize {
        let of = |part: &Mutex<Part<V>>| {
            let part = part.lock().unwrap_or_else(PoisonError::into_inner);
            part.young.len() + part.old.len()
        };
        self.parts.iter().map(of).sum()
    }
}

/// Adds an entry to the young generation; gives what is forgotten for it.
fn insert<V>(part: &mut Part<V>, key: Key, value: V) -> Option<(Option<V>, Generation<V>)> {
    let forgotten = if part.young.len() >= MOST { Some(part.turn()) } else { None };
    let before = part.young.insert(key, value);
    (before.is_some() || forgotten.is_some()).then(|| (before, forgotten.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_le_bytes());
        digest[31] = u8::try_from(number % 251).unwrap();
        Key { owner: 1, digest }
    }

    /// PX-107: the table is bounded; what is used stays, what was not used for longest goes.
    #[test]
    fn px_107_the_table_keeps_what_is_used() {
        let table = Table::default();
        for number in 0..400_000 {
            table.put(key(number), number);
            assert_eq!(table.get(&key(0)), Some(0));
        }
        let kept = table.len();
        assert!((100_000..=2 * PARTS * MOST + PARTS).contains(&kept), "{kept}");
        assert_eq!((table.get(&key(1)), table.get(&key(399_999))), (None, Some(399_999)));
    }

    /// PX-107, PX-108: what is forgotten is gone from both generations, an owner finds nothing of another's, and what is
    /// not used goes with time.
    #[test]
    fn px_107_what_is_not_used_goes_with_time() {
        let (table, at) = (Table::default(), Timestamp::from_seconds);
        table.age(at(1000), 60);
        table.put(key(1), "one");
        table.put(key(2), "two");
        assert_eq!(table.get(&Key { owner: 2, ..key(1) }), None);
        table.age(at(1059), 60);
        table.age(at(1060), 60);
        assert_eq!(table.get(&key(1)), Some("one"));
        table.age(at(1120), 60);
        assert_eq!((table.get(&key(1)), table.get(&key(2)), table.len()), (Some("one"), None, 1));
        table.age(at(1180), 60);
        table.put(key(1), "new");
        assert!(table.take(&key(1)).is_some());
        assert_eq!((table.get(&key(1)), table.len()), (None, 0));
    }
}
