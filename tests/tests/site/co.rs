//! The control plane: API, first run, secrets, processes.

mod blueprints;
mod cli;
mod client;
mod clients;
mod defaults;
mod demo;
mod document;
mod import;
mod locked;
mod mail;
mod nodes;
mod places;
mod restart;
mod secrets;
