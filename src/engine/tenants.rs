//! Tenants in memory: a dense table, so that a key's entry names its tenant in four bytes and one
//! byte says how that tenant stands.
//!
//! Suspending a tenant of a million keys changes that one byte, under the catalog's write lock: the
//! next question sees it, whichever key it is about.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound as End;
use std::sync::Arc;

use parking_lot::Mutex;

use super::place::Place;
use super::terms::Compiled;
use super::{CatalogError, Engine};
use crate::clock::Now;
use crate::key::{TenantRecord, TenantState};
use crate::limit::{Ask, Budget, Change, PerSecond, RateState, Terms};

/// Tenants that one page of a list looks at, whether or not they are wanted.
const EXAMINED_MAX: usize = 2_000;

/// Whose keys a caller may see: its tenant's number, or those of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// Every tenant's.
    No,
    /// One tenant's.
    To(u32),
    /// Those of a tenant that has none.
    ToNobody,
}

/// The tenants that keys name or that have a record.
#[derive(Debug, Default)]
pub(super) struct Tenants {
    /// How each stands, by number: all that most decisions read of this table.
    states: Vec<TenantState>,
    /// The limits that its keys share, by number, of those that have any.
    shared: Vec<Option<Box<Place<Shared>>>>,
    /// Whether any has some, or had.
    sharing: bool,
    items: Vec<Tenant>,
    free: Vec<u32>,
    by_name: HashMap<Arc<str>, u32>,
    /// The same names in order, for lists.
    names: BTreeSet<Arc<str>>,
    /// Slots that were held of limits that are gone: nobody gives them back any more.
    slots_lost: u32,
}

/// Limits that the keys of one tenant share. Its lock is taken behind those of the key.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) second: PerSecond,
    pub(super) state: RateState,
    pub(super) budget: Budget,
}

impl Shared {
    /// Without any limit.
    fn blank() -> Self {
        let (second, state) = (PerSecond::default(), RateState::default());
        Self { second, state, budget: Budget::new(&Terms::default()) }
    }

    /// Whether there is nothing that a later limit has to know of.
    fn is_blank(&self) -> bool {
        self.budget.is_blank() && !self.second.limits()
    }
}

#[derive(Debug, Default)]
struct Tenant {
    name: Arc<str>,
    /// Whether it has a record, and stays without a key.
    recorded: bool,
    keys: u32,
    keys_deleted: u32,
}

/// A tenant as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantView {
    /// How it stands for decisions.
    pub state: TenantState,
    /// Whether it has a record.
    pub recorded: bool,
    /// Its keys that are not deleted. Keys that could not be loaded are not counted.
    pub keys: u64,
    /// Its deleted keys.
    pub keys_deleted: u64,
}

/// A tenant's id, and how it stands.
pub type NamedTenant = (Arc<str>, TenantView);

impl Tenants {
    /// Resolves what a caller is bound to. Holds until the table changes.
    pub(super) fn bound(&self, tenant: Option<&str>) -> Bound {
        match tenant {
            None => Bound::No,
            Some(name) => {
                self.by_name.get(name).map_or(Bound::ToNobody, |number| Bound::To(*number))
            }
        }
    }

    /// How the tenant stands; `None` where its keys are not there for this caller.
    pub(super) fn state_for(&self, number: u32, bound: Bound) -> Option<TenantState> {
        let seen = match bound {
            Bound::No => true,
            Bound::To(own) => own == number,
            Bound::ToNobody => false,
        };
        let state = self.states[number as usize];
        (seen && state != TenantState::Deleted).then_some(state)
    }

    /// The tenant's name.
    pub(super) fn name(&self, number: u32) -> &Arc<str> {
        &self.items[number as usize].name
    }

    /// The limits that the keys of a tenant share, if there are any.
    pub(super) fn shared(&self, number: u32) -> Option<&Mutex<Shared>> {
        self.shared[number as usize].as_deref().map(|place| &place.limits)
    }

