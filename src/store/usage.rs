//! Usage as it is stored: of keys, tenants and the daemon; as totals, by the hour and by the day.

use super::envelope::{self, EnvelopeError, Sealed};
use super::keys::Keys;
use super::layout::Whose;
use super::rows::{HISTORY_SCHEMA, USAGE_SCHEMA};
use super::write::RowWrite;
use super::{Op, Row, Store, StoreError, Write, layout, plan, sweep};
use crate::usage::{Day, Hour, HourTally, MonthRow, SumRow, Tally, UsageRow, UsageRow1};

/// Rows of a history that are read at a time: more than one has.
const ROWS: usize = 1024;

/// What a key, a tenant or the daemon has used, as far as it is in rows of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// By ascending hour.
    pub hours: Vec<HourTally>,
    /// By ascending day, those whose hours are joined.
    pub days: Vec<(Day, Tally)>,
}

/// Reads a row of usage of any schema up to [`USAGE_SCHEMA`].
///
/// # Errors
/// See [`EnvelopeError`].
pub(super) fn open_usage(bytes: &[u8]) -> Result<UsageRow, EnvelopeError> {
    let sealed: Sealed<'_> = envelope::check(bytes, USAGE_SCHEMA)?;
    if sealed.schema < 2 { Ok(sealed.decode::<UsageRow1>()?.into()) } else { sealed.decode() }
}

impl Keys {
    /// A key's usage.
    ///
    /// # Errors
    /// As [`super::Store::get`], [`StoreError::NewerSchema`].
    pub fn usage(&self, id: u64) -> Result<Option<UsageRow>, StoreError> {
        let row = self.store().get(&layout::usage(id))?;
        row.map(|bytes| read_usage(id, &bytes)).transpose()
    }

    /// Every key's usage by ascending id, for start-up; errors as in [`Keys::for_each`].
    ///
    /// # Errors
    /// As [`Keys::for_each`].
    pub fn for_each_usage<E: From<StoreError>>(
        &self,
        each: impl FnMut(u64, Result<UsageRow, StoreError>) -> Result<(), E>,
    ) -> Result<(), E> {
        sweep::for_each_row(&**self.store(), &[layout::USAGE], read_usage, each)
    }

    /// The sums of every tenant, and of the daemon under `None`, for start-up. One that cannot be
    /// read is handed over as the error it is.
    ///
    /// # Errors
    /// As [`super::Store::scan`], and whatever `each` returns.
    pub fn for_each_sum<E: From<StoreError>>(
        &self,
        mut each: impl FnMut(Option<&str>, Result<SumRow, StoreError>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = self.store().scan(&[layout::SUM], after.as_deref(), ROWS)?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            after = Some(last.clone());
            for (key, value) in rows {
                let of = tenant_of_sum(&key);
                let row = read_history("sums", &value);
                each(of.as_deref(), row)?;
            }
        }
    }

    /// How many rows a history has.
    ///
    /// # Errors
    /// As [`super::Store::scan`].
    pub fn history_rows(&self, whose: Whose<'_>) -> Result<usize, StoreError> {
        Ok(self.rows_of(layout::HOUR, whose)?.len() + self.rows_of(layout::MONTH, whose)?.len())
    }

    /// What has rows of its own of somebody's usage.
    ///
    /// # Errors
    /// As [`super::Store::scan`].
    pub fn history(&self, whose: Whose<'_>) -> Result<History, StoreError> {
        let mut history = History::default();
        for (key, value) in self.rows_of(layout::HOUR, whose)? {
            let Some((_, hour)) = Whose::of(&key) else { continue };
            let tally = read_history("an hour", &value)?;
            history.hours.push(HourTally { hour: Hour(hour), tally });
        }
        for (_, value) in self.rows_of(layout::MONTH, whose)? {
            let month: MonthRow = read_history("a month", &value)?;
            history.days.extend(month.into_iter().map(|(day, tally)| (Day(day), tally)));
        }
        Ok(history)
    }

    /// What was used in an hour, as far as it has a row.
    ///
    /// # Errors
    /// As [`super::Store::get`].
    pub fn hour(&self, whose: Whose<'_>, hour: Hour) -> Result<Option<Tally>, StoreError> {
        let row = self.store().get(&whose.row(layout::HOUR, hour.0))?;
        row.map(|bytes| read_history("an hour", &bytes)).transpose()
    }

    /// What was used in the days of a month, as far as they are joined.
    ///
    /// # Errors
    /// As [`super::Store::get`].
    pub fn month(&self, whose: Whose<'_>, month: u32) -> Result<MonthRow, StoreError> {
        let row = self.store().get(&whose.row(layout::MONTH, month))?;
        let month = row.map(|bytes| read_history("a month", &bytes)).transpose()?;
        Ok(month.unwrap_or_default())
    }

    /// The hours that have rows, and are of days before this one.
    ///
    /// # Errors
    /// As [`super::Store::scan`].
    pub fn hours_before(&self, whose: Whose<'_>, until: Day) -> Result<Vec<HourTally>, StoreError> {
        let hours = self.history_rows_before(layout::HOUR, whose, until.first_hour().0)?;
        let read = |(hour, value): (u32, Vec<u8>)| {
            let tally = read_history("an hour", &value)?;
            Ok(HourTally { hour: Hour(hour), tally })
        };
        hours.into_iter().map(read).collect()
    }

