//! How often passwords may be tried: for one address, and in all. Addresses that nobody has are counted like any other.
//!
//! Each counter is the moment at which it would be level again (the "virtual scheduling" of a leaky bucket), so that nothing
//! has to run for it.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::email::Email;

/// So many at once, and then one for each pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) burst: u32,
    pub(super) pause: Duration,
}

/// Tries so far.
#[derive(Debug)]
pub(super) struct Tries {
    each: Pace,
    all: Pace,
    by_address: HashMap<Email, Instant>,
    in_all: Option<Instant>,
}

impl Pace {
    /// When the counter is level again after one more; or after what time there is room for one.
    fn after(self, level: Option<Instant>, now: Instant) -> Result<Instant, Duration> {
        let level = level.map_or(now, |level| level.max(now));
        let room = self.pause * self.burst.saturating_sub(1);
        let filled = level.duration_since(now);
        match filled.checked_sub(room) {
            None | Some(Duration::ZERO) => Ok(level + self.pause),
            Some(wait) => Err(wait),
        }
    }
}

impl Tries {
    pub(super) fn new(each: Pace, all: Pace) -> Self {
        Self {
            each,
            all,
            by_address: HashMap::new(),
            in_all: None,
        }
    }

    /// Counts a try, or says when there is room for it. One that is turned away is not counted: who tries one address again
    /// and again takes no room from others.
    pub(super) fn take(&mut self, email: &Email, now: Instant) -> Result<(), Duration> {
        let each = self.each.after(self.by_address.get(email).copied(), now)?;
        let all = self.all.after(self.in_all, now)?;
        self.by_address.retain(|_, level| *level > now);
        self.by_address.insert(email.clone(), each);
        self.in_all = Some(all);
        Ok(())
    }

    /// Gives a try back: who knows their password is not held up.
    pub(super) fn give_back(&mut self, email: &Email) {
        if let Some(level) = self.by_address.get_mut(email) {
            *level = level.checked_sub(self.each.pause).unwrap_or(*level);
        }
        let back = |level: Instant| level.checked_sub(self.all.pause).unwrap_or(level);
        self.in_all = self.in_all.map(back);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn tries() -> Tries {
        let each = Pace {
            burst: 3,
            pause: SECOND * 10,
        };
        let all = Pace {
            burst: 5,
            pause: SECOND,
        };
        Tries::new(each, all)
    }

    fn email(name: &str) -> Email {
        format!("{name}@x").parse().unwrap()
    }

    #[test]
    fn an_address_has_its_burst_and_then_one_try_for_each_pause() {
        let (mut tries, alice) = (tries(), email("alice"));
        let begun = Instant::now();
        for _ in 0..3 {
            assert_eq!(tries.take(&alice, begun), Ok(()));
        }
        assert_eq!(tries.take(&alice, begun), Err(SECOND * 10));
        assert_eq!(tries.take(&alice, begun + SECOND * 9), Err(SECOND));
        assert_eq!(tries.take(&alice, begun + SECOND * 10), Ok(()));
        assert_eq!(tries.take(&alice, begun + SECOND * 10), Err(SECOND * 10));
    }

    #[test]
    fn tries_that_were_turned_away_take_no_room_from_others() {
        let mut tries = tries();
        let begun = Instant::now();
        for _ in 0..100 {
            let _turned_away = tries.take(&email("alice"), begun);
        }
        assert_eq!(tries.take(&email("bob"), begun), Ok(()));
    }

    #[test]
    fn all_addresses_together_have_a_limit_and_are_forgotten_when_level() {
        let mut tries = tries();
        let begun = Instant::now();
        for name in ["a", "b", "c", "d", "e"] {
            assert_eq!(tries.take(&email(name), begun), Ok(()));
        }
        assert_eq!(tries.take(&email("f"), begun), Err(SECOND));
        assert_eq!(tries.take(&email("f"), begun + SECOND * 60), Ok(()));
        assert_eq!(tries.by_address.len(), 1);
    }

    #[test]
    fn a_try_that_succeeded_is_given_back() {
        let (mut tries, alice) = (tries(), email("alice"));
        let begun = Instant::now();
        for _ in 0..100 {
            assert_eq!(tries.take(&alice, begun), Ok(()));
            tries.give_back(&alice);
        }
    }
}
