//! The API, asked as its clients ask it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on may panic")]

mod applications;
mod bindings;
mod certificates;
mod mappings;
mod oauth2_providers;
mod providers;
mod read_only;
mod site;
mod sources;
