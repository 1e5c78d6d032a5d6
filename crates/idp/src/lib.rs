//! Services of the control plane, without HTTP.

pub mod context;
pub mod limits;
pub mod password;
pub mod sessions;

pub use context::{Actor, Context};
