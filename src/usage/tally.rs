//! What is counted: of a key, a tenant or the whole daemon; in an hour, in a day or ever.

use std::collections::BTreeMap;

use keygate_protocol::VerdictCode;
use serde::{Deserialize, Serialize};

use super::{Report, Sketch};

/// Statuses that are counted apart; further ones are counted as status 0.
const STATUSES_MAX: usize = 64;
/// Counters of a report's own that are counted apart; further ones are counted as `OTHER`.
const COUNTERS_MAX: usize = 32;
/// The name of whatever is beyond a bound.
pub(super) const OTHER: &str = "(other)";

/// Sums that can be added up. Every collection is bounded, and counters saturate.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Valid verdicts.
    pub requests: u64,
    /// The units that they cost.
    pub units: u64,
    /// What these units cost in money, in 10^-9 of its unit.
    pub cost_nano: u128,
    /// What most hours of most keys do not have.
    pub more: Option<Box<More>>,
}

/// Denials, and what was reported.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct More {
    /// Denied verdicts by their code.
    pub denials: BTreeMap<u8, u64>,
    /// Reported requests.
    pub reported: u64,
    /// Of these, errors: status 400 and above, or an error text.
    pub errors: u64,
    /// Reported requests by status; 0 for those beyond the bound.
    pub statuses: BTreeMap<u16, u64>,
    /// Reported requests with a latency.
    pub latency_count: u64,
    /// The sum of their latencies, in microseconds; with the count it gives a mean without drift.
    pub latency_sum_us: u64,
    /// How they are spread.
    pub latencies: Sketch,
    /// The counters of the reports' own.
    pub counters: BTreeMap<String, u64>,
}

/// What there is of a tally that has nothing more.
static NOTHING: More = More {
    denials: BTreeMap::new(),
    reported: 0,
    errors: 0,
    statuses: BTreeMap::new(),
    latency_count: 0,
    latency_sum_us: 0,
    latencies: Sketch::new(),
    counters: BTreeMap::new(),
};

impl Tally {
    /// Valid verdicts and their cost, `price_nano` a unit.
    #[must_use]
    pub fn of_verdicts(requests: u64, units: u64, price_nano: u64) -> Self {
        let cost_nano = u128::from(units) * u128::from(price_nano);
        Self { requests, units, cost_nano, more: None }
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requests == 0 && self.units == 0 && self.more.is_none()
    }

    /// Denials and reports.
    #[must_use]
    pub fn more(&self) -> &More {
        self.more.as_deref().unwrap_or(&NOTHING)
    }

    fn more_mut(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    /// Counts denials.
    pub fn deny(&mut self, code: VerdictCode, count: u64) {
        add(self.more_mut().denials.entry(code as u8).or_default(), count);
    }

    /// Counts a report; whether it told of errors.
    pub fn report(&mut self, report: &Report<'_>) -> bool {
        self.more_mut().report(report)
    }

    /// Counts what another has counted too.
    pub fn add(&mut self, other: &Self) {
        add(&mut self.requests, other.requests);
        add(&mut self.units, other.units);
        self.cost_nano = self.cost_nano.saturating_add(other.cost_nano);
        if let Some(more) = &other.more {
            self.more_mut().add(more);
        }
    }
}

impl More {
    fn report(&mut self, report: &Report<'_>) -> bool {
        let count = u64::from(report.count);
        let failed = is_error(report);
        add(&mut self.reported, count);
        add(&mut self.errors, if failed { count } else { 0 });
        if let Some(status) = report.status {
            self.status(status, count);
        }
        if let Some(us) = report.latency_us {
            add(&mut self.latency_count, count);
            add(&mut self.latency_sum_us, count.saturating_mul(u64::from(us)));
            self.latencies.count(us, count);
        }
        for (name, counted) in report.counters.iter() {
            self.counter(name, counted);
        }
        failed
    }

    fn status(&mut self, status: u16, count: u64) {
        let room = self.statuses.len() < STATUSES_MAX || self.statuses.contains_key(&status);
        add(self.statuses.entry(if room { status } else { 0 }).or_default(), count);
    }

