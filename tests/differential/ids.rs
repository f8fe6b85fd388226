//! SPIFFE IDs. Our gate asks the `spiffe` crate and adds rules, so a third judge is the standard's grammar, read anew.

use attache::identity::{SpiffeId, SpiffeIdError};

use crate::{Case, Row, Verdict, assert_empty, assert_nothing_is_accepted_alone, faults};
use Verdict::{Accepted, Refused};

pub(crate) const JUDGES: &str =
    "| SPIFFE ID | attache | `spiffe` 0.19 | grammar of the standard | what decides |";

/// Where our gate and the other judges part, in the order of [`JUDGES`].
pub(crate) const TABLE: &[Row<3>] = &[
    Row {
        title: "upper case in scheme or trust domain",
        rules: &["canonical"],
        departures: &[],
        verdicts: [Refused, Accepted, Refused],
        decides: "ID 2.1, 2.4: one identity has one spelling; `spiffe` folds it to lower case",
    },
    Row {
        title: "a trust domain alone, `spiffe://td`",
        rules: &["path"],
        departures: &[],
        verdicts: [Refused, Accepted, Accepted],
        decides: "X509-SVID 3.1, 5.2: a caller is a workload, not a trust domain",
    },
    Row {
        title: "more than 2048 bytes",
        rules: &["length"],
        departures: &[],
        verdicts: [Refused, Accepted, Refused],
        decides: "ID 2.3: at most 2048 bytes, in a certificate or anywhere else",
    },
];

/// The forms of the standard, its limits, each byte in trust domain and path, and parts put together in every way.
fn texts() -> Vec<String> {
    let long = |length: usize| "a".repeat(length);
    let mut texts: Vec<String> = [
        "",
        "s",
        "spiffe",
        "spiffe:",
        "spiffe:/td/p",
        "spiffe:td/p",
        "spiffe//td/p",
        " spiffe://td/p",
        "spiffe://td/p ",
        "spiffe://td/p\n",
        "spiffe://td/p,spiffe://td/q",
        "td/p",
    ]
    .map(str::to_owned)
    .to_vec();
    for length in [254, 255, 256] {
        texts.push(format!("spiffe://{}/p", long(length)));
    }
    for length in [2_047, 2_048, 2_049, 5_000] {
        texts.push(format!(
            "spiffe://td/{}",
            long(length - "spiffe://td/".len())
        ));
    }
    for byte in u8::MIN..=u8::MAX {
        let character = char::from(byte);
        texts.push(format!("spiffe://td{character}/p"));
        texts.push(format!("spiffe://td/p{character}"));
        texts.push(format!("spiffe://td/{character}/q"));
    }
    let schemes = [
        "spiffe://",
        "SPIFFE://",
        "Spiffe://",
        "sparfe://",
        "https://",
        "spiffe:/",
        "//",
        "",
    ];
    let authorities = [
        "td",
        "example.org",
        "1.2.3.4",
        "a_b-c.d",
        "TD",
        "Td",
        "",
        "u@td",
        ":pw@td",
        "td:443",
        "td:",
        "[::1]",
        "t%64",
        "t\u{430}",
        "t d",
        ".",
        "td.",
        "-td",
    ];
    let paths = [
        "",
        "/",
        "/p",
        "/P",
        "/p/",
        "//p",
        "/p//q",
        "/.",
        "/..",
        "/p/../q",
        "/./p",
        "/...",
        "/.p",
        "/..p",
        "/p?a=1",
        "/p?",
        "/p#x",
        "/p#",
        "?",
        "#",
        "/%61",
        "/%2e",
        "/p%F0%9F%A4%AF",
        "/\u{430}",
        "/p*",
        "/p;q",
        "/p\\q",
        "/p:q",
        "/p@q",
    ];
    for scheme in schemes {
        for authority in authorities {
            texts.extend(paths.map(|path| format!("{scheme}{authority}{path}")));
        }
    }
    texts
}

/// SPIFFE ID sections 2 to 2.3, as an issuer has to write it.
fn is_in_the_grammar(id: &str) -> bool {
    let Some(rest) = id.strip_prefix("spiffe://") else {
        return false;
    };
    let (trust_domain, path) = match rest.split_once('/') {
        Some((trust_domain, path)) => (trust_domain, Some(path)),
        None => (rest, None),
    };
    let in_name = |it: u8| matches!(it, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    let is_segment = |segment: &str| {
        let mut bytes = segment.bytes();
        !matches!(segment, "" | "." | "..")
            && bytes.all(|it| in_name(it) || it.is_ascii_uppercase())
    };
    id.len() <= 2_048
        && (1..=255).contains(&trust_domain.len())
        && trust_domain.bytes().all(in_name)
        && path.is_none_or(|path| path.split('/').all(is_segment))
}

fn cases() -> Vec<Case<3>> {
    let case = |text: String| {
        let ours = text.parse::<SpiffeId>();
        let grammar = if is_in_the_grammar(&text) {
            Accepted
        } else {
            Refused
        };
        Case {
            departures: Vec::new(),
            rule: ours.as_ref().map_or_else(rule_of, |_| "keeps every rule"),
            verdicts: [
                Some(Verdict::of(&ours)),
                Some(Verdict::of(&spiffe::SpiffeId::new(&text))),
                Some(grammar),
            ],
            input: text,
        }
    };
    texts().into_iter().map(case).collect()
}

fn rule_of(error: &SpiffeIdError) -> &'static str {
    match error {
        SpiffeIdError::TooLong(_) => "length",
        SpiffeIdError::Syntax { .. } => "syntax",
        SpiffeIdError::NotCanonical(_) => "canonical",
        SpiffeIdError::NoPath(_) => "path",
        SpiffeIdError::TrustDomain(_) => "trust domain",
        SpiffeIdError::PatternStart(_)
        | SpiffeIdError::Pattern { .. }
        | SpiffeIdError::PatternSegment(_) => "pattern",
    }
}

#[test]
fn every_disagreement_about_an_id_is_a_row_of_the_table() {
    // S01 to S20
    let cases = cases();
    assert!(cases.len() > 4_000, "{} texts", cases.len());
    assert_empty(&faults(TABLE, &cases));
    assert_nothing_is_accepted_alone(&cases);
}
