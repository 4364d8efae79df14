//! Who waits for a debit, and what has been done.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use super::{LedgerStats, Waiter};

/// A waiter that is called when the last that holds it lets go, whyever that is: after the debit,
/// after a failure, in a panic.
pub(super) struct Waiting {
    /// Never locked: it lets threads share what one of them alone will call.
    waiter: Mutex<Option<Waiter>>,
    counts: Arc<Counts>,
}

impl Waiting {
    pub(super) fn new(waiter: Waiter, counts: &Arc<Counts>) -> Self {
        counts.waiting.fetch_add(1, Relaxed);
        Self { waiter: Mutex::new(Some(waiter)), counts: Arc::clone(counts) }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.counts.waiting.fetch_sub(1, Relaxed);
        if let Some(waiter) = self.waiter.get_mut().take() {
            waiter();
        }
    }
}

/// See [`LedgerStats`].
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) debits: AtomicU64,
    pub(super) rows: AtomicU64,
    pub(super) commits: AtomicU64,
    waiting: AtomicU64,
}

impl Counts {
    /// A job of so many rows was written.
    pub(super) fn wrote(&self, rows: usize) {
        self.rows.fetch_add(rows as u64, Relaxed);
        self.commits.fetch_add(1, Relaxed);
    }

    pub(super) fn stats(&self) -> LedgerStats {
        LedgerStats {
            debits: self.debits.load(Relaxed),
            rows: self.rows.load(Relaxed),
            commits: self.commits.load(Relaxed),
            waiting: self.waiting.load(Relaxed),
        }
    }
}
