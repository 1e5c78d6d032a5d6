//! Words and rules of the domain: pure functions, no IO, no clock, no runtime.
//!
//! Everything here is a value or a function of its arguments. Time comes in as a [`clock::Timestamp`],
//! randomness as an [`entropy::Entropy`]; tests are plain function calls.

pub mod attributes;
pub mod auth_via;
pub mod causes;
pub mod channel;
pub mod claims;
pub mod clock;
pub mod cookie;
pub mod credentials;
pub mod duration;
pub mod entropy;
pub mod epoch;
pub mod header;
pub mod host;
pub mod id;
pub mod json;
pub mod keys;
pub mod label;
pub mod marks;
pub mod negotiate;
pub mod number;
pub mod origin;
pub mod outpost;
pub mod page;
pub mod path;
pub mod pattern;
pub mod permission;
pub mod policy;
pub mod redirect;
pub mod site;
pub mod skip;
pub mod target;
pub mod totp;
pub mod user_agent;
pub mod username;
pub mod webauthn;
