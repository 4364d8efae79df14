//! The decision: the catalog of compiled keys, `Validate` and `Increment`.
//!
//! Everything a decision needs is in memory and reached in two cache misses: a bucket of the
//! fingerprint index, then the key's own 128-byte entry. Nothing here knows a socket, a disk or a
//! clock. [`validate`] reads like the order of checks in the specification, [`access`] those about
//! where a request comes from. [`catalog`] is where keys stand, [`policies`] what they have in
//! common, [`tenants`] what stands above them, [`rules`] what the configuration says of them.
//! [`increment`] counts reports; [`usage`] hands figures to whoever stores them.

mod access;
mod asker;
mod audit;
pub mod catalog;
mod entry;
mod increment;
mod index;
mod ledger;
mod limits;
mod place;
mod policies;
mod proofs;
mod rules;
mod signatures;
mod slab;
mod slots;
mod tenants;
mod terms;
mod usage;
mod uses;
mod validate;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use crossbeam::sync::{ShardedLock, ShardedLockReadGuard, ShardedLockWriteGuard};
use parking_lot::RwLock;

pub use asker::{Asker, Standing};
pub use audit::AuditDesk;
pub use catalog::{CatalogError, Loaded, Metadata};
pub use ledger::Account;
pub use limits::Wait;
pub use signatures::LeadKeeper;
pub use tenants::{NamedTenant, TenantView};
pub use usage::{KeyUsage, SettledKey, SettledSum, Writing};
pub use uses::Count;
pub use validate::{Answer, Answers, BATCH, Record};

use crate::clock::Now;
use crate::key::token::Prefixes;
use crate::key::{KeyRecord, KeyView, Pepper, Rules};
use crate::limit::{Change, Throttle};
use crate::vault::Vault;
use catalog::Catalog;

/// The bounds of the engine.
#[derive(Debug, Clone)]
pub struct EngineLimits {
    /// Keys in the catalog; a further one is refused.
    pub keys_max: usize,
    /// A verdict warns when the key expires within this time, in microseconds.
    pub expiry_warning_us: i64,
    /// How long the id of an `Increment` is remembered, in microseconds.
    pub increment_id_window_us: i64,
    /// How many of them at most.
    pub increment_ids_max: usize,
    /// Slots held at a time, of all keys; a further one is denied.
    pub slots_max: usize,
    /// Whether usage is told by the hour, with denials, costs and the sums of tenants: for whoever
    /// writes usage behind, which settles it.
    pub usage_history: bool,
    /// What endpoints and recent errors of all keys may take in memory, about.
    pub usage_detail_bytes_max: usize,
}

/// Decides and counts. Shared by all threads; each decision runs to its end on the caller's.
pub struct Engine {
    /// Readers take it once for up to [`BATCH`] decisions and share no cache line in doing so;
    /// writers, which are admin operations, hold it for one insertion.
    catalog: ShardedLock<Catalog>,
    /// Exchanged while the pepper is rotated. No decision takes it.
    pepper: RwLock<Arc<Pepper>>,
    vault: OnceLock<Arc<Vault>>,
    throttle: OnceLock<Throttle>,
    signing: signatures::SigningDesk,
    prefixes: Prefixes,
    usage: usage::UsageKeeper,
    ledger: ledger::LedgerDesk,
    audit: Arc<AuditDesk>,
    slots: limits::AllSlots,
    limits: EngineLimits,
    /// What keys are compiled under. Held for reading from a key's compile until it stands in the
    /// catalog: once new rules are here, nothing compiled under the old ones comes any more. No
    /// decision takes it.
    rules: RwLock<Arc<Rules>>,
    /// [`EngineLimits::expiry_warning_us`] as it is now; a reload may change it.
    expiry_warning_us: AtomicI64,
    /// Whether a key whose rotation is overdue is denied; its own word, so that a reload of the
    /// configuration changes it under way.
    deny_rotation_overdue: AtomicBool,
}

impl Engine {
    /// An engine without keys, and under rules that know no name; see [`Engine::set_rules`].
    #[must_use]
    pub fn new(pepper: Pepper, prefixes: Prefixes, limits: EngineLimits) -> Self {
        Self {
            catalog: ShardedLock::new(Catalog::default()),
            pepper: RwLock::new(Arc::new(pepper)),
            vault: OnceLock::new(),
            throttle: OnceLock::new(),
            signing: signatures::SigningDesk::new(),
            prefixes,
            usage: usage::UsageKeeper::new(&limits),
            ledger: ledger::LedgerDesk::default(),
            audit: Arc::default(),
            slots: limits::AllSlots::new(limits.slots_max),
            rules: RwLock::default(),
            expiry_warning_us: AtomicI64::new(limits.expiry_warning_us),
            limits,
            deny_rotation_overdue: AtomicBool::new(false),
        }
    }

    /// Whether an overdue rotation denies from here on, where at first it only warns.
    pub fn set_deny_rotation_overdue(&self, deny: bool) {
        self.deny_rotation_overdue.store(deny, Ordering::Relaxed);
    }

    /// Whether an overdue rotation denies.
    #[must_use]
    pub fn denies_rotation_overdue(&self) -> bool {
        self.deny_rotation_overdue.load(Ordering::Relaxed)
    }

