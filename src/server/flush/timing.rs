//! How long flushes take, and how old the last good one is.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Now;
use crate::metrics::{Buckets, Counter, Histogram, Snapshot};

/// How long a flush takes, from 1 ms (hardly anything has moved) to 10 s (millions of keys have).
const DURATION_NS: Buckets = &[
    1_000_000,
    5_000_000,
    10_000_000,
    50_000_000,
    100_000_000,
    500_000_000,
    1_000_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// What the flushes have come to, for whoever watches.
pub(in crate::server) struct Timing {
    durations: Histogram,
    failures: Counter,
    /// When the last that succeeded began: all that was counted before is written. From the start
    /// on, everything is.
    written_ns: AtomicU64,
}

impl Timing {
    pub(super) fn new(now: Now) -> Self {
        let written_ns = AtomicU64::new(now.mono_ns);
        Self { durations: Histogram::new(DURATION_NS), failures: Counter::new(), written_ns }
    }

    /// Takes note of how long one took. Only the flushing thread does.
    pub(super) fn took(&self, ns: u64) {
        self.durations.observe(ns, 1);
    }

    /// Takes note that all that was counted before this instant is written.
    pub(super) fn written(&self, begun_ns: u64) {
        self.written_ns.store(begun_ns, Ordering::Relaxed);
    }

    /// Takes note of one that failed.
    pub(super) fn failed(&self) {
        self.failures.add(1);
    }

    /// How long flushes took, failed ones too.
    pub(in crate::server) fn durations(&self) -> Snapshot {
        self.durations.snapshot()
    }

    /// Flushes that failed.
    pub(in crate::server) fn failures(&self) -> u64 {
        self.failures.get()
    }

    /// For how long what is counted has not been on disk, nanoseconds: what a crash would lose now.
    pub(in crate::server) fn lag_ns(&self, now: Now) -> u64 {
        now.mono_ns.saturating_sub(self.written_ns.load(Ordering::Relaxed))
    }
}
