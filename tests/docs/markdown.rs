//! As much of Markdown as the documentation uses: tables, fenced blocks, code spans, links, headings.

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) struct Block {
    /// What stands after the fence, as `yaml`.
    pub(crate) info: String,
    pub(crate) text: String,
    /// The HTML comment on the line before, without its marks.
    pub(crate) comment: Option<String>,
}

pub(crate) struct Table {
    /// The heading that the table stands under.
    pub(crate) heading: String,
    pub(crate) header: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every document, by its path from the root.
pub(crate) fn documents() -> Vec<String> {
    let mut found = vec![
        "README.md".into(),
        "SECURITY.md".into(),
        "CHANGELOG.md".into(),
        "deploy/policy/README.md".into(),
    ];
    let mut folders = vec![PathBuf::from("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            if root().join(&path).is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "md") {
                found.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    assert!(found.len() > 10, "the walk found only {found:?}");
    found
}

pub(crate) fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    let mut before = "";
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) => {
                let comment = before
                    .strip_prefix("<!-- ")
                    .and_then(|it| it.strip_suffix(" -->"));
                open = Some(Block {
                    info: info.to_owned(),
                    text: String::new(),
                    comment: comment.map(str::to_owned),
                });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
        before = line;
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

/// The text without its fenced blocks.
pub(crate) fn prose(text: &str) -> String {
    let mut inside = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if !inside {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    prose
}

pub(crate) fn tables(text: &str) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    let mut heading = String::new();
    let mut inside = false;
    for line in prose(text).lines() {
        if let Some(title) = line.strip_prefix('#') {
            title
                .trim_start_matches('#')
                .trim()
                .clone_into(&mut heading);
        }
        let Some(row) = line.strip_prefix('|') else {
            inside = false;
            continue;
        };
        let cells = cells(row);
        if !inside {
            inside = true;
            tables.push(Table {
                heading: heading.clone(),
                header: cells,
                rows: Vec::new(),
            });
        } else if !cells.iter().all(|cell| cell.chars().all(|c| c == '-')) {
            tables.last_mut().unwrap().rows.push(cells);
        }
    }
    tables
}

/// The tables whose first column is called `first`; at least one.
pub(crate) fn tables_of(path: &str, first: &str) -> Vec<Table> {
    let mut tables = tables(&read(path));
    tables.retain(|table| table.header[0] == first);
    assert!(!tables.is_empty(), "{path} has no table of `{first}`");
    tables
}

fn cells(row: &str) -> Vec<String> {
    let row = row.replace("\\|", "\u{1}");
    let row = row.strip_suffix('|').unwrap_or(&row);
    let cells = row.split('|');
    cells
        .map(|cell| cell.trim().replace('\u{1}', "|"))
        .collect()
}

/// What stands between backticks.
pub(crate) fn code_spans(text: &str) -> Vec<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// The first code span of a cell.
#[track_caller]
pub(crate) fn code(cell: &str) -> String {
    let spans = code_spans(cell);
    spans
        .into_iter()
        .next()
        .unwrap_or_else(|| panic!("no code in `{cell}`"))
}

/// The targets of the links in a text.
pub(crate) fn links(text: &str) -> Vec<String> {
    let mut links = Vec::new();
    for (at, mark) in text.match_indices("](") {
        let target = &text[at + mark.len()..];
        links.push(target.split(')').next().unwrap().to_owned());
    }
    links
}

/// The names that links to the headings of a text have.
pub(crate) fn anchors(text: &str) -> Vec<String> {
    let headings = prose(text);
    let headings = headings.lines().filter_map(|line| line.strip_prefix('#'));
    headings
        .map(|heading| {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = heading
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}
