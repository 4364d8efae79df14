//! Usage in memory, and what of it the store does not have yet.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use crossbeam::utils::CachePadded;
use keygate_protocol::{Increment, IncrementOutcome};
use parking_lot::Mutex;

use super::Engine;
use crate::clock::Now;
use crate::usage::{Reported, SeenIds, UsageRow};

const SHARDS: usize = 64;

pub(super) type Shards<T> = Box<[CachePadded<Mutex<T>>]>;

/// Reported usage by key, the ids that count once, and the list of keys whose figures have moved.
#[derive(Debug)]
pub(super) struct UsageKeeper {
    /// Each lock protects the reported figures of the keys that hash to its shard.
    reported: Shards<HashMap<u64, Kept>>,
    /// Each lock protects the ids that hash to its shard.
    ids: Shards<SeenIds>,
    /// Ids of keys whose figures have moved, by thread, so that threads do not meet here. A key is
    /// in these lists at most once for its verdicts and once for its reports.
    moved: Shards<Vec<u64>>,
    /// Credits to give back, by key, whose reports' ids are not stored yet: were they given back
    /// before, a crash in between would give them twice.
    refunds: Mutex<HashMap<u64, u64>>,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Kept {
    reported: Reported,
    dirty: bool,
}

pub(super) fn shards<T>(make: impl Fn() -> T) -> Shards<T> {
    std::iter::repeat_with(|| CachePadded::new(Mutex::new(make()))).take(SHARDS).collect()
}

/// This thread's number, counted from the first that asked.
pub(super) fn thread_number() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed));
    NUMBER.with(|number| *number)
}

/// The clock of the window of ids: it never steps, so no step of the wall clock, such as the first
/// one after boot, makes a report count twice.
fn window_clock_us(now: Now) -> i64 {
    i64::try_from(now.mono_ns / 1000).unwrap_or(i64::MAX)
}

impl UsageKeeper {
    pub(super) fn new(window_us: i64, ids_max: usize) -> Self {
        Self {
            reported: shards(HashMap::new),
            ids: shards(|| SeenIds::new(window_us, ids_max.div_ceil(SHARDS))),
            moved: shards(Vec::new),
            refunds: Mutex::default(),
            hasher: RandomState::new(),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a remainder of 64")]
    fn shard(&self, hashed: impl std::hash::Hash) -> usize {
        (self.hasher.hash_one(hashed) % SHARDS as u64) as usize
    }

    /// Notes that a key's figures have moved.
    pub(super) fn mark(&self, id: u64) {
        self.moved[thread_number() % SHARDS].lock().push(id);
    }

    pub(super) fn forget(&self, id: u64) {
        self.reported[self.shard(id)].lock().remove(&id);
    }

    pub(super) fn restore(&self, id: u64, row: UsageRow) {
        if let Some(reported) = row.reported {
            let kept = Kept { reported, dirty: false };
            self.reported[self.shard(id)].lock().insert(id, kept);
        }
    }

    /// Notes credits to give back, once the report's id is stored.
    pub(super) fn refund(&self, id: u64, credits: u64) {
        let mut refunds = self.refunds.lock();
        let sum = refunds.entry(id).or_default();
        *sum = sum.saturating_add(credits);
    }

    pub(super) fn count(&self, report: &Increment<'_>, now: Now) -> IncrementOutcome {
        if let Some(id) = report.id
            && !self.ids[self.shard(id)].lock().insert(id, window_clock_us(now))
        {
            return IncrementOutcome::Duplicate;
        }
        let mut shard = self.reported[self.shard(report.key_id)].lock();
        let kept = shard.entry(report.key_id).or_default();
        kept.reported.count(report, now.wall_us);
        let first = !std::mem::replace(&mut kept.dirty, true);
        drop(shard);
        if first {
            self.mark(report.key_id);
        }
        IncrementOutcome::Counted
    }
}

/// What the store needs: taken by the flusher, never by a decision.
impl Engine {
    /// Credits that are to be given back, by key. To be taken before the ids of their reports are,
    /// and given back when those are stored.
    pub fn take_refunds(&self) -> Vec<(u64, u64)> {
        std::mem::take(&mut *self.usage.refunds.lock()).into_iter().collect()
    }

    /// Puts refunds back whose ids could not be stored.
    pub fn return_refunds(&self, refunds: &[(u64, u64)]) {
        refunds.iter().for_each(|(id, credits)| self.usage.refund(*id, *credits));
    }

    /// Ids of `Increment`s that the store does not have yet.
    pub fn take_fresh_increment_ids(&self) -> Vec<u128> {
        self.usage.ids.iter().flat_map(|shard| shard.lock().take_fresh()).collect()
    }

    /// Puts ids back that could not be stored.
    pub fn return_fresh_increment_ids(&self, ids: &[u128]) {
        for id in ids {
            self.usage.ids[self.usage.shard(*id)].lock().return_fresh(*id);
        }
    }

    /// Remembers an id that the store had at start.
    pub fn restore_increment_id(&self, id: u128, now: Now) {
        self.usage.ids[self.usage.shard(id)].lock().restore(id, window_clock_us(now));
    }

    /// Keys whose figures have moved since they were last taken, each once.
    pub fn take_moved(&self) -> Vec<u64> {
        let mut ids: Vec<u64> =
            self.usage.moved.iter().flat_map(|shard| std::mem::take(&mut *shard.lock())).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Puts keys back whose figures could not be stored.
    pub fn return_moved(&self, ids: &[u64]) {
        self.usage.moved[0].lock().extend_from_slice(ids);
    }

    /// A key's figures as they stand, marked as handed over: whatever moves later marks it again.
    /// `None` when there is no such key (any more): what is stored of it is to be removed.
    pub fn take_usage(&self, id: u64) -> Option<UsageRow> {
        self.row(id, true, Reported::clone)
    }

    /// A key's figures as they stand.
    #[must_use]
    pub fn usage(&self, id: u64) -> UsageRow {
        self.row(id, false, Reported::clone).unwrap_or_default()
    }

    /// A key's totals as they stand, without endpoints, statuses and errors.
    #[must_use]
    pub fn usage_totals(&self, id: u64) -> UsageRow {
        let totals = |kept: &Reported| Reported { total: kept.total, ..Reported::default() };
        self.row(id, false, totals).unwrap_or_default()
    }

    fn row(
        &self,
        id: u64,
        handed_over: bool,
        copy: impl Fn(&Reported) -> Reported,
    ) -> Option<UsageRow> {
        let mut row = UsageRow::default();
        {
            let catalog = self.read();
            let entry = catalog.by_id(id)?;
            let mut cell = entry.cell.lock();
            row.total_requests = cell.total_requests;
            row.last_used_us = cell.last_used_us;
            if handed_over {
                entry.handed_over(&mut cell);
            }
        }
        if let Some(kept) = self.usage.reported[self.usage.shard(id)].lock().get_mut(&id) {
            row.reported = Some(copy(&kept.reported));
            kept.dirty &= !handed_over;
        }
        Some(row)
    }
}
