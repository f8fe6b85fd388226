//! An engine that answers nothing and keeps the document it is asked about.

use std::sync::{Arc, Mutex};

use attache::policy::{PolicyEngine, PolicyError, Query, Verdict};
use serde_json::Value;

/// Keeps what it is asked.
#[derive(Debug, Default)]
pub(crate) struct Ear {
    pub(crate) heard: Mutex<Option<Value>>,
}

#[async_trait::async_trait]
impl PolicyEngine for Ear {
    async fn evaluate(&self, query: Query) -> Result<Verdict, PolicyError> {
        *self.heard.lock().unwrap() = Some(serde_json::to_value(&*query.input).unwrap());
        Err(PolicyError::Interrupted)
    }

    async fn health(&self) -> Result<(), PolicyError> {
        Ok(())
    }

    fn revision(&self) -> Arc<str> {
        "ear".into()
    }
}
