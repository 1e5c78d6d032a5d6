//! The identity provider: tokens and sign-in.

mod logins;
mod tokens;
