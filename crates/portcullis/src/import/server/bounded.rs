//! JSON of a bounded number of values: `[{},{},…]` takes many times as much memory as its text.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unread {
    /// It is not JSON, or nested too deeply.
    #[error("this is no JSON")]
    NoJson,
    /// It has more values than are read.
    #[error("more values than one answer may have")]
    TooMany,
}

/// Reads a text of at most so many values, members and elements counted one by one. Tells also how many were read.
pub(super) fn read(text: &[u8], most: usize) -> (Result<Value, Unread>, usize) {
    let left = Cell::new(most);
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Values(&left).deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    let value = value.map_err(|error| if error.is_data() { Unread::TooMany } else { Unread::NoJson });
    (value, most - left.get())
}

/// Makes values as long as some are left.
#[derive(Clone, Copy)]
struct Values<'a>(&'a Cell<usize>);

impl Values<'_> {
    fn one<E: Error>(self, value: impl Into<Value>) -> Result<Value, E> {
        let left = self.0.get().checked_sub(1).ok_or_else(|| E::custom("too many values"))?;
        self.0.set(left);
        Ok(value.into())
    }
}

impl<'de> DeserializeSeed<'de> for Values<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Values<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        self.one(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        self.one(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.one(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.one(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        self.one(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.one(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        self.one::<A::Error>(())?;
        let mut all = Vec::new();
        while let Some(element) = elements.next_element_seed(self)? {
            all.push(element);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        self.one::<A::Error>(())?;
        let mut all = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            all.insert(name, members.next_value_seed(self)?);
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OA-930: what is read is what is there, and each value counts.
    #[test]
    fn oa_930_values_are_counted() {
        let text = r#"{"a": [1, -2, 1e300, "\u00e4", true, null, {}], "b": "c"}"#;
        let plain: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(read(text.as_bytes(), 10), (Ok(plain), 10));
        assert_eq!(read(text.as_bytes(), 9), (Err(Unread::TooMany), 9));
        for broken in ["", "[1", "[] []", "{\"a\"}", "nothing"] {
            assert_eq!(read(broken.as_bytes(), 9).0, Err(Unread::NoJson), "{broken}");
        }
        assert_eq!(read("[".repeat(1000).as_bytes(), 9999).0, Err(Unread::NoJson));
    }

    /// OA-930: an answer that is short for what it makes of memory is not read to its end.
    #[test]
    fn oa_930_an_answer_of_many_values_is_refused() {
        let text = format!("[{}{{}}]", "{},".repeat(100_000));
        assert_eq!(read(text.as_bytes(), 1000), (Err(Unread::TooMany), 1000));
    }
}
