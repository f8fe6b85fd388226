//! What the section `audit` of the configuration says, and the witness built from it.

use std::iter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prometheus_client::registry::Registry;
use rand::Rng;
use serde::Deserialize;

use super::checkpoint::{CheckpointConfig, Checkpoints, SigningKey};
use super::jsonl::Jsonl;
use super::queue::Durability;
use super::redaction::Redaction;
use super::sink::Sink;
use super::sqlite::{Sqlite, SqliteTrail};
use super::stdout::Stream;
use super::trail::{JsonlTrail, Trail, TrailError};
use super::{AuditError, Auditor, Extras, Origin, Setup, WriterHandle, start_with};
use crate::clock::Clock;
use crate::identity::SpiffePattern;

/// Where records go and how many may wait.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where records go: `stdout`, `{jsonl: PATH}` or `{sqlite: PATH}`; several are allowed. The first decides whether a record counts as
    /// written; the others get copies. Default `[stdout]`.
    pub sinks: Sinks,
    /// How many allowances, and besides how many other records, may wait to be written: 1 to 1000000. What comes when
    /// that many wait is counted and lost, and an `audit.gap` says so. Default 8192.
    pub queue: Capacity,
    /// Whether a decision is told at once (`standard`, the default), or only once its record is durable in the first sink
    /// (`strict`); a decision whose record is not durable in time is a denial then.
    pub mode: Durability,
    /// Signed records of how far the chain has come.
    pub checkpoint: CheckpointConfig,
    /// Members whose values are not kept. Default none.
    pub redact: Redaction,
    /// SPIFFE IDs of workloads that may read the trail, in the grammar of `identity.peps`. Agents never may. Default: none.
    pub readers: Vec<SpiffePattern>,
}

/// At least one sink.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<SinkConfig>")]
pub struct Sinks {
    first: SinkConfig,
    others: Vec<SinkConfig>,
}

/// One place for records.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SinkConfig {
    /// Standard output, one line of JSON for each record.
    Stdout,
    /// A file, one line of JSON for each record; may be rotated by renaming it.
    Jsonl(PathBuf),
    /// A database, one row for each record; must stay where it is.
    Sqlite(PathBuf),
}

/// How many records a lane of the queue holds: 1 to 1000000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub struct Capacity(usize);

/// Why a value of the section is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// An empty list.
    #[error("at least one audit sink is needed")]
    NoSink,
    /// Strict mode, and a first sink that can't say what is durable.
    #[error(
        "strict needs a first of audit.sinks that can make records durable, and standard output can't: put `{{jsonl: PATH}}` first, or write `mode: standard`"
    )]
    NotDurable,
    /// A number out of range.
    #[error("the audit queue holds 1 to {MAX_QUEUE} records, not `{0}`")]
    Queue(u64),
}

impl Config {
    /// What is promised and can't be kept.
    pub fn contradiction(&self) -> Option<ConfigError> {
        let strict = self.mode == Durability::Strict;
        (strict && self.sinks.first == SinkConfig::Stdout).then_some(ConfigError::NotDurable)
    }

