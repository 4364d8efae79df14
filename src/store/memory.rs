//! The store that lives in memory: for tests, and for a daemon that is to forget everything.
//!
//! It keeps the whole contract, including what an implementation on disk does on a bad day: it can
//! fail the n-th apply or sync, hang in a sync, and crash, which forgets what was not synced.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::latch::Latch;
use super::{EachRow, Op, Store, StoreError, admits, scan_range};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// The store in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    /// Protects all rows and the failures that were asked for.
    state: Mutex<State>,
    /// Signalled when a held sync may go on.
    released: Condvar,
    latch: Latch,
}

#[derive(Debug, Default)]
struct State {
    /// What a read sees.
    visible: Rows,
    /// What a crash leaves.
    durable: Rows,
    /// The batches that are visible and not yet durable, oldest first.
    unsynced: Vec<Vec<Op>>,
    apply_failure: Option<Failure>,
    sync_failure: Option<Failure>,
    sync_held: bool,
    /// Whether reads fail, too, once the latch has tripped.
    reads_fail: bool,
}

#[derive(Debug)]
struct Failure {
    /// Calls that still succeed.
    calls_before: u64,
    kind: io::ErrorKind,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the `nth` apply from now (1 is the next) fail with an I/O error of this kind, and so
    /// latch the store.
    pub fn fail_apply(&self, nth: u64, kind: io::ErrorKind) {
        let calls_before = nth.saturating_sub(1);
        self.state.lock().apply_failure = Some(Failure { calls_before, kind });
    }

    /// Makes the `nth` sync from now (1 is the next) fail with an I/O error of this kind, and so
    /// latch the store.
    pub fn fail_sync(&self, nth: u64, kind: io::ErrorKind) {
        let calls_before = nth.saturating_sub(1);
        self.state.lock().sync_failure = Some(Failure { calls_before, kind });
    }

    /// Makes reads fail once the store takes no writes, as an engine may of what it does not have in
    /// memory.
    pub fn fail_reads_with_writes(&self) {
        self.state.lock().reads_fail = true;
    }

    /// Whether a read is answered.
    fn read(&self, state: &State) -> Result<(), StoreError> {
        if !state.reads_fail || self.latch.cause().is_none() {
            return Ok(());
        }
        Err(StoreError::io("read", Path::new("memory"), io::ErrorKind::StorageFull.into()))
    }

    /// Makes every sync wait, as on a disk that does not answer, until [`Self::release_sync`].
    pub fn hold_sync(&self) {
        self.state.lock().sync_held = true;
    }

    /// Lets held syncs go on.
    pub fn release_sync(&self) {
        self.state.lock().sync_held = false;
        self.released.notify_all();
    }

    /// What a restart finds after a power loss: everything synced and nothing else.
    #[must_use]
    pub fn crash(&self) -> Self {
        self.crash_keeping(0)
    }

    /// What a restart finds after a power loss that came when the first `batches` of the batches
    /// not yet synced had reached the disk by themselves.
    #[must_use]
    pub fn crash_keeping(&self, batches: usize) -> Self {
        let state = self.state.lock();
        let mut durable = state.durable.clone();
        state.unsynced.iter().take(batches).for_each(|ops| write(&mut durable, ops));
        let visible = durable.clone();
        Self {
            state: Mutex::new(State { visible, durable, ..State::default() }),
            ..Self::default()
        }
    }

    /// Batches that a crash would forget.
    #[must_use]
    pub fn unsynced_batches(&self) -> usize {
        self.state.lock().unsynced.len()
    }
}

impl Store for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let state = self.state.lock();
        self.read(&state)?;
        Ok(state.visible.get(key).cloned())
    }

    fn scan_each(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        each: &mut EachRow<'_>,
    ) -> Result<(), StoreError> {
        let Some((start, end)) = scan_range(prefix, after) else { return Ok(()) };
        let state = self.state.lock();
        self.read(&state)?;
        let mut range = state.visible.range::<[u8], _>((start, Bound::Excluded(end.as_slice())));
        // Whoever breaks off has what was wanted.
        let _ = range.try_for_each(|(key, value)| each(key, value));
        Ok(())
    }

    fn apply(&self, ops: &[Op]) -> Result<(), StoreError> {
        if !admits(&self.latch, ops)? {
            return Ok(());
        }
        let mut state = self.state.lock();
        self.latch.guard(fail(&mut state.apply_failure, "write to"))?;
        write(&mut state.visible, ops);
        state.unsynced.push(ops.to_vec());
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.latch.check()?;
        let mut state = self.state.lock();
        self.released.wait_while(&mut state, |state| state.sync_held);
        self.latch.guard(fail(&mut state.sync_failure, "sync"))?;
        let State { durable, unsynced, .. } = &mut *state;
        unsynced.drain(..).for_each(|ops| write(durable, &ops));
        Ok(())
    }

    fn bytes_on_disk(&self) -> Result<u64, StoreError> {
        Ok(0)
    }
}

/// Counts one call, and fails it if it is the one that was asked for.
fn fail(failure: &mut Option<Failure>, doing: &'static str) -> Result<(), StoreError> {
    match failure {
        Some(Failure { calls_before: 0, kind }) => {
            let source = Arc::new(io::Error::from(*kind));
            *failure = None;
            Err(StoreError::Io { doing, path: Path::new("memory").to_owned(), source })
        }
        Some(Failure { calls_before, .. }) => {
            *calls_before -= 1;
            Ok(())
        }
        None => Ok(()),
    }
}

fn write(rows: &mut Rows, ops: &[Op]) {
    for op in ops {
        match op {
            Op::Put { key, value } => rows.insert(key.clone(), value.clone()),
            Op::Remove { key } => rows.remove(key),
        };
    }
}
