//! Reads JSON-lines files back by reading all of them, every time: for small trails, and to hold other trails to.
//!
//! A line that is no record, such as one that a crash cut off, is passed over by [`Trail::query`] and [`Trail::trace`]
//! and shown by [`Trail::walk`]. A file that can't be read is an error. Memory is bounded by what is asked for, however
//! long a line is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::super::jsonl::LONGEST_RECORD;
use super::terms::Terms;
use super::{Cursor, Filter, Order, Page, Span, Stop, Trace, Trail, TrailError};

/// The files of one trail.
#[derive(Debug, Clone)]
pub struct JsonlTrail {
    files: Vec<PathBuf>,
    stop: Stop,
}

/// The first records of those shown to it, in one order.
struct First {
    order: Order,
    limit: usize,
    records: BTreeMap<Cursor, String>,
    /// There were more than the limit allows.
    cut: bool,
}

impl JsonlTrail {
    /// The trail in `files`, those of a rotated set oldest first. They are opened each time something is asked.
    pub fn new(files: Vec<PathBuf>) -> Self {
        let stop = Stop::default();
        Self { files, stop }
    }

    /// Shows every record, with its line, to `visit`.
    fn records(&self, mut visit: impl FnMut(Terms, &str)) -> Result<(), TrailError> {
        self.lines(&mut |line| {
            let line = str::from_utf8(line).ok();
            if let Some((line, terms)) = line.and_then(|line| Some((line, Terms::read(line)?))) {
                visit(terms, line);
            }
            ControlFlow::Continue(())
        })
    }

