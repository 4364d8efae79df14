//! The committer: the one thread that writes.
//!
//! It takes a job, then whatever else waits, makes one atomic batch of all that do not conflict,
//! syncs once, and then answers everyone (group commit). So the price of durability is shared by
//! whoever writes at the same time, and a conflict check cannot be overtaken by another write.
//!
//! A second thread watches the first. A disk that hangs, or an engine that lost a wake-up, answers
//! with silence; after `stall_ms` the jobs that wait are answered with [`StoreError::Stalled`] and
//! no further ones are taken. What they wrote is then unknown until a restart has read it back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::channel::{self, Receiver, RecvTimeoutError, Sender, TrySendError};
use parking_lot::{Mutex, RwLock};

use super::keys::Keys;
use super::plan::Plan;
use super::sealed::SealedStore;
use super::tap::{Tap, Taps};
use super::write::{Write, WriteError};
use super::{Op, Store, StoreError};
use crate::clock::Clock;
use crate::metrics::{Buckets, Histogram, Snapshot};

/// How long groups take, from 100 µs (memory, or a disk that answers from its cache) to 10 s (one that
/// nearly hangs).
const DURATION_NS: Buckets = &[
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
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    10_000_000_000,
];

/// How a job's answer is given: called once, on a thread of the committer's, so it must be short.
pub type Done = Box<dyn FnOnce(Result<(), WriteError>) + Send>;

/// Writes that are taken all or not at all.
pub struct Job {
    /// The writes, in order; at most [`super::OPS_MAX`] operations.
    pub writes: Vec<Write>,
    /// Whether the answer waits until they are durable. If not, they become durable with the next
    /// job that is.
    pub durable: bool,
    /// Hears the outcome.
    pub done: Done,
}

/// Bounds of the committer.
#[derive(Debug, Clone)]
pub struct CommitterOptions {
    /// Jobs that may wait; one more is told that the store is busy.
    pub queue_jobs_max: usize,
    /// How long a group may take before its jobs are answered without it, in milliseconds; it may
    /// be a quarter longer.
    pub stall_ms: u64,
}

impl Default for CommitterOptions {
    fn default() -> Self {
        Self { queue_jobs_max: 4096, stall_ms: 30_000 }
    }
}

/// Why a job was not taken. Its `done` is not called, and nothing of it was written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SubmitError {
    /// The queue is full.
    #[error("the store is busy: {waiting} writes wait already; try again")]
    Busy {
        /// How many wait.
        waiting: usize,
    },
    /// The daemon is stopping.
    #[error("keygate is stopping and takes no more writes")]
    Stopped,
    /// The committer has given up on the store.
    #[error(transparent)]
    Store(StoreError),
}

/// Why [`Committer::commit`] did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// The job was not taken.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// It was taken and failed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A read on the way failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the committer has done since it started.
#[derive(Debug, Clone, Default)]
pub struct CommitterStats {
    /// Jobs written.
    pub commits: u64,
    /// Jobs not written: conflicts, and failures of the store.
    pub refused: u64,
    /// Groups written: `commits / groups` jobs shared a sync.
    pub groups: u64,
    /// Rows written or removed.
    pub ops: u64,
    /// Jobs that wait.
    pub waiting: usize,
    /// How long groups took to be written, failed ones too; of a committer that is timed.
    pub durations: Option<Snapshot>,
    /// The last failure of the store; conflicts are not failures.
    pub last_error: Option<String>,
    /// Why the store takes no more writes, when it does not.
    pub latched: Option<String>,
}

/// The handle of the writing thread. Dropping it stops the thread as [`Committer::stop`] does.
pub struct Committer {
    /// `None` once stopped. Held shared to submit, so that no job is sent after the queue closes.
    queue: RwLock<Option<Sender<Job>>>,
    shared: Arc<Shared>,
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    writer: JoinHandle<()>,
    watch: JoinHandle<()>,
    /// Gets the outcome of the last sync when the writer ends.
    ended: Receiver<Result<(), StoreError>>,
    /// Dropped to end the watch.
    stop_watch: Sender<()>,
}

