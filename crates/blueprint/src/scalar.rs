//! Plain scalars by the rules of YAML 1.1 (CO-720): `yes` is true, `010` is eight.

use serde_json::{Number, Value};

/// What a plain scalar means.
pub(crate) fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Value::Bool(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return Value::Bool(false),
        _ => {}
    }
    integer(text).or_else(|| float(text)).unwrap_or_else(|| Value::String(text.to_owned()))
}

fn integer(text: &str) -> Option<Value> {
    let (negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if !digits.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let plain: String = digits.chars().filter(|letter| *letter != '_').collect();
    let magnitude = if let Some(binary) = plain.strip_prefix("0b") {
        i128::from_str_radix(binary, 2).ok()?
    } else if let Some(hexadecimal) = plain.strip_prefix("0x") {
        i128::from_str_radix(hexadecimal, 16).ok()?
    } else if plain.contains(':') {
        sexagesimal(&plain)?
    } else if plain.len() > 1 && plain.starts_with('0') {
        i128::from_str_radix(&plain, 8).ok()?
    } else {
        plain.parse().ok()?
    };
    let value = if negative { -magnitude } else { magnitude };
    Number::from_i128(value).map(Value::Number)
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
fn float(text: &str) -> Option<Value> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let fits = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'-' | b'+' | b'_');
    let begins = digits.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    if !begins
        || !digits.contains('.')
        || !digits.bytes().any(|byte| byte.is_ascii_digit())
        || !digits.bytes().all(fits)
    {
        return None;
    }
    let plain: String = text.chars().filter(|letter| *letter != '_').collect();
    Number::from_f64(plain.parse().ok()?).map(Value::Number)
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
            ("99999999999999999999", json!("99999999999999999999")),
            ("hours=1", json!("hours=1")),
        ] {
            assert_eq!(plain(text), value, "{text}");
        }
    }
}
