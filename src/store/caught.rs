//! Panics of an engine become errors: an engine panics where its data is not what it takes to be
//! possible, and a daemon that judges keys must outlive that.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::StoreError;

/// Runs a call of an engine's and catches its panic.
///
/// # Errors
/// That of the call; [`StoreError::Panicked`]. The engine's state is then not to be trusted: the
/// caller trips the latch, and a database that could not be opened is not used.
pub(super) fn caught<T>(
    doing: &'static str,
    call: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|panic| Err(StoreError::Panicked { doing, what: message(&*panic) }))
}

fn message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "no message".to_owned())
}
