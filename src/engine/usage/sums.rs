//! What a tenant and the whole daemon were used for: what their keys have counted, added up when it
//! is settled.

use std::collections::HashMap;
use std::sync::Arc;

use keygate_protocol::VerdictCode;
use parking_lot::Mutex;

use crate::engine::Engine;
use crate::usage::{ClosedHour, Day, Hour, HourTally, Hours, SumRow, Tally};

/// By tenant; those of the daemon stand under `None`. Only whoever writes usage takes the lock, and
/// who looks at it.
#[derive(Debug, Default)]
pub(super) struct Sums(Mutex<HashMap<Option<Arc<str>>, Sum>>);

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
        self.dirty = true;
    }
}

impl Sums {
    pub(super) fn add(&self, tenant: &Arc<str>, settled: &[HourTally]) {
        if settled.is_empty() {
            return;
        }
        let mut sums = self.0.lock();
        for of in [None, Some(Arc::clone(tenant))] {
            sums.entry(of).or_default().add(settled);
        }
    }
}

impl Engine {
    /// The sums that have moved, or have hours that are over, marked as handed over.
    pub fn take_sums(&self, now_us: i64) -> Vec<SettledSum> {
        let now = Hour::of(now_us);
        let mut sums = self.usage.sums.0.lock();
        let due = sums.iter_mut().filter(|(_, sum)| sum.dirty || sum.hours.has_closed(now));
        due.map(|(of, sum)| {
            sum.dirty = false;
            let closed = sum.hours.take_closed(now);
            let row = SumRow { total: sum.total.clone(), hours: sum.hours.clone() };
            SettledSum { of: of.clone(), row, closed }
        })
        .collect()
    }

    /// Takes sums back that could not be stored.
    pub fn return_sum(&self, sum: &SettledSum) {
        if let Some(kept) = self.usage.sums.0.lock().get_mut(&sum.of) {
            kept.dirty = true;
            kept.hours.put_back(&sum.closed);
        }
    }

    /// Notes that the hours of a sum before a day are joined to days.
    pub fn sum_folded(&self, of: Option<&str>, until: Day) {
        if let Some(kept) = self.usage.sums.0.lock().get_mut(&of.map(Arc::from)) {
            kept.hours.folded(until);
        }
    }

    /// Sets sums that the store had at start: a tenant's, or the daemon's.
    pub fn restore_sum(&self, of: Option<&str>, row: SumRow) {
        let sum = Sum { total: row.total, hours: row.hours, dirty: false };
        self.usage.sums.0.lock().insert(of.map(Arc::from), sum);
    }

    /// Whether there are sums of a tenant.
    #[must_use]
    pub fn has_sum(&self, tenant: &str) -> bool {
        self.usage.sums.0.lock().contains_key(&Some(Arc::from(tenant)))
    }

    /// Forgets the sums of a tenant that is gone.
    pub fn forget_sum(&self, tenant: &str) {
        self.usage.sums.0.lock().remove(&Some(Arc::from(tenant)));
    }

    /// What a tenant or the daemon was used for, up to the last time that usage was written: all
    /// of it, and by the hours that have no row of their own.
    #[must_use]
    pub fn sum(&self, of: Option<&str>) -> (Tally, Vec<HourTally>) {
        let sums = self.usage.sums.0.lock();
        let sum = sums.get(&of.map(Arc::from));
        sum.map(|sum| (sum.total.clone(), sum.hours.open().to_vec())).unwrap_or_default()
    }

    /// Counts denials of tokens that are no key's: the daemon's alone.
    pub fn count_unknown(&self, code: VerdictCode, count: u64, now_us: i64) {
        if self.usage.history && count > 0 {
            let mut tally = Tally::default();
            tally.deny(code, count);
            let settled = HourTally { hour: Hour::of(now_us), tally };
            self.usage.sums.0.lock().entry(None).or_default().add(&[settled]);
        }
    }
}
