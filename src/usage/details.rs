//! What is kept of a key's reports beside sums: endpoints, the last errors.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

use super::Report;
use super::tally::{OTHER, add, is_error, mean_ms};

/// Endpoints that are counted apart; further ones are counted as `OTHER`.
const ENDPOINTS_MAX: usize = 256;
/// Recent errors that are kept.
pub const RECENT_ERRORS_MAX: usize = 32;
/// Bytes that are kept of an error's text.
const MESSAGE_BYTES_MAX: usize = 256;
/// What an endpoint takes beside its name, about, and what an error takes beside its texts.
const ITEM_BYTES: usize = 96;

/// The memory that the details of all keys may take.
#[derive(Debug)]
pub struct DetailRoom {
    used: AtomicUsize,
    bytes_max: usize,
}

/// Endpoints and recent errors of one key. Both are bounded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Details {
    /// By endpoint.
    pub endpoints: BTreeMap<String, Figures>,
    /// The last ones, oldest first.
    pub recent_errors: VecDeque<RecentError>,
}

/// Counters of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Requests.
    pub requests: u64,
    /// Of these, errors: status 400 and above, or an error text.
    pub errors: u64,
    /// Requests with a latency.
    pub latency_count: u64,
    /// The sum of their latencies, in microseconds; with the count it gives a mean without drift.
    pub latency_sum_us: u64,
}

/// One error that was reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentError {
    /// When, microseconds since 1970.
    pub at_us: i64,
    /// Which endpoint, if it was said.
    pub endpoint: Option<String>,
    /// Which status, if it was said.
    pub status: Option<u16>,
    /// The text, cut at 256 bytes.
    pub message: Option<String>,
}

impl DetailRoom {
    /// So many bytes, about.
    #[must_use]
    pub const fn new(bytes_max: usize) -> Self {
        Self { used: AtomicUsize::new(0), bytes_max }
    }

    /// Takes bytes if there is room for them.
    fn take(&self, bytes: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.bytes_max);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes that are taken.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes what details that were stored need, whether or not there is room: they were within
    /// their bounds once.
    pub fn restore(&self, details: &Details) {
        self.used.fetch_add(details.bytes(), Ordering::Relaxed);
    }

    /// Gives back what the details of a key have taken, which is gone.
    pub fn forget(&self, details: &Details) {
        self.give_back(details.bytes());
    }
}

impl Details {
    /// Counts a report. What there is no room for is counted as `(other)`, or, of an error,
    /// forgotten.
    pub fn count(&mut self, report: &Report<'_>, at_us: i64, room: &DetailRoom) {
        let failed = is_error(report);
        if let Some(endpoint) = report.endpoint {
            match self.endpoints.get_mut(endpoint) {
                // Nearly always: a name is copied once.
                Some(figures) => figures.count(report, failed),
                None => self.new_endpoint(endpoint, room).count(report, failed),
            }
        }
        if failed {
            self.remember_error(report, at_us, room);
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty() && self.recent_errors.is_empty()
    }

    fn bytes(&self) -> usize {
        let endpoints: usize = self.endpoints.keys().map(|name| ITEM_BYTES + name.len()).sum();
        endpoints + self.recent_errors.iter().map(RecentError::bytes).sum::<usize>()
    }

    fn new_endpoint(&mut self, name: &str, room: &DetailRoom) -> &mut Figures {
        let fits = self.endpoints.len() < ENDPOINTS_MAX && room.take(ITEM_BYTES + name.len());
        if !fits && !self.endpoints.contains_key(OTHER) {
            // The one that each key may have beyond all bounds.
            room.used.fetch_add(ITEM_BYTES + OTHER.len(), Ordering::Relaxed);
        }
        self.endpoints.entry(if fits { name } else { OTHER }.to_owned()).or_default()
    }

    fn remember_error(&mut self, report: &Report<'_>, at_us: i64, room: &DetailRoom) {
        let cut = |text: &str| text[..text.floor_char_boundary(MESSAGE_BYTES_MAX)].to_owned();
        let error = RecentError {
            at_us,
            endpoint: report.endpoint.map(str::to_owned),
            status: report.status,
            message: report.error.map(cut),
        };
        if self.recent_errors.len() == RECENT_ERRORS_MAX {
            self.forget_error(room);
        }
        while !room.take(error.bytes()) {
            if !self.forget_error(room) {
                return;
            }
        }
        self.recent_errors.push_back(error);
    }

    /// Forgets the oldest error, if there is one.
    fn forget_error(&mut self, room: &DetailRoom) -> bool {
        let oldest = self.recent_errors.pop_front();
        oldest.inspect(|error| room.give_back(error.bytes())).is_some()
    }
}

impl RecentError {
    fn bytes(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        ITEM_BYTES + text(&self.endpoint) + text(&self.message)
    }
}

impl Figures {
    fn count(&mut self, report: &Report<'_>, failed: bool) {
        let count = u64::from(report.count);
        add(&mut self.requests, count);
        add(&mut self.errors, if failed { count } else { 0 });
        if let Some(us) = report.latency_us {
            add(&mut self.latency_count, count);
            add(&mut self.latency_sum_us, count.saturating_mul(u64::from(us)));
        }
    }

