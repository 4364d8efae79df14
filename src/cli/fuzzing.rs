//! What the fuzz targets of `fuzz/` reach of the command line, and nobody else.

use super::records::{Entry, read_all};
use crate::key::{KeyRecord, Pepper, RecordInput, TenantRecord};

pub use super::simulate::fuzzing::trace;

/// Reads records as `keygate import` does, of any shape of file; those of keys that are sound.
#[must_use]
pub fn records(bytes: &[u8], pepper: &Pepper) -> Vec<KeyRecord> {
    let mut records = Vec::new();
    let mut each = |entry: Entry| {
        match entry {
            Entry::Key(raw) => {
                if let Ok(mut input) = serde_json::from_str::<RecordInput>(raw.get()) {
                    input.put_right(true, None);
                    records.extend(input.import(pepper));
                }
            }
            Entry::Tenant(raw) => {
                if let Ok(input) = serde_json::from_str::<RecordInput>(raw.get()) {
                    // Refused or not, it must not panic.
                    let _ = TenantRecord::import(input);
                }
            }
        }
        true
    };
    // An error ends the reading, as it does an import's.
    let _ = read_all(bytes, &mut each);
    records
}
