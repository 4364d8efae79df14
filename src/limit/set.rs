//! All limits of a key, judged at one instant: all are committed or none.

use keygate_protocol::verdict::{LimitName, LimitReport, Limits};

use super::Spent;
use super::gcra::{Rate, RateState};

/// The limits of a key, compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LimitSet {
    /// Requests per second; absent is unlimited.
    pub second: Option<Rate>,
}

/// What has been spent of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LimitState {
    second: RateState,
}

/// How the limits stand after a decision.
#[derive(Debug, Clone, Copy, Default)]
pub struct Judged {
    /// The limit that denied, if one did.
    pub denied_by: Option<LimitName>,
    /// Every limit's figures.
    pub reports: Limits,
}

impl LimitSet {
    /// Judges a cost against every limit and, unless one denies or `spend` is false, spends it
    /// from all.
    pub fn decide(&self, state: &mut LimitState, cost: u64, now_ns: u64, spend: bool) -> Judged {
        let mut judged = Judged::default();
        let Some(rate) = &self.second else { return judged };
        let second = rate.judge(state.second, cost, now_ns);
        if !second.allowed {
            judged.denied_by = Some(LimitName::Second);
        }
        if judged.denied_by.is_none() && spend {
            state.second = second.next;
        }
        judged.reports.push(LimitReport {
            name: LimitName::Second,
            limit: rate.burst(),
            remaining: rate.remaining(state.second, now_ns),
            retry_after_us: second.retry_after_ns.map(|ns| ns.div_ceil(1000)),
            reset_after_us: Some(rate.reset_after_ns(state.second, now_ns).div_ceil(1000)),
        });
        judged
    }

    /// The state under other limits.
    #[must_use]
    pub fn carry(&self, state: LimitState, to: &Self, now_ns: u64, spent: Spent) -> LimitState {
        let second = match (&self.second, &to.second) {
            (Some(from), Some(to)) => from.carry(state.second, to, now_ns, spent),
            _ => RateState::default(),
        };
        LimitState { second }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_limits_carry_what_was_spent_exactly() {
        let limits = LimitSet { second: Some(Rate::per_second(1, 1)) };
        let mut state = LimitState::default();
        let admitted = |state: &mut LimitState, now_ns| {
            limits.decide(state, 1, now_ns, true).denied_by.is_none()
        };
        assert!(admitted(&mut state, 0));
        // Changed often by another field, the key must not lose what it has earned.
        for ms in (100..1000).step_by(100) {
            state = limits.carry(state, &limits, ms * 1_000_000, Spent::Keep);
            assert!(!admitted(&mut state, ms * 1_000_000));
        }
        assert!(admitted(&mut state, 1_000_000_000));
    }
}
