//! `attache token`: has a token issued for a grant, or asks what a mandate permits.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgGroup, Args};
use serde_json::json;

use super::door::DoorFlags;
use super::{CommandError, mandate, run, show, until, write_token};
use crate::grpc::{DelegationClient, MandateRef, PermissionInfo, TokenInfo};
use crate::permission::{Action, Resource};

/// Have a token issued for a grant, or ask what it permits
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("mandate").args(["grant", "token_file"]).required(true),
    group = ArgGroup::new("purpose").args(["out", "print_token", "check"]).required(true),
    after_help = "\
As the agent that holds the grant, with its certificate:
  attache token --address HOST:PORT --certificate svid.pem --key key.pem --bundle bundle.pem \
--server SPIFFE_ID --grant ID --out token
  attache token … --token-file token --check documents:read

Exit code: 0 issued or allowed, 1 refused or not reachable, 2 wrong use, 3 with --check: not allowed."
)]
#[expect(clippy::struct_field_names, reason = "named as the flags")]
pub(in crate::cli) struct Token {
    /// The grant
    #[arg(long, value_name = "ID")]
    grant: Option<String>,
    /// With --check: the token in this file instead
    #[arg(long, value_name = "FILE", requires = "check")]
    token_file: Option<PathBuf>,
    /// Keep the token in this file, which nobody else may read
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print the token and nothing else
    #[arg(long)]
    print_token: bool,
    /// Issue nothing; ask what is permitted, and if nothing, at which handover that was lost
    #[arg(long, value_name = "RESOURCE:ACTION", value_parser = operation)]
    check: Option<(Resource, Action)>,
    /// Service that the token is for [default: the only one of the grant]
    #[arg(
        long,
        value_name = "URI",
        default_value = "",
        hide_default_value = true
    )]
    audience: String,
    /// How long it lives at most, as `1m` [default: `delegation.token_ttl`]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
    /// Print JSON; never the token
    #[arg(long, conflicts_with = "print_token")]
    json: bool,
    #[command(flatten)]
    door: DoorFlags,
}

/// `documents/42:read`.
fn operation(text: &str) -> Result<(Resource, Action), String> {
    let (resource, action) = text
        .rsplit_once(':')
        .ok_or("write RESOURCE:ACTION, as documents/42:read")?;
    let resource = resource.parse().map_err(|error| format!("{error}"))?;
    let action = action.parse().map_err(|error| format!("{error}"))?;
    Ok((resource, action))
}

impl Token {
    pub(in crate::cli) fn run(self) -> ExitCode {
        run(self.work())
    }

    async fn work(self) -> Result<ExitCode, CommandError> {
        let mandate = mandate(self.grant.as_deref(), self.token_file.as_deref())?;
        let mandate = mandate.ok_or(CommandError::Flag("name a grant with --grant"))?;
        let client = self.door.client().await?;
        match &self.check {
            Some((resource, action)) => self.ask(client, mandate, resource, action).await,
            None => self.issue(client).await,
        }
    }

    async fn issue(&self, mut client: DelegationClient) -> Result<ExitCode, CommandError> {
        let grant = self.grant.as_deref().unwrap_or_default();
        let issued = client.mint(grant, &self.audience, self.ttl).await;
        let issued = issued.map_err(CommandError::of_server)?;
        if let Some(path) = &self.out {
            write_token(path, &issued.token)?;
        }
        self.print(&issued);
        Ok(ExitCode::SUCCESS)
    }

    async fn ask(
        &self,
        mut client: DelegationClient,
        mandate: MandateRef,
        resource: &Resource,
        action: &Action,
    ) -> Result<ExitCode, CommandError> {
        let (resource, action) = (resource.to_string(), action.to_string());
        let answer = client.check_permission(mandate, &resource, &action).await;
        let answer = answer.map_err(CommandError::of_server)?;
        self.print_answer(&answer);
        Ok(match answer.result {
            "allowed" => ExitCode::SUCCESS,
            _ => ExitCode::from(NOT_ALLOWED),
        })
    }

    #[expect(clippy::print_stdout, reason = "the answer of the command")]
    fn print(&self, issued: &TokenInfo) {
        let until = until(issued.expires);
        match (&self.out, self.print_token) {
            (_, true) => println!("{}", issued.token.expose()),
            _ if self.json => {
                println!(
                    "{}",
                    json!({"jti": issued.jti, "expires": until.to_string()})
                );
            }
            (Some(path), false) => println!("token until {until} in {}", path.display()),
            (None, false) => {}
        }
    }

    fn print_answer(&self, answer: &PermissionInfo) {
        let PermissionInfo {
            result,
            code,
            reason,
            hop,
        } = answer;
        if self.json {
            let told = json!({
                "result": result, "reason_code": code, "reason": reason, "lost_at_hop": hop,
            });
            show(&told.to_string());
            return;
        }
        match (reason.as_str(), hop) {
            ("", _) => show(result),
            (reason, 0) => show(&format!("{result} ({reason})")),
            (reason, hop) => show(&format!("{result} ({reason}, at handover {hop})")),
        }
    }
}

/// The exit code for an operation that is not allowed, as of `attache eval`.
const NOT_ALLOWED: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_a_resource_and_an_action() {
        let (resource, action) = operation("documents/42:read").unwrap();
        assert_eq!(
            (resource.to_string(), action.to_string()),
            ("documents/42".into(), "read".into())
        );
        assert!(operation("documents").is_err());
        assert!(operation(":read").is_err());
        assert!(operation("documents:").is_err());
    }
}
