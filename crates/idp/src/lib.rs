//! Services of the control plane, without HTTP.

pub mod context;
pub mod password;

pub use context::{Actor, Context};
