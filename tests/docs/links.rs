//! Links and examples, wherever they stand.

use std::path::{Component, Path, PathBuf};

use attache::config::Config;
use serde_json::Value;

use crate::markdown::{anchors, blocks, documents, links, prose, read, root};

#[test]
fn every_link_leads_somewhere() {
    let mut faults = Vec::new();
    for document in documents() {
        for link in links(&prose(&read(&document))) {
            if link.starts_with("https://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() {
                document.clone()
            } else {
                beside(&document, file)
            };
            if !root().join(&target).exists() {
                faults.push(format!("{document}: {link}"));
            } else if !anchor.is_empty() && !anchors(&read(&target)).iter().any(|it| it == anchor) {
                faults.push(format!("{document}: {link}: no such heading"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// `file` as a link in `document` means it, from the root.
fn beside(document: &str, file: &str) -> String {
    let mut path = PathBuf::new();
    for part in Path::new(document)
        .parent()
        .unwrap()
        .join(file)
        .components()
    {
        match part {
            Component::ParentDir => assert!(path.pop(), "{document}: {file}"),
            part => path.push(part),
        }
    }
    path.to_str().unwrap().to_owned()
}

/// A block may be a part of a file: then it is one with a trust domain before it.
#[test]
fn every_yaml_block_is_a_configuration() {
    let mut seen = 0;
    for document in documents() {
        for block in blocks(&read(&document)) {
            if block.info == "yaml envoy" {
                serde_saphyr::from_str::<Value>(&block.text).unwrap();
            }
            if block.info != "yaml" {
                continue;
            }
            seen += 1;
            let whole = block
                .text
                .lines()
                .any(|line| line.starts_with("trust_domain:"));
            let text = if whole {
                block.text.clone()
            } else {
                format!("trust_domain: example.org\n{}", block.text)
            };
            let config = Config::parse(&text, document.as_ref());
            let config = config.unwrap_or_else(|error| panic!("{error}\n{}", block.text));
            assert_eq!(config.warnings, [], "{document}:\n{}", block.text);
        }
    }
    assert!(seen > 10, "only {seen}");
}

#[test]
fn a_block_that_shows_a_file_shows_all_of_it() {
    let mut seen = 0;
    for document in documents() {
        for block in blocks(&read(&document)) {
            let shown = block
                .comment
                .as_deref()
                .and_then(|it| it.strip_prefix("file: "));
            if let Some(file) = shown {
                assert_eq!(block.text, read(file), "{document}");
                seen += 1;
            }
        }
    }
    assert!(seen > 0);
}
