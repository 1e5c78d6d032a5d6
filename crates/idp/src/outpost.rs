//! What the embedded outpost is told, and what it asks.

mod configuration;

pub use configuration::configuration;
