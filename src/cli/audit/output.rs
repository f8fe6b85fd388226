//! Records on a terminal: rows of at most 120 columns, in which nothing that somebody else chose moves the cursor or turns
//! the text around. With `--json` lines go out as they were written, for programs.

use std::io::{self, BufWriter, StdoutLock, Write};

use serde::Deserialize;

/// What a row shows of a record; what is missing is empty.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Shown {
    pub(super) id: String,
    time: String,
    pub(super) event_type: String,
    result: String,
    pub(super) actor: Party,
    pub(super) agent: Option<Party>,
    pub(super) delegation_chain: Vec<String>,
    resource: String,
    action: String,
    reason_code: String,
    message: String,
    count: Option<u64>,
    task: Option<Task>,
}

/// Somebody in a record.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Party {
    pub(super) id: String,
    pub(super) r#type: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Task {
    id: String,
}

/// Standard output. Whoever closes the pipe has read enough.
pub(super) struct Output {
    out: BufWriter<StdoutLock<'static>>,
    json: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        let out = BufWriter::new(io::stdout().lock());
        Self { out, json }
    }

    /// The heading of a table.
    pub(super) fn heading(&mut self) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        let row = columns(["TIME", "EVENT", "RESULT", "ACTOR", "OPERATION"]);
        self.line(&row)
    }

    /// A record: a row of the table, or its line as it was written.
    pub(super) fn record(&mut self, line: &str) -> io::Result<()> {
        if self.json {
            return self.line(line);
        }
        let row = serde_json::from_str::<Shown>(line)
            .unwrap_or_default()
            .row();
        self.line(&row)
    }

    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.write_all(b"\n")
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Shown {
    fn row(&self) -> String {
        let actor = match &*self.actor.id {
            "" => &self.actor.r#type,
            id => id,
        };
        columns([
            &self.moment(),
            &self.event_type,
            &self.result,
            actor,
            &self.operation(),
        ])
    }

    /// The row below a name in a tree, in `width` columns.
    pub(super) fn branch(&self, width: usize) -> String {
        let start = format!(
            "{}  {} {} ",
            pad(&cut(&self.moment(), TIME, End::Right), TIME),
            pad(&cut(&self.event_type, EVENT, End::Right), EVENT),
            pad(&cut(&self.result, RESULT, End::Right), RESULT),
        );
        let left = width.saturating_sub(columns_of(&start));
        let operation = cut(&self.operation(), left, End::Right);
        format!("{start}{operation}").trim_end().to_owned()
    }

    /// To the millisecond: enough for people, and all have the same length.
    fn moment(&self) -> String {
        match self.time.get(..23) {
            Some(whole) => format!("{whole}Z"),
            None => self.time.clone(),
        }
    }

    /// What was done to what, and why not.
    fn operation(&self) -> String {
        let agent = self.agent.as_ref().map(|it| it.id.as_str());
        // For what is about an agent itself, such as a delegation.
        let agent = agent.filter(|agent| self.action.is_empty() && *agent != self.actor.id);
        let task = self.task.as_ref().filter(|_| self.action.is_empty());
        let because = match (&*self.reason_code, &*self.message) {
            ("", "") => String::new(),
            ("", message) => message.to_owned(),
            (code, "") => format!("({code})"),
            (code, message) => format!("({code}: {message})"),
        };
        let count = self.count.map(|count| format!("x{count}"));
        let words = [
            self.action.as_str(),
            &self.resource,
            agent.unwrap_or_default(),
            task.map(|it| it.id.as_str()).unwrap_or_default(),
            count.as_deref().unwrap_or_default(),
            &because,
        ];
        let words: Vec<_> = words.into_iter().filter(|it| !it.is_empty()).collect();
        words.join(" ")
    }
}

fn columns([time, event, result, actor, operation]: [&str; 5]) -> String {
    let row = format!(
        "{}  {} {} {} {}",
        pad(&cut(time, TIME, End::Right), TIME),
        pad(&cut(event, EVENT, End::Right), EVENT),
        pad(&cut(result, RESULT, End::Right), RESULT),
        // The end of a SPIFFE ID tells most.
        pad(&cut(actor, ACTOR, End::Left), ACTOR),
        cut(operation, OPERATION, End::Right),
    );
    row.trim_end().to_owned()
}