    /// Opens the sinks, starts the writer's thread and begins a chain.
    ///
    /// Relative paths start from `base`. `rng` makes record ids and the start nonce; it should be seeded by the operating system. That the first sink
    /// takes records is known after [`Auditor::flush`].
    pub fn build(
        self,
        base: &Path,
        origin: Origin,
        clock: Arc<dyn Clock>,
        mut rng: impl Rng + Send + 'static,
        registry: &mut Registry,
    ) -> Result<(Auditor, WriterHandle), AuditError> {
        // Who may read changes nothing about what is written.
        let Self {
            sinks,
            queue,
            mode,
            checkpoint,
            redact,
            readers: _,
        } = self;
        let beside = sinks.first_file().map(|file| {
            let mut path = file.as_os_str().to_owned();
            path.push(".key");
            PathBuf::from(path)
        });
        let Sinks { first, others } = sinks;
        let first = first.open(base)?;
        let others = others
            .into_iter()
            .map(|sink| sink.open(base))
            .collect::<Result<_, _>>()?;
        let key = match checkpoint.key.or(beside) {
            Some(path) => {
                let path = base.join(path);
                SigningKey::open(&path, &mut rng)
                    .map_err(|source| AuditError::Key { path, source })?
            }
            None => SigningKey::generate(&mut rng).map_err(|source| AuditError::Key {
                path: PathBuf::from("memory"),
                source,
            })?,
        };
        let extras = Extras {
            checkpoints: Some(Checkpoints {
                key,
                every: checkpoint.every.get(),
                interval: checkpoint.interval,
            }),
            redaction: redact,
        };
        let setup = Setup {
            first,
            others,
            capacity: queue.0,
            origin,
        };
        let (auditor, writer) = start_with(setup, extras, clock, rng, registry)?;
        Ok((auditor.with(mode), writer))
    }
}

impl Sinks {
    /// The first of them that is a file.
    fn first_file(&self) -> Option<&Path> {
        let mut sinks = iter::once(&self.first).chain(&self.others);
        sinks.find_map(|sink| match sink {
            SinkConfig::Jsonl(path) | SinkConfig::Sqlite(path) => Some(path.as_path()),
            SinkConfig::Stdout => None,
        })
    }
}

impl Config {
    /// Where what this writes can be read back: the first database, else the first file, whose rotated predecessors are not
    /// part of it. `None` if everything goes to standard output.
    ///
    /// Relative paths start from `base`. Where this process writes as well, [`Config::build`] comes first.
    pub fn trail(&self, base: &Path) -> Option<Result<Box<dyn Trail>, TrailError>> {
        let Sinks { first, others } = &self.sinks;
        let sinks = || [first].into_iter().chain(others);
        let database = sinks().find_map(|sink| match sink {
            SinkConfig::Sqlite(path) => Some(base.join(path)),
            SinkConfig::Stdout | SinkConfig::Jsonl(_) => None,
        });
        if let Some(path) = database {
            let opened = SqliteTrail::open(&path);
            return Some(opened.map(|trail| Box::new(trail) as Box<dyn Trail>));
        }
        sinks().find_map(|sink| match sink {
            SinkConfig::Jsonl(path) => {
                let trail = JsonlTrail::new(vec![base.join(path)]);
                Some(Ok(Box::new(trail) as Box<dyn Trail>))
            }
            SinkConfig::Stdout | SinkConfig::Sqlite(_) => None,
        })
    }
}

impl SinkConfig {
    fn open(self, base: &Path) -> Result<Box<dyn Sink>, AuditError> {
        match self {
            Self::Stdout => match Stream::stdout() {
                Ok(sink) => Ok(Box::new(sink)),
                Err(source) => Err(AuditError::Stdout(source)),
            },
            Self::Jsonl(path) => {
                let path = base.join(path);
                match Jsonl::open(&path) {
                    Ok(sink) => Ok(Box::new(sink)),
                    Err(source) => Err(AuditError::Open { path, source }),
                }
            }
            Self::Sqlite(path) => {
                let path = base.join(path);
                match Sqlite::open(&path) {
                    Ok(sink) => Ok(Box::new(sink)),
                    Err(source) => Err(AuditError::Open { path, source }),
                }
            }
        }
    }
}

impl Default for Sinks {
    fn default() -> Self {
        Self {
            first: SinkConfig::Stdout,
            others: Vec::new(),
        }
    }
}

impl TryFrom<Vec<SinkConfig>> for Sinks {
    type Error = ConfigError;

    fn try_from(sinks: Vec<SinkConfig>) -> Result<Self, ConfigError> {
        let mut sinks = sinks.into_iter();
        let first = sinks.next().ok_or(ConfigError::NoSink)?;
        Ok(Self {
            first,
            others: sinks.collect(),
        })
    }
}

impl Default for Capacity {
    fn default() -> Self {
        Self(8192)
    }
}

