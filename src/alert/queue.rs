//! What waits for one destination, in order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::entry::Route;
use super::turns::{Length, Lengths, Slots, Turns};

/// Between two attempts at a destination after one, two and more failed in a row: alerts that have
/// their own schedules are not tried one right after the other at one that is dead.
const PAUSES_US: [i64; 5] = [5_000_000, 10_000_000, 20_000_000, 40_000_000, 60_000_000];

/// After a destination has taken something again, what has failed there is tried as long after its
/// last attempt.
const HURRIED_AFTER_US: i64 = 5 * 60 * 1_000_000;

/// The queues of all destinations.
#[derive(Debug, Default)]
pub(super) struct Queues {
    by_route: HashMap<Route, Queue>,
    turns: Turns,
    lengths: Lengths,
}

/// What is put into a queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) seq: u64,
    pub(super) due_us: i64,
    /// When it was tried last, of one that others may pass.
    pub(super) passed: Option<i64>,
}

/// One that others may pass.
#[derive(Debug, Clone, Copy)]
struct Passed {
    due_us: i64,
    tried_us: i64,
}

/// The numbers of what waits.
#[derive(Debug, Default)]
struct Queue {
    /// What is tried one after the other, by number, and when.
    in_order: BTreeMap<u64, i64>,
    /// What has failed so often that others pass it.
    passed: BTreeMap<u64, Passed>,
    passed_due: BTreeSet<(i64, u64)>,
    /// What is under way, which is in none of these.
    under_way: BTreeSet<u64>,
    /// Attempts that failed in a row.
    failures: usize,
    /// No attempt before.
    pause_until_us: i64,
    /// Where it stands in `turns` and `lengths`.
    due_us: Option<i64>,
    length: Option<Length>,
}

/// What an attempt says of its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Went {
    Well,
    Badly,
    /// It says something of the alert alone.
    Neither,
}

impl Queues {
    /// Adds an alert.
    pub(super) fn add(&mut self, route: &Route, place: Place) {
        self.change(route, |queue| queue.add(place));
    }

    /// Takes an alert out that is not under way.
    pub(super) fn remove(&mut self, route: &Route, seq: u64) {
        self.change(route, |queue| queue.remove(seq));
    }

    /// One that is not under way is due at another time.
    pub(super) fn set_due(&mut self, route: &Route, seq: u64, due_us: i64) {
        self.change(route, |queue| {
            if let Some(due) = queue.in_order.get_mut(&seq) {
                *due = due_us;
            } else if let Some(Passed { tried_us, .. }) = queue.passed.get(&seq).copied() {
                queue.remove(seq);
                queue.add(Place { seq, due_us, passed: Some(tried_us) });
            }
        });
    }

    /// The destination that is due longest of those that may be tried, and what of it, `most(route)`
    /// at the most. Nothing else of it is given out until [`Queues::settle`].
    pub(super) fn take_due(
        &mut self,
        now_us: i64,
        slots: Slots,
        most: impl FnOnce(&Route) -> usize,
    ) -> Option<(Route, Vec<u64>)> {
        let (_, route) = self.turns.next(slots).filter(|(due_us, _)| *due_us <= now_us)?;
        self.turns.begin(&route);
        let most = most(&route);
        let taken = self.change(&route, |queue| queue.take(now_us, most));
        Some((route, taken))
    }

    /// Nothing of a destination is under way any more; what goes back into its queue is in `back`.
    pub(super) fn settle(&mut self, route: &Route, back: Vec<Place>, went: Went, now_us: i64) {
        if self.by_route.get(route).is_none_or(|queue| queue.under_way.is_empty()) {
            return;
        }
        self.turns.end(route);
        self.change(route, |queue| {
            queue.under_way.clear();
            back.into_iter().for_each(|place| queue.add(place));
            match went {
                Went::Well => queue.works(now_us),
                Went::Badly => {
                    let pause = PAUSES_US[queue.failures.min(PAUSES_US.len() - 1)];
                    queue.pause_until_us = now_us.saturating_add(pause);
                    queue.failures += 1;
                }
                Went::Neither => {}
            }
        });
    }

    /// A destination is said to be well again, or all are: what has failed there is tried now.
    pub(super) fn hurry(&mut self, route: Option<&Route>, now_us: i64) {
        let of_one = route.map(|route| vec![route.clone()]);
        let routes = of_one.unwrap_or_else(|| self.by_route.keys().cloned().collect());
        for route in routes {
            self.change(&route, |queue| queue.hurry(|_| now_us));
        }
    }

    /// The clock was set back.
    pub(super) fn set_back(&mut self, now_us: i64) {
        let routes: Vec<Route> = self.by_route.keys().cloned().collect();
        for route in routes {
            self.change(&route, |queue| {
                queue.pause_until_us = queue.pause_until_us.min(now_us);
                let passed = queue.passed.values_mut();
                passed.for_each(|passed| passed.tried_us = passed.tried_us.min(now_us));
            });
        }
    }

