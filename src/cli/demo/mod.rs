//! `attache demo`: a person delegates to an agent, the agent to another one, each may do less, and all of it ends at once.
//!
//! Everything is real and in this process: the services on a Unix socket and over mutual TLS, the memory and the trail in
//! files, certificates made for the run. Every line is compared with what it has to be; the exit code is 0 only if all are.
//! One step is no call over a socket: the task is revoked by attache itself.

mod credentials;
mod house;
mod walk;

use std::process::ExitCode;

use clap::Args;
use tokio::runtime::Builder;

use super::complain;
use house::{House, HouseError};
use walk::Walk;

/// Show a delegation from its beginning to its end, with everything in this process
#[derive(Debug, Args)]
#[command(after_help = "\
Alice logs in and delegates to an agent, which delegates less to another one; both ask what they may do; the task is \
revoked. Then the audit trail of it. Nothing is left behind.

Exit code: 0 everything was as it has to be, 1 something was not.")]
pub(super) struct Demo {}

impl Demo {
    #[expect(clippy::unused_self, reason = "as every command")]
    pub(super) fn run(&self) -> ExitCode {
        match walked() {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                complain(&error);
                ExitCode::FAILURE
            }
        }
    }
}

/// Whether every line was as it has to be.
fn walked() -> Result<bool, HouseError> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(HouseError::Runtime)?;
    runtime.block_on(async {
        let house = House::open().await?;
        let walked = Walk::new(&house).go().await;
        house.close().await?;
        walked
    })
}
