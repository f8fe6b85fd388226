//! A record as an event of OPA's decision log (`EventV1` of OPA's decision log plugin).
//!
//! A log that collects OPA's decisions can hold ours beside them: what was asked is `input`, the answer `result`. The
//! record is `custom.attache`, whole. What is no decision is an event as well, of a path of its own, with no `allow`.

use serde_json::{Map, Value, json};

use super::super::record::{EventType, Outcome};
use super::known;
use super::written::Written;

pub(super) fn event(record: &Written<'_>) -> Value {
    let it = &record.members;
    let policy = it.policy.as_ref();
    let path = policy.and_then(|it| it.path);
    known(json!({
        "bundles": policy.map(|it| json!({"policy": {"revision": it.revision}})),
        "custom": {"attache": record.whole},
        "decision_id": it.decision_id.unwrap_or(it.id),
        "input": record.part(INPUT),
        "labels": {
            "app": "attache",
            "event_type": it.event_type.as_str(),
            "id": it.writer,
            "tenant": it.tenant,
        },
        // OPA's own name for the time from question to answer.
        "metrics": it.latency_us.map(|it| json!({"timer_server_handler_ns": it.saturating_mul(1000)})),
        "path": path.unwrap_or(path_of(it.event_type)),
        // The peer, or what kind of connection it came by.
        "requested_by": it.pep.as_ref().map(|it| it.spiffe_id.unwrap_or(it.kind)),
        "result": result(record),
        "timestamp": it.time.text,
        "trace_id": it.trace_id,
    }))
}

/// The path that OPA would have been asked for, by which its users sort decisions.
const fn path_of(event_type: EventType) -> &'static str {
    match event_type {
        // One question, whatever the answer.
        EventType::PermissionCheck | EventType::PermissionDenied => "attache/permission",
        EventType::HumanLogin => "attache/human/login",
        EventType::HumanLogout => "attache/human/logout",
        EventType::HumanLoginFailed => "attache/human/login_failed",
        EventType::SessionExpired => "attache/session/expired",
        EventType::AgentDelegated => "attache/agent/delegated",
        EventType::AgentSubdelegated => "attache/agent/subdelegated",
        EventType::DelegationRejected => "attache/delegation/rejected",
        EventType::TokenIssued => "attache/token/issued",
        EventType::TokenRenewed => "attache/token/renewed",
        EventType::TokenRejected => "attache/token/rejected",
        EventType::TokenRevoked => "attache/token/revoked",
        EventType::TaskCreated => "attache/task/created",
        EventType::TaskCompleted => "attache/task/completed",
        EventType::TaskRevoked => "attache/task/revoked",
        EventType::KeyRotated => "attache/key/rotated",
        EventType::ConfigChanged => "attache/config/changed",
        EventType::ConfigRejected => "attache/config/rejected",
        EventType::PolicyLoaded => "attache/policy/loaded",
        EventType::PolicyFailed => "attache/policy/failed",
        EventType::CircuitOpened => "attache/circuit/opened",
        EventType::CircuitHalfOpened => "attache/circuit/half_opened",
        EventType::CircuitClosed => "attache/circuit/closed",
        EventType::AuditQueried => "attache/audit/queried",
        EventType::AuditStarted => "attache/audit/started",
        EventType::AuditStopped => "attache/audit/stopped",
        EventType::AuditCheckpoint => "attache/audit/checkpoint",
        EventType::AuditGap => "attache/audit/gap",
    }
}

/// The answer. `allow` stands there for operations alone, and is true for nothing but `allowed`.
fn result(record: &Written<'_>) -> Map<String, Value> {
    let mut result = record.part(RESULT);
    if matches!(
        record.members.event_type,
        EventType::PermissionCheck | EventType::PermissionDenied
    ) {
        let allow = record.members.result == Outcome::Allowed;
        result.insert("allow".to_owned(), allow.into());
    }
    result
}

/// Members that say what was asked, or what happened.
const INPUT: &[&str] = &[
    "action",
    "actor",
    "agent",
    "audience",
    "delegation_chain",
    "destination",
    "details",
    "event_type",
    "grant_id",
    "http",
    "jti",
    "parent_jti",
    "pep",
    "request_id",
    "resource",
    "session_id",
    "source",
    "subject",
    "target",
    "task",
];

/// Members that say how it ended.
const RESULT: &[&str] = &[
    "cached",
    "message",
    "mode",
    "reason_code",
    "result",
    "tier",
    "would_be",
];