struct Shared {
    store: Arc<SealedStore>,
    /// Locked while a batch is applied, so that a tap has all of it or nothing.
    taps: Mutex<Taps>,
    /// The answers that the group in hand owes. The watch takes them when the group stalls.
    /// It leaves `None` behind, so that an answer and its place in the group stay together.
    owed: Mutex<Vec<Option<Done>>>,
    groups_begun: AtomicU64,
    groups_ended: AtomicU64,
    /// Set when the watch, or a panic, has given up on the store.
    given_up: OnceLock<StoreError>,
    commits: AtomicU64,
    refused: AtomicU64,
    groups: AtomicU64,
    ops: AtomicU64,
    last_error: Mutex<Option<StoreError>>,
    /// The clock, and what it measured on the writing thread.
    timing: Option<(Arc<dyn Clock>, Histogram)>,
}

impl Committer {
    /// Starts the writing thread.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the system gives no thread.
    pub fn start(keys: &Keys, options: &CommitterOptions) -> Result<Self, StoreError> {
        Self::launch(keys, options, None)
    }

    /// The same, and measures how long groups take.
    ///
    /// # Errors
    /// As [`Committer::start`].
    pub fn start_timed(
        keys: &Keys,
        options: &CommitterOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        Self::launch(keys, options, Some(clock))
    }

    fn launch(
        keys: &Keys,
        options: &CommitterOptions,
        clock: Option<Arc<dyn Clock>>,
    ) -> Result<Self, StoreError> {
        let (queue, jobs) = channel::bounded(options.queue_jobs_max.max(1));
        let (stop_watch, watch_stopped) = channel::bounded(0);
        let (end, ended) = channel::bounded(1);
        let timing = clock.map(|clock| (clock, Histogram::new(DURATION_NS)));
        let shared = Arc::new(Shared::new(Arc::clone(keys.store()), timing));

        let (of_writer, jobs_of_writer) = (Arc::clone(&shared), jobs.clone());
        let writer = spawn("store-commit", move || {
            of_writer.run(&jobs_of_writer);
            let _ = end.send(of_writer.sync_at_end());
        })?;
        let (of_watch, stall_ms) = (Arc::clone(&shared), options.stall_ms.max(4));
        let watch = spawn("store-stall", move || of_watch.watch(&watch_stopped, &jobs, stall_ms))?;

        let threads = Some(Threads { writer, watch, ended, stop_watch });
        Ok(Self { queue: RwLock::new(Some(queue)), shared, threads: Mutex::new(threads) })
    }

    /// Hands a job over. Never waits.
    ///
    /// # Errors
    /// See [`SubmitError`]; the job's `done` is then not called.
    pub fn submit(&self, job: Job) -> Result<(), SubmitError> {
        if let Some(error) = self.shared.given_up.get() {
            return Err(SubmitError::Store(error.clone()));
        }
        let queue = self.queue.read();
        let queue = queue.as_ref().ok_or(SubmitError::Stopped)?;
        queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => SubmitError::Busy { waiting: queue.len() },
            TrySendError::Disconnected(_) => SubmitError::Stopped,
        })
    }

    /// Hands writes over and waits for the answer. Not for a thread that serves a connection.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub fn commit(&self, writes: Vec<Write>, durable: bool) -> Result<(), CommitError> {
        let (answer, answered) = channel::bounded(1);
        let done = Box::new(move |outcome| {
            let _ = answer.send(outcome);
        });
        self.submit(Job { writes, durable, done })?;
        // The sender goes unanswered only if the writer is gone.
        Ok(answered.recv().map_err(|_| SubmitError::Stopped)??)
    }

    /// What has been done, and whether writes are accepted. Never waits for the disk.
    #[must_use]
    pub fn stats(&self) -> CommitterStats {
        let shared = &self.shared;
        // An empty batch asks the store for its latch.
        let latched = shared.given_up.get().cloned().or_else(|| shared.store.apply(&[]).err());
        CommitterStats {
            commits: shared.commits.load(Relaxed),
            refused: shared.refused.load(Relaxed),
            groups: shared.groups.load(Relaxed),
            ops: shared.ops.load(Relaxed),
            waiting: self.queue.read().as_ref().map_or(0, Sender::len),
            durations: shared.timing.as_ref().map(|(_, durations)| durations.snapshot()),
            last_error: shared.last_error.lock().as_ref().map(ToString::to_string),
            latched: latched.map(|error| match error {
                StoreError::Latched { cause } => cause.to_string(),
                error => error.to_string(),
            }),
        }
    }

    /// Gathers what is applied from here on. Waits for a batch that is being applied, so not for a
    /// thread that serves a connection.
    #[must_use]
    pub fn tap(&self) -> Tap {
        self.shared.taps.lock().begin()
    }

    /// Runs something while no batch is applied: what it reads is of one instant. It must be short,
    /// and holds up every write.
    pub fn hold<T>(&self, quiet: impl FnOnce() -> T) -> T {
        let _taps = self.shared.taps.lock();
        quiet()
    }

    /// Batches that were tried since the start: while this does not move, nothing is written.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.shared.taps.lock().batches
    }

    /// Takes no more jobs, writes those that wait, syncs, and ends the threads. A writer that
    /// hangs in the disk is left behind. Stopping twice does nothing.
    ///
    /// # Errors
    /// That of the last sync; [`StoreError::Stalled`].
    pub fn stop(&self) -> Result<(), StoreError> {
        drop(self.queue.write().take());
        let Some(threads) = self.threads.lock().take() else { return Ok(()) };
        let outcome = loop {
            match threads.ended.recv_timeout(Duration::from_millis(20)) {
                Ok(outcome) => break outcome,
                // It ended without a word: a panic outside a group.
                Err(RecvTimeoutError::Disconnected) => break self.shared.refusal(),
                Err(RecvTimeoutError::Timeout) if self.shared.hangs() => {
                    return self.shared.refusal();
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        };
        drop(threads.stop_watch);
        let _ = threads.writer.join();
        let _ = threads.watch.join();
        outcome
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::error!(%error, "the store did not stop cleanly");
        }
    }
}

