//! What the embedded outpost is told, and what it asks.

mod answers;
mod configuration;
pub mod sessions;

pub use answers::{CodeExchange, OutpostError, exchange_code, introspect, still_stands, verify_password};
pub use configuration::configuration;
