//! The reports of the data plane.

use std::time::Duration;

use bytes::BytesMut;
use keygate_protocol::limits::{
    COUNTER_NAME_BYTES_MAX, COUNTERS_REPORTED_MAX, ENDPOINT_BYTES_MAX, ERROR_TEXT_BYTES_MAX,
    REFUND_MAX,
};
use keygate_protocol::{Counters, Increment, Opcode, PayloadError};

use super::error::Error;
use super::request::{Item, TLV_BYTES};

/// Bytes of an `Increment` before its facts (SPEC §6.4).
const INCREMENT_FIXED_BYTES: usize = 18;
const ID_BYTES: usize = 16;

/// What became of a request. Stands for one request unless told.
///
/// ```
/// use std::time::Duration;
/// use keygate::client::Report;
/// let report = Report::new(42).status(200).latency(Duration::from_millis(3)).endpoint("/leads");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report<'a>(Increment<'a>, Vec<(&'a str, u64)>);

impl<'a> Report<'a> {
    /// Reports for a key, as [`Validation::key_id`](super::Validation::key_id) named it.
    #[must_use]
    pub const fn new(key_id: u64) -> Self {
        Self(Increment::new(key_id), Vec::new())
    }

    /// Requests that this report stands for, at least 1; status and latency are those of each.
    #[must_use]
    pub const fn count(mut self, requests: u32) -> Self {
        self.0.count = requests;
        self
    }

    /// The status of each, 100 to 999 as in HTTP; 400 and above is an error.
    #[must_use]
    pub const fn status(mut self, status: u16) -> Self {
        self.0.status = Some(status);
        self
    }

    /// How long each took; carried in microseconds, more than an hour as 2^32 - 2 of them.
    #[must_use]
    pub fn latency(mut self, latency: Duration) -> Self {
        let us = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
        self.0.latency_us = Some(us.min(u32::MAX - 1));
        self
    }

    /// Which endpoint. Cut at 256 bytes; none if empty. A route's pattern rather than a request's
    /// path: the daemon tells 256 endpoints of a key apart.
    #[must_use]
    pub fn endpoint(mut self, endpoint: &'a str) -> Self {
        self.0.endpoint = text(endpoint, ENDPOINT_BYTES_MAX);
        self
    }

    /// What went wrong; makes it an error whatever the status. Cut at 1,024 bytes; none if empty.
    #[must_use]
    pub fn error(mut self, error: &'a str) -> Self {
        self.0.error = text(error, ERROR_TEXT_BYTES_MAX);
        self
    }

    /// The same id within the daemon's window counts once, so that a report may be sent again.
    #[must_use]
    pub const fn id(mut self, id: u128) -> Self {
        self.0.id = Some(id);
        self
    }

    /// The slot that the request held, as [`Validation::slot`](super::Validation::slot) named it:
    /// it is given back. `None` gives none back, so that what the verdict has can be passed on.
    #[must_use]
    pub fn slot(mut self, slot: impl Into<Option<u64>>) -> Self {
        self.0.slot = slot.into();
        self
    }

    /// Credits to give back to the key, 1 to 2^32, for a request that was charged and not served;
    /// never more than was taken of its balance. Needs an [`id`](Self::id), so that a report that
    /// is sent again gives nothing twice.
    #[must_use]
    pub const fn refund(mut self, credits: u64) -> Self {
        self.0.refund = Some(credits);
        self
    }

    /// Adds to a counter of the caller's own, such as tokens or bytes; at most 8 in one report, of
    /// names of 1 to 64 bytes. Added once, whatever [`count`](Self::count) says.
    #[must_use]
    pub fn counter(mut self, name: &'a str, counted: u64) -> Self {
        self.1.push((name, counted));
        self
    }

    /// As it is sent.
    fn increment(&self) -> Increment<'_> {
        Increment { counters: Counters::of(&self.1), ..self.0 }
    }
}

/// What is told, not judged, is cut rather than refused: a report is worth more than its words.
fn text(text: &str, bytes_max: usize) -> Option<&str> {
    Some(&text[..text.floor_char_boundary(bytes_max)]).filter(|text| !text.is_empty())
}

impl Item for Report<'_> {
    const OPCODE: Opcode = Opcode::Increment;
    const BATCH: Opcode = Opcode::IncrementBatch;

    fn check(&self, _in_batch: bool) -> Result<(), Error> {
        let bound = |field, why| Err(Error::Invalid(PayloadError::OutOfBounds { field, why }));
        if self.0.count == 0 {
            return bound("count", "it is at least 1");
        }
        if self.0.status.is_some_and(|status| !(100..=999).contains(&status)) {
            return bound("status", "it is 100 to 999");
        }
        if self.1.len() > COUNTERS_REPORTED_MAX {
            return bound("counter", "at most 8 in one report");
        }
        let named = |(name, _): &(&str, u64)| (1..=COUNTER_NAME_BYTES_MAX).contains(&name.len());
        if !self.1.iter().all(named) {
            return bound("counter", "its name is 1 to 64 bytes of UTF-8");
        }
        match self.0.refund {
            Some(credits) if !(1..=REFUND_MAX).contains(&credits) => {
                bound("refund", "it is 1 to 2^32")
            }
            Some(_) if self.0.id.is_none() => {
                bound("refund", "it needs an id, so that it is given once")
            }
            _ => Ok(()),
        }
    }

    fn bytes_max(&self) -> usize {
        let text = |text: Option<&str>| text.map_or(0, |text| TLV_BYTES + text.len());
        let id = self.0.id.map_or(0, |_| TLV_BYTES + ID_BYTES);
        let number = |number: Option<u64>| number.map_or(0, |_| TLV_BYTES + size_of::<u64>());
        let numbers = number(self.0.slot) + number(self.0.refund);
        let counter = |(name, _): &(&str, u64)| TLV_BYTES + size_of::<u64>() + name.len();
        let counters: usize = self.1.iter().map(counter).sum();
        let texts = text(self.0.endpoint) + text(self.0.error);
        INCREMENT_FIXED_BYTES + texts + id + numbers + counters
    }

    fn write(&self, out: &mut BytesMut) {
        self.increment().encode(out);
    }
}
