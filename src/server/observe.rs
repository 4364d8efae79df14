//! What was decided, seen where a verdict becomes final: once for each, on the thread that decided;
//! and what else a thread that serves has done.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keygate_protocol::{ErrorCode, IncrementOutcome, Validate, VerdictCode, frame, opcode};
use parking_lot::Mutex;

use super::recorder::Recorder;
use crate::clock::Now;
use crate::engine::Answer;
use crate::metrics::{Buckets, Counter, Histogram, Snapshot};

/// Codes are bytes.
const CODES: usize = 256;
/// What may become of a report.
const OUTCOMES: [IncrementOutcome; 4] = [
    IncrementOutcome::Counted,
    IncrementOutcome::Duplicate,
    IncrementOutcome::NotFound,
    IncrementOutcome::SlotGone,
];
/// How long answers take, from 5 µs (a batch of one over a Unix socket) to 100 ms (a disk that hangs).
const LATENCY_NS: Buckets = &[
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
];

/// Codes of tokens that are no key's, or were not looked up since too many were not.
const UNKNOWN: [VerdictCode; 3] =
    [VerdictCode::Malformed, VerdictCode::NotFound, VerdictCode::Throttled];

/// The observers of all threads that decide.
#[derive(Default)]
pub(super) struct Observers {
    all: Mutex<Vec<Arc<Observer>>>,
    recorder: Recorder,
}

/// Where requests come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plane {
    Data,
    Admin,
}

/// One thread's: nobody else writes its figures, so counting costs no more than a load and a store.
pub(super) struct Observer {
    plane: Plane,
    by_code: [AtomicU64; CODES],
    /// Of those on tokens that are no key's, peeks.
    peeks: [Counter; UNKNOWN.len()],
    recorder: Recorder,
    reports: [Counter; OUTCOMES.len()],
    errors: [Counter; CODES],
    latency: Histogram,
    read_bytes: Counter,
    written_bytes: Counter,
    deferred: Counter,
}

/// What all threads of a plane have done since the start.
#[derive(Debug)]
pub(super) struct Served {
    /// Reports, by what became of them.
    pub(super) reports: Vec<(IncrementOutcome, u64)>,
    /// Error replies, by code.
    pub(super) errors: Vec<(ErrorCode, u64)>,
    /// From the read of a request to the write of its reply.
    pub(super) latency: Snapshot,
    pub(super) read_bytes: u64,
    pub(super) written_bytes: u64,
    /// Requests that waited for the ledger.
    pub(super) deferred: u64,
}

impl Observers {
    /// Observers whose decisions go to a recorder.
    pub(super) fn with(recorder: Recorder) -> Self {
        Self { recorder, ..Self::default() }
    }

    /// One more, for a thread that decides.
    pub(super) fn add(&self) -> Arc<Observer> {
        self.add_on(Plane::Data)
    }

    /// One more, for a thread of this plane.
    pub(super) fn add_on(&self, plane: Plane) -> Arc<Observer> {
        let observer = Arc::new(Observer {
            plane,
            recorder: self.recorder.clone(),
            by_code: [const { AtomicU64::new(0) }; CODES],
            peeks: [const { Counter::new() }; UNKNOWN.len()],
            reports: [const { Counter::new() }; OUTCOMES.len()],
            errors: [const { Counter::new() }; CODES],
            latency: Histogram::new(LATENCY_NS),
            read_bytes: Counter::new(),
            written_bytes: Counter::new(),
            deferred: Counter::new(),
        });
        self.all.lock().push(Arc::clone(&observer));
        observer
    }

    /// Denials of tokens that are no key's, by code and of all threads, without peeks.
    pub(super) fn unknown_by_code(&self) -> [(VerdictCode, u64); UNKNOWN.len()] {
        let all = self.all.lock();
        std::array::from_fn(|place| {
            let code = UNKNOWN[place];
            let denied = |it: &Arc<Observer>| {
                let given = it.by_code[code as usize].load(Ordering::Relaxed);
                given.saturating_sub(it.peeks[place].get())
            };
            (code, all.iter().map(denied).sum())
        })
    }

    /// Verdicts of all threads, by code: those that were given at least once.
    pub(super) fn by_code(&self) -> Vec<(VerdictCode, u64)> {
        let all = self.all.lock();
        let of = |code: &VerdictCode| {
            let given = |it: &Arc<Observer>| it.by_code[*code as usize].load(Ordering::Relaxed);
            (*code, all.iter().map(given).sum::<u64>())
        };
        VerdictCode::ALL.iter().map(of).filter(|(_, given)| *given > 0).collect()
    }

    /// Verdicts on tokens that are no key's, peeks too: whoever tries tokens may peek.
    pub(super) fn unknown(&self) -> u64 {
        let all = self.by_code();
        all.iter().filter(|(code, _)| UNKNOWN.contains(code)).map(|(_, given)| given).sum()
    }

