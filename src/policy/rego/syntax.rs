//! Tells the two syntaxes of Rego apart: v1, and the one before it, in which rules are written `allow { … }`.
//!
//! A module is of the older syntax only if the newer one does not fit. The engine's reader of the older syntax takes the
//! first half of `allow if { … }` for a rule that always holds and the second for a rule named `if`; a module that is read
//! like that is refused with what the newer syntax said about it.

use regorus::Engine;
use regorus::unstable::{Module, Rule, RuleHead};

use super::{brief, reference};
use crate::policy::LoadError;

/// Adds a module, read as Rego v1 and, if that fails, in the older syntax.
pub(super) fn add_module(engine: &mut Engine, name: &str, text: &str) -> Result<(), LoadError> {
    let unreadable = |fault| LoadError::Parse {
        name: name.to_owned(),
        fault,
    };
    engine.set_rego_v0(false);
    let Err(newer) = engine.add_policy(name.to_owned(), text.to_owned()) else {
        return Ok(());
    };
    let newer = brief(&newer);
    engine.set_rego_v0(true);
    match engine.add_policy(name.to_owned(), text.to_owned()) {
        Ok(_package) => match engine.get_modules().last() {
            Some(module) if !is_misread(module) => Ok(()),
            _ => Err(unreadable(newer)),
        },
        // What the newer syntax misses is a keyword: the author may have meant the older one.
        Err(older) if newer.contains("keyword is required") => {
            let older = brief(&older);
            Err(unreadable(format!("as Rego v1: {newer}; as v0: {older}")))
        }
        Err(_older) => Err(unreadable(newer)),
    }
}

/// Whether the module, read in the older syntax, has a rule that only the newer one explains: one named like a newer
/// keyword, or one that consists of nothing but its name.
fn is_misread(module: &Module) -> bool {
    module.policy.iter().any(|rule| {
        let root = reference::trace(reference::head(rule))
            .place
            .into_iter()
            .next();
        if matches!(root.as_deref(), Some("if" | "contains" | "in" | "every")) {
            return true;
        }
        match rule.as_ref() {
            Rule::Spec { head, bodies, .. } => match head {
                RuleHead::Compr { assign, .. } | RuleHead::Func { assign, .. } => {
                    assign.is_none() && bodies.is_empty()
                }
                RuleHead::Set { .. } => false,
            },
            Rule::Default { .. } => false,
        }
    })
}
