//! Which names are variables of a rule, and which objects are patterns that fit more here than on OPA.
//!
//! To OPA `{"x": x}` is an object of one member. The engine lets it stand for every object that has `x`, wherever the
//! object is taken apart: by a function's arguments, by `some … in`, by `:=`, and where a variable inside the object may
//! get its value by a `=`, as an index, or from a call's last argument when that takes its result. All of these are refused;
//! `x = {"k": k}`, which gives a value to `x`, is not.

use std::collections::BTreeSet;

use regorus::unstable::{
    AssignOp, Expr, Literal, LiteralStmt, Query, Ref, Rule, RuleBody, RuleHead, Span,
};

use super::vet::Reader;

/// The variables of one part of a rule.
#[derive(Debug, Default)]
pub(super) struct Scope<'m> {
    /// Whatever is declared here.
    declared: BTreeSet<&'m str>,
    /// Those of them that have a value before anything is unified.
    given: BTreeSet<&'m str>,
    /// What stands on a side of a `=`, and what does so more than once.
    unified: BTreeSet<&'m str>,
    again: BTreeSet<&'m str>,
}

impl<'m> Scope<'m> {
    /// What a head sees: the arguments, and the variables of the bodies.
    pub(super) fn of_rule(rule: &'m Rule) -> Self {
        let mut scope = Self::default();
        if let Rule::Spec { head, bodies, .. } = rule {
            if let RuleHead::Func { args, .. } = head {
                scope.give(args);
            }
            for RuleBody { query, .. } in bodies {
                let body = Self::of_query(query);
                scope.declared.extend(body.declared);
            }
        }
        scope
    }

    pub(super) fn of_names(names: impl IntoIterator<Item = &'m Span>) -> Self {
        let names: BTreeSet<_> = names.into_iter().map(Span::text).collect();
        Self {
            declared: names.clone(),
            given: names,
            ..Self::default()
        }
    }

    pub(super) fn of_query(query: &'m Query) -> Self {
        let mut scope = Self::default();
        for LiteralStmt { literal, .. } in &query.stmts {
            match literal {
                Literal::SomeVars { vars, .. } => {
                    scope.declared.extend(vars.iter().map(Span::text));
                }
                Literal::SomeIn { key, value, .. } => scope.give(key.iter().chain([value])),
                Literal::Expr { expr, .. } => {
                    if let Expr::AssignExpr { op, lhs, rhs, .. } = expr.as_ref() {
                        match op {
                            AssignOp::ColEq => scope.give([lhs]),
                            AssignOp::Eq => scope.unify([lhs, rhs]),
                        }
                    }
                }
                Literal::NotExpr { .. } | Literal::Every { .. } => {}
            }
        }
        scope
    }

    pub(super) fn declares(&self, name: &str) -> bool {
        self.declared.contains(name)
    }

    fn give(&mut self, patterns: impl IntoIterator<Item = &'m Ref<Expr>>) {
        let names = variables(patterns.into_iter().map(AsRef::as_ref));
        self.declared.extend(names.iter().copied());
        self.given.extend(names);
    }

    fn unify(&mut self, sides: [&'m Ref<Expr>; 2]) {
        for side in sides {
            if let Expr::Var { span, .. } = side.as_ref()
                && !self.unified.insert(span.text())
            {
                self.again.insert(span.text());
            }
        }
    }
}

impl<'m> Reader<'m> {
    /// Reads patterns that take apart what they are put before, whatever it is.
    pub(super) fn taken_apart(&mut self, patterns: impl IntoIterator<Item = &'m Ref<Expr>>) {
        for object in objects(patterns.into_iter().map(AsRef::as_ref)) {
            self.refuse(object, PATTERN.to_owned());
        }
    }

    pub(super) fn unified(&mut self, op: &AssignOp, lhs: &'m Ref<Expr>, rhs: &'m Ref<Expr>) {
        if *op == AssignOp::ColEq {
            self.taken_apart([lhs]);
            return;
        }
        for (side, other) in [(lhs, rhs), (rhs, lhs)] {
            if self.is_named_here(other) {
                continue;
            }
            self.matched(side);
        }
    }

    /// Reads a pattern that takes something apart only if a variable in it has no value yet.
    pub(super) fn matched(&mut self, pattern: &'m Expr) {
        for object in objects([pattern]) {
            let members = members(object).map(AsRef::as_ref);
            if variables(members).iter().any(|name| self.is_free(name)) {
                self.refuse(object, PATTERN.to_owned());
            }
        }
    }

    /// Whether `name` is a variable that a `=` may give its value.
    fn is_free(&self, name: &str) -> bool {
        self.is_variable(name) && !self.scopes.iter().any(|scope| scope.given.contains(name))
    }

    /// Whether `side` is a variable that can have its value from this `=` alone.
    fn is_named_here(&self, side: &Expr) -> bool {
        match side {
            Expr::Var { span, .. } => {
                self.is_free(span.text())
                    && !self
                        .scopes
                        .iter()
                        .any(|scope| scope.again.contains(span.text()))
            }
            _ => false,
        }
    }
}

fn members(object: &Expr) -> impl Iterator<Item = &Ref<Expr>> {
    let fields = match object {
        Expr::Object { fields, .. } => fields.as_slice(),
        _ => &[],
    };
    fields.iter().map(|(_, _, value)| value)
}

/// The variables that patterns may bind.
fn variables<'m>(patterns: impl IntoIterator<Item = &'m Expr>) -> BTreeSet<&'m str> {
    let mut names = BTreeSet::new();
    let mut patterns: Vec<_> = patterns.into_iter().collect();
    while let Some(pattern) = patterns.pop() {
        match pattern {
            Expr::Var { span, .. } => {
                names.insert(span.text());
            }
            Expr::Array { items, .. } => patterns.extend(items.iter().map(AsRef::as_ref)),
            object @ Expr::Object { .. } => patterns.extend(members(object).map(AsRef::as_ref)),
            _ => {}
        }
    }
    names
}

/// The outermost objects among patterns.
fn objects<'m>(patterns: impl IntoIterator<Item = &'m Expr>) -> Vec<&'m Expr> {
    let mut found = Vec::new();
    let mut patterns: Vec<_> = patterns.into_iter().collect();
    while let Some(pattern) = patterns.pop() {
        match pattern {
            Expr::Array { items, .. } => patterns.extend(items.iter().map(AsRef::as_ref)),
            object @ Expr::Object { .. } => found.push(object),
            _ => {}
        }
    }
    found
}

const PATTERN: &str = "an object as a pattern also takes objects with further members here, and not on OPA: give the whole a \
     name and read its members one by one, as `x := a.x`; give `x` by `:=` where it is known";
