//! References taken apart, as the engine itself reads them when it looks up rules and functions.

use regorus::unstable::{Expr, Module, Ref, Rule, RuleHead};

/// The place of a package, rule or value in the tree that begins with `data`, or a name as written.
pub(super) type Place = Vec<String>;

/// A reference taken apart.
pub(super) struct Trace<'m> {
    /// Its components up to the first that is computed; empty where the beginning is.
    pub(super) place: Place,
    /// What is computed inside it.
    pub(super) computed: Vec<&'m Expr>,
}

/// Takes `reference` apart.
pub(super) fn trace(reference: &Expr) -> Trace<'_> {
    let mut place = Vec::new();
    let mut computed = Vec::new();
    let mut at = reference;
    // From the last component to the first, so that a computed one discards what was found behind it.
    loop {
        match at {
            Expr::Var { span, .. } => {
                place.push(span.text().to_owned());
                break;
            }
            Expr::RefDot { refr, field, .. } => {
                place.push(field.0.text().to_owned());
                at = refr;
            }
            Expr::RefBrack { refr, index, .. } => {
                match index.as_ref() {
                    // A raw string is not a component to the engine, so it is not one here.
                    Expr::String { .. } => place.extend(literal(index).map(str::to_owned)),
                    other => {
                        place.clear();
                        computed.push(other);
                    }
                }
                at = refr;
            }
            other => {
                place.clear();
                computed.push(other);
                break;
            }
        }
    }
    place.reverse();
    Trace { place, computed }
}

/// The text of a string literal.
pub(super) fn literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::String { value, .. } | Expr::RawString { value, .. } => {
            value.as_string().ok().map(AsRef::as_ref)
        }
        _ => None,
    }
}

/// The reference that names a rule.
pub(super) const fn head(rule: &Rule) -> &Ref<Expr> {
    match rule {
        Rule::Spec { head, .. } => match head {
            RuleHead::Compr { refr, .. }
            | RuleHead::Set { refr, .. }
            | RuleHead::Func { refr, .. } => refr,
        },
        Rule::Default { refr, .. } => refr,
    }
}

/// Where the value of a rule stands.
pub(super) fn of_rule(module: &Module, rule: &Rule) -> Place {
    inside(module, &trace(head(rule)).place)
}

/// The place that `name` has inside the package of `module`.
pub(super) fn inside(module: &Module, name: &[String]) -> Place {
    let package = trace(&module.package.refr).place;
    ["data".to_owned()]
        .into_iter()
        .chain(package)
        .chain(name.iter().cloned())
        .collect()
}

/// The file that a module was read from.
pub(super) fn file(module: &Module) -> &str {
    module.package.span.source.get_path()
}
