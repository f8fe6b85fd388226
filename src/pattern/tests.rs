use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

/// Every path of one to four segments over two letters that patterns use and one that none uses.
static PATHS: LazyLock<Vec<Vec<&str>>> = LazyLock::new(|| tuples(&["a", "b", "z"], 1..=4));

/// Every pattern of at most three segments before an optional `**`.
static PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
    let segments = tuples(&["a", "b", "*"], 0..=3);
    let open = segments
        .iter()
        .map(|some| [some.as_slice(), &["**"]].concat());
    let closed = segments.iter().filter(|some| !some.is_empty()).cloned();
    let texts = open.chain(closed).map(|some| some.join("/"));
    texts.map(|text| pattern(&text)).collect()
});

fn pattern(text: &str) -> Pattern {
    text.parse().unwrap()
}

fn tuples(
    letters: &[&'static str],
    lengths: std::ops::RangeInclusive<usize>,
) -> Vec<Vec<&'static str>> {
    let mut all = Vec::new();
    let mut longest = vec![vec![]];
    for length in 0..=*lengths.end() {
        if length >= *lengths.start() {
            all.extend(longest.iter().cloned());
        }
        let longer = |some: &Vec<&'static str>| {
            let some = some.clone();
            letters
                .iter()
                .map(move |one| [some.as_slice(), &[*one]].concat())
        };
        longest = longest.iter().flat_map(longer).collect();
    }
    all
}

/// One bit for each of `PATHS` that the pattern matches.
fn language(pattern: &Pattern) -> u128 {
    assert!(PATHS.len() <= 128);
    let matches = |path: &Vec<&'static str>| u128::from(pattern.matches(path.iter().copied()));
    PATHS.iter().fold(0, |bits, path| bits << 1 | matches(path))
}

/// An independent reading of the grammar.
fn means(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern, path) {
        (["**"], _) | ([], []) => true,
        ([wanted, more @ ..], [given, rest @ ..]) => {
            (*wanted == "*" || wanted == given) && means(more, rest)
        }
        _ => false,
    }
}

#[test]
fn a_pattern_matches_what_its_text_means() {
    for pattern in PATTERNS.iter() {
        let text = pattern.to_string();
        let segments: Vec<_> = text.split('/').collect();
        for path in PATHS.iter() {
            let expected = means(&segments, path);
            assert_eq!(
                pattern.matches(path.iter().copied()),
                expected,
                "{text} {path:?}"
            );
        }
    }
}

#[test]
fn an_intersection_matches_exactly_what_both_match() {
    let languages: Vec<_> = PATTERNS.iter().map(language).collect();
    for (one, of_one) in PATTERNS.iter().zip(&languages) {
        for (two, of_two) in PATTERNS.iter().zip(&languages) {
            let both = one.intersect(two);
            let found = both.as_ref().map_or(0, language);
            assert_eq!(found, of_one & of_two, "{one} {two} {both:?}");
            // `None` says that no path whatever is matched by both.
            assert_eq!(both.is_none(), of_one & of_two == 0, "{one} {two}");
            assert_eq!(both, two.intersect(one), "{one} {two}");
        }
    }
}

#[test]
fn patterns_that_match_the_same_paths_are_equal() {
    for one in PATTERNS.iter() {
        for two in PATTERNS.iter() {
            assert_eq!(one == two, language(one) == language(two), "{one} {two}");
        }
    }
    assert_eq!(pattern("*/**"), Pattern::everything());
    assert_eq!(pattern("*").subtree(), Pattern::everything());
}

#[test]
fn covering_is_exact() {
    let languages: Vec<_> = PATTERNS.iter().map(language).collect();
    for (one, of_one) in PATTERNS.iter().zip(&languages) {
        for (two, of_two) in PATTERNS.iter().zip(&languages) {
            let within = of_two & !of_one == 0;
            assert_eq!(one.covers(two), within, "{one} {two}");
        }
    }
}

#[test]
fn a_subtree_holds_a_path_and_everything_below_it() {
    for pattern in PATTERNS.iter() {
        let subtree = pattern.subtree();
        assert!(subtree.covers(pattern));
        assert_eq!(subtree.subtree(), subtree);
        for path in PATHS.iter() {
            let from_here =
                (1..=path.len()).any(|length| pattern.matches(path[..length].iter().copied()));
            assert_eq!(
                subtree.matches(path.iter().copied()),
                from_here,
                "{pattern} {path:?}"
            );
        }
    }
}

