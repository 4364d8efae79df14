//! The engine's side of the audit log: how many records may still be taken. A decision on a key that
//! demands audit reserves a place before it spends anything; nothing here waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::Engine;

/// Places for records. Where nobody keeps a log it is closed, and keys that demand one are denied.
#[derive(Debug, Default)]
pub struct AuditDesk {
    free: AtomicI64,
    open: AtomicBool,
}

impl AuditDesk {
    /// Has so many places from here on, and is open.
    pub fn open_with(&self, places: usize) {
        self.free.store(i64::try_from(places).unwrap_or(i64::MAX), Ordering::Relaxed);
        self.set_open(true);
    }

    /// Whether records can be written now: where not, no decision reserves a place.
    pub fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::Release);
    }

    /// Reserves the place of one record that is demanded.
    #[must_use]
    pub fn reserve(&self) -> bool {
        self.open.load(Ordering::Acquire) && self.take(1)
    }

    /// Takes places for a record that nobody demands, so that it may also wait for a log that cannot
    /// be written now.
    #[must_use]
    pub fn take(&self, places: usize) -> bool {
        let places = i64::try_from(places).unwrap_or(i64::MAX);
        let had = self.free.fetch_sub(places, Ordering::AcqRel);
        if had < places {
            self.free.fetch_add(places, Ordering::AcqRel);
        }
        had >= places
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
        assert_eq!(taken, 1000);
    }
}
