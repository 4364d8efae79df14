//! GCRA, the generic cell rate algorithm (ITU-T I.371), in exact arithmetic.
//!
//! With T = period / count and tau = T * burst, a request of cost c at time t is judged against
//! the theoretical arrival time (tat): `base = max(tat, t)`, `new = base + T * c`, allowed if and
//! only if `new - tau <= t`; then `tat := new`. A full burst is there after an idle time, and
//! never more.
//!
//! T is rarely a whole number of nanoseconds (7 a minute), so times are counted in ticks of
//! 1/count ns: there T is exactly `period_ns` ticks and nothing is ever rounded in the state.

use std::num::NonZeroU32;

/// A rate: `count` units in every `period_ns`, `burst` of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    count: NonZeroU32,
    period_ns: u64,
    burst: u64,
}

/// When the units spent so far will have been earned, in ticks of the rate it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateState {
    /// A u128 in two halves, low first, so that it aligns to 8 bytes and an entry stays small.
    halves: [u64; 2],
}

impl RateState {
    #[expect(clippy::cast_possible_truncation, reason = "the low and the high half")]
    const fn new(tat: u128) -> Self {
        Self { halves: [tat as u64, (tat >> 64) as u64] }
    }

    const fn tat(self) -> u128 {
        self.halves[0] as u128 | (self.halves[1] as u128) << 64
    }
}

/// How a rate stands for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    /// Whether the cost fits now.
    pub allowed: bool,
    /// The state if it is spent; the present state if it does not fit.
    pub next: RateState,
    /// Nanoseconds, rounded up, until the same request would fit. `None` if it fits now, or if
    /// the cost is above the burst and never will.
    pub retry_after_ns: Option<u64>,
}

impl Rate {
    /// A rate. A `count` of 0 admits nothing, whatever the burst.
    #[must_use]
    pub fn new(count: u32, period_ns: u64, burst: u64) -> Self {
        // A tick would be infinite at count 0; a burst of 0 denies just the same.
        NonZeroU32::new(count).map_or(
            Self { count: NonZeroU32::MIN, period_ns: period_ns.max(1), burst: 0 },
            |count| Self { count, period_ns: period_ns.max(1), burst },
        )
    }

    /// `count` a second, `burst` at once.
    #[must_use]
    pub fn per_second(count: u32, burst: u64) -> Self {
        Self::new(count, 1_000_000_000, burst)
    }

    /// The most that is admitted at one instant.
    #[must_use]
    pub const fn burst(&self) -> u64 {
        self.burst
    }

    /// Judges a cost; changes nothing. A cost of 0 always fits.
    #[must_use]
    pub fn judge(&self, state: RateState, cost: u64, now_ns: u64) -> Judgement {
        let now = self.ticks(now_ns);
        let base = state.tat().max(now);
        let new = base + self.span(cost);
        let limit = now + self.span(self.burst);
        let allowed = cost == 0 || new <= limit;
        let possible = cost <= self.burst;
        let retry_after_ns =
            (!allowed && possible).then(|| self.nanos_up(new.saturating_sub(limit)));
        let next = if allowed && cost > 0 { RateState::new(new) } else { state };
        Judgement { allowed, next, retry_after_ns }
    }

    /// Whole units that would fit now.
    #[must_use]
    pub fn remaining(&self, state: RateState, now_ns: u64) -> u64 {
        let ahead = state.tat().saturating_sub(self.ticks(now_ns));
        let free = self.span(self.burst).saturating_sub(ahead);
        divide(free, u128::from(self.period_ns))
    }

    /// Nanoseconds, rounded up, until the whole burst is there again.
    #[must_use]
    pub fn reset_after_ns(&self, state: RateState, now_ns: u64) -> u64 {
        self.nanos_up(state.tat().saturating_sub(self.ticks(now_ns)))
    }

    /// The state under another rate: the time until reset is kept, up to the new rate's whole
    /// burst, so that raising a rate frees its holder at once and lowering it clamps.
    #[must_use]
    pub fn carry(&self, state: RateState, to: &Self, now_ns: u64) -> RateState {
        let ahead = state.tat().saturating_sub(self.ticks(now_ns));
        let spent = ahead.div_ceil(u128::from(self.period_ns));
        let spent = u64::try_from(spent).unwrap_or(u64::MAX).min(to.burst);
        RateState::new(to.ticks(now_ns) + to.span(spent))
    }

    // u64 * u32 and u64 * u64 both fit u128, and so does the sum of three such products.
    fn ticks(&self, ns: u64) -> u128 {
        u128::from(ns) * u128::from(self.count.get())
    }

    fn span(&self, units: u64) -> u128 {
        // Costs are at most 2^32 and bursts 2^63, periods a year (2^55 ns): below 2^119.
        u128::from(self.period_ns) * u128::from(units)
    }

    fn nanos_up(&self, ticks: u128) -> u64 {
        let count = u128::from(self.count.get());
        divide(ticks.saturating_add(count - 1), count)
    }
}

/// Division that takes the processor's 64-bit instruction where both sides fit, which is nearly
/// always; saturates.
fn divide(numerator: u128, denominator: u128) -> u64 {
    match (u64::try_from(numerator), u64::try_from(denominator)) {
        (Ok(numerator), Ok(denominator)) => numerator / denominator,
        _ => u64::try_from(numerator / denominator).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests;
