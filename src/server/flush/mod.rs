//! Usage is written behind: one thread writes what has moved, and nothing when nothing has.

mod figures;
mod history;
mod steady;
mod timing;

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use keygate_protocol::VerdictCode;

use self::steady::Steady;
pub(super) use self::timing::Timing;
use super::deferred::Debits;
use super::observe::Observers;
use crate::clock::Clock;
use crate::engine::{Account, Engine};
use crate::notify::Moved;
use crate::store::rows::{IDS_SCHEMA, IdChunk};
use crate::store::{CommitError, Committer, Keys, StoreError, Write};
use crate::usage::Hour;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};

/// Ids in one row: at most 17 bytes each.
const IDS_IN_CHUNK: usize = 16 * 1024;
/// Between two looks for expired slots, which see every key that has limits.
const REAP_NS: u64 = 1_000_000_000;
/// Keys whose figures are gathered at a time, and outdated chunks that are removed at a time: with the
/// sums of their tenants they fit into a batch.
const KEYS_AT_A_TIME: usize = 200;

/// Writes what the engine has counted.
pub(super) struct Flusher {
    engine: Arc<Engine>,
    committer: Arc<Committer>,
    clock: Arc<dyn Clock>,
    bounds: IdBounds,
    /// Chunks in the store, oldest first.
    chunks: VecDeque<StoredChunk>,
    /// Ids in all of them.
    ids_stored: usize,
    next_chunk: u64,
    failing: bool,
    keys: Keys,
    /// The hour in which all keys were looked at last.
    settled_hour: Option<Hour>,
    /// Keys with hours that may be due to be joined to days.
    to_fold: RefCell<BTreeSet<u64>>,
    /// Whether the wall clock can be believed.
    steady: Steady,
    observers: Arc<Observers>,
    /// Codes of tokens that are no key's, and how many of each are counted.
    unknown: [(VerdictCode, u64); 3],
    /// Told of credits that came back; from the start of the thread on.
    debits: Option<Arc<dyn Debits>>,
    timing: Arc<Timing>,
    /// Told which keys have moved.
    moved: Option<Arc<dyn Moved>>,
}

/// For how long, and how many, ids of `Increment`s are remembered: whichever ends first.
#[derive(Debug, Clone, Copy)]
pub(super) struct IdBounds {
    pub(super) window_us: i64,
    pub(super) ids_max: usize,
}

/// What the store does not have when the daemon ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Unwritten {
    /// Keys whose figures have moved.
    keys: usize,
    /// Ids of reports.
    ids: usize,
    /// Credits that reports were to give back.
    credits: u64,
}

/// What is known of a chunk without reading it again.
#[derive(Debug, Clone, Copy)]
struct StoredChunk {
    seq: u64,
    at_us: i64,
    ids: usize,
}

/// The handle of the flushing thread.
pub(super) struct FlushThread {
    stop: Sender<()>,
    thread: JoinHandle<Result<(), CommitError>>,
}

impl Flusher {
    /// A flusher that knows which chunks of ids the store has; their ids are remembered.
    pub(super) fn restore(
        engine: Arc<Engine>,
        keys: &Keys,
        committer: Arc<Committer>,
        clock: Arc<dyn Clock>,
        bounds: IdBounds,
    ) -> Result<Self, StoreError> {
        let mut chunks = VecDeque::new();
        let now = clock.now();
        keys.for_each_increments(IDS_SCHEMA, |seq, chunk: Result<IdChunk, StoreError>| {
            chunks.push_back(match chunk {
                Ok(IdChunk { at_us, ids }) => {
                    if now.wall_us.saturating_sub(at_us) < bounds.window_us {
                        ids.iter().for_each(|id| engine.restore_increment_id(*id, now));
                    }
                    StoredChunk { seq, at_us, ids: ids.len() }
                }
                Err(error) => {
                    // Its reports may be counted once more; its row goes with the oldest.
                    tracing::error!(%error, seq, "ids of reports could not be read");
                    StoredChunk { seq, at_us: i64::MIN, ids: 0 }
                }
            });
            Ok::<(), StoreError>(())
        })?;
        Ok(Self {
            next_chunk: chunks.back().map_or(0, |chunk| chunk.seq + 1),
            ids_stored: chunks.iter().map(|chunk| chunk.ids).sum(),
            failing: false,
            keys: keys.clone(),
            settled_hour: None,
            to_fold: RefCell::default(),
            steady: Steady::default(),
            observers: Arc::default(),
            unknown: Observers::default().unknown_by_code(),
            debits: None,
            timing: Arc::new(Timing::new(now)),
            moved: None,
            engine,
            committer,
            clock,
            bounds,
            chunks,
        })
    }

