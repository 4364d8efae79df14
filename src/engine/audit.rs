//! The engine's side of the audit log: how many records may still be taken. A decision on a key that
//! demands audit reserves a place before it spends anything; nothing here waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::Engine;

/// Places for records. Where nobody keeps a log it is closed, and keys that demand one are denied.
///
/// Whatever is handed over takes places of one count, and not all may take the last: records that
/// nobody demands leave half of them free, and decisions a sixteenth, which is for changes and alerts.
#[derive(Debug, Default)]
pub struct AuditDesk {
    free: AtomicI64,
    places: AtomicI64,
    open: AtomicBool,
}

impl AuditDesk {
    /// Has so many places from here on, and is open.
    pub fn open_with(&self, places: usize) {
        let places = i64::try_from(places).unwrap_or(i64::MAX);
        self.places.store(places, Ordering::Relaxed);
        self.free.store(places, Ordering::Relaxed);
        self.set_open(true);
    }

    /// Whether records can be written now: where not, no decision reserves a place.
    pub fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::Release);
    }

    /// Reserves the place of one record that is demanded.
    #[must_use]
    pub fn reserve(&self) -> bool {
        self.open.load(Ordering::Acquire) && self.take_but(1, self.share(16))
    }

    /// Takes the place of a decision that nobody demands a record of.
    #[must_use]
    pub fn take_spare(&self) -> bool {
        self.take_but(1, self.share(2))
    }

    /// Takes places for a change or an alert. Like one that nobody demands, it may also wait for a log
    /// that cannot be written now.
    #[must_use]
    pub fn take(&self, places: usize) -> bool {
        self.take_but(places, 0)
    }

    /// Takes places if so many stay free.
    fn take_but(&self, places: usize, kept: i64) -> bool {
        let places = i64::try_from(places).unwrap_or(i64::MAX);
        let less = |had: i64| had.checked_sub(places).filter(|left| *left >= kept);
        self.free.fetch_update(Ordering::AcqRel, Ordering::Relaxed, less).is_ok()
    }

    fn share(&self, of: i64) -> i64 {
        self.places.load(Ordering::Relaxed) / of
    }

    /// Places that are taken.
    #[must_use]
    pub fn taken(&self) -> u64 {
        let taken = self.places.load(Ordering::Relaxed) - self.free.load(Ordering::Relaxed);
        u64::try_from(taken).unwrap_or(0)
    }

    /// Gives places back.
    pub fn give_back(&self, places: usize) {
        self.free.fetch_add(i64::try_from(places).unwrap_or(i64::MAX), Ordering::AcqRel);
    }
}

impl Engine {
    /// Where decisions reserve the places of their records.
    #[must_use]
    pub const fn audit(&self) -> &Arc<AuditDesk> {
        &self.audit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_a_closed_desk_reserves_none() {
        let desk = AuditDesk::default();
        assert!(!desk.reserve() && !desk.take(1));
        desk.open_with(3);
        assert!(desk.reserve() && desk.take(2) && !desk.reserve() && !desk.take(1));
        desk.give_back(2);
        assert!(!desk.take(3) && desk.take(1));
        desk.set_open(false);
        assert!(!desk.reserve());
        assert!(desk.take(1), "what nobody demands waits");
    }

    #[test]
    fn racing_threads_never_take_more_places_than_there_are() {
        let desk = AuditDesk::default();
        desk.open_with(1000);
        let taken: usize = std::thread::scope(|scope| {
            let take = || (0..1000).filter(|_| desk.reserve()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(taken, 1000 - 1000 / 16);
    }

    #[test]
    fn what_nobody_demands_leaves_room_for_decisions_and_those_for_changes() {
        let desk = AuditDesk::default();
        desk.open_with(32);
        assert_eq!((0..100).filter(|_| desk.take_spare()).count(), 16);
        assert_eq!((0..100).filter(|_| desk.reserve()).count(), 14);
        assert!(!desk.take(3) && desk.take(2) && !desk.take(1));
        assert_eq!(desk.taken(), 32);
        desk.give_back(3);
        assert!(desk.reserve() && !desk.reserve() && !desk.take_spare());
        // The smallest queue still takes each.
        desk.open_with(1);
        assert!(desk.take_spare() && !desk.reserve());
        desk.give_back(1);
        assert!(desk.reserve() && !desk.take(1));
    }
}
