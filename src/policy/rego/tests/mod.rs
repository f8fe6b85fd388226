mod evaluation;
mod loading;
mod samples;
mod vetting;

use super::*;
use crate::policy::Answer;

const LIMIT: Duration = Duration::from_secs(5);

/// Compiles modules and documents by name for `data.p.allow`.
fn compile(files: &[(&str, &str)]) -> Result<Program, Vec<LoadError>> {
    let mut sources = Sources::default();
    for (name, content) in files {
        sources.insert(*name, *content);
    }
    Program::compile(&sources, &"p/allow".parse().unwrap(), LIMIT)
}

/// A program of one module in package `p`.
fn program(rules: &str) -> Program {
    compile(&[("p.rego", &format!("package p\n{rules}"))])
        .unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// What is wrong with the module, as one text.
fn refused(rules: &str) -> String {
    refused_files(&[("p.rego", &format!("package p\n{rules}"))])
}

fn refused_files(files: &[(&str, &str)]) -> String {
    let errors = compile(files).expect_err("must not load");
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    texts.join("\n")
}

fn evaluate(rules: &str) -> Result<Verdict, PolicyError> {
    program(rules).evaluate(&Input::made_up())
}

fn answer(rules: &str) -> Answer {
    evaluate(rules)
        .unwrap_or_else(|error| panic!("{rules}: {error}"))
        .answer
}

fn failure(rules: &str) -> String {
    match evaluate(rules) {
        Err(PolicyError::Evaluation(message)) => message,
        other => panic!("{rules}: {other:?}"),
    }
}

fn input(caller: &str, target: Option<&str>, action: &str) -> Input {
    Input {
        caller: caller.parse().unwrap(),
        target: target.map(|id| id.parse().unwrap()),
        action: action.parse().unwrap(),
        ..Input::made_up()
    }
}
