//! From our words to Envoy's: a [`Decision`] becomes an [`Answer`].
//!
//! On allow, every `x-attache-*` header that a client sent is overwritten or removed, so that the service sees only
//! what attache says. On deny the client learns a stable code and a sentence, never what policy or tables hold.
//!
//! What policy asked for besides ([`Shaping`]) is added to that and takes none of it away; of a denial it may choose the
//! body, the status and headers. What can't be added as it was asked for makes the answer a denial.

mod shaping;

use prost::Message as _;
use prost_types::value::Kind;
use prost_types::{Any, Struct, Value};

use crate::authority::{Authority, Deadline, Decision, Denial, Outcome, Permit, Shaping};
use crate::delegation::{Mandate, TokenHeader};
use crate::identity::Peer;
use crate::operation::Mode;
use crate::permission::{Class, Reason};

use super::answer::Answer;
use super::proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use super::proto::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use super::proto::envoy::service::auth::v3::{DeniedHttpResponse, OkHttpResponse};
use super::proto::envoy::r#type::v3::HttpStatus;
use super::proto::google::rpc::{ErrorInfo, Status};

/// What the answer needs to know of the request.
#[derive(Debug, Default)]
pub(super) struct Asked<'a> {
    /// Names of the request's headers that are ours: those that begin with `x-attache-`, and `attache-token`.
    pub(super) reserved: Vec<&'a str>,
    /// Whether the client speaks gRPC and reads trailers, not bodies.
    pub(super) grpc: bool,
}

/// Puts a decision into Envoy's words.
pub(super) fn answer(decision: &Decision, asked: &Asked<'_>) -> Answer {
    let id = decision.id.text();
    let metadata = metadata(decision, &id);
    let shadowed = decision.mode == Mode::Shadow;
    match &decision.outcome {
        Outcome::Allow(permit) => {
            if let Some(response) = permitted(decision, &id, permit, asked) {
                return Answer::allow(response, metadata);
            }
            let denial = Denial::bare(Reason::InternalError);
            denied(&id, &denial, None, asked, metadata)
        }
        // The record already says what would have been.
        Outcome::Deny(_) if shadowed => {
            let headers = header(DECISION_ID, &id);
            Answer::allow(allowed(headers.into_iter().collect(), asked), metadata)
        }
        Outcome::Deny(denial) => {
            let shaping = decision.shaping.as_deref();
            denied(&id, denial, shaping, asked, metadata)
        }
    }
}

/// Records and answers a request that never became a question.
pub(super) async fn refusal(
    authority: &Authority,
    peer: &Peer,
    denial: Denial,
    deadline: Deadline,
) -> Answer {
    let refused = authority.refuse(peer, denial, deadline).await;
    answer(&refused, &Asked::default())
}

/// What changes for the service; `None` where a value can't stand in a header.
fn permitted(
    decision: &Decision,
    id: &str,
    permit: &Permit,
    asked: &Asked<'_>,
) -> Option<OkHttpResponse> {
    let mandate = decision.mandate.as_ref();
    let subject = mandate.map_or(permit.caller.as_str(), |it| it.person().as_str());
    let mut ours = Vec::with_capacity(TO_SERVICE.len());
    ours.push(header(CALLER, permit.caller.as_str())?);
    ours.push(header(SUBJECT, subject)?);
    ours.push(header(DECISION_ID, id)?);
    ours.push(header(TIER, permit.tier.as_str())?);
    if let Some(mandate) = mandate {
        ours.push(header(CHAIN, &chain(mandate))?);
        if let Some(agent) = mandate.agent() {
            ours.push(header(ACTOR, agent.agent_id.as_str())?);
        }
        if let Some(task) = mandate.tasks().last() {
            ours.push(header(TASK, task.as_str())?);
        }
    }
    let mut response = allowed(ours, asked);
    let Some(shaping) = &decision.shaping else {
        return Some(response);
    };
    shaping::allowance(&mut response, shaping)?;
    Some(response)
}

