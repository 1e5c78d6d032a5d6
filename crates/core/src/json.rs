//! JSON as text.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Map, Value};

/// The text of a value: what its `Display` writes, without the way through a formatter for each of its parts.
pub fn text(value: &Value) -> String {
    written(value)
}

/// The text of an object, which need not be made a value for it.
pub fn text_of(object: &Map<String, Value>) -> String {
    written(object)
}

fn written(value: &impl Serialize) -> String {
    // Most are longer than what a text that grows begins with.
    let mut text = Vec::with_capacity(512);
    // Keys are text, memory takes all that is written to it, and JSON is UTF-8.
    let _ = serde_json::to_writer(&mut text, value);
    String::from_utf8(text).unwrap_or_default()
}

/// How many bytes [`text`] has.
pub fn length(value: &Value) -> usize {
    counted(value)
}

/// How many bytes [`text_of`] has.
pub fn length_of(object: &Map<String, Value>) -> usize {
    counted(object)
}

fn counted(written: &impl Serialize) -> usize {
    let mut counted = Counted(0);
    let _ = serde_json::to_writer(&mut counted, written);
    counted.0
}

/// Counts what is written, and keeps none of it.
struct Counted(usize);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The text of a value, and its length, are those that its `Display` writes.
    #[test]
    fn a_value_is_as_long_as_its_text() {
        for value in [json!(null), json!({"a\"\n": [1.5, true, "ä\u{0}\u{1f600}"], "": {}}), json!("x".repeat(1000))] {
            let written = value.to_string();
            assert_eq!((text(&value), length(&value)), (written.clone(), written.len()));
            assert!(
                value
                    .as_object()
                    .is_none_or(|object| { text_of(object) == written && length_of(object) == written.len() })
            );
        }
    }
}