impl Shared {
    fn new(store: Arc<SealedStore>, timing: Option<(Arc<dyn Clock>, Histogram)>) -> Self {
        Self {
            store,
            taps: Mutex::default(),
            owed: Mutex::new(Vec::new()),
            groups_begun: AtomicU64::new(0),
            groups_ended: AtomicU64::new(0),
            given_up: OnceLock::new(),
            commits: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            groups: AtomicU64::new(0),
            ops: AtomicU64::new(0),
            last_error: Mutex::new(None),
            timing,
        }
    }

    /// The writer: one group after the other, until the queue is closed and empty.
    fn run(&self, jobs: &Receiver<Job>) {
        let mut first = None;
        while let Some(job) = first.take().or_else(|| jobs.recv().ok()) {
            self.groups_begun.fetch_add(1, Relaxed);
            match catch_unwind(AssertUnwindSafe(|| self.group(job, jobs))) {
                Ok(next) => first = next,
                Err(_) => {
                    let what = "standard error has the panic".to_owned();
                    self.give_up(StoreError::Panicked { doing: "commit", what });
                    self.owed.lock().clear();
                }
            }
            self.groups_ended.fetch_add(1, Relaxed);
        }
    }

    /// Makes durable what was written without waiting for it. Watched as a group is.
    fn sync_at_end(&self) -> Result<(), StoreError> {
        self.groups_begun.fetch_add(1, Relaxed);
        let synced = self.refusal().and_then(|()| self.store.sync());
        self.groups_ended.fetch_add(1, Relaxed);
        synced
    }

    /// Writes one group. Returns the job that was taken and did not fit.
    fn group(&self, first: Job, jobs: &Receiver<Job>) -> Option<Job> {
        let mut plan = Plan::new(self.store.as_ref());
        let mut outcomes = Vec::new();
        let mut durable = false;
        let mut taken = Some(first);
        let mut left = None;
        while let Some(Job { mut writes, durable: job_durable, done }) = taken.take() {
            // Owed from here on: what follows reads the store, and may hang in it.
            self.owed.lock().push(Some(done));
            match self.admits().map_err(WriteError::Store).and_then(|()| plan.add(&mut writes)) {
                Ok(true) => {
                    durable |= job_durable;
                    outcomes.push(Ok(()));
                }
                Ok(false) => {
                    let done = self.owed.lock().pop().flatten();
                    left = done.map(|done| Job { writes, durable: job_durable, done });
                    break;
                }
                Err(error) => outcomes.push(Err(error)),
            }
            taken = jobs.try_recv().ok();
        }
        self.write(&plan, durable, &mut outcomes);
        self.answer(outcomes);
        left
    }

