//! The binary: settings, wiring, command line, signals.

mod apply;
mod authorities;
mod blueprints;
mod breaches;
mod cli;
mod connected;
mod data_dir;
mod demo;
mod edge;
mod face;
mod healthcheck;
mod histograms;
mod https;
mod import;
mod instance;
mod listeners;
mod local;
mod mail;
mod observe;
mod open_files;
mod operator;
mod others;
mod outpost;
mod places;
mod rekey;
mod serve;
mod settings;
mod signals;
mod sockets;
mod source_keys;
mod sweep;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command, Common};
use crate::operator::Task;
use crate::settings::{Layers, Settings};

/// Threads hand each other most of what they allocate, which takes the system's allocator longer (decision 0017).
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Why the program ends without having done its work: one line for the operator.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "portcullis: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(Cli { common, command }: Cli) -> Result<(), Failure> {
    match command {
        Command::Serve => {
            let (settings, layers) = load(&common)?;
            serve::run(settings, &layers)
        }
        Command::Outpost => {
            let (settings, layers) = load(&common)?;
            outpost::run(settings, &layers)
        }
        // Its own instance: no file, no environment, no data directory of anybody.
        Command::Demo(_) if common.is_given() => {
            Err("demo is an instance of its own, with no settings but --port or --listen, and keeps nothing: to keep something, run `portcullis serve`".into())
        }
        Command::Demo(flags) => demo::run(&flags),
        Command::Apply { files } => apply::run(&load(&common)?.0, &files),
        Command::Export => apply::export(&load(&common)?.0),
        Command::Import { url, token_file, dry_run, reviewed, install_id } => {
            import::run(&load(&common)?.0, &import::From::at(url, token_file), &import::Wish { dry_run, reviewed, install_id })
        }
        Command::RecoveryLink { username, minutes } => {
            operator::run(&load(&common)?.0, &username, &Task::RecoveryLink { minutes })
        }
        Command::CreateAdminGroup { username } => operator::run(&load(&common)?.0, &username, &Task::CreateAdminGroup),
        Command::Unlock { username } => operator::run(&load(&common)?.0, &username, &Task::Unlock),
        Command::RemoveSecondFactors { username } => {
            operator::run(&load(&common)?.0, &username, &Task::RemoveSecondFactors)
        }
        Command::TestEmail { address } => mail::test(&load(&common)?.0, &address),
        Command::Rekey => rekey::run(load(&common)?.0),
        Command::Healthcheck => healthcheck::run(&load(&common)?.0),
        Command::Config => {
            let (settings, layers) = load(&common)?;
            Ok(write!(std::io::stdout(), "{}", settings::effective(&settings, &layers))?)
        }
    }
}

/// The settings of file, environment and flags.
fn load(common: &Common) -> Result<(Settings, Layers), Failure> {
    let environment = environment().collect();
    let layers = Layers::gather(common.config.as_deref(), &environment, &common.flags())?;
    Ok((Settings::read(&layers)?, layers))
}

/// The environment of the process.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, text)| Some((name.into_string().ok()?, text.to_string_lossy().into_owned())))
}
