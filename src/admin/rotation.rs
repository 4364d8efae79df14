//! The exchange of the pepper or the master key while the daemon serves: begun on request, carried on
//! by a thread of its own, and found again by the next start wherever the last one ended.
//!
//! 1. The new secret is made, durably, beside the old one.
//! 2. The store says that its exchange has begun. From there on both open, the new one seals, and
//!    the committer renews each record that it writes.
//! 3. The thread has every other record renewed, some at a time.
//! 4. Changes that had read a record before are waited for.
//! 5. The store says that it is over, and the old secret goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use keygate_protocol::ErrorCode;
use keygate_protocol::admin as wire;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::OwnedMutexGuard;
use zeroize::Zeroizing;

use super::{Admin, AdminError, Caller, blocking};
use crate::key::Pepper;
use crate::store::{
    CommitError, KeyWrite, Rotating, Seals, StoreError, SubmitError, Write, WriteError,
};
use crate::vault::Master;

/// Records that one job renews: with a row and two digests each, before and after, they fit a batch.
const RECORDS_AT_A_TIME: usize = 64;
/// How long the thread waits for room in the committer's queue.
const BUSY_WAIT: Duration = Duration::from_millis(20);
/// Digits of an id that are shown.
const ID_SHOWN: usize = 16;

/// Where the secrets are kept. Calls wait for a disk.
pub trait SecretFiles: Send + Sync {
    /// The secret that is to take the place of the present one, durably there.
    ///
    /// # Errors
    /// In words that say what to do.
    fn next(&self, of: Rotating) -> Result<Zeroizing<[u8; 32]>, String>;

    /// Has the new one take the old one's place, which is gone then; or what a person must do.
    ///
    /// # Errors
    /// In words.
    fn settle(&self, of: Rotating) -> Result<Option<String>, String>;

    /// Whether the present one comes from a credential.
    fn is_credential(&self, of: Rotating) -> bool;
}

/// The exchange that is under way, or was the last since the start.
#[derive(Default)]
pub(super) struct Rotations {
    pub(super) files: Option<Arc<dyn SecretFiles>>,
    last: Mutex<Option<Last>>,
    stop: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Last {
    of: Rotating,
    to: String,
    records: u64,
    state: wire::RotationState,
    message: Option<String>,
}

impl Admin {
    /// Begins to exchange a secret, or goes on where that had failed. Answers when it has begun.
    ///
    /// # Errors
    /// `FORBIDDEN` for a caller that is bound to a tenant; `BUSY` while another exchange, an import, a
    /// backup or a verification is under way; `INVALID` where there is no file to exchange; `STORAGE`.
    pub async fn rotate_secret(
        self: &Arc<Self>,
        caller: &Caller,
        of: Rotating,
    ) -> Result<wire::SecretStatus, AdminError> {
        caller.check_unbound(operation(of, true))?;
        let alone = Arc::clone(&self.whole).try_lock_owned().map_err(|_| {
            let message = "a rotation, a backup or a verification is under way; wait for its end";
            AdminError::new(ErrorCode::Busy, message)
        })?;
        let no_import = Arc::clone(&self.importing).try_lock_owned().map_err(|_| {
            AdminError::new(ErrorCode::Busy, "an import is under way; rotate when it has ended")
        })?;
        let (admin, caller) = (Arc::clone(self), caller.clone());
        let begun = blocking(move || {
            let to = admin.begin_rotation(&caller, of)?;
            drop(no_import);
            admin.renew_all(of, to, alone)?;
            admin.secret_status_of(of)
        });
        begun.await.ok_or_else(AdminError::stopping)?
    }

    /// How a secret stands.
    ///
    /// # Errors
    /// `FORBIDDEN` for a caller that is bound to a tenant; `INVALID`; `STORAGE`.
    pub async fn secret_status(
        self: &Arc<Self>,
        caller: &Caller,
        of: Rotating,
    ) -> Result<wire::SecretStatus, AdminError> {
        caller.check_unbound(operation(of, false))?;
        let admin = Arc::clone(self);
        blocking(move || admin.secret_status_of(of)).await.ok_or_else(AdminError::stopping)?
    }

    /// Goes on with what the last run had begun. Once, before anything is served.
    ///
    /// # Errors
    /// `STORAGE`; the system gives no thread.
    pub fn resume_rotations(self: &Arc<Self>) -> Result<(), AdminError> {
        for of in Rotating::ALL {
            let Some(to) = self.keys.next_secret_id(of)? else { continue };
            tracing::info!(secret = of.name(), "a rotation goes on that the last run had begun");
            if let Ok(alone) = Arc::clone(&self.whole).try_lock_owned() {
                self.renew_all(of, to, alone)?;
            }
        }
        Ok(())
    }

