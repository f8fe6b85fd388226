//! What the modules of a policy define, and which definitions can't stand together.
//!
//! The engine recurses on the thread's stack, and overflowing it ends the process: rules that depend on themselves or are
//! nested too deep are faults. So are definitions of which the engine would silently take one: two defaults for a rule,
//! and data at the place of a rule.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use regorus::unstable::{Module, Rule, RuleHead};
use serde_json::Value as Json;

use super::reference::{self, Place};
use crate::policy::LoadError;

/// The rules of a policy, by the place of their value.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    rules: BTreeMap<Place, Defined>,
}

/// The shape of a rule's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One value, or an object of several rules.
    Complete,
    /// A set that grows member by member.
    Set,
    /// Called with arguments.
    Function,
}

/// All rules of one place.
#[derive(Debug)]
struct Defined {
    /// Where the first of them stands.
    module: String,
    line: u32,
    kind: Kind,
    defaults: usize,
    /// How many arguments they take.
    arity: usize,
    /// What they refer to: places of rules, of packages, or inside a rule's value.
    needs: BTreeSet<Place>,
    /// Why they are no function of the input.
    volatile: Option<Volatile>,
}

/// A call whose answer depends on more than the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Volatile {
    pub(super) module: String,
    pub(super) line: u32,
    pub(super) builtin: String,
}

/// How many rules stand on each other, the one asked about included.
#[derive(Debug, Clone, Copy)]
enum Height {
    /// Being computed: meeting it again closes a circle.
    Open,
    Known(usize),
}

impl Definitions {
    /// Notes which rules `module` defines.
    pub(super) fn declare(&mut self, module: &Module) {
        for rule in &module.policy {
            let (kind, defaults, arity) = match rule.as_ref() {
                Rule::Spec { head, .. } => match head {
                    RuleHead::Compr { .. } => (Kind::Complete, 0, 0),
                    RuleHead::Set { .. } => (Kind::Set, 0, 0),
                    RuleHead::Func { args, .. } => (Kind::Function, 0, args.len()),
                },
                Rule::Default { args, .. } if args.is_empty() => (Kind::Complete, 1, 0),
                Rule::Default { args, .. } => (Kind::Function, 1, args.len()),
            };
            let defined = self
                .rules
                .entry(reference::of_rule(module, rule))
                .or_insert_with(|| Defined {
                    module: reference::file(module).to_owned(),
                    line: rule.span().line,
                    kind,
                    defaults: 0,
                    arity,
                    needs: BTreeSet::new(),
                    volatile: None,
                });
            defined.defaults += defaults;
        }
    }

    /// Notes what one of the rules at `place` refers to, and why it is no function of the input.
    pub(super) fn depend(
        &mut self,
        place: &Place,
        needs: BTreeSet<Place>,
        volatile: Option<Volatile>,
    ) {
        if let Some(defined) = self.rules.get_mut(place) {
            defined.needs.extend(needs);
            defined.volatile = defined.volatile.take().or(volatile);
        }
    }

    /// Why the rule at `place` is no function of the input, itself or by what it refers to; `None` where it is one.
    pub(super) fn volatile<'d>(&'d self, place: &'d Place) -> Option<&'d Volatile> {
        let mut seen = BTreeSet::new();
        let mut open = vec![place];
        while let Some(need) = open.pop() {
            for (place, defined) in self.reached(need) {
                if defined.volatile.is_some() {
                    return defined.volatile.as_ref();
                }
                if seen.insert(place) {
                    open.extend(&defined.needs);
                }
            }
        }
        None
    }

    /// The shape of the rules at `place`; `None` where there is none.
    pub(super) fn kind(&self, place: &[String]) -> Option<Kind> {
        self.rules.get(place).map(|defined| defined.kind)
    }

    /// How many arguments the function at `place` takes.
    pub(super) fn arity(&self, place: &Place) -> usize {
        self.rules.get(place).map_or(0, |defined| defined.arity)
    }

    /// Whether a rule stands at `place` or below it.
    pub(super) fn is_inside(&self, place: &Place) -> bool {
        let next = self.rules.range(place.clone()..).next();
        next.is_some_and(|(found, _)| found.starts_with(place))
    }

    /// The first rule whose value `document` would replace, as `authz.allow`.
    pub(super) fn overridden_by(&self, document: &Json) -> Option<String> {
        let place = self
            .rules
            .keys()
            .find(|place| reaches(document, place.get(1..).unwrap_or_default()))?;
        Some(place.get(1..).unwrap_or_default().join("."))
    }

    /// Everything that can't stand as it is.
    pub(super) fn faults(&self) -> Vec<LoadError> {
        let mut faults = Vec::new();
        let mut heights = BTreeMap::new();
        for (place, defined) in &self.rules {
            if defined.defaults > 1 {
                faults.push(
                    defined.refuse(format!("`{}` has more than one default", place.join("."))),
                );
            }
        }
        for (place, defined) in &self.rules {
            if let Err(fault) = self.height(place, defined, 1, &mut heights) {
                // One circle makes every rule that leads into it faulty; the first says enough.
                faults.push(defined.refuse(fault));
                break;
            }
        }
        faults
    }

    fn height<'d>(
        &'d self,
        place: &'d Place,
        defined: &'d Defined,
        depth: usize,
        heights: &mut BTreeMap<&'d Place, Height>,
    ) -> Result<usize, String> {
        match heights.get(place) {
            Some(Height::Known(height)) => return Ok(*height),
            Some(Height::Open) => return Err(format!("`{}` depends on itself", place.join("."))),
            None => {}
        }
        if depth > MAX_HEIGHT {
            return Err(too_high());
        }
        heights.insert(place, Height::Open);
        let mut height = 1;
        for need in &defined.needs {
            for (below, needed) in self.reached(need) {
                height = height.max(1 + self.height(below, needed, depth + 1, heights)?);
            }
        }
        if height > MAX_HEIGHT {
            return Err(too_high());
        }
        heights.insert(place, Height::Known(height));
        Ok(height)
    }

    /// The rules that a reference evaluates: those whose value it leads into, and those below it.
    fn reached<'d>(&'d self, need: &'d Place) -> impl Iterator<Item = (&'d Place, &'d Defined)> {
        let above =
            (1..need.len()).filter_map(|length| self.rules.get_key_value(need.get(..length)?));
        let below = self
            .rules
            .range(need.clone()..)
            .take_while(|(place, _)| place.starts_with(need));
        above.chain(below)
    }
}

impl Defined {
    fn refuse(&self, fault: String) -> LoadError {
        LoadError::Refused {
            module: self.module.clone(),
            line: self.line,
            fault,
        }
    }
}

/// Whether `document` has a value at `place`, or one on the way that ends it.
fn reaches(document: &Json, place: &[String]) -> bool {
    let mut at = document;
    for part in place {
        let Json::Object(members) = at else {
            return true;
        };
        match members.get(part) {
            Some(member) => at = member,
            None => return false,
        }
    }
    true
}

impl fmt::Display for Volatile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            module,
            line,
            builtin,
        } = self;
        write!(f, "`{builtin}` ({module} line {line})")
    }
}

fn too_high() -> String {
    format!("more than {MAX_HEIGHT} rules depend on each other in a row")
}

/// On a stack of 2 MiB an unoptimised build has room for a hundred plain rules, or forty that each loop inside a loop.
pub(super) const MAX_HEIGHT: usize = 32;
