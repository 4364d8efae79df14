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
    pub(super) fn take(&mut self, now: Now) -> u64 {
        let units = std::mem::take(&mut self.units);
        per_second(units.into(), &mut self.since_ms, now)
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
    pub(super) fn take(&mut self, spent: u64, now: Now) -> u64 {
        let before = std::mem::replace(&mut self.spent, spent);
        per_second(spent.checked_sub(before).unwrap_or(spent), &mut self.since_ms, now)
    }
}

/// How many a second so many units are since an instant, which becomes that of now.
#[expect(clippy::cast_possible_truncation, reason = "milliseconds that go round")]
fn per_second(units: u64, since_ms: &mut u32, now: Now) -> u64 {
    let now_ms = (now.mono_ns / 1_000_000) as u32;
    let elapsed_ms = now_ms.wrapping_sub(std::mem::replace(since_ms, now_ms));
    let elapsed_ms = u64::from(elapsed_ms).max(DEMAND_MS_MIN);
    u64::try_from(u128::from(units) * 1000 / u128::from(elapsed_ms)).unwrap_or(u64::MAX)
}
