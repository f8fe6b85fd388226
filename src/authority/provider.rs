//! The seam for programs: may this caller do this to that? In process or over gRPC, in the same words.
//!
//! [`AuthorizationProvider::check`] always comes back with an [`AuthzDecision`]: whatever goes wrong on the way is one
//! that does not allow. There is no error to be overlooked, no default, and no decision without a name.

use std::fmt;

use serde_json::{Map, Value as Json};
use ulid::Ulid;

use super::check::Authority;
use super::decision::{Decision, Denial, Outcome};
use super::findings::Findings;
use super::inquiry::Inquiry;
use crate::permission::{Class, Reason, Tier};
use crate::policy::{Deadline, ERROR_FALLBACK};

/// Something that can be asked for decisions.
///
/// Every implementation gives the same answer to the same question, as far as it is asked by somebody who may name
/// callers; each bounds its own wait.
#[async_trait::async_trait]
pub trait AuthorizationProvider: fmt::Debug + Send + Sync {
    /// Whether the workload `caller_id` may do `action` to `resource`, a path of segments or a SPIFFE ID.
    ///
    /// `context` is what policy sees as `input.context`.
    async fn check(
        &self,
        caller_id: &str,
        resource: &str,
        action: &str,
        context: &Map<String, Json>,
    ) -> AuthzDecision;

    /// Whether decisions can be made and recorded at this moment.
    async fn health_check(&self) -> bool;
}

/// A decision that can't be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct AuthzDecision {
    reason: String,
    policy_id: Option<String>,
    audit_id: String,
    tier: Option<Tier>,
    /// `None` where it is allowed.
    refusal: Option<String>,
}

// === impl AuthzDecision ===

impl AuthzDecision {
    /// The operation may be done. An empty `audit_id` is replaced by a new one.
    pub fn allow(audit_id: impl Into<String>, tier: Tier, reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            policy_id: None,
            audit_id: present(audit_id.into()),
            tier: Some(tier),
            refusal: None,
        }
    }

    /// The operation may not be done, for a reason with a stable code. An empty `audit_id` is replaced by a new one.
    pub fn deny(
        audit_id: impl Into<String>,
        reason_code: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            reason: reason.into(),
            policy_id: None,
            audit_id: present(audit_id.into()),
            tier: None,
            refusal: Some(reason_code.into()),
        }
    }

    /// The same with the rule that decided.
    pub fn by_policy(self, policy_id: impl Into<String>) -> Self {
        Self {
            policy_id: Some(policy_id.into()),
            ..self
        }
    }

    /// The same with the strictest tier that was found.
    pub fn at_tier(self, tier: Option<Tier>) -> Self {
        Self { tier, ..self }
    }

    /// What is told of a decision to who asked.
    pub(super) fn told(decision: &Decision, found: &Findings) -> Self {
        let verdict = found.verdict.as_ref();
        let words = verdict
            .and_then(|it| it.reason.as_deref())
            .map(str::to_owned);
        let id = decision.id.to_string();
        let told = match &decision.outcome {
            Outcome::Allow(permit) => {
                let words = words.unwrap_or_else(|| "the operation is permitted".to_owned());
                Self::allow(id, permit.tier, words)
            }
            Outcome::Deny(denial) => Self::deny(id, denial.reason.as_str(), refused(denial, words)),
        };
        let tier = decision.tier.filter(|tier| *tier != Tier::Absent);
        Self {
            policy_id: verdict
                .and_then(|it| it.policy_id.as_deref())
                .map(str::to_owned)
                .or_else(|| fallback(&decision.outcome, found)),
            ..told.at_tier(tier)
        }
    }

    /// Whether the operation may be done.
    pub fn allowed(&self) -> bool {
        self.refusal.is_none()
    }

    /// Why, in a sentence for people.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Which rule of the policy decided, in its own naming; `error-fallback` where policy could not be evaluated,
    /// `circuit-breaker` where it was not asked.
    pub fn policy_id(&self) -> Option<&str> {
        self.policy_id.as_deref()
    }

    /// The name of this decision, never empty. The audit record has it as `decision_id`.
    pub fn audit_id(&self) -> &str {
        &self.audit_id
    }

    /// The strictest tier that was found; `None` where none was reached, or the caller holds no permission.
    pub fn tier(&self) -> Option<Tier> {
        self.tier
    }

    /// Why it may not be done, as a stable code; `None` exactly where it is allowed.
    pub fn reason_code(&self) -> Option<&str> {
        self.refusal.as_deref()
    }
}

