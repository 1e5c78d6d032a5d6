//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Identity-aware reverse proxy with its own identity provider.
#[derive(Debug, Parser)]
#[command(
    name = "portcullis",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Settings file; without it, `portcullis.toml` in the working directory, if there is one
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Directory for database and secret key; the setting `data_dir`
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Any setting, such as `--set listen.http=127.0.0.1:8000`; stronger than file and environment
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) set: Vec<(String, String)>,
}

impl Common {
    /// Whether there is any.
    pub(crate) fn is_given(&self) -> bool {
        self.config.is_some() || self.data_dir.is_some() || !self.set.is_empty()
    }

    /// The settings that were given as flags, in ascending strength.
    pub(crate) fn flags(&self) -> Vec<(String, String)> {
        let data_dir = self.data_dir.iter().map(|path| ("data_dir".to_owned(), path.display().to_string()));
        self.set.iter().cloned().chain(data_dir).collect()
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything in one process: sign-in, API and proxy
    Serve,
    /// Run a stand-alone outpost: the proxy alone, for a control plane elsewhere
    ///
    /// It needs the URL of the control plane and the token of the outpost there: PORTCULLIS_HOST and PORTCULLIS_TOKEN.
    Outpost,
    /// Try it: a throw-away instance with users, a demo application, and commands to copy
    Demo(Demo),
    /// Apply blueprints: each file as a whole or not at all, also beside a running server
    Apply {
        /// Blueprint files, applied one after the other until one is refused; `-` is standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print one blueprint of everything, secrets left out
    Export,
    /// Take over users, groups, applications and the rest from another server of the same API
    ///
    /// The token is that of somebody who administers the server, in a file or in PORTCULLIS_IMPORT_TOKEN. What cannot be
    /// taken over is reported. A second run brings what has changed there since. Expressions of mappings and policies come
    /// as comments, until they are reviewed: a dry run shows them, and the value for `--reviewed`.
    Import {
        /// Address of the server, such as https://id.example.com
        url: String,
        /// File that holds the token
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
        /// Change nothing: tell what would be taken over, what would not, and what to look at
        #[arg(long)]
        dry_run: bool,
        /// The expressions that a dry run has shown with this value were reviewed: they come ready to be used
        #[arg(long, value_name = "VALUE")]
        reviewed: Option<String>,
        /// Installation id of the server, if its API does not tell it
        #[arg(long, value_name = "UUID")]
        install_id: Option<String>,
    },
    /// Print a link by which a user chooses a new password; good once
    RecoveryLink {
        /// User name
        username: String,
        /// For how many minutes it is good
        #[arg(default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
        minutes: u32,
    },
    /// Make a user an administrator
    CreateAdminGroup {
        /// User name
        username: String,
    },
    /// Forget a user's failed attempts to sign in
    Unlock {
        /// User name
        username: String,
    },
    /// Take away a user's second factors, lost or without recovery codes: the password is enough then
    RemoveSecondFactors {
        /// User name
        username: String,
    },
    /// Send a mail, to see whether the settings under `email.` are right
    TestEmail {
        /// Where to
        address: String,
    },
    /// Replace the secret key: seal everything anew, while nothing else uses the data directory
    Rekey,
    /// Exit with 0 if the instance that these settings describe is ready, else with 1
    Healthcheck,
    /// Print the effective settings, secrets masked
    Config,
}

/// Flags of `demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Port for everything that the demo shows
    #[arg(long, default_value_t = 9000)]
    pub(crate) port: u16,
    /// Socket to listen on, instead of `--port` on the loopback addresses
    #[arg(long, value_name = "ADDRESS", conflicts_with = "port")]
    pub(crate) listen: Option<SocketAddr>,
}

fn key_value(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// CO-008: the command line is consistent, and every flag that sets something names a setting.
    #[test]
    fn co_008_the_command_line_is_consistent() {
        Cli::command().debug_assert();
        let cli = Cli::parse_from(["portcullis", "serve", "--data-dir", "/d", "--set", "log.access=false"]);
        let flags = cli.common.flags();
        assert!(flags.iter().all(|(key, _)| crate::settings::declarations().any(|declared| declared.key == key)));
        assert_eq!(flags.len(), 2);
    }
}
