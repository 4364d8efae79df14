//! Hours that are over become rows, and hours of long ago days.

use std::collections::BTreeMap;

use crate::store::{Keys, StoreError, Whose, Write};
use crate::usage::{ClosedHour, DAYS_KEPT, Day, Hour, Hours, MonthRow, Tally};

/// The writes for hours that are over, which belong into one batch with the row that they have left;
/// and the day until which hours are joined to days by them. `hours` are those of that row, in which
/// this is noted.
///
/// `folds` is the hour by which hours are joined and days forgotten: none where that is for later.
///
/// A row that cannot be read is told in the log and written anew: nobody waits for it to get better.
pub(super) fn history_of(
    keys: &Keys,
    whose: Whose<'_>,
    hours: &mut Hours,
    closed: &[ClosedHour],
    folds: Option<Hour>,
) -> (Vec<Write>, Option<Day>) {
    let (mut writes, mut days) = (Vec::new(), BTreeMap::<Day, Tally>::new());
    let until = folds.and_then(|now| hours.fold_until(now));
    if let Some(until) = until {
        for hour in read(keys.hours_before(whose, until), whose) {
            days.entry(hour.hour.day()).or_default().add(&hour.tally);
            writes.push(Write::remove_hour(whose, hour.hour));
        }
        hours.folded(until);
    }
    for ClosedHour { counted, adds } in closed {
        let (hour, mut tally) = (counted.hour, counted.tally.clone());
        if hours.is_folded(hour.day()) {
            days.entry(hour.day()).or_default().add(&tally);
            continue;
        }
        if *adds && let Some(before) = read(keys.hour(whose, hour), whose) {
            tally.add(&before);
        }
        writes.extend(Write::hour(whose, hour, &tally).ok());
    }
    let first_kept = folds.unwrap_or_default().day().before(DAYS_KEPT);
    write_days(keys, whose, days, first_kept, &mut writes);
    if until.is_some() {
        let outdated = read(keys.months_before(whose, first_kept.month()), whose);
        writes.extend(outdated.into_iter().map(|month| Write::remove_month(whose, month)));
    }
    (writes, until)
}

/// Adds to days, and forgets those of their months that are too long ago.
fn write_days(
    keys: &Keys,
    whose: Whose<'_>,
    days: BTreeMap<Day, Tally>,
    first_kept: Day,
    writes: &mut Vec<Write>,
) {
    let mut months = BTreeMap::<u32, MonthRow>::new();
    for (day, tally) in days {
        let month = day.month();
        let row = months.entry(month).or_insert_with(|| read(keys.month(whose, month), whose));
        row.entry(day.0).or_default().add(&tally);
    }
    for (month, mut row) in months {
        row.retain(|day, _| Day(*day) >= first_kept);
        writes.extend(Write::month(whose, month, &row).ok());
    }
}

fn read<T: Default>(found: Result<T, StoreError>, whose: Whose<'_>) -> T {
    found.unwrap_or_else(|error| {
        tracing::error!(?whose, %error, "a history of usage could not be read; it goes on without");
        T::default()
    })
}

#[cfg(test)]
mod tests;
