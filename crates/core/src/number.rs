//! Numbers as they are written, and what a parser keeps of them (CO-069).

/// Most digits that tell one double from another.
const DIGITS: usize = 17;

/// Whether a number that is written in decimal is the same after it was read: as a whole number of 64 bits, or as a
/// double of which these are the digits, be it with as few of them as tell it from others, with up to 17, or with all
/// that a whole one has.
pub fn is_kept(literal: &str) -> bool {
    if literal.parse::<i64>().is_ok() || literal.parse::<u64>().is_ok() {
        return true;
    }
    let Some(read) = literal.parse::<f64>().ok().filter(|read| read.is_finite()) else { return false };
    let written = decimal(literal);
    let digits = written.1.len();
    if written == decimal(&read.to_string()) {
        return true;
    }
    if (1..=DIGITS).contains(&digits) {
        return written == decimal(&format!("{read:.0$e}", digits - 1));
    }
    read.fract() == 0.0 && written == decimal(&format!("{read:.0}"))
}

/// A number as its sign, its digits without zeros at either end, and the power of ten that they are to be taken times.
fn decimal(number: &str) -> (bool, String, i64) {
    let (mantissa, power) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
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

    /// CO-069: what clients write for a double is kept, however they write it; what a double is not, is not.
    #[test]
    fn co_069_doubles_are_kept_however_they_are_written() {
        for literal in [
            "0",
            "-0",
            "0.0",
            "1.10",
            "100.0",
            "1e22",
            "0.5e-7",
            "18446744073709551615",
            "-9223372036854775808",
            "-114.91776235429059",
            "0.9435702537977213",
            "0.10000000000000001",
            "123456789012345680000",
            "1.2345678901234568e20",
            "1180591620717411303424",
            "5e-324",
            "1.7976931348623157e308",
            "+1.5",
        ] {
            assert!(is_kept(literal), "{literal}");
        }
        for literal in [
            "123456789012345678901",
            "-9223372036854775809",
            "0.1000000000000000055",
            "9007199254740993.0",
            "1e-400",
            "4e-324",
            "1e400",
            "1180591620717411303425",
            "12345678901234567890123",
            "",
            "x",
            ".inf",
            "nan",
        ] {
            assert!(!is_kept(literal), "{literal}");
        }
    }
}