    /// What waits for a destination, but for what is under way.
    pub(super) fn waiting(&self, route: &Route) -> Vec<u64> {
        let queue = self.by_route.get(route).into_iter();
        queue.flat_map(|queue| queue.in_order.keys().chain(queue.passed.keys())).copied().collect()
    }

    /// Whether anything waits for a destination or is under way to it.
    pub(super) fn has(&self, route: &Route) -> bool {
        self.by_route.contains_key(route)
    }

    /// The oldest that is not under way, of the destination for which most wait, of the tenant (or
    /// operator) that has the most.
    pub(super) fn oldest_of_the_longest(&self) -> Option<u64> {
        self.lengths.oldest_of_the_longest()
    }

    /// When the next is due that may be tried.
    pub(super) fn next_due_us(&self, slots: Slots) -> Option<i64> {
        self.turns.next(slots).map(|(due_us, _)| due_us)
    }

    /// Changes a queue; it stands where it belongs afterwards, and goes when it is empty.
    fn change<T>(&mut self, route: &Route, change: impl FnOnce(&mut Queue) -> T) -> T {
        let queue = self.by_route.entry(route.clone()).or_default();
        let changed = change(queue);
        let (due_us, length) = (queue.next_due_us(), queue.idle_length());
        let due_before = std::mem::replace(&mut queue.due_us, due_us);
        let length_before = std::mem::replace(&mut queue.length, length);
        if length.is_none() && queue.under_way.is_empty() {
            self.by_route.remove(route);
        }
        if due_before != due_us {
            due_before.into_iter().for_each(|due_us| self.turns.remove(route, due_us));
            due_us.into_iter().for_each(|due_us| self.turns.add(route, due_us));
        }
        if length_before != length {
            length_before.into_iter().for_each(|length| self.lengths.remove(route, length));
            length.into_iter().for_each(|length| self.lengths.add(route, length));
        }
        changed
    }
}

impl Queue {
    fn add(&mut self, Place { seq, due_us, passed }: Place) {
        if let Some(tried_us) = passed {
            self.passed.insert(seq, Passed { due_us, tried_us });
            self.passed_due.insert((due_us, seq));
        } else {
            self.in_order.insert(seq, due_us);
        }
    }

    fn remove(&mut self, seq: u64) {
        self.in_order.remove(&seq);
        if let Some(Passed { due_us, .. }) = self.passed.remove(&seq) {
            self.passed_due.remove(&(due_us, seq));
        }
    }

    /// One alert: the first in order if it is due, else one that others have passed. Several: the
    /// oldest of all.
    fn take(&mut self, now_us: i64, most: usize) -> Vec<u64> {
        let taken: Vec<u64> = if most == 1 {
            let first = self.in_order.first_key_value().filter(|(_, due_us)| **due_us <= now_us);
            let first = first.map(|(seq, _)| *seq);
            first.or_else(|| self.passed_due.first().map(|(_, seq)| *seq)).into_iter().collect()
        } else {
            let mut all: Vec<u64> = self.in_order.keys().take(most).copied().collect();
            all.extend(self.passed.keys().take(most));
            all.sort_unstable();
            all.truncate(most);
            all
        };
        taken.iter().for_each(|seq| self.remove(*seq));
        self.under_way.extend(&taken);
        taken
    }

    /// It has taken something; what failed before may be tried again soon.
    fn works(&mut self, now_us: i64) {
        if std::mem::take(&mut self.failures) > 0 {
            self.hurry(|tried_us| tried_us.saturating_add(HURRIED_AFTER_US).max(now_us));
        }
        self.pause_until_us = i64::MIN;
    }

    fn hurry(&mut self, due_us: impl Fn(i64) -> i64) {
        self.pause_until_us = i64::MIN;
        for (seq, passed) in &mut self.passed {
            let sooner = passed.due_us.min(due_us(passed.tried_us));
            let before = std::mem::replace(&mut passed.due_us, sooner);
            if before != sooner {
                self.passed_due.remove(&(before, *seq));
                self.passed_due.insert((sooner, *seq));
            }
        }
    }

    /// `None` where nothing waits, or something is under way.
    fn next_due_us(&self) -> Option<i64> {
        if !self.under_way.is_empty() {
            return None;
        }
        let in_order = self.in_order.first_key_value().map(|(_, due_us)| *due_us);
        let passed = self.passed_due.first().map(|(due_us, _)| *due_us);
        let next = in_order.into_iter().chain(passed).min()?;
        Some(next.max(self.pause_until_us))
    }

    fn idle_length(&self) -> Option<Length> {
        let first = |keys: Option<&u64>| keys.copied();
        let in_order = first(self.in_order.first_key_value().map(|(seq, _)| seq));
        let passed = first(self.passed.first_key_value().map(|(seq, _)| seq));
        let oldest = in_order.into_iter().chain(passed).min()?;
        Some((self.in_order.len() + self.passed.len(), Reverse(oldest)))
    }
}
