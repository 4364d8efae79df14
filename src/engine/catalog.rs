//! The catalog: every key that can be judged, by digest and by id.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::entry::{Cell, Entry};
use super::index::Index;
use super::policies::Policies;
use super::slab::{SLOTS_MAX, Slab};
use crate::clock::Now;
use crate::key::{Digest, KeyRecord, Policy, Status, Time};
use crate::limit::{LimitSet, Rate};
use crate::usage::UsageRow;

/// A key compiled from its record: what the catalog keeps of it.
#[derive(Debug)]
pub struct Loaded {
    id: u64,
    digest: Option<Digest>,
    previous: Option<(Digest, i64)>,
    expires_us: i64,
    status: Status,
    limits: LimitSet,
    foreign: bool,
    deleted: bool,
    policy: Policy,
}

impl Loaded {
    /// Compiles a record.
    #[must_use]
    pub fn compile(record: &KeyRecord) -> Self {
        let second = record
            .requests_per_second
            .map(|count| Rate::per_second(count, record.burst.unwrap_or_else(|| u64::from(count))));
        let ends_us = record.previous_key_ends_at.map_or(i64::MIN, Time::micros_up);
        Self {
            id: record.id,
            digest: record.key_hash.map(|hash| hash.digest),
            previous: record.previous_key_hash.map(|hash| (hash.digest, ends_us)),
            expires_us: record.expires_at.map_or(i64::MAX, Time::micros_up),
            status: record.status,
            limits: LimitSet { second },
            foreign: record.foreign_token || record.previous_foreign_token,
            deleted: record.deleted_at.is_some(),
            policy: Policy::compile(record),
        }
    }
}

/// Why a key cannot be taken into the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// The configured bound is reached.
    #[error("there are {max} keys, the most that `keys_max` allows; raise it or delete keys")]
    Full {
        /// The bound.
        max: usize,
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

/// The keys, compiled.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    by_digest: Index,
    by_id: Index,
    entries: Slab<Entry>,
    policies: Policies,
    /// Rotated-out tokens: few, so that a plain map serves.
    previous: HashMap<[u8; 32], Previous>,
    /// The same the other way round.
    previous_of: HashMap<u32, Digest>,
    /// Keys whose token may have any shape, because its digest was imported.
    foreign: usize,
    live: usize,
    /// Ids are chosen outside, so they are hashed under a secret of this process.
    id_hasher: RandomState,
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

    /// First pass of a batch: the digest's bucket.
    pub(super) fn touch_bucket(&self, digest: &Digest) {
        self.by_digest.touch(digest.head());
    }

    /// Second pass of a batch: the entry that the bucket most likely names.
    pub(super) fn touch_entry(&self, digest: &Digest) {
        if let Some(slot) = self.by_digest.guess(digest.head()) {
            let entry = self.entries.get(slot);
            std::hint::black_box((entry.status, entry.cell.is_locked()));
        }
    }

    /// The key of a token; with it, when the token was rotated out, what remains of its overlap.
    pub(super) fn find(&self, digest: &Digest) -> Option<(&Entry, Option<Previous>)> {
        let found =
            self.by_digest.find(digest.head(), |slot| self.entries.get(slot).digest == *digest);
        if let Some(slot) = found {
            return Some((self.entries.get(slot), None));
        }
        let previous = *self.previous.get(&digest.0)?;
        Some((self.entries.get(previous.slot), Some(previous)))
    }

    /// The key of an id, deleted ones too.
    pub(super) fn by_id(&self, id: u64) -> Option<&Entry> {
        self.slot_of(id).map(|slot| self.entries.get(slot))
    }

    pub(super) fn policy(&self, entry: &Entry) -> &std::sync::Arc<Policy> {
        self.policies.get(entry.policy)
    }

    fn hash_id(&self, id: u64) -> u64 {
        self.id_hasher.hash_one(id)
    }

    fn slot_of(&self, id: u64) -> Option<u32> {
        self.by_id.find(self.hash_id(id), |slot| self.entries.get(slot).id == id)
    }

    /// Inserts a key or replaces its old form; figures and spent limits stay.
    pub(super) fn put(&mut self, key: Loaded, now: Now) -> Result<(), CatalogError> {
        // A record without a token can never be judged; nothing makes one.
        let Some(digest) = key.digest else { return Ok(()) };
        for digest in [Some(digest), key.previous.map(|(digest, _)| digest)].into_iter().flatten() {
            match self.find(&digest) {
                Some((entry, _)) if entry.id != key.id => {
                    return Err(CatalogError::SameToken { holder: entry.id });
                }
                _ => {}
            }
        }
        let old = self.slot_of(key.id);
        let mut cell = Cell::default();
        if let Some(slot) = old {
            let entry = self.entries.get(slot);
            cell = *entry.cell.lock();
            cell.limits = entry.limits.carry(cell.limits, &key.limits, now.mono_ns);
            self.unlink(slot);
        }
        let previous = key.previous;
        let entry = Entry {
            digest,
            id: key.id,
            expires_us: key.expires_us,
            limits: key.limits,
            policy: self.policies.take(key.policy),
            status: key.status,
            foreign: key.foreign,
            deleted: key.deleted,
            cell: parking_lot::Mutex::new(cell),
        };
        let slot = self.entries.insert(entry).ok_or(CatalogError::Full { max: SLOTS_MAX })?;
        self.link(slot, previous);
        Ok(())
    }

    /// Takes a key out.
    pub(super) fn remove(&mut self, id: u64) {
        if let Some(slot) = self.slot_of(id) {
            self.unlink(slot);
        }
    }

    /// Sets the figures that the store had at start.
    pub(super) fn restore_usage(&self, id: u64, row: &UsageRow) {
        if let Some(entry) = self.by_id(id) {
            let mut cell = entry.cell.lock();
            cell.total_requests = row.total_requests;
            cell.last_used_us = row.last_used_us;
        }
    }

    fn link(&mut self, slot: u32, previous: Option<(Digest, i64)>) {
        let Self { by_digest, by_id, entries, id_hasher, .. } = self;
        let entry = entries.get(slot);
        by_id.insert(id_hasher.hash_one(entry.id), slot, |slot| {
            id_hasher.hash_one(entries.get(slot).id)
        });
        if entry.deleted {
            return;
        }
        by_digest.insert(entry.digest.head(), slot, |slot| entries.get(slot).digest.head());
        self.live += 1;
        self.foreign += usize::from(entry.foreign);
        if let Some((digest, ends_us)) = previous {
            self.previous.insert(digest.0, Previous { slot, ends_us });
            self.previous_of.insert(slot, digest);
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Self { by_digest, by_id, entries, id_hasher, .. } = self;
        let entry = entries.get(slot);
        by_id.remove(id_hasher.hash_one(entry.id), slot, |slot| {
            id_hasher.hash_one(entries.get(slot).id)
        });
        self.policies.release(entry.policy);
        if !entry.deleted {
            by_digest.remove(entry.digest.head(), slot, |slot| entries.get(slot).digest.head());
            self.live -= 1;
            self.foreign -= usize::from(entry.foreign);
            if let Some(digest) = self.previous_of.remove(&slot) {
                self.previous.remove(&digest.0);
            }
        }
        self.entries.free(slot);
    }
}