#[test]
fn every_path_matches_everything() {
    assert_eq!(Pattern::everything(), pattern("**"));
    assert_eq!(
        language(&Pattern::everything()),
        u128::MAX >> (128 - PATHS.len())
    );
}

#[test]
fn displaying_and_parsing_are_inverse() {
    for each in PATTERNS.iter() {
        assert_eq!(&pattern(&each.to_string()), each);
    }
    for text in [
        "**",
        "*",
        "documents/*/comments/**",
        "a.b/%C3%BC/~x",
        "...",
        "a,b;c=d",
    ] {
        assert_eq!(pattern(text).to_string(), text);
    }
}

// D08
#[test]
fn a_wildcard_under_an_exact_pattern_is_narrowed_to_it() {
    let (parent, child) = (pattern("docs/1"), pattern("docs/*"));
    assert_eq!(parent.intersect(&child), Some(pattern("docs/1")));
    assert!(child.covers(&parent) && !parent.covers(&child));
}

// D09
#[test]
fn a_prefix_of_a_segment_is_another_segment() {
    let parent = pattern("docs/a").subtree();
    assert!(!parent.matches(["docs", "ab"]));
    assert!(!parent.covers(&pattern("docs/ab")));
    assert_eq!(parent.intersect(&pattern("docs/ab")), None);
}

// D10
#[test]
fn another_spelling_is_another_path() {
    let documents = pattern("documents/caf%C3%A9");
    assert!(documents.matches(["documents", "caf%C3%A9"]));
    for other in [
        ["Documents", "caf%C3%A9"],
        ["documents", "caf%c3%a9"],
        ["documents", "caf%C3%A9 "],
        ["documents%2Fcaf%C3%A9", ""],
        ["d%6Fcuments", "caf%C3%A9"],
    ] {
        assert!(!documents.matches(other), "{other:?}");
    }
}

#[test]
fn what_is_not_a_pattern_is_refused_with_its_reason() {
    type Make = fn(String) -> PatternError;
    let cases: [(Make, &[&str]); 4] = [
        (
            PatternError::EmptySegment,
            &["", "/", "/a", "a/", "a//b", "//"],
        ),
        (PatternError::DotSegment, &[".", "..", "a/../b", "a/."]),
        (
            PatternError::OpenNotLast,
            &["**/a", "a/**/b", "**/**", "a/**/"],
        ),
        (
            PatternError::PartialWildcard,
            &["a*", "*a", "***", "a/b*c", "**a"],
        ),
    ];
    for (error, texts) in cases {
        for text in texts {
            assert_eq!(text.parse::<Pattern>(), Err(error(String::from(*text))));
        }
    }
    for (text, character) in [
        ("a:b", ':'),
        ("a@free", '@'),
        ("a\\b", '\\'),
        ("a b", ' '),
        ("a/b\n", '\n'),
        ("a\0", '\0'),
        ("caf\u{e9}", '\u{e9}'),
        ("cafe\u{301}", '\u{301}'),
        ("a\u{202e}b", '\u{202e}'),
        ("\u{ff0a}", '\u{ff0a}'),
    ] {
        let expected = PatternError::Character(text.to_owned(), character);
        assert_eq!(text.parse::<Pattern>(), Err(expected));
    }
}

#[test]
fn a_pattern_in_a_configuration_names_its_mistake() {
    let good: Pattern = serde_json::from_str("\"documents/**\"").unwrap();
    assert_eq!(good, pattern("documents/**"));
    let error = serde_json::from_str::<Pattern>("\"doc*\"").unwrap_err();
    assert_eq!(error.to_string(), "`*` must be a whole segment: `doc*`");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    // D34
    #[test]
    fn any_text_is_refused_or_shown_as_it_was_written(text in r"(\PC|[a*/.:@]|\*\*|/){0,12}") {
        if let Ok(pattern) = text.parse::<Pattern>() {
            let shown = if text == "*/**" { "**" } else { &text };
            prop_assert_eq!(pattern.to_string(), shown);
        }
    }
}
