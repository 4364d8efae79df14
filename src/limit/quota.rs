//! A quota that survives a crash: units of one window, spent from a lease.
//!
//! The ledger has debited the leased units, durably, before the first of them is spent. So
//! `spent <= leased <= debited` holds at every instant, and a crash can strand what was leased and
//! not spent, but nobody spends a unit twice. What may be spent in all is the cap; what may be
//! spent without waiting for the ledger is the lease.

use super::Debits;
use super::spent::Spent;

/// The cap of a quota that does not limit.
pub const UNLIMITED: u64 = u64::MAX;

/// Units that a key may spend in a new window before the ledger has written anything: a hundredth
/// of the cap, and 100 at the most.
const INITIAL_MAX: u64 = 100;

/// With what an account enters a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fresh {
    /// With nothing: the first request waits for its debit.
    Empty,
    /// With an initial lease, which needs no debit: a recovery charges it to every account that
    /// has no figures in the window.
    Leased,
    /// After a crash in this window, without figures: the initial lease counts as spent.
    Void,
}

/// How a cost stands to a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// The lease covers it.
    Fits,
    /// The cap covers it and the lease does not: the ledger has to debit first.
    Dry,
    /// The cap does not cover it.
    Exceeded,
}

/// The figures of one quota, and its cap: what decisions need. Units that a crash has cost are kept
/// beside, by whoever has the quota, and handed in and out: `stranded <= spent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    cap: u64,
    spent: u64,
    leased: u64,
    /// The window that the figures belong to; 0 for none yet. Only ever grows.
    window: u32,
    /// Units of the lease in hand; 0 where there is none to ask for the next at half of.
    lease: u32,
}

/// Units that are debited in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Grant {
    window: u32,
    units: u64,
}

impl Grant {
    /// Units that it debits.
    #[must_use]
    pub const fn units(&self) -> u64 {
        self.units
    }
}

impl Default for Quota {
    fn default() -> Self {
        Self::new(UNLIMITED)
    }
}

impl Quota {
    /// A quota of which nothing is spent, in no window yet.
    #[must_use]
    pub const fn new(cap: u64) -> Self {
        Self { cap, spent: 0, leased: 0, window: 0, lease: 0 }
    }

    /// Whether it limits at all.
    #[must_use]
    pub const fn limits(&self) -> bool {
        self.cap != UNLIMITED
    }

    /// The cap.
    #[must_use]
    pub const fn cap(&self) -> u64 {
        self.cap
    }

    /// Units spent in the window, those that are stranded among them.
    #[must_use]
    pub const fn spent(&self) -> u64 {
        self.spent
    }

    /// Units that are left of the cap.
    #[must_use]
    pub const fn remaining(&self) -> u64 {
        self.cap.saturating_sub(self.spent)
    }

    /// Units that are leased and not spent: what a crash now would strand.
    #[must_use]
    pub const fn outstanding(&self) -> u64 {
        self.leased.saturating_sub(self.spent)
    }

    /// Cap, units spent, remaining, outstanding and stranded.
    #[must_use]
    pub const fn figures(&self, stranded: u64) -> [u64; 5] {
        [self.cap, self.spent, self.remaining(), self.outstanding(), stranded]
    }

    /// The window of the figures.
    #[must_use]
    pub const fn window(&self) -> u32 {
        self.window
    }

    /// Whether less than a tenth is left.
    #[must_use]
    pub const fn is_near_end(&self) -> bool {
        self.limits() && self.remaining() < self.cap.div_ceil(10)
    }

    /// Units of an initial lease.
    const fn initial(cap: u64) -> u64 {
        let hundredth = if cap == UNLIMITED { 0 } else { cap / 100 };
        if hundredth < INITIAL_MAX { hundredth } else { INITIAL_MAX }
    }

    /// Moves on to a later window; the lease dies with the one before. A clock that steps back
    /// changes nothing: the later window stays. How many units are stranded there, if it moved.
    #[must_use]
    pub fn enter(&mut self, window: u32, fresh: Fresh) -> Option<u64> {
        if window <= self.window {
            return None;
        }
        let leased = if fresh == Fresh::Empty { 0 } else { Self::initial(self.cap) };
        let stranded = if fresh == Fresh::Void { leased } else { 0 };
        *self =
            Self { spent: stranded, leased, window, lease: narrow(leased), ..Self::new(self.cap) };
        Some(stranded)
    }

    /// Moves on to a window with more units and the same figures: what a balance does.
    pub(super) fn refill(&mut self, window: u32, units: u64) {
        self.window = window;
        // One that has no end stays a balance: the largest cap is none.
        self.cap = self.cap.saturating_add(units).min(UNLIMITED - 1);
    }

    /// How a cost stands to it; changes nothing.
    #[must_use]
    pub const fn judge(&self, cost: u64) -> Fit {
        let after = self.spent.saturating_add(cost);
        if !self.limits() || cost == 0 || after <= self.leased && after <= self.cap {
            Fit::Fits
        } else if after <= self.cap {
            Fit::Dry
        } else {
            Fit::Exceeded
        }
    }

