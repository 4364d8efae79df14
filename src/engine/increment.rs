//! `Increment`: counts what became of requests.

use keygate_protocol::{Increment, IncrementOutcome};

use super::Engine;
use crate::clock::Now;

impl Engine {
    /// Counts one report, unless its id was seen before or there is no such key.
    pub fn increment(&self, report: &Increment<'_>, now: Now) -> IncrementOutcome {
        self.increment_for(None, report, now)
    }

    /// As [`Engine::increment`], for a caller that is bound to a tenant: there are no other keys
    /// than that tenant's.
    pub fn increment_for(
        &self,
        tenant: Option<&str>,
        report: &Increment<'_>,
        now: Now,
    ) -> IncrementOutcome {
        // Held until it is counted: a key that is purged meanwhile must not be counted for.
        let catalog = self.read();
        let bound = catalog.tenants.bound(tenant);
        let known = catalog.by_id(report.key_id).is_some_and(|entry| {
            !entry.deleted && catalog.tenants.state_for(entry.tenant, bound).is_some()
        });
        if !known {
            return IncrementOutcome::NotFound;
        }
        self.usage.count(report, now)
    }
}