    /// Whether any tenant has limits, or had.
    pub(super) const fn share_limits(&self) -> bool {
        self.sharing
    }

    /// Has the processor fetch the limits of a tenant.
    pub(super) fn touch(&self, number: u32) {
        if let Some(place) = &self.shared[number as usize] {
            place.touch();
        }
    }

    /// The same, by the tenant's name.
    pub(super) fn shared_of(&self, name: &str) -> Option<&Mutex<Shared>> {
        self.shared(*self.by_name.get(name)?)
    }

    /// All of them.
    pub(super) fn all_shared(&self) -> impl Iterator<Item = &Mutex<Shared>> {
        self.shared.iter().filter_map(|shared| Some(&shared.as_deref()?.limits))
    }

    /// Tenants whose figures the ledger does not have.
    pub(super) fn moved(&self) -> impl Iterator<Item = Arc<str>> {
        let each = self.shared.iter().zip(&self.items);
        each.filter(|(shared, _)| {
            shared.as_ref().is_some_and(|shared| shared.limits.lock().budget.has_moved())
        })
        .map(|(_, tenant)| Arc::clone(&tenant.name))
    }

    /// As [`super::catalog::Catalog::restore_account`], of a tenant.
    pub(super) fn restore(&mut self, name: &str, restore: impl FnOnce(&mut Budget)) {
        let Some(&number) = self.by_name.get(name) else { return };
        let place = &mut self.shared[number as usize];
        self.sharing = true;
        let blank = || Box::new(Place::new(Shared::blank()));
        let shared = place.get_or_insert_with(blank).limits.get_mut();
        restore(&mut shared.budget);
        if shared.is_blank() {
            *place = None;
        }
    }

    /// Sets the limits that the keys of a tenant share.
    fn set_limits(&mut self, name: &str, limits: &Compiled, ask: &Ask<'_>, change: &Change) {
        let Some(&number) = self.by_name.get(name) else { return };
        let place = &mut self.shared[number as usize];
        let none = Terms::default();
        let terms = limits.terms.as_deref();
        match place {
            None if terms.is_none() && !limits.second.limits() => {}
            None => {
                let budget = Budget::at(terms.unwrap_or(&none), ask);
                let (second, state) = (limits.second, RateState::default());
                *place = Some(Box::new(Place::new(Shared { second, state, budget })));
                self.sharing = true;
            }
            Some(shared) => {
                let shared = shared.limits.get_mut();
                let Shared { second, state, budget } = &mut *shared;
                let policy = change.of_second();
                *state = second.carry(*state, &limits.second, ask.now.mono_ns, policy);
                *second = limits.second;
                budget.change(terms.unwrap_or(&none), change, ask);
                if shared.is_blank() {
                    *place = None;
                }
            }
        }
    }

    fn drop_limits(&mut self, name: &str) {
        if let Some(&number) = self.by_name.get(name) {
            self.drop_shared(number);
        }
    }

    fn drop_shared(&mut self, number: u32) {
        if let Some(mut shared) = self.shared[number as usize].take() {
            self.slots_lost += shared.limits.get_mut().budget.slots_held();
        }
    }

    /// A key leaves a tenant: nobody could give its slots back any more.
    pub(super) fn drop_slots_of(&mut self, number: u32, key: u64) {
        if let Some(shared) = &mut self.shared[number as usize] {
            let slots = shared.limits.get_mut().budget.slots();
            self.slots_lost += slots.map_or(0, |slots| slots.release_all_of(key));
        }
    }

    /// Whether a tenant of this number has this name.
    pub(super) fn is(&self, number: u32, name: &str) -> bool {
        self.by_name.get(name) == Some(&number)
    }

    /// Slots that are held by nobody since this was last asked.
    pub(super) const fn take_slots_lost(&mut self) -> u32 {
        std::mem::replace(&mut self.slots_lost, 0)
    }

