//! Figures of keys, tenants and the daemon, with the hours that are over.

use super::history::history_of;
use super::{Flusher, KEYS_AT_A_TIME};
use crate::engine::{SettledKey, SettledSum};
use crate::store::{CommitError, Whose, Write, plan};
use crate::usage::{Day, Hour};

/// Something to be stored, and what becomes of it when it is: the writes belong together.
struct Unit<T> {
    settled: T,
    /// The day until which its hours are joined to days by this.
    folded: Option<Day>,
    writes: Vec<Write>,
}

impl Flusher {
    /// Writes what has moved. Once in an hour, what has not moved and is of an hour before too.
    pub(super) fn flush_figures(&mut self) -> Result<(), CommitError> {
        let now_us = self.clock.now().wall_us;
        let mut moved = self.engine.take_moved();
        self.moved.iter().for_each(|told| told.moved(&moved));
        if self.settled_hour != Some(Hour::of(now_us)) {
            moved.extend(self.engine.keys_to_settle(now_us));
            moved.sort_unstable();
            moved.dedup();
        }
        let mut left = moved.as_slice();
        while !left.is_empty() {
            let (these, later) = left.split_at(left.len().min(KEYS_AT_A_TIME));
            if let Err(error) = self.write_keys(these, now_us) {
                self.engine.return_moved(left);
                return Err(error);
            }
            left = later;
        }
        self.count_unknown(now_us);
        self.write_sums(now_us)?;
        self.settled_hour = Some(Hour::of(now_us));
        Ok(())
    }

    fn write_keys(&self, ids: &[u64], now_us: i64) -> Result<(), CommitError> {
        let units = ids.iter().map(|id| self.key(*id, now_us));
        let take_back = |(id, settled): &(u64, SettledKey)| {
            self.engine.return_hours(*id, &settled.closed);
        };
        let folded = |(id, _): &(u64, SettledKey), until| self.engine.hours_folded(*id, until);
        self.write(units, take_back, folded)
    }

    fn key(&self, id: u64, now_us: i64) -> Unit<(u64, SettledKey)> {
        let whose = Whose::Key(id);
        let Some(mut settled) = self.engine.take_usage(id, now_us) else {
            // The key was purged, perhaps while its figures were on their way here.
            let writes = vec![Write::remove_usage(id)];
            return Unit { settled: (id, SettledKey::default()), folded: None, writes };
        };
        let hours = &mut settled.row.hours;
        let (mut writes, folded) = history_of(&self.keys, whose, hours, &settled.closed, now_us);
        // It fits: every collection in it is bounded.
        writes.extend(Write::usage(id, &settled.row).ok());
        Unit { settled: (id, settled), folded, writes }
    }

    fn write_sums(&self, now_us: i64) -> Result<(), CommitError> {
        let sums = self.engine.take_sums(now_us);
        let tenants: Vec<_> = sums.iter().filter_map(|sum| sum.of.clone()).collect();
        let units = sums.into_iter().map(|mut sum| {
            let of = sum.of.clone();
            let (whose, hours) = (Whose::sum(of.as_deref()), &mut sum.row.hours);
            let (mut writes, folded) = history_of(&self.keys, whose, hours, &sum.closed, now_us);
            writes.extend(Write::sum(of.as_deref(), &sum.row).ok());
            Unit { settled: sum, folded, writes }
        });
        let take_back = |sum: &SettledSum| self.engine.return_sum(sum);
        let folded = |sum: &SettledSum, until| self.engine.sum_folded(sum.of.as_deref(), until);
        self.write(units, take_back, folded)?;
        // One may have been purged while its sums were on their way here.
        for tenant in tenants.iter().filter(|tenant| !self.engine.has_sum(tenant)) {
            match self.keys.removal_of_sum(tenant) {
                Ok(removal) => self.committer.commit(removal, true)?,
                Err(error) => tracing::error!(tenant = &**tenant, %error, "its usage stays stored"),
            }
        }
        Ok(())
    }

    /// Writes units, as many in a job as fit. Of those that could not be written, the hours are
    /// taken back.
    fn write<T>(
        &self,
        units: impl Iterator<Item = Unit<T>>,
        take_back: impl Fn(&T),
        folded: impl Fn(&T, Day),
    ) -> Result<(), CommitError> {
        let units = units.map(|unit| ((unit.settled, unit.folded), unit.writes));
        let mut outcome = Ok(());
        // All were settled when they came here, so none may be left out when one has failed.
        for (settled, job) in plan::jobs_of(units) {
            if outcome.is_ok() {
                outcome = self.committer.commit(job, true);
            }
            for (settled, until) in &settled {
                match (&outcome, until) {
                    (Err(_), _) => take_back(settled),
                    (Ok(()), Some(until)) => folded(settled, *until),
                    (Ok(()), None) => {}
                }
            }
        }
        outcome
    }

    /// Counts denials of tokens that are no key's since the last time.
    fn count_unknown(&mut self, now_us: i64) {
        for (code, count) in &mut self.unknown {
            let now = self.observers.given(*code);
            let more = now.saturating_sub(std::mem::replace(count, now));
            self.engine.count_unknown(*code, more, now_us);
        }
    }
}
