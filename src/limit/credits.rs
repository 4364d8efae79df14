//! A balance: units that are there until they are spent, and that may be refilled.

use keygate_protocol::verdict::LimitName;

use super::judge::{Ask, Judging, Reports};
use super::quota::{Fit, Grant, Quota};
use super::window::{Refill, refill_window, refilled_at};
use super::{CreditDebits, Debits};

/// Most units of a balance: what an int64 holds.
const BALANCE_MAX: u64 = i64::MAX.unsigned_abs();
/// What a record says of a balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreditTerms {
    /// When the balance was set, microseconds since 1970: what was spent before has no meaning.
    pub granted_us: i64,
    /// Units at that instant.
    pub balance: u64,
    /// How it is refilled, if it is.
    pub refill: Option<RefillTerms>,
}

/// How a balance is refilled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefillTerms {
    /// When.
    pub every: Refill,
    /// By how much.
    pub amount: u64,
    /// Whether the amount is added to what is left; otherwise it takes its place.
    pub adds: bool,
}

/// The balance of a key, under the lock of its budget.
#[derive(Debug, Clone, Copy)]
pub(super) struct Balance {
    granted_us: i64,
    refill: Option<RefillTerms>,
    /// Its cap is the balance when it was set or last refilled.
    pub(super) quota: Quota,
    pub(super) stranded: u64,
}

impl Balance {
    pub(super) fn new(terms: &CreditTerms) -> Self {
        let mut quota = Quota::new(terms.balance.min(BALANCE_MAX));
        quota.refill(window(terms.refill, terms.granted_us), 0);
        Self { granted_us: terms.granted_us, refill: terms.refill, quota, stranded: 0 }
    }

    /// Takes other terms. A balance that was not set anew stays as it is.
    pub(super) fn change(&mut self, terms: &CreditTerms, wall_us: i64) {
        if terms.granted_us != self.granted_us {
            *self = Self::new(terms);
        } else if terms.refill.map(|it| it.every) != self.refill.map(|it| it.every) {
            // The windows of another refill are counted otherwise: the next one is the first.
            let mut quota = Quota::new(self.quota.remaining());
            quota.refill(window(terms.refill, wall_us), 0);
            let (granted_us, refill) = (self.granted_us, terms.refill);
            *self = Self { granted_us, refill, quota, stranded: 0 };
        } else {
            self.refill = terms.refill;
        }
    }

    /// Refills what was to be refilled by now. A clock that steps back refills nothing again.
    pub(super) fn enter(&mut self, wall_us: i64) {
        let Some(refill) = self.refill else { return };
        let (now, last) = (refill_window(refill.every, wall_us).number, self.quota.window());
        if now <= last {
            return;
        }
        if refill.adds {
            let times = u64::from(now - last);
            let room = BALANCE_MAX.saturating_sub(self.quota.remaining());
            self.quota.refill(now, refill.amount.saturating_mul(times).min(room));
        } else {
            self.quota = Quota::new(refill.amount.min(BALANCE_MAX));
            self.stranded = 0;
            self.quota.refill(now, 0);
        }
    }

    pub(super) fn judge(&self, ask: &Ask<'_>, judging: &mut Judging) {
        match self.quota.judge(ask.cost) {
            Fit::Fits => {}
            Fit::Dry => judging.run_dry(),
            Fit::Exceeded => judging.deny(LimitName::Credits, self.wait_us(ask)),
        }
    }

    /// Until a refill covers the cost; `None` where none will.
    fn wait_us(&self, ask: &Ask<'_>) -> Option<u64> {
        let refill = self.refill.filter(|refill| refill.amount > 0)?;
        let short = ask.cost - self.quota.remaining().min(ask.cost);
        let times = match refill.adds {
            true => short.div_ceil(refill.amount),
            false if ask.cost <= refill.amount => 1,
            false => return None,
        };
        Some(ask.until(refilled_at(refill.every, ask.now.wall_us, times)))
    }

    pub(super) fn report(&self, ask: &Ask<'_>, reports: &mut Reports<'_>) {
        let exceeded = reports.denied && self.quota.judge(ask.cost) == Fit::Exceeded;
        let retry_after_us = if exceeded { self.wait_us(ask) } else { None };
        let whole = self.quota.spent() == 0;
        let refilled = self
            .refill
            .filter(|refill| !refill.adds)
            .map(|refill| ask.until(refill_window(refill.every, ask.now.wall_us).ends_us));
        let reset_after_us = if whole { Some(0) } else { refilled };
        reports.near_end |= self.quota.is_near_end();
        let figures = [self.quota.cap(), self.quota.remaining()];
        reports.push(LimitName::Credits, figures, retry_after_us, reset_after_us);
    }

    /// Gives units back, never more than are known to have been taken; how many.
    pub(super) fn refund(&mut self, units: u64) -> u64 {
        self.quota.refund(units, self.stranded)
    }

    /// Counts all of it as spent.
    pub(super) const fn exhaust(&mut self) {
        self.stranded = self.quota.cap();
        self.quota.exhaust(self.stranded);
    }

    /// When the next refill is.
    pub(super) fn ends_us(&self, wall_us: i64) -> Option<i64> {
        self.refill.map(|refill| refill_window(refill.every, wall_us).ends_us)
    }

    pub(super) const fn row(&self, grant: Grant) -> CreditDebits {
        let debits: Debits = self.quota.row(grant, self.stranded);
        CreditDebits { granted_us: self.granted_us, base: self.quota.cap(), debits }
    }

    /// Takes the ledger's figures, if they are of this setting of the balance.
    pub(super) fn restore(&mut self, row: &CreditDebits) {
        if row.granted_us == self.granted_us {
            self.quota = Quota::new(row.base);
            self.stranded = self.quota.restore(&row.debits);
        }
    }
}

/// The window of a refill; one without has one window for ever.
fn window(refill: Option<RefillTerms>, wall_us: i64) -> u32 {
    refill.map_or(1, |refill| refill_window(refill.every, wall_us).number)
}
