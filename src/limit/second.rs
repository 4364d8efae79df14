//! Requests per second, as every key and tenant may have them.

use keygate_protocol::verdict::LimitName;

use super::budget::{FigureOf, Figures};
use super::gcra::{Rate, RateState};
use super::judge::{Ask, Judging, Reports};
use super::spent::Spent;

/// No limit, as a count: the record's numbers end below it.
const NONE: u32 = u32::MAX;

/// A rate per second, or none: compact, because every entry of the catalog has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerSecond {
    burst: u64,
    count: u32,
}

impl Default for PerSecond {
    fn default() -> Self {
        Self { burst: 0, count: NONE }
    }
}

impl PerSecond {
    /// `count` units a second, `burst` at once; at most 2^32 - 2 a second.
    #[must_use]
    pub const fn new(count: u32, burst: u64) -> Self {
        Self { burst, count }
    }

    /// Whether it limits at all.
    #[must_use]
    pub const fn limits(&self) -> bool {
        self.count != NONE
    }

    /// The rate, if there is one.
    #[must_use]
    pub fn rate(&self) -> Option<Rate> {
        self.limits().then(|| Rate::per_second(self.count, self.burst))
    }

    /// Judges a cost; the state if it is spent.
    pub fn judge(
        &self,
        state: RateState,
        name: LimitName,
        ask: &Ask<'_>,
        it: &mut Judging,
    ) -> RateState {
        let Some(rate) = self.rate() else { return state };
        let judged = rate.judge(state, ask.cost, ask.now.mono_ns);
        if !judged.allowed {
            it.deny(name, judged.retry_after_ns.map(|ns| ns.div_ceil(1000)));
        }
        judged.next
    }

    /// How the limit stands in this state.
    pub fn report(
        &self,
        state: RateState,
        name: LimitName,
        ask: &Ask<'_>,
        reports: &mut Reports<'_>,
    ) {
        let Some(rate) = self.rate() else { return };
        let now_ns = ask.now.mono_ns;
        let retry_after_us = if reports.denied {
            rate.judge(state, ask.cost, now_ns).retry_after_ns.map(|ns| ns.div_ceil(1000))
        } else {
            None
        };
        let reset_after_us = rate.reset_after_ns(state, now_ns).div_ceil(1000);
        let figures = [rate.burst(), rate.remaining(state, now_ns)];
        reports.push(name, figures, retry_after_us, Some(reset_after_us));
    }

    /// The figures for people, if it limits.
    #[must_use]
    pub fn figures(&self, state: RateState, name: LimitName, now_ns: u64) -> Option<Figures> {
        let rate = self.rate()?;
        let (burst, remaining) = (rate.burst(), rate.remaining(state, now_ns));
        let figures = [burst, burst.saturating_sub(remaining), remaining, 0, 0];
        Some(Figures::new(FigureOf::Common(name), figures, None))
    }

    /// The state under another rate.
    #[must_use]
    pub fn carry(&self, state: RateState, to: &Self, now_ns: u64, policy: Spent) -> RateState {
        match (self.rate(), to.rate()) {
            (Some(from), Some(to)) => from.carry(state, &to, now_ns, policy),
            _ => RateState::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Now;
    use crate::limit::judge::{LedgerState, Windows};
    use crate::limit::window::Calendar;

    #[test]
    fn the_same_limit_carries_what_was_spent_exactly() {
        let limit = PerSecond::new(1, 1);
        let calendar = Calendar::at(0);
        let mut state = RateState::default();
        let admitted = |state: &mut RateState, mono_ns| {
            let ask = Ask {
                cost: 1,
                spends: true,
                now: Now { mono_ns, wall_us: 0 },
                calendar: &calendar,
                void: Windows::default(),
                said: Windows::LAST,
                ledger: LedgerState::Open,
            };
            let mut judging = Judging::default();
            *state = limit.judge(*state, LimitName::Second, &ask, &mut judging);
            judging.denied_by().is_none()
        };
        assert!(admitted(&mut state, 0));
        // Changed often by another field, the key must not lose what it has earned.
        for ms in (100..1000).step_by(100) {
            state = limit.carry(state, &limit, ms * 1_000_000, Spent::Keep);
            assert!(!admitted(&mut state, ms * 1_000_000));
        }
        assert!(admitted(&mut state, 1_000_000_000));
    }
}
