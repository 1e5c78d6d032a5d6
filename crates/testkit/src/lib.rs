//! Processes, peers and browsers for end-to-end tests.
//!
//! Tests drive the built binary from outside: [`Site`] runs it on free ports with a directory of its own, [`Api`]
//! sets it up, [`Visitor`] and [`Browser`] are people, [`Recorder`] is an application that remembers what reached
//! it, and [`peers`] are real servers and clients. Every process ends with the test process.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "test support: a step that fails is a test that fails"
)]

pub mod api;
pub mod browser;
pub mod cases;
#[cfg(test)]
mod dependencies;
pub mod frames;
pub mod fronts;
pub mod http;
pub mod http2;
pub mod outpost;
pub mod peers;
pub mod postgres;
pub mod process;
pub mod raw;
pub mod recorder;
pub mod relying_party;
pub mod requirements;
pub mod site;
pub mod smtp;
pub mod visitor;
pub mod wait;

pub use api::{Api, App, Person};
pub use browser::{Authenticator, Browser};
pub use http::{Go, Reply, http};
pub use outpost::Outpost;
pub use process::{Finished, Process};
pub use recorder::{Recorder, Seen};
pub use site::Site;
pub use smtp::MailServer;
pub use visitor::Visitor;
pub use wait::until;

use std::future::Future;
use std::sync::LazyLock;

/// Runs a test on the one runtime of the test process, so that sites and clients can be shared between tests.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
    });
    RUNTIME.block_on(test)
}
