//! A budget in memory: where it lies in cache lines.

use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;

use crate::limit::Budget;

/// A budget at a place of its own: two pairs of cache lines, of which the processor fetches both
/// lines when one is read.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(in crate::engine) struct Place {
    /// In the first pair, its lock at the front.
    pub(in crate::engine) budget: Mutex<Budget>,
    /// In the second: all that can be read there without the lock.
    tail: AtomicU8,
}

const _: () = assert!(size_of::<Place>() == 256);

impl Place {
    pub(super) fn new(budget: Budget) -> Self {
        Self { budget: Mutex::new(budget), tail: AtomicU8::new(0) }
    }

    /// Has the processor fetch all of it: loads that nothing waits for.
    pub(super) fn touch(&self) {
        std::hint::black_box((self.budget.is_locked(), self.tail.load(Ordering::Relaxed)));
    }
}