    /// The same, telling somebody which keys have moved.
    pub(super) fn telling(self, moved: Arc<dyn Moved>) -> Self {
        Self { moved: Some(moved), ..self }
    }

    /// What the flushes come to.
    pub(super) fn timing(&self) -> Arc<Timing> {
        Arc::clone(&self.timing)
    }

    /// Starts the thread that flushes every `interval`.
    pub(super) fn start(
        mut self,
        interval: Duration,
        debits: Arc<dyn Debits>,
        observers: Arc<Observers>,
    ) -> io::Result<FlushThread> {
        self.debits = Some(debits);
        self.observers = observers;
        let (stop, stopped): (_, Receiver<()>) = bounded(0);
        let run = move || {
            let mut reaped = self.clock.now();
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                let _ = self.flush();
                // Where nobody asks for a key any more, nobody sees that its slots have expired.
                let now = self.clock.now();
                let since_ns = now.mono_ns.saturating_sub(reaped.mono_ns);
                if since_ns >= REAP_NS && self.engine.holds_many_slots() {
                    self.engine.reap_slots(now);
                    reaped = now;
                }
            }
            // A clean stop loses nothing: the connections have ended before.
            let flushed = self.flush();
            if flushed.is_err() {
                let Unwritten { keys, ids, credits } = self.take_unwritten();
                tracing::error!(
                    keys,
                    ids,
                    credits,
                    "what was counted since usage was last written (of so many keys, with so many \
                     ids of reports and credits to give back) could not be written and is lost"
                );
            }
            flushed
        };
        let thread = std::thread::Builder::new().name("keygate-usage".to_owned()).spawn(run)?;
        Ok(FlushThread { stop, thread })
    }

    /// Writes what has moved. What could not be written is taken again the next time.
    fn flush(&mut self) -> Result<(), CommitError> {
        let begun_ns = self.clock.mono_ns();
        let outcome = self.write_all();
        self.timing.took(self.clock.mono_ns().saturating_sub(begun_ns));
        match &outcome {
            Ok(()) => self.timing.written(begun_ns),
            Err(_) => self.timing.failed(),
        }
        outcome
    }

    fn write_all(&mut self) -> Result<(), CommitError> {
        let refunds = self.engine.take_refunds();
        let ids = self.flush_ids();
        match &ids {
            Ok(()) => self.give_back(&refunds),
            Err(_) => self.engine.return_refunds(&refunds),
        }
        let outcome = ids.and_then(|()| self.flush_figures());
        match &outcome {
            Ok(()) if self.failing => {
                self.failing = false;
                tracing::info!("usage is written again");
            }
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::error!(%error, "usage could not be written; it is kept in memory");
            }
            _ => {}
        }
        outcome
    }

    /// Takes what the last flush has left, to say what is lost with it.
    fn take_unwritten(&self) -> Unwritten {
        Unwritten {
            keys: self.engine.take_moved().len(),
            ids: self.engine.take_fresh_increment_ids().len(),
            credits: self.engine.take_refunds().iter().map(|(_, credits)| credits).sum(),
        }
    }

    /// Gives credits back whose reports cannot be counted again any more, and has the ledger write
    /// that before the flush ends.
    fn give_back(&self, refunds: &[(u64, u64)]) {
        let now = self.clock.now();
        let given =
            refunds.iter().filter(|(id, credits)| self.engine.refund(*id, *credits, now) > 0);
        let accounts: Vec<_> = given.map(|(id, _)| Account::Key(*id)).collect();
        if let Some(debits) = self.debits.as_ref().filter(|_| !accounts.is_empty()) {
            let (written, is_written) = bounded(1);
            let waiter = move || {
                let _ = written.send(());
            };
            debits.want(accounts, Box::new(waiter));
            // Whoever waits for the ledger is called, whatever happens.
            let _ = is_written.recv();
        }
    }

    /// Ids go first: if only they survive a crash, a retry of a report that was lost is not counted
    /// twice but not at all, which is within what a crash may lose.
    fn flush_ids(&mut self) -> Result<(), CommitError> {
        let ids = self.engine.take_fresh_increment_ids();
        let mut left = ids.as_slice();
        while !left.is_empty() {
            let (these, later) = left.split_at(left.len().min(IDS_IN_CHUNK));
            if let Err(error) = self.write_ids(these) {
                self.engine.return_fresh_increment_ids(left);
                return Err(error);
            }
            left = later;
        }
        Ok(())
    }

    /// Writes a chunk and removes those that no restart will ask for, all or nothing.
    fn write_ids(&mut self, ids: &[u128]) -> Result<(), CommitError> {
        let (seq, at_us) = (self.next_chunk, self.clock.now().wall_us);
        let chunk = IdChunk { at_us, ids: ids.to_vec() };
        // It fits: a row takes four times as many.
        let Ok(write) = Write::increments(seq, IDS_SCHEMA, &chunk) else { return Ok(()) };
        let outdated = self.outdated(at_us, ids.len());
        let removals = self.chunks.iter().take(outdated);
        let removals = removals.map(|chunk| Write::remove_increments(chunk.seq));
        self.committer.commit(std::iter::once(write).chain(removals).collect(), true)?;
        let freed: usize = self.chunks.drain(..outdated).map(|chunk| chunk.ids).sum();
        self.ids_stored = self.ids_stored - freed + ids.len();
        self.chunks.push_back(StoredChunk { seq, at_us, ids: ids.len() });
        self.next_chunk += 1;
        Ok(())
    }

    /// How many of the oldest chunks are past the window, or have as many newer ids behind them as
    /// are remembered at all.
    fn outdated(&self, now_us: i64, more: usize) -> usize {
        let mut newer = self.ids_stored + more;
        let of_old = self.chunks.iter().take(KEYS_AT_A_TIME).take_while(|chunk| {
            newer -= chunk.ids;
            now_us.saturating_sub(chunk.at_us) > self.bounds.window_us
                || newer >= self.bounds.ids_max
        });
        of_old.count()
    }
}

