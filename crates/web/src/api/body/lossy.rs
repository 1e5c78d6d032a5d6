//! Numbers whose digits a parser does not keep: whole ones of more than 64 bits, fractions finer than a double is
//! (CO-069).

use std::collections::BTreeSet;

/// The fields of a body, which is JSON, that hold such a number at any depth.
pub(super) fn fields(body: &[u8]) -> BTreeSet<String> {
    let (mut found, mut field, mut depth, mut last): (_, _, _, &[u8]) = (BTreeSet::new(), String::new(), 0_usize, &[]);
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
            b'-' | b'0'..=b'9' if !is_kept(token) => {
                found.insert(field.clone());
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

/// Whether a number is the same after it was read.
fn is_kept(literal: &[u8]) -> bool {
    let read = serde_json::from_slice::<serde_json::Number>(literal).map(|number| number.to_string());
    let literal = std::str::from_utf8(literal).unwrap_or_default();
    read.is_ok_and(|read| read == literal || decimal(&read) == decimal(literal))
}

/// A number as its digits without zeros at either end, and the power of ten that they are to be taken times.
fn decimal(number: &str) -> (bool, String, i64) {
    let (mantissa, power) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (negative, mantissa) = mantissa.strip_prefix('-').map_or((false, mantissa), |rest| (true, rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let trimmed = digits.trim_end_matches('0');
    let dropped = digits.len() - trimmed.len();
    let digits = trimmed.trim_start_matches('0').to_owned();
    if digits.is_empty() {
        return (false, digits, 0);
    }
    let length = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
    let power = power.parse::<i64>().unwrap_or(i64::MAX);
    (negative, digits, power.saturating_add(length(dropped)).saturating_sub(length(fraction.len())))
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
        assert_eq!(fields(body).into_iter().collect::<Vec<_>>(), ["a", "b \"", "c", "f", "h"]);
        assert!(fields(b"[1, 123456789012345678901]").contains(""));
        assert!(fields(b"").is_empty());
    }
}