    /// Spends a cost; whether the next lease is to be asked for, which is said once. A cost beyond
    /// the lease, where that is allowed, counts as leased.
    pub fn spend(&mut self, cost: u64) -> bool {
        if !self.limits() {
            return false;
        }
        self.spent = self.spent.saturating_add(cost);
        self.leased = self.leased.max(self.spent);
        let asks = self.lease != 0
            && self.leased - self.spent <= u64::from(self.lease / 2)
            && usual_lease(self.cap, self.cap.saturating_sub(self.leased), 0) > 0;
        if asks {
            self.lease = 0;
        }
        asks
    }

    /// Gives units back, never more than were spent and are known to have been; how many. They are
    /// as if they had never been leased, once the ledger's row says so.
    pub fn refund(&mut self, units: u64, stranded: u64) -> u64 {
        let units = units.min(self.spent - stranded);
        self.spent -= units;
        self.leased -= units;
        units
    }

    /// The next lease, to be debited, where requests wait for so many units. It may be spent once
    /// it is granted. Where there is none because the lease in hand suffices, that is asked for
    /// anew at half of what is left of it.
    pub fn debit(&mut self, wanted: u64, demand: u64) -> Grant {
        if !self.limits() {
            return Grant { window: self.window, units: 0 };
        }
        let (held, left) = (self.outstanding(), self.cap.saturating_sub(self.leased));
        let units = next_lease(self.cap, [held, left], wanted, demand);
        if units == 0 && self.lease == 0 {
            self.lease = narrow(held);
        }
        Grant { window: self.window, units }
    }

    /// The debit is durable. One of another window is nobody's any more.
    pub fn grant(&mut self, grant: Grant) {
        if grant.window == self.window && grant.units > 0 {
            self.leased = self.leased.saturating_add(grant.units);
            self.lease = narrow(grant.units);
        }
    }

    /// The figures for the ledger, with a lease that is being debited.
    #[must_use]
    pub const fn row(&self, grant: Grant, stranded: u64) -> Debits {
        let units = if grant.window == self.window { grant.units } else { 0 };
        Debits {
            window: self.window,
            debited: self.leased.saturating_add(units),
            spent: self.spent,
            stranded,
        }
    }

    /// Gives what is left of the lease back to the ledger.
    pub const fn give_back(&mut self) {
        self.leased = self.spent;
        self.lease = 0;
    }

    /// Takes the figures that the ledger had: what was debited counts as spent, whoever spent it.
    /// How many units are stranded.
    #[must_use]
    pub const fn restore(&mut self, row: &Debits) -> u64 {
        let lost = row.debited.saturating_sub(row.spent);
        self.window = row.window;
        self.spent = row.debited;
        self.leased = row.debited;
        self.lease = 0;
        row.stranded.saturating_add(lost)
    }

    /// Counts so many units as spent, all of them stranded: what there may have been is not known.
    pub(super) const fn exhaust(&mut self, spent: u64) {
        (self.spent, self.leased, self.lease) = (spent, spent, 0);
    }

    /// Another cap. What becomes of what was spent is the policy's to say; unless it is kept, what
    /// was leased goes back, so that the ledger must be told. A reset begins anew in the window of
    /// now, also where a clock that was wrong had taken the quota to one that is years ahead.
    /// How many of the stranded units still are.
    #[must_use]
    pub fn change(&mut self, cap: u64, policy: Spent, window: u32, mut stranded: u64) -> u64 {
        if policy != Spent::Keep && self.limits() && cap != UNLIMITED {
            self.spent = policy.apply(self.spent, self.cap, cap);
            stranded = policy.apply(stranded, self.cap, cap).min(self.spent);
            self.give_back();
            if policy == Spent::Reset {
                self.window = window;
            }
        }
        // A crash charges whom it finds without figures the initial lease of this cap, so that no
        // larger one may be out of which the ledger does not know.
        if cap != self.cap && self.leased > Self::initial(cap) {
            self.give_back();
        }
        self.cap = cap;
        stranded
    }
}

/// Units of the next lease, of those `left` that are not debited: what requests wait for beyond
/// what is `held`, and otherwise as many as usual. Whoever holds as many needs no more: a limit
/// that was not short of units is debited with those that were, and must not pile them up.
pub(super) fn next_lease(cap: u64, [held, left]: [u64; 2], wanted: u64, demand: u64) -> u64 {
    let usual = usual_lease(cap, left, demand);
    let usual = if held < usual { usual } else { 0 };
    wanted.saturating_sub(held).max(usual).min(left)
}

/// About a second of the demand, or as much as an initial lease, but never more than an eighth of
/// what is left, so that near the cap single units are debited.
fn usual_lease(cap: u64, left: u64, demand: u64) -> u64 {
    demand.max(Quota::initial(cap)).min(left / 8)
}

/// A lease's size as a quota keeps it: what is beyond 32 bits is asked for a little later.
fn narrow(units: u64) -> u32 {
    u32::try_from(units).unwrap_or(u32::MAX)
}
