//! Limits in memory: where they lie in cache lines.

use parking_lot::Mutex;
use prefetch_index::prefetch_index;

const LINE: usize = 64;

/// Limits under their lock, in cache lines of their own, so that the processor can be had to fetch
/// them before they are needed.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(super) struct Place<T> {
    pub(super) limits: Mutex<T>,
    /// In the last line: the others are told by it.
    tail: u8,
}

impl<T> Place<T> {
    pub(super) const fn new(limits: T) -> Self {
        Self { limits: Mutex::new(limits), tail: 0 }
    }

    /// Has the processor fetch every line. Not every processor fetches the second of a pair with
    /// the first.
    pub(super) fn touch(&self) {
        for line in 0..size_of::<Self>() / LINE {
            prefetch_index(std::slice::from_ref(&self.tail), 0_usize.wrapping_sub(line * LINE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Budget;

    #[test]
    fn a_budget_lies_in_two_lines() {
        assert_eq!((size_of::<Place<Budget>>(), align_of::<Place<Budget>>()), (128, 128));
    }
}
