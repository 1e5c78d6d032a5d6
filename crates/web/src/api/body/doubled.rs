//! Keys that occur twice in one object, of which a parser drops one without a word (CO-069).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// The fields of a body below which an object has a key twice.
pub(super) fn fields(body: &[u8]) -> BTreeSet<String> {
    let fields: BTreeMap<String, Doubled> = serde_json::from_slice(body).unwrap_or_default();
    fields.into_iter().filter(|(_, doubled)| doubled.0).map(|(field, _)| field).collect()
}

/// Whether some object in a value has a key twice.
struct Doubled(bool);

impl<'de> Deserialize<'de> for Doubled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Look).map(Self)
    }
}

struct Look;

impl<'de> Visitor<'de> for Look {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let (mut keys, mut found) = (BTreeSet::new(), false);
        while let Some((key, below)) = map.next_entry::<String, Doubled>()? {
            found |= below.0 | !keys.insert(key);
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<bool, A::Error> {
        let mut found = false;
        while let Some(below) = list.next_element::<Doubled>()? {
            found |= below.0;
        }
        Ok(found)
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-069: a key that occurs twice in one object is found at any depth, and nothing else is.
    #[test]
    fn co_069_doubled_keys_are_found() {
        let body =
            br#"{"a": {"x": 1, "x": 2}, "b": [1.5, {"y": {"z": null, "z": true}}], "c": {"x": "x", "y": {"x": -1}}}"#;
        assert_eq!(fields(body).into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert!(fields(b"[]").is_empty());
    }
}
