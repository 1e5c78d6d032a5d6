//! The identity provider: tokens and sign-in.

mod cluster;
mod issuer;
mod logins;
mod relying_party;
mod strict;

mod tokens;
mod trust;
