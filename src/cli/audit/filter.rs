//! The flags that say which records are asked for.

use clap::Args;

use crate::audit::{EventType, Filter, Outcome, Tasks};
use crate::clock::Timestamp;

/// Which records: all that is given must hold
#[derive(Debug, Clone, Args)]
pub(super) struct FilterFlags {
    /// Who did it: a name or a SPIFFE ID
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// The person at the root of the chain
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// Somebody in the chain, the actor included
    #[arg(long, value_name = "NAME")]
    chain: Option<String>,
    /// Event type, as permission.denied; may be repeated
    #[arg(long = "event", value_name = "TYPE", value_parser = event_type)]
    events: Vec<EventType>,
    /// A task and every task below it
    #[arg(long, value_name = "TASK")]
    task: Option<String>,
    /// A task alone
    #[arg(long, value_name = "TASK", conflicts_with = "task")]
    task_exact: Option<String>,
    /// The resource, exactly
    #[arg(long, value_name = "NAME")]
    resource: Option<String>,
    /// The action, exactly
    #[arg(long, value_name = "WORD")]
    action: Option<String>,
    /// How it ended: allowed, supervised, denied, success or failure
    #[arg(long, value_name = "WORD", value_parser = outcome)]
    result: Option<Outcome>,
    /// The decision, as the client was told it
    #[arg(long, value_name = "ID")]
    decision_id: Option<String>,
    /// From this moment on, as 2026-01-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Before this moment
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
}

impl FilterFlags {
    pub(super) fn filter(self) -> Filter {
        let Self {
            actor,
            subject,
            chain,
            events,
            task,
            task_exact,
            resource,
            action,
            result,
            decision_id,
            since,
            until,
        } = self;
        Filter {
            actor,
            subject,
            chain,
            event_types: events,
            task: task
                .map(Tasks::Under)
                .or_else(|| task_exact.map(Tasks::Exactly)),
            resource,
            action,
            result,
            decision_id,
            from: since,
            until,
        }
    }
}

fn event_type(name: &str) -> Result<EventType, String> {
    EventType::named(name).ok_or_else(|| {
        let known = EventType::ALL.map(EventType::as_str).join(", ");
        format!("there is no event type `{name}`; write one of: {known}")
    })
}

fn outcome(name: &str) -> Result<Outcome, String> {
    Outcome::named(name).ok_or_else(|| {
        let known = Outcome::ALL.map(Outcome::as_str).join(", ");
        format!("there is no result `{name}`; write one of: {known}")
    })
}
