//! Services of the control plane, without HTTP.

pub mod change;
pub mod context;
pub mod directory;
pub mod error;
pub mod event;
pub mod limits;
pub mod password;
pub mod sessions;
pub mod settings;
pub mod sign_in;
pub mod signing;
pub mod tokens;

pub use change::{Change, Touched};
pub use context::{Actor, Context};
pub use error::{Error, Problems};
