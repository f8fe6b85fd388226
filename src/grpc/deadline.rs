//! Until when a call wants its answer: less than the asker waits, and never more than our own limit.

use std::time::Duration;

use tokio::time::Instant;
use tonic::metadata::MetadataMap;

use crate::authority::Deadline;

/// The deadline of a call that arrived at `arrived`, where we ourselves would wait for `limit`.
pub(super) fn deadline(arrived: Instant, metadata: &MetadataMap, limit: Duration) -> Deadline {
    let budget = budget(metadata, limit);
    Deadline {
        at: arrived + budget,
        cut_short: budget < limit,
        limit,
    }
}

/// How long a decision may take.
///
/// A `grpc-timeout` that can't be read leaves our limit in force; it never means "no limit".
fn budget(metadata: &MetadataMap, limit: Duration) -> Duration {
    metadata
        .get("grpc-timeout")
        .and_then(|value| value.to_str().ok())
        .and_then(grpc_timeout)
        .map_or(limit, |theirs| {
            theirs.saturating_sub(RETURN_TRIP).min(limit)
        })
}

/// The `grpc-timeout` header: at most eight digits and a unit (gRPC over HTTP/2, "Requests").
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (unit_at, unit) = text.char_indices().next_back()?;
    let digits = text.get(..unit_at)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        'H' => Some(Duration::from_secs(number * 3600)),
        'M' => Some(Duration::from_secs(number * 60)),
        'S' => Some(Duration::from_secs(number)),
        'm' => Some(Duration::from_millis(number)),
        'u' => Some(Duration::from_micros(number)),
        'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// Kept back from the asker's timeout, so that the answer arrives before it gives up.
const RETURN_TRIP: Duration = Duration::from_millis(25);

#[cfg(test)]
mod tests {
    use super::*;

    fn budget_of(header: Option<&'static str>) -> Duration {
        let mut metadata = MetadataMap::new();
        if let Some(header) = header {
            metadata.insert("grpc-timeout", header.parse().unwrap());
        }
        budget(&metadata, Duration::from_millis(150))
    }

    #[test]
    fn the_budget_is_the_smaller_of_both_limits() {
        // E51, E52
        for (header, millis) in [
            (None, 150),
            (Some("200m"), 150),
            (Some("100m"), 75),
            (Some("20m"), 0),
            (Some("1n"), 0),
            (Some("99999999H"), 150),
        ] {
            assert_eq!(
                budget_of(header),
                Duration::from_millis(millis),
                "{header:?}"
            );
        }
    }

    #[test]
    fn an_unreadable_timeout_leaves_our_limit_in_force() {
        // E51
        for header in ["", "m", "100", "1.5S", "-1S", "123456789S", "5 S", "5x"] {
            assert_eq!(
                budget_of(Some(header)),
                Duration::from_millis(150),
                "{header}"
            );
        }
    }
}
