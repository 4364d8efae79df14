//! The model of reports and slots: what a request holds, and what it gives back.

use keygate_protocol::IncrementOutcome;

use super::ops::Whose;
use super::oracle::{Account, Held, Model};
use crate::clock::Now;

impl Model {
    /// Notes the slot that a request took.
    pub(super) fn take_slot(&mut self, key: usize, serial: u64, now: Now) {
        let [own, shared] = self.both(key);
        self.serials.push(serial);
        let limits = |account: &Account| account.slots_max.is_some();
        let expires_ns = now.mono_ns + self.slot_ttl_ns(key);
        for whose in [own, shared] {
            if limits(self.of(whose)) {
                self.of(whose).slots.push(Held { serial, key, expires_ns });
            }
        }
    }

    /// Gives a slot back; whether it was held by this key.
    pub(super) fn release(&mut self, key: usize, serial: u64, now: Now) -> bool {
        let mut held = false;
        for whose in self.both(key) {
            let account = self.of(whose);
            account.reap(now);
            let before = account.slots.len();
            account.slots.retain(|slot| (slot.serial, slot.key) != (serial, key));
            held |= account.slots.len() < before;
        }
        held
    }

    /// Holds a slot for its whole time again.
    pub(super) fn renew(&mut self, key: usize, serial: u64, now: Now) -> bool {
        let ttl_ns = self.slot_ttl_ns(key);
        let mut held = false;
        for whose in self.both(key) {
            let account = self.of(whose);
            account.reap(now);
            let of_key = |slot: &&mut Held| (slot.serial, slot.key) == (serial, key);
            if let Some(slot) = account.slots.iter_mut().find(of_key) {
                slot.expires_ns = now.mono_ns + ttl_ns;
                held = true;
            }
        }
        held
    }

    /// As the key says, or else its tenant, or 60 s.
    fn slot_ttl_ns(&mut self, key: usize) -> u64 {
        let said = self.both(key).map(|whose| self.of(whose).slot_ttl_ns);
        said[0].or(said[1]).unwrap_or(60_000_000_000)
    }

    /// Counts a report; a refund is for [`Model::refund`] to give.
    pub(super) fn increment(
        &mut self,
        key: usize,
        slot: Option<u64>,
        refund: Option<(u128, u64)>,
        now: Now,
    ) -> IncrementOutcome {
        if refund.is_some_and(|(id, _)| !self.ids.insert(id)) {
            return IncrementOutcome::Duplicate;
        }
        match slot {
            Some(slot) if !self.release(key, slot, now) => IncrementOutcome::SlotGone,
            _ => IncrementOutcome::Counted,
        }
    }

    pub(super) fn refund(&mut self, key: usize, credits: u64, now: Now) -> u64 {
        let void = self.void;
        let account = self.of(Whose::Key(key));
        account.enter(now, void);
        account.credits.as_mut().map_or(0, |balance| balance.refund(credits))
    }
}
