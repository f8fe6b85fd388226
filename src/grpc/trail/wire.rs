//! Between the messages of `AuditService` and our own words, in both directions.

use prost_types::Timestamp as Wire;
use serde::Deserialize;

use super::super::proto::attache::v1::{
    AuditEntry, AuditFilter, AuditOrder, ChainHead, VerifyAuditChainResponse,
};
use crate::audit::{
    Broken, Cursor, Details, EventType, Filter, Head, Order, Outcome, Predecessor, Summary, Tasks,
    Text,
};
use crate::clock::Timestamp;

/// A field that can't be what it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Invalid(String);

// === What is asked ===

pub(super) fn filter(asked: Option<&AuditFilter>) -> Result<Filter, Invalid> {
    let Some(asked) = asked else {
        return Ok(Filter::default());
    };
    let AuditFilter {
        actor,
        subject,
        chain_member,
        event_types,
        task,
        task_exact,
        resource,
        action,
        result,
        decision_id,
        start_time,
        end_time,
    } = asked;
    let event_types = event_types.iter().map(|name| {
        EventType::named(name).ok_or_else(|| {
            Invalid(format!(
                "`filter.event_types`: `{}` is no event type",
                name.escape_debug()
            ))
        })
    });
    let result = given(result).map(|name| {
        Outcome::named(&name).ok_or_else(|| {
            Invalid(format!(
                "`filter.result`: `{}` is no result",
                name.escape_debug()
            ))
        })
    });
    let task = given(task).map(|task| {
        if *task_exact {
            Tasks::Exactly(task)
        } else {
            Tasks::Under(task)
        }
    });
    if *task_exact && task.is_none() {
        return Err(Invalid(
            "`filter.task_exact` is set without `filter.task`".to_owned(),
        ));
    }
    Ok(Filter {
        actor: given(actor),
        subject: given(subject),
        chain: given(chain_member),
        event_types: once(event_types.collect::<Result<_, _>>()?),
        task,
        resource: given(resource),
        action: given(action),
        result: result.transpose()?,
        decision_id: given(decision_id),
        from: moment("filter.start_time", start_time.as_ref())?,
        until: moment("filter.end_time", end_time.as_ref())?,
    })
}

/// Each of `types` once: a filter is as long as there are types, however long the message was.
fn once(types: Vec<EventType>) -> Vec<EventType> {
    let mut each = Vec::new();
    for it in types {
        if !each.contains(&it) {
            each.push(it);
        }
    }
    each
}

/// A filter as the client sends it.
pub(super) fn asked(filter: &Filter) -> AuditFilter {
    let Filter {
        actor,
        subject,
        chain,
        event_types,
        task,
        resource,
        action,
        result,
        decision_id,
        from,
        until,
    } = filter;
    let text = |it: &Option<String>| it.clone().unwrap_or_default();
    let (task, task_exact) = match task {
        None => (String::new(), false),
        Some(Tasks::Under(task)) => (task.clone(), false),
        Some(Tasks::Exactly(task)) => (task.clone(), true),
    };
    AuditFilter {
        actor: text(actor),
        subject: text(subject),
        chain_member: text(chain),
        event_types: event_types
            .iter()
            .map(|it| it.as_str().to_owned())
            .collect(),
        task,
        task_exact,
        resource: text(resource),
        action: text(action),
        result: result.map(|it| it.as_str().to_owned()).unwrap_or_default(),
        decision_id: text(decision_id),
        start_time: from.map(protobuf),
        end_time: until.map(protobuf),
    }
}

pub(super) fn order(asked: i32) -> Result<Order, Invalid> {
    match AuditOrder::try_from(asked) {
        Ok(AuditOrder::Unspecified | AuditOrder::OldestFirst) => Ok(Order::Ascending),
        Ok(AuditOrder::NewestFirst) => Ok(Order::Descending),
        Err(_unknown) => Err(Invalid(format!("`order`: {asked} is no order"))),
    }
}

pub(super) fn page_size(asked: i32) -> Result<usize, Invalid> {
    match usize::try_from(asked) {
        Ok(0) => Ok(PAGE),
        Ok(size) => Ok(size.min(MAX_PAGE)),
        Err(_negative) => Err(Invalid(format!(
            "`page_size`: {asked} is less than nothing"
        ))),
    }
}

