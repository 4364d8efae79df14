//! A count that one thread makes and others read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts what one thread does. Nobody else may add to it, so that adding is a load and a store, and
/// no line of the cache is fought for; any thread may read it.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Nothing was counted yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds so many. By the one thread alone that counts here.
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    /// How many there were.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
