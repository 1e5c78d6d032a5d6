//! Numbers as they are written. Of some a parser does not keep the digits: whole ones of more than 64 bits, fractions
//! finer than a double is (CO-069).

use std::collections::{BTreeMap, BTreeSet};

use portcullis_core::number::is_kept;

/// What is to be known of the numbers of a body.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// The fields that hold, at any depth, a number which is not kept.
    pub(super) lossy: BTreeSet<String>,
    /// The fields that are numbers, as these are written.
    pub(super) literals: BTreeMap<String, String>,
}

/// The numbers of a body, which is JSON.
pub(super) fn numbers(body: &[u8]) -> Numbers {
    let mut found = Numbers::default();
    let (mut field, mut depth, mut last): (_, _, &[u8]) = (String::new(), 0_usize, &[]);
    let mut rest = body;
    while let Some(first) = rest.first() {
        let length = match first {
            b'"' => text(rest),
            b'-' | b'0'..=b'9' => rest.iter().take_while(|byte| is_of_number(**byte)).count(),
            _ => 1,
        };
        let Some((token, after)) = rest.split_at_checked(length) else { break };
        match first {
            b'"' => last = token,
            b':' if depth == 1 => field = serde_json::from_slice(last).unwrap_or_default(),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'-' | b'0'..=b'9' => {
                let literal = String::from_utf8_lossy(token);
                if !is_kept(&literal) {
                    found.lossy.insert(field.clone());
                }
                if depth == 1 {
                    found.literals.insert(field.clone(), literal.into_owned());
                }
            }
            _ => {}
        }
        rest = after;
    }
    found
}

/// The length of the text that begins here, quotes included.
fn text(rest: &[u8]) -> usize {
    let mut escaped = false;
    let inside = rest.iter().skip(1).take_while(|byte| {
        let ends = **byte == b'"' && !escaped;
        escaped = **byte == b'\\' && !escaped;
        !ends
    });
    inside.count() + 2
}

fn is_of_number(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-069: what keeps its digits is kept, and what would not is found by its field.
    #[test]
    fn co_069_numbers_that_would_change_are_found() {
        let body =
            br#"{"a": {"n": 123456789012345678901}, "b \"": [1, [0.1000000000000000055]], "c": -9223372036854775809,
            "d": [18446744073709551615, -9223372036854775808, 0, -0, 1.10, 1e3, 1E+20, 0.5e-7, 2.5e0, 100.0, 1e22],
            "e": "123456789012345678901: {\" 1", "f": {"1": {"g": 1e-400}}, "h": 12345678901234567890123}"#;
        assert_eq!(numbers(body).lossy.into_iter().collect::<Vec<_>>(), ["a", "b \"", "c", "f", "h"]);
        assert!(numbers(b"[1, 123456789012345678901]").lossy.contains(""));
        assert!(numbers(b"").lossy.is_empty());
        let literals = numbers(br#"{"a": 1.0e5, "b": [7], "c": {"a": 8}, "d": -0, "a": 2.50}"#).literals;
        let literals: Vec<_> = literals.iter().map(|(field, literal)| (field.as_str(), literal.as_str())).collect();
        assert_eq!(literals, [("a", "2.50"), ("d", "-0")]);
    }
}
