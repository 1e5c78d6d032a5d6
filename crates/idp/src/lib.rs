//! Services of the control plane, without HTTP.

pub mod access;
pub mod applications;
pub mod authenticators;
pub mod bindings;
pub mod blueprints;
pub mod bootstrap;
pub mod brands;
pub mod certificates;
pub mod change;
pub mod claims;
pub mod consents;
pub mod context;
pub mod directory;
pub mod entitlements;
pub mod error;
mod escalation;
pub mod event;
pub mod expressions;
pub mod flow;
pub mod flows;
pub mod impersonation;
pub mod issued;
pub mod limits;
pub mod list;
pub mod mail;
pub mod managed;
pub mod mappings;
pub mod oauth;
pub mod outbound;
pub mod outpost;
pub mod outposts;
pub mod own_fields;
pub(crate) mod passkeys;
pub mod password;
pub mod password_rules;
pub mod places;
pub mod policies;
pub mod portal;
pub mod providers;
pub mod recovery;
pub mod refresh_tokens;
pub mod rekey;
pub mod reputation;
pub mod revocations;
pub mod rights;
pub mod roles;
pub mod sessions;
pub mod settings;
pub mod setup;
pub mod sign_in;
pub mod signing;
pub mod sources;
pub mod takeover;
pub mod tokens;
pub mod used_by;

pub use change::{Change, Touched};
pub use context::{Actor, Context, Request, Visitor, is_ready};
pub use error::{Error, Problems};
pub use rights::Rights;

/// Rows that a sweep removes in one transaction: nobody else waits long for it.
pub(crate) const BATCH: u32 = 1000;

// The faces of the control plane show these records; they need not know the store for that.
pub use portcullis_store::StoreError;
pub use portcullis_store::account::Account;
pub use portcullis_store::application::Application;
pub use portcullis_store::login_session::LoginSession;
pub use portcullis_store::role::Role;
