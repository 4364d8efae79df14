//! The catalog: every key that can be judged, by token and by id.

mod budgets;
mod loaded;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::entry::{Cell, Entry, Marks, NO_BUDGET};
use super::index::Index;
use super::place::Place;
use super::policies::Policies;
use super::proofs::Proofs;
use super::slab::{SLOTS_MAX, Slab};
use super::tenants::Tenants;
use super::uses::Uses;
use crate::key::{Policy, TokenHash};
use crate::limit::{Ask, Budget, Change};
use crate::usage::UsageRow;
pub use loaded::{Loaded, Metadata};

/// Why a key cannot be taken into the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// The configured bound is reached.
    #[error("there are {max} keys, the most that `keys_max` allows; raise it or delete keys")]
    Full {
        /// The bound.
        max: usize,
    },
    /// As many tenants as may be.
    #[error("there are {max} tenants, as many as `keys_max` allows; raise it or purge tenants")]
    FullOfTenants {
        /// The bound.
        max: usize,
    },
    /// The record's token hash is missing, or sealed under another pepper.
    #[error("the token hash of key {id} is missing or was sealed under another pepper")]
    Sealed {
        /// The key.
        id: u64,
    },
    /// Another key has the same token.
    #[error("key {holder} has the same token")]
    SameToken {
        /// Its id.
        holder: u64,
    },
}

/// A rotated-out token in or after its overlap.
#[derive(Debug, Clone, Copy)]
pub(super) struct Previous {
    slot: u32,
    pub(super) ends_us: i64,
}

/// Spreads token hashes over the index under a secret of this process. They are uniform already, so
/// one multiplication whose halves are folded suffices.
#[derive(Debug)]
struct TokenHasher {
    secret: u64,
    factor: u64,
}

impl Default for TokenHasher {
    fn default() -> Self {
        let random = RandomState::new();
        // An odd factor loses nothing.
        Self { secret: random.hash_one(0), factor: random.hash_one(1) | 1 }
    }
}

impl TokenHasher {
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of a product")]
    fn hash(&self, token: &TokenHash) -> u64 {
        let product = u128::from(token.head() ^ self.secret) * u128::from(self.factor);
        (product >> 64) as u64 ^ product as u64
    }
}

/// The keys, compiled.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    by_token: Index,
    by_id: Index,
    entries: Slab<Entry>,
    /// Limits beyond the second, of the keys that have any. Each lock is taken behind that of the
    /// key's entry, and before that of its tenant.
    budgets: Slab<Place<Budget>>,
    policies: Policies,
    pub(super) tenants: Tenants,
    /// Rotated-out tokens: few, so that a plain map serves.
    previous: HashMap<TokenHash, Previous>,
    /// The same the other way round.
    previous_of: HashMap<u32, TokenHash>,
    /// Metadata by slot, of the keys that have any: beside the entries, which no decision reads it
    /// from.
    metadata: HashMap<u32, Arc<Metadata>>,
    /// Proofs by slot, of the keys that demand any.
    proofs: HashMap<u32, Box<Proofs>>,
    /// Keys whose token may have any shape, because its digest was imported.
    foreign: usize,
    live: usize,
    /// How many keys name each tier and each profile.
    uses: Uses,
    /// Ids and tokens are chosen outside, so both are hashed under secrets of this process: nobody
    /// can aim at a bucket, nor learn from its timing.
    id_hasher: RandomState,
    token_hasher: TokenHasher,
}

impl Catalog {
    /// Keys there are, deleted ones too.
    pub(super) fn all(&self) -> usize {
        self.entries.len()
    }

    /// Keys that are not deleted.
    pub(super) const fn live(&self) -> usize {
        self.live
    }

    /// Whether tokens of another shape than ours are worth a lookup.
    pub(super) const fn knows_foreign_tokens(&self) -> bool {
        self.foreign > 0
    }

    /// First pass of a batch: the token's bucket.
    pub(super) fn touch_bucket(&self, token: &TokenHash) {
        self.by_token.touch(self.token_hasher.hash(token));
    }

    /// Second pass of a batch: the entry that the bucket most likely names.
    pub(super) fn touch_entry(&self, token: &TokenHash) {
        let hash = self.token_hasher.hash(token);
        if let Some(slot) = self.by_token.guess(hash).or_else(|| self.decoy(hash)) {
            self.entries.get(slot).touch();
        }
    }

    /// Third pass of a batch: the limits of the entry and of its tenant, if they have any.
    pub(super) fn touch_limits(&self, token: &TokenHash) {
        let hash = self.token_hasher.hash(token);
        if let Some(slot) = self.by_token.guess(hash).or_else(|| self.decoy(hash)) {
            self.touch_limits_of(self.entries.get(slot));
        }
    }

    /// Whether any key has limits beyond the second, or any tenant has limits.
    pub(super) fn has_limits(&self) -> bool {
        self.budgets.len() > 0 || self.tenants.share_limits()
    }

