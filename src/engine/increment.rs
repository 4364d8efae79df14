//! `Increment`: counts what became of requests.

use keygate_protocol::{Increment, IncrementOutcome};

use super::{Account, Engine};
use crate::clock::Now;
use crate::limit::Budget;

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
        let Some(entry) = catalog.visible(report.key_id, bound) else {
            return IncrementOutcome::NotFound;
        };
        let outcome = self.usage.count(report, now);
        if outcome == IncrementOutcome::Duplicate {
            return outcome;
        }
        if let Some(credits) = report.refund {
            self.usage.refund(entry.id, credits);
        }
        match report.slot {
            Some(slot) if !self.release(&catalog, entry, slot, now) => IncrementOutcome::SlotGone,
            _ => outcome,
        }
    }

    /// Gives credits of a key back, never more than were taken since the balance was set or
    /// replaced; how many. For reports whose ids are stored. The ledger is told, as one that a key
    /// asks for its next lease.
    pub fn refund(&self, id: u64, credits: u64, now: Now) -> u64 {
        let (moment, account) = (self.moment(now), Account::Key(id));
        let refund = |budget: &mut Budget| budget.refund(credits, &moment.ask(0, false));
        let (refunded, asks) = self.with_budget(&account, refund).unwrap_or_default();
        if asks {
            self.ledger.ask(account);
        }
        refunded
    }
}
