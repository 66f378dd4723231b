//! Retry schedule of webhooks.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Delays after the first attempt, the second, and so on: about 17.6 hours in total.
const SCHEDULE: [Duration; 7] = [
    Duration::from_secs(5),
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3_600),
    Duration::from_secs(5 * 3_600),
    Duration::from_secs(10 * 3_600),
];

/// Random factor of a delay (jitter), so that webhooks which failed together are not retried together.
const JITTER: RangeInclusive<f64> = 0.8..=1.2;

/// The longest `Retry-After` that is honoured.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(10 * 3_600);

/// Delay after `tries` attempts; `None` after the last one. `retry_after` is the endpoint's `Retry-After`; `random`, from 0 to 1,
/// chooses the jitter.
pub(crate) fn delay(tries: u32, retry_after: Option<Duration>, random: f64) -> Option<Duration> {
    let place = usize::try_from(tries.checked_sub(1)?).ok()?;
    let factor = JITTER.start() + (JITTER.end() - JITTER.start()) * random.clamp(0.0, 1.0);
    let delay = SCHEDULE.get(place)?.mul_f64(factor);
    // Never sooner than the endpoint asked for.
    Some(delay.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn delays_follow_the_schedule_within_a_fifth_and_end() {
        let planned = [5.0, 60.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0];
        for (tries, seconds) in (1..).zip(planned) {
            let shortest = delay(tries, None, 0.0).unwrap().as_secs_f64();
            let longest = delay(tries, None, 1.0).unwrap().as_secs_f64();
            assert!((shortest - seconds * 0.8).abs() < 0.01 && (longest - seconds * 1.2).abs() < 0.01);
        }
        assert_eq!(delay(8, None, 0.5), None);
        assert_eq!(delay(0, None, 0.5), None);
    }

    #[test]
    fn retry_after_extends_a_delay_to_at_most_ten_hours() {
        let asked = |seconds| delay(1, Some(Duration::from_secs(seconds)), 0.5).unwrap().as_secs();
        assert_eq!((asked(0), asked(2), asked(120), asked(9_999_999)), (5, 5, 120, 36_000));
        assert_eq!(delay(8, Some(Duration::from_secs(60)), 0.5), None);
    }
}
