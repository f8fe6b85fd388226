//! The reference: what delegation means, in sets of single operations and plain numbers.
//!
//! Shares no code and no representation with what it is compared to: patterns are read anew from their text, permissions are
//! bits, time is a number of seconds.

use std::sync::LazyLock;

/// Patterns that permissions and narrowings are made of.
pub(super) const PATTERNS: [&str; 11] = [
    "**", "a", "a/**", "a/*", "a/b", "*", "*/b", "b", "b/**", "a/a", "z/**",
];
/// Actions; the third is named by nobody, and reached by `*` alone.
pub(super) const ACTIONS: [&str; 3] = ["read", "update", "admin"];
/// Where they can differ: every path that two of the patterns tell apart, and some that none names.
pub(super) const PATHS: [&str; 24] = [
    "a", "b", "z", "q", "a/a", "a/b", "a/z", "b/a", "b/b", "b/z", "z/b", "z/z", "q/b", "q/q",
    "a/z/z", "b/z/z", "z/z/z", "q/z/z", "a/a/z", "a/b/z", "b/b/z", "z/b/z", "q/b/z", "ab",
];

/// Operations, one bit each: path times action.
pub(super) type Operations = u128;

/// What somebody holds: which operations, which of them SUPERVISED or stricter, which FORBIDDEN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Power {
    pub(super) held: Operations,
    pub(super) supervised: Operations,
    pub(super) forbidden: Operations,
}

/// One permission: pattern, action (3 is `*`), tier (0 to 2), by number.
pub(super) type Entry = (usize, usize, u8);

static MATCHES: LazyLock<Vec<u32>> = LazyLock::new(|| table(|pattern| vec![pattern.to_owned()]));
static BELOW: LazyLock<Vec<u32>> = LazyLock::new(|| {
    table(|pattern| match pattern.strip_suffix("**") {
        Some(_) => vec![pattern.to_owned()],
        None => vec![pattern.to_owned(), format!("{pattern}/**")],
    })
});

/// For each pattern the paths that any text made of it matches, one bit each.
fn table(texts: impl Fn(&str) -> Vec<String>) -> Vec<u32> {
    let row = |pattern: &&str| {
        let texts = texts(pattern);
        let paths = PATHS.iter().enumerate();
        paths
            .filter(|(_, path)| texts.iter().any(|text| fits(text, path)))
            .fold(0, |bits, (at, _)| bits | 1 << at)
    };
    PATTERNS.iter().map(row).collect()
}

fn fits(pattern: &str, path: &str) -> bool {
    let (first, rest) = match pattern.split_once('/') {
        Some((first, rest)) => (first, Some(rest)),
        None => (pattern, None),
    };
    if first == "**" {
        return true;
    }
    let (head, tail) = match path.split_once('/') {
        Some((head, tail)) => (head, Some(tail)),
        None => (path, None),
    };
    let here = first == "*" || first == head;
    here && match (rest, tail) {
        (None | Some("**"), None) => true,
        (Some(rest), Some(tail)) => fits(rest, tail),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

fn spread(paths: u32, action: usize) -> Operations {
    let mut bits = 0;
    for path in 0..PATHS.len() {
        for each in 0..ACTIONS.len() {
            if paths & (1 << path) != 0 && (action == 3 || action == each) {
                bits |= 1 << (path * ACTIONS.len() + each);
            }
        }
    }
    bits
}

/// The operations of one pattern and one action.
pub(super) fn scope(pattern: usize, action: usize) -> Operations {
    spread(MATCHES[pattern], action)
}

/// The operations on what a pattern matches, and below.
pub(super) fn below(pattern: usize) -> Operations {
    spread(BELOW[pattern], 3)
}

/// The operations with one action.
pub(super) fn with(action: usize) -> Operations {
    spread(u32::MAX >> (32 - PATHS.len()), action)
}

impl Power {
    pub(super) const ALL: Self = Self {
        held: Operations::MAX,
        supervised: 0,
        forbidden: 0,
    };

    pub(super) fn of(entries: &[Entry]) -> Self {
        let mut power = Self {
            held: 0,
            supervised: 0,
            forbidden: 0,
        };
        for (pattern, action, tier) in entries {
            let bits = scope(*pattern, *action);
            power.held |= bits;
            power.supervised |= if *tier >= 1 { bits } else { 0 };
            power.forbidden |= if *tier >= 2 { bits } else { 0 };
        }
        power
    }

    pub(super) const fn keep(self, bits: Operations) -> Self {
        Self {
            held: self.held & bits,
            supervised: self.supervised & bits,
            forbidden: self.forbidden & bits,
        }
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self {
            held: self.held & other.held,
            supervised: self.supervised | other.supervised,
            forbidden: self.forbidden | other.forbidden,
        }
        .keep(self.held & other.held)
    }

    pub(super) const fn supervise(self, bits: Operations) -> Self {
        Self {
            supervised: self.supervised | (self.held & bits),
            ..self
        }
    }

    /// Whether an agent could do anything with it.
    pub(super) const fn useful(self) -> bool {
        self.held & !self.forbidden != 0
    }

    /// 0 to 3: free, supervised, forbidden, absent.
    pub(super) const fn tier(self, operation: usize) -> u8 {
        let bit = 1 << operation;
        if self.held & bit == 0 {
            return 3;
        }
        ((self.supervised & bit != 0) as u8) + ((self.forbidden & bit != 0) as u8)
    }

    /// Whether it has nothing that `other` has not, and nothing more freely.
    pub(super) const fn within(self, other: Self) -> bool {
        self.held & !other.held == 0
            && other.supervised & self.held & !self.supervised == 0
            && other.forbidden & self.held & !self.forbidden == 0
    }
}
