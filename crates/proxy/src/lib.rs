//! The data plane: from a request to the upstream and back.

pub mod access_log;
pub mod answer;
pub mod application;
pub mod applications;
pub mod authenticate;
pub mod body;
pub mod control;
pub mod forward;
mod forward_auth;
pub mod guard;
mod http1;
pub mod identity;
pub mod identity_cache;
pub mod identity_headers;
mod informational;
pub mod limiter;
pub mod lines;
pub mod listener;
pub mod live;
pub mod login;
pub mod meters;
pub mod metrics;
pub mod origin;
pub mod path_class;
pub mod permit;
pub mod plane;
mod recent_digests;
pub mod remote;
pub mod report;
pub mod request_ids;
pub mod settings;
mod splice;
mod stages;
mod tcp;
pub mod threads;
pub mod tls;
pub mod upstream;

#[cfg(test)]
pub mod fuzz;
#[cfg(all(feature = "fuzz", not(test)))]
pub mod fuzz;
#[cfg(test)]
mod wire_tests;
