//! The hours that are counted now, and which of them are to be written.
//!
//! An hour that is over is written once, as a row of its own, and is not kept in memory then. When
//! the clock has been set back, what is counted in an hour that was written already is added to its
//! row.

use serde::{Deserialize, Serialize};

use super::{Day, Hour, Tally};

/// Hours that are open at a time: there is more than one only where the clock was set back, or nothing
/// could be written for hours. As many as stand by themselves at the most.
const OPEN_MAX: usize = 72;
/// For how long what was used is told by the hour.
pub const HOURS_KEPT: u32 = 48;
/// For how long it is told by the day.
pub const DAYS_KEPT: u32 = 400;

/// What was counted in one hour.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HourTally {
    /// Which.
    pub hour: Hour,
    /// What.
    pub tally: Tally,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hours {
    /// Those that are not written, by ascending hour.
    open: Vec<HourTally>,
    /// The first hour that has no row yet: an earlier one may have one.
    unwritten: Hour,
    /// The first day whose hours are not joined to days yet.
    unfolded: Day,
}

/// An hour that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedHour {
    /// The hour, and what was counted in it.
    pub counted: HourTally,
    /// Whether it may have a row already, to which this is to be added.
    pub adds: bool,
}

impl Hours {
    /// Counts in an hour.
    pub fn add(&mut self, hour: Hour, tally: &Tally) {
        if tally.is_empty() {
            return;
        }
        match self.open.binary_search_by_key(&hour, |open| open.hour) {
            Ok(at) => self.open[at].tally.add(tally),
            // After days without a write: what is counted is more than when.
            Err(at) if self.open.len() >= OPEN_MAX => {
                self.open[at.min(OPEN_MAX - 1)].tally.add(tally);
            }
            Err(at) => {
                // Nearly always it is the only one: a vector would make room for four.
                self.open.reserve_exact(1);
                self.open.insert(at, HourTally { hour, tally: tally.clone() });
            }
        }
    }

    /// The hours that are not written.
    #[must_use]
    pub fn open(&self) -> &[HourTally] {
        &self.open
    }

    /// Whether one of them is over at `now`.
    #[must_use]
    pub fn has_closed(&self, now: Hour) -> bool {
        self.open.first().is_some_and(|first| first.hour < now)
    }

    /// Takes those that are over at `now`.
    pub fn take_closed(&mut self, now: Hour) -> Vec<ClosedHour> {
        // Where a clock was ahead and is no more, hours stand by themselves again.
        self.unfolded = self.unfolded.min(now.before(HOURS_KEPT).day());
        let over = self.open.partition_point(|open| open.hour < now);
        let unwritten = self.unwritten;
        let close = |counted: HourTally| ClosedHour { adds: counted.hour < unwritten, counted };
        let closed: Vec<_> = self.open.drain(..over).map(close).collect();
        if self.open.is_empty() {
            self.open = Vec::new();
        }
        if let Some(last) = closed.last() {
            self.unwritten = self.unwritten.max(Hour(last.counted.hour.0.saturating_add(1)));
        }
        closed
    }

    /// Takes those back that could not be written.
    pub fn put_back(&mut self, closed: &[ClosedHour]) {
        closed.iter().for_each(|closed| self.add(closed.counted.hour, &closed.counted.tally));
        let without_row = closed.iter().filter(|closed| !closed.adds);
        if let Some(first) = without_row.map(|closed| closed.counted.hour).min() {
            self.unwritten = self.unwritten.min(first);
        }
    }

    /// The days whose hours are to be joined now: all before this one. `None` where they are.
    #[must_use]
    pub fn fold_until(&self, now: Hour) -> Option<Day> {
        let until = now.before(HOURS_KEPT).day();
        (until > self.unfolded).then_some(until)
    }

    /// Notes that they are joined.
    pub fn folded(&mut self, until: Day) {
        self.unfolded = self.unfolded.max(until);
    }

    /// Whether the hours of a day are joined to it.
    #[must_use]
    pub fn is_folded(&self, day: Day) -> bool {
        day < self.unfolded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> Tally {
        Tally::of_verdicts(1, 1, 0)
    }

    fn closed(hours: &mut Hours, now: u32) -> Vec<(u32, u64, bool)> {
        let told = |closed: ClosedHour| {
            (closed.counted.hour.0, closed.counted.tally.requests, closed.adds)
        };
        hours.take_closed(Hour(now)).into_iter().map(told).collect()
    }

    #[test]
    fn an_hour_is_written_once_when_it_is_over() {
        let mut hours = Hours::default();
        for hour in [10, 10, 11] {
            hours.add(Hour(hour), &one());
        }
        assert!(!hours.has_closed(Hour(10)));
        assert_eq!(closed(&mut hours, 10), []);
        assert_eq!(closed(&mut hours, 11), [(10, 2, false)]);
        assert_eq!(closed(&mut hours, 11), []);
        assert_eq!(closed(&mut hours, 20), [(11, 1, false)]);
        assert_eq!(hours.open(), []);
    }

    #[test]
    fn what_comes_late_is_added_to_the_row_that_is_there() {
        let mut hours = Hours::default();
        hours.add(Hour(10), &one());
        assert_eq!(closed(&mut hours, 11), [(10, 1, false)]);
        // The clock is set back.
        hours.add(Hour(9), &one());
        hours.add(Hour(10), &one());
        assert_eq!(closed(&mut hours, 10), [(9, 1, true)]);
        assert_eq!(closed(&mut hours, 11), [(10, 1, true)]);
        hours.add(Hour(11), &one());
        assert_eq!(closed(&mut hours, 12), [(11, 1, false)]);
    }

    #[test]
    fn what_could_not_be_written_is_taken_again_as_it_was() {
        let mut hours = Hours::default();
        hours.add(Hour(10), &one());
        let taken = hours.take_closed(Hour(11));
        hours.put_back(&taken);
        hours.add(Hour(10), &one());
        assert_eq!(closed(&mut hours, 11), [(10, 2, false)]);
    }

    #[test]
    fn a_clock_that_jumps_opens_a_bounded_number_of_hours_and_loses_nothing() {
        let mut hours = Hours::default();
        for hour in (0..100).rev() {
            hours.add(Hour(hour), &one());
        }
        assert_eq!(hours.open().len(), OPEN_MAX);
        let counted: u64 = hours.open().iter().map(|open| open.tally.requests).sum();
        assert_eq!(counted, 100);
    }

    #[test]
    fn days_are_joined_once_when_their_hours_are_told_no_more() {
        let mut hours = Hours::default();
        let now = Day(100).first_hour();
        assert_eq!(hours.fold_until(now), Some(Day(98)));
        hours.folded(Day(98));
        assert_eq!(hours.fold_until(Hour(now.0 + 23)), None);
        assert_eq!(hours.fold_until(Day(101).first_hour()), Some(Day(99)));
        assert!(hours.is_folded(Day(97)) && !hours.is_folded(Day(98)));
    }
}
