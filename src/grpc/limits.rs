//! What one process takes on at most. Every limit is set explicitly; the stack's own defaults are not relied on.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;

/// The `limits` section of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Longest time for one decision; keep it below the proxy's own timeout.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// Threads that decide.
    pub workers: NonZeroUsize,
    /// Largest CheckRequest, as `1MiB`.
    pub max_message: ByteSize,
    /// Streams one connection may have open. A proxy uses a fresh connection before it learns the limit, and what it
    /// puts above is refused; requests under decision are bounded by `max_in_flight`.
    pub max_streams: NonZeroU32,
    /// Open connections over all listeners; further ones wait unaccepted.
    pub max_connections: NonZeroUsize,
    /// Requests under decision over all connections; further ones are denied as `overloaded`.
    pub max_in_flight: NonZeroUsize,
    /// How long a stop waits for what is under way.
    #[serde(with = "humantime_serde")]
    pub shutdown_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_millis(150),
            workers: NonZeroUsize::MIN,
            max_message: ByteSize::mib(1),
            max_streams: NonZeroU32::MIN.saturating_add(1_023),
            max_connections: NonZeroUsize::MIN.saturating_add(9_999),
            max_in_flight: NonZeroUsize::MIN.saturating_add(1_023),
            shutdown_grace: Duration::from_secs(20),
        }
    }
}
