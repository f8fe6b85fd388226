//! When each key is published, used, and forgotten: a pure function of the moments at which keys begin, and of now.
//!
//! ```text
//! NEXT: published ──begins──▶ ACTIVE: signs ──another begins──▶ RETIRED: published ──360 s──▶ gone
//! ```
//!
//! Decides which one key signs: the one that began last. A key is published for ten minutes before it signs, so that
//! whoever keeps our keys for [`JWKS_MAX_AGE`] has heard of it, and for as long after as tokens that it signed can live.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::delegation::token::MAX_LIFE;

/// How long others may keep the document of our public keys.
pub const JWKS_MAX_AGE: Duration = Duration::from_secs(300);
/// NEXT for at least this long: twice [`JWKS_MAX_AGE`].
const AHEAD: Duration = Duration::from_secs(600);
/// RETIRED for this long: the longest life of a token, the greatest accepted skew of clocks, and as much again for
/// replicas that look at the files a little later.
const AFTER: Duration = Duration::from_secs(MAX_LIFE + 30 + 30);

/// What a key is for at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Published; will sign.
    Next,
    /// Signs.
    Active,
    /// Published for those who still hold what it signed.
    Retired,
}

/// What the schedule asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// For each key, in the order given; nothing for one that is to be forgotten.
    pub(super) roles: Vec<Option<Role>>,
    /// A key is to be made that begins then.
    pub(super) create: Option<Timestamp>,
}

impl Role {
    /// The word for it, as `active`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }
}

/// What to do at `now` with keys that begin at `begins`, in ascending order, each to sign for `rotate` if that is given.
///
/// Without any key, one is asked for that begins at once: nobody can have kept anything. Where all keys begin later, none
/// signs: a clock that was set far back stops tokens from being made.
pub(super) fn plan(begins: &[Timestamp], rotate: Option<Duration>, now: Timestamp) -> Plan {
    let begun = begins.partition_point(|begin| *begin <= now);
    let role = |index: usize| {
        if index >= begun {
            return Some(Role::Next);
        }
        if index + 1 == begun {
            return Some(Role::Active);
        }
        let successor = begins.get(index + 1)?;
        (now < successor.plus(AFTER)).then_some(Role::Retired)
    };
    let active = begun.checked_sub(1).and_then(|index| begins.get(index));
    let create = match (active, rotate) {
        _ if begins.is_empty() => Some(now),
        (Some(active), Some(period)) if begun == begins.len() => {
            let due = active.plus(period);
            (now.plus(AHEAD) >= due).then(|| due.max(now.plus(AHEAD)))
        }
        _ => None,
    };
    Plan {
        roles: (0..begins.len()).map(role).collect(),
        // Files are named by the second.
        create: create.map(|at| Timestamp::from_unix_seconds(at.unix_seconds())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: u64 = 86_400;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_seconds(1_790_000_000 + seconds)
    }

    fn roles(begins: &[u64], now: u64) -> Vec<Option<Role>> {
        let begins: Vec<_> = begins.iter().copied().map(at).collect();
        plan(&begins, None, at(now)).roles
    }

    #[test]
    fn the_key_that_began_last_signs() {
        use Role::{Active, Next, Retired};
        assert_eq!(roles(&[0], 0), [Some(Active)]);
        assert_eq!(roles(&[0, 1000], 999), [Some(Active), Some(Next)]);
        assert_eq!(roles(&[0, 1000], 1000), [Some(Retired), Some(Active)]);
        assert_eq!(roles(&[0, 1000], 1359), [Some(Retired), Some(Active)]);
        assert_eq!(roles(&[0, 1000], 1360), [None, Some(Active)]);
    }

    #[test]
    fn nothing_signs_before_its_time() {
        // T52
        let far_back = Timestamp::from_unix_seconds(0);
        let plan = plan(&[at(0), at(5)], Some(Duration::from_secs(DAY)), far_back);
        assert_eq!(plan.roles, [Some(Role::Next), Some(Role::Next)]);
        assert_eq!(plan.create, None);
    }

    #[test]
    fn the_first_key_begins_at_once() {
        assert_eq!(plan(&[], None, at(7)).create, Some(at(7)));
    }

    #[test]
    fn the_next_key_is_published_ten_minutes_ahead() {
        let period = Some(Duration::from_secs(DAY));
        assert_eq!(plan(&[at(0)], period, at(DAY - 601)).create, None);
        let create = plan(&[at(0)], period, at(DAY - 600)).create;
        assert_eq!(create, Some(at(DAY)));
        // One that is published is enough.
        assert_eq!(plan(&[at(0), at(DAY)], period, at(DAY - 1)).create, None);
        // Whoever was switched off meanwhile publishes ahead all the same.
        let late = plan(&[at(0)], period, at(3 * DAY)).create;
        assert_eq!(late, Some(at(3 * DAY + 600)));
        assert_eq!(plan(&[at(0)], None, at(3 * DAY)).create, None);
    }

    proptest! {
        #[test]
        fn one_key_at_most_signs_and_each_goes_one_way(
            mut begins in proptest::collection::btree_set(0..10_000_u64, 1..6),
            now in 0..20_000_u64,
            later in 0..20_000_u64,
        ) {
            let begins: Vec<_> = std::mem::take(&mut begins).into_iter().collect();
            let rank = |role: &Option<Role>| match role {
                Some(Role::Next) => 0,
                Some(Role::Active) => 1,
                Some(Role::Retired) => 2,
                None => 3,
            };
            let before = roles(&begins, now);
            let after = roles(&begins, now + later);
            prop_assert!(before.iter().filter(|it| **it == Some(Role::Active)).count() <= 1);
            for (before, after) in before.iter().zip(&after) {
                prop_assert!(rank(before) <= rank(after));
            }
        }
    }
}
