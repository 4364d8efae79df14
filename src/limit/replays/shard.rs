//! One part of the cache, behind a lock of its own.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use super::{Age, Refusal, Tag, Used};

/// Capacity that is not given back.
const SPARE: usize = 64;

#[derive(Debug)]
pub(super) struct Shard {
    /// When each was made, and whose it is.
    tags: HashMap<(u64, Tag), (i64, u32)>,
    by_created: BTreeSet<(i64, u64, Tag)>,
    /// Nothing that was made at or before it is taken.
    pub(super) floor_s: i64,
}

impl Default for Shard {
    fn default() -> Self {
        Self { tags: HashMap::new(), by_created: BTreeSet::new(), floor_s: i64::MIN }
    }
}

impl Shard {
    pub(super) fn check(&self, used: &Used) -> Result<(), Refusal> {
        if self.has(used) {
            Err(Refusal::Replayed)
        } else if used.created <= self.floor_s {
            Err(Refusal::Forgotten)
        } else {
            Ok(())
        }
    }

    pub(super) fn has(&self, used: &Used) -> bool {
        self.tags.contains_key(&(used.key, used.tag))
    }

    pub(super) fn add(&mut self, used: &Used) {
        self.tags.insert((used.key, used.tag), (used.created, used.tenant));
        self.by_created.insert((used.created, used.key, used.tag));
    }

    pub(super) fn take_back(&mut self, used: &Used) -> bool {
        // By then it may have been forgotten, and another may have it since.
        let is_same = self.tags.get(&(used.key, used.tag)) == Some(&(used.created, used.tenant));
        if is_same {
            self.remove((used.created, used.key, used.tag));
        }
        is_same
    }

    /// Forgets what is too old, `at_most` so many, and hands over each. None of them is taken from
    /// here on, also of those that are left for the next time.
    pub(super) fn forget(&mut self, age: Age, at_most: usize, mut gone: impl FnMut(&Used)) {
        let end = Bound::Excluded((age.oldest(), 0, Tag::default()));
        let over = self.by_created.range((Bound::Unbounded, end));
        let Some((newest, ..)) = over.clone().next_back() else { return };
        self.floor_s = self.floor_s.max(*newest);
        for name in over.take(at_most).copied().collect::<Vec<_>>() {
            if let Some(used) = self.remove(name) {
                gone(&used);
            }
        }
        // Those of another time had more, maybe.
        if self.tags.capacity() > 4 * self.tags.len() + SPARE {
            self.tags.shrink_to(2 * self.tags.len());
        }
    }

    fn remove(&mut self, (created, key, tag): (i64, u64, Tag)) -> Option<Used> {
        self.by_created.remove(&(created, key, tag));
        let (_, tenant) = self.tags.remove(&(key, tag))?;
        Some(Used { key, tenant, tag, created })
    }

    /// The newest second of what it remembers, or its floor.
    pub(super) fn newest(&self) -> i64 {
        self.by_created.last().map_or(self.floor_s, |(created, ..)| self.floor_s.max(*created))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Used> {
        let used = |(&(key, tag), &(created, tenant)): (&(u64, Tag), &(i64, u32))| Used {
            key,
            tenant,
            tag,
            created,
        };
        self.tags.iter().map(used)
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.tags.capacity()
    }
}
