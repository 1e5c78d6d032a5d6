//! Services of the control plane, without HTTP.

pub mod access;
pub mod applications;
pub mod bindings;
pub mod change;
pub mod claims;
pub mod context;
pub mod directory;
pub mod error;
pub mod event;
pub mod flows;
pub mod limits;
pub mod mappings;
pub mod outpost;
pub mod outposts;
pub mod password;
pub mod providers;
pub mod sessions;
pub mod settings;
pub mod sign_in;
pub mod signing;
pub mod tokens;

pub use change::{Change, Touched};
pub use context::{Actor, Context, Visitor};
pub use error::{Error, Problems};
