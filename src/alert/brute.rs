//! Many tokens that are no key's are tried.

use std::collections::VecDeque;

/// The sliding minute.
const MINUTE_NS: u64 = 60_000_000_000;

/// Looks that are remembered: one a second.
const LOOKS_MAX: usize = 64;

/// What a look says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    /// As before.
    Same,
    /// From here on as many a minute as were asked for, or more: so many in the last.
    Rises(u64),
    /// Fewer than half as many for a whole minute.
    Ends,
}

/// How many were tried in the last minute, of a total that is looked at once a second.
#[derive(Debug, Clone, Default)]
pub struct BruteForce {
    /// Totals, oldest first, with when they were looked at.
    looks: VecDeque<(u64, u64)>,
    high: bool,
    /// Since when it is low.
    low_since_ns: Option<u64>,
}

impl BruteForce {
    /// As it was before a restart: whether it was told and has not ended.
    #[must_use]
    pub fn restored(high: bool) -> Self {
        Self { high, ..Self::default() }
    }

    /// Whether it was told and has not ended.
    #[must_use]
    pub const fn is_high(&self) -> bool {
        self.high
    }

    /// Looks at the total so far. `per_minute` of 0 demands nothing.
    pub fn look(&mut self, total: u64, per_minute: u64, now_ns: u64) -> Tried {
        while self.looks.len() > 1 && self.looks[1].1 + MINUTE_NS <= now_ns
            || self.looks.len() >= LOOKS_MAX
        {
            self.looks.pop_front();
        }
        self.looks.push_back((total, now_ns));
        let before = self.looks.front().map_or(total, |(total, _)| *total);
        let tried = total.saturating_sub(before);
        if per_minute > 0 && tried >= per_minute {
            self.low_since_ns = None;
            return if std::mem::replace(&mut self.high, true) {
                Tried::Same
            } else {
                Tried::Rises(tried)
            };
        }
        if !self.high {
            return Tried::Same;
        }
        if per_minute > 0 && tried >= per_minute.div_ceil(2) {
            self.low_since_ns = None;
            return Tried::Same;
        }
        let since_ns = *self.low_since_ns.get_or_insert(now_ns);
        if now_ns.saturating_sub(since_ns) < MINUTE_NS {
            return Tried::Same;
        }
        self.high = false;
        self.low_since_ns = None;
        Tried::Ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// What is said over time at so many a second, from a second on.
    fn run(brute: &mut BruteForce, total: &mut u64, from_s: u64, each: u64, s: u64) -> Vec<Tried> {
        let looks = (from_s..from_s + s).map(|second| {
            *total += each;
            brute.look(*total, 600, second * SECOND)
        });
        looks.filter(|tried| *tried != Tried::Same).collect()
    }

    #[test]
    fn a_rise_is_told_once_and_again_after_it_has_ended() {
        let (mut brute, mut total) = (BruteForce::default(), 1_000_000);
        assert_eq!(run(&mut brute, &mut total, 0, 9, 300), []);
        let rises = run(&mut brute, &mut total, 300, 11, 300);
        assert!(matches!(rises.as_slice(), [Tried::Rises(600..=660)]), "{rises:?}");
        // It wavers about the bound.
        assert_eq!(run(&mut brute, &mut total, 600, 8, 300), []);
        assert_eq!(run(&mut brute, &mut total, 900, 12, 300), []);
        assert_eq!(run(&mut brute, &mut total, 1200, 1, 300), [Tried::Ends]);
        assert_eq!(run(&mut brute, &mut total, 1500, 100, 60).len(), 1);
    }

    #[test]
    fn a_burst_within_a_minute_is_enough_and_a_restart_tells_nothing_twice() {
        let mut brute = BruteForce::default();
        assert_eq!(brute.look(5, 600, 0), Tried::Same);
        assert_eq!(brute.look(605, 600, SECOND), Tried::Rises(600));
        let mut brute = BruteForce::restored(true);
        assert_eq!(brute.look(0, 600, 0), Tried::Same);
        assert_eq!(brute.look(700, 600, SECOND), Tried::Same);
    }

    #[test]
    fn nothing_is_told_where_nothing_is_asked_for() {
        let mut brute = BruteForce::default();
        assert_eq!(brute.look(0, 0, 0), Tried::Same);
        assert_eq!(brute.look(u64::MAX, 0, SECOND), Tried::Same);
        let mut brute = BruteForce::restored(true);
        assert_eq!(run_low(&mut brute), Tried::Ends, "switched off by a reload");
    }

    fn run_low(brute: &mut BruteForce) -> Tried {
        brute.look(0, 0, 0);
        brute.look(0, 0, 60 * SECOND)
    }
}
