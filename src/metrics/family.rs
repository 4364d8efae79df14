//! A metric: its name, its help, and its samples.

use super::Snapshot;

/// What a family's samples are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the daemon is restarted.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations in buckets.
    Histogram,
    /// Says something in its labels.
    Info,
}

/// What one sample says.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number that is exact.
    Whole(u64),
    /// A number with a fraction; in families of seconds.
    Real(f64),
    /// Durations in buckets, written in seconds.
    Durations(Snapshot),
}

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Labels. Their values come from a table of the program's, never from a caller or a record.
    pub labels: Vec<(&'static str, &'static str)>,
    /// What it says.
    pub value: Value,
}

/// One metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// Its name, without the `_total` of counters and the `_info` of infos.
    pub name: &'static str,
    /// What its samples are.
    pub kind: Kind,
    /// A sentence without a full stop.
    pub help: &'static str,
    /// Its samples.
    pub samples: Vec<Sample>,
}

impl Family {
    /// A family without samples yet.
    #[must_use]
    pub const fn new(kind: Kind, name: &'static str, help: &'static str) -> Self {
        Self { name, kind, help, samples: Vec::new() }
    }

    /// A counter of one sample.
    #[must_use]
    pub fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        Self::new(Kind::Counter, name, help).with(&[], Value::Whole(value))
    }

    /// A gauge of one sample.
    #[must_use]
    pub fn gauge(name: &'static str, help: &'static str, value: u64) -> Self {
        Self::new(Kind::Gauge, name, help).with(&[], Value::Whole(value))
    }

    /// A gauge of seconds, of one sample.
    #[must_use]
    pub fn seconds(name: &'static str, help: &'static str, ns: u64) -> Self {
        Self::new(Kind::Gauge, name, help).with(&[], Value::Real(seconds(ns)))
    }

    /// A histogram of one sample.
    #[must_use]
    pub fn durations(name: &'static str, help: &'static str, value: Snapshot) -> Self {
        Self::new(Kind::Histogram, name, help).with(&[], Value::Durations(value))
    }

    /// The same with one more sample.
    #[must_use]
    pub fn with(mut self, labels: &[(&'static str, &'static str)], value: Value) -> Self {
        self.samples.push(Sample { labels: labels.to_vec(), value });
        self
    }
}

/// Nanoseconds as seconds. Above 2^53 ns, a hundred days, the last digits are rounded.
#[expect(clippy::cast_precision_loss, reason = "digits that nobody reads")]
pub(super) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
