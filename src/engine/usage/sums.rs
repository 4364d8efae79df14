//! What a tenant and the whole daemon were used for: what their keys have counted, added up when it
//! is settled.

use std::collections::HashMap;
use std::sync::Arc;

use keygate_protocol::VerdictCode;
use parking_lot::Mutex;

use crate::engine::Engine;
use crate::usage::{ClosedHour, Day, Hour, HourTally, Hours, SumRow, Tally};

/// Only whoever writes usage takes the lock, who looks at it, and who changes a key.
#[derive(Debug, Default)]
pub(super) struct Sums(Mutex<All>);

#[derive(Debug, Default)]
struct All {
    /// By tenant; those of the daemon stand under `None`.
    by: HashMap<Option<Arc<str>>, Sum>,
    /// Those that have moved, each once.
    moved: Vec<Option<Arc<str>>>,
}

#[derive(Debug, Default)]
struct Sum {
    total: Tally,
    hours: Hours,
    dirty: bool,
}

/// Sums as they are to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettledSum {
    /// Whose: a tenant's, or the daemon's.
    pub of: Option<Arc<str>>,
    /// The row.
    pub row: SumRow,
    /// The hours that are over and have left the row: each is to be written in the same batch.
    pub closed: Vec<ClosedHour>,
}

impl Sum {
    fn add(&mut self, settled: &[HourTally]) {
        for HourTally { hour, tally } in settled {
            self.total.add(tally);
            self.hours.add(*hour, tally);
        }
    }
}

impl All {
    fn add(&mut self, of: Option<Arc<str>>, settled: &[HourTally]) {
        self.by.entry(of.clone()).or_default().add(settled);
        self.mark(of);
    }

    fn mark(&mut self, of: Option<Arc<str>>) {
        if let Some(sum) = self.by.get_mut(&of)
            && !std::mem::replace(&mut sum.dirty, true)
        {
            self.moved.push(of);
        }
    }
}

impl Sums {
    pub(super) fn add(&self, tenant: &Arc<str>, settled: &[HourTally]) {
        if settled.is_empty() {
            return;
        }
        let mut sums = self.0.lock();
        for of in [None, Some(Arc::clone(tenant))] {
            sums.add(of, settled);
        }
    }
}

impl Engine {
    /// Has the sums with hours that are over taken too, that have not moved since. For whenever an
    /// hour has passed.
    pub fn mark_sums_to_settle(&self, now_us: i64) {
        let now = Hour::of(now_us);
        let mut sums = self.usage.sums.0.lock();
        let over = sums.by.iter().filter(|(_, sum)| sum.hours.has_closed(now));
        let over: Vec<_> = over.map(|(of, _)| of.clone()).collect();
        over.into_iter().for_each(|of| sums.mark(of));
    }

    /// The sums that have moved, marked as handed over.
    pub fn take_sums(&self, now_us: i64) -> Vec<SettledSum> {
        let now = Hour::of(now_us);
        let mut sums = self.usage.sums.0.lock();
        let moved = std::mem::take(&mut sums.moved);
        let take = |of: Option<Arc<str>>| {
            let sum = sums.by.get_mut(&of)?;
            sum.dirty = false;
            let closed = sum.hours.take_closed(now);
            let row = SumRow { total: sum.total.clone(), hours: sum.hours.clone() };
            Some(SettledSum { of, row, closed })
        };
        moved.into_iter().filter_map(take).collect()
    }

    /// Takes sums back that could not be stored.
    pub fn return_sum(&self, sum: &SettledSum) {
        let mut sums = self.usage.sums.0.lock();
        if let Some(kept) = sums.by.get_mut(&sum.of) {
            kept.hours.put_back(&sum.closed);
        }
        sums.mark(sum.of.clone());
    }

    /// Notes that the hours of a sum before a day are joined to days.
    pub fn sum_folded(&self, of: Option<&str>, until: Day) {
        if let Some(kept) = self.usage.sums.0.lock().by.get_mut(&of.map(Arc::from)) {
            kept.hours.folded(until);
        }
    }

    /// Sets sums that the store had at start: a tenant's, or the daemon's. Those of a tenant that is
    /// gone are moved, so that whoever writes usage removes them.
    pub fn restore_sum(&self, of: Option<&str>, row: SumRow) {
        let sum = Sum { total: row.total, hours: row.hours, dirty: false };
        let is_gone = of.is_some_and(|tenant| self.tenant(tenant).is_none());
        let mut sums = self.usage.sums.0.lock();
        let of: Option<Arc<str>> = of.map(Arc::from);
        sums.by.insert(of.clone(), sum);
        if is_gone {
            sums.mark(of);
        }
    }

    /// Whether there are sums of a tenant.
    #[must_use]
    pub fn has_sum(&self, tenant: &str) -> bool {
        self.usage.sums.0.lock().by.contains_key(&Some(Arc::from(tenant)))
    }

    /// Forgets the sums of a tenant that is gone.
    pub fn forget_sum(&self, tenant: &str) {
        self.usage.sums.0.lock().by.remove(&Some(Arc::from(tenant)));
    }

    /// What a tenant or the daemon was used for, up to the last time that usage was written: all
    /// of it, and by the hours that have no row of their own.
    #[must_use]
    pub fn sum(&self, of: Option<&str>) -> (Tally, Vec<HourTally>) {
        let sums = self.usage.sums.0.lock();
        let sum = sums.by.get(&of.map(Arc::from));
        sum.map(|sum| (sum.total.clone(), sum.hours.open().to_vec())).unwrap_or_default()
    }

    /// Counts denials of tokens that are no key's: the daemon's alone.
    pub fn count_unknown(&self, code: VerdictCode, count: u64, now_us: i64) {
        if self.usage.history && count > 0 {
            let mut tally = Tally::default();
            tally.deny(code, count);
            let settled = HourTally { hour: Hour::of(now_us), tally };
            self.usage.sums.0.lock().add(None, &[settled]);
        }
    }
}
