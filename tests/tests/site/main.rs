//! Portcullis from outside: the built binary, real browsers, servers and clients.
//!
//! Modules follow the families of requirements. A test takes names of its own for users and applications, so that
//! most share one site and run side by side; a test that counts, restarts or breaks something has a site of its own.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests"
)]

mod co;
mod flows;
mod oa;
mod pages;
mod passkeys;
mod px;
mod stage;
