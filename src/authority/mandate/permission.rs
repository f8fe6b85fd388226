//! What a mandate permits for one operation: a question, not a use. Nothing is asked of policy or of people.
//!
//! The answer is worked out by the same law as a use, from what the mandate holds now, and says where on its way through the
//! chain an operation was lost. Every answer is on record. Who may not know of a mandate is told that there is none.

use std::sync::Arc;

use super::caller::Caller;
use super::refusal::MandateRefusal;
use super::witness::About;
use super::{Call, Mandates, basis, role};
use crate::audit::{Details, EventType, Outcome, Record, Text};
use crate::authority::decision::DecisionId;
use crate::authority::rules::Rules;
use crate::delegation::token::{Claims, Token};
use crate::delegation::{GrantId, explain, permitted};
use crate::permission::{
    Action, Approval, PermissionSet, PolicyAnswer, Reason, Resource, Ruling, Standing as Ground,
    Structural, Tier, agents_tier, decide,
};
use crate::state::{Level, Standing, Whose};

/// A mandate that somebody asks about.
#[derive(Debug)]
pub enum Subject {
    /// By a token.
    Token(Token),
    /// By its grant.
    Grant(GrantId),
}

/// One operation under a mandate.
#[derive(Debug)]
pub struct Question {
    /// The mandate.
    pub mandate: Subject,
    /// To what it would be done.
    pub resource: Resource,
    /// What would be done.
    pub action: Action,
}

/// The answer in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PermissionResult {
    /// It may be done, as far as the mandate is concerned.
    Allowed,
    /// It may be done once a person has said yes.
    Supervised,
    /// It may not be done.
    Denied,
}

/// What a mandate permits for one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permitted {
    /// The answer in one word.
    pub result: PermissionResult,
    /// The strictest tier found; `None` where the mandate does not have the operation.
    pub tier: Option<Tier>,
    /// Why not, or not freely, as a stable code and in words.
    pub reason: Option<(String, String)>,
    /// At which handover it was lost, counted from 1.
    pub hop: Option<usize>,
    /// The name of this answer.
    pub id: DecisionId,
}

impl Mandates {
    /// What a mandate permits for one operation.
    pub async fn check_permission(
        &self,
        call: &Call,
        question: &Question,
    ) -> Result<Permitted, MandateRefusal> {
        let checked = async {
            let caller = self.caller(call).await?;
            self.check_one(call, &caller, question).await
        };
        Self::within(call, checked).await
    }

    /// The same for several operations, in their order.
    pub async fn check_permissions(
        &self,
        call: &Call,
        questions: &[Question],
    ) -> Result<Vec<Permitted>, MandateRefusal> {
        let checked = async {
            let caller = self.caller(call).await?;
            let mut answers = Vec::with_capacity(questions.len());
            for question in questions {
                answers.push(self.check_one(call, &caller, question).await?);
            }
            Ok(answers)
        };
        Self::within(call, checked).await
    }

    /// Everything that a mandate permits now; nothing where it is not alive.
    pub async fn permissions(
        &self,
        call: &Call,
        mandate: &Subject,
    ) -> Result<PermissionSet, MandateRefusal> {
        let listed = async {
            let caller = self.caller(call).await?;
            let rules = self.authority.rules();
            let (standing, claims) = self.mandate(call, &rules, &caller, mandate).await?;
            let role = role(&rules, &standing);
            let alive = self.holds_good(&rules, &standing, claims.as_deref());
            let now = self.authority.clock.now();
            let registry = &rules.delegation.registry;
            let held = permitted(&basis(&standing, &role), alive, registry, now)?;
            let held = claims.map_or_else(|| held.clone(), |it| held.under(&it.permissions));
            Ok(held.permissions().clone())
        };
        Self::within(call, listed).await
    }

    fn holds_good(&self, rules: &Rules, standing: &Standing, claims: Option<&Claims>) -> bool {
        self.lives(rules, standing) && !claims.is_some_and(|it| self.killed(it))
    }

    async fn check_one(
        &self,
        call: &Call,
        caller: &Caller,
        question: &Question,
    ) -> Result<Permitted, MandateRefusal> {
        let rules = self.authority.rules();
        let (standing, claims) = self
            .mandate(call, &rules, caller, &question.mandate)
            .await?;
        let permitted = self.weighed(&rules, &standing, claims.as_deref(), question);
        let record = recorded(caller, &standing, question, &permitted);
        self.note(call, record).await?;
        Ok(permitted)
    }