/// The names from the person to the one who acts, joined by commas. No name holds one, nor anything else that a header could
/// be read by in two ways; nine names of at most 128 bytes are the most there can be.
fn chain(mandate: &Mandate) -> String {
    let mut text = String::new();
    for name in mandate.claims.chain.names() {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
    }
    text
}

fn allowed(headers: Vec<HeaderValueOption>, asked: &Asked<'_>) -> OkHttpResponse {
    let set = |name: &str| {
        headers
            .iter()
            .any(|option| option.header.as_ref().is_some_and(|it| it.key == name))
    };
    // A proxy may be set to keep some of the client's headers back from us: what the service trusts is removed unseen.
    let trusted = TO_SERVICE
        .iter()
        .filter(|name| !asked.reserved.contains(name));
    // Envoy removes after it sets: a name in both lists would be lost.
    let headers_to_remove = asked
        .reserved
        .iter()
        .chain(trusted)
        .filter(|name| !set(name))
        .map(|name| (*name).to_owned())
        .collect();
    OkHttpResponse {
        headers,
        headers_to_remove,
        ..OkHttpResponse::default()
    }
}

fn denied(
    id: &str,
    denial: &Denial,
    shaping: Option<&Shaping>,
    asked: &Asked<'_>,
    metadata: Struct,
) -> Answer {
    let reason = denial.reason;
    let (status, code) = match reason.class() {
        Class::Unauthenticated => (401, tonic::Code::Unauthenticated),
        Class::Refused => (403, tonic::Code::PermissionDenied),
        Class::Undecided => (503, tonic::Code::Unavailable),
    };
    // A client that speaks gRPC reads it in `grpc-status`.
    let asked_for = shaping.and_then(|it| it.status).filter(|_| !asked.grpc);
    let status = asked_for.map_or(status, u32::from);
    let content_type = if asked.grpc {
        "application/grpc"
    } else {
        "application/problem+json"
    };
    let mut headers: Vec<_> = [
        header("content-type", content_type),
        header("cache-control", "no-store"),
        header("x-attache-decision", "deny"),
        header("x-attache-reason", reason.as_str()),
        header(DECISION_ID, id),
    ]
    .into_iter()
    .flatten()
    .collect();
    headers.extend(challenge(reason));
    let mut body = String::new();
    if asked.grpc {
        // Envoy passes our grpc-message only where the body is empty.
        let details = details_header(code, reason, id);
        headers.extend(header("grpc-status", &i32::from(code).to_string()));
        headers.extend(header("grpc-message", reason.public_detail()));
        headers.extend(header("grpc-status-details-bin", &details));
    } else {
        body = problem(status, reason, id);
    }
    let mut response = DeniedHttpResponse {
        status: Some(HttpStatus { code: status }),
        headers,
        body,
    };
    if let Some(shaping) = shaping {
        shaping::denial(&mut response, shaping, asked);
    }
    Answer::deny(code, response, metadata)
}

/// What is wrong with the token, as RFC 6750 section 3 has it: whatever it is, `invalid_token` (section 3.1). The other
/// refusals with 401 are about the certificate, for which HTTP has no scheme.
fn challenge(reason: Reason) -> Option<HeaderValueOption> {
    let detail = reason.public_detail();
    let value = reason
        .is_about_token()
        .then(|| format!("Bearer error=\"invalid_token\", error_description=\"{detail}\""));
    header("www-authenticate", &value?)
}

/// RFC 9457 problem details.
fn problem(status: u32, reason: Reason, id: &str) -> String {
    let title = match reason.class() {
        Class::Unauthenticated => "Caller not authenticated",
        Class::Refused => "Request denied",
        Class::Undecided => "No decision",
    };
    serde_json::json!({
        "type": format!("urn:attache:problem:{}", reason.as_str().replace('_', "-")),
        "title": title,
        "status": status,
        "detail": reason.public_detail(),
        "instance": format!("urn:ulid:{id}"),
        "reason": reason.as_str(),
    })
    .to_string()
}

