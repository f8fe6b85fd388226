//! `attache check`: proves a configuration without serving it. What pipelines and hooks run.

use std::process::ExitCode;

use clap::Args;

use crate::app::prove_policy;
use crate::policy::Proof;

use super::{BAD_CONFIG, ConfigSource, complain};

/// Prove a configuration, its routes and its policy, then exit
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code: 0 sound, 2 not; every mistake is printed. Warnings do not change the code."
)]
pub(super) struct Check {
    #[command(flatten)]
    source: ConfigSource,
}

impl Check {
    #[expect(
        clippy::print_stdout,
        clippy::print_stderr,
        reason = "the answer of the command"
    )]
    pub(super) fn run(self) -> ExitCode {
        let config = match self.source.read_or_complain() {
            Ok(config) => config,
            Err(code) => return code,
        };
        for warning in &config.warnings {
            eprintln!("warning: {warning}");
        }
        let policy = match prove_policy(&config) {
            Ok(Proof::Loaded(program)) => {
                if let Some(call) = program.volatile() {
                    eprintln!(
                        "warning: policy verdicts are not cached, since the policy calls {call}"
                    );
                }
                format!("at revision {}", program.revision())
            }
            Ok(Proof::Unasked) => {
                let endpoint = &config.fixed.policy.opa.endpoint;
                format!("of OPA at {endpoint}, which was not asked")
            }
            Err(error) => {
                complain(&error);
                return ExitCode::from(BAD_CONFIG);
            }
        };
        let shadowed = config.rules.routes.in_shadow_mode().count();
        println!(
            "sound: {} routes ({shadowed} in shadow mode), policy {} {policy}",
            config.rules.routes.len(),
            config.fixed.policy.path,
        );
        ExitCode::SUCCESS
    }
}
