//! The engine's side of the ledger: which accounts want a lease, what is debited for them, and
//! what was spent. Nothing here waits: whoever keeps the ledger takes, writes and grants.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use super::Engine;
use super::catalog::Catalog;
use super::terms::Compiled;
use super::usage::{Shards, shards, thread_number};
use crate::clock::Now;
use crate::key::{Allowance, KeyRecord, TenantRecord};
use crate::limit::{
    AccountRow, Budget, Change, Debit, Figures, LedgerState, Names, Terms, Windows,
};

/// Whose durable limits a row of the ledger has.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Account {
    /// A key's.
    Key(u64),
    /// A tenant's.
    Tenant(Arc<str>),
}

/// What decisions tell the keeper of the ledger, and it tells them.
#[derive(Debug)]
pub(super) struct LedgerDesk {
    /// Accounts that want their next lease, by the thread that noticed.
    asking: Shards<Vec<Account>>,
    /// Whether there are any.
    asked: AtomicBool,
    /// [`Ask::void`](crate::limit::Ask::void).
    void: TwoWindows,
    /// [`Ask::said`](crate::limit::Ask::said). Every window, until the ledger says otherwise: where
    /// none is kept, nothing survives.
    said: TwoWindows,
    state: AtomicU8,
}

/// A window of each kind, read and written as one: the day in the high half.
#[derive(Debug)]
struct TwoWindows(AtomicU64);

impl TwoWindows {
    fn new(windows: Windows) -> Self {
        let new = Self(AtomicU64::new(0));
        new.set(windows);
        new
    }

    fn set(&self, windows: Windows) {
        let both = u64::from(windows.day) << 32 | u64::from(windows.month);
        self.0.store(both, Ordering::Relaxed);
    }

    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    fn get(&self) -> Windows {
        let both = self.0.load(Ordering::Relaxed);
        Windows { day: (both >> 32) as u32, month: both as u32 }
    }
}

impl Default for LedgerDesk {
    fn default() -> Self {
        Self {
            asking: shards(Vec::new),
            asked: AtomicBool::new(false),
            void: TwoWindows::new(Windows { day: 0, month: 0 }),
            said: TwoWindows::new(Windows::LAST),
            state: AtomicU8::new(0),
        }
    }
}

impl LedgerDesk {
    /// Puts an account on the list, of which its budget has noted that it stands there.
    pub(super) fn ask(&self, account: Account) {
        self.asking[thread_number() % self.asking.len()].lock().push(account);
        self.asked.store(true, Ordering::Release);
    }

    pub(super) fn void(&self) -> Windows {
        self.void.get()
    }

    pub(super) fn said(&self) -> Windows {
        self.said.get()
    }

    pub(super) fn state(&self) -> LedgerState {
        match self.state.load(Ordering::Relaxed) {
            0 => LedgerState::Open,
            1 => LedgerState::Denies,
            _ => LedgerState::Allows,
        }
    }
}

