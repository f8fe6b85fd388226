//! What a `not` needs: OPA computes the operands of a call outside the `not` that stands before it.
//!
//! `not startswith(input.a, "x")` is `a := input.a; not startswith(a, "x")` to OPA: undefined without `input.a`. In the
//! engine that `not` holds, and could allow. So a `not` is refused where an operand that OPA takes out may be undefined:
//! operands of calls and operators, indices, members of collections, and calls beside `==`. What OPA leaves inside is fine:
//! `not input.a`, `not input.a == "x"`, comprehensions.
//!
//! Certain to be there are constants, variables, what attache sends in every input, sets, rules and functions with a
//! default or without conditions, and builtins, but for those that are undefined of nothing. Once a `with` stands anywhere
//! in the policy, only constants and variables are: it may replace the rest.

use std::collections::BTreeSet;

use regorus::unstable::{AssignOp, BoolOp, Expr, Ref, Rule, RuleAssign, RuleBody, RuleHead};

use super::reference::{self, Place, trace};
use super::vet::Reader;
use crate::policy::LoadError;

/// What the rules of a policy have under `not`.
#[derive(Debug, Default)]
pub(super) struct Negations {
    /// What must be there, and what to say if it may not be.
    needed: Vec<(Place, LoadError)>,
    /// Rules that have a value if everything is there that they need.
    certain: Vec<(Place, Vec<Place>)>,
    /// Whether there is a `with`.
    pub(super) replaced: bool,
}

impl Negations {
    pub(super) fn append(&mut self, others: &mut Self) {
        self.needed.append(&mut others.needed);
        self.certain.append(&mut others.certain);
        self.replaced |= others.replaced;
    }

    /// Every `not` that may hold here alone.
    pub(super) fn faults(self) -> impl Iterator<Item = LoadError> {
        let known = self.known();
        let replaced = self.replaced;
        self.needed
            .into_iter()
            .filter(move |(place, _)| replaced || !is_there(place, &known))
            .map(|(_, fault)| fault)
    }

    /// The rules that have a value whatever the request.
    fn known(&self) -> BTreeSet<Place> {
        let mut known = BTreeSet::new();
        // As many rounds as rules may stand on each other.
        for _ in 0..super::definitions::MAX_HEIGHT {
            let before = known.len();
            for (place, needs) in &self.certain {
                if needs.iter().all(|need| is_there(need, &known)) {
                    known.insert(place.clone());
                }
            }
            if known.len() == before {
                break;
            }
        }
        known
    }
}

/// Nowhere is never there.
fn is_there(place: &Place, known: &BTreeSet<Place>) -> bool {
    match place.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["input" | "data"] => true,
        ["input", member] => ALWAYS.contains(&member),
        [BUILTIN, name] => !UNDEFINED_OF_NOTHING.contains(&name),
        _ => known.contains(place),
    }
}

impl<'m> Reader<'m> {
    /// Reads what stands behind a `not`.
    pub(super) fn negated(&mut self, expr: &'m Expr) {
        let mut taken_out = Vec::new();
        match expr {
            Expr::BoolExpr {
                op: BoolOp::Eq,
                lhs,
                rhs,
                ..
            }
            | Expr::AssignExpr {
                op: AssignOp::Eq,
                lhs,
                rhs,
                ..
            } => {
                for side in [lhs, rhs] {
                    match side.as_ref() {
                        reference @ (Expr::Var { .. }
                        | Expr::RefDot { .. }
                        | Expr::RefBrack { .. }) => {
                            taken_out.extend(trace(reference).computed);
                        }
                        other => taken_out.push(other),
                    }
                }
            }
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => {
                taken_out.extend(trace(expr).computed);
            }
            other => taken_out.extend(operands(other)),
        }
        for operand in taken_out {
            for (at, place) in self.needs_of(operand) {
                let fault = LoadError::Refused {
                    module: reference::file(self.module).to_owned(),
                    line: at.span().line,
                    fault: advice(at),
                };
                self.negations.needed.push((place, fault));
            }
        }
    }

    /// Notes what must be there for `rule` to have a value, unless conditions decide that.
    pub(super) fn certain(&mut self, rule: &'m Rule) {
        let terms = match rule {
            Rule::Default { value, .. } => vec![value],
            Rule::Spec { head, bodies, .. } => match head {
                RuleHead::Set { refr, .. } | RuleHead::Compr { refr, .. }
                    if !trace(refr).computed.is_empty() =>
                {
                    return;
                }
                RuleHead::Set { .. } => Vec::new(),
                RuleHead::Compr { assign, .. } => match values(assign.as_ref(), bodies) {
                    Some(values) => values,
                    None => return,
                },
                RuleHead::Func { args, assign, .. } => {
                    let any = |arg: &Ref<Expr>| matches!(arg.as_ref(), Expr::Var { .. });
                    match values(assign.as_ref(), bodies) {
                        Some(values) if args.iter().all(any) => values,
                        _ => return,
                    }
                }
            },
        };
        let needs = terms
            .into_iter()
            .flat_map(|term| self.needs_of(term))
            .map(|(_, place)| place)
            .collect();
        let place = reference::of_rule(self.module, rule);
        self.negations.certain.push((place, needs));
    }

