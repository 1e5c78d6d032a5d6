//! How much a document may come to (CO-720): its tags copy values, and copies of copies would grow without end.

use serde_json::Value;

use crate::Fault;

/// The most values that a document may come to, copies included.
const MAX_VALUES: usize = 500_000;
/// The most bytes of text in them.
const MAX_TEXT: usize = 16 << 20;

/// What is left for the entries of one document.
#[derive(Debug)]
pub struct Budget {
    values: usize,
    bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { values: MAX_VALUES, bytes: MAX_TEXT }
    }
}

impl Budget {
    /// Takes one value with as many bytes of text.
    pub(crate) fn take(&mut self, bytes: usize, line: usize) -> Result<(), Fault> {
        self.values = self.values.checked_sub(1).ok_or_else(|| {
            Fault::new(line, format!("The document comes to more than {MAX_VALUES} values, copies included."))
        })?;
        self.bytes = self.bytes.checked_sub(bytes).ok_or_else(|| {
            Fault::new(line, format!("The document comes to more than {MAX_TEXT} bytes of text, copies included."))
        })?;
        Ok(())
    }

    /// Takes a value with everything in it. Call it before the value is copied.
    pub(crate) fn take_all(&mut self, value: &Value, line: usize) -> Result<(), Fault> {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => self.take(0, line),
            Value::String(text) => self.take(text.len(), line),
            Value::Array(items) => {
                self.take(0, line)?;
                items.iter().try_for_each(|item| self.take_all(item, line))
            }
            Value::Object(members) => {
                self.take(0, line)?;
                members.iter().try_for_each(|(key, member)| {
                    self.take(key.len(), line)?;
                    self.take_all(member, line)
                })
            }
        }
    }
}
