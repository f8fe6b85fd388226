//! A record as an event of the Open Cybersecurity Schema Framework, version 1.8.0 (schema.ocsf.io/1.8.0).
//!
//! The record is `unmapped.attache`, whole. Captions stand beside the numbers that they belong to, for people who read an
//! event; consumers go by numbers. An event holds nothing that its class does not know, so that validators that are
//! strict about this accept it. What the schema asks for and the record does not know is called `unknown`.

mod place;

use serde_json::{Value, json};

use super::super::record::{EventType, Outcome};
use super::known;
use super::written::{Members, Written};
use place::{About, Place};

/// The event.
pub(super) fn event(record: &Written<'_>) -> Value {
    let it = &record.members;
    let place = place::of(it.event_type);
    let about = place.about;
    let mut event = common(record, place);
    let specific = match about {
        About::Operation => operation(it),
        About::Person => person(it),
        About::Holder => holder(it),
        About::Token => entity(it, "Token", it.jti),
        About::Task => entity(it, "Task", it.task.as_ref().map(|it| it.id)),
        About::Key => entity(it, "Signing Key", record.detail("kid")),
        About::Configuration => entity(it, "Configuration", record.detail("revision")),
        About::Policy => policy(it, record.detail("revision")),
        About::Engine => engine(record.detail("endpoint")),
        About::Trail => json!({
            "actor": actor(it),
            "log_name": LOG,
            "log_provider": it.writer,
        }),
    };
    if let (Value::Object(event), Value::Object(specific)) = (&mut event, known(specific)) {
        event.extend(specific);
    }
    event
}

/// What every event has.
fn common(record: &Written<'_>, place: Place) -> Value {
    let it = &record.members;
    let class = place.class;
    let (activity_id, activity_name) = place.activity.with(it.action);
    let (severity_id, severity) = severity(it);
    let (status_id, status) = match it.result {
        Outcome::Allowed | Outcome::Success => (1, "Success"),
        Outcome::Denied | Outcome::Failure => (2, "Failure"),
        Outcome::Supervised => (99, "Supervised"),
    };
    known(json!({
        "activity_id": activity_id,
        "activity_name": activity_name,
        "category_name": class.category_name,
        "category_uid": class.category_uid,
        "class_name": class.name,
        "class_uid": class.uid,
        "count": it.count,
        "end_time": it.last_time.map(|it| it.unix_millis),
        "message": it.message,
        "metadata": metadata(it, place.about),
        "severity": severity,
        "severity_id": severity_id,
        "start_time": it.last_time.map(|_| it.time.unix_millis),
        "status": status,
        "status_code": it.reason_code,
        "status_id": status_id,
        "time": it.time.unix_millis,
        "type_uid": class.uid * 100 + activity_id,
        "unmapped": {"attache": record.whole},
    }))
}

fn metadata(record: &Members<'_>, about: About) -> Value {
    let profiles = match (about, record.trace_id) {
        (About::Operation, Some(_)) => json!(["security_control", "trace"]),
        (About::Operation, None) => json!(["security_control"]),
        _ => Value::Null,
    };
    known(json!({
        "correlation_uid": record.decision_id,
        "event_code": record.event_type.as_str(),
        "log_name": LOG,
        "log_provider": record.writer,
        "original_time": record.time.text,
        "product": {"name": "attache", "vendor_name": "attache"},
        "profiles": profiles,
        "sequence": record.seq,
        "tenant_uid": record.tenant,
        "uid": record.id,
        "version": "1.8.0",
    }))
}

/// How much it asks for attention, as SIEMs sort by it.
const fn severity(record: &Members<'_>) -> (u64, &'static str) {
    match (record.event_type, record.result) {
        (EventType::AuditGap, _) => (4, "High"),
        (EventType::CircuitOpened, _) | (_, Outcome::Failure) => (3, "Medium"),
        (_, Outcome::Denied) => (2, "Low"),
        (_, Outcome::Allowed | Outcome::Supervised | Outcome::Success) => (1, "Informational"),
    }
}

/// API Activity: the operation, who wanted it, and what became of it (profile `security_control`).
fn operation(record: &Members<'_>) -> Value {
    let (action_id, action, disposition_id, disposition) = match record.result {
        Outcome::Allowed | Outcome::Success => (1, "Allowed", 1, "Allowed"),
        // What waits for a person did not get through.
        Outcome::Supervised | Outcome::Denied | Outcome::Failure => (2, "Denied", 2, "Blocked"),
    };
    let policy = record.policy.as_ref().map(|it| {
        let uid = it.id.or(it.path).unwrap_or(it.revision);
        json!({"uid": uid, "version": it.revision})
    });
    let method = record.http.as_ref().map(|it| it.method);
    json!({
        "action": action,
        "action_id": action_id,
        "actor": actor(record),
        "api": known(json!({
            "operation": record.action.or(method).unwrap_or(UNKNOWN),
            "request": record.decision_id.map(|it| json!({"uid": it})),
        })),
        "authorizations": [known(json!({
            "decision": record.result.as_str(),
            "policy": policy,
        }))],
        "disposition": disposition,
        "disposition_id": disposition_id,
        "dst_endpoint": record.destination.as_ref().map(|it| json!({"uid": it.spiffe_id})),
        "http_request": http_request(record),
        "resources": record.resource.map(|it| json!([{"name": it, "role": "Target", "role_id": 1}])),
        "src_endpoint": source(record),
        "trace": record.trace_id.map(|it| json!({"uid": it})),
    })
}

