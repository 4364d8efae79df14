//! The latch: after the first failed write, nothing more is written.
//!
//! A failed fsync may have dropped the very pages that it failed to write, and reports that once;
//! the next fsync succeeds and means nothing. So there is no retry: whoever goes on writing builds
//! on data that may not be there. Only a restart, which reads the disk, opens the latch.

use std::sync::{Arc, OnceLock};

use super::StoreError;

/// Shared by everything that writes to one store. Trips once, never resets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Latch(Arc<OnceLock<Arc<str>>>);

impl Latch {
    /// Refuses when the latch has tripped.
    ///
    /// # Errors
    /// [`StoreError::Latched`] with the first failure's message.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        self.cause().map_or(Ok(()), |cause| Err(StoreError::Latched { cause }))
    }

    /// The first failure's message, once there is one.
    pub(crate) fn cause(&self) -> Option<Arc<str>> {
        self.0.get().map(Arc::clone)
    }

    /// Trips the latch. The first cause stands; an error that only repeats it is not a cause.
    pub(crate) fn trip(&self, error: &StoreError) {
        if matches!(error, StoreError::Latched { .. }) {
            return;
        }
        if self.0.set(error.to_string().into()).is_ok() {
            tracing::error!(%error, "the store is read-only from here on");
        }
    }

    /// Passes a write's result on, and trips on its error.
    pub(crate) fn guard<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &result {
            self.trip(error);
        }
        result
    }
}