    /// The months that have rows, and are before this one.
    ///
    /// # Errors
    /// As [`super::Store::scan`].
    pub fn months_before(&self, whose: Whose<'_>, until: u32) -> Result<Vec<u32>, StoreError> {
        let months = self.history_rows_before(layout::MONTH, whose, until)?;
        Ok(months.into_iter().map(|(month, _)| month).collect())
    }

    /// The writes that remove all usage of a tenant that is gone.
    ///
    /// # Errors
    /// As [`super::Store::scan`].
    pub fn removal_of_sum(&self, tenant: &str) -> Result<Vec<Write>, StoreError> {
        let whose = Whose::Tenant(tenant);
        let mut writes = vec![Write::remove(whose.rows(layout::SUM))];
        for space in [layout::HOUR, layout::MONTH] {
            let rows = self.rows_of(space, whose)?;
            writes.extend(rows.into_iter().map(|(key, _)| Write::remove(key)));
        }
        Ok(writes)
    }

    fn history_rows_before(
        &self,
        space: u8,
        whose: Whose<'_>,
        until: u32,
    ) -> Result<Vec<(u32, Vec<u8>)>, StoreError> {
        let rows = self.rows_of(space, whose)?.into_iter();
        let numbered = rows.filter_map(|(key, value)| {
            let (_, number) = Whose::of(&key)?;
            Some((number, value))
        });
        Ok(numbered.take_while(|(number, _)| *number < until).collect())
    }

    fn rows_of(&self, space: u8, whose: Whose<'_>) -> Result<Vec<Row>, StoreError> {
        self.store().scan(&whose.rows(space), None, ROWS)
    }
}

impl Write {
    /// A key's usage, as absolute figures: writing it twice counts once. Nothing is written where
    /// there is no such key; so it is with a key's hours and months.
    ///
    /// # Errors
    /// [`EnvelopeError::TooLarge`].
    pub fn usage(id: u64, row: &UsageRow) -> Result<Self, EnvelopeError> {
        Self::row(layout::usage(id), USAGE_SCHEMA, row)
    }

    /// Removes a key's usage.
    #[must_use]
    pub fn remove_usage(id: u64) -> Self {
        Self::remove(layout::usage(id))
    }

    /// The sums of a tenant or of the daemon.
    ///
    /// # Errors
    /// [`EnvelopeError::TooLarge`].
    pub fn sum(of: Option<&str>, row: &SumRow) -> Result<Self, EnvelopeError> {
        Self::row(Whose::sum(of).rows(layout::SUM), HISTORY_SCHEMA, row)
    }

    /// What was used in an hour.
    ///
    /// # Errors
    /// [`EnvelopeError::TooLarge`].
    pub fn hour(whose: Whose<'_>, hour: Hour, tally: &Tally) -> Result<Self, EnvelopeError> {
        Self::row(whose.row(layout::HOUR, hour.0), HISTORY_SCHEMA, tally)
    }

    /// Removes what was used in an hour.
    #[must_use]
    pub fn remove_hour(whose: Whose<'_>, hour: Hour) -> Self {
        Self::remove(whose.row(layout::HOUR, hour.0))
    }

    /// What was used in the days of a month.
    ///
    /// # Errors
    /// [`EnvelopeError::TooLarge`].
    pub fn month(whose: Whose<'_>, month: u32, days: &MonthRow) -> Result<Self, EnvelopeError> {
        Self::row(whose.row(layout::MONTH, month), HISTORY_SCHEMA, days)
    }

    /// Removes what was used in the days of a month.
    #[must_use]
    pub fn remove_month(whose: Whose<'_>, month: u32) -> Self {
        Self::remove(whose.row(layout::MONTH, month))
    }

    fn remove(key: Vec<u8>) -> Self {
        Self::Row(RowWrite(Op::Remove { key }))
    }
}

impl plan::Plan<'_> {
    /// Removes the history of what is gone.
    pub(super) fn remove_history(&mut self, whose: Whose<'_>) -> Result<(), StoreError> {
        for space in [layout::HOUR, layout::MONTH] {
            let rows = self.stored_under(&whose.rows(space))?;
            rows.into_iter().for_each(|key| self.push(Op::Remove { key }));
        }
        Ok(())
    }
}

/// The record that must be there for a row of usage to be written; `None` where it needs none.
pub(super) fn record_of_usage(key: &[u8]) -> Option<Vec<u8>> {
    match *key.first()? {
        layout::USAGE => layout::id_of(key).map(layout::record),
        layout::HOUR | layout::MONTH => match Whose::of(key)?.0 {
            Whose::Key(id) => Some(layout::record(id)),
            Whose::Tenant(_) | Whose::All => None,
        },
        _ => None,
    }
}

/// The tenant of a row of sums; `None` for the daemon's.
pub(super) fn tenant_of_sum(key: &[u8]) -> Option<String> {
    let tenant = key.strip_prefix(&Whose::Tenant("").rows(layout::SUM)[..2])?;
    Some(String::from_utf8_lossy(tenant.strip_suffix(&[0]).unwrap_or(tenant)).into_owned())
}

fn read_usage(id: u64, bytes: &[u8]) -> Result<UsageRow, StoreError> {
    open_usage(bytes).map_err(|error| plan::from_envelope(&format!("usage of key {id}"), error))
}

fn read_history<T: serde::de::DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, StoreError> {
    envelope::open(bytes, HISTORY_SCHEMA)
        .map_err(|error| plan::from_envelope(&format!("{what} of usage"), error))
}
