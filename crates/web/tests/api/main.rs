//! The API, asked as its clients ask it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on may panic")]

mod applications;
mod bindings;
mod brands;
mod certificates;
mod consents;
mod events;
mod providers;
mod read_only;
mod rekey;
mod sessions;
mod settings;
mod site;
