//! Services of the control plane, without HTTP.

pub mod context;

pub use context::{Actor, Context};
