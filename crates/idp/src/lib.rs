//! Services of the control plane, without HTTP.

pub mod context;
pub mod password;

pub mod signing;

pub use context::{Actor, Context};
