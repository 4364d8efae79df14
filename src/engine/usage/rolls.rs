//! Verdicts that are to be counted otherwise than those that follow.
//!
//! An entry counts its valid verdicts in one figure. Before a verdict of another hour is added, or
//! of another price or tenant, it is noted how far the figure had come: what it has beyond what was
//! settled belongs to the hour before, at the price of then.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::{SHARDS, Shards, shards, thread_number};
use crate::engine::Engine;
use crate::engine::catalog::Catalog;
use crate::engine::entry::{Cell, Entry};
use crate::usage::Hour;

/// How far a key's figure had come in an hour, at a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::engine) struct Roll {
    pub(in crate::engine) id: u64,
    /// Valid verdicts that the entry had counted.
    pub(in crate::engine) until: u64,
    pub(in crate::engine) hour: Hour,
    pub(in crate::engine) price_nano: u64,
}

impl Engine {
    /// Notes that a key's verdicts from here on are of another hour. Once for each key and hour.
    #[cold]
    pub(in crate::engine) fn note_hour(&self, catalog: &Catalog, entry: &Entry, cell: &Cell) {
        if self.usage.history {
            self.usage.rolls.note(Roll {
                id: entry.id,
                until: cell.total_requests,
                hour: Hour::of(cell.last_used_us),
                price_nano: catalog.policy(entry).price_nano,
            });
        }
    }
}

/// Those that are not settled: at most one for each key, hour and change.
#[derive(Debug)]
pub(super) struct Rolls {
    /// By thread, so that threads do not meet here.
    noted: Shards<Vec<Roll>>,
    any: AtomicBool,
    /// What was taken from there, by key.
    taken: Mutex<HashMap<u64, Vec<Roll>>>,
}

impl Default for Rolls {
    fn default() -> Self {
        Self { noted: shards(Vec::new), any: AtomicBool::new(false), taken: Default::default() }
    }
}

impl Rolls {
    /// Notes one. Under the lock of the key's cell, so that whoever has read what the cell counts
    /// finds it here.
    pub(super) fn note(&self, roll: Roll) {
        self.noted[thread_number() % SHARDS].lock().push(roll);
        self.any.store(true, Ordering::Release);
    }

    /// Takes those of a key, in order.
    pub(super) fn take(&self, id: u64) -> Vec<Roll> {
        let mut rolls = self.gathered().remove(&id).unwrap_or_default();
        rolls.sort_unstable();
        rolls
    }

    /// Those of a key, in order, and leaves them.
    pub(super) fn look(&self, id: u64) -> Vec<Roll> {
        let mut rolls = self.gathered().get(&id).cloned().unwrap_or_default();
        rolls.sort_unstable();
        rolls
    }

    /// The keys that have some.
    pub(super) fn keys(&self) -> Vec<u64> {
        self.gathered().keys().copied().collect()
    }

    fn gathered(&self) -> MutexGuard<'_, HashMap<u64, Vec<Roll>>> {
        let mut taken = self.taken.lock();
        if self.any.swap(false, Ordering::Acquire) {
            for roll in self.noted.iter().flat_map(|noted| std::mem::take(&mut *noted.lock())) {
                taken.entry(roll.id).or_default().push(roll);
            }
        }
        taken
    }
}