    /// What the threads of a plane have done.
    pub(super) fn served(&self, plane: Plane) -> Served {
        let all = self.all.lock();
        let of_plane = || all.iter().filter(|it| it.plane == plane);
        let sum = |of: &dyn Fn(&Observer) -> u64| of_plane().map(|it| of(it)).sum::<u64>();
        let mut latency = Snapshot::empty(LATENCY_NS);
        of_plane().for_each(|it| latency.add(&it.latency.snapshot()));
        let reports = OUTCOMES.iter();
        let errors = ErrorCode::ALL.iter();
        Served {
            reports: reports.map(|it| (*it, sum(&|of| of.reports[*it as usize].get()))).collect(),
            errors: errors.map(|it| (*it, sum(&|of| of.errors[*it as usize].get()))).collect(),
            latency,
            read_bytes: sum(&|of| of.read_bytes.get()),
            written_bytes: sum(&|of| of.written_bytes.get()),
            deferred: sum(&|of| of.deferred.get()),
        }
    }
}

impl Observer {
    /// Where records of decisions go.
    pub(super) const fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Takes note of a final verdict. One that waits for a lease is none.
    pub(super) fn decided(&self, question: &Validate<'_>, answer: &Answer, _now: Now) {
        let place = UNKNOWN.iter().position(|code| *code == answer.verdict.code);
        if let Some(place) = place.filter(|_| question.peeks()) {
            self.peeks[place].add(1);
        }
        let counter = &self.by_code[answer.verdict.code as usize];
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Takes note of a report.
    pub(super) fn reported(&self, outcome: IncrementOutcome) {
        self.reports[outcome as usize].add(1);
    }

    /// Takes note of an error reply.
    pub(super) fn refused(&self, code: ErrorCode) {
        self.errors[code as usize].add(1);
    }

    /// Takes note of the replies in some whole frames, where they are errors.
    pub(super) fn replied(&self, mut replies: &[u8]) {
        while let Ok(Some((reply, bytes))) = frame::decode(replies, u32::MAX) {
            replies = &replies[bytes..];
            let code = reply.payload.first().copied().and_then(ErrorCode::from_byte);
            if let Some(code) = code.filter(|_| reply.header.opcode == opcode::ERROR) {
                self.refused(code);
            }
        }
    }

    /// Takes note of requests whose replies were written so long after they were read.
    pub(super) fn answered(&self, requests: usize, ns: u64) {
        self.latency.observe(ns, requests as u64);
    }

    /// How long its requests took.
    #[cfg(test)]
    pub(super) fn latency(&self) -> Snapshot {
        self.latency.snapshot()
    }

    /// Takes note of a request that waits for the ledger.
    pub(super) fn deferred(&self) {
        self.deferred.add(1);
    }

    /// Takes note of bytes that came.
    pub(super) fn read(&self, bytes: usize) {
        self.read_bytes.add(bytes as u64);
    }

    /// Takes note of bytes that were written.
    pub(super) fn wrote(&self, bytes: usize) {
        self.written_bytes.add(bytes as u64);
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::super::dispatch::put_error;
    use super::*;

    #[test]
    fn each_plane_has_its_own_figures() {
        let observers = Observers::default();
        let (data, admin) = (observers.add(), observers.add_on(Plane::Admin));
        data.reported(IncrementOutcome::Duplicate);
        data.answered(3, 7_000);
        observers.add().answered(1, 1_000_000_000);
        admin.refused(ErrorCode::Forbidden);
        let served = observers.served(Plane::Data);
        assert_eq!((served.latency.count(), served.latency.counts[1]), (4, 3));
        assert_eq!(served.latency.counts.last(), Some(&1));
        assert_eq!(served.reports[1], (IncrementOutcome::Duplicate, 1));
        assert_eq!(served.errors.iter().map(|(_, count)| count).sum::<u64>(), 0);
        let errors = observers.served(Plane::Admin).errors;
        assert!(errors.contains(&(ErrorCode::Forbidden, 1)), "{errors:?}");
    }

    #[test]
    fn errors_are_found_among_replies() {
        let observers = Observers::default();
        let observer = observers.add();
        let mut out = BytesMut::new();
        observer.replied(&out);
        put_error(&mut out, 1, ErrorCode::BadPayload, "x");
        frame::encode(&mut out, 0x81, keygate_protocol::Flags::NONE, 1, |_| {});
        put_error(&mut out, 2, ErrorCode::Busy, "y");
        observer.replied(&out);
        let errors = observers.served(Plane::Data).errors;
        let told: Vec<_> = errors.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(told, [(ErrorCode::BadPayload, 1), (ErrorCode::Busy, 1)]);
    }
}
