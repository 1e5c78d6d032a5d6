//! The language of blueprints (CO-720 … CO-728): YAML with tags, from text to entries that can be applied.
//!
//! [`Blueprint::read`] reads a text without looking at the world: everything that can be wrong with the text alone is
//! found here, with its line. [`Entry::resolve`] then works out one entry, and asks a [`World`] for what the tags
//! need to know: objects, variables, files. Nothing here knows what a model is.

mod budget;
mod document;
mod format;
mod node;
mod resolve;
mod scalar;
mod tag;
mod yaml;

pub use budget::Budget;
pub use document::{Blueprint, Entry, Metadata, Permission, Resolved, State};
pub use node::Node;
pub use resolve::{Answer, World};

/// The most bytes of a document (CO-720).
pub const MAX_BYTES: usize = 1 << 20;

/// What is wrong with a blueprint, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct Fault {
    /// Line of the document, from 1.
    pub line: usize,
    /// What is wrong there.
    pub message: String,
}

impl Fault {
    pub(crate) fn new(line: usize, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }
}

/// Merges `over` into `under`, object by object; what comes later wins (CO-724, CO-728).
pub fn merge(under: &mut serde_json::Map<String, serde_json::Value>, over: serde_json::Map<String, serde_json::Value>) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(serde_json::Value::Object(old)), serde_json::Value::Object(new)) => merge(old, new),
            (_, value) => drop(under.insert(key, value)),
        }
    }
}

/// Reads a YAML document without tags.
///
/// # Errors
/// When it is not well formed, or has tags.
pub fn read_yaml(text: &str) -> Result<serde_json::Value, Fault> {
    let node = yaml::read(text)?;
    node.plain().ok_or_else(|| Fault::new(node.line, "Tags have no meaning here."))
}