    /// The secret of the digests that are stored.
    #[must_use]
    pub fn pepper(&self) -> Arc<Pepper> {
        Arc::clone(&self.pepper.read())
    }

    /// From here on digests are made under another one.
    pub fn set_pepper(&self, pepper: Arc<Pepper>) {
        *self.pepper.write() = pepper;
    }

    /// Gives it what opens stored secrets, once and before any key; without one none opens.
    pub fn set_vault(&self, vault: Arc<Vault>) {
        let first = self.vault.set(vault);
        debug_assert!(first.is_ok(), "an engine has one vault");
    }

    /// What stored secrets are sealed and opened by, where it was given.
    #[must_use]
    pub fn vault(&self) -> Option<&Arc<Vault>> {
        self.vault.get()
    }

    /// Gives it what slows down whoever guesses, once; without one nobody is.
    pub fn set_throttle(&self, throttle: Throttle) {
        let first = self.throttle.set(throttle);
        debug_assert!(first.is_ok(), "an engine has one throttle");
    }

    /// What tokens begin with.
    #[must_use]
    pub const fn prefixes(&self) -> &Prefixes {
        &self.prefixes
    }

    /// Puts a key into the catalog, or its new form in place of the old: limits keep what was
    /// spent of them. A deleted key becomes unknown; its figures stay until it is purged.
    ///
    /// # Errors
    /// [`CatalogError::SameToken`] when the token belongs to another key, [`CatalogError::Sealed`]
    /// when the record was written under another pepper.
    pub fn put(&self, record: &KeyRecord, now: Now) -> Result<(), CatalogError> {
        self.change(record, &Change::default(), now)
    }

    /// As [`Engine::put`]; what was spent of limits becomes what the change says.
    ///
    /// # Errors
    /// As [`Engine::put`].
    pub fn change(
        &self,
        record: &KeyRecord,
        change: &Change,
        now: Now,
    ) -> Result<(), CatalogError> {
        let rules = self.rules.read();
        let loaded = self.compile_under(&record.view(), &rules)?;
        let moment = self.moment(now);
        let mut catalog = self.write();
        self.settle_before_change(&catalog, record.id);
        let put = catalog.put(loaded, &moment.ask(0, false), change);
        self.count_lost(&mut catalog);
        put
    }

    /// Compiles a record for [`Engine::put_all`], on whatever thread has time for it.
    ///
    /// # Errors
    /// [`CatalogError::Sealed`] when the record was written under another pepper.
    pub fn compile(&self, record: &KeyView<'_>) -> Result<Loaded, CatalogError> {
        self.compile_under(record, &self.rules())
    }

    fn compile_under(&self, record: &KeyView<'_>, rules: &Rules) -> Result<Loaded, CatalogError> {
        let vault = self.vault().map(Arc::as_ref);
        if record.enforce_signing || record.require_request_signing {
            self.note_demand_of_signatures();
        }
        Loaded::compile(record, &self.pepper(), vault, &self.prefixes, rules)
    }

    /// Puts many keys into the catalog, as [`Engine::put`] does each, under one lock: for a start,
    /// when nobody waits for a verdict. Answers which were refused, and why.
    pub fn put_all(
        &self,
        keys: impl IntoIterator<Item = Loaded>,
        now: Now,
    ) -> Vec<(u64, CatalogError)> {
        let (moment, change) = (self.moment(now), Change::default());
        let ask = moment.ask(0, false);
        let mut catalog = self.write();
        let put = keys.into_iter().map(|key| (key.id(), catalog.put(key, &ask, &change)));
        let refused = put.filter_map(|(id, put)| put.err().map(|error| (id, error))).collect();
        self.count_lost(&mut catalog);
        refused
    }

    /// Forgets a key and its figures. It counts as moved, so that whoever stores figures learns
    /// that these are to be removed, also when they were being written just now.
    pub fn remove(&self, id: u64) {
        let mut catalog = self.write();
        self.settle_before_change(&catalog, id);
        self.slots.forget(catalog.remove(id));
        self.count_lost(&mut catalog);
        // Under the lock, so that nobody counts for it between.
        self.forget_usage(id);
    }

    /// Whether so many more keys may be made. Requests that race may overshoot the bound by as
    /// many as they are.
    ///
    /// # Errors
    /// [`CatalogError::Full`].
    pub fn check_room(&self, more: usize) -> Result<(), CatalogError> {
        let max = self.limits.keys_max;
        if self.read().all() + more > max { Err(CatalogError::Full { max }) } else { Ok(()) }
    }

    /// Keys that demand a client secret and still keep one whose overlap is over.
    #[must_use]
    pub fn keys_with_retired_secret(&self, now_us: i64) -> Vec<u64> {
        self.read().with_retired_secret(now_us)
    }

    /// Keys that can be judged.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.read().live()
    }

    /// Keys that are deleted and not purged yet.
    #[must_use]
    pub fn deleted_count(&self) -> usize {
        let catalog = self.read();
        catalog.all() - catalog.live()
    }

    // A poisoned lock means that a writer panicked: its key may be missing, which denies. Nothing
    // is gained by denying all others too.
    fn read(&self) -> ShardedLockReadGuard<'_, Catalog> {
        self.catalog.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> ShardedLockWriteGuard<'_, Catalog> {
        self.catalog.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
