//! What must hold for any bytes: targets that mutated inputs are thrown at.
//!
//! Each target is a function of bytes that panics when something does not hold. Its inputs begin as the lines of
//! `fuzz/corpus/TARGET.txt` and are changed at random, from a seed, so that a failure can be repeated: it prints
//! the input. `PORTCULLIS_FUZZ_ROUNDS` and `PORTCULLIS_FUZZ_SEED` make it longer and different; `just fuzz` does.

mod engine;
mod texts;
mod wire;
