//! Hashes that were made elsewhere: `pbkdf2_sha256$<iterations>$<salt>$<base64>` (CO-461).

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2::{PBKDF2_HMAC_SHA256, verify};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Most iterations: some seconds of work.
const MOST: u32 = 5_000_000;

/// A hash by PBKDF2 with HMAC-SHA-256.
#[derive(Debug)]
pub(super) struct DjangoHash<'a> {
    iterations: NonZeroU32,
    salt: &'a str,
    hash: Vec<u8>,
}

impl<'a> DjangoHash<'a> {
    /// Reads one; none for anything else, and for one that would cost too much.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let parts: Vec<_> = text.split('$').collect();
        let ["pbkdf2_sha256", iterations, salt, hash] = parts.as_slice() else { return None };
        let iterations = iterations.parse::<NonZeroU32>().ok().filter(|iterations| iterations.get() <= MOST)?;
        let hash = STANDARD.decode(hash).ok().filter(|hash| hash.len() == 32)?;
        (!salt.is_empty()).then_some(Self { iterations, salt, hash })
    }

    /// Whether a password has this hash.
    pub(super) fn is_of(&self, password: &[u8]) -> bool {
        verify(PBKDF2_HMAC_SHA256, self.iterations, self.salt.as_bytes(), password, &self.hash).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-461: only well-formed hashes of bearable cost are read.
    #[test]
    fn co_461_foreign_hashes_are_read_strictly() {
        let hash = "A".repeat(43) + "=";
        assert!(DjangoHash::parse(&format!("pbkdf2_sha256$1000000$salt${hash}")).is_some());
        for bad in [
            format!("pbkdf2_sha256$0$salt${hash}"),
            format!("pbkdf2_sha256$5000001$salt${hash}"),
            format!("pbkdf2_sha256$x$salt${hash}"),
            format!("pbkdf2_sha256$1$${hash}"),
            format!("pbkdf2_sha1$1$salt${hash}"),
            format!("pbkdf2_sha256$1$salt${hash}$"),
            "pbkdf2_sha256$1$salt$AAAA".to_owned(),
            "pbkdf2_sha256$1$salt$!".to_owned(),
        ] {
            assert!(DjangoHash::parse(&bad).is_none(), "{bad}");
        }
    }
}
