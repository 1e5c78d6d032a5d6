//! SQL and migrations of the control plane.
//!
//! A module per aggregate; its functions take a [`Conn`] and return plain records. Rules of the domain
//! live in `portcullis-idp`.

pub mod account;
mod among;
pub mod application;
pub mod authenticator;
pub mod binding;
pub mod blueprint;
pub mod brand;
pub mod certificate;
pub mod consent;
#[cfg(test)]
mod contract;
pub mod db;
pub mod device_code;
pub mod entitlement;
pub mod error;
pub mod event;
pub mod failure;
pub mod federated;
pub mod flow;
pub mod flow_run;
pub mod grant;
pub mod instance;
pub mod issued;
pub mod login_session;
pub mod managed;
pub mod mapping;
pub mod outpost;
pub mod policy;
pub mod provider;
pub mod proxy_session;
pub mod recovery_link;
pub mod refresh_token;
pub mod relation;
pub mod reputation;
pub mod retired_key;
pub mod revocation;
pub mod role;
mod row;
pub mod rp_session;
pub mod sealed;
pub mod select;
pub mod signing_key;
pub mod source;
pub mod stage;
pub mod team;
pub mod token;
pub mod webauthn;

pub use db::{Conn, Db, Tx};
pub use error::StoreError;
