//! Services of the control plane, without HTTP.

pub mod change;
pub mod claims;
pub mod context;
pub mod directory;
pub mod error;
pub mod event;
pub mod limits;
pub mod password;
pub mod settings;
pub mod signing;
pub mod tokens;

pub use change::{Change, Touched};
pub use context::{Actor, Context, Visitor};
pub use error::{Error, Problems};
