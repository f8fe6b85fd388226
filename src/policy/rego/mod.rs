//! The embedded engine: policy texts become a [`Program`], once, and a program answers questions, many times.
//!
//! Only regorus' interpreter is used, with strict builtins: its faster virtual machine takes a failed condition for a
//! false one, so that `not` of it holds. Here every error is a [`PolicyError`] and refuses the request. A program is
//! immutable; an evaluation works on a copy of the prepared engine (about 25 µs in all) and leaves nothing behind.

mod builtins;
mod definitions;
mod literals;
mod negation;
mod patterns;
mod reference;
mod syntax;
mod value;
mod vet;

use std::fmt;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, LimitError, Value};

use self::definitions::{Definitions, Kind};
use super::output::{self, clip};
use super::{DecisionPath, Input, InputForm, LoadError, PolicyError, Sources, Verdict};

/// A policy that has been read, checked and tried.
pub struct Program {
    /// Prepared: a copy of it can evaluate at once.
    engine: Engine,
    /// The rule that decides, as `data.agentweave.authz.allow`.
    rule: String,
    revision: Arc<str>,
    digest: [u8; 32],
    trial: Result<Verdict, PolicyError>,
    /// Why verdicts are no function of the input; `None` where they are.
    volatile: Option<String>,
}

// === impl Program ===

impl Program {
    /// Makes a program of `sources`, or says everything that is wrong with them.
    ///
    /// Each module is read as Rego v1 and, if that fails, in the older syntax. At the end a made-up request is evaluated.
    /// A result of the wrong shape refuses the policy, since no request would fare better. Other failures of the trial
    /// may be due to the made-up names and only show in [`Program::trial`].
    pub fn compile(
        sources: &Sources,
        path: &DecisionPath,
        time_limit: Duration,
    ) -> Result<Self, Vec<LoadError>> {
        Self::compile_for(sources, path, time_limit, InputForm::Attache)
    }

    /// As [`Program::compile`], for questions in these words.
    pub fn compile_for(
        sources: &Sources,
        path: &DecisionPath,
        time_limit: Duration,
        form: InputForm,
    ) -> Result<Self, Vec<LoadError>> {
        let mut engine = Engine::new();
        engine.set_strict_builtin_errors(true);
        engine.set_gather_prints(true);
        engine.set_execution_timer_config(ExecutionTimerConfig {
            limit: time_limit,
            check_interval: CHECK_INTERVAL,
        });
        let mut errors: Vec<_> = sources
            .modules()
            .filter_map(|(name, text)| syntax::add_module(&mut engine, name, text).err())
            .collect();
        let mut definitions = Definitions::default();
        if errors.is_empty() {
            definitions = vet::vet(engine.get_modules(), &mut errors);
            errors.extend(undecidable(&definitions, path));
        }
        add_data(&mut engine, sources, &definitions, &mut errors);
        if !errors.is_empty() {
            return Err(errors);
        }
        engine
            .compile_with_entrypoint(&path.rule().into())
            .map_err(|error| vec![LoadError::Compile(brief(&error))])?;
        let mut program = Self {
            engine,
            rule: path.rule(),
            revision: sources.revision(),
            digest: sources.digest(),
            trial: Err(PolicyError::Interrupted),
            volatile: definitions.volatile(&path.place()).map(ToString::to_string),
        };
        program.trial = program.evaluate(&Input::made_up_in(form));
        match program.trial {
            Err(PolicyError::Shape(fault)) => Err(vec![LoadError::Shape(fault)]),
            Ok(_) | Err(_) => Ok(program),
        }
    }

    /// What the policy says about `input`. Blocks for the time limit at most, plus one builtin call.
    pub fn evaluate(&self, input: &Input) -> Result<Verdict, PolicyError> {
        let (document, form) = (value::from_input(input), input.form());
        // The copy that a panic would leave half changed is dropped with it.
        let result = catch_unwind(AssertUnwindSafe(|| self.run(document)))
            .map_err(|_panic| PolicyError::Interrupted)??;
        let mut verdict = match result {
            Value::Undefined => output::read(None, &self.revision, form),
            Value::Bool(allow) => output::read(Some(&allow.into()), &self.revision, form),
            other => {
                let json = serde_json::to_value(&other)
                    .map_err(|error| PolicyError::Shape(error.to_string()))?;
                output::read(Some(&json), &self.revision, form)
            }
        }?;
        verdict.cacheable &= self.volatile.is_none();
        Ok(verdict)
    }

