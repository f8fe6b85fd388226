//! For development only: allows where asking policy failed, as `policy.default_deny: false` says.
//!
//! It stands outermost and replaces nothing but an error that is no answer: what policy denies, does not define or says in
//! words that can't be read stays denied, and so does whatever attache's own rules refuse. Every such verdict says so in its
//! `policy_id` and its reason, and is counted.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::{Answer, PolicyEngine, PolicyError, Query, Verdict};
use crate::text::sentence;

/// Allows where `engine` has no verdict.
#[derive(Debug)]
pub struct Lenient<E> {
    engine: E,
    allowed: Counter,
}

impl<E: PolicyEngine> Lenient<E> {
    /// Stands in for `engine` where it fails; never in production.
    pub fn new(engine: E, registry: &mut Registry) -> Self {
        let allowed = Counter::default();
        registry.register(
            "attache_policy_fallback_allowances",
            "Questions to policy that failed and were allowed, since policy.default_deny is false",
            allowed.clone(),
        );
        Self { engine, allowed }
    }
}

#[async_trait::async_trait]
impl<E: PolicyEngine> PolicyEngine for Lenient<E> {
    async fn evaluate(&self, query: Query) -> Result<Verdict, PolicyError> {
        let error = match self.engine.evaluate(query).await {
            Ok(verdict) => return Ok(verdict),
            Err(error) if error.hides_an_answer() => return Err(error),
            Err(error) => error,
        };
        self.allowed.inc();
        let reason = format!("allowed without policy: {}", sentence(&error));
        tracing::warn!(reason, "policy.default_deny is false");
        Ok(Verdict {
            answer: Answer::Allow,
            reason: Some(reason.into()),
            policy_id: Some(error.policy_id().into()),
            tier: None,
            shaping: None,
            revision: self.engine.revision(),
            cacheable: false,
            cached: false,
        })
    }

    /// An engine that is not well is not well, whatever is made of it.
    async fn health(&self) -> Result<(), PolicyError> {
        self.engine.health().await
    }

    fn revision(&self) -> Arc<str> {
        self.engine.revision()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::{Deadline, ERROR_FALLBACK, Input, Terms};

    /// Gives the same answer to everything.
    #[derive(Debug)]
    struct Says(fn() -> Result<Answer, PolicyError>);

    #[async_trait::async_trait]
    impl PolicyEngine for Says {
        async fn evaluate(&self, _query: Query) -> Result<Verdict, PolicyError> {
            (self.0)().map(|answer| Verdict {
                answer,
                reason: None,
                policy_id: None,
                tier: None,
                shaping: None,
                revision: self.revision(),
                cacheable: true,
                cached: false,
            })
        }

        async fn health(&self) -> Result<(), PolicyError> {
            (self.0)().map(|_answer| ())
        }

        fn revision(&self) -> Arc<str> {
            "r1".into()
        }
    }

    async fn ask(says: fn() -> Result<Answer, PolicyError>) -> (Verdict, u64) {
        let lenient = Lenient::new(Says(says), &mut Registry::default());
        let query = Query {
            input: Arc::new(Input::made_up()),
            deadline: Deadline::after(Duration::from_secs(60)),
            terms: Terms::default(),
        };
        let verdict = lenient.evaluate(query).await.unwrap();
        (verdict, lenient.allowed.get())
    }

    #[tokio::test]
    async fn a_verdict_is_never_replaced() {
        for says in [
            || Ok(Answer::Deny),
            || Ok(Answer::Undefined),
            || Ok(Answer::Allow),
        ] {
            let (verdict, allowed) = ask(says).await;
            assert_eq!(verdict.answer, says().unwrap());
            assert_eq!(verdict.policy_id, None);
            assert_eq!(allowed, 0);
        }
    }

    /// B10.
    #[tokio::test]
    async fn an_error_is_allowed_and_says_so() {
        let (verdict, allowed) = ask(|| Err(PolicyError::TimedOut { cut_short: false })).await;
        assert_eq!(verdict.answer, Answer::Allow);
        assert_eq!(verdict.policy_id.as_deref(), Some(ERROR_FALLBACK));
        let reason = verdict.reason.unwrap();
        assert!(reason.contains("did not answer in time"), "{reason}");
        assert_eq!(&*verdict.revision, "r1");
        assert!(!verdict.cacheable);
        assert_eq!(allowed, 1);
    }

    /// Decisions 27: `{"allow": false, "http_status": 200}` denies, and reads as an error.
    #[tokio::test]
    async fn an_answer_that_can_not_be_read_is_not_taken_for_an_allowance() {
        let unreadable = Says(|| Err(PolicyError::Shape("unknown member".to_owned())));
        let lenient = Lenient::new(unreadable, &mut Registry::default());
        let query = Query {
            input: Arc::new(Input::made_up()),
            deadline: Deadline::after(Duration::from_secs(60)),
            terms: Terms::default(),
        };
        let answer = lenient.evaluate(query).await;
        assert!(matches!(answer, Err(PolicyError::Shape(_))), "{answer:?}");
        assert_eq!(lenient.allowed.get(), 0);
    }

    #[tokio::test]
    async fn an_engine_that_is_not_well_is_not_made_to_look_well() {
        let ill = Says(|| Err(PolicyError::Interrupted));
        let lenient = Lenient::new(ill, &mut Registry::default());
        assert!(lenient.health().await.is_err());
    }
}
