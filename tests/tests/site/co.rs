//! The control plane: API, first run, secrets, processes.

mod cli;
mod client;
mod clients;
mod demo;
mod document;
mod locked;
mod restart;
mod secrets;
