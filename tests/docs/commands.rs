//! docs/commands.md, and commands wherever they stand.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use attache::cli::Cli;
use clap::CommandFactory as _;

use crate::markdown::{blocks, code, code_spans, documents, prose, read, root, tables_of};

/// Flags by command, as the binary takes them; `audit verify` is one command.
fn accepted() -> BTreeMap<String, BTreeSet<String>> {
    let mut commands = BTreeMap::new();
    for command in Cli::command().get_subcommands() {
        if command.has_subcommands() {
            for inner in command.get_subcommands() {
                let name = format!("{} {}", command.get_name(), inner.get_name());
                commands.insert(name, flags(inner));
            }
        } else {
            commands.insert(command.get_name().to_owned(), flags(command));
        }
    }
    commands
}

fn flags(command: &clap::Command) -> BTreeSet<String> {
    let flags = command.get_arguments().filter_map(clap::Arg::get_long);
    flags.map(|flag| format!("--{flag}")).collect()
}

#[test]
fn every_command_and_flag_is_listed_and_no_other() {
    let text = read("docs/commands.md");
    let headings = text
        .lines()
        .filter_map(|line| line.strip_prefix("## attache "));
    let mut listed: BTreeMap<_, _> = headings
        .map(|command| (command.to_owned(), BTreeSet::new()))
        .collect();
    for table in tables_of("docs/commands.md", "flag") {
        let command = table.heading.strip_prefix("attache ").unwrap();
        let flags = table.rows.iter().map(|row| code(&row[0]));
        listed.get_mut(command).unwrap().extend(flags);
    }
    assert_eq!(listed, accepted());
}

#[test]
fn commands_in_text_and_examples_exist() {
    let accepted = accepted();
    let mut seen = 0;
    for document in documents() {
        let text = read(&document);
        let mut commands = code_spans(&prose(&text));
        for block in blocks(&text) {
            let lines = block
                .text
                .lines()
                .filter_map(|line| line.strip_prefix("$ "));
            commands.extend(lines.map(str::to_owned));
        }
        for command in commands {
            let Some(line) = command.strip_prefix("attache ") else {
                continue;
            };
            seen += 1;
            if line == "--version" || line.starts_with("help") {
                continue;
            }
            let named = accepted.iter().find(|(name, _)| {
                line.strip_prefix(name.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
            });
            let (name, flags) = named.unwrap_or_else(|| panic!("{document}: `attache {line}`"));
            for flag in line[name.len()..]
                .split(' ')
                .filter(|word| word.starts_with("--"))
            {
                assert!(flags.contains(flag), "{document}: `attache {line}`: {flag}");
            }
        }
    }
    assert!(seen > 10, "only {seen}");
}

#[test]
fn the_environment_variable_that_is_documented_is_read() {
    let cli = Cli::command();
    let serve = cli.find_subcommand("serve").unwrap();
    let config = serve
        .get_arguments()
        .find(|it| it.get_id() == "config")
        .unwrap();
    assert_eq!(config.get_env().unwrap(), "ATTACHE_CONFIG");
    for document in ["docs/commands.md", "docs/configuration.md"] {
        assert!(read(document).contains("`ATTACHE_CONFIG`"), "{document}");
    }
}

/// The output that a document shows below `$ attache eval …` and `$ attache check …`.
#[test]
fn shown_output_is_what_the_command_prints() {
    let mut seen = 0;
    for document in documents() {
        for block in blocks(&read(&document)) {
            for (command, output) in shown(&block.text) {
                let words: Vec<_> = command.split(' ').collect();
                let ["attache", "eval" | "check", ..] = words[..] else {
                    continue;
                };
                let run = Command::new(env!("CARGO_BIN_EXE_attache"))
                    .args(&words[1..])
                    .current_dir(root())
                    .env_remove("ATTACHE_CONFIG")
                    .output()
                    .unwrap();
                let printed = String::from_utf8(run.stdout).unwrap();
                assert_eq!(output, printed, "{document}: {command}");
                seen += 1;
            }
        }
    }
    assert!(seen >= 4, "only {seen}");
}

/// Commands of a console block with the output below each.
fn shown(block: &str) -> Vec<(String, String)> {
    let mut shown: Vec<(String, String)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), shown.last_mut()) {
            (Some(command), _) => shown.push((command.to_owned(), String::new())),
            (None, Some((_, output))) => {
                output.push_str(line);
                output.push('\n');
            }
            (None, None) => {}
        }
    }
    shown
}

/// A13: the walk comes out as it has to, and as the README shows it but for the times.
#[test]
fn the_shown_demo_is_what_the_command_prints() {
    let run = Command::new(env!("CARGO_BIN_EXE_attache"))
        .arg("demo")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&run.stderr);
    let printed = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success(), "{printed}{errors}");
    let text = read("README.md");
    let (_, rest) = text.split_once("<!-- attache demo -->\n```text\n").unwrap();
    let (shown, _) = rest.split_once("```\n<!-- /attache demo -->").unwrap();
    assert_eq!(timeless(shown), timeless(&printed));
}

/// The same text without the digits of moments.
fn timeless(text: &str) -> String {
    let blank = |word: &str| {
        if word.len() == 24 && word.ends_with('Z') {
            "TIME".to_owned()
        } else {
            word.to_owned()
        }
    };
    let lines = text.lines().map(|line| {
        let words: Vec<_> = line.split(' ').map(blank).collect();
        words.join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_shown_runs_are_the_quickstart_s() {
    let text = read("README.md");
    let runner = read("deploy/quickstart/run.py");
    for (run, lists) in [
        ("make run", vec!["REQUESTS", "MANDATES", "REVOKED"]),
        ("make run ENGINE=opa", vec!["OUTAGE", "OPEN", "RECOVERED"]),
    ] {
        let (_, rest) = text.split_once(&format!("<!-- {run} -->")).unwrap();
        let (block, _) = rest.split_once(&format!("<!-- /{run} -->")).unwrap();
        // Headings apart, each line is a request, and ends in what it shows.
        let shown: Vec<_> = block
            .lines()
            .filter(|line| {
                line.starts_with("  svc/")
                    || line.starts_with("  agent/")
                    || line.starts_with("  nobody")
            })
            .collect();
        let wanted: Vec<_> = lists
            .iter()
            .flat_map(|list| {
                let (_, requests) = runner.split_once(&format!("\n{list} = [")).unwrap();
                let (requests, _) = requests.split_once("\n]").unwrap();
                requests
                    .split("\")")
                    .filter_map(|request| request.rsplit_once('"'))
            })
            .map(|(_, words)| words)
            .collect();
        assert_eq!(shown.len(), wanted.len(), "{run}: a line each");
        for (line, words) in shown.iter().zip(wanted) {
            assert!(line.ends_with(words), "`{line}` should end in `{words}`");
        }
    }
}