    /// The mean latency, in milliseconds.
    #[must_use]
    pub fn average_ms(&self) -> Option<f64> {
        mean_ms(self.latency_sum_us, self.latency_count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Report<'static> = Report::new(1);
    const ROOMY: usize = 1 << 30;

    #[test]
    fn latency_is_a_count_and_a_sum_by_endpoint() {
        let (mut details, room) = (Details::default(), DetailRoom::new(ROOMY));
        let endpoint = Some("GET /v1/leads");
        let report = Report { count: 2, latency_us: Some(1500), endpoint, ..PLAIN };
        details.count(&report, 0, &room);
        details.count(&Report { latency_us: Some(0), endpoint, ..PLAIN }, 0, &room);
        details.count(&Report { endpoint, ..PLAIN }, 0, &room);
        let figures = details.endpoints["GET /v1/leads"];
        assert_eq!((figures.requests, figures.latency_count), (4, 3));
        assert_eq!(figures.average_ms(), Some(1.0));
    }

    #[test]
    fn every_collection_of_a_key_is_bounded() {
        let (mut details, room) = (Details::default(), DetailRoom::new(ROOMY));
        let long = "ü".repeat(400);
        for n in 0..1000 {
            let endpoint = format!("/{n}");
            let report = Report { endpoint: Some(&endpoint), error: Some(&long), ..PLAIN };
            details.count(&report, n, &room);
        }
        assert_eq!(details.endpoints.len(), ENDPOINTS_MAX + 1);
        assert_eq!(details.endpoints[OTHER].requests, 1000 - ENDPOINTS_MAX as u64);
        assert_eq!(details.recent_errors.len(), RECENT_ERRORS_MAX);
        assert_eq!(details.recent_errors[0].at_us, 1000 - RECENT_ERRORS_MAX as i64);
        let message = details.recent_errors[0].message.as_ref().expect("a text");
        assert!(message.len() <= MESSAGE_BYTES_MAX && message.starts_with('ü'));
        assert_eq!(room.used(), details.bytes());
    }

    #[test]
    fn the_details_of_all_keys_share_one_bound() {
        let room = DetailRoom::new(1000);
        let mut keys = vec![Details::default(); 50];
        for n in 0..20 {
            for details in &mut keys {
                let endpoint = format!("/{n}");
                let report = Report { endpoint: Some(&endpoint), status: Some(500), ..PLAIN };
                details.count(&report, n, &room);
            }
        }
        // Beyond the bound a key has one endpoint, the other, and no error.
        let others = 50 * (ITEM_BYTES + OTHER.len());
        let all: usize = keys.iter().map(Details::bytes).sum();
        assert!(all <= 1000 + others && room.used() == all, "{all} and {}", room.used());
        let requests =
            |details: &Details| details.endpoints.values().map(|it| it.requests).sum::<u64>();
        assert!(keys.iter().all(|details| requests(details) == 20_u64), "none is left out");
        keys.iter().for_each(|details| room.forget(details));
        assert_eq!(room.used(), 0);
    }
}
