//! The API, asked as its clients ask it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on may panic")]

mod applications;
mod bindings;
mod certificates;
mod engine;
mod entitlements;
mod expressions;
mod policies;
mod providers;
mod read_only;
mod reputation;
mod roles;
mod site;
