//! What one process takes on at most. Every limit is set explicitly; the stack's own defaults are not relied on.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer};

/// The `limits` section of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Longest time for one decision, 1 ms to 1 min; keep it below the proxy's own timeout.
    #[serde(deserialize_with = "request_timeout")]
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

fn request_timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let limit = humantime_serde::deserialize(deserializer)?;
    if (SHORTEST..=LONGEST).contains(&limit) {
        return Ok(limit);
    }
    Err(serde::de::Error::custom("must be from 1ms to 1min"))
}

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(yaml: &str) -> Result<Limits, String> {
        serde_json::from_str(yaml).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_section_has_every_limit() {
        assert_eq!(parse("{}").unwrap(), Limits::default());
    }

    #[test]
    fn a_limit_that_would_refuse_or_admit_everything_is_a_mistake() {
        for (json, expected) in [
            (r#"{"request_timeout": "0s"}"#, "from 1ms to 1min"),
            (r#"{"request_timeout": "61s"}"#, "from 1ms to 1min"),
            (r#"{"request_timeout": "500000years"}"#, "from 1ms to 1min"),
            (r#"{"workers": 0}"#, "nonzero"),
            (r#"{"max_in_flight": 0}"#, "nonzero"),
            (r#"{"max_streams": 0}"#, "nonzero"),
            (r#"{"max_strems": 1}"#, "max_strems"),
        ] {
            let error = parse(json).unwrap_err();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }
}
