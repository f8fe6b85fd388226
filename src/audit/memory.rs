//! Lines kept in memory, for tests: the witness that a test can ask.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::registry::Registry;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::sink::{Batch, Sink};
use super::{AuditError, Auditor, EventType, Origin, Setup, WriterHandle, start};
use crate::clock::Clock;

/// A sink that keeps the last lines. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl Memory {
    /// Most lines that are kept; the oldest go first.
    pub const MAX: usize = 16_384;

    /// An auditor that writes here, with a queue of 1024 and the same ids on every run.
    pub fn auditor(clock: Arc<dyn Clock>) -> Result<(Self, Auditor, WriterHandle), AuditError> {
        let memory = Self::default();
        let setup = Setup {
            first: Box::new(memory.clone()),
            others: Vec::new(),
            capacity: 1024,
            origin: Origin {
                tenant: "default".into(),
                writer: "memory".into(),
            },
        };
        let rng = StdRng::seed_from_u64(1);
        let (auditor, writer) = start(setup, clock, rng, &mut Registry::default())?;
        Ok((memory, auditor, writer))
    }

    /// The last lines, without line feeds. Complete up to the last [`Auditor::flush`].
    pub fn lines(&self) -> Vec<String> {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }

    /// The records of one event type so far, in order.
    pub fn records(&self, event_type: EventType) -> Vec<serde_json::Value> {
        self.lines()
            .iter()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter(|record| {
                record.get("event_type").and_then(|name| name.as_str()) == Some(event_type.as_str())
            })
            .collect()
    }
}

impl Sink for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.extend(
            batch
                .lines()
                .map(|line| String::from_utf8_lossy(line).into_owned()),
        );
        let surplus = lines.len().saturating_sub(Self::MAX);
        lines.drain(..surplus);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