    /// The key of a token; with it, when the token was rotated out, what remains of its overlap.
    pub(super) fn find(&self, token: &TokenHash) -> Option<(&Entry, Option<Previous>)> {
        let hash = self.token_hasher.hash(token);
        let found = self.by_token.find(hash, |slot| {
            let entry = self.entries.get(slot);
            entry.touch();
            entry.token == *token
        });
        if let Some(slot) = found {
            return Some((self.entries.get(slot), None));
        }
        let previous = *self.previous.get(token)?;
        Some((self.entries.get(previous.slot), Some(previous)))
    }

    /// An entry to go on with for a token that nobody has, read and compared as one that is found; none
    /// while there are no keys. It is nobody's answer: what stands there may be outdated.
    pub(super) fn find_decoy(&self, token: &TokenHash) -> Option<(&Entry, Option<Previous>)> {
        let entry = self.entries.get(self.decoy(self.token_hasher.hash(token))?);
        entry.touch();
        black_box(entry.token == *token);
        Some((entry, None))
    }

    /// What is looked up for a token that nobody has, and was not for one that somebody has whom the
    /// caller may not see: so that the two take as long.
    pub(super) fn find_as_unknown(&self, token: &TokenHash) {
        black_box(self.previous.contains_key(token));
    }

    /// A slot to read in the place of one that a hash has not; none while there are no keys. The
    /// hash is secret, so nobody can choose it.
    #[expect(clippy::cast_possible_truncation, reason = "a product below the number of slots")]
    const fn decoy(&self, hash: u64) -> Option<u32> {
        let slots = self.entries.slots();
        if slots == 0 { None } else { Some(((hash as u32 as u64 * slots as u64) >> 32) as u32) }
    }

    /// The key of an id, deleted ones too.
    pub(super) fn by_id(&self, id: u64) -> Option<&Entry> {
        self.slot_of(id).map(|slot| self.entries.get(slot))
    }

    pub(super) fn policy(&self, entry: &Entry) -> &Arc<Policy> {
        self.policies.get(entry.policy)
    }

    /// The metadata of a key, found by its id: for the few questions that ask for it.
    pub(super) fn metadata(&self, entry: &Entry) -> Option<Arc<Metadata>> {
        self.metadata.get(&self.slot_of(entry.id)?).map(Arc::clone)
    }

    /// What a key demands beside its token.
    pub(super) fn proofs(&self, entry: &Entry) -> Option<&Proofs> {
        if !entry.marks.has(Marks::PROVEN) {
            return None;
        }
        self.proofs.get(&self.slot_of(entry.id)?).map(Box::as_ref)
    }

    /// Keys that keep a client secret whose overlap is over.
    pub(super) fn with_retired_secret(&self, now_us: i64) -> Vec<u64> {
        let proofs = self.proofs.iter();
        let retired = proofs.filter(|(_, proofs)| proofs.has_retired_secret(now_us));
        retired.map(|(slot, _)| self.entries.get(*slot).id).collect()
    }

    fn hash_id(&self, id: u64) -> u64 {
        self.id_hasher.hash_one(id)
    }

    fn slot_of(&self, id: u64) -> Option<u32> {
        self.by_id.find(self.hash_id(id), |slot| self.entries.get(slot).id == id)
    }

    /// Inserts a key or replaces its old form; figures stay, and so does what was spent of limits,
    /// as the change has it.
    pub(super) fn put(
        &mut self,
        key: Loaded,
        ask: &Ask<'_>,
        change: &Change,
    ) -> Result<(), CatalogError> {
        let tokens = [Some(key.token), key.previous.map(|(token, _)| token)];
        // A deleted key claims no token: another one may have it by now.
        for token in tokens.into_iter().flatten().filter(|_| key.is_live()) {
            match self.find(&token) {
                Some((entry, _)) if entry.id != key.id => {
                    return Err(CatalogError::SameToken { holder: entry.id });
                }
                _ => {}
            }
        }
        let old = self.slot_of(key.id);
        let (mut cell, mut dirty, mut budget) = (Cell::default(), false, NO_BUDGET);
        if let Some(slot) = old {
            let entry = self.entries.get(slot);
            cell = *entry.cell.lock();
            dirty = entry.dirty.load(Ordering::Relaxed);
            let policy = change.of_second();
            let to = &key.limits.second;
            cell.second = entry.second.carry(cell.second, to, ask.now.mono_ns, policy);
            budget = entry.budget;
            if !self.tenants.is(entry.tenant, &key.tenant) {
                self.tenants.drop_slots_of(entry.tenant, key.id);
            }
            self.unlink(slot);
        }
        let budget = self.put_budget(budget, key.limits.terms.as_deref(), ask, change);
        let Loaded { previous, metadata, proofs, .. } = key;
        let entry = Entry {
            token: key.token,
            id: key.id,
            expires_us: key.expires_us,
            second: key.limits.second,
            budget,
            marks: Marks::default()
                .with_if(Marks::FOREIGN, key.foreign)
                .with_if(Marks::RULED, key.policy.access.is_some())
                .with_if(Marks::DELETED, key.deleted)
                .with_if(Marks::AUDITED, key.audited)
                .with_if(Marks::RECORDED, key.audited || key.recorded)
                .with_if(Marks::PROVEN, proofs.is_some()),
            policy: self.policies.take(key.policy),
            tenant: self.tenants.take(&key.tenant, key.deleted),
            rotation_due_s: key.rotation_due_s,
            status: key.status,
            dirty: AtomicBool::new(dirty),
            cell: Mutex::new(cell),
        };
        let slot = self.entries.insert(entry).ok_or(CatalogError::Full { max: SLOTS_MAX })?;
        self.link(slot, previous);
        if let Some(metadata) = metadata.filter(|_| !key.deleted) {
            self.metadata.insert(slot, metadata);
        }
        if let Some(proofs) = proofs.filter(|_| !key.deleted) {
            self.proofs.insert(slot, proofs);
        }
        Ok(())
    }

