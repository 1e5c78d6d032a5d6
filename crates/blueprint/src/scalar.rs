//! Plain scalars by the rules of YAML 1.1 (CO-720): `yes` is true, `010` is eight.

use portcullis_core::number::is_kept;
use serde_json::{Number, Value};

use crate::Fault;

/// Why a number is refused: it would not be the same after it was read (CO-069).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unkept;

impl Unkept {
    /// The fault of such a number.
    pub(crate) fn at(self, line: usize) -> Fault {
        let most = "Numbers of more than 64 bits, or with more digits than a double has, cannot be kept";
        Fault::new(line, format!("{most}: write them as text, in quotes."))
    }
}

/// What a plain scalar means.
pub(crate) fn plain(text: &str) -> Result<Value, Unkept> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Ok(Value::Bool(true)),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return Ok(Value::Bool(false)),
        _ => {}
    }
    let number = match integer(text)? {
        Some(integer) => Some(integer),
        None => float(text)?,
    };
    Ok(number.unwrap_or_else(|| Value::String(text.to_owned())))
}

fn integer(text: &str) -> Result<Option<Value>, Unkept> {
    let (negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if !digits.starts_with(|first: char| first.is_ascii_digit()) {
        return Ok(None);
    }
    let plain: String = digits.chars().filter(|letter| *letter != '_').collect();
    let magnitude = if let Some(binary) = plain.strip_prefix("0b") {
        whole(binary, 2)?
    } else if let Some(hexadecimal) = plain.strip_prefix("0x") {
        whole(hexadecimal, 16)?
    } else if plain.contains(':') {
        sexagesimal(&plain)
    } else if plain.len() > 1 && plain.starts_with('0') {
        whole(&plain, 8)?
    } else {
        whole(&plain, 10)?
    };
    let Some(magnitude) = magnitude else { return Ok(None) };
    let value = if negative { -magnitude } else { magnitude };
    let fits = i64::try_from(value).is_ok() || u64::try_from(value).is_ok();
    Number::from_i128(value).filter(|_| fits).map(|number| Some(Value::Number(number))).ok_or(Unkept)
}

/// The number of these digits, if they are digits.
fn whole(digits: &str, radix: u32) -> Result<Option<i128>, Unkept> {
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Ok(None);
    }
    i128::from_str_radix(digits, radix).map(Some).map_err(|_| Unkept)
}

/// `1:30` is ninety.
fn sexagesimal(text: &str) -> Option<i128> {
    let mut parts = text.split(':');
    let first = parts.next()?;
    if first.starts_with('0') {
        return None;
    }
    parts.try_fold(first.parse::<i128>().ok()?, |sum, part| {
        let digits = (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        let part: i128 = part.parse().ok().filter(|part| digits && *part < 60)?;
        sum.checked_mul(60)?.checked_add(part)
    })
}

/// Numbers with a point. What JSON cannot say (`.inf`, `.nan`) stays text.
fn float(text: &str) -> Result<Option<Value>, Unkept> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let fits = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'-' | b'+' | b'_');
    let begins = digits.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    if !begins
        || !digits.contains('.')
        || !digits.bytes().any(|byte| byte.is_ascii_digit())
        || !digits.bytes().all(fits)
    {
        return Ok(None);
    }
    let plain: String = text.chars().filter(|letter| *letter != '_').collect();
    let Ok(read) = plain.parse::<f64>() else { return Ok(None) };
    kept(&plain, read).map(Some)
}

/// A double, if it is what is written.
pub(crate) fn kept(text: &str, read: f64) -> Result<Value, Unkept> {
    Number::from_f64(read).filter(|_| is_kept(text)).map(Value::Number).ok_or(Unkept)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// CO-720: plain scalars follow YAML 1.1.
    #[test]
    fn co_720_plain_scalars_follow_yaml_1_1() {
        for (text, value) in [
            ("yes", json!(true)),
            ("On", json!(true)),
            ("off", json!(false)),
            ("NO", json!(false)),
            ("y", json!("y")),
            ("~", json!(null)),
            ("", json!(null)),
            ("12", json!(12)),
            ("-12", json!(-12)),
            ("+1_000", json!(1000)),
            ("010", json!(8)),
            ("08", json!("08")),
            ("0", json!(0)),
            ("0x1F", json!(31)),
            ("0b101", json!(5)),
            ("1:30", json!(90)),
            ("1:90", json!("1:90")),
            ("01:30", json!("01:30")),
            ("1.5", json!(1.5)),
            (".5", json!(0.5)),
            ("1e3", json!("1e3")),
            ("1.0e+3", json!(1000.0)),
            ("1.2.3", json!("1.2.3")),
            (".", json!(".")),
            ("2026-01-01", json!("2026-01-01")),
            ("18446744073709551615", json!(u64::MAX)),
            ("99999999999999999999x", json!("99999999999999999999x")),
            ("0.9435702537977213", json!(0.943_570_253_797_721_3)),
            ("hours=1", json!("hours=1")),
        ] {
            assert_eq!(plain(text), Ok(value), "{text}");
        }
    }

    /// CO-069, CO-720: numbers that would not be the same afterwards are refused, however they are written.
    #[test]
    fn co_069_numbers_that_would_change_are_refused() {
        let long = "9".repeat(60);
        for text in [
            "99999999999999999999",
            "-9223372036854775809",
            "0x10000000000000000",
            "07777777777777777777777777",
            &long,
            "0.1000000000000000055",
            "1.0e+999",
            "9007199254740993.0",
        ] {
            assert_eq!(plain(text), Err(Unkept), "{text}");
        }
    }
}
