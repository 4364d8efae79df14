//! One compiled key: two cache lines, with its own lock in the second.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use prefetch_index::prefetch_index;

use crate::key::{Status, TokenHash};
use crate::limit::{PerSecond, RateState};

/// What a decision reads of a key, and what it changes.
#[derive(Debug)]
#[repr(C, align(128))]
pub(super) struct Entry {
    // The first line: what identifies the key, and what it may do.
    pub(super) token: TokenHash,
    pub(super) id: u64,
    /// Microseconds since 1970 from which on the key is expired; `i64::MAX` for never.
    pub(super) expires_us: i64,
    /// Requests per second; all other limits are in the key's budget.
    pub(super) second: PerSecond,
    // The second: what it has in common with others, and what changes.
    pub(super) policy: u32,
    /// The place of its budget; [`NO_BUDGET`] for most keys.
    pub(super) budget: u32,
    /// Its tenant's number, so that neither status nor binding costs a further miss.
    pub(super) tenant: u32,
    /// Seconds since 1970 from which on the key's rotation is overdue; see [`due_seconds`].
    pub(super) rotation_due_s: u32,
    pub(super) status: Status,
    pub(super) marks: Marks,
    /// Whether the figures have moved since they were last handed to the store. Read and written
    /// under the cell's lock; it stands outside it because there it takes one byte and not eight.
    pub(super) dirty: AtomicBool,
    /// Protects the state of this one key: held for a few tens of nanoseconds, and never with that
    /// of another key. The locks of its budget and of its tenant's are taken behind it.
    pub(super) cell: Mutex<Cell>,
}

/// The budget of a key that has no limits beyond the second.
pub(super) const NO_BUDGET: u32 = u32::MAX;

// Two cache lines, fetched as a pair by the adjacent-line prefetcher.
const _: () = assert!(size_of::<Entry>() == 128);
const _: () = assert!(std::mem::offset_of!(Entry, policy) == 64);

/// What is so of a key or is not, in one byte: the two cache lines have no room for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Marks(u8);

impl Marks {
    /// Counted among the keys whose tokens may have another shape than ours.
    pub(super) const FOREIGN: Self = Self(1);
    /// Its policy has rules beside the scopes: most have none, and are spared the look.
    pub(super) const RULED: Self = Self(2);
    /// Not to be found by its token; only its figures are kept.
    pub(super) const DELETED: Self = Self(4);
    /// No verdict on it is valid before its record was accepted.
    pub(super) const AUDITED: Self = Self(8);
    /// Every decision on it is recorded; so it is of audited ones.
    pub(super) const RECORDED: Self = Self(16);
    /// It demands proofs beside its token.
    pub(super) const PROVEN: Self = Self(32);

    /// With this mark, if it is so.
    pub(super) const fn with_if(self, mark: Self, so: bool) -> Self {
        if so { Self(self.0 | mark.0) } else { self }
    }

    pub(super) const fn has(self, mark: Self) -> bool {
        self.0 & mark.0 != 0
    }
}

/// What a decision changes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cell {
    pub(super) second: RateState,
    /// Valid verdicts.
    pub(super) total_requests: u64,
    /// Microseconds since 1970; 0 for never.
    pub(super) last_used_us: i64,
}

/// An instant of a rule that counts days, as the entry has room for it: whole seconds since 1970,
/// rounded up, so that it is never early and less than a second late. `u32::MAX`, in the year
/// 2106, is never, and what lies before 1970 has always been.
pub(super) fn due_seconds(due_us: Option<i64>) -> u32 {
    let Some(due_us) = due_us else { return u32::MAX };
    let seconds = due_us.div_euclid(1_000_000) + i64::from(due_us.rem_euclid(1_000_000) > 0);
    u32::try_from(seconds.max(0)).unwrap_or(u32::MAX)
}

impl Entry {
    /// Has the processor fetch both lines.
    pub(super) fn touch(&self) {
        prefetch_index(std::slice::from_ref(self), 0);
        prefetch_index(std::slice::from_ref(&self.cell), 0);
    }

    /// Whether it is not to be found by its token.
    pub(super) const fn deleted(&self) -> bool {
        self.marks.has(Marks::DELETED)
    }

    /// Whether the key was to be rotated before this instant.
    pub(super) fn rotation_overdue(&self, now_us: i64) -> bool {
        self.rotation_due_s != u32::MAX && now_us >= i64::from(self.rotation_due_s) * 1_000_000
    }

    /// Notes that figures have moved; whether they are the first since the last flush. The cell
    /// shows that its lock is held.
    pub(super) fn moved(&self, _: &mut Cell) -> bool {
        let first = !self.dirty.load(Ordering::Relaxed);
        if first {
            self.dirty.store(true, Ordering::Relaxed);
        }
        first
    }

    /// Notes that the figures were handed to the store.
    pub(super) fn handed_over(&self, _: &mut Cell) {
        self.dirty.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::due_seconds;

    #[test]
    fn a_due_instant_is_rounded_up_to_whole_seconds_and_ends_in_2106() {
        for (due_us, seconds) in [
            (None, u32::MAX),
            (Some(1_000_000), 1),
            (Some(1_000_001), 2),
            (Some(999_999), 1),
            (Some(0), 0),
            (Some(-1), 0),
            (Some(i64::MIN), 0),
            (Some((i64::from(u32::MAX) - 1) * 1_000_000), u32::MAX - 1),
            (Some(i64::MAX), u32::MAX),
        ] {
            assert_eq!(due_seconds(due_us), seconds, "{due_us:?}");
        }
    }
}
