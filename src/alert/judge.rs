//! All conditions of one key.

use super::dates::{self, ExpiryTold};
use super::quota::{self, Month};
use super::rules::Stopped;
use super::spike::{self, Turn};
use super::window::Sample;
use super::{KeyState, Ppm, Rules};

/// What was seen of a key besides its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sight {
    /// Its month, where it has a quota.
    pub month: Option<Month>,
    /// The last five minutes of reports, and whether all of them were looked at.
    pub errors: Option<(Sample, bool)>,
}

/// Something that somebody is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// The month's quota is used up to the threshold.
    Quota {
        /// How it stands.
        month: Month,
        /// The threshold, in parts of a million.
        threshold: Ppm,
    },
    /// The share of errors is high.
    Errors {
        /// The last five minutes.
        sample: Sample,
        /// The threshold, in parts of a million.
        threshold: Ppm,
    },
    /// It is no more.
    Recovered {
        /// The last five minutes.
        sample: Sample,
        /// Since when it was high, microseconds since 1970.
        since_us: i64,
    },
    /// The key expires soon.
    Expires {
        /// When.
        expires_us: i64,
        /// The stage: within so many days.
        days: u32,
    },
    /// Its rotation is overdue.
    Overdue {
        /// Since when.
        due_us: i64,
    },
    /// It was revoked or suspended.
    Stopped {
        /// Which.
        what: Stopped,
        /// When.
        at_us: i64,
    },
}

/// What is to be told of a key now; the state says from here on that it was. Fewer requests than
/// `requests_min` say nothing about errors.
pub fn judge(
    rules: &Rules,
    state: &mut KeyState,
    sight: &Sight,
    now_us: i64,
    requests_min: u64,
) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some((threshold, month)) = rules.quota.zip(sight.month) {
        let (told, tells) = quota::judge(state.quota, month, threshold);
        state.quota = told;
        found.extend(tells.then_some(Finding::Quota { month, threshold }));
    }
    match rules.errors.zip(sight.errors) {
        Some((threshold, (sample, whole))) => {
            let high = state.errors_high_since_us;
            let long = high.is_some_and(|since| now_us.saturating_sub(since) >= spike::LONG_US);
            match spike::judge(high.is_some(), sample, (whole, long), threshold, requests_min) {
                Some(Turn::Rises) => {
                    state.errors_high_since_us = Some(now_us);
                    found.push(Finding::Errors { sample, threshold });
                }
                Some(Turn::Recovers) => {
                    let since_us = state.errors_high_since_us.take().unwrap_or(now_us);
                    found.push(Finding::Recovered { sample, since_us });
                }
                None => {}
            }
        }
        // Nobody wants to know any more, so nobody waits for its end.
        None if rules.errors.is_none() => state.errors_high_since_us = None,
        None => {}
    }
    found.extend(dates_of(rules, state, now_us));
    if let Some((what, at_us)) = rules.stopped.filter(|(_, at)| state.stopped_us != Some(*at)) {
        state.stopped_us = Some(at_us);
        found.push(Finding::Stopped { what, at_us });
    }
    found
}

fn dates_of(rules: &Rules, state: &mut KeyState, now_us: i64) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(expires_us) = rules.expires_us {
        let days = dates::expiry_stage(expires_us, rules.made_us, state.expiry, now_us);
        if let Some(days) = days {
            state.expiry = Some(ExpiryTold { expires_us, days });
            found.push(Finding::Expires { expires_us, days });
        }
    }
    let due = rules.rotation_due_us.filter(|due_us| *due_us <= now_us);
    if let Some(due_us) = due.filter(|due_us| state.rotation_due_us != Some(*due_us)) {
        state.rotation_due_us = Some(due_us);
        found.push(Finding::Overdue { due_us });
    }
    found
}

/// When the key is to be looked at again because of its dates; `None` when they have all passed.
#[must_use]
pub fn next_date_us(rules: &Rules, now_us: i64) -> Option<i64> {
    let expiry = rules.expires_us.and_then(|expires_us| dates::next_stage_us(expires_us, now_us));
    let rotation = rules.rotation_due_us.filter(|due_us| *due_us > now_us);
    [expiry, rotation].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_US: i64 = 86_400_000_000;

    fn rules() -> Rules {
        Rules {
            quota: Some(500_000),
            errors: Some(100_000),
            expires_us: Some(100 * DAY_US),
            rotation_due_us: Some(50 * DAY_US),
            made_us: 0,
            stopped: None,
        }
    }

    #[test]
    fn everything_that_is_found_is_found_once() {
        let mut state = KeyState::default();
        let month = Month { number: 1, cap: 10, spent: 5 };
        let sample = Sample { requests: 100, errors: 50 };
        let sight = Sight { month: Some(month), errors: Some((sample, true)) };
        let rules = Rules { stopped: Some((Stopped::Suspended, 7)), ..rules() };
        let found = judge(&rules, &mut state, &sight, 95 * DAY_US, 20);
        assert_eq!(
            found,
            [
                Finding::Quota { month, threshold: 500_000 },
                Finding::Errors { sample, threshold: 100_000 },
                Finding::Expires { expires_us: 100 * DAY_US, days: 7 },
                Finding::Overdue { due_us: 50 * DAY_US },
                Finding::Stopped { what: Stopped::Suspended, at_us: 7 },
            ]
        );
        assert_eq!(judge(&rules, &mut state, &sight, 96 * DAY_US, 20), []);
        // What survives a restart is the state.
        let mut kept = state.clone();
        assert_eq!(judge(&rules, &mut kept, &Sight::default(), 96 * DAY_US, 20), []);
        assert_eq!(kept, state);
        let calm = Sight { errors: Some((Sample::default(), true)), ..sight };
        let recovered = Finding::Recovered { sample: Sample::default(), since_us: 95 * DAY_US };
        assert_eq!(judge(&rules, &mut state, &calm, 97 * DAY_US, 20), [recovered]);
        // Rotated, and suspended again.
        let rules = Rules {
            rotation_due_us: Some(98 * DAY_US),
            stopped: Some((Stopped::Suspended, 8)),
            ..rules
        };
        let found = judge(&rules, &mut state, &calm, 98 * DAY_US, 20);
        assert_eq!(
            found,
            [
                Finding::Overdue { due_us: 98 * DAY_US },
                Finding::Stopped { what: Stopped::Suspended, at_us: 8 },
            ]
        );
    }

    #[test]
    fn who_wants_no_alert_of_errors_waits_for_no_end() {
        let mut state = KeyState { errors_high_since_us: Some(1), ..KeyState::default() };
        let rules = Rules { errors: None, ..rules() };
        assert_eq!(judge(&rules, &mut state, &Sight::default(), 0, 20), []);
        assert_eq!(state.errors_high_since_us, None);
    }

    #[test]
    fn the_next_date_is_the_nearest_that_lies_ahead() {
        for (now, next) in [(0, Some(50)), (50, Some(70)), (70, Some(93)), (99, None)] {
            let at = next_date_us(&rules(), now * DAY_US);
            assert_eq!(at, next.map(|day: i64| day * DAY_US), "{now}");
        }
    }
}
