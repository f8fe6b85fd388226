//! Who may read the audit trail, and the record of it.
//!
//! Two may: whoever `identity.trust_local` and `identity.trust_uids` trust on a Unix socket, and a workload whose certificate
//! is valid now and that `audit.readers` names. An agent never may, whatever `audit.readers` says: an agent that can read
//! what is known of it can shape what it does by it. Everybody else is refused, on record.

use std::time::Duration;

use tokio::time::Instant;

use super::attempt::{Attempt, asking};
use super::check::Authority;
use super::decision::{Decision, Denial};
use super::findings::Named;
use super::rules::Rules;
use crate::audit::{Actor, AuditError, Details, EventType, Outcome, Pep as AskedBy, Record};
use crate::clock::Timestamp;
use crate::identity::{Asker, Peer, Pep, SpiffeId};
use crate::permission::{AUDIT, Action, Reason, Resource, Standing};

/// Somebody who may read the audit trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    /// Its SPIFFE ID, where it has one.
    id: Option<SpiffeId>,
    /// How it came, where it has none.
    socket: Option<AskedBy>,
}

impl Authority {
    /// The time that readers and records are judged by.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// As whom `peer` may read the audit trail at this moment. Ask again for whatever lasts.
    pub fn admit_reader(&self, peer: &Peer) -> Result<Reader, Denial> {
        let rules = self.rules();
        let judged = rules.peps.judge_asker(peer, self.clock.now());
        let asker = judged.map_err(|error| Denial::because(Reason::UntrustedPeer, error))?;
        match (asker, peer) {
            (Asker::Pep(Pep::Unix), _) => Ok(Reader {
                id: None,
                socket: asking(peer),
            }),
            (Asker::Pep(Pep::Mesh) | Asker::Itself(_), Peer::Mesh(peer)) => {
                admit_workload(&rules, &peer.svid.id)
            }
            (Asker::Pep(_) | Asker::Itself(_), _) => Err(Denial::because(
                Reason::UntrustedPeer,
                "the audit trail is not read over TCP without a certificate",
            )),
        }
    }

    /// Refuses `peer` the audit trail, and records it.
    pub async fn refuse_reader(&self, peer: &Peer, denial: Denial) -> Decision {
        let rules = self.rules();
        let mut attempt = Attempt::new(self, Some(peer), None);
        let found = &mut attempt.findings;
        found.operation = AUDIT.parse::<Resource>().ok().map(|resource| Named {
            resource,
            action: Action::read(),
            target: None,
            route: None,
        });
        // A certificate that proves nothing names nobody.
        if let (Peer::Mesh(peer), true) = (peer, denial.reason != Reason::UntrustedPeer) {
            let id = &peer.svid.id;
            found.asker = Some(Asker::Itself(id.clone()));
            found.caller = Some(id.clone());
            let is_agent = rules.agents.contains(id);
            found.standing = is_agent.then_some(Standing::OrphanAgent);
        }
        let until = Instant::now() + RECORDING;
        attempt.finish(Err(denial), until).await.0
    }

    /// Records that `reader` is given something of the audit trail, or that reading it failed; `details` say what was
    /// asked for. On an error, which only strict mode knows, nothing must be given.
    pub async fn audit_queried(
        &self,
        reader: &Reader,
        result: Outcome,
        details: Details,
    ) -> Result<(), AuditError> {
        let until = Instant::now() + RECORDING;
        self.audit
            .settle(reader.queried(result, details), until)
            .await
    }

    /// Records that `reader` asked and went away before it was given anything.
    pub fn audit_query_abandoned(&self, reader: &Reader, details: Details) {
        self.audit.record(reader.queried(Outcome::Failure, details));
    }
}

impl Reader {
    fn queried(&self, result: Outcome, details: Details) -> Record {
        let actor = self.id.clone().map_or(Actor::Unknown, Actor::Workload);
        Record {
            action: Some(Action::read()),
            resource: AUDIT.parse().ok(),
            pep: self.socket.clone(),
            details,
            ..Record::new(EventType::AuditQueried, result, actor)
        }
    }
}

fn admit_workload(rules: &Rules, id: &SpiffeId) -> Result<Reader, Denial> {
    if rules.agents.contains(id) {
        let detail = "an agent may not read the audit trail, whatever audit.readers says";
        return Err(Denial::because(Reason::TierForbidden, detail));
    }
    if rules.readers.iter().any(|readers| readers.matches(id)) {
        return Ok(Reader {
            id: Some(id.clone()),
            socket: None,
        });
    }
    let detail = format!("`{id}` is not one of audit.readers");
    Err(Denial::because(Reason::OutOfScope, detail))
}

/// How long a refusal or an answer waits for its record where it must.
const RECORDING: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Findings;
    use crate::authority::check::weigh;
    use crate::config::Config;
    use crate::permission::Tier;

    fn rules() -> Rules {
        let config = r#"
trust_domain: example.org
agents: ["spiffe://example.org/agent/**"]
audit: {readers: ["spiffe://example.org/auditor/*"]}
tiers: {default: free, rules: [{resource: "audit/**", action: "*", tier: free}]}
"#;
        Config::parse(config, "attache.yaml".as_ref())
            .unwrap()
            .rules
    }

    fn admitted(rules: &Rules, id: &str) -> Result<Reader, Reason> {
        admit_workload(rules, &id.parse().unwrap()).map_err(|denial| denial.reason)
    }

    #[test]
    fn readers_are_those_that_are_named() {
        assert!(admitted(&rules(), "spiffe://example.org/auditor/one").is_ok());
        for id in [
            "spiffe://example.org/auditor/one/two",
            "spiffe://example.org/svc/a",
        ] {
            assert_eq!(admitted(&rules(), id), Err(Reason::OutOfScope), "{id}");
        }
    }

    #[test]
    fn an_agent_never_reads_even_if_readers_name_it() {
        // The configuration is refused before; this holds without it.
        let rules = Rules {
            readers: vec!["spiffe://example.org/**".parse().unwrap()],
            ..rules()
        };
        let refused = admitted(&rules, "spiffe://example.org/agent/a");
        assert_eq!(refused, Err(Reason::TierForbidden));
        assert!(admitted(&rules, "spiffe://example.org/svc/a").is_ok());
    }

    #[test]
    fn for_agents_changing_the_trail_is_forbidden_whatever_the_tier_table_says() {
        let table = |caller: &str, action: &str| {
            let mut found = Findings::default();
            let resource = "audit/entries".parse().unwrap();
            let (caller, action) = (caller.parse().unwrap(), action.parse().unwrap());
            let _structural = weigh(&rules(), &caller, &resource, &action, &mut found);
            found.table
        };
        let (agent, service) = ("spiffe://example.org/agent/a", "spiffe://example.org/svc/a");
        assert_eq!(table(agent, "delete"), Some(Tier::Forbidden));
        assert_eq!(table(agent, "read"), Some(Tier::Free));
        assert_eq!(table(service, "delete"), Some(Tier::Free));
    }
}
