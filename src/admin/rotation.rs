//! The exchange of the pepper or the master key while the daemon serves: begun on request, carried on
//! by a thread of its own, and found again by the next start wherever the last one ended.
//!
//! 1. The new secret is made, durably, beside the old one.
//! 2. The store says that its exchange has begun. From there on both open, the new one seals, and
//!    the committer renews each record that it writes.
//! 3. The thread has every other record renewed, some at a time.
//! 4. Changes that had read a record before are waited for.
//! 5. Every row is looked at: where one still needs the old secret, it stays, and so does all this.
//! 6. The store says that it is over, and the old secret goes.

mod walk;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use keygate_protocol::ErrorCode;
use keygate_protocol::admin as wire;
use parking_lot::Mutex;
use serde_json::json;
use zeroize::Zeroizing;

use super::{Admin, AdminError, Caller, blocking};
use crate::key::Pepper;
use crate::store::{Rotating, Seals, Write};
use crate::vault::Master;

/// Digits of an id that are shown.
const ID_SHOWN: usize = 16;

/// Where the secrets are kept. Calls wait for a disk.
pub trait SecretFiles: Send + Sync {
    /// The secret that is to take the place of the present one, whose id is given, durably there. One
    /// that was made before and not used is taken; nothing is ever put over a secret.
    ///
    /// # Errors
    /// In words that say what to do.
    fn next(&self, of: Rotating, present: &str) -> Result<Zeroizing<[u8; 32]>, String>;

    /// Has the present one, whose id is given, be in the place of the one before, which is gone then;
    /// or what a person must do. Does nothing where that is so.
    ///
    /// # Errors
    /// In words.
    fn settle(&self, of: Rotating, present: &str) -> Result<Option<String>, String>;

    /// The present one, whose id is given, where it is kept in the data directory; `None` where it
    /// comes from a credential.
    ///
    /// # Errors
    /// In words: it is nowhere, or cannot be read.
    fn kept(&self, of: Rotating, present: &str) -> Result<Option<Zeroizing<[u8; 32]>>, String>;

    /// Whether the present one comes from a credential.
    fn is_credential(&self, of: Rotating) -> bool;
}

/// The exchange that is under way, or was the last since the start.
#[derive(Default)]
pub(super) struct Rotations {
    pub(super) files: Option<Arc<dyn SecretFiles>>,
    last: Mutex<Option<Last>>,
    /// What is to be done yet about the files of each, by [`Rotating`].
    files_left: Mutex<[Option<FilesLeft>; 2]>,
    stop: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What is to be done yet about the files of a secret.
struct FilesLeft {
    /// Whether something failed; else a credential is to be named otherwise.
    failed: bool,
    message: String,
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
            let Some(to) = self.keys.next_secret_id(of)? else {
                if let Some(present) = self.keys.secret_id(of)? {
                    self.settle_files(of, &present);
                }
                continue;
            };
            tracing::info!(secret = of.name(), "a rotation goes on that the last run had begun");
            // Nothing is served yet, so nobody else has the store's turn.
            let alone = Arc::clone(&self.whole).try_lock_owned();
            let alone =
                alone.map_err(|_| AdminError::new(ErrorCode::Busy, "the store's turn is taken"))?;
            self.renew_all(of, to, alone)?;
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

    /// Has the file of the present secret be the only one, and keeps what is to be done about that.
    fn settle_files(&self, of: Rotating, present: &str) -> Option<String> {
        let settled = self.rotations.files.as_ref()?.settle(of, present);
        let left = match settled {
            Ok(message) => message.map(|message| FilesLeft { failed: false, message }),
            Err(why) => Some(FilesLeft {
                failed: true,
                message: format!(
                    "the old {} is still there, and the one in use is not in its place: {why}; the \
                     next start tries again",
                    of.name()
                ),
            }),
        };
        let message = left.as_ref().map(|left| left.message.clone());
        if let Some(place) = self.rotations.files_left.lock().get_mut(of as usize) {
            *place = left;
        }
        message
    }

    /// What keeps the store from being copied whole, if anything does: records that a backup would
    /// have are under a secret that it would not have.
    pub(super) fn check_no_rotation(&self) -> Result<(), AdminError> {
        for of in Rotating::ALL {
            if self.keys.next_secret_id(of)?.is_some() {
                let (what, command) = (of.name(), of.command());
                let message = format!(
                    "the {what} is being rotated, and that stands still: `keygate {command} status` \
                     says why, and `keygate {command} rotate` goes on with it"
                );
                return Err(AdminError::new(ErrorCode::Busy, message));
            }
        }
        Ok(())
    }

    /// Why a rotation stands still, and what is to be done about secrets' files.
    pub(super) fn rotation_reasons(&self) -> Vec<String> {
        let files_left = self.rotations.files_left.lock();
        let failed = files_left.iter().flatten().filter(|left| left.failed);
        self.rotation().1.into_iter().chain(failed.map(|left| left.message.clone())).collect()
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
        let files_left = self.rotations.files_left.lock();
        let message = files_left.get(of as usize).and_then(Option::as_ref);
        let message = message.map(|left| left.message.clone());
        Ok(wire::SecretStatus { id: shown(&id), from, rotation, message })
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
        // Before a file is made: the store would refuse it.
        self.check_no_rotation()?;
        let from = self.keys.secret_id(of)?.unwrap_or_default();
        let bytes = files.next(of, &from).map_err(AdminError::invalid)?;
        if let Some(left) = self.rotations.files_left.lock().get_mut(of as usize) {
            *left = None;
        }
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
