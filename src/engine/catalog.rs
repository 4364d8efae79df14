//! The catalog: every key that can be judged, by token and by id.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use super::entry::{Cell, Entry};
use super::index::Index;
use super::policies::Policies;
use super::slab::{SLOTS_MAX, Slab};
use crate::clock::Now;
use crate::key::token::Prefixes;
use crate::key::{KeyView, Pepper, Policy, Status, Time, TokenHash};
use crate::limit::{LimitSet, Rate};
use crate::usage::UsageRow;

/// A key compiled from its record: what the catalog keeps of it.
#[derive(Debug)]
pub struct Loaded {
    id: u64,
    token: TokenHash,
    previous: Option<(TokenHash, i64)>,
    expires_us: i64,
    status: Status,
    limits: LimitSet,
    foreign: bool,
    deleted: bool,
    policy: Policy,
    metadata: Option<Arc<Metadata>>,
}

/// The metadata of a key: a JSON text, for answers.
#[derive(Debug)]
pub struct Metadata(Box<[u8]>);

impl Metadata {
    /// The text, as the record has it.
    #[must_use]
    pub const fn json(&self) -> &[u8] {
        &self.0
    }
}

impl Loaded {
    /// The key's id.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Compiles a record.
    ///
    /// # Errors
    /// [`CatalogError::Sealed`] when its token's hash is missing or under another pepper's seal.
    pub fn compile(
        record: &KeyView<'_>,
        pepper: &Pepper,
        prefixes: &Prefixes,
    ) -> Result<Self, CatalogError> {
        let sealed = CatalogError::Sealed { id: record.id };
        let open = |hash| pepper.token_hash(hash).ok_or(sealed);
        let token = record.key_hash.as_ref().map(open).transpose()?.ok_or(sealed)?;
        let previous = record.previous_key_hash.as_ref().map(open).transpose()?;
        let second = record
            .requests_per_second
            .map(|count| Rate::per_second(count, record.burst.unwrap_or_else(|| u64::from(count))));
        let ends_us = record.previous_key_ends_at.map_or(i64::MIN, Time::micros_up);
        // A token that was made under another brand is of another shape by now.
        let of_another_brand = !prefixes.begin(record.key_prefix);
        Ok(Self {
            id: record.id,
            token,
            previous: previous.map(|token| (token, ends_us)),
            expires_us: record.expires_at.map_or(i64::MAX, Time::micros_up),
            status: record.status,
            limits: LimitSet { second },
            foreign: record.foreign_token || record.previous_foreign_token || of_another_brand,
            deleted: record.deleted_at.is_some(),
            policy: Policy::compile(record),
            metadata: (!record.metadata_json.is_empty())
                .then(|| Arc::new(Metadata(record.metadata_json.into()))),
        })
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
    policies: Policies,
    /// Rotated-out tokens: few, so that a plain map serves.
    previous: HashMap<TokenHash, Previous>,
    /// The same the other way round.
    previous_of: HashMap<u32, TokenHash>,
    /// Metadata by slot, of the keys that have any: beside the entries, which no decision reads it
    /// from.
    metadata: HashMap<u32, Arc<Metadata>>,
    /// Keys whose token may have any shape, because its digest was imported.
    foreign: usize,
    live: usize,
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
        if let Some(slot) = self.by_token.guess(self.token_hasher.hash(token)) {
            let entry = self.entries.get(slot);
            std::hint::black_box((entry.status, entry.cell.is_locked()));
        }
    }

    /// The key of a token; with it, when the token was rotated out, what remains of its overlap.
    pub(super) fn find(&self, token: &TokenHash) -> Option<(&Entry, Option<Previous>)> {
        let hash = self.token_hasher.hash(token);
        let found = self.by_token.find(hash, |slot| self.entries.get(slot).token == *token);
        if let Some(slot) = found {
            return Some((self.entries.get(slot), None));
        }
        let previous = *self.previous.get(token)?;
        Some((self.entries.get(previous.slot), Some(previous)))
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

    fn hash_id(&self, id: u64) -> u64 {
        self.id_hasher.hash_one(id)
    }

    fn slot_of(&self, id: u64) -> Option<u32> {
        self.by_id.find(self.hash_id(id), |slot| self.entries.get(slot).id == id)
    }

    /// Inserts a key or replaces its old form; figures and spent limits stay.
    pub(super) fn put(&mut self, key: Loaded, now: Now) -> Result<(), CatalogError> {
        let tokens = [Some(key.token), key.previous.map(|(token, _)| token)];
        // A deleted key claims no token: another one may have it by now.
        for token in tokens.into_iter().flatten().filter(|_| !key.deleted) {
            match self.find(&token) {
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
        let Loaded { previous, metadata, .. } = key;
        let entry = Entry {
            token: key.token,
            id: key.id,
            expires_us: key.expires_us,
            limits: key.limits,
            ruled: key.policy.access.is_some(),
            policy: self.policies.take(key.policy),
            status: key.status,
            foreign: key.foreign,
            deleted: key.deleted,
            cell: parking_lot::Mutex::new(cell),
        };
        let slot = self.entries.insert(entry).ok_or(CatalogError::Full { max: SLOTS_MAX })?;
        self.link(slot, previous);
        if let Some(metadata) = metadata.filter(|_| !key.deleted) {
            self.metadata.insert(slot, metadata);
        }
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

    fn link(&mut self, slot: u32, previous: Option<(TokenHash, i64)>) {
        let Self { by_token, by_id, entries, id_hasher, token_hasher, .. } = self;
        let entry = entries.get(slot);
        by_id.insert(id_hasher.hash_one(entry.id), slot, |slot| {
            id_hasher.hash_one(entries.get(slot).id)
        });
        if entry.deleted {
            return;
        }
        by_token.insert(token_hasher.hash(&entry.token), slot, |slot| {
            token_hasher.hash(&entries.get(slot).token)
        });
        self.live += 1;
        self.foreign += usize::from(entry.foreign);
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
        self.policies.release(entry.policy);
        self.metadata.remove(&slot);
        if !entry.deleted {
            by_token.remove(token_hasher.hash(&entry.token), slot, |slot| {
                token_hasher.hash(&entries.get(slot).token)
            });
            self.live -= 1;
            self.foreign -= usize::from(entry.foreign);
            if let Some(token) = self.previous_of.remove(&slot) {
                self.previous.remove(&token);
            }
        }
        self.entries.free(slot);
    }
}
