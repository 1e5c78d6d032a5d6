//! The control plane: API, first run, secrets, processes.

mod blueprints;
mod cli;
mod client;
mod demo;
mod import;
mod restart;
mod secrets;
