//! `delegation.keys` of attache.yaml.

use std::path::PathBuf;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::algorithm::Algorithm;

/// Which keys there are, and where.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What new keys are made for. Those that are there keep theirs.
    pub algorithm: Algorithm,
    /// The folder of the files.
    pub directory: PathBuf,
    /// How long each key signs; without it, keys change only with the files in the folder.
    #[serde(deserialize_with = "period")]
    pub rotate: Option<Duration>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::default(),
            directory: "keys".into(),
            rotate: None,
        }
    }
}

const SHORTEST: Duration = Duration::from_secs(3600);

fn period<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let period: Option<Duration> = humantime_serde::deserialize(deserializer)?;
    match period {
        Some(period) if period < SHORTEST => Err(D::Error::custom(
            "write 1h or more: others must hear of a key before it is used",
        )),
        period => Ok(period),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_of_ed25519_and_change_by_hand_unless_something_else_is_written() {
        let written: Config = serde_json::from_str("{}").unwrap();
        assert_eq!(written, Config::default());
        assert_eq!(written.algorithm, Algorithm::Ed25519);
        assert_eq!(written.rotate, None);
        let text = r#"{"algorithm": "ES256", "directory": "/k", "rotate": "30days"}"#;
        let written: Config = serde_json::from_str(text).unwrap();
        assert_eq!(written.algorithm, Algorithm::Es256);
        assert_eq!(written.rotate, Some(Duration::from_hours(720)));
    }

    #[test]
    fn what_is_no_algorithm_or_too_short_a_period_is_refused() {
        for odd in ["none", "HS256", "RS256", "EdDSA", "ed25519"] {
            let text = format!(r#"{{"algorithm": "{odd}"}}"#);
            assert!(serde_json::from_str::<Config>(&text).is_err(), "{odd}");
        }
        let error = serde_json::from_str::<Config>(r#"{"rotate": "59m"}"#).unwrap_err();
        assert!(error.to_string().starts_with("write 1h or more"), "{error}");
        assert!(serde_json::from_str::<Config>(r#"{"keys": 1}"#).is_err());
    }
}
