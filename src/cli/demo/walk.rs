//! The walk itself: five steps and the trail of them, each line beside what it has to be.

use std::time::Duration;

use serde::Deserialize;

use super::house::{ANALYSIS, House, HouseError, SCHEDULING};
use crate::authority::{By, Call, Deadline, RevokeTask};
use crate::cli::audit::Tree;
use crate::grpc::{DelegationClient, HandoverInfo, HandoverWanted, MandateRef, TokenInfo};
use crate::humans::Password;
use crate::state::Handle;

/// One walk, and whether it went as it has to.
pub(super) struct Walk<'a> {
    house: &'a House,
    sound: bool,
}

/// What is compared of a record.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    event_type: String,
    result: String,
    actor: Actor,
    delegation_chain: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Actor {
    id: String,
    r#type: String,
}

impl<'a> Walk<'a> {
    pub(super) fn new(house: &'a House) -> Self {
        Self { house, sound: true }
    }

    /// Walks; whether every line was as it has to be.
    pub(super) async fn go(mut self) -> Result<bool, HouseError> {
        say("1. Alice logs in");
        let session = self.log_in().await?;

        say("\n2. Alice delegates documents and analytics to a scheduling agent, for task-abc");
        let alice = self.house.person(session).await?;
        let handed = self.delegate(alice, scheduling()).await?;
        let chain = "['usr-alice-001', 'scheduling-agent-001']";
        self.handed(&handed, "scheduling-agent-001", chain);
        let token = held(handed)?;

        say("\n3. The scheduling agent asks what it may do");
        let mut agent = self.house.agent(SCHEDULING)?;
        self.ask(&mut agent, &token, "documents", "read", "allowed")
            .await?;
        self.ask(&mut agent, &token, "documents", "delete", "supervised")
            .await?;
        let expected = "denied (not in scoped resources)";
        self.ask(&mut agent, &token, "users", "read", expected)
            .await?;

        say("\n4. It delegates reading documents to an analysis agent, for a part of the task");
        let handed = self.delegate(agent, analysis(&token)).await?;
        let chain = "['usr-alice-001', 'scheduling-agent-001', 'analysis-agent-002']";
        self.handed(&handed, "analysis-agent-002", chain);
        let token = held(handed)?;
        let mut agent = self.house.agent(ANALYSIS)?;
        self.ask(&mut agent, &token, "documents", "read", "allowed")
            .await?;
        let expected = "denied (attenuated to read-only)";
        self.ask(&mut agent, &token, "documents", "update", expected)
            .await?;

        say("\n5. The task is revoked, and its part with it");
        self.revoke().await?;

        self.trail().await?;
        Ok(self.sound)
    }

    async fn log_in(&mut self) -> Result<Handle, HouseError> {
        let email = "alice@example.com".parse().map_err(HouseError::call)?;
        let password = Password::new(PASSWORD.to_vec()).map_err(HouseError::call)?;
        let mut sessions = self.house.sessions().await?;
        let opened = sessions.log_in(&email, &password, String::new()).await;
        let (session, handle) = opened?;
        self.line(
            &format!(
                "Alice logged in: {} (role={})",
                session.person, session.role
            ),
            "Alice logged in: usr-alice-001 (role=admin)",
        );
        Ok(handle)
    }

    async fn delegate(
        &mut self,
        mut from: DelegationClient,
        wanted: HandoverWanted,
    ) -> Result<HandoverInfo, HouseError> {
        Ok(from.delegate(wanted).await?)
    }

    fn handed(&mut self, handed: &HandoverInfo, agent: &str, chain: &str) {
        let names: Vec<_> = handed
            .grant
            .chain
            .iter()
            .map(|it| format!("'{it}'"))
            .collect();
        let holder = handed.grant.chain.last().map(String::as_str);
        self.line(
            &format!("Delegated to agent: {}", holder.unwrap_or_default()),
            &format!("Delegated to agent: {agent}"),
        );
        self.line(
            &format!("Delegation chain: [{}]", names.join(", ")),
            &format!("Delegation chain: {chain}"),
        );
    }

    async fn ask(
        &mut self,
        agent: &mut DelegationClient,
        token: &TokenInfo,
        resource: &str,
        action: &str,
        expected: &str,
    ) -> Result<(), HouseError> {
        let mandate = MandateRef::Token(token.token.clone());
        let told = agent.check_permission(mandate, resource, action).await?;
        let answer = match (told.result, told.reason.as_str()) {
            ("denied", reason) => format!("denied ({reason})"),
            (result, _) => result.to_owned(),
        };
        let operation = format!("{resource}:{action}");
        self.line(
            &format!("{operation:17} {answer}"),
            &format!("{operation:17} {expected}"),
        );
        Ok(())
    }

