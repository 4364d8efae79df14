//! Arrival times as leases: the ledger debits a rate by the arrival time up to which it may be
//! spent.

use super::{Rate, RateState, divide};

impl RateState {
    /// The later of two arrival times of one rate.
    #[must_use]
    pub const fn max(self, other: Self) -> Self {
        if other.tat() > self.tat() { other } else { self }
    }

    /// The earlier of two arrival times of one rate.
    #[must_use]
    pub const fn min(self, other: Self) -> Self {
        if other.tat() < self.tat() { other } else { self }
    }
}

impl Rate {
    /// Units in a period.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count.get()
    }

    /// The period, in nanoseconds.
    #[must_use]
    pub const fn period_ns(&self) -> u64 {
        self.period_ns
    }

    /// Whole units between two arrival times; 0 where the second is not later.
    pub(in crate::limit) fn units_between(&self, from: RateState, to: RateState) -> u64 {
        divide(to.tat().saturating_sub(from.tat()), u128::from(self.period_ns))
    }

    /// An arrival time, or this instant if it is past: where the next unit is counted from.
    pub(in crate::limit) fn not_before(&self, tat: RateState, now_ns: u64) -> RateState {
        tat.max(RateState::from_tat(self.ticks(now_ns)))
    }

    /// The arrival time after so many units from there on, or from this instant if that is later.
    pub(in crate::limit) fn later(&self, from: RateState, units: u64, now_ns: u64) -> RateState {
        RateState::from_tat(self.not_before(from, now_ns).tat() + self.span(units))
    }
}
