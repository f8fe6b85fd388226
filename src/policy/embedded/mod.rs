//! The engine in this process: holds the program that decides now, evaluates it away from the threads that serve
//! requests, and exchanges it for a newer one only after that one is proven.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use super::{Config, Input, LoadError, PolicyEngine, PolicyError, Program, Query, Verdict};

/// Evaluates the current [`Program`].
#[derive(Debug)]
pub struct EmbeddedEngine {
    current: ArcSwap<Program>,
    /// One permit per evaluation under way.
    evaluations: Arc<Semaphore>,
    /// Where the program can be loaded again.
    origin: Option<(Config, PathBuf)>,
    /// One reload at a time, so that the last one to look is the last one to swap.
    reloading: Mutex<()>,
}

/// What came of looking at the policy's files again.
#[derive(Debug)]
pub enum Reload {
    /// They hold the policy that serves.
    Unchanged,
    /// They held another policy, which serves now.
    Swapped {
        /// Revision of the policy that served.
        from: Arc<str>,
        /// Revision of the policy that serves.
        to: Arc<str>,
    },
    /// They can't be used. The policy that served goes on serving.
    Rejected(Vec<LoadError>),
}

impl EmbeddedEngine {
    /// An engine for `program`; it changes only by [`EmbeddedEngine::replace`].
    pub fn new(program: Program) -> Self {
        Self::with_origin(program, None)
    }

    pub(super) fn reloadable(program: Program, config: Config, base: PathBuf) -> Self {
        Self::with_origin(program, Some((config, base)))
    }

    fn with_origin(program: Program, origin: Option<(Config, PathBuf)>) -> Self {
        // Two at least, so that one long evaluation does not hold up every other.
        let at_once = std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
        Self {
            current: ArcSwap::from_pointee(program),
            evaluations: Arc::new(Semaphore::new(at_once)),
            origin,
            reloading: Mutex::new(()),
        }
    }

    /// The program that serves now.
    pub fn program(&self) -> Arc<Program> {
        self.current.load_full()
    }

    /// Asks on the calling thread, for commands and benchmarks.
    pub fn evaluate_now(&self, input: &Input) -> Result<Verdict, PolicyError> {
        self.current.load().evaluate(input)
    }

    /// Lets `program` serve from the next evaluation on.
    pub fn replace(&self, program: Program) {
        self.current.store(Arc::new(program));
    }

    /// Looks at the files again and, if they changed, loads, proves and swaps. Blocks on files.
    ///
    /// Called every now and then: files that did not change cost reading and hashing them. An engine without files never
    /// changes.
    pub fn reload(&self) -> Reload {
        let Some((config, base)) = &self.origin else {
            return Reload::Unchanged;
        };
        let _turn = self
            .reloading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let served = self.program();
        match config.sources(base) {
            Ok(sources) if served.is_of(&sources) => return Reload::Unchanged,
            Ok(_) => {}
            Err(errors) => return Reload::Rejected(errors),
        }
        let program = match config.load(base) {
            Ok(program) => program,
            Err(errors) => return Reload::Rejected(errors),
        };
        let to = Arc::clone(program.revision());
        self.replace(program);
        Reload::Swapped {
            from: Arc::clone(served.revision()),
            to,
        }
    }
}

#[async_trait::async_trait]
impl PolicyEngine for EmbeddedEngine {
    async fn evaluate(&self, query: Query) -> Result<Verdict, PolicyError> {
        let program = self.program();
        aside(&self.evaluations, move || program.evaluate(&query.input)).await
    }

    /// A program serves from the start on, and only a proven one takes its place.
    async fn health(&self) -> Result<(), PolicyError> {
        Ok(())
    }

    fn revision(&self) -> Arc<str> {
        Arc::clone(self.current.load().revision())
    }
}

/// Runs `evaluation` on a blocking thread once there is a permit for it, which it keeps until it ends, waited for or not.
async fn aside<F>(permits: &Arc<Semaphore>, evaluation: F) -> Result<Verdict, PolicyError>
where
    F: FnOnce() -> Result<Verdict, PolicyError> + Send + 'static,
{
    let permit = Arc::clone(permits)
        .acquire_owned()
        .await
        .map_err(|_closed| PolicyError::Interrupted)?;
    let evaluated = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        evaluation()
    });
    evaluated
        .await
        .map_err(|_panicked_or_cancelled| PolicyError::Interrupted)?
}

#[cfg(test)]
mod tests;
