//! The control plane: API, first run, secrets, processes.

mod blueprints;
mod cli;
mod client;
mod demo;
mod restart;
mod secrets;