/// A name even for a decision that nobody recorded, so that its asker can speak of it.
fn present(audit_id: String) -> String {
    if audit_id.is_empty() {
        Ulid::generate().to_string()
    } else {
        audit_id
    }
}

/// Policy's own words; what was wrong with the question, where the question was wrong; else the code in words.
fn refused(denial: &Denial, words: Option<String>) -> String {
    let public = denial.reason.public_detail();
    match (denial.reason, &denial.detail) {
        (
            Reason::BadRequest
            | Reason::NoIdentity
            | Reason::InvalidIdentity
            | Reason::ForeignTrustDomain,
            Some(detail),
        ) => format!("{public}: {detail}"),
        // What policy said is no reason for it.
        (Reason::AuditUnavailable, _) => public.to_owned(),
        _ => words.unwrap_or_else(|| public.to_owned()),
    }
}

/// What stands for a policy's rule where policy was not heard, though the decision hung on it.
fn fallback(outcome: &Outcome, found: &Findings) -> Option<String> {
    match outcome {
        // Policy was heard, or was not needed; the record failed.
        Outcome::Deny(denial) if denial.reason == Reason::AuditUnavailable => {
            let unjudged = found.unjudged.as_ref();
            unjudged.map(|it| it.policy_id.to_owned())
        }
        Outcome::Deny(denial) if denial.reason.class() == Class::Undecided => {
            let unjudged = found.unjudged.as_ref();
            let policy_id = unjudged.map_or(ERROR_FALLBACK, |it| it.policy_id);
            Some(policy_id.to_owned())
        }
        Outcome::Deny(_) | Outcome::Allow(_) => None,
    }
}

// === impl AuthorizationProvider for Authority ===

/// Code in this process may name any caller; its records have no `pep`. Asked as `&dyn AuthorizationProvider`: the
/// authority has a `check` of its own, for requests.
#[async_trait::async_trait]
impl AuthorizationProvider for Authority {
    async fn check(
        &self,
        caller_id: &str,
        resource: &str,
        action: &str,
        context: &Map<String, Json>,
    ) -> AuthzDecision {
        let inquiry = Inquiry {
            peer: None,
            caller: caller_id,
            resource,
            action,
            context: context.clone().try_into(),
        };
        let deadline = Deadline::after(self.rules().inquiry_time);
        self.inquire(&inquiry, deadline).await
    }

    async fn health_check(&self) -> bool {
        let deadline = Deadline::after(self.rules().inquiry_time);
        self.health(deadline).await.is_good()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Unjudged;
    use crate::permission::Reason;

    #[test]
    fn what_stands_in_for_policy_is_named_as_in_the_record() {
        let unheard = |reason| fallback(&Outcome::Deny(Denial::bare(reason)), &Findings::default());
        let word = unheard(Reason::PolicyUnavailable);
        assert_eq!(word.as_deref(), Some(ERROR_FALLBACK));
        assert_eq!(unheard(Reason::OutOfScope), None);
        let found = Findings {
            unjudged: Some(Unjudged {
                error: String::new(),
                policy_id: "another-fallback",
                revision: "r1".into(),
            }),
            ..Findings::default()
        };
        let outcome = Outcome::Deny(Denial::bare(Reason::PolicyUnavailable));
        let word = fallback(&outcome, &found);
        assert_eq!(word.as_deref(), Some("another-fallback"));
    }

    #[test]
    fn a_decision_without_a_name_gets_one() {
        // B2
        let nameless = [
            AuthzDecision::allow("", Tier::Free, "fine"),
            AuthzDecision::deny("", "out_of_scope", "no"),
        ];
        let [one, other] = nameless.map(|decision| decision.audit_id().to_owned());
        assert_eq!((one.len(), other.len()), (26, 26));
        assert_ne!(one, other);
        let named = AuthzDecision::deny("01KDVDNA00Z8XVSCCEKPVME87T", "out_of_scope", "no");
        assert_eq!(named.audit_id(), "01KDVDNA00Z8XVSCCEKPVME87T");
    }

    #[test]
    fn a_decision_with_a_code_is_never_allowed_whatever_else_it_says() {
        let denied = AuthzDecision::deny("1", "", "")
            .by_policy("p")
            .at_tier(Some(Tier::Free));
        assert!(!denied.allowed());
        assert_eq!(
            (denied.reason_code(), denied.policy_id()),
            (Some(""), Some("p"))
        );
    }
}
