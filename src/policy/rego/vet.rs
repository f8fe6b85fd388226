//! Reads a policy before it runs and refuses what the engine would only notice while deciding, or not at all.
//!
//! Refused: calls of builtins that are not offered ([`builtins`]) or of functions that do not exist, and what can't stand
//! together ([`Definitions`]). Reading never evaluates anything.
//!
//! The syntax tree comes from the engine's own parser, and its enums are matched exhaustively: a new kind of expression
//! does not compile until somebody decided how it is read. Calls are resolved as the engine resolves them: import, function
//! of the policy, builtin.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use regorus::unstable::{
    AssignOp, Expr, Literal, LiteralStmt, Module, Query, Ref, Rule, RuleHead, Span,
};

use super::builtins;
use super::definitions::{Definitions, Kind, Volatile};
use super::reference::{self, Place, trace};
use crate::policy::LoadError;

/// What `modules` define. Everything in them that is refused is added to `errors`.
pub(super) fn vet(modules: &[Ref<Module>], errors: &mut Vec<LoadError>) -> Definitions {
    let mut definitions = Definitions::default();
    for module in modules {
        definitions.declare(module);
    }
    for module in modules {
        for rule in &module.policy {
            let mut reader = Reader::new(module, &definitions, rule);
            reader.rule(rule);
            errors.append(&mut reader.refused);
            let volatile = reader.volatile.take();
            let needs = reader.needs();
            definitions.depend(&reference::of_rule(module, rule), needs, volatile);
        }
    }
    errors.extend(definitions.faults());
    definitions
}

/// Reads one rule: what it calls, what it refers to, and which names are its own.
struct Reader<'m> {
    module: &'m Module,
    definitions: &'m Definitions,
    /// Last component and target of each import.
    imports: BTreeMap<String, Place>,
    /// Variables of the rule. A reference that begins with one leads nowhere else.
    own: HashSet<&'m str>,
    references: Vec<Place>,
    called: BTreeSet<Place>,
    refused: Vec<LoadError>,
    /// The first call of a builtin that is no function of its arguments.
    volatile: Option<Volatile>,
}

