//! The `policy.breaker` section of the configuration.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// When calls to an engine are given up, and tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Failures in a row that open the circuit.
    pub failure_threshold: NonZeroU32,
    /// How long calls fail at once before the engine is tried again, 100ms to 1h.
    #[serde(deserialize_with = "recovery_timeout")]
    pub recovery_timeout: Duration,
    /// Successes of probes that close the circuit.
    pub success_threshold: NonZeroU32,
    /// Probes at once.
    pub probes: NonZeroU32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            failure_threshold: NonZeroU32::MIN.saturating_add(4),
            recovery_timeout: Duration::from_secs(30),
            success_threshold: NonZeroU32::MIN.saturating_add(1),
            probes: NonZeroU32::MIN,
        }
    }
}

fn recovery_timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let timeout = humantime_serde::deserialize(deserializer)?;
    if (Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&timeout) {
        return Ok(timeout);
    }
    Err(D::Error::custom(format_args!(
        "{} is out of range: write 100ms to 1h",
        humantime::format_duration(timeout)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<Settings, String> {
        serde_saphyr::from_str(yaml).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let settings = read("{}").unwrap();
        assert_eq!(settings, Settings::default());
        assert_eq!(settings.failure_threshold.get(), 5);
        assert_eq!(settings.recovery_timeout, Duration::from_secs(30));
        assert_eq!(settings.success_threshold.get(), 2);
        assert_eq!(settings.probes.get(), 1);
        let settings = read("{recovery_timeout: 2s, probes: 3}").unwrap();
        assert_eq!(settings.recovery_timeout, Duration::from_secs(2));
        assert_eq!(settings.probes.get(), 3);
    }

    #[test]
    fn settings_that_would_never_open_or_never_close_are_refused() {
        for (yaml, expected) in [
            ("{failure_threshold: 0}", "nonzero"),
            ("{success_threshold: 0}", "nonzero"),
            ("{probes: 0}", "nonzero"),
            ("{probes: -1}", "invalid u32"),
            ("{recovery_timeout: 0s}", "100ms to 1h"),
            ("{recovery_timeout: 2h}", "100ms to 1h"),
            ("{recovery: 1s}", "recovery"),
        ] {
            let error = read(yaml).unwrap_err();
            assert!(error.contains(expected), "{yaml}: {error}");
        }
    }
}