impl FlushThread {
    /// Flushes once more and ends the thread.
    ///
    /// # Errors
    /// That of the last flush: what was counted since the one before is lost.
    pub(super) fn stop(self) -> Result<(), CommitError> {
        drop(self.stop);
        self.thread.join().unwrap_or_else(|_| {
            let what = "standard error has the panic".to_owned();
            Err(StoreError::Panicked { doing: "write usage", what }.into())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::super::deferred::tests::ByHand;
    use super::super::dispatch::tests::engine;
    use super::*;
    use crate::clock::ManualClock;
    use crate::key::KeyRecord;
    use crate::store::{CommitterOptions, KeyWrite, MemoryStore, Store, layout};
    use keygate_protocol::{Increment, IncrementOutcome};

    const BOUNDS: IdBounds = IdBounds { window_us: 60_000_000, ids_max: 1000 };

    struct Bench {
        store: Arc<MemoryStore>,
        keys: Keys,
        clock: Arc<ManualClock>,
        flusher: Flusher,
    }

    impl Bench {
        fn new(bounds: IdBounds) -> Self {
            let store = Arc::new(MemoryStore::new());
            let keys = Keys::open(Arc::clone(&store) as Arc<dyn Store>).expect("a store");
            let committer = Committer::start(&keys, &CommitterOptions::default()).expect("threads");
            let key = KeyRecord { id: 7, ..KeyRecord::default() };
            let insert = Write::Key(KeyWrite::Insert(Box::new(key)));
            committer.commit(vec![insert], true).expect("written");
            let clock = Arc::new(ManualClock::new(1_800_000_000_000_000));
            let flusher = Self::flusher(&keys, &clock, bounds);
            Self { store, keys, clock, flusher }
        }

        /// A start: an engine with key 7, and what the store has of its usage.
        fn flusher(keys: &Keys, clock: &Arc<ManualClock>, bounds: IdBounds) -> Flusher {
            let committer = Committer::start(keys, &CommitterOptions::default()).expect("threads");
            let engine = Arc::new(engine());
            let key_hash = Some(engine.pepper().seal_token(b"a token"));
            let record = KeyRecord { id: 7, key_hash, ..KeyRecord::default() };
            engine.put(&record, clock.now()).expect("room");
            let clock = Arc::clone(clock) as Arc<dyn Clock>;
            Flusher::restore(engine, keys, Arc::new(committer), clock, bounds).expect("readable")
        }

        fn report(&self, id: u128) -> IncrementOutcome {
            let report = Increment { id: Some(id), ..Increment::new(7) };
            self.flusher.engine.increment(&report, self.clock.now())
        }

        fn rows(&self, prefix: u8) -> usize {
            self.store.scan(&[prefix], None, 10_000).expect("readable").len()
        }
    }

    #[test]
    fn a_purged_key_leaves_no_usage_behind() {
        let mut bench = Bench::new(BOUNDS);
        bench.report(1);
        bench.flusher.flush().expect("written");
        assert_eq!(bench.rows(layout::USAGE), 1);
        // The purge comes between the gathering of the figures and their commit.
        bench.report(2);
        let moved = bench.flusher.engine.take_moved();
        let row = bench
            .flusher
            .engine
            .take_usage(7, bench.clock.now().wall_us)
            .expect("the key is there");
        let purge = Write::Key(KeyWrite::Remove { id: 7, revision: 0 });
        bench.flusher.committer.commit(vec![purge], true).expect("purged");
        bench.flusher.engine.remove(7);
        let late = Write::usage(7, &row.row).expect("small");
        bench.flusher.committer.commit(vec![late], true).expect("written");
        assert_eq!((moved.as_slice(), bench.rows(layout::USAGE)), ([7].as_slice(), 0));
        bench.flusher.flush().expect("written");
        assert_eq!(bench.rows(layout::USAGE), 0);
    }

    #[test]
    fn ids_that_could_not_be_written_are_written_later() {
        let mut bench = Bench::new(BOUNDS);
        // Nothing takes the place of a store that is busy for a moment but one that has stopped.
        let good = std::mem::replace(
            &mut bench.flusher.committer,
            Arc::new(Committer::start(&bench.keys, &CommitterOptions::default()).expect("threads")),
        );
        bench.flusher.committer.stop().expect("stopped");
        bench.report(1);
        assert!(bench.flusher.flush().is_err());
        bench.flusher.committer = good;
        bench.flusher.flush().expect("written");
        bench.flusher = Bench::flusher(&bench.keys, &bench.clock, BOUNDS);
        assert_eq!(bench.report(1), IncrementOutcome::Duplicate, "also after a restart");
    }

    #[test]
    fn stored_ids_are_bounded_by_time_and_by_number() {
        let mut bench = Bench::new(IdBounds { ids_max: 10, ..BOUNDS });
        for id in 0..100 {
            bench.report(id);
            bench.flusher.flush().expect("written");
            assert!(bench.rows(layout::INCREMENTS) <= 11, "{id}");
        }
        bench.clock.advance_us(61_000_000);
        bench.report(1000);
        bench.flusher.flush().expect("written");
        assert_eq!(bench.rows(layout::INCREMENTS), 1);
        assert_eq!((bench.flusher.ids_stored, bench.flusher.chunks.len()), (1, 1));
    }

    #[test]
    fn the_last_flush_tells_whether_it_was_written() {
        let bench = Bench::new(BOUNDS);
        bench.report(1);
        bench.store.fail_apply(1, ErrorKind::StorageFull);
        let debits = Arc::new(ByHand::default());
        let thread = bench
            .flusher
            .start(Duration::from_secs(3600), debits, Arc::default())
            .expect("a thread");
        assert!(thread.stop().is_err());
    }

    #[test]
    fn the_lag_begins_with_the_last_flush_that_was_good() {
        let mut bench = Bench::new(BOUNDS);
        let figures = bench.flusher.timing();
        bench.clock.advance_us(3_000_000);
        assert_eq!(figures.lag_ns(bench.clock.now()), 3_000_000_000);
        bench.flusher.flush().expect("nothing has moved");
        assert_eq!((figures.lag_ns(bench.clock.now()), figures.failures()), (0, 0));
        bench.report(1);
        bench.clock.advance_us(1_000_000);
        bench.store.fail_apply(1, ErrorKind::StorageFull);
        bench.flusher.flush().expect_err("the disk is full");
        assert_eq!(figures.lag_ns(bench.clock.now()), 1_000_000_000);
        assert_eq!((figures.durations().count(), figures.failures()), (2, 1));
    }

    #[test]
    fn what_could_not_be_written_at_the_end_is_counted() {
        let mut bench = Bench::new(BOUNDS);
        assert_eq!(bench.flusher.take_unwritten(), Unwritten::default());
        for id in 1..=3 {
            bench.report(id);
        }
        let refund = Increment { refund: Some(2), id: Some(9), ..Increment::new(7) };
        bench.flusher.engine.increment(&refund, bench.clock.now());
        bench.store.fail_apply(1, ErrorKind::StorageFull);
        bench.flusher.flush().expect_err("the disk is full");
        let unwritten = Unwritten { keys: 1, ids: 4, credits: 2 };
        assert_eq!(bench.flusher.take_unwritten(), unwritten);
    }
}
