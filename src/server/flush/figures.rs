//! Figures of keys, tenants and the daemon, with the hours that are over.

use std::sync::Arc;

use super::history::history_of;
use super::{Flusher, KEYS_AT_A_TIME};
use crate::engine::{SettledKey, SettledSum};
use crate::store::jobs::jobs_of;
use crate::store::{CommitError, Whose, Write};
use crate::usage::{Day, Hour};

/// Keys whose hours are joined to days in one flush.
const FOLDS_IN_FLUSH: usize = 500;

/// Something to be stored: the writes belong together.
struct Unit {
    settled: Settled,
    /// The day until which its hours are joined to days by this.
    folded: Option<Day>,
    writes: Vec<Write>,
}

/// Whose figures.
enum Settled {
    Key(u64, SettledKey),
    Sum(SettledSum),
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
            self.engine.mark_sums_to_settle(now_us);
        }
        self.count_unknown(now_us);
        let mut left = moved.as_slice();
        while !left.is_empty() {
            let (these, later) = left.split_at(left.len().min(KEYS_AT_A_TIME));
            if let Err(error) = self.write(these, now_us, None) {
                self.engine.return_moved(left);
                return Err(error);
            }
            left = later;
        }
        let folds = self.steady.hour(self.clock.now());
        // Where no key has moved, sums may have hours that are over.
        self.write(&[], now_us, folds)?;
        self.settled_hour = Some(Hour::of(now_us));
        self.fold(now_us, folds)
    }

    /// Joins hours of some keys to days. It is for whenever there is time, so a flush does it for a
    /// few: at midnight it may be due for all.
    fn fold(&mut self, now_us: i64, folds: Option<Hour>) -> Result<(), CommitError> {
        let mut to_fold = self.to_fold.borrow_mut();
        if folds.is_none() || to_fold.is_empty() {
            return Ok(());
        }
        let some: Vec<u64> = to_fold.iter().take(FOLDS_IN_FLUSH).copied().collect();
        to_fold.retain(|id| some.binary_search(id).is_err());
        drop(to_fold);
        self.write(&some, now_us, folds).inspect_err(|_| self.engine.return_moved(&some))
    }

    /// Writes some keys and the sums that they have moved, in one batch where they fit: then a crash
    /// finds both or neither. Of what could not be written, the hours are taken back.
    fn write(&self, ids: &[u64], now_us: i64, folds: Option<Hour>) -> Result<(), CommitError> {
        let _writing = self.engine.write_usage();
        let keys = ids.iter().map(|id| self.key(*id, now_us, folds));
        // Taken when all these keys are settled.
        let sums = std::iter::once_with(|| self.engine.take_sums(now_us)).flatten();
        let units = keys.chain(sums.map(|sum| self.sum(sum, folds)));
        let units = units.map(|unit| ((unit.settled, unit.folded), unit.writes));
        let (mut outcome, mut tenants) = (Ok(()), Vec::new());
        // What was settled must be written or taken back, also when another was not written.
        for (settled, job) in jobs_of(units) {
            if outcome.is_ok() {
                outcome = self.committer.commit(job, true);
            }
            for (settled, folded) in settled {
                self.conclude(&settled, folded, outcome.is_ok());
                tenants.extend(settled.tenant());
            }
        }
        outcome?;
        self.remove_purged(&tenants)
    }

    fn key(&self, id: u64, now_us: i64, folds: Option<Hour>) -> Unit {
        let whose = Whose::Key(id);
        let Some(mut settled) = self.engine.take_usage(id, now_us) else {
            // The key was purged, perhaps while its figures were on their way here.
            let settled = Settled::Key(id, SettledKey::default());
            return Unit { settled, folded: None, writes: vec![Write::remove_usage(id)] };
        };
        let hours = &mut settled.row.hours;
        let is_due = hours.fold_until(Hour::of(now_us)).is_some();
        if folds.is_none() && is_due && !settled.closed.is_empty() {
            self.to_fold.borrow_mut().insert(id);
        }
        let (mut writes, folded) = history_of(&self.keys, whose, hours, &settled.closed, folds);
        // It fits: every collection in it is bounded.
        writes.extend(Write::usage(id, &settled.row).ok());
        Unit { settled: Settled::Key(id, settled), folded, writes }
    }

    fn sum(&self, mut sum: SettledSum, folds: Option<Hour>) -> Unit {
        let of = sum.of.clone();
        let (whose, hours) = (Whose::sum(of.as_deref()), &mut sum.row.hours);
        // Few, and due when they have moved anyway.
        let (mut writes, folded) = history_of(&self.keys, whose, hours, &sum.closed, folds);
        writes.extend(Write::sum(of.as_deref(), &sum.row).ok());
        Unit { settled: Settled::Sum(sum), folded, writes }
    }

    /// Has the engine know what became of what it has handed over.
    fn conclude(&self, settled: &Settled, folded: Option<Day>, is_written: bool) {
        match (settled, is_written) {
            (Settled::Key(id, key), false) => self.engine.return_hours(*id, &key.closed),
            (Settled::Sum(sum), false) => self.engine.return_sum(sum),
            (Settled::Key(id, _), true) => {
                folded.into_iter().for_each(|until| self.engine.hours_folded(*id, until));
            }
            (Settled::Sum(sum), true) => {
                let of = sum.of.as_deref();
                folded.into_iter().for_each(|until| self.engine.sum_folded(of, until));
            }
        }
    }

    /// A tenant may have been purged while its sums were on their way here.
    fn remove_purged(&self, tenants: &[Arc<str>]) -> Result<(), CommitError> {
        for tenant in tenants {
            // Also one without a record, when its last key is purged.
            if self.engine.tenant(tenant).is_none() {
                self.engine.forget_sum(tenant);
            }
            if self.engine.has_sum(tenant) {
                continue;
            }
            match self.keys.removal_of_sum(tenant) {
                Ok(removal) => self.committer.commit(removal, true)?,
                Err(error) => tracing::error!(tenant = &**tenant, %error, "its usage stays stored"),
            }
        }
        Ok(())
    }

    /// Counts denials of tokens that are no key's since the last time.
    fn count_unknown(&mut self, now_us: i64) {
        for (now, (code, before)) in self.observers.unknown_by_code().iter().zip(&mut self.unknown)
        {
            let more = now.1.saturating_sub(std::mem::replace(before, now.1));
            self.engine.count_unknown(*code, more, now_us);
        }
    }
}

impl Settled {
    fn tenant(&self) -> Option<Arc<str>> {
        match self {
            Self::Key(..) => None,
            Self::Sum(sum) => sum.of.clone(),
        }
    }
}
