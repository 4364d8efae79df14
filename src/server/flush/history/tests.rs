//! Many days of hours, written and read again.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::key::KeyRecord;
use crate::store::{Committer, CommitterOptions, History, KeyWrite, MemoryStore, Store};
use crate::usage::HOURS_KEPT;

const WHOSE: Whose<'static> = Whose::Key(7);
/// A beginning that lies within a month and a day.
const FIRST: Hour = Hour(498_755);

struct Bench {
    keys: Keys,
    committer: Committer,
    hours: Hours,
}

impl Bench {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::new()) as Arc<dyn Store>;
        let keys = Keys::open(store).expect("a store");
        let committer = Committer::start(&keys, &CommitterOptions::default()).expect("threads");
        let key = KeyRecord { id: 7, ..KeyRecord::default() };
        let insert = Write::Key(KeyWrite::Insert(Box::new(key)));
        committer.commit(vec![insert], true).expect("written");
        Self { keys, committer, hours: Hours::default() }
    }

    fn count(&mut self, hour: Hour, requests: u64) {
        self.hours.add(hour, &Tally::of_verdicts(requests, requests, 3));
    }

    /// Writes what is over, or fails to.
    fn write(&mut self, now: Hour, fails: bool) {
        let closed = self.hours.take_closed(now);
        let mut row = self.hours.clone();
        let folds = (!closed.is_empty()).then_some(now);
        let (writes, folded) = history_of(&self.keys, WHOSE, &mut row, &closed, folds);
        if fails {
            return self.hours.put_back(&closed);
        }
        self.committer.commit(writes, true).expect("written");
        if let Some(until) = folded {
            self.hours.folded(until);
        }
        assert_eq!(self.hours, row, "what is stored is what is in memory");
    }

    fn stored(&self) -> History {
        self.keys.history(WHOSE).expect("readable")
    }

    /// All that is told, by day.
    fn by_day(&self) -> BTreeMap<Day, u64> {
        let stored = self.stored();
        let hours = stored.hours.iter().chain(self.hours.open());
        let hours = hours.map(|it| (it.hour.day(), it.tally.requests));
        let days = stored.days.iter().map(|(day, tally)| (*day, tally.requests));
        let mut all = BTreeMap::new();
        hours.chain(days).for_each(|(day, requests)| *all.entry(day).or_default() += requests);
        all
    }
}

#[test]
fn hours_are_kept_for_48_hours_and_days_for_400() {
    let mut bench = Bench::new();
    let last = FIRST.0 + 450 * 24;
    for hour in FIRST.0..=last {
        bench.count(Hour(hour), 1);
        bench.write(Hour(hour), false);
    }
    let (stored, now) = (bench.stored(), Hour(last));
    let hours: Vec<u32> = stored.hours.iter().map(|it| it.hour.0).collect();
    let first = now.before(HOURS_KEPT).day().first_hour().0;
    assert_eq!(hours, (first..last).collect::<Vec<_>>(), "without a gap");
    assert!(hours.len() < 72);
    let days: Vec<u32> = stored.days.iter().map(|(day, _)| day.0).collect();
    // The day of the first hour kept is still told by hours.
    let end = Hour(first).day().0;
    let begin = days[0];
    assert_eq!(days, (begin..end).collect::<Vec<_>>());
    let kept = now.day().before(DAYS_KEPT).0;
    assert!((kept.saturating_sub(31)..=kept).contains(&begin), "a month goes as a whole");
    assert!(stored.days.iter().all(|(_, tally)| tally.requests == 24 && tally.cost_nano == 72));
    assert!(bench.keys.months_before(WHOSE, u32::MAX).expect("readable").len() <= 15);
}

#[test]
fn a_key_that_rests_for_long_goes_on_with_what_it_had() {
    let mut bench = Bench::new();
    for hour in [FIRST.0, FIRST.0 + 1, FIRST.0 + 1000, FIRST.0 + 1001] {
        bench.count(Hour(hour), 5);
        bench.write(Hour(hour), false);
        // And the look at all keys when the hour is over.
        bench.write(Hour(hour + 1), false);
    }
    let all: u64 = bench.by_day().values().sum();
    assert_eq!((all, bench.stored().hours.len()), (20, 2));
}

proptest! {
    /// Whatever the clock does and whichever write fails, nothing is lost and nothing counted twice.
    #[test]
    fn every_request_is_told_in_its_day_once(
        steps in proptest::collection::vec((-30_i32..60, 1_u64..5, prop::bool::weighted(0.2)), 1..60),
    ) {
        let mut bench = Bench::new();
        let mut counted = BTreeMap::<Day, u64>::new();
        let (mut hour, mut most_open) = (FIRST, 0);
        for (step, requests, fails) in steps {
            hour = Hour(hour.0.saturating_add_signed(step));
            bench.count(hour, requests);
            *counted.entry(hour.day()).or_default() += requests;
            most_open = most_open.max(bench.hours.open().len());
            bench.write(hour, fails);
            bench.write(hour, false);
        }
        let far = bench.hours.open().last().map_or(hour, |last| last.hour).max(hour);
        bench.write(Hour(far.0 + 1), false);
        let told = bench.by_day();
        prop_assert_eq!(told.values().sum::<u64>(), counted.values().sum::<u64>());
        // A clock that jumps about opens more hours than are kept apart.
        if most_open < 72 {
            prop_assert_eq!(told, counted);
        }
    }
}
