//! The slots that the requests of one connection have taken, and that end with it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::clock::{Clock, Now};
use crate::engine::{Answer, Engine};

/// Slots that are noted before it is looked which of them are still held.
const SLOTS_UNSEEN: usize = 64;

/// They are given back when this is dropped: however the connection ends.
pub(super) struct Slots {
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    /// Keys by slot.
    held: HashMap<u64, u64>,
    /// So many, and those that are gone are forgotten: they may have expired, or have been given
    /// back elsewhere.
    look_at: usize,
}

impl Slots {
    pub(super) fn new(engine: &Arc<Engine>, clock: &Arc<dyn Clock>) -> Self {
        let (engine, clock) = (Arc::clone(engine), Arc::clone(clock));
        Self { engine, clock, held: HashMap::new(), look_at: SLOTS_UNSEEN }
    }

    /// Notes the slot that an answer has taken, unless it outlives the connection.
    pub(super) fn note(&mut self, answer: &Answer, now: Now) {
        if let Some(slot) = answer.verdict.slot
            && !answer.slot_stays
        {
            self.take(answer.verdict.key_id, slot, now);
        }
    }

    fn take(&mut self, key: u64, slot: u64, now: Now) {
        self.held.insert(slot, key);
        if self.held.len() >= self.look_at {
            self.held.retain(|slot, key| self.engine.holds_slot(*key, *slot, now));
            self.look_at = (self.held.len() * 2).max(SLOTS_UNSEEN);
        }
    }

    /// A report of a key was counted, and with it this slot of the key is gone.
    pub(super) fn given_back(&mut self, key: u64, slot: u64) {
        if self.held.get(&slot) == Some(&key) {
            self.held.remove(&slot);
        }
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let now = self.clock.now();
        for (slot, key) in &self.held {
            self.engine.release_slot(*key, *slot, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dispatch::tests::engine;
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn slots_that_are_gone_are_forgotten_and_those_of_other_keys_are_not() {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(0));
        let mut slots = Slots::new(&Arc::new(engine()), &clock);
        // No such key holds any of them.
        for slot in 0..100_000 {
            slots.take(7, slot, clock.now());
            assert!(slots.held.len() <= SLOTS_UNSEEN, "{slot}");
        }
        slots.held.clear();
        slots.take(7, 1, clock.now());
        slots.given_back(8, 1);
        assert_eq!(slots.held.len(), 1, "another key's report does not give it back");
        slots.given_back(7, 1);
        assert!(slots.held.is_empty());
    }
}