    /// The number of a tenant, for one more key.
    pub(super) fn take(&mut self, name: &str, deleted: bool) -> u32 {
        let number = self.number(name);
        *self.items[number as usize].count(deleted) += 1;
        number
    }

    /// One key fewer is of this tenant.
    pub(super) fn release(&mut self, number: u32, deleted: bool) {
        *self.items[number as usize].count(deleted) -= 1;
        self.free_if_unused(number);
    }

    fn number(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.by_name.get(name) {
            return number;
        }
        let name: Arc<str> = name.into();
        let number = self.free.pop().unwrap_or_else(|| {
            self.states.push(TenantState::Active);
            self.items.push(Tenant::default());
            self.shared.push(None);
            // Keys are numbered in 32 bits, and there are no more records than may be keys.
            u32::try_from(self.items.len() - 1).unwrap_or(u32::MAX)
        });
        self.items[number as usize].name = Arc::clone(&name);
        self.names.insert(Arc::clone(&name));
        self.by_name.insert(name, number);
        number
    }

    fn set(&mut self, name: &str, state: TenantState, recorded: bool) {
        let number = self.number(name);
        self.states[number as usize] = state;
        self.items[number as usize].recorded = recorded;
        self.free_if_unused(number);
    }

    fn free_if_unused(&mut self, number: u32) {
        let tenant = &mut self.items[number as usize];
        if tenant.recorded || tenant.keys > 0 || tenant.keys_deleted > 0 {
            return;
        }
        let name = std::mem::take(tenant).name;
        self.by_name.remove(&name);
        self.names.remove(&name);
        self.states[number as usize] = TenantState::Active;
        self.drop_shared(number);
        self.free.push(number);
    }

    fn view(&self, name: &str) -> Option<TenantView> {
        let number = *self.by_name.get(name)? as usize;
        let Tenant { recorded, keys, keys_deleted, .. } = &self.items[number];
        Some(TenantView {
            state: self.states[number],
            recorded: *recorded,
            keys: (*keys).into(),
            keys_deleted: (*keys_deleted).into(),
        })
    }
}

impl Tenant {
    const fn count(&mut self, deleted: bool) -> &mut u32 {
        if deleted { &mut self.keys_deleted } else { &mut self.keys }
    }
}

/// Tenants, for whoever keeps their records.
impl Engine {
    /// Sets how a tenant stands and what its keys share, as its record says. Every question that is
    /// asked after this obeys it.
    pub fn put_tenant(&self, record: &TenantRecord, now: Now) {
        self.change_tenant(record, &Change::default(), now);
    }

    /// As [`Engine::put_tenant`]; what was spent of limits becomes what the change says.
    pub fn change_tenant(&self, record: &TenantRecord, change: &Change, now: Now) {
        let moment = self.moment(now);
        let limits = Compiled::of(&record.allowance(), None, 0);
        let mut catalog = self.write();
        catalog.tenants.set(&record.id, record.state(), true);
        catalog.tenants.set_limits(&record.id, &limits, &moment.ask(0, false), change);
        self.count_lost(&mut catalog);
    }

    /// Forgets a tenant's record: it is active, and there as long as keys name it.
    pub fn remove_tenant(&self, id: &str) {
        let mut catalog = self.write();
        catalog.tenants.drop_limits(id);
        catalog.tenants.set(id, TenantState::Active, false);
        self.count_lost(&mut catalog);
    }

    /// The tenant of a key; `None` where there is no such key any more.
    #[must_use]
    pub fn tenant_of_key(&self, id: u64) -> Option<Arc<str>> {
        let catalog = self.read();
        catalog.by_id(id).map(|entry| Arc::clone(catalog.tenants.name(entry.tenant)))
    }

    /// A tenant that has a record or keys.
    #[must_use]
    pub fn tenant(&self, id: &str) -> Option<TenantView> {
        self.read().tenants.view(id)
    }

    /// Tenants that have a record or keys.
    #[must_use]
    pub fn tenant_count(&self) -> usize {
        self.read().tenants.by_name.len()
    }

