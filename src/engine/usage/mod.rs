//! Usage in memory, and what of it the store does not have yet.
//!
//! A valid verdict moves two figures in the key's entry, and no more: what it cost and whose sums it
//! adds to is worked out by whoever writes usage ([`settle`]), and which hour it belongs to once in
//! an hour, before the first of the next. What does not come with every verdict (denials, reports,
//! costs other than one unit) is counted beside, in shards.

mod settle;
mod sums;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use core::net::IpAddr;
use crossbeam::utils::CachePadded;
use keygate_protocol::{Increment, IncrementOutcome, VerdictCode};
use parking_lot::Mutex;

pub use self::settle::{KeyUsage, SettledKey};
pub use self::sums::SettledSum;
use self::sums::Sums;
use super::Engine;
use crate::clock::Now;
use crate::usage::{DetailRoom, Details, Hour, HourTally, Hours, SeenIds, Tally, UsageRow};

const SHARDS: usize = 64;

pub(super) type Shards<T> = Box<[CachePadded<Mutex<T>>]>;

/// Usage by key and by tenant, the ids that count once, and the list of keys whose figures have
/// moved.
#[derive(Debug)]
pub(super) struct UsageKeeper {
    /// Each lock protects the figures of the keys that hash to its shard. It is taken behind that
    /// of a key's cell, never before.
    kept: Shards<HashMap<u64, Kept>>,
    /// Each lock protects the ids that hash to its shard.
    ids: Shards<SeenIds>,
    /// Ids of keys whose figures have moved, by thread, so that threads do not meet here. A key is
    /// in these lists at most once for its verdicts and once for what is counted beside.
    moved: Shards<Vec<u64>>,
    /// What tenants and the whole daemon were used for.
    sums: Sums,
    /// Credits to give back, by key, whose reports' ids are not stored yet: were they given back
    /// before, a crash in between would give them twice.
    refunds: Mutex<HashMap<u64, u64>>,
    /// What the details of all keys may take.
    room: DetailRoom,
    /// Odd while hours are on their way from memory to the store.
    epoch: AtomicU64,
    /// Whether usage is told by the hour, and beside it denials, costs and counters.
    history: bool,
    hasher: RandomState,
}