/// Which end of a text is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Left,
    Right,
}

/// `text`, escaped, in at most `width` columns.
pub(super) fn cut(text: &str, width: usize, end: End) -> String {
    let pieces: Vec<String> = text.chars().map(escaped).collect();
    let whole: usize = pieces.iter().map(|piece| columns_of(piece)).sum();
    if whole <= width {
        return pieces.concat();
    }
    let mut room = width.saturating_sub(1);
    let mut fits = |piece: &&String| {
        let left = room.checked_sub(columns_of(piece));
        room = left.unwrap_or(0);
        left.is_some()
    };
    match end {
        End::Right => {
            let kept: String = pieces.iter().take_while(&mut fits).cloned().collect();
            format!("{kept}…")
        }
        End::Left => {
            let kept: Vec<&String> = pieces.iter().rev().take_while(&mut fits).collect();
            let kept: String = kept.into_iter().rev().cloned().collect();
            format!("…{kept}")
        }
    }
}

/// `text`, escaped, however long it is.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(escaped).collect()
}

fn pad(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(columns_of(text));
    format!("{text}{}", " ".repeat(missing))
}

/// Letters and digits of any script, and printable ASCII, are themselves; everything else is spelt out.
fn escaped(character: char) -> String {
    if character == ' ' || character.is_ascii_graphic() || character.is_alphanumeric() {
        character.to_string()
    } else {
        character.escape_unicode().to_string()
    }
}

/// Two columns from the first of the wide scripts on: too many rather than too few.
fn columns_of(text: &str) -> usize {
    let wide = |character: char| character >= '\u{1100}' && character != '…';
    text.chars().map(|it| if wide(it) { 2 } else { 1 }).sum()
}

/// Whether what was written was read; a pipe that was closed is no failure.
pub(super) fn ended_quietly(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Columns of a whole row.
pub(super) const WIDTH: usize = 120;
const TIME: usize = 24;
const EVENT: usize = 19;
const RESULT: usize = 10;
const ACTOR: usize = 26;
const OPERATION: usize = WIDTH - TIME - EVENT - RESULT - ACTOR - 5;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_says_when_what_who_and_why_not() {
        let record = json!({
            "time": "2026-01-01T00:00:00.123456789Z", "event_type": "permission.denied",
            "result": "denied", "actor": {"id": "spiffe://example.org/svc/reporting-of-the-year", "type": "workload"},
            "action": "delete", "resource": "documents/42", "reason_code": "out_of_scope", "count": 3,
        });
        let shown: Shown = serde_json::from_value(record).unwrap();
        assert_eq!(
            shown.row(),
            "2026-01-01T00:00:00.123Z  permission.denied   denied     …svc/reporting-of-the-year \
             delete documents/42 x3 (out_of_scop…"
        );
    }

    #[test]
    fn nothing_that_somebody_else_chose_reaches_the_terminal_as_a_command() {
        let text = "a\u{1b}[2J\u{202e}b\u{7}\u{200b}\u{2028}\u{9b}é日";
        assert_eq!(
            cut(text, 200, End::Right),
            "a\\u{1b}[2J\\u{202e}b\\u{7}\\u{200b}\\u{2028}\\u{9b}é日"
        );
    }

    proptest! {
        #[test]
        fn a_row_fits_whatever_is_in_it(text in "\\PC{0,200}|[\\u{0}-\\u{ff}]{0,200}") {
            let record = json!({
                "time": text, "event_type": text, "result": text, "actor": {"id": text, "type": text},
                "action": text, "resource": text, "reason_code": text, "message": text,
            });
            let shown: Shown = serde_json::from_value(record).unwrap();
            for row in [shown.row(), shown.branch(WIDTH)] {
                prop_assert!(columns_of(&row) <= WIDTH, "{row}");
                let plain = |it: char| it == ' ' || it == '…' || it.is_ascii_graphic() || it.is_alphanumeric();
                prop_assert!(row.chars().all(plain), "{row}");
            }
        }
    }

    #[test]
    fn a_pipe_that_was_closed_is_no_failure() {
        let closed = || Err(io::ErrorKind::BrokenPipe.into());
        assert!(ended_quietly(closed()).is_ok());
        assert!(ended_quietly(Err(io::ErrorKind::StorageFull.into())).is_err());
    }
}
