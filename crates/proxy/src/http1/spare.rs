//! Maps of fields and texts that have done their work: a new map costs two pieces of memory, of sizes that the allocator
//! has to look for, and what one thread frees another has to ask for anew.

use std::cell::RefCell;

use http::HeaderMap;

/// How many of each are kept by each thread.
const MOST: usize = 64;
/// How large they may be, in fields and in bytes.
const LARGEST: usize = 64;
const LONGEST: usize = 1024;

thread_local! {
    static SPARE: RefCell<Vec<HeaderMap>> = const { RefCell::new(Vec::new()) };
    static TEXTS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A map without fields.
pub(crate) fn take() -> HeaderMap {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Keeps a map for later use.
pub(crate) fn give(mut fields: HeaderMap) {
    if (1..=LARGEST).contains(&fields.capacity()) {
        fields.clear();
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < MOST {
                spare.push(fields);
            }
        });
    }
}

/// A text without a byte, with room for some.
pub(crate) fn take_text() -> Vec<u8> {
    TEXTS.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(LONGEST / 2))
}

/// Keeps a text's room for later use.
pub(crate) fn give_text(mut text: Vec<u8>) {
    if (1..=LONGEST).contains(&text.capacity()) {
        text.clear();
        TEXTS.with_borrow_mut(|spare| {
            if spare.len() < MOST {
                spare.push(text);
            }
        });
    }
}