    fn lines(&self, visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> Result<(), TrailError> {
        // All at once, so that a rotation meanwhile takes none away.
        let opened: Vec<_> = self
            .files
            .iter()
            .map(|path| Ok((path, File::open(path).map_err(|error| unread(path, error))?)))
            .collect::<Result<_, TrailError>>()?;
        let mut line = Vec::new();
        for (path, file) in opened {
            let mut reader = BufReader::new(file);
            while next_line(&mut reader, &mut line).map_err(|error| unread(path, error))? {
                if self.stop.says_so() {
                    return Err(unread(path, io::ErrorKind::TimedOut.into()));
                }
                if visit(&line).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

impl Trail for JsonlTrail {
    fn query(
        &self,
        filter: &Filter,
        order: Order,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page, TrailError> {
        let mut first = First::new(order, limit);
        let (mut total, mut newest) = (0, None);
        self.records(|terms, line| {
            if !filter.admits(&terms) {
                return;
            }
            total += 1;
            let place = terms.cursor();
            if newest.as_ref().is_none_or(|newest| *newest < place.time) {
                newest = Some(place.time.clone());
            }
            let is_after = after.is_none_or(|after| match order {
                Order::Ascending => place > *after,
                Order::Descending => place < *after,
            });
            if is_after {
                first.offer(place, line);
            }
        })?;
        let (records, last, cut) = first.in_order();
        Ok(Page {
            records,
            next: last.filter(|_| cut),
            total,
            newest,
        })
    }

    fn trace(&self, name: &str, limit: usize) -> Result<Trace, TrailError> {
        let mut tasks = BTreeSet::new();
        self.records(|terms, _| {
            if terms.chain().any(|it| it == name) {
                tasks.extend(terms.task.map(|task| task.id));
            }
        })?;
        let mut first = First::new(Order::Ascending, limit);
        self.records(|terms, line| {
            let by_name = || terms.chain().any(|it| it == name);
            let of_task = || terms.tasks().any(|task| tasks.contains(task));
            if by_name() || of_task() {
                first.offer(terms.cursor(), line);
            }
        })?;
        let (records, _, cut) = first.in_order();
        Ok(Trace { records, cut })
    }

    fn walk(
        &self,
        span: &Span,
        visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), TrailError> {
        if *span == Span::default() {
            return self.lines(visit);
        }
        self.lines(&mut |line| {
            let terms = str::from_utf8(line).ok().and_then(Terms::read);
            match terms {
                Some(terms) if span.holds(&terms.writer, terms.seq) => visit(line),
                Some(_) | None => ControlFlow::Continue(()),
            }
        })
    }

    fn stopping(&self, stop: Stop) -> Box<dyn Trail> {
        let files = self.files.clone();
        Box::new(Self { files, stop })
    }
}

impl First {
    fn new(order: Order, limit: usize) -> Self {
        Self {
            order,
            limit: limit.max(1),
            records: BTreeMap::new(),
            cut: false,
        }
    }

    fn offer(&mut self, place: Cursor, line: &str) {
        self.records.insert(place, line.to_owned());
        if self.records.len() > self.limit {
            self.cut = true;
            match self.order {
                Order::Ascending => self.records.pop_last(),
                Order::Descending => self.records.pop_first(),
            };
        }
    }

    /// The records in their order, the place of the last, and whether there were more.
    fn in_order(self) -> (Vec<String>, Option<Cursor>, bool) {
        let last = match self.order {
            Order::Ascending => self.records.last_key_value(),
            Order::Descending => self.records.first_key_value(),
        };
        let last = last.map(|(place, _)| place.clone());
        let mut records: Vec<_> = self.records.into_values().collect();
        if self.order == Order::Descending {
            records.reverse();
        }
        (records, last, self.cut)
    }
}

/// Reads the next line of `file` into `line`, without its line feed; `false` at the end.
///
/// Of a line that is longer than any record, only the beginning is kept: no record, whatever follows.
pub fn next_line(file: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut bounded = file.take(LONGEST_RECORD as u64);
    if bounded.read_until(b'\n', line)? == 0 {
        return Ok(false);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if bounded.limit() == 0 {
        file.skip_until(b'\n')?;
    }
    Ok(true)
}

fn unread(path: &Path, source: io::Error) -> TrailError {
    TrailError::Read {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::super::Tasks;
    use super::*;

    fn line(seconds: u64, writer: &str, seq: u64, chain: &[&str], path: &[&str]) -> String {
        let mut record = json!({
            "actor": {"id": chain.last(), "type": "agent"},
            "delegation_chain": chain,
            "event_type": "permission.check",
            "result": "allowed",
            "seq": seq,
            "time": crate::clock::Timestamp::from_unix_seconds(seconds).to_string(),
            "writer": writer,
        });
        if let Some(task) = path.last() {
            record["task"] = json!({"id": task, "path": path});
        }
        record.to_string()
    }

    fn numbers(records: &[String]) -> Vec<(String, u64)> {
        let number = |line: &String| {
            let record: Value = serde_json::from_str(line).unwrap();
            let writer = record["writer"].as_str().unwrap().to_owned();
            (writer, record["seq"].as_u64().unwrap())
        };
        records.iter().map(number).collect()
    }

    fn expect(records: &[String], expected: &[(&str, u64)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(writer, seq)| ((*writer).to_owned(), *seq))
            .collect();
        assert_eq!(numbers(records), expected);
    }

    /// A rotated set of two files: two runs, a torn line between them, and a clock that was set back.
    fn trail() -> (tempfile::TempDir, JsonlTrail) {
        let folder = tempfile::tempdir().unwrap();
        let files: Vec<_> = ["audit.jsonl.1", "audit.jsonl"]
            .map(|name| folder.path().join(name))
            .into();
        let old = [
            line(10, "a/1", 1, &["alice", "planner"], &["task"]),
            line(
                30,
                "a/1",
                2,
                &["alice", "planner", "reader"],
                &["task", "sub"],
            ),
        ];
        let new = [
            line(20, "a/2", 1, &["bob"], &[]),
            line(30, "a/2", 2, &["mallory"], &["task", "sub", "subsub"]),
            line(40, "a/2", 3, &["bob", "reader"], &["other"]),
        ];
        fs::write(&files[0], format!("{}\n{{\"torn", old.join("\n"))).unwrap();
        fs::write(&files[1], format!("{}\n", new.join("\n"))).unwrap();
        (folder, JsonlTrail::new(files))
    }

    #[test]
    fn records_come_by_time_then_writer_then_number_in_either_order() {
        let (_folder, trail) = trail();
        let all = [("a/1", 1), ("a/2", 1), ("a/1", 2), ("a/2", 2), ("a/2", 3)];
        let filter = Filter::default();
        for order in [Order::Ascending, Order::Descending] {
            let mut expected = all.to_vec();
            if order == Order::Descending {
                expected.reverse();
            }
            for limit in 1..=6 {
                let mut records = Vec::new();
                let mut after = None;
                loop {
                    let page = trail.query(&filter, order, after.as_ref(), limit).unwrap();
                    assert_eq!(page.total, 5);
                    assert!(page.records.len() <= limit);
                    records.extend(page.records);
                    after = page.next;
                    if after.is_none() {
                        break;
                    }
                }
                expect(&records, &expected);
            }
        }
    }

    #[test]
    fn a_filter_leaves_the_others_out_of_the_total() {
        let (_folder, trail) = trail();
        let filter = Filter {
            task: Some(Tasks::Under("sub".to_owned())),
            ..Filter::default()
        };
        let page = trail.query(&filter, Order::Ascending, None, 1).unwrap();
        expect(&page.records, &[("a/1", 2)]);
        assert_eq!(page.total, 2);
    }

    #[test]
    fn a_trace_holds_what_was_done_by_somebody_and_the_tasks_of_that() {
        let (_folder, trail) = trail();
        let trace = trail.trace("reader", 10).unwrap();
        // `reader` worked on `sub`, and `mallory` on something below it.
        expect(&trace.records, &[("a/1", 2), ("a/2", 2), ("a/2", 3)]);
        assert!(!trace.cut);
        let trace = trail.trace("reader", 2).unwrap();
        expect(&trace.records, &[("a/1", 2), ("a/2", 2)]);
        assert!(trace.cut);
        assert_eq!(trail.trace("nobody", 10).unwrap(), Trace::default());
    }

    #[test]
    fn a_walk_shows_torn_lines_where_they_stand_and_leaves_them_out_of_a_part() {
        let (_folder, trail) = trail();
        let walked = |span: &Span| {
            let mut lines = Vec::new();
            let keep = &mut |line: &[u8]| {
                lines.push(String::from_utf8(line.to_vec()).unwrap());
                ControlFlow::Continue(())
            };
            trail.walk(span, keep).unwrap();
            lines
        };
        let all = walked(&Span::default());
        assert_eq!(all.len(), 6);
        assert_eq!(all[2], "{\"torn");
        let part = walked(&Span {
            writer: Some("a/2".to_owned()),
            from_seq: Some(2),
            to_seq: Some(2),
        });
        expect(&part, &[("a/2", 2)]);
        let beginnings = walked(&Span {
            to_seq: Some(1),
            ..Span::default()
        });
        expect(&beginnings, &[("a/1", 1), ("a/2", 1)]);
    }

    #[test]
    fn a_walk_ends_when_it_is_told_to() {
        let (_folder, trail) = trail();
        let mut shown = 0;
        let once = &mut |_: &[u8]| {
            shown += 1;
            ControlFlow::Break(())
        };
        trail.walk(&Span::default(), once).unwrap();
        assert_eq!(shown, 1);
    }

    #[test]
    fn a_missing_file_is_an_error_and_never_an_empty_trail() {
        let (folder, trail) = trail();
        fs::remove_file(folder.path().join("audit.jsonl.1")).unwrap();
        let error = trail.trace("reader", 1).unwrap_err();
        assert!(error.to_string().contains("audit.jsonl.1"), "{error}");
    }
}