fn http_request(record: &Members<'_>) -> Value {
    let http = record.http.as_ref();
    // The schema knows these methods alone; another one stands in the record.
    let method = http.and_then(|http| METHODS.iter().find(|it| **it == http.method));
    known(json!({
        "http_method": method,
        "uid": record.request_id,
        "url": http.map(|it| known(json!({
            "hostname": Some(it.host).filter(|host| !host.is_empty()),
            "path": it.path,
        }))),
    }))
}

/// Where it came from, of which the schema wants something: else who asked.
fn source(record: &Members<'_>) -> Value {
    match (origin(record), record.actor.id) {
        (Value::Null, Some(actor)) => json!({"uid": actor}),
        (Value::Null, None) => json!({"name": UNKNOWN}),
        (origin, _) => origin,
    }
}

/// The address and the proxy in front, as far as they are known.
fn origin(record: &Members<'_>) -> Value {
    let source = record.source.as_ref();
    known(json!({
        "ip": source.and_then(|it| it.ip),
        "uid": source.and_then(|it| it.spiffe_id),
    }))
}

/// Authentication: whom a login, a session or a token is about.
fn person(record: &Members<'_>) -> Value {
    json!({
        "service": {"name": "attache"},
        "session": session(record),
        "src_endpoint": origin(record),
        "user": user(record),
    })
}

/// Authorize Session: who handed on, and to whom.
fn holder(record: &Members<'_>) -> Value {
    let agent = record.agent.as_ref().map(
        |it| json!({"groups": [{"name": it.kind}], "type": "Agent", "type_id": 99, "uid": it.id}),
    );
    let privilege = match (record.resource, record.action, record.grant_id) {
        (Some(resource), Some(action), _) => format!("{resource}:{action}"),
        (_, _, Some(grant)) => format!("grant {grant}"),
        _ => UNKNOWN.to_owned(),
    };
    json!({
        "actor": actor(record),
        "privileges": [privilege],
        "session": session(record),
        "src_endpoint": origin(record),
        "user": agent.unwrap_or_else(|| user(record)),
    })
}

/// Entity Management: who did it, and to what.
fn entity(record: &Members<'_>, kind: &str, uid: Option<&str>) -> Value {
    json!({
        "actor": actor(record),
        "entity": known(json!({"name": kind, "type": kind, "type_id": 99, "uid": uid})),
        "src_endpoint": origin(record),
    })
}

fn policy(record: &Members<'_>, revision: Option<&str>) -> Value {
    let policy = json!({"name": "Policy", "type": "Policy", "type_id": 5, "version": revision});
    json!({"actor": actor(record), "entity": known(policy)})
}

/// Application Lifecycle: the policy engine that answers, or does not.
fn engine(endpoint: Option<&str>) -> Value {
    let app = json!({"name": "policy engine", "url_string": endpoint});
    json!({"app": known(app)})
}

fn actor(record: &Members<'_>) -> Value {
    known(json!({"session": session(record), "user": user(record)}))
}

/// The actor as a user; one without an id is a user of that name.
fn user(record: &Members<'_>) -> Value {
    let actor = &record.actor;
    let (type_id, kind) = match actor.kind {
        "person" => (1, "User"),
        "system" => (3, "System"),
        "workload" => (4, "Service"),
        "agent" => (99, "Agent"),
        _ => (0, "Unknown"),
    };
    known(json!({
        "name": actor.id.is_none().then_some(UNKNOWN),
        "type": kind,
        "type_id": type_id,
        "uid": actor.id,
        "uid_alt": actor.spiffe_id,
    }))
}

/// The person's session, and the token by its id.
fn session(record: &Members<'_>) -> Value {
    let expired = record.event_type == EventType::SessionExpired;
    known(json!({
        "credential_uid": record.jti,
        "expiration_reason": expired.then_some("expired"),
        "uid": record.session_id,
    }))
}

const LOG: &str = "audit";
const UNKNOWN: &str = "unknown";

/// The methods of `http_request.http_method`.
const METHODS: &[&str] = &[
    "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
];
