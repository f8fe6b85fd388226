//! Decides which route matches first, without asking each of them.
//!
//! The routes of one host stand in a tree with one level for each segment of a path. Wherever both a literal and a
//! wildcard continue, both are followed, so that a lookup never depends on luck; but no node can be reached in two ways,
//! hence none is visited twice, and subtrees that hold only later routes than the one already found are left out. A lookup
//! that meets no wildcards visits one node for each segment, at most 64, however many routes there are. No path can make
//! it visit more nodes than there are templates that begin like the path does.

use std::collections::{BTreeMap, HashMap};

use super::host::Host;
use super::path::NormalPath;
use super::route::{HostRule, MethodRule, Route, STANDARD_METHODS};
use super::template::{End, Segment};

/// Routes by host, then by path, then by method. A route is known by its place in the file.
#[derive(Debug, Default)]
pub(super) struct Index {
    any: Node,
    exact: HashMap<Box<str>, Node>,
    /// By the name behind `*.`.
    below: HashMap<Box<str>, Node>,
}

/// Where the templates that begin with the same segments part.
#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<str>, Node>,
    /// `*` and `{name}`, which match alike.
    wildcard: Option<Box<Node>>,
    /// Templates that end here without a slash.
    bare: Leaf,
    /// Templates that end here with a slash.
    slash: Leaf,
    /// Templates that end here in `**`.
    open: Leaf,
    /// The first route in this node and below.
    first: Option<usize>,
}

/// The first route for each method.
#[derive(Debug, Default)]
struct Leaf {
    standard: Option<usize>,
    listed: BTreeMap<Box<str>, usize>,
}

/// One lookup: what is asked, and the first route found so far.
struct Lookup<'a> {
    method: &'a str,
    /// Whether `*` stands for this method.
    standard: bool,
    found: Option<usize>,
    /// The first route that matches but for the slash at the end.
    twin: Option<usize>,
}

/// What a lookup found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    /// No route.
    Nothing,
    /// The lowest number of a route that matches.
    Route(usize),
    /// An earlier route would match if the path had, or had not, the slash at its end. Many services take the two paths for
    /// one, so the earlier route was meant to have a say.
    SlashAside,
}

impl Index {
    /// Adds the route with this number; numbers grow from call to call.
    pub(super) fn insert(&mut self, number: usize, route: &Route) {
        let mut node = match &route.host {
            HostRule::Any => &mut self.any,
            HostRule::Exact(host) => self.exact.entry(host.clone()).or_default(),
            HostRule::Below(host) => self.below.entry(host.clone()).or_default(),
        };
        node.first.get_or_insert(number);
        for segment in &route.path.segments {
            node = match segment {
                Segment::Literal(literal) => node.literals.entry(literal.clone()).or_default(),
                Segment::Any | Segment::Capture(_) => node.wildcard.get_or_insert_default(),
            };
            node.first.get_or_insert(number);
        }
        let leaf = match route.path.end {
            End::Bare => &mut node.bare,
            End::Slash => &mut node.slash,
            End::Open => &mut node.open,
        };
        match &route.methods {
            MethodRule::Standard => {
                leaf.standard.get_or_insert(number);
            }
            MethodRule::Listed(methods) => {
                for method in methods {
                    leaf.listed.entry(method.clone()).or_insert(number);
                }
            }
        }
    }

    /// The first route that matches.
    pub(super) fn first(&self, method: &str, host: &Host<'_>, path: &NormalPath<'_>) -> Match {
        let mut lookup = Lookup {
            method,
            standard: STANDARD_METHODS.contains(&method),
            found: None,
            twin: None,
        };
        let rest = path.as_str().strip_prefix('/');
        self.any.search(rest, &mut lookup);
        if let Some(node) = self.exact.get(host.as_str()) {
            node.search(rest, &mut lookup);
        }
        let mut name = host.as_str();
        // At most 126 dots; none at all to look at where no route has `*.`.
        while !self.below.is_empty()
            && let Some((_, parent)) = name.split_once('.')
        {
            if let Some(node) = self.below.get(parent) {
                node.search(rest, &mut lookup);
            }
            name = parent;
        }
        match (lookup.found, lookup.twin) {
            (Some(found), Some(twin)) if twin < found => Match::SlashAside,
            (Some(found), _) => Match::Route(found),
            (None, _) => Match::Nothing,
        }
    }
}

impl Node {
    /// Follows `rest`: what comes after the slash behind the last segment, `None` where there is no such slash.
    ///
    /// The recursion is as deep as the tree, which is at most 64 segments.
    fn search(&self, rest: Option<&str>, lookup: &mut Lookup<'_>) {
        if !lookup.wants(self.first) {
            return;
        }
        lookup.take(&self.open);
        let here = match rest {
            None => return lookup.end(&self.bare, &self.slash),
            Some("") => return lookup.end(&self.slash, &self.bare),
            Some(here) => here,
        };
        let (segment, rest) = match here.split_once('/') {
            Some((segment, rest)) => (segment, Some(rest)),
            None => (here, None),
        };
        if let Some(node) = self.literals.get(segment) {
            node.search(rest, lookup);
        }
        if let Some(node) = &self.wildcard {
            node.search(rest, lookup);
        }
    }
}

impl Lookup<'_> {
    /// Whether `number` is earlier than what has been found.
    fn wants(&self, number: Option<usize>) -> bool {
        match (number, self.found) {
            (Some(number), Some(found)) => number < found,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    fn take(&mut self, leaf: &Leaf) {
        let number = self.matching(leaf);
        if self.wants(number) {
            self.found = number;
        }
    }

    /// Takes the routes that end as the path does, and remembers those that differ in the slash alone.
    fn end(&mut self, same: &Leaf, other: &Leaf) {
        self.take(same);
        let other = self.matching(other);
        self.twin = self.twin.into_iter().chain(other).min();
    }

    /// The first route in `leaf` that has the method.
    fn matching(&self, leaf: &Leaf) -> Option<usize> {
        let listed = leaf.listed.get(self.method).copied();
        let standard = leaf.standard.filter(|_| self.standard);
        listed.into_iter().chain(standard).min()
    }
}
