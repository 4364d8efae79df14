//! How records are taken.

use super::log::LogOptions;

/// See the configuration's `[audit]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where and how the log is kept.
    pub log: LogOptions,
    /// What it means that a record was accepted.
    pub sync: Sync,
    /// Places in the queue; a record takes one for each KiB that it has.
    pub queue_records_max: usize,
    /// Denials of keys that ask for no record of their own, which are recorded each second; the
    /// others of that second are counted.
    pub denials_per_second_max: u32,
    /// The configuration in force, whatever its form: each start records a digest of it.
    pub configuration: Vec<u8>,
}

/// What it means that a record was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// It is in the queue.
    Queue,
    /// It is on disk.
    Fsync,
}
