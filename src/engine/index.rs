//! A flat hash table of fingerprints: eight bytes a key, one cache miss a lookup.
//!
//! An item is a 32-bit tag of the hash and a slot number; the key itself stands in the slot and is
//! compared by the caller. 256 independent tables, chosen by the hash's top byte, keep the pause
//! of a growing table to a 256th of the whole.

use prefetch_index::prefetch_index;

const TABLES: usize = 256;
const CAPACITY_MIN: usize = 16;
const EMPTY: u64 = 0;

/// Maps 64-bit hashes to slots. Hashes must be uniform: they are used as they are.
#[derive(Debug)]
pub(super) struct Index {
    tables: Box<[Table]>,
}

/// Linear probing over a power of two; an item is `tag << 32 | slot + 1`.
#[derive(Debug, Default)]
struct Table {
    items: Box<[u64]>,
    used: usize,
}

impl Default for Index {
    fn default() -> Self {
        Self { tables: std::iter::repeat_with(Table::default).take(TABLES).collect() }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is the tag")]
const fn tag(hash: u64) -> u32 {
    hash as u32
}

impl Index {
    fn table(&self, hash: u64) -> &Table {
        &self.tables[(hash >> 56) as usize]
    }

    /// Loads the hash's first bucket into the cache; independent touches overlap their misses.
    pub(super) fn touch(&self, hash: u64) {
        let table = self.table(hash);
        prefetch_index(&*table.items, table.home(hash));
    }

    /// The first slot whose tag fits; most likely the right one.
    pub(super) fn guess(&self, hash: u64) -> Option<u32> {
        self.find(hash, |_| true)
    }

    /// The slot whose tag fits and which the caller recognises.
    pub(super) fn find(&self, hash: u64, is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let table = self.table(hash);
        table.find(hash, is_it).map(|at| slot(table.items[at]))
    }

    /// Adds a slot; the caller has seen that it is not there.
    pub(super) fn insert(&mut self, hash: u64, slot: u32, hash_of: impl Fn(u32) -> u64) {
        self.tables[(hash >> 56) as usize].insert(hash, slot, hash_of);
    }

    /// Takes a slot out; the items behind it move up, so that no tombstone stays.
    pub(super) fn remove(&mut self, hash: u64, slot: u32, hash_of: impl Fn(u32) -> u64) {
        self.tables[(hash >> 56) as usize].remove(hash, slot, hash_of);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is the slot plus one")]
const fn slot(item: u64) -> u32 {
    (item as u32) - 1
}

const fn item(hash: u64, slot: u32) -> u64 {
    (tag(hash) as u64) << 32 | (slot as u64 + 1)
}

impl Table {
    const fn mask(&self) -> usize {
        self.items.len() - 1
    }

    /// Where the search begins: bits that neither choose the table nor make the tag.
    const fn home(&self, hash: u64) -> usize {
        ((hash >> 24) as usize) & self.items.len().wrapping_sub(1)
    }

    fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<usize> {
        if self.items.is_empty() {
            return None;
        }
        let mut at = self.home(hash);
        // The table is never full, so an empty item ends every walk.
        while self.items[at] != EMPTY {
            let item = self.items[at];
            if item >> 32 == u64::from(tag(hash)) && is_it(slot(item)) {
                return Some(at);
            }
            at = (at + 1) & self.mask();
        }
        None
    }

    fn insert(&mut self, hash: u64, slot: u32, hash_of: impl Fn(u32) -> u64) {
        if self.used * 4 >= self.items.len() * 3 {
            self.grow(hash_of);
        }
        self.place(item(hash, slot), hash);
        self.used += 1;
    }

    fn place(&mut self, item: u64, hash: u64) {
        let mut at = self.home(hash);
        while self.items[at] != EMPTY {
            at = (at + 1) & self.mask();
        }
        self.items[at] = item;
    }

    fn grow(&mut self, hash_of: impl Fn(u32) -> u64) {
        let capacity = (self.items.len() * 2).max(CAPACITY_MIN);
        let old = std::mem::replace(&mut self.items, vec![EMPTY; capacity].into());
        for item in old.into_iter().filter(|&item| item != EMPTY) {
            self.place(item, hash_of(slot(item)));
        }
    }

    fn remove(&mut self, hash: u64, wanted: u32, hash_of: impl Fn(u32) -> u64) {
        let Some(mut hole) = self.find(hash, |slot| slot == wanted) else { return };
        let mut at = hole;
        loop {
            at = (at + 1) & self.mask();
            let item = self.items[at];
            if item == EMPTY {
                break;
            }
            let home = self.home(hash_of(slot(item)));
            // Move the item into the hole unless its home lies between the hole and itself.
            let behind_hole = at.wrapping_sub(home) & self.mask();
            if behind_hole >= (at.wrapping_sub(hole) & self.mask()) {
                self.items[hole] = item;
                hole = at;
            }
        }
        self.items[hole] = EMPTY;
        self.used -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a plain map, with hashes so few that they collide in home, tag and table.
        #[test]
        fn it_behaves_as_a_map(
            steps in prop::collection::vec((0_u64..300, any::<bool>()), 1..600),
            spread in prop::sample::select(vec![1_u64, 1 << 24, 1 << 32, 0x9E37_79B9_7F4A_7C15]),
        ) {
            let hash_of = |slot: u32| u64::from(slot).wrapping_mul(spread);
            let mut index = Index::default();
            let mut model = HashMap::new();
            for (key, put) in steps {
                let slot = u32::try_from(key).expect("small");
                let hash = hash_of(slot);
                if put && !model.contains_key(&slot) {
                    index.insert(hash, slot, hash_of);
                    model.insert(slot, ());
                } else if !put && model.remove(&slot).is_some() {
                    index.remove(hash, slot, hash_of);
                }
                prop_assert_eq!(
                    index.find(hash, |found| found == slot).is_some(),
                    model.contains_key(&slot)
                );
            }
            for slot in 0..300 {
                let found = index.find(hash_of(slot), |found| found == slot);
                prop_assert_eq!(found.is_some(), model.contains_key(&slot), "{}", slot);
            }
        }
    }
}
