//! One compiled key: two cache lines, with its own lock in the second.

use parking_lot::Mutex;

use crate::key::{Status, TokenHash};
use crate::limit::{LimitSet, LimitState};

/// What a decision reads of a key, and what it changes.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Entry {
    pub(super) token: TokenHash,
    pub(super) id: u64,
    /// Microseconds since 1970 from which on the key is expired; `i64::MAX` for never.
    pub(super) expires_us: i64,
    pub(super) limits: LimitSet,
    pub(super) policy: u32,
    pub(super) status: Status,
    /// Counted among the keys whose tokens may have another shape than ours.
    pub(super) foreign: bool,
    /// Whether its policy has rules beside the scopes: most have none, and are spared the look.
    pub(super) ruled: bool,
    /// Not to be found by its token; only its figures are kept.
    pub(super) deleted: bool,
    /// Protects the state of this one key: held for a few tens of nanoseconds, never with another.
    pub(super) cell: Mutex<Cell>,
}

// Two cache lines, fetched as a pair by the adjacent-line prefetcher.
const _: () = assert!(size_of::<Entry>() == 128);

/// What a decision changes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cell {
    pub(super) limits: LimitState,
    /// Valid verdicts.
    pub(super) total_requests: u64,
    /// Microseconds since 1970; 0 for never.
    pub(super) last_used_us: i64,
    /// Whether the figures have moved since they were last handed to the store.
    pub(super) dirty: bool,
}
