//! Wall-clock time as an argument: certificates, tokens and audit records are judged against a [`Clock`] passed in.
//!
//! Never used for timeouts or cache expiry; those use tokio's pausable monotonic clock.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// A moment in UTC with nanosecond resolution, from 1970 to 2554.
///
/// Displays as RFC 3339 with nine digits, so that text order is time order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    unix_nanos: u64,
}

/// A text that is no moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no moment from 1970 on; write RFC 3339, as 2026-01-01T00:00:00Z", .0.escape_debug())]
pub struct TimestampError(String);

/// Where wall-clock time comes from.
///
/// Implementations may step backwards, as system clocks do; callers that need order use sequence numbers.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The current time.
    fn now(&self) -> Timestamp;
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// A clock that stands still until a test moves it.
#[derive(Debug)]
pub struct MockClock {
    unix_nanos: AtomicU64,
}

// === impl Timestamp ===

impl Timestamp {
    /// Whole seconds since the Unix epoch.
    pub const fn from_unix_seconds(seconds: u64) -> Self {
        Self {
            unix_nanos: seconds.saturating_mul(NANOS_PER_SECOND),
        }
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn unix_seconds(self) -> u64 {
        self.unix_nanos / NANOS_PER_SECOND
    }

    /// Whole milliseconds since the Unix epoch, rounded down.
    pub const fn unix_millis(self) -> u64 {
        self.unix_nanos / NANOS_PER_MILLI
    }

    /// This moment moved forward, saturating at the end of the range.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        Self {
            unix_nanos: self.unix_nanos.saturating_add(nanos),
        }
    }

    /// This moment moved back, saturating at 1970.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        Self {
            unix_nanos: self.unix_nanos.saturating_sub(nanos),
        }
    }

    /// How long after `earlier` this moment is; zero where it is not.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.unix_nanos.saturating_sub(earlier.unix_nanos))
    }
}

impl From<SystemTime> for Timestamp {
    /// Moments before 1970 become 1970: a clock that far off is treated as the earliest time there is.
    fn from(time: SystemTime) -> Self {
        let since_epoch = time
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Self::from_unix_seconds(0).plus(since_epoch)
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    /// Reads RFC 3339 with any offset.
    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).ok();
        let nanos = moment.and_then(|it| u64::try_from(it.unix_timestamp_nanos()).ok());
        let unix_nanos = nanos.ok_or_else(|| TimestampError(text.to_owned()))?;
        Ok(Self { unix_nanos })
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.unix_nanos))
            .ok()
            .and_then(|moment| moment.format(RFC3339_NANOS).ok())
            .ok_or(fmt::Error)?;
        f.write_str(&text)
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

// === impl SystemClock ===

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }
}

// === impl MockClock ===

impl MockClock {
    /// A clock that shows `now` until it is moved.
    pub const fn new(now: Timestamp) -> Self {
        Self {
            unix_nanos: AtomicU64::new(now.unix_nanos),
        }
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().plus(by));
    }

    /// Moves the clock to `now`, backwards too.
    pub fn set(&self, now: Timestamp) {
        self.unix_nanos.store(now.unix_nanos, Ordering::SeqCst);
    }
}

impl Clock for MockClock {
    fn now(&self) -> Timestamp {
        Timestamp {
            unix_nanos: self.unix_nanos.load(Ordering::SeqCst),
        }
    }
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;
const NANOS_PER_MILLI: u64 = 1_000_000;
const RFC3339_NANOS: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:9]Z");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_rfc_3339_with_nine_digits() {
        let moment = Timestamp::from_unix_seconds(1_795_287_600).plus(Duration::from_nanos(120));
        assert_eq!(moment.to_string(), "2026-11-21T19:00:00.000000120Z");
        assert_eq!(
            Timestamp::from_unix_seconds(0).to_string(),
            "1970-01-01T00:00:00.000000000Z"
        );
    }

    #[test]
    fn what_is_shown_is_read_back_and_nonsense_is_not() {
        let moment = Timestamp::from_unix_seconds(1_795_287_600).plus(Duration::from_nanos(120));
        assert_eq!(moment.to_string().parse(), Ok(moment));
        let offset = "2026-11-21T20:00:00.00000012+01:00".parse();
        assert_eq!(offset, Ok(moment));
        for text in [
            "",
            "yesterday",
            "2026-11-21",
            "1969-12-31T23:59:59Z",
            "9999-01-01T00:00:00Z",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_end_of_the_range_saturates_and_still_shows() {
        let end = Timestamp::from_unix_seconds(u64::MAX).plus(Duration::MAX);
        assert!(end.to_string().starts_with("2554-"));
    }

    #[test]
    fn no_moment_is_less_than_nothing_after_another() {
        let earlier = Timestamp::from_unix_seconds(100);
        let later = earlier.plus(Duration::from_millis(1_500));
        assert_eq!(later.since(earlier), Duration::from_millis(1_500));
        assert_eq!(earlier.since(later), Duration::ZERO);
    }

    #[test]
    fn a_mock_clock_moves_only_when_told() {
        let clock = MockClock::new(Timestamp::from_unix_seconds(100));
        assert_eq!(clock.now().unix_seconds(), 100);
        clock.advance(Duration::from_millis(1_500));
        assert_eq!(clock.now().unix_millis(), 101_500);
        clock.set(Timestamp::from_unix_seconds(7));
        assert_eq!(clock.now().unix_seconds(), 7);
    }
}