    /// Which call makes verdicts depend on more than their input, so that none is used again: `` `time.now_ns` (p.rego line
    /// 3)``. `None` where there is no such call.
    pub fn volatile(&self) -> Option<&str> {
        self.volatile.as_deref()
    }

    /// The content of the policy as a short digest: equal for equal files of equal names.
    pub fn revision(&self) -> &Arc<str> {
        &self.revision
    }

    /// What the policy said about a made-up request when it was loaded; worth a warning where it is an error.
    pub fn trial(&self) -> &Result<Verdict, PolicyError> {
        &self.trial
    }

    /// Whether this is the program of `sources`.
    pub(super) fn is_of(&self, sources: &Sources) -> bool {
        self.digest == sources.digest()
    }

    fn run(&self, document: Value) -> Result<Value, PolicyError> {
        let mut engine = self.engine.clone();
        engine.set_input(document);
        let result = engine.eval_rule(self.rule.clone());
        for line in engine.take_prints().iter().flatten().take(MAX_PRINTS) {
            tracing::debug!(?line, "policy print");
        }
        result.map_err(|error| {
            // Inside a function the engine keeps only the text of the limit's error.
            let limit = matches!(
                error.downcast_ref(),
                Some(LimitError::TimeLimitExceeded { .. })
            );
            if limit || error.to_string().starts_with(TIME_LIMIT_TEXT) {
                PolicyError::TimeLimit
            } else {
                PolicyError::Evaluation(brief(&error))
            }
        })
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program")
            .field("rule", &self.rule)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

/// Why the rule to ask for can't give an answer, whatever the input.
fn undecidable(definitions: &Definitions, path: &DecisionPath) -> Option<LoadError> {
    let fault = match definitions.kind(&path.place()) {
        Some(Kind::Complete) => return None,
        Some(Kind::Set) => "which is a set, neither a boolean nor an object",
        Some(Kind::Function) => "which is a function and would need arguments",
        None => "which no module defines",
    };
    let rule = path.rule();
    Some(LoadError::Decision { rule, fault })
}

fn add_data(
    engine: &mut Engine,
    sources: &Sources,
    definitions: &Definitions,
    errors: &mut Vec<LoadError>,
) {
    for (name, document) in sources.documents() {
        let document = match document {
            Ok(document) => document,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        let fault = match definitions.overridden_by(&document) {
            // The engine would take the data and never evaluate the rule.
            Some(rule) => format!("`{rule}` is already a rule of the policy"),
            None => match engine.add_data(value::from_json(&document)) {
                Ok(()) => continue,
                Err(error) => brief(&error),
            },
        };
        errors.push(LoadError::Data {
            name: name.to_owned(),
            fault,
        });
    }
}

/// Place and message of an engine's error, which otherwise shows the source over several lines.
fn brief(error: &impl fmt::Display) -> String {
    let text = error.to_string();
    let place = text.lines().find_map(|line| line.strip_prefix("--> "));
    let message = text.lines().find_map(|line| line.strip_prefix("error: "));
    let brief = match (place, message) {
        (Some(place), Some(message)) => format!("{place}: {message}"),
        _ => text.split_whitespace().collect::<Vec<_>>().join(" "),
    };
    clip(&brief, MESSAGE_BYTES).to_owned()
}

/// Steps of the interpreter between two looks at the clock.
const CHECK_INTERVAL: NonZeroU32 = NonZeroU32::new(16).unwrap();
const TIME_LIMIT_TEXT: &str = "execution exceeded time limit";
const MESSAGE_BYTES: usize = 1024;
/// Lines that one evaluation may print to the log.
const MAX_PRINTS: usize = 32;

#[cfg(test)]
mod tests;
