//! What is put to an engine: the document for policy, and the terms on which an answer is wanted.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Input;

/// One question to an engine.
#[derive(Debug, Clone)]
pub struct Query {
    /// What policy sees.
    pub input: Arc<Input>,
    /// Until when an answer is waited for.
    pub deadline: Deadline,
    /// How long the answer may be used again.
    pub terms: Terms,
}

/// How long the answer to a question may be used for equal ones. By default, as long as configuration says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// The route's own limit in place of the configured one; zero for never.
    pub ttl: Option<Duration>,
    /// When what the question rests on ends, such as the caller's certificate.
    pub not_after: Option<Instant>,
}

/// Until when an answer is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// When waiting ends.
    pub at: Instant,
    /// Whether the asker set it, sooner than our own limit would have: a call that ends so says nothing of the engine.
    pub cut_short: bool,
    /// Our own limit for such a question, whoever asks.
    pub limit: Duration,
}

impl Deadline {
    /// `limit` from now on, and set by ourselves.
    pub fn after(limit: Duration) -> Self {
        Self {
            at: Instant::now() + limit,
            cut_short: false,
            limit,
        }
    }

    /// Until when an engine is waited for: a little less, so that the asker still hears whose fault it was.
    pub fn last_word(self) -> Instant {
        self.at.checked_sub(WORD).unwrap_or(self.at)
    }

    /// The same, less the quarter of the remaining time that is kept for recording what is decided.
    #[must_use]
    pub fn sparing_a_quarter(self) -> Self {
        let left = self.at.saturating_duration_since(Instant::now());
        let at = self.at.checked_sub(left / 4).unwrap_or(self.at);
        Self { at, ..self }
    }

    /// Whether the time is up.
    pub fn is_over(self) -> bool {
        Instant::now() >= self.at
    }
}

/// The time that saying so takes, where there was no answer.
const WORD: Duration = Duration::from_millis(2);
