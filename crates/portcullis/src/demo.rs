//! Try it.

mod whoami;