/// What is asked for, as the record of it says.
pub(super) fn details(mut details: Details, asked: Option<&AuditFilter>) -> Details {
    let Some(asked) = asked else {
        return details;
    };
    let texts = [
        ("actor", &asked.actor),
        ("subject", &asked.subject),
        ("chain_member", &asked.chain_member),
        ("task", &asked.task),
        ("resource", &asked.resource),
        ("action", &asked.action),
        ("result", &asked.result),
        ("decision_id", &asked.decision_id),
    ];
    for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        details = details.with(name, text.as_str());
    }
    if asked.task_exact {
        details = details.with("task_exact", true);
    }
    if !asked.event_types.is_empty() {
        let names = asked
            .event_types
            .iter()
            .map(|name| Text::from(name.as_str()));
        details = details.with("event_types", names.collect::<Vec<_>>());
    }
    for (name, time) in [
        ("start_time", &asked.start_time),
        ("end_time", &asked.end_time),
    ] {
        if let Ok(Some(time)) = moment(name, time.as_ref()) {
            details = details.with(name, time.to_string());
        }
    }
    details
}

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn moment(field: &str, wire: Option<&Wire>) -> Result<Option<Timestamp>, Invalid> {
    let Some(Wire { seconds, nanos }) = wire else {
        return Ok(None);
    };
    match (u64::try_from(*seconds), u32::try_from(*nanos)) {
        (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => {
            let nanos = std::time::Duration::from_nanos(nanos.into());
            Ok(Some(Timestamp::from_unix_seconds(seconds).plus(nanos)))
        }
        _ => Err(Invalid(format!("`{field}` is no moment from 1970 on"))),
    }
}

fn protobuf(time: Timestamp) -> Wire {
    let since = time.since(Timestamp::from_unix_seconds(0));
    Wire {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or_default(),
    }
}

// === What is answered ===

/// The members of a record that an entry repeats.
#[derive(Debug, Deserialize)]
struct Line {
    id: String,
    time: String,
    writer: String,
    seq: u64,
    event_type: String,
    result: String,
    actor: Actor,
    subject: Option<Subject>,
    #[serde(default)]
    delegation_chain: Vec<String>,
    task: Option<Task>,
    resource: Option<String>,
    action: Option<String>,
    reason_code: Option<String>,
    decision_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Actor {
    id: Option<String>,
    r#type: String,
}

#[derive(Debug, Deserialize)]
struct Subject {
    id: String,
}

#[derive(Debug, Deserialize)]
struct Task {
    path: Vec<String>,
}

/// The entry of a record, and its place; `None` for what is none.
pub(super) fn entry(line: String) -> Option<(AuditEntry, Cursor)> {
    let Line {
        id,
        time,
        writer,
        seq,
        event_type,
        result,
        actor,
        subject,
        delegation_chain,
        task,
        resource,
        action,
        reason_code,
        decision_id,
    } = serde_json::from_str(&line).ok()?;
    let moment: Timestamp = time.parse().ok()?;
    let place = Cursor {
        time,
        writer: writer.clone(),
        seq,
    };
    let entry = AuditEntry {
        record: line,
        id,
        time: Some(protobuf(moment)),
        writer,
        seq: number(seq),
        event_type,
        result,
        actor: actor.id.unwrap_or_default(),
        actor_type: actor.r#type,
        subject: subject.map(|it| it.id).unwrap_or_default(),
        delegation_chain,
        task_path: task.map(|it| it.path).unwrap_or_default(),
        resource: resource.unwrap_or_default(),
        action: action.unwrap_or_default(),
        reason_code: reason_code.unwrap_or_default(),
        decision_id: decision_id.unwrap_or_default(),
    };
    Some((entry, place))
}

pub(super) fn unbroken(summary: Summary) -> VerifyAuditChainResponse {
    let heads = summary.heads.into_iter();
    let missing = summary.missing.into_iter();
    let empty = summary.records == 0;
    VerifyAuditChainResponse {
        unbroken: !empty,
        records: number(summary.records),
        flaw: if empty {
            "there is no record".to_owned()
        } else {
            String::new()
        },
        flaw_line: 0,
        heads: heads
            .map(|(writer, head)| chain_head(writer, &head))
            .collect(),
        missing: missing.map(predecessor).collect(),
    }
}

pub(super) fn broken(broken: &Broken) -> VerifyAuditChainResponse {
    VerifyAuditChainResponse {
        records: number(broken.line.saturating_sub(1)),
        flaw: broken.flaw.to_string(),
        flaw_line: number(broken.line),
        ..VerifyAuditChainResponse::default()
    }
}

fn chain_head(writer: String, head: &Head) -> ChainHead {
    ChainHead {
        writer,
        seq: number(head.seq),
        hash: head.hash.to_string(),
        stopped: head.stopped,
    }
}

fn predecessor(missing: Predecessor) -> ChainHead {
    ChainHead {
        writer: missing.writer,
        seq: number(missing.seq),
        hash: missing.hash,
        stopped: false,
    }
}

pub(super) fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Records of a page that asks for no number.
const PAGE: usize = 100;
const MAX_PAGE: usize = 1000;
