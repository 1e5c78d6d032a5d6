//! Ids of requests: unique, and no secrets (PX-323).

use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_core::entropy::Entropy;
use portcullis_core::origin::RequestId;

/// The ids of one connection's requests.
///
/// Randomness is drawn once per connection; for every request it would cost more than the look into the identity cache.
#[derive(Debug)]
pub struct RequestIds {
    first: u128,
    made: AtomicU64,
}

impl RequestIds {
    /// Ids that no other connection has.
    pub fn new(entropy: &dyn Entropy) -> Self {
        Self { first: u128::from_ne_bytes(entropy.bytes()), made: AtomicU64::new(0) }
    }

    /// The next id: 32 hex digits.
    pub fn next(&self) -> RequestId {
        // Odd, so that no number comes twice; large, so that people can tell neighbours apart.
        const STRIDE: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
        let made = self.made.fetch_add(1, Ordering::Relaxed);
        let number = self.first.wrapping_add(STRIDE.wrapping_mul(u128::from(made)));
        let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble };
        let mut id = [0; 32];
        for (digits, byte) in id.chunks_exact_mut(2).zip(number.to_be_bytes()) {
            digits.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        RequestId::Ours(id)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use portcullis_core::entropy::SystemEntropy;

    use super::*;

    /// PX-323: every request has an id of its own, 32 lower-case hex digits.
    #[test]
    fn px_323_every_request_has_an_id_of_its_own() {
        let connections = [RequestIds::new(&SystemEntropy), RequestIds::new(&SystemEntropy)];
        let ids: HashSet<String> = (0..2000).map(|number| connections[number % 2].next().to_string()).collect();
        assert_eq!(ids.len(), 2000);
        for id in ids {
            assert!(id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit)));
        }
    }
}
