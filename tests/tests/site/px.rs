//! The data plane.

mod answers;
mod basic;
mod cache;
mod forward;
mod headers;
mod hostile;
mod hosts;
mod login;
mod matrix;
mod operate;
mod peers;
mod revoke;
mod slow;
mod wire;
