//! The limits beyond the second that stand beside the entries of keys, and what the ledger has of
//! them.

use parking_lot::Mutex;

use super::Catalog;
use crate::engine::entry::{Entry, NO_BUDGET};
use crate::engine::ledger::Account;
use crate::engine::place::Place;
use crate::limit::{Ask, Budget, Change, Terms};

impl Catalog {
    /// The limits of a key beyond the second, if it has any.
    pub(in crate::engine) fn budget(&self, entry: &Entry) -> Option<&Mutex<Budget>> {
        (entry.budget != NO_BUDGET).then(|| &self.budgets.get(entry.budget).limits)
    }

    /// Has the processor fetch the limits of an entry and of its tenant, while it is busy with what
    /// comes first.
    pub(in crate::engine) fn touch_limits_of(&self, entry: &Entry) {
        if entry.budget != NO_BUDGET {
            self.budgets.get(entry.budget).touch();
        }
        self.tenants.touch(entry.tenant);
    }

    /// Makes, changes or keeps the budget of a key; its place. One that has nothing to say any more
    /// goes.
    pub(super) fn put_budget(
        &mut self,
        place: u32,
        terms: Option<&Terms>,
        ask: &Ask<'_>,
        change: &Change,
    ) -> u32 {
        if place == NO_BUDGET {
            let Some(terms) = terms else { return NO_BUDGET };
            let budget = Budget::at(terms, ask);
            // There are no more budgets than entries, which have as many places.
            return self.budgets.insert(Place::new(budget)).unwrap_or(NO_BUDGET);
        }
        let budget = self.budgets.get_mut(place).limits.get_mut();
        let none = Terms::default();
        budget.change(terms.unwrap_or(&none), change, ask);
        if budget.is_blank() { self.drop_budget(place) } else { place }
    }

    pub(super) fn drop_budget(&mut self, place: u32) -> u32 {
        if place != NO_BUDGET {
            *self.budgets.get_mut(place) = Place::default();
            self.budgets.free(place);
        }
        NO_BUDGET
    }

    /// Gives an account what `restore` makes of the ledger's figures at start. One that has no
    /// limits now keeps them too: a limit that comes back finds what was spent.
    pub(in crate::engine) fn restore_account(
        &mut self,
        account: &Account,
        restore: impl FnOnce(&mut Budget),
    ) {
        match account {
            Account::Key(id) => {
                let Some(slot) = self.slot_of(*id) else { return };
                let place = match self.entries.get(slot).budget {
                    NO_BUDGET => {
                        let blank = Place::new(Budget::new(&Terms::default()));
                        let Some(place) = self.budgets.insert(blank) else { return };
                        self.entries.get_mut(slot).budget = place;
                        place
                    }
                    place => place,
                };
                let budget = self.budgets.get_mut(place).limits.get_mut();
                restore(budget);
                if budget.is_blank() {
                    self.entries.get_mut(slot).budget = self.drop_budget(place);
                }
            }
            Account::Tenant(name) => self.tenants.restore(name, restore),
        }
    }

    /// Accounts whose figures the ledger does not have.
    pub(in crate::engine) fn moved_accounts(&self) -> Vec<Account> {
        // A free slot may still name a budget; an entry is itself if its id leads to it.
        let places = (0..self.entries.slots()).map(|slot| (slot, self.entries.get(slot)));
        let keys = places.filter(|(slot, entry)| {
            entry.budget != NO_BUDGET
                && self.slot_of(entry.id) == Some(*slot)
                && self.budgets.get(entry.budget).limits.lock().has_moved()
        });
        let mut moved: Vec<Account> = keys.map(|(_, entry)| Account::Key(entry.id)).collect();
        moved.extend(self.tenants.moved().map(Account::Tenant));
        moved
    }

    /// Has every budget in a range of places let go of slots whose time has ended; whether there
    /// are places behind.
    pub(in crate::engine) fn reap(
        &self,
        places: std::ops::Range<u32>,
        mut reap: impl FnMut(&mut Budget),
    ) -> bool {
        let end = places.end.min(self.budgets.slots());
        (places.start..end).for_each(|place| reap(&mut self.budgets.get(place).limits.lock()));
        end < self.budgets.slots()
    }
}
