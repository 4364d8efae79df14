//! What was decided, seen where a verdict becomes final: once for each, on the thread that decided.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keygate_protocol::{Validate, VerdictCode};
use parking_lot::Mutex;

use crate::clock::Now;
use crate::engine::Answer;

/// Codes are bytes.
const CODES: usize = 256;

/// The observers of all threads that decide.
#[derive(Default)]
pub(super) struct Observers {
    all: Mutex<Vec<Arc<Observer>>>,
}

/// One thread's: nobody else writes its figures, so counting costs no more than a load and a store.
pub(super) struct Observer {
    by_code: [AtomicU64; CODES],
}

impl Observers {
    /// One more, for a thread that decides.
    pub(super) fn add(&self) -> Arc<Observer> {
        let observer = Arc::new(Observer { by_code: [const { AtomicU64::new(0) }; CODES] });
        self.all.lock().push(Arc::clone(&observer));
        observer
    }

    /// Verdicts of this code, of all threads.
    pub(super) fn given(&self, code: VerdictCode) -> u64 {
        let all = self.all.lock();
        all.iter().map(|it| it.by_code[code as usize].load(Ordering::Relaxed)).sum()
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

    /// Verdicts on tokens that are no key's.
    pub(super) fn unknown(&self) -> u64 {
        let unknown = |code| matches!(code, VerdictCode::Malformed | VerdictCode::NotFound);
        let all = self.by_code();
        all.iter().filter(|(code, _)| unknown(*code)).map(|(_, given)| given).sum()
    }
}

impl Observer {
    /// Takes note of a final verdict. One that waits for a lease is none.
    pub(super) fn decided(&self, _question: &Validate<'_>, answer: &Answer, _now: Now) {
        let counter = &self.by_code[answer.verdict.code as usize];
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }
}
