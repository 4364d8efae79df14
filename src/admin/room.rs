//! Room for keys that are on their way: between the look at whether they fit and the moment at which
//! they stand in the catalog, where they count by themselves. Without it writers that race for the
//! last places would store more keys than the daemon takes when it starts again.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::engine::{CatalogError, Engine};

/// Places that keys on their way have.
#[derive(Debug, Default)]
pub(super) struct Room(Arc<Mutex<usize>>);

impl Room {
    /// No places yet.
    pub(super) fn places(&self) -> Places {
        Places { room: Arc::clone(&self.0), held: 0 }
    }
}

/// The places of one writer, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Places {
    room: Arc<Mutex<usize>>,
    held: usize,
}

impl Places {
    /// Holds places for so many keys in all.
    ///
    /// # Errors
    /// When there are too few; those that are held stay.
    pub(super) fn hold(&mut self, keys: usize, engine: &Engine) -> Result<(), CatalogError> {
        let mut room = self.room.lock();
        let others = room.saturating_sub(self.held);
        engine.check_room(others.saturating_add(keys))?;
        *room = others + keys;
        self.held = keys;
        Ok(())
    }

    /// Puts the keys into the catalog: nobody sees them counted twice or not at all.
    pub(super) fn fill<T>(&mut self, put: impl FnOnce() -> T) -> T {
        let mut room = self.room.lock();
        let put = put();
        *room = room.saturating_sub(std::mem::take(&mut self.held));
        put
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        let mut room = self.room.lock();
        *room = room.saturating_sub(self.held);
    }
}
