//! Digests of credentials that were made a moment ago.
//!
//! HMAC-SHA-256 over what a client shows (PX-106) is a good part of what we do ourselves about a request, and most clients
//! show the same again. A digest that is quicker, under another key of this process, finds the one that was
//! made then. What a client showed cannot be had back from either.

use std::sync::Mutex;

use portcullis_core::entropy::Entropy;
use portcullis_core::keys::{Digest, QuickDigest, QuickKey};

/// How many are remembered. Where two want the same place, the later one has it.
const PLACES: usize = 4096;

/// What a digest is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shown {
    /// The value of `Authorization`.
    Header = 1,
    /// The value of a session cookie.
    Cookie = 2,
}

/// A digest, and what it is found by.
struct Made {
    quick: QuickDigest,
    digest: Digest,
}

/// Remembers digests by what they were made of.
pub(crate) struct RecentDigests {
    key: QuickKey,
    places: Box<[Mutex<Option<Made>>]>,
}

impl RecentDigests {
    pub(crate) fn new(entropy: &dyn Entropy) -> Self {
        Self { key: QuickKey::new(entropy), places: (0..PLACES).map(|_| Mutex::default()).collect() }
    }

    /// What `make` makes of `value`, which must be the same each time for the same `owner`.
    pub(crate) fn of(&self, shown: Shown, owner: u64, value: &[u8], make: impl FnOnce() -> Digest) -> Digest {
        let mut of = [shown as u8; 12];
        of[..8].copy_from_slice(&owner.to_le_bytes());
        let Some(quick @ [low, high, ..]) = self.key.digest(of, value) else { return make() };
        let Some(place) = self.places.get(usize::from(u16::from_le_bytes([low, high])) % PLACES) else { return make() };
        // Nobody waits: who holds the place makes the digest in about the same time.
        if let Ok(place) = place.try_lock()
            && let Some(made) = &*place
            && made.quick == quick
        {
            return made.digest;
        }
        let digest = make();
        if let Ok(mut place) = place.try_lock() {
            *place = Some(Made { quick, digest });
        }
        digest
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use portcullis_core::entropy::SystemEntropy;

    use super::*;

    /// PX-106: a digest is made once for the same value of the same owner, and anew for every other.
    #[test]
    fn px_106_a_digest_is_made_once_for_what_is_the_same() {
        let (digests, made) = (RecentDigests::new(&SystemEntropy), Cell::new(0));
        let mut number = 0;
        let mut of = |shown, owner, value: &[u8]| {
            number += 1;
            let make = || {
                made.set(made.get() + 1);
                [number; 32]
            };
            digests.of(shown, owner, value, make)
        };
        assert_eq!(of(Shown::Header, 1, b"a"), [1; 32]);
        assert_eq!(of(Shown::Header, 1, b"a"), [1; 32]);
        assert_eq!(of(Shown::Cookie, 1, b"a"), [3; 32]);
        assert_eq!(of(Shown::Header, 2, b"a"), [4; 32]);
        assert_eq!(of(Shown::Header, 1, b"b"), [5; 32]);
        assert_eq!(made.get(), 4);
    }

    /// PX-106: however many values are shown, each has its own digest.
    #[test]
    fn px_106_values_that_want_one_place_keep_their_digests() {
        let digests = RecentDigests::new(&SystemEntropy);
        for round in 0..3 {
            for number in 0..2 * u64::try_from(PLACES).unwrap() {
                let digest = std::array::from_fn(|at| number.to_le_bytes()[at % 8]);
                let found = digests.of(Shown::Cookie, 1, &number.to_le_bytes(), || digest);
                assert_eq!(found, digest, "{number} in round {round}");
            }
        }
    }
}