    /// Has the thread end where it is; the next start goes on. Before the committer is stopped.
    pub fn stop_rotation(&self) {
        self.rotations.stop.store(true, Ordering::Release);
        let thread = self.rotations.thread.lock().take();
        if let Some(thread) = thread {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }

    /// Whether a secret is being exchanged, and why it stands still if it does.
    pub(super) fn rotation(&self) -> (bool, Option<String>) {
        let last = self.rotations.last.lock();
        let running = last.as_ref().is_some_and(|it| it.state == wire::RotationState::Running);
        let failed = last.as_ref().filter(|it| it.state == wire::RotationState::Failed);
        (
            running,
            failed.map(|it| {
                let why = it.message.as_deref().unwrap_or_default();
                format!("the rotation of the {} stands still: {why}", it.of.name())
            }),
        )
    }

    fn secret_status_of(&self, of: Rotating) -> Result<wire::SecretStatus, AdminError> {
        let files = self.secret_files()?;
        let id = self.keys.secret_id(of)?.unwrap_or_default();
        let from = if files.is_credential(of) {
            wire::SecretFrom::Credential
        } else {
            wire::SecretFrom::DataDir
        };
        let last = self.rotations.last.lock();
        let rotation = last.as_ref().filter(|it| it.of == of).map(|it| wire::SecretRotation {
            to: shown(&it.to),
            state: it.state,
            records: it.records,
            records_estimate: (self.engine.key_count() as u64).max(it.records),
            message: it.message.clone(),
        });
        Ok(wire::SecretStatus { id: shown(&id), from, rotation })
    }

    fn secret_files(&self) -> Result<&Arc<dyn SecretFiles>, AdminError> {
        self.rotations.files.as_ref().ok_or_else(|| {
            AdminError::invalid("this daemon keeps its keys in memory: it has no secrets to rotate")
        })
    }

    fn seals(&self) -> Result<&Seals, AdminError> {
        self.keys.seals().ok_or_else(|| AdminError::invalid("this store has no secrets to rotate"))
    }

    /// Both secrets are there when this returns, durably; answers the new one's id.
    fn begin_rotation(&self, caller: &Caller, of: Rotating) -> Result<String, AdminError> {
        if let Some(to) = self.keys.next_secret_id(of)? {
            return Ok(to);
        }
        let (files, seals) = (self.secret_files()?, self.seals()?);
        let from = self.keys.secret_id(of)?.unwrap_or_default();
        let bytes = files.next(of).map_err(AdminError::invalid)?;
        let (pepper, master) = (Pepper::new(&bytes), Master::new(&bytes));
        let to = match of {
            Rotating::Pepper => pepper.fingerprint(),
            Rotating::Master => master.name(),
        };
        if to == from {
            return Err(AdminError::invalid(format!(
                "the {} that is to take its place is the present one: pass another",
                of.name()
            )));
        }
        self.committer.commit(vec![Write::BeginRotation { of, to: to.clone() }], true)?;
        match of {
            Rotating::Pepper => {
                let both = Arc::new(pepper.with_retired(&self.engine.pepper()));
                // First the committer: what comes under the old one from here on is renewed.
                seals.set_pepper(Arc::clone(&both));
                self.engine.set_pepper(both);
            }
            Rotating::Master => seals.vault().rotate(master),
        }
        self.note_whole(
            caller,
            if of == Rotating::Pepper { "pepper_rotate" } else { "master_rotate" },
            json!({"from": shown(&from), "to": shown(&to)}),
        );
        tracing::info!(secret = of.name(), to = shown(&to), "a rotation has begun");
        Ok(to)
    }

    /// Starts the thread.
    fn renew_all(
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
            let ended = admin.walk(of, &to);
            if let Err(error) = &ended {
                tracing::error!(secret = of.name(), %error, "a rotation stands still");
            }
            let mut last = admin.rotations.last.lock();
            if let Some(last) = last.as_mut() {
                (last.state, last.message) = match ended {
                    Ok(Walk::Over(message)) => (wire::RotationState::Done, message),
                    Ok(Walk::Stopped) => (wire::RotationState::Running, None),
                    Err(error) => (wire::RotationState::Failed, Some(error.to_string())),
                };
            }
            drop(last);
            drop(alone);
        };
        let thread = thread::Builder::new().name("keygate-rotate".to_owned()).spawn(run);
        let thread = thread.map_err(|error| {
            AdminError::new(ErrorCode::Internal, format!("the system gives no thread: {error}"))
        })?;
        *self.rotations.thread.lock() = Some(thread);
        Ok(())
    }

    fn walk(&self, of: Rotating, to: &str) -> Result<Walk, CommitError> {
        let mut after = None;
        loop {
            if self.rotations.stop.load(Ordering::Acquire) {
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
        let message = match self.rotations.files.as_ref().map(|files| files.settle(of)) {
            Some(Ok(message)) => message,
            Some(Err(why)) => Some(format!("the next start removes the old one: {why}")),
            None => None,
        };
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

enum Walk {
    /// Everything is renewed; what a person must do yet.
    Over(Option<String>),
    /// The daemon stops.
    Stopped,
}

/// The beginning of an id, which is enough to tell two apart.
fn shown(id: &str) -> String {
    id.chars().take(ID_SHOWN).collect()
}

const fn operation(of: Rotating, rotates: bool) -> &'static str {
    match (of, rotates) {
        (Rotating::Pepper, true) => "PepperRotate",
        (Rotating::Pepper, false) => "PepperStatus",
        (Rotating::Master, true) => "MasterRotate",
        (Rotating::Master, false) => "MasterStatus",
    }
}
