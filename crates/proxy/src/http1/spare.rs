//! Maps of fields that have done their work: a new one costs two pieces of memory, of sizes that the allocator has to
//! look for.

use std::cell::RefCell;

use http::HeaderMap;

/// How many are kept by each thread, and how large they may be.
const MOST: usize = 64;
const LARGEST: usize = 64;

thread_local! {
    static SPARE: RefCell<Vec<HeaderMap>> = const { RefCell::new(Vec::new()) };
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
