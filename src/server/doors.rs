//! Who came in, of each plane, and who was turned away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::metrics::Counter;

/// One for each plane.
#[derive(Debug, Default)]
pub(super) struct Doors {
    pub(super) data: Arc<Door>,
    pub(super) admin: Arc<Door>,
    pub(super) http: Arc<Door>,
}

/// The connections of a plane. Those who come in and who do not are counted by the control thread.
#[derive(Debug, Default)]
pub(super) struct Door {
    accepted: Counter,
    refused: Counter,
    inside: AtomicUsize,
}

/// Somebody who came in, until it is dropped.
#[derive(Debug)]
pub(super) struct Inside(Arc<Door>);

impl Door {
    /// Counts one who came in.
    pub(super) fn enter(self: &Arc<Self>) -> Inside {
        self.accepted.add(1);
        self.inside.fetch_add(1, Relaxed);
        Inside(Arc::clone(self))
    }

    /// Counts one who came in or was turned away, where others count those who are inside.
    pub(super) fn pass(&self, in_it_came: bool) {
        if in_it_came { &self.accepted } else { &self.refused }.add(1);
    }

    /// Those who came in since the start.
    pub(super) fn accepted(&self) -> u64 {
        self.accepted.get()
    }

    /// Those who were turned away since the start: there was no room.
    pub(super) fn refused(&self) -> u64 {
        self.refused.get()
    }

    /// Those who are inside.
    pub(super) fn inside(&self) -> usize {
        self.inside.load(Relaxed)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Relaxed);
    }
}
