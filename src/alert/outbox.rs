//! Alerts that wait for their delivery, and those that were given up.
//!
//! Invariants:
//! 1. Each destination gets its alerts in the order in which they were found, until one has failed
//!    twice: others pass it from then on. One attempt at a time is made at a destination; what waits
//!    for one holds up no other, and no tenant has all attempts.
//! 2. An alert ends delivered, or failed with the reason; until then it is here and in the store.
//! 3. At most `alerts_max` wait. One more puts out the oldest that waits for the destination with
//!    the most, of the tenant with the most: one that is dead for days costs its own alerts and
//!    nobody else's. What was put out counts as failed. Of those that failed as many are kept, the
//!    newest, for a time.
//! 4. A clock that is set back delays nothing by more than the longest wait.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::attempts;
use super::entry::{Entry, EntryState, OutboxRow, Outcome, Route};
use super::queue::{Place, Queues, Went};
use super::turns::Slots;
use crate::event::{Alert, Destination};

/// Delivered alerts that are remembered, to be listed.
const DELIVERED_KEPT: usize = 256;

/// Most alerts of one digest.
pub const DIGEST_MAX: usize = 100;

/// A clock that goes back by less was only corrected.
const STEP_US: i64 = 1_000_000;

/// Longest reason that is kept, in bytes.
const WHY_BYTES_MAX: usize = 256;

/// Bounds of an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxBounds {
    /// Alerts that wait, and failed ones that are kept.
    pub alerts_max: usize,
    /// How long a failed one is kept, microseconds.
    pub failed_kept_us: i64,
    /// Attempts at a time, of all tenants; one has a quarter of them at the most, and the operator
    /// and the sinks have a quarter each beside.
    pub attempts_at_once_max: usize,
}

/// What an outbox has done since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutboxCounts {
    /// Alerts that were taken by their destination.
    pub delivered: u64,
    /// Alerts that were given up, those that were put out among them.
    pub failed: u64,
    /// Attempts that failed and are made again.
    pub retried: u64,
    /// Alerts that were put out for want of room.
    pub put_out: u64,
}

/// An attempt that is to be made now.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// Where to.
    pub route: Route,
    /// The numbers of the alerts.
    pub seqs: Vec<u64>,
    /// The alerts, in order: several only in a digest by mail.
    pub alerts: Vec<Arc<Alert>>,
}

/// All of it.
#[derive(Debug)]
pub struct Outbox {
    bounds: OutboxBounds,
    /// What waits and what failed, by number.
    entries: BTreeMap<u64, Entry>,
    queues: Queues,
    /// How many wait.
    waiting: usize,
    /// Those that failed, by when.
    failed: BTreeSet<(i64, u64)>,
    delivered: BTreeMap<u64, Entry>,
    /// Their numbers, in the order in which they were.
    delivered_order: VecDeque<u64>,
    /// The time, as it was last told.
    now_us: Option<i64>,
    /// Numbers whose rows are not what they should be.
    unwritten: BTreeSet<u64>,
    next_seq: u64,
    counts: OutboxCounts,
}

impl Outbox {
    /// An empty one.
    #[must_use]
    pub fn new(bounds: OutboxBounds) -> Self {
        Self {
            bounds,
            entries: BTreeMap::new(),
            queues: Queues::default(),
            waiting: 0,
            failed: BTreeSet::new(),
            delivered: BTreeMap::new(),
            delivered_order: VecDeque::new(),
            now_us: None,
            unwritten: BTreeSet::new(),
            next_seq: 1,
            counts: OutboxCounts::default(),
        }
    }

    /// Other bounds; what is over them goes with the next that is added.
    pub const fn set_bounds(&mut self, bounds: OutboxBounds) {
        self.bounds = bounds;
    }

