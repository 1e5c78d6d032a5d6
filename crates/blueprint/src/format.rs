//! `%`-formatting as `!Format` wants it (CO-726): `%s %d %i %f %r %x %%`, with flags, widths and precision.

use serde_json::Value;

/// Puts values into a template.
///
/// # Errors
/// When template and values do not fit together, in words for whoever wrote them.
pub(crate) fn format(template: &str, arguments: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut letters = template.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut spec = Spec::default();
        let conversion = loop {
            let letter = letters.next().ok_or("the text ends within a '%'")?;
            match letter {
                '-' if spec.is_fresh() => spec.left = true,
                '0' if spec.is_fresh() => spec.zeros = true,
                '+' if spec.is_fresh() => spec.sign = Some('+'),
                ' ' if spec.is_fresh() => spec.sign = spec.sign.or(Some(' ')),
                '#' if spec.is_fresh() => spec.prefix = true,
                '.' if spec.precision.is_none() => spec.precision = Some(0),
                digit if digit.is_ascii_digit() => spec.digit(digit)?,
                conversion => break conversion,
            }
        };
        if conversion == '%' {
            out.push('%');
            continue;
        }
        let argument = arguments.next().ok_or("there are fewer values than places for them")?;
        out.push_str(&spec.pad(&convert(conversion, &spec, argument)?, conversion != 's' && conversion != 'r'));
        if out.len() > crate::MAX_BYTES {
            return Err("the result is too long".to_owned());
        }
    }
    if arguments.next().is_some() {
        return Err("there are more values than places for them".to_owned());
    }
    Ok(out)
}

/// What stands between `%` and the letter.
#[derive(Default)]
struct Spec {
    left: bool,
    zeros: bool,
    prefix: bool,
    sign: Option<char>,
    width: Option<usize>,
    precision: Option<usize>,
}

impl Spec {
    /// Whether neither width nor precision have begun: only then a sign is a flag.
    fn is_fresh(&self) -> bool {
        self.width.is_none() && self.precision.is_none()
    }

    fn digit(&mut self, digit: char) -> Result<(), String> {
        let number = if self.precision.is_some() { &mut self.precision } else { &mut self.width };
        let digit = digit.to_digit(10).and_then(|digit| usize::try_from(digit).ok()).unwrap_or_default();
        let sum = number.unwrap_or_default() * 10 + digit;
        if sum > 1000 {
            return Err("a width or precision is larger than 1000".to_owned());
        }
        *number = Some(sum);
        Ok(())
    }

    fn pad(&self, text: &str, is_number: bool) -> String {
        let width = self.width.unwrap_or_default();
        let missing = width.saturating_sub(text.chars().count());
        if self.left {
            return format!("{text}{}", " ".repeat(missing));
        }
        if self.zeros && is_number {
            let signed = text.len() - text.trim_start_matches(['-', '+', ' ']).len();
            let (sign, digits) = text.split_at(signed);
            return format!("{sign}{}{digits}", "0".repeat(missing));
        }
        format!("{}{text}", " ".repeat(missing))
    }

    fn signed(&self, text: String) -> String {
        match self.sign {
            Some(sign) if !text.starts_with('-') => format!("{sign}{text}"),
            _ => text,
        }
    }
}

fn convert(conversion: char, spec: &Spec, argument: &Value) -> Result<String, String> {
    let cut = |text: String| match spec.precision {
        Some(most) => text.chars().take(most).collect(),
        None => text,
    };
    // Not which value: it may be a secret.
    let no_number = || format!("'%{conversion}' needs a number, not {}", kind(argument));
    match conversion {
        's' => Ok(cut(text(argument))),
        'r' => Ok(cut(repr(argument))),
        'd' | 'i' | 'x' => {
            let number = match argument {
                Value::Bool(flag) => i128::from(*flag),
                Value::Number(number) => match (number.as_i128(), number.as_f64()) {
                    (Some(number), _) => number,
                    #[expect(clippy::cast_possible_truncation, reason = "cut as Python does; saturates")]
                    (None, Some(float)) if conversion != 'x' => float.trunc() as i128,
                    _ => return Err(no_number()),
                },
                _ => return Err(no_number()),
            };
            let digits = if conversion == 'x' {
                let sign = if number < 0 { "-" } else { "" };
                format!("{sign}{}{:x}", if spec.prefix { "0x" } else { "" }, number.unsigned_abs())
            } else {
                number.to_string()
            };
            Ok(spec.signed(digits))
        }
        'f' => {
            let number = match argument {
                Value::Bool(flag) => f64::from(u8::from(*flag)),
                Value::Number(number) => number.as_f64().ok_or_else(no_number)?,
                _ => return Err(no_number()),
            };
            Ok(spec.signed(format!("{number:.*}", spec.precision.unwrap_or(6))))
        }
        _ => Err("a conversion is not known: they are %s %d %i %f %r %x %%".to_owned()),
    }
}

/// What a value is, whatever it says.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "this number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A value as text stands in a text: `None`, `True`, `False`.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => repr(other),
    }
}

/// A value as it is written.
fn repr(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => {
            let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
            let mut out = String::from(quote);
            for letter in text.chars() {
                match letter {
                    '\\' => out.push_str("\\\\"),
                    '\n' => out.push_str("\\n"),
                    '\r' => out.push_str("\\r"),
                    '\t' => out.push_str("\\t"),
                    letter if letter == quote => out.extend(['\\', letter]),
                    letter => out.push(letter),
                }
            }
            out.push(quote);
            out
        }
        Value::Array(items) => format!("[{}]", items.iter().map(repr).collect::<Vec<_>>().join(", ")),
        Value::Object(entries) => {
            let pairs =
                entries.iter().map(|(key, value)| format!("{}: {}", repr(&Value::from(key.as_str())), repr(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// CO-726: every conversion, with flags, widths and precision.
    #[test]
    fn co_726_values_are_put_into_a_text() {
        for (template, arguments, result) in [
            ("%s-%s", json!(["a", 1]), "a-1"),
            ("%s %s %s", json!([null, true, false]), "None True False"),
            ("%5s|%-5s|%.2s", json!(["ab", "ab", "abc"]), "   ab|ab   |ab"),
            ("%d %i %05d %+d % d", json!([1, -2, -3, 4, 5]), "1 -2 -0003 +4  5"),
            ("%d %d", json!([1.9, true]), "1 1"),
            ("%f %.2f %6.1f", json!([1, 2.345, 3.25]), "1.000000 2.35    3.2"),
            ("%x %#x %04x", json!([255, 255, 10]), "ff 0xff 000a"),
            ("%r %r", json!(["it's", ["a", null, {"b": 1.5}]]), "\"it's\" ['a', None, {'b': 1.5}]"),
            ("100%%", json!([]), "100%"),
        ] {
            assert_eq!(format(template, arguments.as_array().unwrap()).as_deref(), Ok(result), "{template}");
        }
        for (template, arguments) in [
            ("%s", json!([])),
            ("x", json!([1])),
            ("%d", json!(["1"])),
            ("%y", json!([1])),
            ("%", json!([1])),
            ("%99999s", json!([1])),
        ] {
            assert!(format(template, arguments.as_array().unwrap()).is_err(), "{template}");
        }
    }
}
