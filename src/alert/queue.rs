//! What waits for one destination, in order.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use super::entry::Route;

/// The queues of all destinations.
#[derive(Debug, Default)]
pub(super) struct Queues {
    by_route: HashMap<Route, Queue>,
    /// Queues of which nothing is under way, by when their first is due.
    due: BTreeSet<(i64, Route)>,
}

/// The numbers of what waits, which ascend.
#[derive(Debug, Default)]
struct Queue {
    waiting: BTreeSet<u64>,
    /// Of these, what is under way.
    under_way: BTreeSet<u64>,
    /// Where it stands in `due`.
    due_us: Option<i64>,
}

impl Queues {
    /// Adds an alert; it counts for when the queue is due if it is the first.
    pub(super) fn add(&mut self, route: &Route, seq: u64, due_us: i64) {
        let queue = self.by_route.entry(route.clone()).or_default();
        queue.waiting.insert(seq);
        if queue.waiting.first() == Some(&seq) && queue.under_way.is_empty() {
            self.set_due(route, Some(due_us));
        }
    }

    /// Takes an alert out. To be followed by [`Queues::settle`] unless something is under way.
    pub(super) fn remove(&mut self, route: &Route, seq: u64) {
        if let Some(queue) = self.by_route.get_mut(route) {
            queue.waiting.remove(&seq);
        }
    }

    /// The destination whose first alert is due longest, and the first alerts of it, `most(route)` at
    /// the most. Nothing else of it is given out until [`Queues::settle`].
    pub(super) fn take_due(
        &mut self,
        now_us: i64,
        most: impl FnOnce(&Route) -> usize,
    ) -> Option<(Route, Vec<u64>)> {
        let first = self.due.first().filter(|(due_us, _)| *due_us <= now_us)?;
        let route = first.1.clone();
        self.set_due(&route, None);
        let queue = self.by_route.get_mut(&route)?;
        let taken: Vec<u64> = queue.waiting.iter().copied().take(most(&route)).collect();
        queue.under_way = taken.iter().copied().collect();
        Some((route, taken))
    }

    /// Nothing of a destination is under way any more; `due_us` says when its first is due.
    pub(super) fn settle(&mut self, route: &Route, due_us: impl FnOnce(u64) -> Option<i64>) {
        let Some(queue) = self.by_route.get_mut(route) else { return };
        queue.under_way.clear();
        match queue.waiting.first().copied() {
            Some(first) => {
                let due_us = due_us(first);
                self.set_due(route, due_us);
            }
            None => {
                self.set_due(route, None);
                self.by_route.remove(route);
            }
        }
    }

    /// Whether something of a destination is under way.
    pub(super) fn is_busy(&self, route: &Route) -> bool {
        self.by_route.get(route).is_some_and(|queue| !queue.under_way.is_empty())
    }

    /// What waits for a destination, but for what is under way.
    pub(super) fn waiting(&self, route: &Route) -> Vec<u64> {
        let queue = self.by_route.get(route);
        queue.into_iter().flat_map(Queue::idle).collect()
    }

    /// The oldest that is not under way, of the destination for which most wait.
    pub(super) fn oldest_of_the_longest(&self) -> Option<u64> {
        let length = |queue: &&Queue| (queue.idle().count(), Reverse(queue.idle().next()));
        self.by_route.values().max_by_key(length)?.idle().next()
    }

    /// When the next is due.
    pub(super) fn next_due_us(&self) -> Option<i64> {
        self.due.first().map(|(due_us, _)| *due_us)
    }

    fn set_due(&mut self, route: &Route, due_us: Option<i64>) {
        let Some(queue) = self.by_route.get_mut(route) else { return };
        if let Some(before) = queue.due_us.take() {
            self.due.remove(&(before, route.clone()));
        }
        queue.due_us = due_us;
        self.due.extend(due_us.map(|due_us| (due_us, route.clone())));
    }
}

impl Queue {
    fn idle(&self) -> impl Iterator<Item = u64> + '_ {
        self.waiting.difference(&self.under_way).copied()
    }
}
