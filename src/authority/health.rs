//! Whether decisions can be made and recorded at this moment, part by part. Says nothing about callers or policy.

use tokio::time::timeout_at;

use super::check::Authority;
use crate::audit;
use crate::permission::Reason;
use crate::policy::Deadline;

/// How the parts are that every decision needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Every part, in a fixed order.
    pub parts: Vec<HealthPart>,
}

/// How one part is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthPart {
    /// `engine` or `audit`.
    pub name: &'static str,
    /// Whether it does its work.
    pub good: bool,
    /// A few words for people; no path, no address.
    pub detail: String,
}

impl Health {
    /// Whether every part is good.
    pub fn is_good(&self) -> bool {
        self.parts.iter().all(|part| part.good)
    }
}

impl Authority {
    /// Asks the parts, until `deadline` at most.
    pub async fn health(&self, deadline: Deadline) -> Health {
        let engine = match timeout_at(deadline.at, self.policy.health()).await {
            Ok(Ok(())) => Ok(format!("revision {}", self.policy.revision())),
            Ok(Err(error)) => Err(error.reason()),
            Err(_elapsed) => Err(Reason::DeadlineExceeded),
        };
        let engine = engine.map_err(|reason| reason.public_detail().to_owned());
        let audit = match self.audit.health() {
            audit::Health::Ok => Ok("records are written".to_owned()),
            // What the operating system said may name paths; it is in the log and on `/readyz`.
            audit::Health::Failing { since, error: _ } => {
                Err(format!("records are not written since {since}"))
            }
            audit::Health::Stopped => Err("the writer has ended".to_owned()),
        };
        Health {
            parts: vec![part("engine", engine), part("audit", audit)],
        }
    }
}

fn part(name: &'static str, found: Result<String, String>) -> HealthPart {
    let good = found.is_ok();
    let detail = found.unwrap_or_else(|trouble| trouble);
    HealthPart { name, good, detail }
}
