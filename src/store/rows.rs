//! The rows beside the records whose types the store knows by name, and their schemas: what writes
//! them, what reads them at a start and what verifies them agree here.

use serde::{Deserialize, Serialize};

/// The newest schema of a usage row. Raised with every change of [`crate::usage::UsageRow`].
pub const USAGE_SCHEMA: u16 = 1;

/// The newest schema of a chunk of ids.
pub const IDS_SCHEMA: u16 = 1;

/// Ids of `Increment`s that were counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdChunk {
    /// When they were written, microseconds since 1970.
    pub at_us: i64,
    /// The ids.
    pub ids: Vec<u128>,
}
