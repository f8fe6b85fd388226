//! The runs in a trail, one for each start, and whether each says of the one before how it ended.

use serde_json::Value;

/// One chain.
#[derive(Debug)]
struct Run<'a> {
    writer: &'a str,
    records: Vec<&'a Value>,
}

/// What is wrong with the beginnings and ends of the runs, in words.
pub(crate) fn judge(records: &[Value]) -> Vec<String> {
    let mut wrong = Vec::new();
    let runs = runs(records);
    for pair in runs.windows(2) {
        wrong.extend(opening(&pair[0], &pair[1]));
    }
    for run in &runs {
        let sequence = run.records.iter().map(|it| it["seq"].as_u64());
        if !sequence.eq((1..=run.records.len() as u64).map(Some)) {
            wrong.push(format!("{} has a hole or a repetition", run.writer));
        }
    }
    if runs.last().is_none_or(|run| !run.stopped()) {
        wrong.push("the last run did not stop".to_owned());
    }
    wrong
}

/// What is wrong with how `run` speaks of the one before it.
fn opening(before: &Run<'_>, run: &Run<'_>) -> Option<String> {
    let first = run.records.first()?;
    if first["event_type"] != "audit.started" {
        return Some(format!("{} does not begin with its start", run.writer));
    }
    // Killed before it could say more.
    let second = run.records.get(1)?;
    let gap = second["event_type"] == "audit.gap";
    if gap == before.stopped() {
        let stopped = before.stopped();
        return Some(format!(
            "{} writes a gap: {gap}, though {} stopped: {stopped}",
            run.writer, before.writer
        ));
    }
    let details = &first["details"];
    let named = |name: &str| details[format!("{name}_writer")] == before.writer;
    let last = before.records.last().map(|it| &it["seq"]);
    let exact = named("previous") && Some(&details["previous_seq"]) == last;
    // After a rotation the note is all there is, and it may be two seconds old.
    let noted = named("noted") && details["noted_seq"].as_u64() <= last.and_then(Value::as_u64);
    let fine = exact || noted;
    (!fine).then(|| format!("{} names {details}, not {}", run.writer, before.writer))
}

fn runs(records: &[Value]) -> Vec<Run<'_>> {
    let mut runs: Vec<Run<'_>> = Vec::new();
    for record in records {
        let writer = record["writer"].as_str().unwrap();
        match runs.last_mut() {
            Some(run) if run.writer == writer => run.records.push(record),
            _ => runs.push(Run {
                writer,
                records: vec![record],
            }),
        }
    }
    runs
}

impl Run<'_> {
    fn stopped(&self) -> bool {
        let last = self.records.last();
        last.is_some_and(|it| it["event_type"] == "audit.stopped")
    }
}
