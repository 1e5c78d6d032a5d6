//! The API, asked as its clients ask it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on may panic")]

mod access;
mod applications;
mod bindings;
mod blueprints;
mod blueprints_engine;
mod blueprints_export;
mod blueprints_limits;
mod blueprints_models;
mod brands;
mod certificates;
mod channel;
mod concurrent;
mod consents;
mod conventions;
mod engine;
mod entitlements;
mod escalation;
mod escalation_clients;
mod events;
mod expressions;
mod impersonation;
mod keys;
mod mappings;
mod naming;
mod oauth2_providers;
mod ordering;
mod outpost_client;
mod outposts;
mod places;
mod policies;
mod providers;
mod read_only;
mod rekey;
mod reputation;
mod rights;
mod roles;
mod sessions;
mod settings;
mod site;
mod sources;
mod takeover;
mod token_keys;
mod used_by;
