//! What must hold for any bytes: targets that mutated inputs are thrown at.
//!
//! Each target is a function of bytes that panics when something does not hold. It is tried in two ways:
//!
//! - by tests. Inputs are the lines of `fuzz/found/TARGET.txt`, and those of `fuzz/corpus/TARGET.txt` changed at random,
//!   from a seed, so that a failure can be repeated: it prints the input. `PORTCULLIS_FUZZ_ROUNDS` and
//!   `PORTCULLIS_FUZZ_SEED` make it longer and different;
//! - by libFuzzer, which sees what code an input reaches and goes on from those that reach more (`just fuzz`). The package
//!   in `fuzz/` is its program. It has this crate built with the feature `fuzz`, which nothing else does, and which brings
//!   in what the tests stand on.

#[cfg(test)]
mod engine;
mod texts;
mod wire;

/// Panics when something does not hold for an input; says whether the input came far.
pub type Target = Box<dyn FnMut(&[u8]) -> bool>;

/// Makes a target ready.
pub type Begin = fn() -> Target;

/// All targets: their names, and what makes them ready.
pub const TARGETS: &[(&str, Begin)] = &[
    ("basic", texts::basic),
    ("cookie", texts::cookie),
    ("expression", texts::expression),
    ("pieces", texts::pieces),
    ("question", wire::question),
    ("redirect", texts::redirect),
    ("request", wire::request),
    ("state", texts::state),
    ("webauthn", texts::webauthn),
];
