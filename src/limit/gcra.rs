//! GCRA, the generic cell rate algorithm (ITU-T I.371), in exact arithmetic.
//!
//! With T = period / count and tau = T * burst, a request of cost c at time t is judged against
//! the theoretical arrival time (tat): `base = max(tat, t)`, `new = base + T * c`, allowed if and
//! only if `new - tau <= t`; then `tat := new`. A full burst is there after an idle time, and
//! never more.
//!
//! T is rarely a whole number of nanoseconds (7 a minute), so times are counted in ticks of
//! 1/count ns: there T is exactly `period_ns` ticks and nothing is ever rounded in the state.
//!
//! Nothing overflows a u128: clocks show less than 2^63 ns and counts are at most 2^63 - 1, so `t`
//! is below 2^126 ticks; bursts are below 2^63 too, costs at most 2^32 and periods at most 366 days
//! (below 2^55 ns), so `tau` and `T * c` are below 2^118, and so is what `tat` is ahead of `t`.

mod lease;

use std::num::NonZeroU64;

use super::Spent;

/// A rate: `count` units in every `period_ns`, `burst` of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    count: NonZeroU64,
    /// 1 at the least.
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
    /// The state whose theoretical arrival time is `tat`, in ticks of the rate.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the low and the high half")]
    pub const fn from_tat(tat: u128) -> Self {
        Self { halves: [tat as u64, (tat >> 64) as u64] }
    }

    /// The theoretical arrival time, in ticks of the rate.
    #[must_use]
    pub const fn tat(self) -> u128 {
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
    /// A rate. A `count` of 0 admits nothing, whatever the burst. The bounds of the module's text
    /// are the caller's to keep: counts and bursts below 2^63, periods of at most 366 days.
    #[must_use]
    pub fn new(count: u64, period_ns: u64, burst: u64) -> Self {
        // A tick would be infinite at count 0; a burst of 0 denies just the same.
        NonZeroU64::new(count).map_or(
            Self { count: NonZeroU64::MIN, period_ns: period_ns.max(1), burst: 0 },
            |count| Self { count, period_ns: period_ns.max(1), burst },
        )
    }

    /// `count` a second, `burst` at once.
    #[must_use]
    pub fn per_second(count: u32, burst: u64) -> Self {
        Self::new(u64::from(count), 1_000_000_000, burst)
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
        let next = if allowed && cost > 0 { RateState::from_tat(new) } else { state };
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

    /// The state under another rate. Whatever the policy, the old arrival time is forgotten: a
    /// raised rate never goes on denying for as long as the old one would have, and a lowered one
    /// is at most a whole burst of its own behind.
    #[must_use]
    pub fn carry(&self, state: RateState, to: &Self, now_ns: u64, policy: Spent) -> RateState {
        let ahead = state.tat().saturating_sub(self.ticks(now_ns));
        let ahead = match policy {
            // A change of another field must not round: done often enough, a holder would starve.
            Spent::Keep | Spent::Proportional if self == to => return state,
            Spent::Keep => self.kept(ahead, to),
            Spent::Proportional => self.share(ahead, to),
            Spent::Reset => 0,
        };
        RateState::from_tat(to.ticks(now_ns) + ahead.min(to.span(to.burst)))
    }

    /// As many units, and the same part of one, in ticks of another rate, rounded up.
    fn kept(&self, ahead: u128, to: &Self) -> u128 {
        let period = u128::from(self.period_ns);
        // Below 2^128 as the product of two u64, unlike that of all of `ahead`.
        let part = (ahead % period * u128::from(to.period_ns)).div_ceil(period);
        (ahead / period).saturating_mul(u128::from(to.period_ns)).saturating_add(part)
    }

    /// The same share of another burst, in whole units, rounded up, in ticks of the other rate.
    fn share(&self, ahead: u128, to: &Self) -> u128 {
        let whole = self.span(self.burst);
        if ahead >= whole {
            return if ahead == 0 { 0 } else { to.span(to.burst) };
        }
        // ahead * new / old without a product above 2^128: whole units first, then what is left of
        // both divisions over the common denominator.
        let (period, old, new) =
            (u128::from(self.period_ns), u128::from(self.burst), u128::from(to.burst));
        let scaled = ahead / period * new;
        let rest = scaled % old * period + ahead % period * new;
        (scaled / old + rest.div_ceil(whole)) * u128::from(to.period_ns)
    }

    fn ticks(&self, ns: u64) -> u128 {
        u128::from(ns) * u128::from(self.count.get())
    }

    fn span(&self, units: u64) -> u128 {
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
