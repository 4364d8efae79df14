//! Usage is written behind: one thread writes what has moved, and nothing when nothing has.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::engine::Engine;
use crate::store::{CommitError, Committer, Keys, StoreError, Write, plan};
use crate::usage::UsageRow;

/// The newest schema of a usage row. Raised with every change of [`UsageRow`].
pub(super) const USAGE_SCHEMA: u16 = 1;
/// The newest schema of a chunk of ids.
const IDS_SCHEMA: u16 = 1;
/// Ids in one row: at most 17 bytes each.
const IDS_IN_CHUNK: usize = 16 * 1024;
/// Keys whose figures are gathered at a time.
const KEYS_AT_A_TIME: usize = 400;

/// Ids of `Increment`s that were counted.
#[derive(Debug, Serialize, Deserialize)]
struct IdChunk {
    /// When they were written, microseconds since 1970.
    at_us: i64,
    ids: Vec<u128>,
}

/// Writes what the engine has counted.
pub(super) struct Flusher {
    engine: Arc<Engine>,
    committer: Arc<Committer>,
    clock: Arc<dyn Clock>,
    window_us: i64,
    /// Chunks in the store, oldest first: their number and time.
    chunks: VecDeque<(u64, i64)>,
    next_chunk: u64,
    failing: bool,
}

/// The handle of the flushing thread.
pub(super) struct FlushThread {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Flusher {
    /// A flusher that knows which chunks of ids the store has; their ids are remembered.
    pub(super) fn restore(
        engine: Arc<Engine>,
        keys: &Keys,
        committer: Arc<Committer>,
        clock: Arc<dyn Clock>,
        window_us: i64,
    ) -> Result<Self, StoreError> {
        let mut chunks = VecDeque::new();
        let now_us = clock.now().wall_us;
        keys.for_each_increments(IDS_SCHEMA, |seq, chunk: Result<IdChunk, StoreError>| {
            match chunk {
                Ok(chunk) => {
                    chunks.push_back((seq, chunk.at_us));
                    if now_us.saturating_sub(chunk.at_us) < window_us {
                        chunk.ids.iter().for_each(|id| engine.restore_increment_id(*id, now_us));
                    }
                }
                Err(error) => {
                    // Its reports may be counted once more; its row goes with the oldest.
                    tracing::error!(%error, seq, "ids of reports could not be read");
                    chunks.push_back((seq, i64::MIN));
                }
            }
            Ok::<(), StoreError>(())
        })?;
        let next_chunk = chunks.back().map_or(0, |(seq, _)| seq + 1);
        let failing = false;
        Ok(Self { engine, committer, clock, window_us, chunks, next_chunk, failing })
    }

    /// Starts the thread that flushes every `interval`.
    pub(super) fn start(mut self, interval: Duration) -> io::Result<FlushThread> {
        let (stop, stopped): (_, Receiver<()>) = bounded(0);
        let run = move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                self.flush();
            }
            // A clean stop loses nothing: the connections have ended before.
            self.flush();
        };
        let thread = std::thread::Builder::new().name("keygate-usage".to_owned()).spawn(run)?;
        Ok(FlushThread { stop, thread })
    }

    fn flush(&mut self) {
        let outcome = self.flush_ids().and_then(|()| self.flush_figures());
        match outcome {
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
    }

    /// Ids go first: if only they survive a crash, a retry of a report that was lost is not counted
    /// twice but not at all, which is within what a crash may lose.
    fn flush_ids(&mut self) -> Result<(), CommitError> {
        let now_us = self.clock.now().wall_us;
        let ids = self.engine.take_fresh_increment_ids();
        let mut units = Vec::new();
        while let Some(&(seq, at_us)) = self.chunks.front()
            && now_us.saturating_sub(at_us) > self.window_us
            && !ids.is_empty()
        {
            self.chunks.pop_front();
            units.push(vec![Write::remove_increments(seq)]);
        }
        for ids in ids.chunks(IDS_IN_CHUNK) {
            let chunk = IdChunk { at_us: now_us, ids: ids.to_vec() };
            if let Ok(write) = Write::increments(self.next_chunk, IDS_SCHEMA, &chunk) {
                units.push(vec![write]);
                self.chunks.push_back((self.next_chunk, now_us));
                self.next_chunk += 1;
            }
        }
        plan::jobs(units).try_for_each(|job| self.committer.commit(job, true))
    }

    fn flush_figures(&self) -> Result<(), CommitError> {
        let moved = self.engine.take_moved();
        let mut left = moved.as_slice();
        while !left.is_empty() {
            let (these, later) = left.split_at(left.len().min(KEYS_AT_A_TIME));
            if let Err(error) = self.write_figures(these) {
                self.engine.return_moved(left);
                return Err(error);
            }
            left = later;
        }
        Ok(())
    }

    fn write_figures(&self, ids: &[u64]) -> Result<(), CommitError> {
        let units = ids.iter().filter_map(|id| {
            let row: UsageRow = self.engine.take_usage(*id);
            Write::usage(*id, USAGE_SCHEMA, &row).ok().map(|write| vec![write])
        });
        plan::jobs(units).try_for_each(|job| self.committer.commit(job, true))
    }
}

impl FlushThread {
    /// Flushes once more and ends the thread.
    pub(super) fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the usage thread panicked");
        }
    }
}
