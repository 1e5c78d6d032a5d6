//! The data plane: from a request to the upstream and back.

pub mod access_log;
pub mod body;
pub mod control;
pub mod forward;
pub mod guard;
pub mod listener;
pub mod origin;
pub mod tls;
pub mod upstream;

#[cfg(test)]
mod wire_tests;
