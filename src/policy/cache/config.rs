//! The `policy.cache` section of the configuration.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// How many verdicts are remembered, and how long.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// Places for verdicts, at most 1000000: an entry takes one for each KiB of its input and its texts. 0 turns the
    /// cache off.
    #[serde(deserialize_with = "size")]
    pub size: usize,
    /// Longest time that a verdict is used again, at most 1h. 0 turns the cache off.
    #[serde(deserialize_with = "ttl")]
    pub ttl: Duration,
    /// The same for verdicts that deny, where it is shorter.
    #[serde(deserialize_with = "ttl")]
    pub deny_ttl: Duration,
}

impl CacheConfig {
    pub(super) fn is_on(&self) -> bool {
        self.size > 0 && self.ttl > Duration::ZERO
    }
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            size: 1000,
            ttl: Duration::from_secs(60),
            deny_ttl: Duration::from_secs(5),
        }
    }
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let size = usize::deserialize(deserializer)?;
    if size <= MAX_SIZE {
        return Ok(size);
    }
    let fault = format!("{size} is out of range: write 0 to {MAX_SIZE}");
    Err(serde::de::Error::custom(fault))
}

fn ttl<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let ttl: Duration = humantime_serde::deserialize(deserializer)?;
    if ttl <= MAX_TTL {
        return Ok(ttl);
    }
    let shown = humantime::format_duration(ttl);
    let fault = format!("{shown} is out of range: write 0s to 1h");
    Err(serde::de::Error::custom(fault))
}

const MAX_SIZE: usize = 1_000_000;
const MAX_TTL: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<CacheConfig, String> {
        serde_saphyr::from_str(yaml).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let config = read("{}").unwrap();
        assert_eq!(config, CacheConfig::default());
        assert!(config.is_on());
        assert_eq!(config.size, 1000);
        assert_eq!(config.ttl, Duration::from_secs(60));
        assert_eq!(config.deny_ttl, Duration::from_secs(5));
    }

    #[test]
    fn no_size_or_no_time_turns_it_off() {
        assert!(!read("size: 0").unwrap().is_on());
        assert!(!read("ttl: 0s").unwrap().is_on());
        assert!(read("deny_ttl: 0s").unwrap().is_on());
    }

    #[test]
    fn what_is_out_of_range_is_refused_with_the_range() {
        for (yaml, expected) in [
            ("size: 1000001", "0 to 1000000"),
            ("ttl: 2h", "0s to 1h"),
            ("deny_ttl: 1day", "0s to 1h"),
            ("entries: 5", "entries"),
        ] {
            let error = read(yaml).unwrap_err();
            assert!(error.contains(expected), "{yaml}: {error}");
        }
    }
}
