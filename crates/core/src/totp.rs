//! Time-based one-time codes (RFC 6238 over RFC 4226; CO-315): HMAC-SHA-1, steps of 30 seconds.

use std::fmt::Write;

use aws_lc_rs::hmac;

use crate::clock::Timestamp;
use crate::keys::same_secret;

/// Length of a step.
const STEP_SECONDS: i64 = 30;
/// Steps before and after the expected one that are accepted as well.
const TOLERANCE: i64 = 1;
/// The farthest that a device's clock may have drifted, in steps.
const FARTHEST_DRIFT: i64 = 10;
/// Bytes of a seed, as RFC 4226 recommends.
pub const SEED_BYTES: usize = 20;

/// What a code was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matched {
    /// The time step it is for.
    pub step: i64,
    /// Steps by which the device's clock is ahead of ours.
    pub drift: i32,
}

/// The step of an instant.
pub fn step_at(now: Timestamp) -> i64 {
    now.seconds().div_euclid(STEP_SECONDS)
}

/// The code of a step, with 6 to 8 digits.
pub fn code(seed: &[u8], step: i64, digits: u32) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, seed);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let bytes = tag.as_ref();
    // RFC 4226 §5.3: the last four bits say where the 31 bits begin.
    let offset = usize::from(bytes.last().copied().unwrap_or_default() & 0x0f);
    let word = bytes.iter().skip(offset).take(4).fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
    let width = usize::try_from(digits).unwrap_or(6);
    format!("{:0width$}", (word & 0x7fff_ffff) % 10_u32.pow(digits.clamp(6, 8)))
}

/// Which step a code is for: the one that is due on the device's clock, or one beside it. `drift` is by how many
/// steps that clock was ahead last time. Steps up to `last_step` have been used (CO-315).
pub fn find(seed: &[u8], given: &str, digits: u32, drift: i32, last_step: i64, now: Timestamp) -> Option<Matched> {
    let present = step_at(now);
    let due = present.saturating_add(i64::from(drift).clamp(-FARTHEST_DRIFT, FARTHEST_DRIFT));
    let mut found = None;
    for step in due.saturating_sub(TOLERANCE)..=due.saturating_add(TOLERANCE) {
        // All are compared, whichever matches.
        if same_secret(code(seed, step, digits).as_bytes(), given.as_bytes()) && step > last_step {
            found = Some(step);
        }
    }
    let step = found?;
    let drift = step.saturating_sub(present).clamp(-FARTHEST_DRIFT, FARTHEST_DRIFT);
    Some(Matched { step, drift: i32::try_from(drift).unwrap_or_default() })
}

/// Bytes in base32 without padding (RFC 4648 §6), as authenticator apps read seeds.
pub fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::with_capacity(bytes.len().saturating_mul(8).div_ceil(5));
    for chunk in bytes.chunks(5) {
        let mut word = [0; 8];
        for (place, byte) in word.iter_mut().skip(3).zip(chunk) {
            *place = *byte;
        }
        let bits = u64::from_be_bytes(word);
        for letter in 0..chunk.len().saturating_mul(8).div_ceil(5) {
            let index = bits >> (35 - 5 * letter) & 31;
            let index = usize::try_from(index).unwrap_or_default();
            text.push(ALPHABET.get(index).copied().map_or('A', char::from));
        }
    }
    text
}

/// The `otpauth` URL by which an authenticator app takes a seed over.
pub fn url(issuer: &str, account: &str, seed: &[u8], digits: u32) -> String {
    let encode =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let mut url = format!("otpauth://totp/{}:{}", encode(issuer), encode(account));
    let _ = write!(
        url,
        "?secret={}&issuer={}&algorithm=SHA1&digits={digits}&period={STEP_SECONDS}",
        base32(seed),
        encode(issuer)
    );
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &[u8] = b"12345678901234567890";

    /// CO-315: codes are those of RFC 6238, appendix B.
    #[test]
    fn co_315_codes_are_those_of_the_standard() {
        for (seconds, expected) in [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000, "65353130"),
        ] {
            assert_eq!(code(SEED, step_at(Timestamp::from_seconds(seconds)), 8), expected, "{seconds}");
        }
        assert_eq!(code(SEED, 1, 6), "287082");
    }

    /// CO-315: a code holds for its step and one beside it, once, and a device whose clock drifts is followed.
    #[test]
    fn co_315_a_step_is_accepted_once_and_drift_is_followed() {
        let now = Timestamp::from_seconds(3000);
        let find = |step: i64, drift: i32, last: i64| find(SEED, &code(SEED, step, 6), 6, drift, last, now);
        for step in [99, 100, 101] {
            assert_eq!(find(step, 0, 0).map(|found| found.step), Some(step));
        }
        assert_eq!((find(98, 0, 0), find(102, 0, 0)), (None, None));
        assert_eq!((find(100, 0, 100), find(100, 0, 101)), (None, None), "used, or older than what was");
        assert_eq!(find(101, 0, 0).map(|found| found.drift), Some(1));
        assert_eq!(find(102, 1, 101), Some(Matched { step: 102, drift: 2 }));
        assert_eq!(find(99, 1, 0), None, "too far behind what is due there");
        assert_eq!(super::find(SEED, "", 6, 0, 0, now), None);
    }

    /// CO-315: seeds are told to apps in base32, as in RFC 4648, in a URL in which names cannot add parameters.
    #[test]
    fn co_315_seeds_are_told_in_base32() {
        for (plain, coded) in [("", ""), ("f", "MY"), ("fo", "MZXQ"), ("foo", "MZXW6"), ("foob", "MZXW6YQ")] {
            assert_eq!(base32(plain.as_bytes()), coded);
        }
        assert_eq!((base32(b"fooba"), base32(b"foobar")), ("MZXW6YTB".to_owned(), "MZXW6YTBOI".to_owned()));
        assert_eq!(
            url("Portcullis", "a&b", b"foobar", 6),
            "otpauth://totp/Portcullis:a%26b?secret=MZXW6YTBOI&issuer=Portcullis&algorithm=SHA1&digits=6&period=30"
        );
    }
}
