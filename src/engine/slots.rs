//! Slots: given back by a report, by the end of a connection, or held for longer.

use keygate_protocol::{RenewOutcome, SlotRenew};

use super::Engine;
use super::catalog::Catalog;
use super::entry::Entry;
use super::limits::slot_ttl_ns;
use super::tenants::Bound;
use crate::clock::Now;
use crate::limit::{Ask, Budget, Slot, Slots};

impl Engine {
    /// Gives a slot back; whether it was held. For the end of a connection: a report does it in
    /// [`Engine::increment`].
    pub fn release_slot(&self, key_id: u64, slot: u64, now: Now) -> bool {
        let catalog = self.read();
        catalog.by_id(key_id).is_some_and(|entry| self.release(&catalog, entry, slot, now))
    }

    /// Holds a slot for its whole time again, from now on.
    pub fn renew_slot(&self, tenant: Option<&str>, renew: SlotRenew, now: Now) -> RenewOutcome {
        let catalog = self.read();
        let bound = catalog.tenants.bound(tenant);
        let Some(entry) = catalog.visible(renew.key_id, bound) else {
            return RenewOutcome::NotFound;
        };
        let ttl_ns = {
            let own = catalog.budget(entry).map(|budget| budget.lock());
            let shared = catalog.tenants.shared(entry.tenant).map(|shared| shared.lock());
            slot_ttl_ns([own.as_deref(), shared.as_deref().map(|shared| &shared.budget)])
        };
        let renewed = self.each_holder(&catalog, entry, now, |budget| {
            let Some(slots) = budget.slots() else { return false };
            let of_key = slots.get(renew.slot).is_some_and(|it| it.peer == entry.id);
            of_key && slots.renew(renew.slot, now.mono_ns.saturating_add(ttl_ns))
        });
        if renewed { RenewOutcome::Renewed } else { RenewOutcome::Gone }
    }

    /// The slot that a key took first of those that it holds now.
    #[must_use]
    pub fn oldest_slot(&self, key_id: u64, now: Now) -> Option<u64> {
        self.slot_by(key_id, now, Slots::oldest_of)
    }

    /// The slot that a key took last of those that it holds now.
    #[must_use]
    pub fn latest_slot(&self, key_id: u64, now: Now) -> Option<u64> {
        self.slot_by(key_id, now, Slots::latest_of)
    }

    fn slot_by(&self, key_id: u64, now: Now, pick: fn(&Slots, u64) -> Option<Slot>) -> Option<u64> {
        let catalog = self.read();
        let entry = catalog.by_id(key_id)?;
        let mut found = None;
        self.each_holder(&catalog, entry, now, |budget| {
            // Where both hold a slot, it is the same one.
            found = found.or_else(|| pick(budget.slots()?, key_id));
            found.is_some()
        });
        found.map(|slot| slot.serial)
    }

    /// Whether a slot of a key is held.
    #[must_use]
    pub fn holds_slot(&self, key_id: u64, slot: u64, now: Now) -> bool {
        let catalog = self.read();
        let holds = |budget: &mut Budget| {
            budget.slots().is_some_and(|slots| slots.holds(slot, now.mono_ns))
        };
        catalog.by_id(key_id).is_some_and(|entry| self.each_holder(&catalog, entry, now, holds))
    }

    /// Gives a slot of a key back; whether it was held.
    pub(super) fn release(&self, catalog: &Catalog, entry: &Entry, slot: u64, now: Now) -> bool {
        self.each_holder(catalog, entry, now, |budget| {
            // Of a tenant's slots, only those of this key.
            let Some(slots) = budget.slots() else { return false };
            let of_key = slots.get(slot).is_some_and(|it| it.peer == entry.id);
            of_key && slots.release(slot).is_some()
        })
    }

    /// Has the budget of the key and then that of its tenant do something to their slots, of which
    /// those whose time has ended are gone; whether one of them did. The key's lock comes first, so
    /// that nobody sees a slot that is held of one and not of the other.
    fn each_holder(
        &self,
        catalog: &Catalog,
        entry: &Entry,
        now: Now,
        mut act: impl FnMut(&mut Budget) -> bool,
    ) -> bool {
        let mut own = catalog.budget(entry).map(|budget| budget.lock());
        let mut shared = catalog.tenants.shared(entry.tenant).map(|shared| shared.lock());
        let mut acted = false;
        let budgets = own.as_deref_mut().into_iter();
        for budget in budgets.chain(shared.as_deref_mut().map(|shared| &mut shared.budget)) {
            let before = budget.slots_held();
            budget.reap(now.mono_ns);
            acted |= act(budget);
            self.slots.count(before, budget);
        }
        acted
    }

    /// Slots that went with the limits of a tenant, or with a key that has left it.
    pub(super) fn count_lost(&self, catalog: &mut Catalog) {
        self.slots.forget(catalog.tenants.take_slots_lost());
    }

    /// Takes a slot of one budget.
    pub(super) fn take_slot(&self, budget: &mut Budget, serial: u64, expires_ns: u64, key: u64) {
        let before = budget.slots_held();
        // They are limited, so that there are some.
        budget.slots().into_iter().for_each(|slots| slots.take(serial, expires_ns, key));
        self.slots.count(before, budget);
    }

    /// Moves a budget on to this instant.
    pub(super) fn enter(&self, budget: &mut Budget, ask: &Ask<'_>) {
        let before = budget.slots_held();
        budget.enter(ask);
        budget.reap(ask.now.mono_ns);
        self.slots.count(before, budget);
    }

    /// Lets go of slots whose time has ended, everywhere: where nobody asks for a key any more,
    /// nobody sees that. Not for a thread that serves a connection.
    pub fn reap_slots(&self, now: Now) {
        /// Budgets that are looked at under one lock of the catalog.
        const CHUNK: u32 = 4096;
        let reap = |budget: &mut Budget| {
            let before = budget.slots_held();
            budget.reap(now.mono_ns);
            self.slots.count(before, budget);
        };
        let mut at = 0;
        while self.read().reap(at..at + CHUNK, reap) {
            at += CHUNK;
        }
        for shared in self.read().tenants.all_shared() {
            reap(&mut shared.lock().budget);
        }
    }

    /// Whether more than half of all slots there may be are held, or were not seen to expire.
    #[must_use]
    pub fn holds_many_slots(&self) -> bool {
        self.slots.held() > self.limits.slots_max / 2
    }

    /// Has slots numbered from a number that no earlier run has come near: a late report must not
    /// give back a slot of this one.
    pub fn number_slots_from(&self, first: u64) {
        self.slots.begin(first);
    }

    /// Slots that are held.
    #[must_use]
    pub fn slots_held(&self) -> usize {
        self.slots.held()
    }
}

impl Catalog {
    /// A key that a caller may see.
    pub(super) fn visible(&self, id: u64, bound: Bound) -> Option<&Entry> {
        let seen = |entry: &&Entry| {
            !entry.deleted() && self.tenants.state_for(entry.tenant, bound).is_some()
        };
        self.by_id(id).filter(seen)
    }
}
