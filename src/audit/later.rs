//! What is still to come in a file while it is judged.

use std::collections::BTreeMap;

use super::pieces::Piece;

/// The sequences of the records that are still to come in a file, and how often.
pub(super) struct Later(BTreeMap<u64, usize>);

impl Later {
    pub(super) fn of(pieces: &[Piece<'_>]) -> Self {
        let mut later = BTreeMap::new();
        for piece in pieces {
            if let Piece::Record { frame, .. } = piece {
                *later.entry(frame.sequence).or_default() += 1;
            }
        }
        Self(later)
    }

    pub(super) fn take(&mut self, sequence: u64) {
        if let Some(count) = self.0.get_mut(&sequence) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&sequence);
            }
        }
    }

    pub(super) fn has(&self, sequences: std::ops::Range<u64>) -> bool {
        self.0.range(sequences).next().is_some()
    }
}
