//! Limits in memory: where they lie in cache lines.

use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;

/// Limits under their lock, at a place of their own, so that the processor can be had to fetch them
/// before they are needed.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(super) struct Place<T> {
    /// Its lock lies in the first line.
    pub(super) limits: Mutex<T>,
    /// In the last line: all that can be read there without the lock.
    tail: AtomicU8,
}

impl<T> Place<T> {
    pub(super) const fn new(limits: T) -> Self {
        Self { limits: Mutex::new(limits), tail: AtomicU8::new(0) }
    }

    /// Has the processor fetch both ends: loads that nothing waits for.
    pub(super) fn touch(&self) {
        std::hint::black_box((self.limits.is_locked(), self.tail.load(Ordering::Relaxed)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Budget;

    #[test]
    fn a_budget_lies_in_four_lines() {
        assert_eq!((size_of::<Place<Budget>>(), align_of::<Place<Budget>>()), (256, 128));
    }
}