impl TryFrom<u64> for Capacity {
    type Error = ConfigError;

    fn try_from(records: u64) -> Result<Self, ConfigError> {
        match usize::try_from(records) {
            Ok(capacity) if (1..=MAX_QUEUE).contains(&capacity) => Ok(Self(capacity)),
            _ => Err(ConfigError::Queue(records)),
        }
    }
}

const MAX_QUEUE: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Filter, Order, Page};

    fn parse(yaml: &str) -> Result<Config, String> {
        serde_saphyr::from_str(yaml).map_err(|error| error.to_string())
    }

    #[test]
    fn standard_output_is_the_default() {
        let config = parse("{}").unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(config.sinks.first, SinkConfig::Stdout);
        assert_eq!(config.queue, Capacity(8192));
    }

    #[test]
    fn a_database_can_come_first_and_have_copies() {
        let config = parse("{sinks: [{sqlite: audit.db}, {jsonl: audit.jsonl}]}").unwrap();
        assert_eq!(config.sinks.first, SinkConfig::Sqlite("audit.db".into()));
        assert_eq!(
            config.sinks.others,
            [SinkConfig::Jsonl("audit.jsonl".into())]
        );
    }

    #[test]
    fn the_first_of_several_sinks_is_the_primary() {
        let config =
            parse("{sinks: [{jsonl: /var/log/attache/audit.jsonl}, stdout], queue: 1}").unwrap();
        let file = SinkConfig::Jsonl("/var/log/attache/audit.jsonl".into());
        assert_eq!(config.sinks.first, file);
        assert_eq!(config.sinks.others, [SinkConfig::Stdout]);
        assert_eq!(config.queue, Capacity(1));
    }

    #[test]
    fn what_is_written_can_be_read_back_from_the_database_before_the_file() {
        for (yaml, readable) in [
            ("{sinks: [stdout]}", false),
            ("{sinks: [stdout, {jsonl: audit.jsonl}]}", true),
            (
                "{sinks: [{jsonl: missing/audit.jsonl}, {sqlite: audit.db}]}",
                true,
            ),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let config = parse(yaml).unwrap();
            let database = Sqlite::open(&folder.path().join("audit.db")).unwrap();
            std::fs::write(folder.path().join("audit.jsonl"), "").unwrap();
            let trail = config.trail(folder.path());
            assert_eq!(trail.is_some(), readable, "{yaml}");
            if let Some(trail) = trail {
                let page = trail
                    .unwrap()
                    .query(&Filter::default(), Order::Ascending, None, 1);
                assert_eq!(page.unwrap(), Page::default());
            }
            drop(database);
        }
    }

    #[test]
    fn what_is_not_there_is_refused_with_what_is() {
        for (yaml, expected) in [
            ("{sinks: [{mysql: audit.db}]}", ["mysql", "sqlite"]),
            ("{sinks: [postgres]}", ["postgres", "stdout"]),
            ("{sinks: []}", ["at least one", "sink"]),
            ("{queue: 0}", ["1 to 1000000", "`0`"]),
            ("{queue: 1000001}", ["1 to 1000000", "`1000001`"]),
            ("{sink: [stdout]}", ["sink", "sinks"]),
            ("{mode: async}", ["standard", "strict"]),
        ] {
            let error = parse(yaml).unwrap_err();
            for word in expected {
                assert!(error.contains(word), "{yaml}: {error}");
            }
        }
    }

    #[test]
    fn strict_mode_wants_a_sink_that_can_make_records_durable() {
        for (yaml, fits) in [
            ("{mode: strict}", false),
            ("{mode: strict, sinks: [stdout, {jsonl: a}]}", false),
            ("{mode: strict, sinks: [{jsonl: a}, stdout]}", true),
            ("{mode: standard}", true),
        ] {
            let contradiction = parse(yaml).unwrap().contradiction();
            assert_eq!(contradiction.is_none(), fits, "{yaml}");
        }
    }
}
