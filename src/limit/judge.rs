//! What is asked of all limits at one instant, and what came of it.

use keygate_protocol::VerdictCode;
use keygate_protocol::verdict::{LimitName, LimitReport, Limits};

use super::window::Calendar;
use crate::clock::Now;

/// What becomes of a cost that the cap covers and the lease does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LedgerState {
    /// The request waits for the ledger's debit.
    #[default]
    Open,
    /// The ledger cannot debit: denied.
    Denies,
    /// The ledger cannot debit: admitted without a lease, because the configuration says so. A
    /// crash forgets what was spent so.
    Allows,
}

/// A window of each kind that has initial leases; 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Windows {
    /// Of the day.
    pub day: u32,
    /// Of the month.
    pub month: u32,
}

impl Windows {
    /// Windows behind all others.
    pub const LAST: Self = Self { day: u32::MAX, month: u32::MAX };

    /// For how long before a window begins its initial leases may be out, as far as a crash can
    /// tell: the ledger says ahead, durably, in which windows they are.
    pub const AHEAD_US: i64 = 60 * 1_000_000;

    /// The windows of an instant, microseconds since 1970.
    #[must_use]
    pub fn at(wall_us: i64) -> Self {
        let Calendar { day, month, .. } = Calendar::at(wall_us);
        Self { day: day.number, month: month.number }
    }

    /// The later of both, by window.
    #[must_use]
    pub const fn later(self, other: Self) -> Self {
        Self {
            day: if self.day > other.day { self.day } else { other.day },
            month: if self.month > other.month { self.month } else { other.month },
        }
    }

    /// What a crash makes of these marks: it voids the windows of the instant at which it is found,
    /// and those that were said to be `ahead`, in which alone initial leases were out.
    #[must_use]
    pub const fn after_crash(self, found: Self, ahead: Self) -> Self {
        self.later(found).later(ahead)
    }
}

/// One request to the limits of a key and of its tenant.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Units; 0 judges without spending.
    pub cost: u64,
    /// Whether it spends.
    pub spends: bool,
    /// The instant at which every limit is judged.
    pub now: Now,
    /// The windows of that instant.
    pub calendar: &'a Calendar,
    /// The last windows whose initial leases a crash has voided. What was before them is void too:
    /// the clock may have been set back since.
    pub void: Windows,
    /// The last windows in which the ledger has said, durably, that initial leases are out. There
    /// are none in later ones, because a crash would not void them.
    pub said: Windows,
    /// What becomes of a cost that is not leased.
    pub ledger: LedgerState,
}

impl Ask<'_> {
    /// Microseconds from now to an instant of the wall clock.
    pub(super) const fn until(&self, wall_us: i64) -> u64 {
        let us = wall_us.saturating_sub(self.now.wall_us);
        if us > 0 { us.unsigned_abs() } else { 0 }
    }

    /// The wall clock in nanoseconds, for rates that survive a restart.
    pub(super) const fn wall_ns(&self) -> u64 {
        let us = self.now.wall_us;
        if us > 0 { us.unsigned_abs().saturating_mul(1000) } else { 0 }
    }
}

/// What the limits say, gathered over all of them before anything is spent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Judging {
    denied: Option<Denial>,
    dry: bool,
}

/// The limit that denies for the longest.
#[derive(Debug, Clone, Copy)]
struct Denial {
    name: LimitName,
    wait_us: Option<u64>,
}

impl Judging {
    /// A limit denies, for so long; `None` for good.
    pub(super) fn deny(&mut self, name: LimitName, wait_us: Option<u64>) {
        let longest = |wait: Option<u64>| wait.unwrap_or(u64::MAX);
        if self.denied.is_none_or(|denied| longest(wait_us) > longest(denied.wait_us)) {
            self.denied = Some(Denial { name, wait_us });
        }
    }

    /// There is no room for what this limit would hold, whatever it says itself.
    pub fn deny_for_room(&mut self, name: LimitName) {
        self.deny(name, Some(0));
    }

    /// A lease does not cover the cost.
    pub(super) const fn run_dry(&mut self) {
        self.dry = true;
    }