    /// A number for one more. One that is not used is missed by nobody.
    pub const fn number(&mut self) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        seq
    }

    /// Takes one in, whose row the store has, or cannot have.
    pub fn add(&mut self, entry: Entry) {
        self.next_seq = self.next_seq.max(entry.seq.saturating_add(1));
        match entry.state {
            EntryState::Failed(at_us) => {
                self.failed.insert((at_us, entry.seq));
            }
            EntryState::Waiting => {
                self.waiting += 1;
                let tried_us = self.now_us.unwrap_or(entry.alert.at_us);
                self.queues.add(&entry.route(), place(&entry, tried_us));
            }
            EntryState::Delivered(_) => return,
        }
        let now_us = self.now_us.unwrap_or(entry.alert.at_us);
        self.entries.insert(entry.seq, entry);
        while self.waiting > self.bounds.alerts_max {
            let Some(oldest) = self.queues.oldest_of_the_longest() else { break };
            self.counts.put_out += 1;
            self.fail(oldest, "the outbox was full (alerts.outbox_max)", now_us);
        }
        self.drop_failed(i64::MIN);
    }

    /// The attempt that is due longest, at a destination at which none is under way.
    pub fn take_due(&mut self, now_us: i64) -> Option<Attempt> {
        let most = |route: &Route| match route.to {
            Destination::Email { .. } => DIGEST_MAX,
            Destination::Webhook { .. } | Destination::Sink { .. } => 1,
        };
        let (route, seqs) = self.queues.take_due(now_us, self.slots(), most)?;
        let alerts = seqs.iter().filter_map(|seq| self.entries.get(seq));
        let alerts = alerts.map(|entry| Arc::clone(&entry.alert)).collect();
        Some(Attempt { route, seqs, alerts })
    }

    /// When the next attempt is due that may be made, microseconds since 1970.
    #[must_use]
    pub fn next_due_us(&self) -> Option<i64> {
        self.queues.next_due_us(self.slots())
    }

    fn slots(&self) -> Slots {
        Slots::new(self.bounds.attempts_at_once_max)
    }

    /// A destination is said to take alerts again, or all are: what has failed there is tried now.
    pub fn hurry(&mut self, route: Option<&Route>, now_us: i64) {
        self.queues.hurry(route, now_us);
    }

    /// Whether anything is on its way to a destination.
    #[must_use]
    pub fn has(&self, route: &Route) -> bool {
        self.queues.has(route)
    }

    /// One more was given up as it was made.
    pub const fn count_failed(&mut self) {
        self.counts.failed += 1;
    }

    /// Takes note of what became of an attempt. `random` spreads the next.
    pub fn settle(
        &mut self,
        route: &Route,
        seqs: &[u64],
        outcome: &Outcome,
        now_us: i64,
        random: u32,
    ) {
        for seq in seqs {
            match outcome {
                Outcome::Delivered => self.deliver(*seq, now_us),
                Outcome::Retry(why) => self.retry(*seq, why, now_us, random),
                Outcome::Gone(why) | Outcome::Refused(why) => {
                    self.count_attempt(*seq);
                    self.fail(*seq, why, now_us);
                }
            }
        }
        if let Outcome::Gone(why) = outcome {
            for seq in self.queues.waiting(route) {
                self.fail(seq, why, now_us);
            }
        }
        let entries = seqs.iter().filter_map(|seq| self.entries.get(seq));
        let waiting = entries.filter(|entry| entry.state == EntryState::Waiting);
        let back = waiting.map(|entry| place(entry, now_us)).collect();
        let went = match outcome {
            Outcome::Delivered => Went::Well,
            Outcome::Retry(_) => Went::Badly,
            Outcome::Gone(_) | Outcome::Refused(_) => Went::Neither,
        };
        self.queues.settle(route, back, went, now_us);
        self.drop_failed(i64::MIN);
    }

    /// Takes note of the time, and forgets what failed too long ago.
    pub fn sweep(&mut self, now_us: i64) {
        let before_us = self.now_us.replace(now_us);
        let step_us = before_us.map_or(0, |before_us| before_us.saturating_sub(now_us));
        if before_us.is_none() || step_us > STEP_US {
            self.set_back(step_us.max(0), now_us);
        }
        self.drop_failed(now_us.saturating_sub(self.bounds.failed_kept_us));
    }

    /// What is due by a clock that has been set back by so much, maybe before the start, is due as
    /// long from now as it was; what failed in times to come failed now.
    fn set_back(&mut self, step_us: i64, now_us: i64) {
        for (seq, entry) in &mut self.entries {
            match entry.state {
                EntryState::Waiting => {
                    let due_us = entry.due_us.saturating_sub(step_us);
                    let late = due_us > now_us.saturating_add(attempts::WAIT_MAX_US);
                    let due_us = if late { now_us } else { due_us };
                    if due_us != entry.due_us {
                        entry.due_us = due_us;
                        self.queues.set_due(&entry.route(), *seq, due_us);
                        self.unwritten.insert(*seq);
                    }
                }
                EntryState::Failed(at_us) if at_us > now_us => {
                    entry.state = EntryState::Failed(now_us);
                    self.failed.remove(&(at_us, *seq));
                    self.failed.insert((now_us, *seq));
                    self.unwritten.insert(*seq);
                }
                EntryState::Failed(_) | EntryState::Delivered(_) => {}
            }
        }
        self.queues.set_back(now_us);
    }

    /// Rows that are to be written, `None` for one that is to be removed; at most so many. They count
    /// as written.
    pub fn take_unwritten(&mut self, most: usize) -> Vec<(u64, Option<OutboxRow>)> {
        let mut rows = Vec::new();
        while rows.len() < most
            && let Some(seq) = self.unwritten.pop_first()
        {
            rows.push((seq, self.entries.get(&seq).map(Entry::row)));
        }
        rows
    }

    /// Rows could not be written.
    pub fn return_unwritten(&mut self, seqs: impl IntoIterator<Item = u64>) {
        self.unwritten.extend(seqs);
    }

    /// What waits, failed, and was delivered of late, by number; after one, if it is given.
    pub fn list(&self, after: Option<u64>) -> impl Iterator<Item = &Entry> {
        let from = after.map_or(0, |after| after.saturating_add(1));
        let mut kept = self.entries.range(from..).peekable();
        let mut delivered = self.delivered.range(from..).peekable();
        std::iter::from_fn(move || {
            let kept_first = match (kept.peek(), delivered.peek()) {
                (Some((kept, _)), Some((delivered, _))) => kept < delivered,
                (kept, _) => kept.is_some(),
            };
            let next = if kept_first { kept.next() } else { delivered.next() };
            next.map(|(_, entry)| entry)
        })
    }

    /// How many wait, and how many failed ones are kept.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize) {
        (self.waiting, self.failed.len())
    }

    /// What was done since the start.
    #[must_use]
    pub const fn counts(&self) -> OutboxCounts {
        self.counts
    }

    fn deliver(&mut self, seq: u64, now_us: i64) {
        let Some(mut entry) = self.entries.remove(&seq) else { return };
        self.waiting -= 1;
        self.counts.delivered += 1;
        self.unwritten.insert(seq);
        entry.attempts = entry.attempts.saturating_add(1);
        entry.state = EntryState::Delivered(now_us);
        entry.why = String::new();
        if self.delivered.len() == DELIVERED_KEPT
            && let Some(first) = self.delivered_order.pop_front()
        {
            self.delivered.remove(&first);
        }
        self.delivered_order.push_back(seq);
        self.delivered.insert(seq, entry);
    }

    fn count_attempt(&mut self, seq: u64) {
        if let Some(entry) = self.entries.get_mut(&seq) {
            entry.attempts = entry.attempts.saturating_add(1);
        }
    }

    fn retry(&mut self, seq: u64, why: &str, now_us: i64, random: u32) {
        let Some(entry) = self.entries.get_mut(&seq) else { return };
        let made_us = entry.alert.at_us;
        // One that was hurried had its attempt beside the schedule, which goes on.
        let hurried = entry.attempts >= attempts::PASSED_FROM && now_us < entry.due_us;
        let next_us = if hurried && now_us.saturating_sub(made_us) <= attempts::AGE_MAX_US {
            Some(entry.due_us)
        } else {
            entry.attempts = entry.attempts.saturating_add(1);
            attempts::next_us(entry.attempts, made_us, now_us, random)
        };
        match next_us {
            Some(due_us) => {
                entry.due_us = due_us;
                entry.why = cut(why);
                self.counts.retried += 1;
                self.unwritten.insert(seq);
            }
            None => self.fail(seq, why, now_us),
        }
    }

    fn fail(&mut self, seq: u64, why: &str, now_us: i64) {
        let Some(entry) = self.entries.get_mut(&seq) else { return };
        entry.state = EntryState::Failed(now_us);
        entry.why = cut(why);
        self.queues.remove(&entry.route(), seq);
        self.waiting -= 1;
        self.counts.failed += 1;
        self.failed.insert((now_us, seq));
        self.unwritten.insert(seq);
    }

    /// Drops those that failed before an instant, and the oldest over the bound.
    fn drop_failed(&mut self, before_us: i64) {
        while let Some((at_us, seq)) = self.failed.first().copied() {
            if at_us >= before_us && self.failed.len() <= self.bounds.alerts_max {
                break;
            }
            self.failed.remove(&(at_us, seq));
            self.entries.remove(&seq);
            self.unwritten.insert(seq);
        }
    }
}

fn place(entry: &Entry, tried_us: i64) -> Place {
    let passed = (entry.attempts >= attempts::PASSED_FROM).then_some(tried_us);
    Place { seq: entry.seq, due_us: entry.due_us, passed }
}

fn cut(why: &str) -> String {
    why[..why.floor_char_boundary(WHY_BYTES_MAX)].to_owned()
}

#[cfg(test)]
#[path = "outbox/tests.rs"]
mod tests;
