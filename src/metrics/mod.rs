//! What is measured, and how it is written for Prometheus. Pure: who counts has the [`Counter`]s and
//! [`Histogram`]s, who is asked makes [`Family`]s of them, and [`text`] writes these down.
//!
//! Rules of the house: names begin with `keygate_` (those of [`process`] with `process_`, as they do
//! everywhere) and end in their unit, which is seconds or bytes; no label has a value that a caller or
//! a record chooses, so neither the number of series nor what they say depends on keys.

mod counter;
mod family;
mod histogram;
pub mod process;
pub mod text;

pub use counter::Counter;
pub use family::{Family, Kind, Sample, Value};
pub use histogram::{Buckets, Histogram, Snapshot};
