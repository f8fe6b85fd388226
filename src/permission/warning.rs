//! What a configuration says without effect. Nothing here changes an answer; it tells whoever wrote the file.

use std::fmt;

use super::set::Permission;
use crate::identity::SpiffePattern;

/// An entry that can never take effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// The tier that a permission or tier rule gives is overruled everywhere.
    Shadowed {
        /// The entry without effect.
        entry: Permission,
        /// Another of the same list that covers it and is stricter.
        by: Permission,
    },
    /// The tier that a workload's permission gives is overruled everywhere, perhaps by an entry for more workloads.
    ShadowedWorkload {
        /// Whose permission has no effect.
        workload: SpiffePattern,
        /// The permission without effect.
        entry: Permission,
        /// Who holds the stricter permission: the same workloads, or these and more.
        by_workload: SpiffePattern,
        /// A permission that covers it and is stricter.
        by: Permission,
    },
    /// All callers of a workload entry are agents, who act under a delegation and never on their own account.
    WorkloadIsAgent {
        /// The `match` of the entry without effect.
        workload: SpiffePattern,
        /// The pattern of agents that covers it.
        agents: SpiffePattern,
    },
}

/// The entries of one list, as written, that can never take effect.
///
/// An entry is found where one other covers it and is stricter. Several that cover it together go unnoticed.
pub fn shadowed(written: &[Permission]) -> Vec<Warning> {
    let shadow = |entry: &Permission| {
        let by = written.iter().find(|other| other.overrules(entry))?;
        Some(Warning::Shadowed {
            entry: entry.clone(),
            by: by.clone(),
        })
    };
    written.iter().filter_map(shadow).collect()
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shadowed { entry, by } => write!(
                f,
                "`{entry}` never takes effect: `{by}` covers it and is stricter"
            ),
            Self::ShadowedWorkload {
                workload,
                entry,
                by_workload,
                by,
            } => write!(
                f,
                "`{entry}` of workload `{workload}` never takes effect: `{by}` of `{by_workload}` covers it and is stricter"
            ),
            Self::WorkloadIsAgent { workload, agents } => write!(
                f,
                "workload `{workload}` never takes effect: its callers are agents by `{agents}` and need a delegation"
            ),
        }
    }
}
