//! How many units a second are spent: what the next lease is measured by.

use crate::clock::Now;

/// The least time over which demand is measured: what came at once is no demand of a second.
const DEMAND_MS_MIN: u64 = 100;

/// Units spent since the last lease was asked for, and when that was.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Demand {
    units: u32,
    since_ms: u32,
}

impl Demand {
    pub(super) fn spend(&mut self, cost: u64) {
        let cost = u32::try_from(cost).unwrap_or(u32::MAX);
        self.units = self.units.saturating_add(cost);
    }

    /// Units of about a second, by what was spent since this was last asked.
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds that go round")]
    pub(super) fn take(&mut self, now: Now) -> u64 {
        let now_ms = (now.mono_ns / 1_000_000) as u32;
        let elapsed_ms = u64::from(now_ms.wrapping_sub(self.since_ms)).max(DEMAND_MS_MIN);
        let units = u64::from(self.units);
        *self = Self { units: 0, since_ms: now_ms };
        units * 1000 / elapsed_ms
    }
}

/// The same, told by how much is spent of quotas: of what spends without saying so here.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SpentDemand {
    spent: u64,
    since_ms: u32,
}

impl SpentDemand {
    /// Units of about a second. Where a window has ended since this was last asked, those of the new
    /// one.
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds that go round")]
    pub(super) fn take(&mut self, spent: u64, now: Now) -> u64 {
        let now_ms = (now.mono_ns / 1_000_000) as u32;
        let elapsed_ms = u64::from(now_ms.wrapping_sub(self.since_ms)).max(DEMAND_MS_MIN);
        let units = spent.checked_sub(self.spent).unwrap_or(spent);
        *self = Self { spent, since_ms: now_ms };
        u64::try_from(u128::from(units) * 1000 / u128::from(elapsed_ms)).unwrap_or(u64::MAX)
    }
}
