//! Reads a policy before it runs and refuses what the engine would only notice while deciding, or not at all.
//!
//! Refused: calls of builtins that are not offered ([`builtins`]) or of functions that do not exist, arguments that the
//! engine reads otherwise than OPA ([`literals`]), a `not` that may hold here alone ([`negation`](super::negation)), objects
//! as patterns ([`patterns`](super::patterns)), and what can't stand together ([`Definitions`]). Reading never evaluates
//! anything.
//!
//! The syntax tree comes from the engine's own parser, and its enums are matched exhaustively: a new kind of expression
//! does not compile until somebody decided how it is read. Calls are resolved as the engine resolves them: import, function
//! of the policy, builtin.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{Expr, Literal, LiteralStmt, Module, Query, Ref, Rule, RuleHead};

use super::definitions::{Definitions, Kind, Volatile};
use super::negation::Negations;
use super::patterns::Scope;
use super::reference::{self, Place, trace};
use super::{builtins, literals};
use crate::policy::LoadError;

/// What `modules` define. Everything in them that is refused is added to `errors`.
pub(super) fn vet(modules: &[Ref<Module>], errors: &mut Vec<LoadError>) -> Definitions {
    let mut definitions = Definitions::default();
    for module in modules {
        definitions.declare(module);
    }
    let mut negations = Negations::default();
    for module in modules {
        for rule in &module.policy {
            let mut reader = Reader::new(module, &definitions);
            reader.rule(rule);
            errors.append(&mut reader.refused);
            let volatile = reader.volatile.take();
            negations.append(&mut reader.negations);
            let needs = reader.needs();
            definitions.depend(&reference::of_rule(module, rule), needs, volatile);
        }
    }
    errors.extend(negations.faults());
    errors.extend(definitions.faults());
    definitions
}

/// Reads one rule: what it calls, what it refers to, and which names are its own.
pub(super) struct Reader<'m> {
    pub(super) module: &'m Module,
    definitions: &'m Definitions,
    /// Last component and target of each import.
    imports: BTreeMap<String, Place>,
    /// Variables of the rule, from its head inwards. A reference that begins with one leads nowhere else.
    pub(super) scopes: Vec<Scope<'m>>,
    needs: BTreeSet<Place>,
    pub(super) negations: Negations,
    refused: Vec<LoadError>,
    /// The first call of a builtin that is no function of its arguments.
    volatile: Option<Volatile>,
}

