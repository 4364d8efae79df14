//! The thread that renews what is under the old secret, and ends a rotation when nothing needs it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use keygate_protocol::ErrorCode;
use keygate_protocol::admin as wire;
use tokio::sync::OwnedMutexGuard;

use super::super::{Admin, AdminError};
use super::Last;
use crate::store::{CommitError, KeyWrite, Rotating, StoreError, SubmitError, Write, WriteError};

/// Records that one job renews: with a row and two digests each, before and after, they fit a batch.
const RECORDS_AT_A_TIME: usize = 64;
/// How long the thread waits for room in the committer's queue.
const BUSY_WAIT: Duration = Duration::from_millis(20);

enum Walk {
    /// Everything is renewed; what a person must do yet.
    Over(Option<String>),
    /// The daemon stops.
    Stopped,
    /// Something still needs the old secret; what it is, and what mends it.
    Left(String),
}

impl Admin {
    /// Starts the thread.
    pub(super) fn renew_all(
        self: &Arc<Self>,
        of: Rotating,
        to: String,
        alone: OwnedMutexGuard<()>,
    ) -> Result<(), AdminError> {
        let state = wire::RotationState::Running;
        let last = Last { of, to: to.clone(), records: 0, state, message: None };
        *self.rotations.last.lock() = Some(last);
        let admin = Arc::clone(self);
        let run = move || {
            let (state, message) = admin.walked(of, &to);
            admin.set_state(state, message);
            drop(alone);
        };
        let thread = thread::Builder::new().name("keygate-rotate".to_owned()).spawn(run);
        let thread = thread.map_err(|error| {
            let message = format!("the system gives no thread: {error}");
            self.set_state(wire::RotationState::Failed, Some(message.clone()));
            AdminError::new(ErrorCode::Internal, message)
        })?;
        *self.rotations.thread.lock() = Some(thread);
        Ok(())
    }

    fn set_state(&self, state: wire::RotationState, message: Option<String>) {
        if let Some(last) = self.rotations.last.lock().as_mut() {
            (last.state, last.message) = (state, message);
        }
    }

    fn walked(&self, of: Rotating, to: &str) -> (wire::RotationState, Option<String>) {
        // What waits for its end must see one, whatever happens here.
        let ended = catch_unwind(AssertUnwindSafe(|| self.walk(of, to)));
        let why = match ended {
            Ok(Ok(Walk::Over(message))) => return (wire::RotationState::Done, message),
            Ok(Ok(Walk::Stopped)) => return (wire::RotationState::Running, None),
            Ok(Ok(Walk::Left(why))) => why,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it failed inside, and the log has more; restart keygate".to_owned(),
        };
        tracing::error!(secret = of.name(), why, "a rotation stands still");
        (wire::RotationState::Failed, Some(why))
    }

    fn walk(&self, of: Rotating, to: &str) -> Result<Walk, CommitError> {
        let stopped = || self.rotations.stop.load(Ordering::Acquire);
        // What was planned before the committer had the new secret is in the store behind this, where
        // it is found.
        self.patiently(|| self.committer.commit(Vec::new(), false))?;
        let mut after = None;
        loop {
            if stopped() {
                return Ok(Walk::Stopped);
            }
            let ids = self.keys.ids_after(after, RECORDS_AT_A_TIME)?;
            let Some(last) = ids.last() else { break };
            after = Some(*last);
            match self.renew(&ids) {
                // Records that are large together are taken one by one.
                Err(CommitError::Write(WriteError::Store(StoreError::BatchTooLarge {
                    ..
                }))) => {
                    ids.iter().try_for_each(|id| self.renew(&[*id]))?;
                }
                renewed => renewed?,
            }
            if let Some(last) = self.rotations.last.lock().as_mut() {
                last.records += ids.len() as u64;
            }
        }
        if let Some(notifier) = self.notifier.as_ref().filter(|_| of == Rotating::Master) {
            self.patiently(|| notifier.renew_secrets())?;
        }
        // Whoever had read a record before it was renewed has written it by then, and whoever reads
        // one from here on reads it renewed.
        drop(self.rules_gate.blocking_write());
        self.locks.iter().for_each(|lock| drop(lock.blocking_lock()));
        let outdated = self.keys.outdated(of, stopped)?;
        if stopped() {
            return Ok(Walk::Stopped);
        }
        if outdated.rows > 0 {
            return Ok(Walk::Left(format!(
                "the old {what} is kept, for these are not shown to be under the new one: {rows}; \
                 `keygate verify` tells which cannot be read: restore them from a backup or make \
                 them anew, and `keygate {command} rotate` goes on",
                what = of.name(),
                rows = outdated.words(),
                command = of.command(),
            )));
        }
        self.patiently(|| {
            let over = Write::finish_rotation(of, to);
            let over = over.map_err(|error| StoreError::corrupt(error.to_string()))?;
            self.committer.commit(over, true)
        })?;
        match (of, self.keys.seals()) {
            (Rotating::Pepper, Some(seals)) => {
                let alone = Arc::new(self.engine.pepper().without_retired());
                self.engine.set_pepper(Arc::clone(&alone));
                seals.set_pepper(alone);
            }
            (Rotating::Master, Some(seals)) => seals.vault().forget(),
            (_, None) => {}
        }
        let message = self.settle_files(of, to);
        tracing::info!(secret = of.name(), message, "a rotation is over");
        Ok(Walk::Over(message))
    }

    /// One job of the committer, which has others' between them.
    fn renew(&self, ids: &[u64]) -> Result<(), CommitError> {
        self.patiently(|| {
            let job = ids.iter().map(|id| Write::Key(KeyWrite::Renew { id: *id })).collect();
            self.committer.commit(job, false)
        })
    }

    /// Tries again as long as the committer has no room.
    fn patiently(&self, act: impl Fn() -> Result<(), CommitError>) -> Result<(), CommitError> {
        loop {
            match act() {
                Err(CommitError::Submit(SubmitError::Busy { .. }))
                    if !self.rotations.stop.load(Ordering::Acquire) =>
                {
                    thread::park_timeout(BUSY_WAIT);
                }
                outcome => return outcome,
            }
        }
    }
}
