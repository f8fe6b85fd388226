//! What was found on the way to a decision: the material for the audit record and for `attache eval`.

use std::sync::Arc;

use serde::Serialize;

use crate::delegation::token::Claims;
use crate::delegation::{Mandate, Withheld};
use crate::identity::{Asker, SpiffeId};
use crate::operation::{Mode, Operation, Unresolved};
use crate::permission::{Action, Resource, Standing, Tier};
use crate::policy::{Answer, Verdict};

/// Everything established about one request; what was not reached is absent.
#[derive(Debug, Default)]
pub struct Findings {
    /// About whom the asking peer may ask.
    pub asker: Option<Asker>,
    /// The host in canonical form.
    pub host: Option<String>,
    /// The path in normal form.
    pub path: Option<String>,
    /// Who calls.
    pub caller: Option<SpiffeId>,
    /// The proxy that forwarded the caller's identity, where that is not the asking one.
    pub hop: Option<SpiffeId>,
    /// The service that the request is for, where the proxy says so by a SPIFFE ID.
    pub destination: Option<SpiffeId>,
    /// Context extensions that nothing here reads, by name.
    pub ignored_extensions: Vec<String>,
    /// What the request is.
    pub operation: Option<Named>,
    /// What a token says that was signed by us, whether or not it was accepted.
    pub presented: Option<Arc<Claims>>,
    /// What is wrong with a token that is none of ours for this service and time, as a word for records.
    pub token_fault: Option<&'static str>,
    /// On whose behalf the caller acts, by a token that was accepted.
    pub mandate: Option<Mandate>,
    /// What keeps the operation from the one who acts by a mandate.
    pub withheld: Option<Withheld>,
    /// On what ground the caller asks.
    pub standing: Option<Standing>,
    /// What the tier table says.
    pub table: Option<Tier>,
    /// The strictest tier found.
    pub tier: Option<Tier>,
    /// What policy said.
    pub verdict: Option<Verdict>,
    /// Why policy said nothing, where it was asked.
    pub unjudged: Option<Unjudged>,
    /// Whether the decision binds.
    pub mode: Mode,
}

/// A question to policy that got no verdict.
#[derive(Debug, Clone)]
pub struct Unjudged {
    /// What went wrong.
    pub error: String,
    /// What stands in audit where policy would have named its rule.
    pub policy_id: &'static str,
    /// The policy that would have answered, as far as it is known.
    pub revision: Arc<str>,
}

/// The operation that a request was found to be.
#[derive(Debug, Clone)]
pub struct Named {
    /// To what something would be done.
    pub resource: Resource,
    /// What would be done.
    pub action: Action,
    /// The workload that serves it, where the route names one.
    pub target: Option<SpiffeId>,
    /// What named the operation: a route or a fallback; `None` where the asker did.
    pub route: Option<Arc<str>>,
}

/// One step of a decision, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Which step.
    pub step: &'static str,
    /// What it found.
    pub found: String,
}

impl Findings {
    /// Takes over what the route table said.
    pub(super) fn resolved(&mut self, operation: &Result<Operation<'_>, Unresolved>) {
        let operation = match operation {
            Ok(operation) => operation,
            Err(Unresolved::InvalidCapture { mode, .. }) => {
                self.mode = *mode;
                return;
            }
            Err(Unresolved::NoRoute | Unresolved::SlashAside | Unresolved::Extension(_)) => return,
        };
        self.mode = operation.mode;
        self.operation = Some(Named {
            resource: operation.resource.clone(),
            action: operation.action.clone(),
            target: operation.target.clone(),
            route: Some(Arc::clone(&operation.route)),
        });
    }

    /// Why it is refused, beyond the code: what withholds the operation, else what policy said.
    pub(super) fn words(&self) -> Option<String> {
        let withheld = self.withheld.as_ref().map(ToString::to_string);
        withheld.or_else(|| self.policy_words())
    }

    /// The policy's own words, or what kept it from speaking.
    pub(super) fn policy_words(&self) -> Option<String> {
        let said = self.verdict.as_ref().and_then(|it| it.reason.as_deref());
        said.map(str::to_owned).or_else(|| self.policy_error())
    }

    fn policy_error(&self) -> Option<String> {
        self.unjudged.as_ref().map(|it| it.error.clone())
    }

    /// The steps that were taken, in order.
    pub fn steps(&self) -> Vec<Step> {
        let request = self
            .path
            .as_ref()
            .map(|path| format!("{}{path}", self.host.as_deref().unwrap_or_default()));
        let permission = self.standing.map(|standing| match standing {
            Standing::OrphanAgent => "the caller is an agent and carries no delegation".to_owned(),
            Standing::Holds(Tier::Absent) => "the caller holds none for this".to_owned(),
            Standing::Delegated(Tier::Absent) | Standing::Person(Tier::Absent) => {
                let withheld = self.withheld.as_ref().map(ToString::to_string);
                withheld.unwrap_or_default()
            }
            Standing::Holds(tier) => format!("held as {tier}"),
            Standing::Delegated(tier) => format!("delegated as {tier}"),
            Standing::Person(_) => "held by the person, who acts directly".to_owned(),
        });
        let behalf = self.mandate.as_ref().map(|it| {
            let names: Vec<_> = it.claims.chain.names().collect();
            format!("{}, by a token", names.join(" → "))
        });
        let policy = self.verdict.as_ref().map(verdict_words);
        [
            ("proxy", self.asker.as_ref().map(asker_words)),
            ("request", request),
            ("route", self.operation.as_ref().map(Named::words)),
            ("caller", self.caller.as_ref().map(ToString::to_string)),
            ("on behalf of", behalf),
            ("permission", permission),
            (
                "tier",
                self.table.map(|tier| format!("the table says {tier}")),
            ),
            ("policy", policy.or_else(|| self.policy_error())),
        ]
        .into_iter()
        .filter_map(|(step, found)| {
            Some(Step {
                step,
                found: found?,
            })
        })
        .collect()
    }
}

impl Named {
    fn words(&self) -> String {
        let operation = format!("{} on {}", self.action, self.resource);
        match &self.route {
            Some(route) => format!("`{route}` is {operation}"),
            None => operation,
        }
    }
}

fn asker_words(asker: &Asker) -> String {
    match asker {
        Asker::Pep(pep) => format!("trusted as {}", pep.as_str()),
        Asker::Itself(id) => format!("`{id}` asks about itself"),
    }
}

fn verdict_words(verdict: &Verdict) -> String {
    let mut words = match verdict.answer {
        Answer::Allow => "allows".to_owned(),
        Answer::Deny => "denies".to_owned(),
        Answer::Undefined => "has no answer".to_owned(),
    };
    if let Some(tier) = verdict.tier {
        words = format!("{words}, at tier {tier}");
    }
    if let Some(reason) = &verdict.reason {
        words = format!("{words}: {reason}");
    }
    if let Some(id) = &verdict.policy_id {
        words = format!("{words} [{id}]");
    }
    format!("{words} (revision {})", verdict.revision)
}
