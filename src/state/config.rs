//! What the section `state` of the configuration says, and the memory built from it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::embedded::{Embedded, OpenError};
use super::store::StateStore;
use crate::clock::Clock;

/// Where sessions, tasks and grants are kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Config {
    /// In this process, gone when it ends. What was issued before a start counts for nothing after it.
    Memory,
    /// In a SQLite file that this process alone may use.
    Embedded(PathBuf),
}

impl Config {
    /// Opens it for one tenant. A relative path starts from `base`.
    pub fn build(
        self,
        base: &Path,
        tenant: &str,
        clock: &Arc<dyn Clock>,
    ) -> Result<Arc<dyn StateStore>, OpenError> {
        Ok(match self {
            Self::Memory => Arc::new(Embedded::memory(tenant, clock)?),
            Self::Embedded(path) => Arc::new(Embedded::file(&base.join(path), tenant, clock)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn parse(yaml: &str) -> Result<Config, String> {
        serde_saphyr::from_str(yaml).map_err(|error| error.to_string())
    }

    #[test]
    fn state_is_in_memory_or_in_a_file_and_nothing_else() {
        assert_eq!(parse("memory"), Ok(Config::Memory));
        let file = Config::Embedded("state.db".into());
        assert_eq!(parse("{embedded: state.db}"), Ok(file));
        for (yaml, word) in [
            ("redis", "redis"),
            ("{file: a}", "embedded"),
            ("embedded", "embedded"),
            ("{}", ""),
        ] {
            let error = parse(yaml).unwrap_err();
            assert!(error.contains(word), "{yaml}: {error}");
        }
    }

    #[test]
    fn a_relative_path_starts_from_the_folder_of_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::Embedded("state.db".into());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = config.build(folder.path(), "default", &clock).unwrap();
        assert!(folder.path().join("state.db").is_file());
        assert!(store.revocations().is_empty());
    }
}
