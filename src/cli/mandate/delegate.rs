//! `attache delegate`: hands authority on, less than the caller holds and for a task; or says what would be handed on.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::json;

use super::door::DoorFlags;
use super::{CommandError, mandate, run, show, until, write_token};
use crate::delegation::{AgentId, AgentType, TaskId};
use crate::grpc::{HandoverInfo, HandoverWanted};
use crate::identity::SpiffeId;

/// Hand authority on to an agent, less than you hold and for a task
#[derive(Debug, Args)]
#[command(after_help = "\
As a person, with the session of `attache login`:
  attache delegate --to spiffe://example.org/agent/scheduling --as scheduling-agent-001 --task task-abc \
--resources documents,analytics --further 1
As an agent, with its certificate, from the grant that it holds:
  attache delegate --address HOST:PORT --certificate svid.pem --key key.pem --bundle bundle.pem \
--server SPIFFE_ID --grant ID --to SPIFFE_ID --as analysis-agent-002 --resources documents --read-only

The agent then has its tokens issued with `attache token --grant ID`.

Exit code: 0 handed on, 1 refused or not reachable, 2 wrong use.")]
#[expect(clippy::struct_excessive_bools, reason = "a flag each")]
pub(in crate::cli) struct Delegate {
    /// Workload that the agent runs as
    #[arg(long = "to", value_name = "SPIFFE_ID")]
    workload: SpiffeId,
    /// Its own name, and what it is [default: the only type that delegation.agents has for the workload]
    #[arg(long = "as", value_name = "NAME[:TYPE]", value_parser = named)]
    agent: (AgentId, Option<AgentType>),
    /// Task that it is for; a new name begins a part of your own task [default: your own task, or for a person a new
    /// one]
    #[arg(long, value_name = "TASK")]
    task: Option<TaskId>,
    /// What a new task is for, in words
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    purpose: String,
    /// Only these resources and what is below them, as `documents,analytics`
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    resources: Option<Vec<String>>,
    /// Only these actions, as `read,update`
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    actions: Option<Vec<String>>,
    /// Only these permissions, as `documents/**:read,documents/**:delete@supervised`
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    permissions: Option<Vec<String>>,
    /// Only reading
    #[arg(long)]
    read_only: bool,
    /// How long at most, as `10m` [default: as long as what it comes from]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
    /// Services that tokens may be for [default: those of what it comes from]
    #[arg(long, value_name = "URI", value_delimiter = ',')]
    audience: Vec<String>,
    /// How many more times it may be handed on
    #[arg(long, value_name = "N", default_value_t = 0)]
    further: u8,
    /// From this grant, which you hold
    #[arg(long, value_name = "ID", conflicts_with = "token_file")]
    grant: Option<String>,
    /// From the token in this file, which you hold
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Refuse rather than hand on less than was named
    #[arg(long)]
    exact: bool,
    /// Say what would be handed on, and change nothing
    #[arg(long, conflicts_with = "out")]
    dry_run: bool,
    /// Keep the first token in this file, which nobody else may read
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    door: DoorFlags,
}

/// `NAME` or `NAME:TYPE`.
fn named(text: &str) -> Result<(AgentId, Option<AgentType>), String> {
    let (name, kind) = match text.split_once(':') {
        Some((name, kind)) => (name, Some(kind)),
        None => (text, None),
    };
    let name = name.parse().map_err(|error| format!("{error}"))?;
    let kind = kind.map(str::parse).transpose();
    Ok((name, kind.map_err(|error| format!("{error}"))?))
}

impl Delegate {
    pub(in crate::cli) fn run(self) -> ExitCode {
        run(self.hand_on())
    }

    async fn hand_on(self) -> Result<ExitCode, CommandError> {
        let wanted = self.wanted()?;
        let mut client = self.door.client().await?;
        let handed = client.delegate(wanted).await;
        let handed = handed.map_err(CommandError::of_server)?;
        if let (Some(path), Some(issued)) = (&self.out, &handed.token) {
            write_token(path, &issued.token)?;
        }
        self.print(&handed);
        Ok(ExitCode::SUCCESS)
    }

    fn wanted(&self) -> Result<HandoverWanted, CommandError> {
        let mut rng: StdRng = rand::make_rng();
        let (name, kind) = &self.agent;
        Ok(HandoverWanted {
            parent: mandate(self.grant.as_deref(), self.token_file.as_deref())?,
            spiffe_id: self.workload.to_string(),
            agent_id: name.to_string(),
            agent_type: kind.as_ref().map(ToString::to_string).unwrap_or_default(),
            task: self
                .task
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            purpose: self.purpose.clone(),
            resources: self.resources.clone(),
            actions: self.actions.clone(),
            permissions: self.permissions.clone(),
            supervise: Vec::new(),
            read_only: self.read_only,
            audience: self.audience.clone(),
            ttl: self.ttl,
            reject_excess: self.exact,
            further: self.further.into(),
            // A token that nobody keeps should not be there.
            claim: self.out.is_none(),
            dry_run: self.dry_run,
            request_id: format!("{:032x}", rng.random::<u128>()),
        })
    }

    fn print(&self, handed: &HandoverInfo) {
        let HandoverInfo {
            grant,
            token,
            dropped,
        } = handed;
        if self.json {
            let told = json!({
                "grant": grant.id,
                "chain": grant.chain,
                "task": grant.task,
                "permissions": grant.permissions,
                "dropped": dropped,
                "audience": grant.audience,
                "expires": until(grant.expires).to_string(),
                "jti": token.as_ref().map(|it| &it.jti),
            });
            show(&told.to_string());
            return;
        }
        if self.dry_run {
            show("would be handed on; nothing was changed");
        }
        show(&format!("chain        {}", grant.chain.join(" > ")));
        show(&format!("task         {}", grant.task));
        list("permissions", &grant.permissions);
        list("not held", dropped);
        show(&format!("until        {}", until(grant.expires)));
        if self.dry_run {
            return;
        }
        show(&format!("grant        {}", grant.id));
        match &self.out {
            Some(path) => show(&format!("token        in {}", path.display())),
            None => show(&format!(
                "token        by the agent, with attache token --grant {}",
                grant.id
            )),
        }
    }
}

/// A list below its heading; nothing where it is empty.
fn list(heading: &str, items: &[String]) {
    let headings = std::iter::once(heading).chain(std::iter::repeat(""));
    for (heading, item) in headings.zip(items) {
        show(&format!("{heading:12} {item}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_named_with_its_type_or_without() {
        let (name, kind) = named("scheduling-agent-001:scheduling").unwrap();
        assert_eq!(name.to_string(), "scheduling-agent-001");
        assert_eq!(kind.unwrap().to_string(), "scheduling");
        assert!(named("scheduling-agent-001").unwrap().1.is_none());
        assert!(named("").is_err());
        assert!(named("a:").is_err());
    }
}