    fn counter(&mut self, name: &str, counted: u64) {
        match self.counters.get_mut(name) {
            // Nearly always: a name is copied once.
            Some(counter) => add(counter, counted),
            None => {
                let name = if self.counters.len() < COUNTERS_MAX { name } else { OTHER };
                add(self.counters.entry(name.to_owned()).or_default(), counted);
            }
        }
    }

    fn add(&mut self, other: &Self) {
        for (code, count) in &other.denials {
            add(self.denials.entry(*code).or_default(), *count);
        }
        add(&mut self.reported, other.reported);
        add(&mut self.errors, other.errors);
        other.statuses.iter().for_each(|(status, count)| self.status(*status, *count));
        add(&mut self.latency_count, other.latency_count);
        add(&mut self.latency_sum_us, other.latency_sum_us);
        self.latencies.add(&other.latencies);
        other.counters.iter().for_each(|(name, counted)| self.counter(name, *counted));
    }

    /// Denials of all codes.
    #[must_use]
    pub fn denied(&self) -> u64 {
        self.denials.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The mean latency, in milliseconds.
    #[must_use]
    pub fn average_ms(&self) -> Option<f64> {
        mean_ms(self.latency_sum_us, self.latency_count)
    }
}

/// The mean of so many latencies, in milliseconds.
pub(super) fn mean_ms(sum_us: u64, count: u64) -> Option<f64> {
    (count > 0).then(|| sum_us as f64 / 1000.0 / count as f64)
}

/// Status 400 and above, or an error text.
pub(super) fn is_error(report: &Report<'_>) -> bool {
    report.status.is_some_and(|status| status >= 400) || report.error.is_some()
}

pub(super) const fn add(counter: &mut u64, count: u64) {
    *counter = counter.saturating_add(count);
}

#[cfg(test)]
mod tests {
    use keygate_protocol::Counters;

    use super::*;

    const PLAIN: Report<'static> = Report::new(1);

    #[test]
    fn status_400_and_above_or_a_text_is_an_error() {
        for (status, error, expected) in [
            (None, None, 0),
            (Some(200), None, 0),
            (Some(399), None, 0),
            (Some(400), None, 3),
            (Some(503), Some("down"), 3),
            (None, Some("reset"), 3),
        ] {
            let mut tally = Tally::default();
            tally.report(&Report { count: 3, status, error, ..PLAIN });
            let more = tally.more();
            assert_eq!((more.reported, more.errors), (3, expected), "{status:?} {error:?}");
        }
    }

    #[test]
    fn every_collection_is_bounded_and_nothing_is_left_out_of_the_sums() {
        let mut tally = Tally::default();
        for n in 0..1000_u16 {
            let name = format!("counter {n}");
            let counters = [(name.as_str(), 2)];
            let status = Some(100 + n % 900);
            tally.report(&Report { status, counters: Counters::of(&counters), ..PLAIN });
        }
        let more = tally.more();
        assert_eq!(more.statuses.len(), STATUSES_MAX + 1);
        assert_eq!(more.statuses.values().sum::<u64>(), 1000);
        assert_eq!(more.counters.len(), COUNTERS_MAX + 1);
        assert_eq!(more.counters.values().sum::<u64>(), 2000);
        assert_eq!(more.counters[OTHER], 2 * (1000 - COUNTERS_MAX as u64));
    }

    #[test]
    fn what_is_added_up_is_what_was_counted_together() {
        let report = |n: u32| Report {
            count: n,
            latency_us: Some(n * 100),
            status: Some(if n.is_multiple_of(3) { 500 } else { 200 }),
            ..PLAIN
        };
        let (mut whole, mut parts) = (Tally::default(), Tally::default());
        for n in 1..50 {
            let mut part = Tally::of_verdicts(1, u64::from(n), 5);
            part.report(&report(n));
            part.deny(VerdictCode::Expired, 2);
            parts.add(&part);
            whole.add(&Tally::of_verdicts(1, u64::from(n), 5));
            whole.report(&report(n));
            whole.deny(VerdictCode::Expired, 2);
        }
        assert_eq!(whole, parts);
        assert_eq!((whole.units, whole.cost_nano, whole.more().denied()), (1225, 6125, 98));
    }
}
