//! Drives the data plane against a control plane with a memory and an upstream that records.

mod answers;
mod forward_auth;
mod header_auth;
pub(crate) mod hosts;
mod identity;
mod login;
mod sessions;
mod sign_out;
pub(crate) mod site;
