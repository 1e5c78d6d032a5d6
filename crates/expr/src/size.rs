//! Sizes of what leaves an evaluation. It is kept outside of the interpreter, whose limits do not see it.

use serde_json::{Map, Value as Json};

/// Bytes of one message or log line; what is beyond is cut.
const TEXT: usize = 4 << 10;

/// Bytes of the details of a log line or event.
const FIELDS: usize = 32 << 10;

/// Cuts a text.
pub(crate) fn cut(mut text: String) -> String {
    if text.len() > TEXT {
        let mut end = TEXT;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Whether details may be kept.
pub(crate) fn fits(fields: &Map<String, Json>) -> bool {
    fields.iter().map(|(key, value)| key.len() + size(value)).sum::<usize>() <= FIELDS
}

/// The size of a value as JSON.
pub(crate) fn size(value: &Json) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    serde_json::to_writer(&mut count, value).map_or(usize::MAX, |()| count.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-224: long texts are cut between characters.
    #[test]
    fn co_224_long_texts_are_cut() {
        assert_eq!(cut("é".repeat(3000)), format!("{}…", "é".repeat(2048)));
        assert_eq!(cut("short".to_owned()), "short");
    }
}
