//! The command line: one file per command. Each command prints for people, exits with a code for scripts.

mod audit;
mod check;
mod eval;
mod hash_password;
mod health;
mod secret;
mod serve;
mod session;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError};
use crate::telemetry::say;
use crate::text::{harmless, sentence};

/// Sidecar authorizer for service meshes: beside Envoy, for humans and agents alike.
#[derive(Debug, Parser)]
#[command(name = "attache", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer proxies until told to stop
    Serve(serve::Serve),
    /// Prove a configuration, its routes and its policy, then exit
    Check(check::Check),
    /// Decide one request here and show every step
    Eval(Box<eval::Eval>),
    /// Work on an audit trail
    Audit(Box<audit::Audit>),
    /// Ask a running instance whether it serves (for probes)
    Health(health::Health),
    /// Make the hash of a password for `humans.local`
    HashPassword(hash_password::HashPassword),
    /// Log in as a person and keep the session
    Login(session::Login),
    /// End the session that is kept, with everything delegated under it
    Logout(session::Logout),
    /// Show whose session is kept, and what it permits
    #[command(name = "whoami")]
    WhoAmI(session::WhoAmI),
}

/// Which configuration a command works on.
#[derive(Debug, Args)]
struct ConfigSource {
    /// Configuration file
    #[arg(
        long,
        value_name = "FILE",
        env = "ATTACHE_CONFIG",
        required_unless_present = "dev"
    )]
    config: Option<PathBuf>,
    /// Built-in development configuration: loopback only, everything embedded
    #[arg(long, conflicts_with = "config")]
    dev: bool,
}

impl Cli {
    /// Runs the command.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Serve(command) => command.run(),
            Command::Check(command) => command.run(),
            Command::Eval(command) => command.run(),
            Command::Audit(command) => command.run(),
            Command::Health(command) => command.run(),
            Command::HashPassword(command) => command.run(),
            Command::Login(command) => command.run(),
            Command::Logout(command) => command.run(),
            Command::WhoAmI(command) => command.run(),
        }
    }
}

impl ConfigSource {
    fn read(&self) -> Result<Config, ConfigError> {
        match &self.config {
            Some(path) => Config::read(path),
            None => Config::built_in(DEV_CONFIG),
        }
    }

    /// Reads the configuration, or prints every mistake and gives the exit code for them.
    fn read_or_complain(&self) -> Result<Config, ExitCode> {
        self.read().map_err(|error| {
            complain(&error);
            ExitCode::from(BAD_CONFIG)
        })
    }
}

/// Prints an error with its causes to standard error.
fn complain(error: &dyn std::error::Error) {
    // A server, a file or a name in it may say anything.
    say(&format!("error: {}", harmless(&sentence(error))));
}

/// A runtime on this thread, for commands that wait for something.
fn small_runtime() -> Result<tokio::runtime::Runtime, ExitCode> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            complain(&error);
            ExitCode::FAILURE
        })
}

/// The configuration of `--dev`.
const DEV_CONFIG: &str = concat!(
    include_str!("../../deploy/dev.yaml"),
    include_str!("../../deploy/dev-people.yaml")
);
/// The exit code for a configuration that can't be used, as for a wrong command line.
const BAD_CONFIG: u8 = 2;
