//! What is applied while somebody copies the store: the redo that makes a copy whole.
//!
//! A copy that is read while others write sees some of their batches and not others. With every
//! batch that was applied since it began, in order and behind it, it becomes the state at the
//! instant of the last of them: rows are absolute, so what the copy had seen of them already does no
//! harm.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::Op;

/// Most bytes of operations that a tap holds for a reader that does not keep up.
pub const TAP_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What an operation costs beside its key and value, roughly.
const OP_OVERHEAD: usize = 64;

/// Why a tap has lost the thread. The copy that it belongs to is worth nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TapError {
    /// Its reader is too slow for what is written.
    #[error(
        "more than {} MiB were written while the copy waited for its reader; run it again when less \
         is written, or onto a faster disk", TAP_BYTES_MAX / (1024 * 1024)
    )]
    Behind,
    /// A batch failed, and how much of it a copy has seen is not known.
    #[error("the store failed a write while it was copied; `keygate status` says why")]
    WriteFailed,
}

/// Gathers the operations that are applied from its beginning until it is dropped or ended.
#[derive(Debug)]
pub struct Tap {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    ops: Vec<Op>,
    bytes: usize,
    failed: Option<TapError>,
}

/// The taps of a committer, and how much went by them. Whoever has this locked holds up all writes.
#[derive(Debug, Default)]
pub(super) struct Taps {
    taps: Vec<Weak<Mutex<State>>>,
    /// Batches that were tried.
    pub(super) batches: u64,
}

impl Taps {
    /// A tap from here on.
    pub(super) fn begin(&mut self) -> Tap {
        let state = Arc::default();
        self.taps.push(Arc::downgrade(&state));
        Tap { state }
    }

    /// Tells every tap of a batch that was just tried.
    pub(super) fn record(&mut self, ops: &[Op], applied: bool) {
        self.batches += 1;
        self.taps.retain(|tap| {
            let Some(tap) = tap.upgrade() else { return false };
            tap.lock().record(ops, applied);
            true
        });
    }
}

impl State {
    fn record(&mut self, ops: &[Op], applied: bool) {
        if self.failed.is_some() {
            return;
        }
        self.bytes += ops.iter().map(|op| op.bytes() + OP_OVERHEAD).sum::<usize>();
        if !applied {
            self.fail(TapError::WriteFailed);
        } else if self.bytes > TAP_BYTES_MAX {
            self.fail(TapError::Behind);
        } else {
            self.ops.extend_from_slice(ops);
        }
    }

    fn fail(&mut self, error: TapError) {
        self.failed = Some(error);
        self.ops = Vec::new();
    }

    fn take(&mut self) -> Result<Vec<Op>, TapError> {
        match &self.failed {
            Some(error) => Err(error.clone()),
            None => {
                self.bytes = 0;
                Ok(std::mem::take(&mut self.ops))
            }
        }
    }
}

impl Tap {
    /// What was applied since the last call, in order.
    ///
    /// # Errors
    /// [`TapError`]; from then on always.
    pub fn take(&self) -> Result<Vec<Op>, TapError> {
        self.state.lock().take()
    }

    /// The same, and nothing that is applied later.
    ///
    /// # Errors
    /// [`TapError`].
    pub fn end(self) -> Result<Vec<Op>, TapError> {
        self.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: u8, bytes: usize) -> Op {
        Op::Put { key: vec![key], value: vec![key; bytes] }
    }

    #[test]
    fn a_tap_gives_what_came_after_it_began_once_and_in_order() {
        let mut taps = Taps::default();
        taps.record(&[put(1, 1)], true);
        let tap = taps.begin();
        taps.record(&[put(2, 1), put(3, 1)], true);
        taps.record(&[put(4, 1)], true);
        assert_eq!(tap.take(), Ok(vec![put(2, 1), put(3, 1), put(4, 1)]));
        assert_eq!(tap.take(), Ok(Vec::new()));
        taps.record(&[put(5, 1)], true);
        assert_eq!(tap.end(), Ok(vec![put(5, 1)]));
        taps.record(&[put(6, 1)], true);
        assert_eq!((taps.taps.len(), taps.batches), (0, 5), "an ended tap is forgotten");
    }

    #[test]
    fn a_tap_that_nobody_reads_holds_a_bounded_amount() {
        let mut taps = Taps::default();
        let (slow, fast) = (taps.begin(), taps.begin());
        for _ in 0..=TAP_BYTES_MAX / (1024 * 1024) {
            taps.record(&[put(1, 1024 * 1024)], true);
            assert!(fast.take().is_ok());
        }
        assert_eq!(slow.take(), Err(TapError::Behind));
        assert_eq!(slow.state.lock().ops.capacity(), 0, "what it held is let go of");
        taps.record(&[put(2, 1)], true);
        assert_eq!(slow.end(), Err(TapError::Behind), "for good");
        assert_eq!(fast.end(), Ok(vec![put(2, 1)]));
    }

    #[test]
    fn a_failed_batch_ends_every_copy() {
        let mut taps = Taps::default();
        let tap = taps.begin();
        taps.record(&[put(1, 1)], true);
        taps.record(&[put(2, 1)], false);
        assert_eq!(tap.end(), Err(TapError::WriteFailed));
    }
}
