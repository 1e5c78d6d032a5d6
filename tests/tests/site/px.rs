//! The data plane.

mod answers;
mod basic;
mod cache;
mod channel;
mod forward;
mod forward_auth;
mod headers;
mod hostile;
mod hostile_http2;
mod hosts;
mod https;
mod login;
mod matrix;
mod operate;
mod peers;
mod revoke;
mod slow;
mod wire;
