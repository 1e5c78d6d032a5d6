//! Random bytes, and the identifiers and secrets made of them (OA-006).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::{Builder, Uuid};

use crate::clock::Timestamp;

/// A source of unpredictable bytes. The process has one, at its edge; tests may bring a repeatable one.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `bytes`. An implementation that cannot must end the process rather than return.
    fn fill(&self, bytes: &mut [u8]);
}

impl dyn Entropy {
    /// `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// 256 random bits in base64url, 43 characters: session values, codes, states.
    pub fn token(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.bytes::<32>())
    }

    /// `length` characters of `A–Z a–z 0–9`, without modulo bias.
    pub fn alphanumeric(&self, length: usize) -> String {
        self.pick(length, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
    }

    /// `length` characters of `A–Z 0–9`, without modulo bias.
    pub fn upper_alphanumeric(&self, length: usize) -> String {
        self.pick(length, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
    }

    /// A random UUID (version 4).
    pub fn uuid(&self) -> Uuid {
        Builder::from_random_bytes(self.bytes()).into_uuid()
    }

    /// A random UUID that begins with the time (version 7): what is kept under such keys is added at the end of their index.
    pub fn uuid_at(&self, now: Timestamp) -> Uuid {
        let milliseconds = u64::try_from(now.0 / 1000).unwrap_or_default();
        Builder::from_unix_timestamp_millis(milliseconds, &self.bytes()).into_uuid()
    }

    fn pick(&self, length: usize, alphabet: &[u8]) -> String {
        // Bytes at or above the largest multiple of the alphabet's size would favour its first letters.
        let fair = 256 - 256 % alphabet.len();
        let mut text = String::with_capacity(length);
        while text.len() < length {
            for byte in self.bytes::<64>() {
                if usize::from(byte) < fair
                    && text.len() < length
                    && let Some(&letter) = alphabet.get(usize::from(byte) % alphabet.len())
                {
                    text.push(char::from(letter));
                }
            }
        }
        text
    }
}

/// The operating system's generator.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that draws from the system")]
    #[expect(clippy::expect_used, reason = "without randomness no secret is safe; going on would be worse")]
    fn fill(&self, bytes: &mut [u8]) {
        aws_lc_rs::rand::fill(bytes).expect("the operating system gives random bytes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OA-006: generated text has the length and the alphabet asked for.
    #[test]
    fn oa_006_generated_text_has_its_length_and_alphabet() {
        let entropy: &dyn Entropy = &SystemEntropy;
        let key = entropy.alphanumeric(60);
        assert_eq!(key.len(), 60);
        assert!(key.bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_eq!(entropy.token().len(), 43);
        assert_ne!(entropy.token(), entropy.token());
    }

    /// Keys that begin with the time are in its order, each another one, and even a time before all times gives one.
    #[test]
    fn keys_begin_with_the_time() {
        let entropy: &dyn Entropy = &SystemEntropy;
        let [before, now, then, later] = [-1, 1_000_000, 1_000_000, 1_001_000].map(|at| entropy.uuid_at(Timestamp(at)));
        assert!(before < now && before < then && now < later && then < later && now != then);
        assert_eq!(later.get_version_num(), 7);
    }
}
