//! What was counted.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use keygate_protocol::{ErrorCode, VerdictCode};

/// Longest latency that is told apart; a longer one counts as this: one hour.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
/// Three figures: a value is at most 0.1 % off.
const FIGURES: u8 = 3;

/// What became of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It came back from the yardstick.
    Echo,
    /// It was judged.
    Verdict(VerdictCode),
    /// It could not be judged; the error's code.
    Error(u8),
}

/// The counts of one lane, one thread or one measurement.
pub(super) struct Tally {
    /// How long was measured.
    pub(super) duration: Duration,
    /// From due (open loop) or asked (closed loop) to answered, in nanoseconds.
    pub(super) latency: Histogram<u64>,
    /// From due to asked, in nanoseconds: how far the generator itself was behind.
    pub(super) late: Histogram<u64>,
    /// Answers that came within the measured time.
    pub(super) answered: u64,
    /// Requests that were due, and for which no place was free until the end.
    pub(super) unsent: u64,
    /// Answers by verdict code.
    verdicts: [u64; 256],
    /// Requests that could not be judged, by error code.
    errors: [u64; 256],
}

impl Tally {
    pub(super) fn new(duration: Duration) -> Self {
        // The bounds are constants and lie within what the library takes.
        let histogram = || {
            Histogram::new_with_bounds(1, LATENCY_NS_MAX, FIGURES)
                .expect("constant bounds are valid")
        };
        Self {
            duration,
            latency: histogram(),
            late: histogram(),
            answered: 0,
            unsent: 0,
            verdicts: [0; 256],
            errors: [0; 256],
        }
    }

    /// Counts one measured request. An error says nothing about how long a decision takes.
    pub(super) fn count(&mut self, answer: Answer, latency_ns: u64) {
        match answer {
            Answer::Echo => {}
            Answer::Verdict(code) => self.verdicts[usize::from(code as u8)] += 1,
            Answer::Error(byte) => {
                self.errors[usize::from(byte)] += 1;
                return;
            }
        }
        self.latency.saturating_record(latency_ns);
    }

    /// Adds what another lane has counted in the same time.
    pub(super) fn add(&mut self, other: &Self) {
        // Both have the same bounds.
        self.latency.add(&other.latency).expect("equal bounds");
        self.late.add(&other.late).expect("equal bounds");
        self.answered += other.answered;
        self.unsent += other.unsent;
        for (sum, more) in self.verdicts.iter_mut().zip(other.verdicts) {
            *sum += more;
        }
        for (sum, more) in self.errors.iter_mut().zip(other.errors) {
            *sum += more;
        }
    }

    /// All of them, one after the other: the times add up too.
    pub(super) fn sum(each: &[Self]) -> Self {
        let mut sum = Self::new(each.iter().map(|one| one.duration).sum());
        for one in each {
            sum.add(one);
        }
        sum
    }

    /// Answers by the verdict's name.
    pub(super) fn verdicts(&self) -> BTreeMap<String, u64> {
        named(&self.verdicts, verdict_name)
    }

    /// Requests that could not be judged, by the error's name.
    pub(super) fn errors(&self) -> BTreeMap<String, u64> {
        named(&self.errors, error_name)
    }
}

/// The name of an error's byte, or the byte where a later release has added it.
pub(super) fn error_name(byte: u8) -> String {
    ErrorCode::from_byte(byte).map_or_else(|| byte.to_string(), |code| code.name().to_owned())
}

fn verdict_name(byte: u8) -> String {
    VerdictCode::from_byte(byte).map_or_else(|| byte.to_string(), |code| code.name().to_owned())
}

fn named(counts: &[u64; 256], name: fn(u8) -> String) -> BTreeMap<String, u64> {
    let counted = (0..=u8::MAX).zip(counts).filter(|(_, count)| **count > 0);
    counted.map(|(byte, count)| (name(byte), *count)).collect()
}