    /// The mandate, if the caller may know of it, and what the token says that was shown for it.
    async fn mandate(
        &self,
        call: &Call,
        rules: &Rules,
        caller: &Caller,
        subject: &Subject,
    ) -> Result<(Standing, Option<Arc<Claims>>), MandateRefusal> {
        let (grant, claims) = match subject {
            Subject::Grant(grant) => (grant.clone(), None),
            Subject::Token(token) => {
                let verified = self.asked_about(call, rules, caller, token).await?;
                let lease = verified.claims.lease.as_ref();
                let grant = lease.and_then(|it| it.grants.last().cloned());
                let grant = grant.ok_or(MandateRefusal::NotFound(Level::Grant))?;
                (grant, Some(Arc::clone(&verified.claims)))
            }
        };
        let standing = self.store.standing(grant, Whose::Anybody).await?;
        let asks_for_others = caller.asks_for_others(rules, self.authority.clock.now());
        if !asks_for_others && !caller.may_know(&standing) {
            return Err(MandateRefusal::NotFound(Level::Grant));
        }
        Ok((standing, claims))
    }

    fn weighed(
        &self,
        rules: &Rules,
        standing: &Standing,
        claims: Option<&Claims>,
        question: &Question,
    ) -> Permitted {
        let Question {
            resource, action, ..
        } = question;
        let now = self.authority.clock.now();
        let id = DecisionId::generate(now, self.random());
        let denied = |code: &str, words: String, hop| Permitted {
            result: PermissionResult::Denied,
            tier: None,
            reason: Some((code.to_ascii_lowercase(), words)),
            hop,
            id,
        };
        let role = role(rules, standing);
        let alive = self.holds_good(rules, standing, claims);
        let registry = &rules.delegation.registry;
        let held = match permitted(&basis(standing, &role), alive, registry, now) {
            Ok(held) => held,
            Err(refusal) => return denied(refusal.code(), refusal.to_string(), None),
        };
        // A token says no more than it did when it was made.
        let held = claims.map_or_else(|| held.clone(), |it| held.under(&it.permissions));
        let own = held.permissions().effective(resource, action);
        let table = rules.tiers.tier_of(resource, action);
        let table = table.max(agents_tier(resource, action));
        let structural = Structural::new(Ground::Delegated(own), table);
        let absence = standing
            .grant()
            .filter(|_| own == Tier::Absent)
            .and_then(|grant| explain(grant, &role, registry, resource, action));
        if let Some(absence) = absence {
            return denied(absence.code(), absence.to_string(), absence.hop());
        }
        // As if policy and nobody else were left to say no.
        let ruling = decide(
            structural,
            PolicyAnswer::Allow { tier: None },
            Approval::None,
        );
        let (result, reason) = match ruling {
            Ruling::Allow { .. } => (PermissionResult::Allowed, None),
            Ruling::Supervise => (PermissionResult::Supervised, Some(Reason::ApprovalRequired)),
            Ruling::Deny(reason) => (PermissionResult::Denied, Some(reason)),
        };
        let words = |it: Reason| (it.as_str().to_owned(), it.public_detail().to_owned());
        Permitted {
            result,
            tier: Some(structural.tier()).filter(|tier| *tier != Tier::Absent),
            reason: reason.map(words),
            hop: None,
            id,
        }
    }
}

fn recorded(
    caller: &Caller,
    standing: &Standing,
    question: &Question,
    permitted: &Permitted,
) -> Record {
    let (event, result) = match permitted.result {
        PermissionResult::Allowed => (EventType::PermissionCheck, Outcome::Allowed),
        PermissionResult::Supervised => (EventType::PermissionCheck, Outcome::Supervised),
        PermissionResult::Denied => (EventType::PermissionDenied, Outcome::Denied),
    };
    let grant = standing.grant();
    let about = About {
        session: &standing.session,
        grant,
    };
    let code = match (permitted.result, permitted.tier) {
        (PermissionResult::Allowed, _) => None,
        (PermissionResult::Supervised, _) => Some(Reason::ApprovalRequired),
        (_, Some(Tier::Forbidden)) => Some(Reason::TierForbidden),
        _ => Some(Reason::OutOfScope),
    };
    let mut details = Details::default().with("dry", true);
    if let Some((code, _words)) = &permitted.reason {
        details = details.with("cause", code.as_str());
    }
    if let Some(hop) = permitted.hop {
        details = details.with("hop", u64::try_from(hop).unwrap_or(u64::MAX));
    }
    let words = permitted.reason.as_ref().map(|(_code, words)| words);
    Record {
        action: Some(question.action.clone()),
        resource: Some(question.resource.clone()),
        tier: permitted.tier,
        reason_code: code,
        message: words.map(|it| Text::from(it.as_str())),
        decision_id: Some(Text::from(permitted.id.text())),
        details,
        ..about.record(event, result, caller, grant)
    }
}
