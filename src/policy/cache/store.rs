//! What is remembered, for how long, and how much of it.
//!
//! Time is monotonic: a clock that is set neither prolongs an entry nor brings one back (C16). Nothing sweeps: an expired
//! entry never answers and stays until it is replaced or makes room. Which entry makes room is up to `quick_cache`, which
//! keeps what is asked for often and is not a plain LRU.

use std::hash::RandomState;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};
use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::time::Instant;

use super::CacheConfig;
use super::key::Key;
use super::metrics::Metrics;
use crate::policy::{Answer, Terms, Verdict};

/// Verdicts by the input they answered.
#[derive(Debug)]
pub(super) struct Store {
    entries: Cache<Key, Arc<Entry>, Places, RandomState, Evictions>,
    ttl: Duration,
    deny_ttl: Duration,
    rng: Mutex<StdRng>,
    metrics: Metrics,
}

/// What an entry says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Recalled {
    /// The verdict, marked as remembered.
    Verdict(Verdict),
    /// Only that verdicts on this input are not to be kept.
    NotKept,
}

#[derive(Debug)]
struct Entry {
    /// As given out; nothing where only that is remembered, that it is not to be kept.
    verdict: Option<Verdict>,
    /// The content of the policy that answered.
    revision: Arc<str>,
    answer: Answer,
    /// When the engine was asked.
    asked: Instant,
    /// The first moment at which it answers no more.
    expires: Instant,
    places: u64,
}

impl Store {
    pub(super) fn new(config: &CacheConfig, rng: StdRng, metrics: &Metrics) -> Self {
        let shards = if config.size < SHARDED_FROM {
            1
        } else {
            SHARDS
        };
        // Room is rounded up to whole shards otherwise, and `size` is a promise.
        let size = config.size - config.size % shards;
        let options = OptionsBuilder::new()
            .estimated_items_capacity(size)
            .weight_capacity(u64::try_from(size).unwrap_or(u64::MAX))
            .shards(shards)
            .build();
        let evictions = Evictions(metrics.clone());
        let entries = match options {
            Ok(options) => Cache::with_options(options, Places, RandomState::new(), evictions),
            // Both capacities are set, which is all that building asks for.
            Err(_incomplete) => Cache::with(0, 0, Places, RandomState::new(), evictions),
        };
        Self {
            entries,
            ttl: config.ttl,
            deny_ttl: config.deny_ttl,
            rng: Mutex::new(rng),
            metrics: metrics.clone(),
        }
    }

    /// What is remembered of `key` and may be used by an asker with `terms` while the policy is at `revision`.
    pub(super) fn recall(
        &self,
        key: &Key,
        terms: &Terms,
        revision: &str,
        now: Instant,
    ) -> Option<Recalled> {
        let entry = self.entries.get(key)?;
        // By the asker's own terms as well: those that it was made on may have been longer, or be no more.
        let longest = self.longest(terms, entry.answer);
        let in_time = now < entry.expires && now.duration_since(entry.asked) < longest;
        if !in_time || *entry.revision != *revision {
            return None;
        }
        let verdict = entry.verdict.clone();
        Some(verdict.map_or(Recalled::NotKept, Recalled::Verdict))
    }

    /// Remembers what the engine said when it was asked at `asked`.
    pub(super) fn keep(&self, key: Key, verdict: &Verdict, terms: &Terms, asked: Instant) {
        let ttl = self.longest(terms, verdict.answer);
        if ttl == Duration::ZERO {
            return;
        }
        let expires = asked + self.shortened(ttl);
        let expires = terms.not_after.map_or(expires, |end| end.min(expires));
        let kept = verdict.cacheable.then(|| Verdict {
            cached: true,
            ..verdict.clone()
        });
        let size = key.size() + kept.as_ref().map_or(0, size_of_words);
        let entry = Entry {
            verdict: kept,
            revision: Arc::clone(&verdict.revision),
            answer: verdict.answer,
            asked,
            expires,
            places: u64::try_from(size.div_ceil(PLACE)).unwrap_or(u64::MAX),
        };
        self.entries.insert(key, Arc::new(entry));
        let count = i64::try_from(self.entries.len()).unwrap_or(i64::MAX);
        self.metrics.entries.set(count);
    }

    /// How long an answer may be used by an asker with `terms`.
    fn longest(&self, terms: &Terms, answer: Answer) -> Duration {
        let ttl = terms.ttl.unwrap_or(self.ttl);
        match answer {
            Answer::Allow => ttl,
            Answer::Deny | Answer::Undefined => ttl.min(self.deny_ttl),
        }
    }

    /// At least half of `ttl`, at random: entries made in one moment expire over half of their time (C20).
    fn shortened(&self, ttl: Duration) -> Duration {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        ttl.mul_f64(1.0 - rng.random_range(0.0..0.5))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// Bytes of what a verdict says beside its answer.
fn size_of_words(verdict: &Verdict) -> usize {
    let texts = [&verdict.reason, &verdict.policy_id];
    let texts = texts.into_iter().flatten().map(|text| text.len());
    let shaping = verdict.shaping.as_ref().map(|shaping| shaping.size());
    texts.chain(shaping).sum()
}

/// Weighs entries by the places they take.
#[derive(Debug, Clone, Copy)]
struct Places;

impl Weighter<Key, Arc<Entry>> for Places {
    fn weight(&self, _key: &Key, entry: &Arc<Entry>) -> u64 {
        entry.places
    }
}

/// Counts what makes room.
#[derive(Debug, Clone)]
struct Evictions(Metrics);

impl Lifecycle<Key, Arc<Entry>> for Evictions {
    type RequestState = ();

    fn on_evict(&self, _state: &mut (), _key: Key, _entry: Arc<Entry>) {
        self.0.evictions.inc();
    }
}

/// Bytes of one place.
const PLACE: usize = 1024;
/// Parts with a lock each, in a cache that is large enough to be divided.
const SHARDS: usize = 4;
const SHARDED_FROM: usize = 256;
