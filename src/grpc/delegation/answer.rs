//! What is answered about mandates, in words of the wire.

use prost_types::Timestamp as Wire;

use crate::authority::{
    self, Delegated, GrantSeen, Issued, Permitted, TokenFacts as OurFacts, TokenFault,
};
use crate::clock::Timestamp;
use crate::delegation::{self, Chain, Excess, Named, Principal, Status as Life, Task as Ours};
use crate::permission::{self, PermissionSet};
use crate::state::Ended;

use super::super::proto::attache::v1::{
    ChainMember, CheckPermissionResponse, DelegateResponse, Grant, IntrospectTokenResponse,
    IssuedToken, Permission, PermissionResult, RevokeGrantResponse, RevokeTaskResponse, State,
    Task, TaskOutcome, Tier, TokenFacts, VerifyTokenResponse,
};

pub(super) fn task(task: &Ours) -> Task {
    let Ours {
        id,
        person,
        session: _,
        path,
        owner,
        begun_under: _,
        purpose,
        created,
        deadline,
        status,
    } = task;
    let owner = match owner {
        Principal::Person(id) => id.to_string(),
        Principal::Agent(agent) => agent.agent_id.to_string(),
    };
    Task {
        task_id: id.to_string(),
        person: person.to_string(),
        path: texts(path),
        owner,
        purpose: purpose.clone(),
        state: state(*status).into(),
        create_time: Some(time(*created)),
        expire_time: Some(time(*deadline)),
    }
}

pub(super) fn delegated(delegated: Delegated, dry: bool) -> DelegateResponse {
    let Delegated {
        grant,
        token,
        dropped,
    } = delegated;
    let live = u32::from(token.is_some());
    let mut told = self::grant(&grant, grant.held.permissions(), live);
    if dry {
        // It is nobody's.
        told.grant_id = String::new();
    }
    DelegateResponse {
        grant: Some(told),
        token: token.as_ref().map(issued),
        dropped: dropped.iter().map(lost).collect(),
    }
}

pub(super) fn seen(seen: &GrantSeen) -> Grant {
    grant(&seen.grant, &seen.permissions, seen.live_tokens)
}

pub(super) fn ended_grant(ended: &Ended) -> RevokeGrantResponse {
    RevokeGrantResponse {
        revoked_token_count: number(ended.tokens),
        revoked_grant_count: number(ended.grants.len()),
    }
}

pub(super) fn verified(verified: Result<OurFacts, TokenFault>) -> VerifyTokenResponse {
    match verified {
        Ok(known) => VerifyTokenResponse {
            valid: true,
            reason_code: String::new(),
            facts: Some(facts(&known)),
        },
        Err(fault) => VerifyTokenResponse {
            valid: false,
            reason_code: fault.code().to_ascii_lowercase(),
            facts: None,
        },
    }
}

pub(super) fn introspected(found: Option<&OurFacts>) -> IntrospectTokenResponse {
    IntrospectTokenResponse {
        active: found.is_some(),
        facts: found.map(facts),
    }
}

fn facts(known: &OurFacts) -> TokenFacts {
    let OurFacts {
        claims,
        permissions,
    } = known;
    let lease = claims.lease.as_ref();
    TokenFacts {
        jti: claims.id.to_string(),
        person: claims.chain.person.to_string(),
        delegation_chain: chain(&claims.chain),
        task_path: lease.map(|it| texts(&it.tasks)).unwrap_or_default(),
        grant_path: lease.map(|it| texts(&it.grants)).unwrap_or_default(),
        permissions: self::permissions(permissions),
        audience: vec![claims.audience.to_string()],
        issue_time: Some(time(claims.issued)),
        expire_time: Some(time(claims.expires)),
    }
}

/// `permissions` is what it permits now.
pub(super) fn grant(
    grant: &delegation::Grant,
    permissions: &PermissionSet,
    live_tokens: u32,
) -> Grant {
    let parent = grant.path.iter().rev().nth(1);
    let further = u32::from(grant.further);
    Grant {
        grant_id: grant.id().map(ToString::to_string).unwrap_or_default(),
        parent_grant: parent.map(ToString::to_string).unwrap_or_default(),
        delegation_chain: chain(&grant.chain),
        task_id: grant.task().map(ToString::to_string).unwrap_or_default(),
        task_path: texts(&grant.task_path),
        permissions: self::permissions(permissions),
        audience: texts(&grant.audience),
        further_depth: further,
        depth: u32::try_from(grant.chain.depth()).unwrap_or(u32::MAX),
        state: state(grant.status).into(),
        create_time: Some(time(grant.created)),
        expire_time: Some(time(grant.expires)),
        live_tokens,
    }
}

