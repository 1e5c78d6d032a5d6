//! libFuzzer's program for all targets of `portcullis_proxy::fuzz`: `PORTCULLIS_FUZZ_TARGET` names the one that is tried.
//! `tools/fuzz.py` builds and runs it.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use portcullis_proxy::fuzz::{TARGETS, Target};

thread_local! {
    static TARGET: RefCell<Target> = RefCell::new(chosen());
}

fn chosen() -> Target {
    let chosen = std::env::var("PORTCULLIS_FUZZ_TARGET").unwrap_or_default();
    match TARGETS.iter().find(|(name, _)| *name == chosen) {
        Some((_, begin)) => begin(),
        None => {
            let names: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
            panic!("PORTCULLIS_FUZZ_TARGET names one of {}", names.join(", "))
        }
    }
}

fuzz_target!(|input: &[u8]| {
    TARGET.with_borrow_mut(|check| check(input));
});