/// The details of a gRPC error: an encoded `google.rpc.Status` with an `ErrorInfo`.
pub(super) fn details(code: tonic::Code, reason: Reason, id: &str) -> Vec<u8> {
    let info = ErrorInfo {
        reason: reason.as_str().to_ascii_uppercase(),
        domain: "attache.dev".to_owned(),
        metadata: [(DECISION.to_owned(), id.to_owned())].into(),
    };
    Status {
        code: code.into(),
        message: reason.public_detail().to_owned(),
        details: vec![Any {
            type_url: "type.googleapis.com/google.rpc.ErrorInfo".to_owned(),
            value: info.encode_to_vec(),
        }],
    }
    .encode_to_vec()
}

/// The details as the `grpc-status-details-bin` trailer holds them: unpadded base64.
fn details_header(code: tonic::Code, reason: Reason, id: &str) -> String {
    tonic::metadata::BinaryMetadataValue::from_bytes(&details(code, reason, id))
        .as_encoded_bytes()
        .iter()
        .map(|byte| char::from(*byte))
        .collect()
}

/// One header that replaces whatever the client sent; `None` for a value that can't stand in a header.
fn header(name: &str, value: &str) -> Option<HeaderValueOption> {
    let printable = value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    (printable && value.len() <= MAX_HEADER_VALUE).then(|| HeaderValueOption {
        header: Some(HeaderValue {
            key: name.to_owned(),
            value: value.to_owned(),
            raw_value: bytes::Bytes::new(),
        }),
        // For proxies from before append_action; the newer field decides elsewhere.
        append: Some(false),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
    })
}

/// What access logs and later filters can read, under one key of ours.
fn metadata(decision: &Decision, id: &str) -> Struct {
    let (word, reason) = match &decision.outcome {
        Outcome::Allow(_) => ("allow", None),
        Outcome::Deny(denial) => ("deny", Some(denial.reason)),
    };
    let mut fields = vec![text("decision", word), text("decision_id", id)];
    fields.extend(reason.map(|reason| text("reason", reason.as_str())));
    fields.extend(decision.tier.map(|tier| text("tier", tier.as_str())));
    if let Some(mandate) = &decision.mandate {
        fields.push(text("subject", mandate.person().as_str()));
        fields.push(text("chain", &chain(mandate)));
        let agent = mandate.agent().map(|it| it.agent_id.as_str());
        fields.extend(agent.map(|agent| text("actor", agent)));
        let task = mandate.tasks().last();
        fields.extend(task.map(|task| text("task", task.as_str())));
    }
    if decision.mode == Mode::Shadow {
        fields.push(text("mode", "shadow"));
    }
    let said = decision
        .shaping
        .as_ref()
        .and_then(|it| it.metadata.as_ref());
    if let Some(said) = said {
        fields.push(("policy".to_owned(), shaping::metadata(said)));
    }
    let ours = Struct {
        fields: fields.into_iter().collect(),
    };
    Struct {
        fields: [(
            "attache".to_owned(),
            Value {
                kind: Some(Kind::StructValue(ours)),
            },
        )]
        .into(),
    }
}

fn text(key: &str, value: &str) -> (String, Value) {
    (
        key.to_owned(),
        Value {
            kind: Some(Kind::StringValue(value.to_owned())),
        },
    )
}

/// Where `ErrorInfo` names the decision.
pub(super) const DECISION: &str = "decision_id";
const CALLER: &str = "x-attache-caller";
const SUBJECT: &str = "x-attache-subject";
const DECISION_ID: &str = "x-attache-decision-id";
const TIER: &str = "x-attache-tier";
const ACTOR: &str = "x-attache-actor";
const TASK: &str = "x-attache-task";
const CHAIN: &str = "x-attache-chain";
/// Everything that a service may learn from attache.
const TO_SERVICE: [&str; 7] = [CALLER, SUBJECT, DECISION_ID, TIER, ACTOR, TASK, CHAIN];
/// The header that a token may be shown in and that no service gets.
pub(super) const TOKEN: &str = TokenHeader::AttacheToken.as_str();
/// Bytes of a header value; longer ones make Envoy answer 500.
const MAX_HEADER_VALUE: usize = 8 * 1024;

#[cfg(test)]
mod tests;