    async fn revoke(&mut self) -> Result<(), HouseError> {
        let call = Call {
            by: By::System,
            deadline: Deadline::after(PATIENCE),
            once: None,
        };
        let wanted = RevokeTask {
            person: Some("usr-alice-001".parse().map_err(HouseError::call)?),
            task: "task-abc".parse().map_err(HouseError::call)?,
            reason: "the walk is over".to_owned(),
        };
        let ended = self.house.mandates().revoke_task(&call, wanted).await?;
        let task = ended
            .tasks
            .first()
            .map(|(_person, task, _status)| task.as_str());
        self.line(
            &format!(
                "Revoked {} token(s) for {}",
                ended.tokens,
                task.unwrap_or_default()
            ),
            "Revoked 2 token(s) for task-abc",
        );
        Ok(())
    }

    async fn trail(&mut self) -> Result<(), HouseError> {
        let traced = self.house.trail()?.trace("usr-alice-001", 100).await?;
        let read = |line: &str| serde_json::from_str::<Entry>(line).unwrap_or_default();
        let of_the_walk = |line: &String| EVENTS.contains(&read(line).event_type.as_str());
        let records: Vec<_> = traced.records.into_iter().filter(of_the_walk).collect();
        say(&format!("\nThe audit trail: {} entries", records.len()));
        for line in Tree::of(&records).lines() {
            say(&line);
        }
        let entries: Vec<_> = records.iter().map(|line| read(line).short()).collect();
        if entries != ENTRIES {
            self.sound = false;
            say("NOT AS IT HAS TO BE; in order, these were:");
            for entry in &entries {
                say(entry);
            }
            say("and have to be:");
            for entry in ENTRIES {
                say(entry);
            }
        }
        Ok(())
    }

    /// Prints what came out, and says so where it is not what has to.
    fn line(&mut self, got: &str, expected: &str) {
        say(&format!("   {got}"));
        if got != expected {
            self.sound = false;
            say(&format!("   NOT AS IT HAS TO BE: {expected}"));
        }
    }
}

impl Entry {
    /// What happened, how it went, who did it, and how many take part.
    fn short(&self) -> String {
        // attache itself is known by the name of its trail, which is another one in every run.
        let actor = match &*self.actor.r#type {
            "system" => "system",
            _ => &self.actor.id,
        };
        let (event, result) = (&self.event_type, &self.result);
        format!("{event} {result} {actor} {}", self.delegation_chain.len())
    }
}

fn scheduling() -> HandoverWanted {
    HandoverWanted {
        spiffe_id: SCHEDULING.to_owned(),
        agent_id: "scheduling-agent-001".to_owned(),
        agent_type: "scheduling".to_owned(),
        task: "task-abc".to_owned(),
        resources: Some(vec!["documents".to_owned(), "analytics".to_owned()]),
        further: 1,
        ..HandoverWanted::default()
    }
}

fn analysis(parent: &TokenInfo) -> HandoverWanted {
    HandoverWanted {
        parent: Some(MandateRef::Token(parent.token.clone())),
        spiffe_id: ANALYSIS.to_owned(),
        agent_id: "analysis-agent-002".to_owned(),
        agent_type: "analysis".to_owned(),
        task: "task-abc-sub1".to_owned(),
        resources: Some(vec!["documents".to_owned()]),
        read_only: true,
        ..HandoverWanted::default()
    }
}

/// The token that came along.
fn held(handed: HandoverInfo) -> Result<TokenInfo, HouseError> {
    handed
        .token
        .ok_or_else(|| HouseError::call("no token came along"))
}

#[expect(clippy::print_stdout, reason = "the answer of the command")]
fn say(line: &str) {
    println!("{line}");
}

/// Of every person of the built-in development configuration.
const PASSWORD: &[u8] = b"demo-password";
const PATIENCE: Duration = Duration::from_secs(8);
/// The events that the walk is about. Others of the trail say how: `task.created`, `token.issued`.
const EVENTS: [&str; 10] = [
    "human.login",
    "human.logout",
    "human.login_failed",
    "session.expired",
    "agent.delegated",
    "agent.subdelegated",
    "permission.check",
    "permission.denied",
    "token.revoked",
    "task.revoked",
];
/// What the trail has of them, in order.
const ENTRIES: [&str; 9] = [
    "human.login success usr-alice-001 1",
    "agent.delegated success usr-alice-001 2",
    "permission.check allowed scheduling-agent-001 2",
    "permission.check supervised scheduling-agent-001 2",
    "permission.denied denied scheduling-agent-001 2",
    "agent.subdelegated success scheduling-agent-001 3",
    "permission.check allowed analysis-agent-002 3",
    "permission.denied denied analysis-agent-002 3",
    "task.revoked success system 1",
];