    /// Applies and syncs what was gathered; a failure is the outcome of all who took part.
    fn write(&self, plan: &Plan<'_>, durable: bool, outcomes: &mut [Result<(), WriteError>]) {
        if plan.ops().is_empty() && !durable {
            return;
        }
        let begun = self.timing.as_ref().map(|(clock, _)| clock.mono_ns());
        let applied = self.refusal().and_then(|()| self.apply(plan.ops()));
        let written = applied.and_then(|()| if durable { self.store.sync() } else { Ok(()) });
        if let Some((begun, (clock, durations))) = begun.zip(self.timing.as_ref()) {
            durations.observe(clock.mono_ns().saturating_sub(begun), 1);
        }
        match written {
            Ok(()) => {
                self.groups.fetch_add(1, Relaxed);
                self.ops.fetch_add(plan.ops().len() as u64, Relaxed);
            }
            Err(error) => {
                for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_ok()) {
                    *outcome = Err(error.clone().into());
                }
                *self.last_error.lock() = Some(error);
            }
        }
    }

    fn apply(&self, ops: &[Op]) -> Result<(), StoreError> {
        let ops = &*self.store.sealed(ops)?;
        let mut taps = self.taps.lock();
        let applied = self.store.apply(ops);
        // Refused, it has not touched a row.
        let refused = matches!(
            applied,
            Err(StoreError::Latched { .. }
                | StoreError::BatchTooLarge { .. }
                | StoreError::RowSize { .. })
        );
        if !refused {
            taps.record(ops, applied.is_ok());
        }
        applied
    }

    fn answer(&self, outcomes: Vec<Result<(), WriteError>>) {
        let owed = std::mem::take(&mut *self.owed.lock());
        debug_assert_eq!(owed.len(), outcomes.len());
        for (done, outcome) in owed.into_iter().zip(outcomes) {
            let counter = if outcome.is_ok() { &self.commits } else { &self.refused };
            counter.fetch_add(1, Relaxed);
            // Nothing is owed any more where the watch has answered.
            if let Some(done) = done {
                call(done, outcome);
            }
        }
    }

    /// The watch: gives up on a group that does not end.
    fn watch(&self, stopped: &Receiver<()>, jobs: &Receiver<Job>, stall_ms: u64) {
        let tick = Duration::from_millis(stall_ms / 4);
        let (mut watched, mut ticks) = (0, 0);
        while stopped.recv_timeout(tick) == Err(RecvTimeoutError::Timeout) {
            let begun = self.groups_begun.load(Relaxed);
            if self.groups_ended.load(Relaxed) == begun {
                ticks = 0;
            } else if watched == begun {
                ticks += 1;
            } else {
                (watched, ticks) = (begun, 0);
            }
            if ticks >= 4 {
                self.give_up(StoreError::Stalled { waited_ms: stall_ms });
            }
            // Given up for a panic, the writer itself refuses what comes.
            while self.hangs()
                && let Ok(Job { done, .. }) = jobs.try_recv()
            {
                call(done, self.refusal().map_err(WriteError::Store));
            }
        }
    }

    /// Answers what is owed, and refuses everything from here on.
    fn give_up(&self, error: StoreError) {
        tracing::error!(%error, "no more writes are taken");
        *self.last_error.lock() = Some(error.clone());
        let error = self.given_up.get_or_init(|| error);
        let owed: Vec<_> = self.owed.lock().iter_mut().filter_map(Option::take).collect();
        for done in owed {
            call(done, Err(error.clone().into()));
        }
    }

    /// Refuses when the committer has given up on the store.
    fn refusal(&self) -> Result<(), StoreError> {
        self.given_up.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Refuses what could not be written, before anything is read for it: an engine that has failed
    /// may fail reads too, and would say less.
    fn admits(&self) -> Result<(), StoreError> {
        // An empty batch asks the store for its latch.
        self.refusal().and_then(|()| self.store.apply(&[]))
    }

    /// Whether the writer was given up for hanging: it does not answer then.
    fn hangs(&self) -> bool {
        matches!(self.given_up.get(), Some(StoreError::Stalled { .. }))
    }
}

/// Gives an answer. A panic in it is its owner's, and the next answers are still given.
fn call(done: Done, outcome: Result<(), WriteError>) {
    let _ = catch_unwind(AssertUnwindSafe(|| done(outcome)));
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(|error| StoreError::io("start the thread", name.as_ref(), error))
}
