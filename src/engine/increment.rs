//! `Increment`: counts what became of requests.

use keygate_protocol::{Increment, IncrementOutcome};

use super::Engine;
use crate::clock::Now;

impl Engine {
    /// Counts one report, unless its id was seen before or there is no such key.
    pub fn increment(&self, report: &Increment<'_>, now: Now) -> IncrementOutcome {
        // Held until it is counted: a key that is purged meanwhile must not be counted for.
        let catalog = self.read();
        if catalog.by_id(report.key_id).is_none_or(|entry| entry.deleted) {
            return IncrementOutcome::NotFound;
        }
        self.usage.count(report, now)
    }
}