impl<'m> Reader<'m> {
    fn new(module: &'m Module, definitions: &'m Definitions, rule: &'m Rule) -> Self {
        let imports = module.imports.iter().filter_map(|import| {
            let target = trace(&import.refr).place;
            let alias = match &import.r#as {
                Some(alias) => alias.text().to_owned(),
                None => target.last()?.clone(),
            };
            Some((alias, target))
        });
        let mut reader = Self {
            module,
            definitions,
            imports: imports.collect(),
            own: HashSet::new(),
            references: Vec::new(),
            called: BTreeSet::new(),
            refused: Vec::new(),
            volatile: None,
        };
        if let Rule::Spec {
            head: RuleHead::Func { args, .. },
            ..
        } = rule
        {
            reader.own_variables(args);
        }
        reader
    }

    /// The places that the rule depends on.
    fn needs(self) -> BTreeSet<Place> {
        let mut needs = self.called;
        for reference in self.references {
            let Some(root) = reference.first() else {
                continue;
            };
            if root == "input" || self.own.contains(root.as_str()) {
                continue;
            }
            if root == "data" {
                needs.insert(reference);
                continue;
            }
            needs.insert(match self.imports.get(root) {
                Some(target) => target
                    .iter()
                    .chain(reference.iter().skip(1))
                    .cloned()
                    .collect(),
                None => reference::inside(self.module, &reference),
            });
        }
        needs
    }

    fn rule(&mut self, rule: &'m Rule) {
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
                        assign
                    }
                };
                self.exprs(assign.iter().map(|assign| &assign.value));
                for body in bodies {
                    self.exprs(body.assign.iter().map(|assign| &assign.value));
                    self.query(&body.query);
                }
            }
            Rule::Default { refr, value, .. } => {
                self.head(refr);
                self.expr(value);
            }
        }
    }

    fn query(&mut self, query: &'m Query) {
        for statement in &query.stmts {
            self.statement(statement);
        }
    }

    fn statement(&mut self, statement: &'m LiteralStmt) {
        match &statement.literal {
            Literal::SomeVars { vars, .. } => self.own.extend(vars.iter().map(Span::text)),
            Literal::SomeIn {
                key,
                value,
                collection,
                ..
            } => {
                self.own_variables(key.iter().chain([value]));
                self.exprs(key.iter().chain([value, collection]));
            }
            Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => self.expr(expr),
            Literal::Every {
                key,
                value,
                domain,
                query,
                ..
            } => {
                self.own.extend(key.iter().chain([value]).map(Span::text));
                self.expr(domain);
                self.query(query);
            }
        }
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
            self.called.insert(function);
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
                self.references.push(place);
            }
            Expr::Array { items, .. } | Expr::Set { items, .. } => self.exprs(items),
            Expr::Object { fields, .. } => {
                self.exprs(fields.iter().flat_map(|(_, key, value)| [key, value]));
            }
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
                self.expr(term);
                self.query(query);
            }
            Expr::ObjectCompr {
                key, value, query, ..
            } => {
                self.exprs([key, value]);
                self.query(query);
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
                match op {
                    AssignOp::ColEq => self.own_variables([lhs]),
                    AssignOp::Eq => {}
                }
                self.exprs([lhs, rhs]);
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
        if let Some(function) = self.function(&trace.place) {
            self.called.insert(function);
            return;
        }
        let name = trace.place.join(".");
        self.note_volatile(function, &name);
        if !builtins::is_allowed(&name) {
            self.refuse(function, builtins::advice(&name));
            return;
        }
        let fault = match name.as_str() {
            builtins::SPRINTF => format_fault(params.first()),
            builtins::GLOB => delimiters_fault(params.get(1)),
            _ => None,
        };
        if let Some(fault) = fault {
            self.refuse(function, fault.to_owned());
        }
    }

    /// Where the function of this policy stands that `name` calls; `None` where it can only be a builtin.
    fn function(&self, name: &[String]) -> Option<Place> {
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

    /// Notes the variables that `patterns` bind.
    fn own_variables(&mut self, patterns: impl IntoIterator<Item = &'m Ref<Expr>>) {
        let mut patterns: Vec<_> = patterns.into_iter().collect();
        while let Some(pattern) = patterns.pop() {
            match pattern.as_ref() {
                Expr::Var { span, .. } => {
                    self.own.insert(span.text());
                }
                Expr::Array { items, .. } => patterns.extend(items),
                Expr::Object { fields, .. } => {
                    patterns.extend(fields.iter().map(|(_, _, value)| value));
                }
                _ => {}
            }
        }
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

    fn refuse(&mut self, at: &Expr, fault: String) {
        self.refused.push(LoadError::Refused {
            module: reference::file(self.module).to_owned(),
            line: at.span().line,
            fault,
        });
    }
}

fn format_fault(format: Option<&Ref<Expr>>) -> Option<&'static str> {
    match format.and_then(|format| reference::literal(format)) {
        Some(format) => builtins::format_fault(format),
        None => Some(LITERAL_FORMAT),
    }
}

fn delimiters_fault(delimiters: Option<&Ref<Expr>>) -> Option<&'static str> {
    let fine = match delimiters.map(AsRef::as_ref) {
        Some(Expr::Null { .. }) => true,
        Some(Expr::Array { items, .. }) => match items.as_slice() {
            [] => true,
            [item] => reference::literal(item).is_some_and(builtins::is_delimiter),
            _ => false,
        },
        _ => false,
    };
    (!fine).then_some(LITERAL_DELIMITERS)
}

const LITERAL_DELIMITERS: &str = "the delimiters of `glob.match` must be written out, as `null`, `[\".\"]` or `[\"/\"]`: the \
     embedded engine reads others otherwise than OPA";
const LITERAL_FORMAT: &str = "the format of `sprintf` must be a literal text: a width in it can ask for any amount of \
     memory";
