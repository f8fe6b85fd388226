//! docs/policy.md, "Where the engines differ", held to both engines row by row.

use serde_json::Value as Json;

use crate::builtins::policy_of;
use crate::differences::{Case, explained};
use crate::inputs::{Source, any_input, with_body};
use crate::judges::{Opa, embedded, opa_bin};
use crate::rows::ROWS;

/// docs/policy.md shows every row by an expression, and both engines answer what it says.
#[tokio::test]
async fn every_difference_is_documented_and_shown() {
    let text = include_str!("../../docs/policy.md");
    let (_, rest) = text
        .split_once(
            "\n| difference | expression | arguments | here | OPA |\n|---|---|---|---|---|\n",
        )
        .unwrap();
    let (table, _) = rest.split_once("\n\n").unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let mut documented: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    let mut known: Vec<&str> = ROWS.iter().map(|row| row.title).collect();
    documented.sort_unstable();
    known.sort_unstable();
    assert_eq!(documented, known);

    let Some(bin) = opa_bin() else { return };
    let opa = Opa::start(&bin, false).await;
    let mut faults = Vec::new();
    for row in &rows {
        let [title, expression, arguments, here, there] = row[..] else {
            panic!("{row:?}");
        };
        let expression = code(expression).replace("\\|", "|");
        let expression = expression.as_str();
        let arguments: Vec<Json> = serde_json::from_str(code(arguments)).unwrap();
        let body: Json = ["a", "b", "c"]
            .into_iter()
            .map(str::to_owned)
            .zip(arguments)
            .collect::<serde_json::Map<_, _>>()
            .into();
        let input = with_body(Source::new(title).draw(&any_input()), body.clone());
        let mut policy = policy_of(expression);
        policy.data = serde_json::json!({"known": {"1": true}});
        opa.load(&policy).await;
        let case = Case {
            builtin: builtin_of(expression).to_owned(),
            arguments: body,
            ours: embedded(&policy.embedded(), &input),
            theirs: opa.ask(&input).await,
        };
        let told = (case.ours.told(), case.theirs.told());
        if told != (code(here).to_owned(), code(there).to_owned()) {
            faults.push(format!("{title}: `{}` | `{}`", told.0, told.1));
        }
        if !explained(&case).contains(&title) {
            faults.push(format!("{title} is not about its own example: {case:?}"));
        }
    }
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

fn code(cell: &str) -> &str {
    cell.trim_matches('`')
}

/// The name of what an expression is about, as the table of rows has it.
fn builtin_of(expression: &str) -> &str {
    let operator = expression.split_whitespace().nth(1).unwrap_or_default();
    match operator {
        "+" | "-" | "*" | "/" | "%" => operator,
        _ => expression.split(['(', '|']).next().unwrap().trim(),
    }
}
