//! What was counted becomes figures: of which hour, at what price, in whose sums.

use core::net::IpAddr;
use std::sync::Arc;

use super::{Kept, UsageKeeper};
use crate::engine::Engine;
use crate::engine::catalog::Catalog;
use crate::usage::{ClosedHour, Details, Hour, HourTally, Tally, UsageRow};

/// A key's figures as they are to be stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SettledKey {
    /// The row.
    pub row: UsageRow,
    /// The hours that are over and have left the row: each is to be written in the same batch.
    pub closed: Vec<ClosedHour>,
}

/// A key's figures as they stand, for people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyUsage {
    /// When the last valid verdict was given, microseconds since 1970; 0 for never.
    pub last_used_us: i64,
    /// Where one of the valid verdicts since the last but one flush came from, if that was stated.
    pub last_used_from: Option<IpAddr>,
    /// All that was counted since the key came to this daemon.
    pub total: Tally,
    /// The hours that have no row of their own yet.
    pub hours: Vec<HourTally>,
    /// Endpoints and recent errors; those of a look at the sums alone are left out.
    pub details: Details,
}

/// What the entry of a key has counted.
struct Counted {
    total_requests: u64,
    last_used_us: i64,
    price_nano: u64,
    tenant: Arc<str>,
}

impl Counted {
    fn of(catalog: &Catalog, id: u64, handed_over: bool) -> Option<Self> {
        let entry = catalog.by_id(id)?;
        let mut cell = entry.cell.lock();
        if handed_over {
            entry.handed_over(&mut cell);
        }
        Some(Self {
            total_requests: cell.total_requests,
            last_used_us: cell.last_used_us,
            price_nano: catalog.policy(entry).price_nano,
            tenant: Arc::clone(catalog.tenants.name(entry.tenant)),
        })
    }
}

impl Kept {
    /// Takes what is not settled, verdicts with the rest.
    fn settle(&mut self, counted: &Counted, history: bool) -> Vec<HourTally> {
        if history {
            let hour = Hour::of(counted.last_used_us);
            self.count_verdicts(counted.total_requests, hour, counted.price_nano);
        }
        let settled = std::mem::take(&mut self.fresh);
        for HourTally { hour, tally } in &settled {
            self.total.add(tally);
            if history {
                self.hours.add(*hour, tally);
            }
        }
        settled
    }
}

impl UsageKeeper {
    /// Settles a key, and adds what that gives to the sums of its tenant and of the daemon.
    fn settle(&self, id: u64, counted: &Counted, now: Hour, take: bool) -> Option<SettledKey> {
        let mut shard = self.kept[self.shard(id)].lock();
        if !take && counted.total_requests == 0 && !shard.contains_key(&id) {
            // Never used: a change of it needs no figures.
            return None;
        }
        let kept = shard.entry(id).or_default();
        let settled = kept.settle(counted, self.history);
        let row = take.then(|| {
            kept.dirty = false;
            let closed = kept.hours.take_closed(now);
            SettledKey { row: kept.row(counted, self.history), closed }
        });
        drop(shard);
        if self.history {
            self.sums.add(&counted.tenant, &settled);
        }
        row
    }
}

impl Kept {
    fn row(&self, counted: &Counted, history: bool) -> UsageRow {
        let mut total = self.total.clone();
        if !history {
            total.requests = counted.total_requests;
        }
        UsageRow {
            last_used_us: counted.last_used_us,
            last_used_from: self.from,
            total,
            hours: self.hours.clone(),
            details: self.details.as_deref().cloned().unwrap_or_default(),
        }
    }
}

impl Engine {
    /// A key's figures, marked as handed over: whatever moves later marks it again. `None` when
    /// there is no such key (any more): what is stored of it is to be removed.
    pub fn take_usage(&self, id: u64, now_us: i64) -> Option<SettledKey> {
        // Held to the end: what is purged meanwhile would begin anew.
        let catalog = self.read();
        let counted = Counted::of(&catalog, id, true)?;
        self.usage.settle(id, &counted, Hour::of(now_us), true)
    }

    /// Takes hours back that could not be written.
    pub fn return_hours(&self, id: u64, closed: &[ClosedHour]) {
        if let Some(kept) = self.usage.kept[self.usage.shard(id)].lock().get_mut(&id) {
            kept.hours.put_back(closed);
        }
    }

    /// Notes that the hours of a key before a day are joined to days.
    pub fn hours_folded(&self, id: u64, until: crate::usage::Day) {
        if let Some(kept) = self.usage.kept[self.usage.shard(id)].lock().get_mut(&id) {
            kept.hours.folded(until);
        }
    }

    /// Keys that have hours that are over, also those that have not moved since. For whenever an hour
    /// has passed.
    #[must_use]
    pub fn keys_to_settle(&self, now_us: i64) -> Vec<u64> {
        let now = Hour::of(now_us);
        let mut keys = Vec::new();
        for shard in &self.usage.kept {
            let shard = shard.lock();
            let over = shard.iter().filter(|(_, kept)| kept.hours.has_closed(now));
            keys.extend(over.map(|(id, _)| *id));
        }
        keys
    }

    /// A key's figures as they stand; with endpoints and recent errors where `details` are asked
    /// for.
    #[must_use]
    pub fn usage(&self, id: u64, details: bool) -> KeyUsage {
        let Some(counted) = Counted::of(&self.read(), id, false) else {
            return KeyUsage::default();
        };
        let history = self.usage.history;
        let shard = self.usage.kept[self.usage.shard(id)].lock();
        let none = Kept::default();
        let kept = shard.get(&id).unwrap_or(&none);
        let mut settled = Kept {
            total: kept.total.clone(),
            hours: kept.hours.clone(),
            fresh: kept.fresh.clone(),
            counted: kept.counted,
            ..Kept::default()
        };
        settled.settle(&counted, history);
        settled.total.requests = counted.total_requests;
        KeyUsage {
            last_used_us: counted.last_used_us,
            last_used_from: kept.from,
            total: settled.total,
            hours: settled.hours.open().to_vec(),
            details: kept.details.as_deref().filter(|_| details).cloned().unwrap_or_default(),
        }
    }

    /// The keys that were used, as far as it is settled.
    #[must_use]
    pub fn used_keys(&self) -> Vec<u64> {
        self.usage
            .kept
            .iter()
            .flat_map(|shard| shard.lock().keys().copied().collect::<Vec<_>>())
            .collect()
    }

    /// The tenant of a key.
    #[must_use]
    pub fn tenant_of(&self, id: u64) -> Option<Arc<str>> {
        let catalog = self.read();
        catalog.by_id(id).map(|entry| Arc::clone(catalog.tenants.name(entry.tenant)))
    }

    /// When a key's last valid verdict was given here, microseconds since 1970; 0 for never.
    #[must_use]
    pub fn last_used_us(&self, id: u64) -> i64 {
        let catalog = self.read();
        catalog.by_id(id).map_or(0, |entry| entry.cell.lock().last_used_us)
    }

    /// Notes that a key's verdicts from here on are of another price or tenant: called before its
    /// record is replaced, and before it is removed.
    pub(in crate::engine) fn settle_before_change(&self, catalog: &Catalog, id: u64) {
        if let Some(counted) = Counted::of(catalog, id, false).filter(|_| self.usage.history) {
            let _ = self.usage.settle(id, &counted, Hour(0), false);
        }
    }
}
