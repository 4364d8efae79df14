//! When a delivery that failed is tried again.

/// Waits after the first attempt, the second, and so on, in seconds: the schedule that the
/// specification of Standard Webhooks gives as its example.
pub const WAITS_S: [i64; 6] = [5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600];

/// An alert that is older than this is given up at the next attempt that fails: whoever was away for
/// days gets each alert that waited for them once more, and no more than that.
pub const AGE_MAX_US: i64 = 3 * 24 * 3600 * 1_000_000;

/// A wait is longer than the schedule says by up to this part of itself, so that receivers that
/// failed together are not asked again together.
const JITTER_PART: i64 = 5;

/// The longest wait.
pub const WAIT_MAX_US: i64 =
    WAITS_S[WAITS_S.len() - 1] * 1_000_000 / JITTER_PART * (JITTER_PART + 1);

/// Attempts after which others may pass an alert: by then it may be the alert itself that its
/// receiver does not like.
pub const PASSED_FROM: u32 = 2;

/// When an alert is tried again of which so many attempts have failed, the last of them now; `None`
/// when it is given up. `random` spreads the attempts.
#[must_use]
pub fn next_us(attempts: u32, made_us: i64, now_us: i64, random: u32) -> Option<i64> {
    if now_us.saturating_sub(made_us) > AGE_MAX_US {
        return None;
    }
    let at = usize::try_from(attempts.checked_sub(1)?).ok()?;
    let wait_us = WAITS_S.get(at)? * 1_000_000;
    // As many bits as the product has room for.
    let jitter_us = wait_us / JITTER_PART * i64::from(random >> 16) / i64::from(u16::MAX);
    Some(now_us.saturating_add(wait_us + jitter_us))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000_000;

    #[test]
    fn attempts_follow_the_schedule_and_end() {
        let waits = |random| {
            (1..=7).map(move |attempts| {
                next_us(attempts, NOW, NOW, random).map(|at| (at - NOW) / 1_000_000)
            })
        };
        let least: Vec<_> = waits(0).collect();
        let s = Some;
        assert_eq!(least, [s(5), s(300), s(1800), s(7200), s(18_000), s(36_000), None]);
        let most: Vec<_> = waits(u32::MAX).collect();
        assert_eq!(most, [s(6), s(360), s(2160), s(8640), s(21_600), s(43_200), None]);
        assert_eq!(next_us(0, NOW, NOW, 0), None, "nothing was tried");
    }

    #[test]
    fn what_is_old_is_given_up_when_its_next_attempt_fails() {
        assert!(next_us(1, NOW - AGE_MAX_US, NOW, 0).is_some());
        assert_eq!(next_us(1, NOW - AGE_MAX_US - 1, NOW, 0), None);
        assert!(next_us(1, NOW + 5, NOW, 0).is_some(), "a clock that was set back");
    }
}
