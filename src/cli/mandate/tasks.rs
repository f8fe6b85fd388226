//! `attache tasks`: tasks as a tree, and below each who holds what for it and for how long.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::door::DoorFlags;
use super::{CommandError, run, until};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::delegation::{PersonId, TaskId};
use crate::grpc::{GrantInfo, TaskInfo};

/// Show tasks, and who holds what for them
#[derive(Debug, Args)]
#[command(after_help = "\
What others began and you may not see is left out.

Exit code: 0 shown, some or none, 1 refused or not reachable, 2 wrong use.")]
pub(in crate::cli) struct Tasks {
    /// Only this task and those below it
    #[arg(long, value_name = "TASK")]
    task: Option<TaskId>,
    /// Whose tasks [default: your own]
    #[arg(long, value_name = "ID")]
    person: Option<PersonId>,
    /// Ended ones too
    #[arg(long)]
    ended: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    door: DoorFlags,
}

impl Tasks {
    pub(in crate::cli) fn run(self) -> ExitCode {
        run(self.show())
    }

    async fn show(self) -> Result<ExitCode, CommandError> {
        let mut client = self.door.client().await?;
        let person = self.person.as_ref().map(ToString::to_string);
        let person = person.unwrap_or_default();
        let under = self.task.as_ref().map(ToString::to_string);
        let under = under.unwrap_or_default();
        let tasks = client.tasks(&person, &under, self.ended).await;
        let mut tasks = tasks.map_err(CommandError::of_server)?;
        // Each right below what it is part of.
        tasks.sort_by(|one, other| one.path.cmp(&other.path));
        let grants = client.grants(&person, &under, self.ended).await;
        let grants = grants.map_err(CommandError::of_server)?;
        if self.json {
            super::show(&as_json(&tasks, &grants).to_string());
            return Ok(ExitCode::SUCCESS);
        }
        for line in lines(&tasks, &grants, SystemClock.now()) {
            super::show(&line);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The tree, drawn by indentation: parents come before their parts.
fn lines(tasks: &[TaskInfo], grants: &[GrantInfo], now: Timestamp) -> Vec<String> {
    let top = tasks.iter().map(|task| task.path.len()).min();
    let top = top.unwrap_or_default();
    let mut lines = Vec::new();
    for task in tasks {
        let indent = "  ".repeat(task.path.len().saturating_sub(top));
        let life = life(&task.state, task.expires, now);
        lines.push(format!("{indent}{} ({life}) of {}", task.id, task.owner));
        let held = grants
            .iter()
            .filter(|it| it.task == task.id && it.chain.first() == Some(&task.person));
        for grant in held {
            let life = self::life(&grant.state, grant.expires, now);
            let (chain, tokens) = (grant.chain.join(" > "), grant.live_tokens);
            lines.push(format!(
                "{indent}  {chain} ({life}, {tokens} token(s)) grant {}",
                grant.id
            ));
        }
    }
    lines
}

/// What is left of a life, or how it ended.
fn life(state: &str, expires: u64, now: Timestamp) -> String {
    if state != "active" {
        return state.to_owned();
    }
    let left = expires.saturating_sub(now.unix_seconds());
    let left = humantime::format_duration(Duration::from_secs(left));
    format!("{left} left")
}

fn as_json(tasks: &[TaskInfo], grants: &[GrantInfo]) -> Value {
    let tasks: Vec<_> = tasks
        .iter()
        .map(|task| {
            json!({
                "task": task.id, "person": task.person, "path": task.path, "owner": task.owner,
                "purpose": task.purpose, "state": task.state, "expires": until(task.expires).to_string(),
            })
        })
        .collect();
    let grants: Vec<_> = grants
        .iter()
        .map(|grant| {
            json!({
                "grant": grant.id, "chain": grant.chain, "task": grant.task, "permissions": grant.permissions,
                "state": grant.state, "expires": until(grant.expires).to_string(), "tokens": grant.live_tokens,
            })
        })
        .collect();
    json!({"tasks": tasks, "grants": grants})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(path: &[&str], state: &str) -> TaskInfo {
        TaskInfo {
            id: path.last().unwrap().to_string(),
            person: "usr-alice-001".to_owned(),
            path: path.iter().map(ToString::to_string).collect(),
            owner: "usr-alice-001".to_owned(),
            purpose: String::new(),
            state: state.to_owned(),
            expires: 1_060,
        }
    }

    #[test]
    fn a_task_shows_its_parts_its_holders_and_what_is_left_of_it() {
        let tasks = [
            task(&["task-abc"], "active"),
            task(&["task-abc", "part"], "revoked"),
        ];
        let grant = GrantInfo {
            id: "01".to_owned(),
            chain: vec!["usr-alice-001".to_owned(), "planner".to_owned()],
            task: "task-abc".to_owned(),
            permissions: Vec::new(),
            audience: Vec::new(),
            state: "active".to_owned(),
            expires: 1_030,
            live_tokens: 1,
        };
        let now = Timestamp::from_unix_seconds(1_000);
        assert_eq!(
            lines(&tasks, &[grant], now),
            [
                "task-abc (1m left) of usr-alice-001",
                "  usr-alice-001 > planner (30s left, 1 token(s)) grant 01",
                "  part (revoked) of usr-alice-001",
            ]
        );
        assert_eq!(life("active", 10, now), "0s left");
    }
}
