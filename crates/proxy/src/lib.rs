//! The data plane: from a request to the upstream and back.

pub mod control;
