//! Drives the data plane against a control plane with a memory and an upstream that records.

#[cfg(test)]
mod answers;
#[cfg(test)]
mod forward_auth;
#[cfg(test)]
mod header_auth;
#[cfg(test)]
pub(crate) mod hosts;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod login;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod sign_out;
pub(crate) mod site;