pub(super) fn issued(issued: &Issued) -> IssuedToken {
    let Issued { token, id, expires } = issued;
    IssuedToken {
        token: token.expose().to_owned(),
        token_type: "Bearer".to_owned(),
        jti: id.to_string(),
        expire_time: Some(time(*expires)),
    }
}

pub(super) fn ended_task(ended: &Ended) -> RevokeTaskResponse {
    let tasks = ended.tasks.iter();
    RevokeTaskResponse {
        revoked_token_count: number(ended.tokens),
        revoked_grant_count: number(ended.grants.len()),
        tasks: tasks
            .map(|(_person, task, status)| TaskOutcome {
                task_id: task.to_string(),
                state: state(*status).into(),
            })
            .collect(),
    }
}

pub(super) fn permitted(permitted: &Permitted) -> CheckPermissionResponse {
    let Permitted {
        result,
        tier,
        reason,
        hop,
        id,
    } = permitted;
    let result = match result {
        authority::PermissionResult::Allowed => PermissionResult::Allowed,
        authority::PermissionResult::Supervised => PermissionResult::Supervised,
        authority::PermissionResult::Denied => PermissionResult::Denied,
    };
    let (reason_code, reason) = reason.clone().unwrap_or_default();
    CheckPermissionResponse {
        result: result.into(),
        tier: tier.map_or(Tier::Unspecified, self::tier).into(),
        reason_code,
        reason,
        lost_at_hop: hop.map(number).unwrap_or_default(),
        audit_id: id.text(),
    }
}

pub(super) fn permissions(set: &PermissionSet) -> Vec<Permission> {
    let entries = set.entries().iter();
    entries
        .map(|entry| Permission {
            resource: entry.scope().resource.to_string(),
            action: entry.scope().action.to_string(),
            tier: tier(entry.tier()).into(),
        })
        .collect()
}

/// What was wanted and not held: the whole of every resource, where an action was named, and the other way round.
fn lost(excess: &Excess) -> Permission {
    match &excess.named {
        Named::Resource(pattern) => Permission {
            resource: pattern.to_string(),
            action: "*".to_owned(),
            tier: Tier::Unspecified.into(),
        },
        Named::Action(action) => Permission {
            resource: "**".to_owned(),
            action: action.to_string(),
            tier: Tier::Unspecified.into(),
        },
        Named::Permission(entry) => Permission {
            resource: entry.scope().resource.to_string(),
            action: entry.scope().action.to_string(),
            tier: tier(entry.tier()).into(),
        },
    }
}

pub(super) fn chain(chain: &Chain) -> Vec<ChainMember> {
    let person = ChainMember {
        id: chain.person.to_string(),
        spiffe_id: String::new(),
        agent_type: String::new(),
    };
    let agents = chain.agents.iter().map(|agent| ChainMember {
        id: agent.agent_id.to_string(),
        spiffe_id: agent.spiffe_id.to_string(),
        agent_type: agent.agent_type.to_string(),
    });
    std::iter::once(person).chain(agents).collect()
}

fn state(status: Life) -> State {
    match status {
        // Begun and not on record: nothing of it is told but what would be.
        Life::Pending => State::Unspecified,
        Life::Active => State::Active,
        Life::Completed => State::Completed,
        Life::Revoked => State::Revoked,
        Life::Expired => State::Expired,
        Life::Cascaded => State::Cascaded,
    }
}

fn tier(tier: permission::Tier) -> Tier {
    match tier {
        permission::Tier::Free => Tier::Free,
        permission::Tier::Supervised => Tier::Supervised,
        permission::Tier::Forbidden => Tier::Forbidden,
        permission::Tier::Absent => Tier::Unspecified,
    }
}

fn texts(items: &[impl ToString]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn number(count: impl TryInto<u32>) -> u32 {
    count.try_into().unwrap_or(u32::MAX)
}

pub(super) fn time(moment: Timestamp) -> Wire {
    Wire {
        seconds: i64::try_from(moment.unix_seconds()).unwrap_or(i64::MAX),
        nanos: 0,
    }
}