    /// Takes a key out; how many slots were held of it, which nobody gives back any more.
    pub(super) fn remove(&mut self, id: u64) -> u32 {
        let Some(slot) = self.slot_of(id) else { return 0 };
        let Entry { budget: place, tenant, .. } = *self.entries.get(slot);
        self.tenants.drop_slots_of(tenant, id);
        self.unlink(slot);
        if place == NO_BUDGET {
            return 0;
        }
        let held = self.budgets.get_mut(place).limits.get_mut().slots_held();
        self.drop_budget(place);
        held
    }

    /// How many keys name each tier and each profile.
    pub(super) const fn uses(&self) -> &Uses {
        &self.uses
    }

    /// Ids of keys in some slots whose tier is wanted, and whether there are slots behind these.
    /// One that has left its slot may be among them.
    pub(super) fn keys_of_tiers(
        &self,
        slots: std::ops::Range<u32>,
        wanted: impl Fn(&str) -> bool,
    ) -> (Vec<u64>, bool) {
        let end = slots.end.min(self.entries.slots());
        let entries = (slots.start..end).map(|slot| self.entries.get(slot));
        let of_tiers =
            entries.filter(|entry| wanted(&self.policies.get(entry.policy).billing_tier));
        (of_tiers.map(|entry| entry.id).collect(), end < self.entries.slots())
    }

    /// Sets the figures that the store had at start.
    pub(super) fn restore_usage(&self, id: u64, row: &UsageRow) {
        if let Some(entry) = self.by_id(id) {
            let mut cell = entry.cell.lock();
            cell.total_requests = row.total.requests;
            cell.last_used_us = row.last_used_us;
        }
    }

    fn link(&mut self, slot: u32, previous: Option<(TokenHash, i64)>) {
        let Self { by_token, by_id, entries, policies, uses, id_hasher, token_hasher, .. } = self;
        let entry = entries.get(slot);
        let policy = policies.get(entry.policy);
        uses.add(policy, entry.deleted());
        by_id.insert(id_hasher.hash_one(entry.id), slot, |slot| {
            id_hasher.hash_one(entries.get(slot).id)
        });
        if entry.deleted() || policy.withheld {
            return;
        }
        by_token.insert(token_hasher.hash(&entry.token), slot, |slot| {
            token_hasher.hash(&entries.get(slot).token)
        });
        self.live += 1;
        self.foreign += usize::from(entry.marks.has(Marks::FOREIGN));
        if let Some((token, ends_us)) = previous {
            self.previous.insert(token, Previous { slot, ends_us });
            self.previous_of.insert(slot, token);
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Self { by_token, by_id, entries, id_hasher, token_hasher, .. } = self;
        let entry = entries.get(slot);
        by_id.remove(id_hasher.hash_one(entry.id), slot, |slot| {
            id_hasher.hash_one(entries.get(slot).id)
        });
        let policy = self.policies.get(entry.policy);
        self.uses.remove(policy, entry.deleted());
        let live = !entry.deleted() && !policy.withheld;
        self.policies.release(entry.policy);
        self.tenants.release(entry.tenant, entry.deleted());
        self.metadata.remove(&slot);
        self.proofs.remove(&slot);
        if live {
            by_token.remove(token_hasher.hash(&entry.token), slot, |slot| {
                token_hasher.hash(&entries.get(slot).token)
            });
            self.live -= 1;
            self.foreign -= usize::from(entry.marks.has(Marks::FOREIGN));
            if let Some(token) = self.previous_of.remove(&slot) {
                self.previous.remove(&token);
            }
        }
        self.entries.free(slot);
    }
}
