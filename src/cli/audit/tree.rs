//! Records by whom they were done for: a person, below it the agents it delegated to, below those theirs, and under each
//! what happened, oldest first.
//!
//! Where somebody stands in the tree is what each record's delegation chain says; nothing is guessed.

use super::output::{End, Shown, WIDTH, cut};

/// Somebody, what they did, and those below.
#[derive(Debug, Default)]
pub(in crate::cli) struct Tree {
    name: String,
    records: Vec<Shown>,
    below: Vec<Self>,
}

impl Tree {
    /// The tree of `records`, given oldest first. What is no record is passed over.
    pub(in crate::cli) fn of(records: &[String]) -> Self {
        let mut root = Self::default();
        for line in records {
            let Ok(shown) = serde_json::from_str::<Shown>(line) else {
                continue;
            };
            let chain = match &*shown.delegation_chain {
                [] => vec![shown.actor.r#type.clone()],
                chain => chain.iter().take(DEEPEST).cloned().collect(),
            };
            root.file(&chain, shown);
        }
        root
    }

    /// Files a record under the chain of those it was done for.
    fn file(&mut self, chain: &[String], shown: Shown) {
        let [name, rest @ ..] = chain else {
            self.records.push(shown);
            return;
        };
        if let Some(known) = self.below.iter_mut().find(|it| it.name == *name) {
            known.file(rest, shown);
            return;
        }
        let mut new = Self {
            name: name.clone(),
            ..Self::default()
        };
        new.file(rest, shown);
        self.below.push(new);
    }

    /// The tree, drawn: at most 120 columns.
    pub(in crate::cli) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for person in &self.below {
            lines.push(cut(&person.name, WIDTH, End::Left));
            person.draw("", &mut lines);
        }
        lines
    }

    /// What is under a name that is drawn already; `indent` stands before each line.
    fn draw(&self, indent: &str, lines: &mut Vec<String>) {
        let bar = if self.below.is_empty() {
            "   "
        } else {
            "│  "
        };
        let width = WIDTH.saturating_sub(indent.chars().count() + bar.chars().count());
        for shown in &self.records {
            lines.push(format!("{indent}{bar}{}", shown.branch(width)));
        }
        let last = self.below.len().saturating_sub(1);
        for (at, child) in self.below.iter().enumerate() {
            let (corner, below) = if at == last {
                ("└─ ", "   ")
            } else {
                ("├─ ", "│  ")
            };
            lines.push(format!(
                "{indent}{corner}{}",
                cut(&child.name, width, End::Left)
            ));
            child.draw(&format!("{indent}{below}"), lines);
        }
    }
}

/// Names of a chain that a tree shows; attache writes none that is longer, but a file may come from anywhere.
const DEEPEST: usize = 32;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(
        second: u32,
        event: &str,
        result: &str,
        chain: &[&str],
        more: &serde_json::Value,
    ) -> String {
        let mut record = json!({
            "time": format!("2026-01-01T00:00:0{second}.000000000Z"),
            "event_type": event, "result": result, "delegation_chain": chain,
            "actor": {"id": chain.last(), "type": "agent"},
        });
        for (name, value) in more.as_object().unwrap() {
            record[name] = value.clone();
        }
        record.to_string()
    }

    #[test]
    fn a_trace_shows_who_did_what_for_whom_and_why_not() {
        let (alice, planner, reader) = (
            "usr-alice-001",
            "scheduling-agent-001",
            "analysis-agent-002",
        );
        let records = [
            record(1, "human.login", "success", &[alice], &json!({})),
            record(
                2,
                "agent.delegated",
                "success",
                &[alice],
                &json!({
                    "agent": {"id": planner, "type": "scheduling"}, "task": {"id": "task-abc"},
                }),
            ),
            record(
                3,
                "permission.check",
                "allowed",
                &[alice, planner],
                &json!({
                    "action": "read", "resource": "calendar/7",
                }),
            ),
            record(
                4,
                "agent.subdelegated",
                "success",
                &[alice, planner],
                &json!({
                    "agent": {"id": reader, "type": "analysis"}, "task": {"id": "task-abc-sub1"},
                }),
            ),
            record(
                5,
                "permission.denied",
                "denied",
                &[alice, planner, reader],
                &json!({
                    "action": "update", "resource": "documents", "reason_code": "out_of_scope",
                    "message": "read-only",
                }),
            ),
            record(
                6,
                "permission.check",
                "supervised",
                &[alice, "mailing-agent-003"],
                &json!({
                    "action": "send", "resource": "mail", "reason_code": "approval_required",
                }),
            ),
            record(
                7,
                "task.revoked",
                "success",
                &[alice],
                &json!({"task": {"id": "task-abc"}}),
            ),
        ];
        let expected = "\
usr-alice-001
│  2026-01-01T00:00:01.000Z  human.login         success
│  2026-01-01T00:00:02.000Z  agent.delegated     success    scheduling-agent-001 task-abc
│  2026-01-01T00:00:07.000Z  task.revoked        success    task-abc
├─ scheduling-agent-001
│  │  2026-01-01T00:00:03.000Z  permission.check    allowed    read calendar/7
│  │  2026-01-01T00:00:04.000Z  agent.subdelegated  success    analysis-agent-002 task-abc-sub1
│  └─ analysis-agent-002
│        2026-01-01T00:00:05.000Z  permission.denied   denied     update documents (out_of_scope: read-only)
└─ mailing-agent-003
      2026-01-01T00:00:06.000Z  permission.check    supervised send mail (approval_required)";
        let lines = Tree::of(&records).lines();
        assert_eq!(lines.join("\n"), expected, "\n{}", lines.join("\n"));
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH));
    }

    #[test]
    fn a_record_of_nobody_stands_under_what_is_known() {
        let nobody = record(
            1,
            "permission.denied",
            "denied",
            &[],
            &json!({"actor": {"type": "unknown"}}),
        );
        let lines = Tree::of(&[nobody, "torn".to_owned()]).lines();
        assert_eq!(lines[0], "unknown");
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn a_name_can_not_draw() {
        let named = record(
            1,
            "human.login",
            "success",
            &["a\u{1b}[2J\n└─ root"],
            &json!({}),
        );
        let lines = Tree::of(&[named]).lines();
        assert_eq!(lines[0], "a\\u{1b}[2J\\u{a}\\u{2514}\\u{2500} root");
    }
}