    /// Whether one more tenant may have a record: there are as many tenants as keys at the most.
    ///
    /// # Errors
    /// [`CatalogError::FullOfTenants`].
    pub fn check_room_for_tenant(&self, id: &str) -> Result<(), CatalogError> {
        self.check_room_for_tenants(std::iter::once(id))
    }

    /// Whether all of these, each named once, may have a record.
    ///
    /// # Errors
    /// [`CatalogError::FullOfTenants`].
    pub fn check_room_for_tenants<'a>(
        &self,
        ids: impl Iterator<Item = &'a str>,
    ) -> Result<(), CatalogError> {
        let (max, catalog) = (self.limits.keys_max, self.read());
        let tenants = &catalog.tenants.by_name;
        let new = ids.filter(|id| !tenants.contains_key(*id)).count();
        if new > 0 && tenants.len() + new > max {
            return Err(CatalogError::FullOfTenants { max });
        }
        Ok(())
    }

    /// At most `limit` wanted tenants after an id, by ascending id, and the id to go on after: there
    /// may be more behind it also where these are fewer.
    #[must_use]
    pub fn tenants(
        &self,
        after: Option<&str>,
        limit: usize,
        wanted: impl Fn(&TenantView) -> bool,
    ) -> (Vec<NamedTenant>, Option<Arc<str>>) {
        let catalog = self.read();
        let tenants = &catalog.tenants;
        let start = after.map_or(End::Unbounded, End::Excluded);
        let mut names = tenants.names.range::<str, _>((start, End::Unbounded)).peekable();
        let (mut page, mut last) = (Vec::new(), None);
        for name in names.by_ref().take(EXAMINED_MAX) {
            last = Some(Arc::clone(name));
            let view = tenants.view(name).filter(|view| wanted(view));
            page.extend(view.map(|view| (Arc::clone(name), view)));
            if page.len() >= limit {
                break;
            }
        }
        let next = names.peek().and(last);
        (page, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_there_while_a_key_or_a_record_is_and_its_number_is_used_again() {
        let mut tenants = Tenants::default();
        let a = tenants.take("a", false);
        assert_eq!(tenants.take("a", true), a);
        assert_ne!(tenants.take("b", false), a);
        tenants.release(a, false);
        assert_eq!(tenants.view("a").map(|view| (view.keys, view.keys_deleted)), Some((0, 1)));
        tenants.set("a", TenantState::Suspended, true);
        tenants.release(a, true);
        assert!(tenants.view("a").is_some_and(|view| view.recorded), "its record is still there");
        tenants.set("a", TenantState::Active, false);
        assert_eq!((tenants.view("a"), tenants.bound(Some("a"))), (None, Bound::ToNobody));
        assert_eq!(tenants.take("c", false), a);
        assert_eq!(
            tenants.state_for(a, Bound::No),
            Some(TenantState::Active),
            "nothing is inherited"
        );
        assert_eq!(tenants.names.iter().map(|name| &**name).collect::<Vec<_>>(), ["b", "c"]);
    }

    #[test]
    fn who_sees_what() {
        let mut tenants = Tenants::default();
        let (a, b) = (tenants.take("a", false), tenants.take("b", false));
        let bounds = [None, Some("a"), Some("b"), Some("c")];
        for (state, seen) in [
            (TenantState::Active, Some(TenantState::Active)),
            (TenantState::Suspended, Some(TenantState::Suspended)),
            (TenantState::Deleted, None),
        ] {
            tenants.set("a", state, true);
            let of_a = bounds.map(|bound| tenants.state_for(a, tenants.bound(bound)));
            assert_eq!(of_a, [seen, seen, None, None], "{state:?}");
            let of_b = bounds.map(|bound| tenants.state_for(b, tenants.bound(bound)));
            let active = Some(TenantState::Active);
            assert_eq!(of_b, [active, None, active, None], "{state:?}");
        }
    }
}
