//! `attache revoke`: ends a task or a grant, with everything below it. When it says so, none of their tokens is good.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Args};
use serde_json::{Value, json};

use super::door::DoorFlags;
use super::{CommandError, mandate, run, show};
use crate::delegation::{PersonId, TaskId};
use crate::grpc::EndedInfo;

/// End a task or a grant, with everything below it
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("which").args(["task", "grant", "token_file"]).required(true),
    after_help = "Exit code: 0 ended, now or before, 1 refused or not reachable, 2 wrong use."
)]
pub(in crate::cli) struct Revoke {
    /// The task
    #[arg(long, value_name = "TASK")]
    task: Option<TaskId>,
    /// The grant
    #[arg(long, value_name = "ID")]
    grant: Option<String>,
    /// The grant of the token in this file
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// With --task: whose it is [default: your own]
    #[arg(long, value_name = "ID", requires = "task")]
    person: Option<PersonId>,
    /// Why, for the record
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    reason: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    door: DoorFlags,
}

impl Revoke {
    pub(in crate::cli) fn run(self) -> ExitCode {
        run(self.end())
    }

    async fn end(self) -> Result<ExitCode, CommandError> {
        let mut client = self.door.client().await?;
        let person = self.person.as_ref().map(ToString::to_string);
        let person = person.unwrap_or_default();
        let mandate = mandate(self.grant.as_deref(), self.token_file.as_deref())?;
        let ended = match (&self.task, mandate) {
            (Some(task), _) => {
                let task = task.to_string();
                client.revoke_task(&task, &person, &self.reason).await
            }
            (None, Some(mandate)) => client.revoke(mandate, &self.reason).await,
            (None, None) => return Err(CommandError::Flag("name a task with --task")),
        };
        self.print(&ended.map_err(CommandError::of_server)?);
        Ok(ExitCode::SUCCESS)
    }

    fn print(&self, ended: &EndedInfo) {
        let EndedInfo {
            tokens,
            grants,
            tasks,
        } = ended;
        if self.json {
            let tasks: Vec<Value> = tasks
                .iter()
                .map(|(task, state)| json!({"task": task, "state": state}))
                .collect();
            let told = json!({"tokens": tokens, "grants": grants, "tasks": tasks});
            show(&told.to_string());
            return;
        }
        show(&format!("revoked {tokens} token(s) and {grants} grant(s)"));
        for (task, state) in tasks {
            show(&format!("{task:24} {state}"));
        }
    }
}