/// What is kept of a key that was used, beside what its entry has.
#[derive(Debug, Default)]
struct Kept {
    /// All that was counted and settled.
    total: Tally,
    /// The same, of the hours that are not written.
    hours: Hours,
    /// What is not settled yet, as it came: more than one only around the turn of an hour.
    fresh: Vec<HourTally>,
    /// Of the valid verdicts that the entry has counted, those that are in `total` or `fresh`.
    counted: u64,
    /// Where the last of some valid verdicts came from.
    from: Option<IpAddr>,
    details: Option<Box<Details>>,
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

impl Kept {
    /// What is counted now in this hour.
    fn fresh_of(&mut self, hour: Hour) -> &mut Tally {
        if self.fresh.last().is_none_or(|last| last.hour != hour) {
            // Most often it is the only one.
            self.fresh.reserve_exact(1);
            self.fresh.push(HourTally { hour, tally: Tally::default() });
        }
        let last = self.fresh.len() - 1;
        &mut self.fresh[last].tally
    }
}

impl Kept {
    /// Counts the valid verdicts up to what the entry has counted.
    fn count_verdicts(&mut self, total_requests: u64, hour: Hour, price_nano: u64) {
        // One whose cost was counted beside may be ahead of the entry's figure for an instant.
        let more = total_requests.saturating_sub(self.counted);
        if more > 0 {
            self.fresh_of(hour).add(&Tally::of_verdicts(more, more, price_nano));
            self.counted = total_requests;
        }
    }
}

impl UsageKeeper {
    pub(super) fn new(limits: &super::EngineLimits) -> Self {
        let (window_us, ids_max) = (limits.increment_id_window_us, limits.increment_ids_max);
        Self {
            kept: shards(HashMap::new),
            ids: shards(|| SeenIds::new(window_us, ids_max.div_ceil(SHARDS))),
            moved: shards(Vec::new),
            sums: Sums::default(),
            refunds: Mutex::default(),
            room: DetailRoom::new(limits.usage_detail_bytes_max),
            epoch: AtomicU64::new(0),
            history: limits.usage_history,
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

    fn forget(&self, id: u64) {
        let kept = self.kept[self.shard(id)].lock().remove(&id);
        if let Some(details) = kept.and_then(|kept| kept.details) {
            self.room.forget(&details);
        }
    }

    fn restore(&self, id: u64, row: UsageRow) {
        let details = Some(row.details).filter(|details| !details.is_empty()).map(Box::new);
        if let Some(details) = &details {
            self.room.restore(details);
        }
        let kept = Kept {
            counted: row.total.requests,
            total: row.total,
            hours: row.hours,
            from: row.last_used_from,
            details,
            ..Kept::default()
        };
        self.kept[self.shard(id)].lock().insert(id, kept);
    }

    /// Counts something of a key, and notes that it has moved.
    fn count_of(&self, id: u64, count: impl FnOnce(&mut Kept)) {
        let mut shard = self.kept[self.shard(id)].lock();
        let kept = shard.entry(id).or_default();
        count(kept);
        let first = !std::mem::replace(&mut kept.dirty, true);
        drop(shard);
        if first {
            self.mark(id);
        }
    }

    /// Counts the valid verdicts of an hour that is over: all that the entry has counted and that
    /// are not counted here. Under the lock of the key's cell; once for each key and hour.
    #[cold]
    pub(super) fn end_hour(&self, id: u64, total_requests: u64, hour: Hour, price_nano: u64) {
        if self.history {
            let mut shard = self.kept[self.shard(id)].lock();
            shard.entry(id).or_default().count_verdicts(total_requests, hour, price_nano);
        }
    }

    /// Counts a valid verdict that cost another number of units than one. Under the lock of the
    /// key's cell, which counts the verdict itself.
    pub(super) fn spent(&self, id: u64, units: u64, price_nano: u64, hour: Hour) {
        if self.history {
            self.count_of(id, |kept| {
                kept.counted += 1;
                kept.fresh_of(hour).add(&Tally::of_verdicts(1, units, price_nano));
            });
        }
    }

    /// Counts a denial of a key.
    pub(super) fn denied(&self, id: u64, code: VerdictCode, hour: Hour) {
        if self.history {
            self.count_of(id, |kept| kept.fresh_of(hour).deny(code, 1));
        }
    }

    /// Notes where a valid verdict came from.
    pub(super) fn used_from(&self, id: u64, from: IpAddr) {
        if self.history {
            self.kept[self.shard(id)].lock().entry(id).or_default().from = Some(from);
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
        self.count_of(report.key_id, |kept| {
            let hour = if self.history { Hour::of(now.wall_us) } else { Hour(0) };
            let failed = kept.fresh_of(hour).report(report);
            if report.endpoint.is_some() || failed {
                kept.details.get_or_insert_default().count(report, now.wall_us, &self.room);
            }
        });
        IncrementOutcome::Counted
    }
}

/// Usage is being written.
#[derive(Debug)]
pub struct Writing<'e>(&'e AtomicU64);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
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

    /// Sets the figures that the store had at start. Those of a key that is gone are moved, as in
    /// [`Engine::remove`].
    pub fn restore_usage(&self, id: u64, row: UsageRow) {
        let catalog = self.read();
        if catalog.by_id(id).is_none() {
            self.usage.mark(id);
            return;
        }
        catalog.restore_usage(id, &row);
        self.usage.restore(id, row);
    }

    /// Notes that usage is being written, until what this answers is dropped.
    #[must_use]
    pub fn write_usage(&self) -> Writing<'_> {
        self.usage.epoch.fetch_add(1, Ordering::AcqRel);
        Writing(&self.usage.epoch)
    }

    /// What `read` makes of memory and store together, when no hour went from one to the other
    /// meanwhile; `None` where one did. To be asked again, by who can wait.
    pub fn read_usage<T>(&self, read: impl FnOnce() -> T) -> Option<T> {
        let before = self.usage.epoch.load(Ordering::Acquire);
        let found = read();
        let after = self.usage.epoch.load(Ordering::Acquire);
        (before == after && before.is_multiple_of(2)).then_some(found)
    }

    /// Forgets what a key was used for; see [`Engine::remove`].
    pub(super) fn forget_usage(&self, id: u64) {
        self.usage.forget(id);
        self.usage.mark(id);
    }
}