impl<'m> Reader<'m> {
    fn new(module: &'m Module, definitions: &'m Definitions) -> Self {
        let imports = module.imports.iter().filter_map(|import| {
            let target = trace(&import.refr).place;
            let alias = match &import.r#as {
                Some(alias) => alias.text().to_owned(),
                None => target.last()?.clone(),
            };
            Some((alias, target))
        });
        Self {
            module,
            definitions,
            imports: imports.collect(),
            scopes: Vec::new(),
            needs: BTreeSet::new(),
            negations: Negations::default(),
            refused: Vec::new(),
            volatile: None,
        }
    }

    /// The places that the rule depends on.
    fn needs(self) -> BTreeSet<Place> {
        self.needs
    }

    /// Where `reference` leads, which begins with no variable of the rule.
    pub(super) fn target(&self, reference: &[String]) -> Place {
        let Some((root, rest)) = reference.split_first() else {
            return Place::new();
        };
        if root == "input" || root == "data" {
            return reference.to_vec();
        }
        match self.imports.get(root) {
            Some(target) => target.iter().chain(rest).cloned().collect(),
            None => reference::inside(self.module, reference),
        }
    }

    /// Whether `name` is a variable of the rule, and not something of the policy.
    pub(super) fn is_variable(&self, name: &str) -> bool {
        self.scopes.iter().any(|scope| scope.declares(name))
            || !(["input", "data"].contains(&name)
                || self.imports.contains_key(name)
                || self.definitions.is_inside(&self.target(&[name.to_owned()])))
    }

    fn rule(&mut self, rule: &'m Rule) {
        self.scopes.push(Scope::of_rule(rule));
        match rule {
            Rule::Spec { head, bodies, .. } => {
                let assign = match head {
                    RuleHead::Compr { refr, assign, .. } => {
                        self.head(refr);
                        assign
                    }
                    RuleHead::Set { refr, key, .. } => {
                        self.head(refr);
                        self.exprs(key);
                        &None
                    }
                    RuleHead::Func {
                        refr, args, assign, ..
                    } => {
                        self.head(refr);
                        self.exprs(args);
                        self.taken_apart(args);
                        assign
                    }
                };
                self.exprs(assign.iter().map(|assign| &assign.value));
                for body in bodies {
                    self.exprs(body.assign.iter().map(|assign| &assign.value));
                    self.query(&body.query, []);
                }
            }
            Rule::Default { refr, value, .. } => {
                self.head(refr);
                self.expr(value);
            }
        }
        self.certain(rule);
    }

    /// Reads a query, and the terms that see its variables.
    fn query(&mut self, query: &'m Query, terms: impl IntoIterator<Item = &'m Ref<Expr>>) {
        self.scopes.push(Scope::of_query(query));
        for statement in &query.stmts {
            self.statement(statement);
        }
        self.exprs(terms);
        self.scopes.pop();
    }

    fn statement(&mut self, statement: &'m LiteralStmt) {
        match &statement.literal {
            Literal::SomeVars { .. } => {}
            Literal::SomeIn {
                key,
                value,
                collection,
                ..
            } => {
                self.exprs(key.iter().chain([value, collection]));
                self.taken_apart(key.iter().chain([value]));
            }
            Literal::Expr { expr, .. } => self.expr(expr),
            Literal::NotExpr { expr, .. } => {
                self.expr(expr);
                self.negated(expr);
            }
            Literal::Every {
                key,
                value,
                domain,
                query,
                ..
            } => {
                self.expr(domain);
                self.scopes.push(Scope::of_names(key.iter().chain([value])));
                self.query(query, []);
                self.scopes.pop();
            }
        }
        self.negations.replaced |= !statement.with_mods.is_empty();
        for modifier in &statement.with_mods {
            self.replacement(&modifier.r#as);
        }
    }

    /// `with … as this`: a value, or the name of a function that is called instead of another.
    fn replacement(&mut self, expr: &'m Expr) {
        self.expr(expr);
        let trace = trace(expr);
        if !trace.computed.is_empty() {
            return;
        }
        if let Some(function) = self.function(&trace.place) {
            self.needs.insert(function);
            return;
        }
        let name = trace.place.join(".");
        self.note_volatile(expr, &name);
        let known = regorus::unstable::BUILTINS.contains_key(name.as_str());
        if builtins::reads_a_literal(&name) || (known && !builtins::is_allowed(&name)) {
            self.refuse(
                expr,
                format!("`with … as {name}`: this builtin can't stand in for another"),
            );
        }
    }

    fn expr(&mut self, expr: &'m Expr) {
        match expr {
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. } => {}
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => {
                let place = self.head(expr);
                for index in trace(expr).computed {
                    self.matched(index);
                }
                let leads_on = place.first().is_some_and(|root| {
                    root != "input" && !self.scopes.iter().any(|scope| scope.declares(root))
                });
                if leads_on {
                    self.needs.insert(self.target(&place));
                }
            }
            Expr::Array { items, .. } | Expr::Set { items, .. } => self.exprs(items),
            Expr::Object { fields, .. } => {
                self.exprs(fields.iter().flat_map(|(_, key, value)| [key, value]));
            }
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
                self.query(query, [term]);
            }
            Expr::ObjectCompr {
                key, value, query, ..
            } => {
                self.query(query, [key, value]);
            }
            Expr::Call { fcn, params, .. } => {
                self.call(fcn, params);
                self.exprs(params);
            }
            Expr::UnaryExpr { expr, .. } => self.expr(expr),
            Expr::BinExpr { lhs, rhs, .. }
            | Expr::BoolExpr { lhs, rhs, .. }
            | Expr::ArithExpr { lhs, rhs, .. } => self.exprs([lhs, rhs]),
            Expr::AssignExpr { op, lhs, rhs, .. } => {
                self.exprs([lhs, rhs]);
                self.unified(op, lhs, rhs);
            }
            Expr::Membership {
                key,
                value,
                collection,
                ..
            } => self.exprs(key.iter().chain([value, collection])),
        }
    }

    fn exprs(&mut self, exprs: impl IntoIterator<Item = &'m Ref<Expr>>) {
        for expr in exprs {
            self.expr(expr);
        }
    }

    /// Reads what is computed inside a reference, and gives its constant beginning.
    fn head(&mut self, reference: &'m Expr) -> Place {
        let trace = trace(reference);
        for expr in trace.computed {
            self.expr(expr);
        }
        trace.place
    }

    fn call(&mut self, function: &'m Expr, params: &'m [Ref<Expr>]) {
        let trace = trace(function);
        if !trace.computed.is_empty() {
            let fault = "the name of a called function can't be computed";
            self.refuse(function, fault.to_owned());
            return;
        }
        let name = trace.place.join(".");
        let own = self.function(&trace.place);
        let arity = match &own {
            Some(place) => self.definitions.arity(place),
            None => builtins::arity(&name),
        };
        // What stands behind the arguments takes the result.
        for result in params.iter().skip(arity) {
            self.matched(result);
        }
        if let Some(place) = own {
            self.needs.insert(place);
            return;
        }
        self.note_volatile(function, &name);
        if !builtins::is_allowed(&name) {
            self.refuse(function, builtins::advice(&name));
            return;
        }
        let fault = literals::fault(&name, params);
        if let Some(fault) = fault {
            self.refuse(function, fault.to_owned());
        }
    }

    /// Where the function of this policy stands that `name` calls; `None` where it can only be a builtin.
    pub(super) fn function(&self, name: &[String]) -> Option<Place> {
        let (root, rest) = name.split_first()?;
        let imported = self
            .imports
            .get(root)
            .map(|target| target.iter().chain(rest).cloned().collect::<Place>());
        let here = if root == "data" {
            name.to_vec()
        } else {
            reference::inside(self.module, name)
        };
        imported
            .into_iter()
            .chain([here])
            .find(|place| self.definitions.kind(place) == Some(Kind::Function))
    }

    fn note_volatile(&mut self, at: &Expr, builtin: &str) {
        if builtins::is_volatile(builtin) && self.volatile.is_none() {
            self.volatile = Some(Volatile {
                module: reference::file(self.module).to_owned(),
                line: at.span().line,
                builtin: builtin.to_owned(),
            });
        }
    }

    pub(super) fn refuse(&mut self, at: &Expr, fault: String) {
        self.refused.push(LoadError::Refused {
            module: reference::file(self.module).to_owned(),
            line: at.span().line,
            fault,
        });
    }
}
