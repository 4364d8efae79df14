//! Ids of reports that were counted: the same id within the window counts once.

use std::collections::HashSet;

/// The ids of one shard, in two generations: an id is remembered for at least one window and at
/// most two. When a generation is full it is turned early, so memory is bounded by twice `max`.
#[derive(Debug)]
pub struct SeenIds {
    window_us: i64,
    max: usize,
    turned_at_us: i64,
    young: HashSet<u128>,
    old: HashSet<u128>,
    /// Not yet written to the store.
    fresh: Vec<u128>,
}

impl SeenIds {
    /// Remembers up to `max` ids for `window_us` microseconds.
    #[must_use]
    pub fn new(window_us: i64, max: usize) -> Self {
        Self {
            window_us,
            max: max.max(1),
            turned_at_us: i64::MIN,
            young: HashSet::new(),
            old: HashSet::new(),
            fresh: Vec::new(),
        }
    }

    /// Whether the id is new; remembers it.
    pub fn insert(&mut self, id: u128, now_us: i64) -> bool {
        let new = self.restore(id, now_us);
        if new {
            self.return_fresh(id);
        }
        new
    }

    /// Has an id taken again, that could not be stored.
    pub fn return_fresh(&mut self, id: u128) {
        // What a stalled flush cannot take is at most what is remembered anyway.
        if self.fresh.len() < self.max {
            self.fresh.push(id);
        }
    }

    /// Remembers an id that the store already has.
    pub fn restore(&mut self, id: u128, now_us: i64) -> bool {
        // A clock that steps back lengthens the window and forgets nothing early.
        let due = now_us.saturating_sub(self.turned_at_us) >= self.window_us;
        if due || self.young.len() >= self.max {
            self.old = std::mem::take(&mut self.young);
            self.turned_at_us = now_us;
        }
        !self.old.contains(&id) && self.young.insert(id)
    }

    /// Takes the ids that the store does not have yet.
    pub fn take_fresh(&mut self) -> Vec<u128> {
        std::mem::take(&mut self.fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_counts_once_within_the_window_and_again_after_two() {
        let mut seen = SeenIds::new(100, 1000);
        assert!(seen.insert(1, 0));
        for at in [0, 50, 99, 100] {
            assert!(!seen.insert(1, at), "at {at}");
        }
        assert!(seen.insert(2, 199), "within the second window");
        assert!(!seen.insert(1, 199));
        assert!(seen.insert(3, 200) && seen.insert(1, 200), "two windows later it is forgotten");
    }

    #[test]
    fn the_newest_ids_are_kept_when_there_are_too_many() {
        let mut seen = SeenIds::new(i64::MAX, 10);
        for id in 0..1000 {
            assert!(seen.insert(id, 0));
            assert!(!seen.insert(id.saturating_sub(9), 0), "{id}");
        }
        assert!(seen.young.len() + seen.old.len() <= 20);
        assert!(seen.fresh.len() <= 10);
    }

    #[test]
    fn fresh_ids_are_handed_over_once() {
        let mut seen = SeenIds::new(100, 10);
        seen.insert(1, 0);
        seen.insert(1, 0);
        seen.restore(2, 0);
        assert_eq!(seen.take_fresh(), [1]);
        assert!(seen.take_fresh().is_empty());
        assert!(!seen.insert(2, 0));
    }
}
