//! What one process takes on at most. Every limit is set explicitly; the stack's own defaults are not relied on.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use tokio::sync::Semaphore;

use crate::socket::Terms;

/// The `limits` section of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Longest time for one decision, 1ms to 1m; keep it below the proxy's own timeout.
    #[serde(deserialize_with = "request_timeout")]
    pub request_timeout: Duration,
    /// Threads that decide, 1 to 64.
    #[serde(deserialize_with = "workers")]
    pub workers: usize,
    /// Largest CheckRequest, 4KiB to 64MiB, as `1MiB`.
    #[serde(deserialize_with = "max_message")]
    pub max_message: ByteSize,
    /// Streams one connection may have open. A proxy uses a fresh connection before it learns the limit, and what it
    /// puts above is refused; keep it above `max_in_flight`, which answers `overloaded` instead.
    pub max_streams: NonZeroU32,
    /// Open connections over all listeners of a kind, 1 to 1000000; further ones wait unaccepted. Listeners of another
    /// kind have places of their own: whoever fills one kind does not close another.
    #[serde(deserialize_with = "count")]
    pub max_connections: usize,
    /// Requests under decision over all connections of a kind, 1 to 1000000; further ones are denied as `overloaded`.
    #[serde(deserialize_with = "count")]
    pub max_in_flight: usize,
    /// How long a client may take for a TLS handshake, and for the preface of HTTP/2 on every listener, 100ms to 1m.
    #[serde(deserialize_with = "handshake_timeout")]
    pub handshake_timeout: Duration,
    /// TLS handshakes under way on one listener of one thread, 1 to 1000000; above, the oldest is given up.
    #[serde(deserialize_with = "count")]
    pub max_handshakes: usize,
    /// After this time, 1s to 1d, a client is asked to connect again, with the certificate it has then. Requests under
    /// way finish; a client that stays all the same is cut off `request_timeout` and five seconds later.
    #[serde(deserialize_with = "max_connection_age")]
    pub max_connection_age: Duration,
    /// How long a stop waits for what is under way, at most 1h.
    #[serde(deserialize_with = "shutdown_grace")]
    pub shutdown_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_millis(150),
            workers: 1,
            max_message: ByteSize::mib(1),
            max_streams: NonZeroU32::MIN.saturating_add(2_047),
            max_connections: 10_000,
            max_in_flight: 1_024,
            handshake_timeout: Duration::from_secs(5),
            max_handshakes: 1_024,
            max_connection_age: Duration::from_secs(300),
            shutdown_grace: Duration::from_secs(20),
        }
    }
}

impl Limits {
    /// The terms of one kind of listener, with places of its own. A client that is asked to leave has time for a request
    /// that takes `longest`, and five seconds.
    pub fn terms(&self, longest: Duration) -> Terms {
        Terms {
            places: Arc::new(Semaphore::new(self.max_connections)),
            patience: self.handshake_timeout,
            most_handshakes: self.max_handshakes,
            age: self.max_connection_age,
            leave: longest + PARTING,
        }
    }

    /// The largest message, in bytes.
    pub fn message_bytes(&self) -> usize {
        usize::try_from(self.max_message.as_u64()).unwrap_or(usize::MAX)
    }
}

const PARTING: Duration = Duration::from_secs(5);

fn request_timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    duration(
        deserializer,
        Duration::from_millis(1)..=Duration::from_secs(60),
    )
}

fn shutdown_grace<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    duration(deserializer, Duration::ZERO..=Duration::from_secs(3600))
}

fn handshake_timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    duration(
        deserializer,
        Duration::from_millis(100)..=Duration::from_secs(60),
    )
}

fn max_connection_age<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    duration(
        deserializer,
        Duration::from_secs(1)..=Duration::from_secs(86_400),
    )
}

fn duration<'de, D: Deserializer<'de>>(
    deserializer: D,
    range: RangeInclusive<Duration>,
) -> Result<Duration, D::Error> {
    let duration = humantime_serde::deserialize(deserializer)?;
    if range.contains(&duration) {
        return Ok(duration);
    }
    let (least, most) = range.into_inner();
    Err(D::Error::custom(format_args!(
        "{} is out of range: write {} to {}",
        humantime::format_duration(duration),
        humantime::format_duration(least),
        humantime::format_duration(most)
    )))
}

fn max_message<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
    let size = ByteSize::deserialize(deserializer)?;
    if (ByteSize::kib(4)..=ByteSize::mib(64)).contains(&size) {
        return Ok(size);
    }
    Err(D::Error::custom(format_args!(
        "{size} is out of range: write 4KiB to 64MiB"
    )))
}

fn workers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    number(deserializer, 64)
}

fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    number(deserializer, 1_000_000)
}

fn number<'de, D: Deserializer<'de>>(deserializer: D, most: usize) -> Result<usize, D::Error> {
    let number = usize::deserialize(deserializer)?;
    if (1..=most).contains(&number) {
        return Ok(number);
    }
    Err(D::Error::custom(format_args!(
        "{number} is out of range: write 1 to {most}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<Limits, String> {
        serde_saphyr::from_str(yaml).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        assert_eq!(read("{}").unwrap(), Limits::default());
        let limits = read("{request_timeout: 2s, max_message: 512KiB}").unwrap();
        assert_eq!(limits.request_timeout, Duration::from_secs(2));
        assert_eq!(limits.max_message, ByteSize::kib(512));
    }

    #[test]
    fn a_limit_that_could_not_be_kept_is_refused() {
        for (yaml, range) in [
            ("{request_timeout: 0s}", "1ms to 1m"),
            ("{request_timeout: 100years}", "1ms to 1m"),
            ("{shutdown_grace: 2h}", "0s to 1h"),
            ("{handshake_timeout: 0s}", "100ms to 1m"),
            ("{max_handshakes: 0}", "1 to 1000000"),
            ("{max_connection_age: 0s}", "1s to 1day"),
            ("{max_message: 1B}", "4KiB to 64MiB"),
            ("{max_message: 1GiB}", "4KiB to 64MiB"),
            ("{workers: 0}", "1 to 64"),
            ("{max_connections: 0}", "1 to 1000000"),
            ("{max_in_flight: 18446744073709551615}", "1 to 1000000"),
        ] {
            let error = read(yaml).unwrap_err();
            assert!(error.contains(range), "{yaml}: {error}");
        }
        assert!(read("{max_streams: 0}").is_err());
    }
}
