//! The data plane: from a request to the upstream and back.

pub mod body;
pub mod control;
pub mod forward;
pub mod listener;
pub mod origin;
pub mod upstream;
