//! Durations that one thread measures, counted in fixed buckets.

use super::Counter;

/// Upper bounds of buckets in nanoseconds, ascending. What is longer than the last is in one more.
pub type Buckets = &'static [u64];

/// Counts durations. As a [`Counter`] it has one thread that adds to it, and any may read it.
#[derive(Debug)]
pub struct Histogram {
    buckets: Buckets,
    /// One more than bounds.
    counts: Box<[Counter]>,
    sum_ns: Counter,
}

/// What a [`Histogram`] has counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The bounds.
    pub buckets: Buckets,
    /// How many were within each bound and above the one before; the last: above all.
    pub counts: Vec<u64>,
    /// The sum of all, nanoseconds.
    pub sum_ns: u64,
}

impl Histogram {
    /// Nothing was measured yet.
    #[must_use]
    pub fn new(buckets: Buckets) -> Self {
        debug_assert!(buckets.is_sorted());
        let counts = (0..=buckets.len()).map(|_| Counter::new()).collect();
        Self { buckets, counts, sum_ns: Counter::new() }
    }

    /// Counts what took so long, so many times. By the one thread alone that measures here.
    pub fn observe(&self, ns: u64, times: u64) {
        // A bound belongs to its own bucket, as `le` says.
        let bucket = self.buckets.partition_point(|bound| *bound < ns);
        self.counts[bucket].add(times);
        self.sum_ns.add(ns.wrapping_mul(times));
    }

    /// What was counted. Of what is being counted meanwhile it may have the sum and not the count.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let counts = self.counts.iter().map(Counter::get).collect();
        Snapshot { buckets: self.buckets, counts, sum_ns: self.sum_ns.get() }
    }
}

impl Snapshot {
    /// Nothing.
    #[must_use]
    pub fn empty(buckets: Buckets) -> Self {
        Self { buckets, counts: vec![0; buckets.len() + 1], sum_ns: 0 }
    }

    /// Adds what another one of the same bounds has counted.
    pub fn add(&mut self, other: &Self) {
        debug_assert_eq!(self.buckets, other.buckets);
        self.counts.iter_mut().zip(&other.counts).for_each(|(sum, more)| *sum += more);
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_is_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::new(&[10, 100]);
        for (ns, times) in [(0, 1), (10, 2), (11, 4), (100, 8), (101, 16), (u64::MAX / 32, 32)] {
            histogram.observe(ns, times);
        }
        let mut snapshot = histogram.snapshot();
        assert_eq!(snapshot.counts, [3, 12, 48]);
        assert_eq!(snapshot.count(), 63);
        let other = Histogram::new(&[10, 100]);
        other.observe(7, 1);
        snapshot.sum_ns = 0;
        snapshot.add(&other.snapshot());
        assert_eq!((snapshot.counts, snapshot.sum_ns), (vec![4, 12, 48], 7));
        assert_eq!(Snapshot::empty(&[10, 100]).count(), 0);
    }
}
