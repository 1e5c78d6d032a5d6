//! Errors in words.

use std::error::Error;

/// What an error says, and what those say that led to it, each once: the outermost alone often says little.
pub fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(present) = cause {
        let next = present.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = present.source();
    }
    text
}
