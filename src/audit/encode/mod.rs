//! Records in other people's formats: a line of a trail in, one JSON object out.
//!
//! Nothing is decided here, and nothing left out: every format carries the record as it was written as well, so that
//! [`super::verify()`] can still be asked about what was exported. Nothing is added that the record does not say, but
//! names and numbers that the format asks for. Whether a chain is unbroken is not looked at.
//!
//! A line that can't be read ends the export with an error that names it. Only a line that a crash cut off is passed
//! over, where the next record is the one that announces it, as in verifying.

mod cloudevents;
mod ocsf;
mod opa;
mod written;

use serde_json::{Map, Value};

use super::chain::Digest;
use written::Written;

/// How to write records for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As our writer wrote them.
    Json,
    /// An event of OPA's decision log; the record is `custom.attache`.
    Opa,
    /// `CloudEvents` 1.0 in its JSON format; the record is `data`.
    CloudEvents,
    /// An event of the Open Cybersecurity Schema Framework 1.8.0; the record is `unmapped.attache`.
    Ocsf,
}

/// Writes the lines of a trail in another format, one after the other.
#[derive(Debug)]
pub struct Encoder {
    format: Format,
    lines: u64,
    records: u64,
    torn: Option<Torn>,
}

/// The first line that can't be written in another format.
#[derive(Debug, thiserror::Error)]
#[error("line {line} is not a record")]
pub struct Unreadable {
    /// Line number, counted from 1.
    pub line: u64,
    /// What is wrong there.
    #[source]
    pub cause: NotARecord,
}

/// Why a line is no record.
#[derive(Debug, thiserror::Error)]
pub enum NotARecord {
    /// Not one JSON object in canonical form.
    #[error(
        "not one canonical JSON object: altered, or cut off by a crash that no later record announces"
    )]
    Form,
    /// A member is missing, or is nothing that this version writes there.
    #[error("altered, or written by another version of attache")]
    Member(#[source] serde_json::Error),
    /// It can't be written.
    #[error("write it as JSON")]
    Write(#[source] serde_json::Error),
}

/// A line that may have been cut off by a crash.
#[derive(Debug)]
struct Torn {
    line: u64,
    digest: Digest,
}

// === impl Encoder ===

impl Encoder {
    /// An encoder that has seen no line.
    pub const fn new(format: Format) -> Self {
        Self {
            format,
            lines: 0,
            records: 0,
            torn: None,
        }
    }

    /// Appends the next line, given without its line feed, to `out` in the other format, with a line feed.
    ///
    /// Nothing is appended for a line that may have been cut off by a crash: the next one, or [`Encoder::finish`], says
    /// whether it was. On an error `out` is as before.
    pub fn line(&mut self, line: &[u8], out: &mut Vec<u8>) -> Result<(), Unreadable> {
        self.lines += 1;
        let here = self.lines;
        let unreadable = |cause| Unreadable { line: here, cause };
        let Some(whole) = canonical(line) else {
            // Only the very next record can announce it.
            self.nothing_torn()?;
            self.torn = Some(Torn {
                line: here,
                digest: Digest::of([line]),
            });
            return Ok(());
        };
        let record = Written::of(&whole)
            .map_err(NotARecord::Member)
            .map_err(unreadable)?;
        if let Some(torn) = &self.torn
            && record.announces(&torn.digest)
        {
            self.torn = None;
        }
        self.nothing_torn()?;
        let encoded = self.format.of(line, &record).map_err(unreadable)?;
        out.extend_from_slice(&encoded);
        out.push(b'\n');
        self.records += 1;
        Ok(())
    }

    /// Ends the walk, and says how many records were written.
    pub fn finish(self) -> Result<u64, Unreadable> {
        self.nothing_torn()?;
        Ok(self.records)
    }

    fn nothing_torn(&self) -> Result<(), Unreadable> {
        match &self.torn {
            Some(torn) => Err(Unreadable {
                line: torn.line,
                cause: NotARecord::Form,
            }),
            None => Ok(()),
        }
    }
}

// === impl Format ===

impl Format {
    fn of(self, line: &[u8], record: &Written<'_>) -> Result<Vec<u8>, NotARecord> {
        let event = match self {
            Self::Json => return Ok(line.to_vec()),
            Self::Opa => opa::event(record),
            Self::CloudEvents => cloudevents::event(record),
            Self::Ocsf => ocsf::event(record),
        };
        serde_json::to_vec(&event).map_err(NotARecord::Write)
    }
}

/// The object that `line` holds, if it is in the form that our writer gives it: what is exported can then be turned back
/// into the very same bytes, and no member stands in it twice.
fn canonical(line: &[u8]) -> Option<Value> {
    let object: Map<String, Value> = serde_json::from_slice(line).ok()?;
    (serde_json::to_vec(&object).ok()? == line).then_some(Value::Object(object))
}

/// An object without the members that are null, as our own records leave out what is unknown. An object of nothing is null
/// itself, and so left out of the object around it.
fn known(members: Value) -> Value {
    let Value::Object(members) = members else {
        return members;
    };
    let known: Map<_, _> = members
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .collect();
    if known.is_empty() {
        return Value::Null;
    }
    Value::Object(known)
}

#[cfg(test)]
mod tests;
