//! How long to wait between attempts to connect.

use std::time::Duration;

/// The wait after the first failure; it doubles with each further one.
const FIRST: Duration = Duration::from_millis(10);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(1);

/// Counts failures in a row. The first attempt, and the one after a connection that worked, wait
/// for nothing.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(super) const fn worked(&mut self) {
        self.failures = 0;
    }

    pub(super) const fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// The wait before the next attempt. `random` is any number: half of the wait depends on it,
    /// so that the clients of a daemon that restarts do not all come at once.
    pub(super) fn wait(&self, random: u64) -> Duration {
        let Some(doublings) = self.failures.checked_sub(1) else { return Duration::ZERO };
        let full = FIRST.saturating_mul(1 << doublings.min(16)).min(LONGEST);
        let half = u64::try_from(full.as_micros() / 2).unwrap_or(u64::MAX);
        Duration::from_micros(half + random % (half + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::{Backoff, FIRST, LONGEST};

    #[test]
    fn the_first_attempt_and_the_one_after_success_wait_for_nothing() {
        let mut backoff = Backoff::default();
        assert!(backoff.wait(7).is_zero());
        backoff.failed();
        assert!(!backoff.wait(7).is_zero());
        backoff.worked();
        assert!(backoff.wait(7).is_zero());
    }

    #[test]
    fn waits_double_up_to_a_bound_and_vary_by_half() {
        let mut backoff = Backoff::default();
        let mut full = FIRST;
        for _ in 0..100 {
            backoff.failed();
            let half = full / 2;
            for random in [0, 1, 12_345, u64::MAX] {
                let wait = backoff.wait(random);
                assert!(half <= wait && wait <= full, "{wait:?} is not within {half:?}..={full:?}");
            }
            full = (full * 2).min(LONGEST);
        }
    }
}
