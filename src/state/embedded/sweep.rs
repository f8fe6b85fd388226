//! The end of time: what is past its own is marked as expired, what has ended long ago is deleted. Nothing here takes
//! authority from anybody: what is past its time did not live before either.

use rusqlite::params;

use super::begin::{all, clear_stale};
use super::desk::Work;
use super::row;
use crate::clock::Timestamp;
use crate::delegation::SessionId;
use crate::state::{KEPT_AFTER_END, LONGEST_LEASE, LONGEST_SKEW, StateError, Swept};

pub(super) fn sweep(work: &mut Work<'_>, most: u32) -> Result<Swept, StateError> {
    let mut swept = Swept {
        deleted: clear_stale(work)?,
        ..Swept::default()
    };
    let now = row::nanos(work.now);
    for expire in EXPIRE {
        let changed = work
            .db
            .prepare_cached(expire)?
            .execute(params![work.tenant, now, most])?;
        swept.count(changed, most, true);
    }
    let sessions = format!(
        "SELECT {} FROM sessions WHERE tenant = ? AND status = 'expired' AND witnessed = 0 ORDER BY expires LIMIT ?",
        row::SESSION
    );
    swept.sessions = all(work, &sessions, params![work.tenant, most], row::session)?;
    // Whoever holds an expired token may still ask to take it back.
    let tokens = ago(work.now, &[LONGEST_LEASE, LONGEST_SKEW]);
    let ended = ago(work.now, &[KEPT_AFTER_END]);
    for (delete, before) in [
        (DELETE_LEASES, tokens),
        (DELETE_GRANTS, ended),
        (DELETE_TASKS, ended),
        (DELETE_SESSIONS, ended),
        (DELETE_REVOCATIONS, now),
        (DELETE_REQUESTS, now),
    ] {
        let changed =
            work.db
                .prepare_cached(delete)?
                .execute(params![work.tenant, before, most])?;
        swept.count(changed, most, false);
    }
    work.forget = true;
    Ok(swept)
}

pub(super) fn witnessed(work: &Work<'_>, sessions: &[SessionId]) -> Result<(), StateError> {
    let update =
        "UPDATE sessions SET witnessed = 1 WHERE tenant = ? AND id = ? AND status = 'expired'";
    let mut update = work.db.prepare_cached(update)?;
    for id in sessions {
        update.execute(params![work.tenant, id.as_str()])?;
    }
    Ok(())
}

impl Swept {
    fn count(&mut self, changed: usize, most: u32, expired: bool) {
        let changed = u64::try_from(changed).unwrap_or(u64::MAX);
        self.more |= changed >= u64::from(most);
        if expired {
            self.expired += changed;
        } else {
            self.deleted += changed;
        }
    }
}

fn ago(now: Timestamp, spans: &[std::time::Duration]) -> i64 {
    let since = now.since(Timestamp::from_unix_seconds(0));
    let since = since.saturating_sub(spans.iter().sum());
    row::nanos(Timestamp::from_unix_seconds(0).plus(since))
}

const EXPIRE: [&str; 3] = [
    "UPDATE grants SET status = 'expired', ended = expires WHERE tenant = ?1 AND id IN \
     (SELECT id FROM grants WHERE tenant = ?1 AND status = 'active' AND expires <= ?2 LIMIT ?3)",
    "UPDATE tasks SET status = 'expired', ended = deadline WHERE tenant = ?1 AND (person, id) IN \
     (SELECT person, id FROM tasks WHERE tenant = ?1 AND status = 'active' AND deadline <= ?2 LIMIT ?3)",
    "UPDATE sessions SET status = 'expired', ended = expires WHERE tenant = ?1 AND id IN \
     (SELECT id FROM sessions WHERE tenant = ?1 AND status = 'active' AND expires <= ?2 LIMIT ?3)",
];
const DELETE_LEASES: &str = "DELETE FROM leases WHERE tenant = ?1 AND token IN \
     (SELECT token FROM leases WHERE tenant = ?1 AND expires <= ?2 LIMIT ?3)";
const DELETE_GRANTS: &str = "DELETE FROM grants WHERE tenant = ?1 AND id IN \
     (SELECT id FROM grants WHERE tenant = ?1 AND status NOT IN ('active', 'pending') AND ended <= ?2 \
      AND NOT EXISTS (SELECT 1 FROM grants AS below WHERE below.tenant = ?1 AND below.parent = grants.id) \
      AND NOT EXISTS (SELECT 1 FROM leases WHERE leases.tenant = ?1 AND leases.\"grant\" = grants.id) LIMIT ?3)";
const DELETE_TASKS: &str = "DELETE FROM tasks WHERE tenant = ?1 AND (person, id) IN \
     (SELECT person, id FROM tasks WHERE tenant = ?1 AND status NOT IN ('active', 'pending') AND ended <= ?2 \
      AND NOT EXISTS (SELECT 1 FROM tasks AS below WHERE below.tenant = ?1 AND below.person = tasks.person AND below.parent = tasks.id) \
      AND NOT EXISTS (SELECT 1 FROM grants WHERE grants.tenant = ?1 AND grants.person = tasks.person AND grants.task = tasks.id) LIMIT ?3)";
const DELETE_SESSIONS: &str = "DELETE FROM sessions WHERE tenant = ?1 AND id IN \
     (SELECT id FROM sessions WHERE tenant = ?1 AND ended <= ?2 AND (witnessed = 1 OR status <> 'expired') \
      AND NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.tenant = ?1 AND tasks.session = sessions.id) \
      AND NOT EXISTS (SELECT 1 FROM grants WHERE grants.tenant = ?1 AND grants.session = sessions.id) LIMIT ?3)";
const DELETE_REVOCATIONS: &str = "DELETE FROM revocations WHERE position IN \
     (SELECT position FROM revocations WHERE tenant = ?1 AND until <= ?2 LIMIT ?3)";
const DELETE_REQUESTS: &str = "DELETE FROM requests WHERE tenant = ?1 AND (caller, id) IN \
     (SELECT caller, id FROM requests WHERE tenant = ?1 AND until <= ?2 LIMIT ?3)";
