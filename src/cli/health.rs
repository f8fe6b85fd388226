//! `attache health`: asks a running instance, for probes in images without other tools.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::grpc::{HealthClientError, ServingStatus, query_health};

use super::{BAD_CONFIG, complain, small_runtime};

/// Ask a running instance whether it serves (for probes)
#[derive(Debug, Args)]
#[command(after_help = "Exit code: 0 serving, 1 not serving or not reachable, 2 wrong use.")]
pub(super) struct Health {
    /// Address of the health listener
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8082")]
    addr: String,
    /// Service to ask about: liveness, readiness, startup or a gRPC service name; empty for the process as a whole
    #[arg(long, value_name = "NAME", default_value = "")]
    service: String,
    /// How long to wait for an answer
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl Health {
    #[expect(clippy::print_stdout, reason = "the answer of the command")]
    pub(super) fn run(self) -> ExitCode {
        let runtime = match small_runtime() {
            Ok(runtime) => runtime,
            Err(code) => return code,
        };
        match runtime.block_on(query_health(&self.addr, &self.service, self.timeout)) {
            Ok(ServingStatus::Serving) => {
                println!("SERVING");
                ExitCode::SUCCESS
            }
            Ok(ServingStatus::NotServing) => {
                println!("NOT_SERVING");
                ExitCode::FAILURE
            }
            Err(error @ HealthClientError::Address(_)) => {
                complain(&error);
                ExitCode::from(BAD_CONFIG)
            }
            Err(error) => {
                complain(&error);
                ExitCode::FAILURE
            }
        }
    }
}