    /// The parts of `expr` that may be undefined, with the place of each; nowhere, where that is computed.
    fn needs_of(&self, expr: &'m Expr) -> Vec<(&'m Expr, Place)> {
        let mut needs = Vec::new();
        let mut exprs = vec![expr];
        while let Some(expr) = exprs.pop() {
            match expr {
                Expr::Var { span, .. } if self.is_variable(span.text()) => {}
                Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => {
                    let trace = trace(expr);
                    let known = trace.computed.is_empty()
                        && trace.place.first().is_some_and(|it| !self.is_variable(it));
                    let place = if known {
                        self.target(&trace.place)
                    } else {
                        Place::new()
                    };
                    needs.push((expr, place));
                }
                Expr::Call { fcn, .. } => {
                    let name = trace(fcn).place;
                    let place = self
                        .function(&name)
                        .unwrap_or_else(|| vec![BUILTIN.to_owned(), name.join(".")]);
                    needs.push((expr, place));
                    exprs.extend(operands(expr));
                }
                other => exprs.extend(operands(other)),
            }
        }
        needs
    }
}

/// What is computed before `expr` is.
fn operands(expr: &Expr) -> Vec<&Expr> {
    let operands: Vec<&Ref<Expr>> = match expr {
        Expr::String { .. }
        | Expr::RawString { .. }
        | Expr::Number { .. }
        | Expr::Bool { .. }
        | Expr::Null { .. }
        | Expr::Var { .. }
        | Expr::RefDot { .. }
        | Expr::RefBrack { .. }
        | Expr::ArrayCompr { .. }
        | Expr::SetCompr { .. }
        | Expr::ObjectCompr { .. } => Vec::new(),
        Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().collect(),
        Expr::Object { fields, .. } => fields
            .iter()
            .flat_map(|(_, key, value)| [key, value])
            .collect(),
        Expr::Call { params, .. } => params.iter().collect(),
        Expr::UnaryExpr { expr, .. } => vec![expr],
        Expr::BinExpr { lhs, rhs, .. }
        | Expr::BoolExpr { lhs, rhs, .. }
        | Expr::ArithExpr { lhs, rhs, .. }
        | Expr::AssignExpr { lhs, rhs, .. } => vec![lhs, rhs],
        Expr::Membership {
            key,
            value,
            collection,
            ..
        } => key.iter().chain([value, collection]).collect(),
    };
    operands.into_iter().map(AsRef::as_ref).collect()
}

/// Every value that a rule may take, if it always takes one: without conditions, or with an `else` that has none.
fn values<'m>(
    assign: Option<&'m RuleAssign>,
    bodies: &'m [RuleBody],
) -> Option<Vec<&'m Ref<Expr>>> {
    let always = bodies
        .last()
        .is_none_or(|body| body.is_else && body.query.stmts.is_empty());
    let assigns = assign
        .into_iter()
        .chain(bodies.iter().filter_map(|body| body.assign.as_ref()));
    always.then(|| assigns.map(|assign| &assign.value).collect())
}

fn advice(operand: &Expr) -> String {
    let text: String = operand.span().text().chars().take(SHOWN).collect();
    format!(
        "where `{text}` is undefined this `not` holds here and not on OPA: name it first, as `x := {text}`, and write \
         `x` behind the `not`"
    )
}

/// Stands before the name of a builtin, where a place is asked for.
const BUILTIN: &str = "builtin";
/// The greatest and the least of nothing.
const UNDEFINED_OF_NOTHING: [&str; 2] = ["max", "min"];
/// The members that every input has.
const ALWAYS: [&str; 7] = [
    "action",
    "caller_spiffe_id",
    "caller_trust_domain",
    "context",
    "resource",
    "tier",
    "timestamp",
];
/// Characters of an operand.
const SHOWN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Input;

    /// The caller's part of the input stands in every one; a made-up one without a request shows the least there is.
    #[test]
    fn what_is_always_there_is_in_the_least_input() {
        let least = Input {
            target: None,
            request: None,
            envoy: None,
            ..Input::made_up()
        };
        let least = serde_json::to_value(least).unwrap();
        let members: Vec<_> = least.as_object().unwrap().keys().cloned().collect();
        assert_eq!(members, ALWAYS);
    }
}