    /// The limit that denied, if one did.
    #[must_use]
    pub fn denied_by(&self) -> Option<LimitName> {
        self.denied.map(|denied| denied.name)
    }

    /// Whether nothing denies, and a lease does not cover the cost.
    #[must_use]
    pub const fn is_dry(&self) -> bool {
        self.dry && self.denied.is_none()
    }
}

/// The names under which the limits of a key or of a tenant stand in a verdict.
#[derive(Debug, Clone, Copy)]
pub struct Names {
    pub(super) second: LimitName,
    pub(super) day: LimitName,
    pub(super) month: LimitName,
    pub(super) lifetime: LimitName,
    pub(super) slots: LimitName,
}

impl Names {
    /// That of the requests per second.
    #[must_use]
    pub const fn second(&self) -> LimitName {
        self.second
    }

    /// Those of a key.
    pub const KEY: Self = Self {
        second: LimitName::Second,
        day: LimitName::Day,
        month: LimitName::Month,
        lifetime: LimitName::Lifetime,
        slots: LimitName::Slots,
    };
    /// Those of a tenant.
    pub const TENANT: Self = Self {
        second: LimitName::TenantSecond,
        day: LimitName::TenantDay,
        month: LimitName::TenantMonth,
        lifetime: LimitName::TenantLifetime,
        slots: LimitName::TenantSlots,
    };
}

/// The verdict's code when a limit denies.
#[must_use]
pub const fn code_of(name: LimitName) -> VerdictCode {
    match name {
        LimitName::Second | LimitName::TenantSecond => VerdictCode::RateExceeded,
        LimitName::Day
        | LimitName::Month
        | LimitName::TenantDay
        | LimitName::TenantMonth
        | LimitName::Named1
        | LimitName::Named2
        | LimitName::Named3
        | LimitName::Named4 => VerdictCode::QuotaExceeded,
        LimitName::Lifetime | LimitName::TenantLifetime => VerdictCode::UsesExhausted,
        LimitName::Slots | LimitName::TenantSlots => VerdictCode::ConcurrencyExceeded,
        LimitName::Credits => VerdictCode::CreditsExhausted,
    }
}

/// Where the figures of all limits go, after the decision.
#[derive(Debug)]
pub struct Reports<'v> {
    pub(super) limits: &'v mut Limits,
    /// Whether a limit denied, so that those that did say how long to wait.
    pub(super) denied: bool,
    /// Whether less than a tenth is left of one of them.
    pub(super) near_end: bool,
}

impl<'v> Reports<'v> {
    /// Writes into the limits of a verdict.
    pub const fn new(limits: &'v mut Limits, denied: bool) -> Self {
        Self { limits, denied, near_end: false }
    }

    /// Whether less than a tenth is left of a day, a month, a lifetime or a balance.
    #[must_use]
    pub const fn near_end(&self) -> bool {
        self.near_end
    }

    pub(super) const fn push(
        &mut self,
        name: LimitName,
        [limit, remaining]: [u64; 2],
        retry_after_us: Option<u64>,
        reset_after_us: Option<u64>,
    ) {
        self.limits.push(LimitReport { name, limit, remaining, retry_after_us, reset_after_us });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-31T23:59:30Z.
    const EVE_US: i64 = 1_769_903_970_000_000;

    #[test]
    fn a_crash_voids_the_latest_windows_that_anybody_may_have_spent_in() {
        let (eve, next) = (Windows::at(EVE_US), Windows::at(EVE_US + Windows::AHEAD_US));
        assert_eq!((next.day, next.month), (eve.day + 1, eve.month + 1), "a minute later");
        let none = Windows::default();
        assert_eq!(none.after_crash(eve, none), eve);
        assert_eq!(none.after_crash(eve, next), next, "said ahead");
        assert_eq!(next.after_crash(eve, none), next, "of a crash before");
        let set_back = Windows { day: eve.day + 7, month: 3 };
        let both = Windows { day: eve.day + 7, month: eve.month };
        assert_eq!(none.after_crash(eve, set_back), both, "each by itself");
    }
}