impl Engine {
    /// Whether an account wants a lease.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.ledger.asked.load(Ordering::Relaxed)
    }

    /// Accounts that want a lease, since they were last taken.
    pub fn take_asking(&self) -> Vec<Account> {
        // First, so that whoever comes now says so again.
        self.ledger.asked.store(false, Ordering::Release);
        self.ledger.asking.iter().flat_map(|shard| std::mem::take(&mut *shard.lock())).collect()
    }

    /// The next leases of an account and the row that debits them. `None` when nothing is to be
    /// debited, or there is no such account any more. To be granted when the row is durable.
    pub fn debit(&self, account: &Account, now: Now) -> Option<Debit> {
        let moment = self.moment(now);
        self.with_budget(account, |budget| budget.debit(&moment.ask(0, false)))?
    }

    /// The row of a debit is durable: its leases may be spent.
    pub fn grant(&self, account: &Account, debit: &Debit) {
        self.with_budget(account, |budget| budget.grant(debit));
    }

    /// What the ledger has to know of an account, as it stands; with `give_back` what is left of
    /// its leases goes back. Debits that are under way become void, so the row is written behind
    /// theirs.
    pub fn settle(&self, account: &Account, give_back: bool, now: Now) -> Option<AccountRow> {
        let moment = self.moment(now);
        self.with_budget(account, |budget| {
            budget.enter(&moment.ask(0, false));
            budget.settle(give_back)
        })
    }

    /// The limits of a key beyond the second, as this record has them under the present rules.
    #[must_use]
    pub fn terms_of(&self, record: &KeyRecord) -> Terms {
        let view = record.view();
        let allowance = self.rules.read().allowance(&view);
        let of =
            |it: &Allowance| Compiled::of(it, view.credits.as_ref(), view.total_requests).terms;
        allowance.as_ref().and_then(of).map(|terms| *terms).unwrap_or_default()
    }

    /// Those that the keys of a tenant share, as this record has them.
    #[must_use]
    pub fn terms_of_tenant(record: &TenantRecord) -> Terms {
        let terms = Compiled::of(&record.allowance(), None, 0).terms;
        terms.map(|terms| *terms).unwrap_or_default()
    }

    /// What the ledger has to know of an account once its limits have changed so, which is to be
    /// done when that is durable; `None` where it knows. Until then the account has no lease.
    pub fn settle_change(
        &self,
        account: &Account,
        terms: &Terms,
        change: &Change,
        now: Now,
    ) -> Option<AccountRow> {
        let moment = self.moment(now);
        let ask = moment.ask(0, false);
        let settled = self.with_budget(account, |budget| {
            Budget::settle_change(Some(budget), terms, change, &ask)
        });
        settled.unwrap_or_else(|| Budget::settle_change(None, terms, change, &ask))
    }

    /// The row of [`Engine::settle`] could not be written.
    pub fn unsettle(&self, account: &Account) {
        self.with_budget(account, Budget::unsettle);
    }

    /// Whether an account has figures at this instant that the ledger does not have: what was spent,
    /// and what a crash has charged to it.
    #[must_use]
    pub fn has_moved(&self, account: &Account, now: Now) -> bool {
        let moment = self.moment(now);
        let moved = self.with_budget(account, |budget| {
            budget.enter(&moment.ask(0, false));
            budget.has_moved()
        });
        moved.unwrap_or(false)
    }

    /// Accounts whose figures the ledger does not have: at a stop, all that have been used.
    #[must_use]
    pub fn moved_accounts(&self) -> Vec<Account> {
        self.read().moved_accounts()
    }

    /// Takes the figures that the ledger had of an account at start: what was debited counts as
    /// spent.
    pub fn restore_account(&self, account: &Account, row: &AccountRow, now: Now) {
        let moment = self.moment(now);
        self.write().restore_account(account, |budget| budget.restore(row, &moment.ask(0, false)));
    }

    /// The figures that the ledger had of an account at start are lost: all that it may spend now
    /// counts as spent.
    pub fn exhaust_account(&self, account: &Account, now: Now) {
        let moment = self.moment(now);
        self.write().restore_account(account, |budget| budget.exhaust(&moment.ask(0, false)));
    }

    /// Says in which windows a crash has voided the initial leases: an account without figures
    /// there starts with its initial lease spent. For keys that are made from here on it does not
    /// hold.
    pub fn set_void(&self, void: Windows) {
        self.ledger.void.set(void);
    }

    /// Says up to which windows the ledger has said, durably, that initial leases are out. In later
    /// ones there are none.
    pub fn set_said(&self, said: Windows) {
        self.ledger.said.set(said);
    }

    /// Says what becomes of a cost that is not leased.
    pub fn set_ledger(&self, state: LedgerState) {
        let number = match state {
            LedgerState::Open => 0,
            LedgerState::Denies => 1,
            LedgerState::Allows => 2,
        };
        self.ledger.state.store(number, Ordering::Relaxed);
    }

    /// How the limits of an account stand, for people.
    #[must_use]
    pub fn limit_figures(&self, account: &Account, now: Now) -> Vec<Figures> {
        let moment = self.moment(now);
        let ask = moment.ask(0, false);
        let catalog = self.read();
        let mut all = Vec::new();
        match account {
            Account::Key(id) => {
                let Some(entry) = catalog.by_id(*id) else { return all };
                let cell = entry.cell.lock();
                all.extend(entry.second.figures(cell.second, Names::KEY.second(), now.mono_ns));
                if let Some(budget) = catalog.budget(entry) {
                    let mut budget = budget.lock();
                    self.enter(&mut budget, &ask);
                    all.extend(budget.figures(&Names::KEY, &ask));
                }
            }
            Account::Tenant(name) => {
                let Some(shared) = catalog.tenants.shared_of(name) else { return all };
                let mut shared = shared.lock();
                let name = Names::TENANT.second();
                all.extend(shared.second.figures(shared.state, name, now.mono_ns));
                self.enter(&mut shared.budget, &ask);
                all.extend(shared.budget.figures(&Names::TENANT, &ask));
            }
        }
        all
    }

    /// What is left of a key's balance, if it has one.
    #[must_use]
    pub fn balance(&self, id: u64, now: Now) -> Option<u64> {
        let moment = self.moment(now);
        self.with_budget(&Account::Key(id), |budget| budget.balance(&moment.ask(0, false)))?
    }

    pub(super) fn with_budget<T>(
        &self,
        account: &Account,
        act: impl FnOnce(&mut Budget) -> T,
    ) -> Option<T> {
        self.read().with_budget(account, act)
    }
}

impl Catalog {
    fn with_budget<T>(&self, account: &Account, act: impl FnOnce(&mut Budget) -> T) -> Option<T> {
        match account {
            Account::Key(id) => {
                let entry = self.by_id(*id)?;
                Some(act(&mut self.budget(entry)?.lock()))
            }
            Account::Tenant(name) => Some(act(&mut self.tenants.shared_of(name)?.lock().budget)),
        }
    }
}
