//! The files of the pepper and of the master key: from systemd credentials, or made at first start
//! beside the data; and those that take their place in a rotation.
//!
//! The store says which secret it was written under, by an id that is derived from it, and while one
//! is exchanged which takes its place. Files are told apart by that id and never by their names
//! alone: so a crash between a file and what the store says of it leaves nothing to guess.

mod files;

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::key::Pepper;
use crate::secret::{self, SecretError, SecretFile};
use crate::store::{Keys, Rotating, StoreError};
use crate::vault::{MASTER_BYTES, Master, Vault};

const _: () = assert!(MASTER_BYTES == secret::BYTES && Pepper::BYTES == secret::BYTES);

/// Why there is no pepper, or no master key.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The file cannot be read or made, or has another length.
    #[error(transparent)]
    File(#[from] SecretError),
    /// What the store says of it cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store was written under another one.
    #[error(
        "the {what} {} is not the one that this store was made with, so {}: restore the {what} that \
         belongs to it", path.display(), harm(what)
    )]
    Other {
        /// Which secret.
        what: &'static str,
        /// Where it came from.
        path: PathBuf,
    },
    /// The store knows one, and it is gone.
    #[error(
        "the store was written under a {what} and {} is missing, so {}: restore it from a backup, \
         or pass it as the credential", path.display(), harm(what)
    )]
    Missing {
        /// Which secret.
        what: &'static str,
        /// Where it should be.
        path: PathBuf,
    },
    /// It is being exchanged, and the one that takes its place is gone.
    #[error(
        "the {what} is being rotated, and the new one is missing, which {} should hold: restore it \
         from a backup, or pass it as the credential", path.display()
    )]
    NextMissing {
        /// Which secret.
        what: &'static str,
        /// Where it should be.
        path: PathBuf,
    },
}

/// What is lost without the right one.
fn harm(what: &str) -> &'static str {
    if what == Rotating::Pepper.name() {
        "no key would be found"
    } else {
        "nothing that is encrypted would open"
    }
}

type Bytes = Zeroizing<[u8; secret::BYTES]>;

/// A secret, and the one that it takes the place of while that is under way.
struct Loaded {
    present: Bytes,
    retired: Option<Bytes>,
}

/// Where the secrets are.
#[derive(Debug, Clone)]
pub(super) struct Keyring {
    data_dir: PathBuf,
}

impl Keyring {
    pub(super) fn of(data_dir: &Path) -> Self {
        Self { data_dir: data_dir.to_owned() }
    }

    /// The pepper, shown to be the one that the store was written under; made for a new store.
    pub(super) fn pepper(&self, keys: &Keys) -> Result<Pepper, KeyringError> {
        let Loaded { present, retired } = self.load(Rotating::Pepper, keys)?;
        let pepper = Pepper::new(&present);
        Ok(match retired {
            Some(retired) => pepper.with_retired(&Pepper::new(&retired)),
            None => pepper,
        })
    }

    /// What encrypts, under the master key that the store was written under; made for a new store.
    pub(super) fn vault(&self, keys: &Keys) -> Result<Vault, KeyringError> {
        let Loaded { present, retired } = self.load(Rotating::Master, keys)?;
        Ok(match retired {
            Some(retired) => {
                let vault = Vault::new(Master::new(&retired));
                vault.rotate(Master::new(&present));
                vault
            }
            None => Vault::new(Master::new(&present)),
        })
    }

    fn load(&self, of: Rotating, keys: &Keys) -> Result<Loaded, KeyringError> {
        let what = of.name();
        let (first, second) = (self.place(of, false)?, self.place(of, true)?);
        let file = |path| SecretFile { what, path };
        // What cannot be read matters where nothing else is what the store knows.
        let found = [file(&first).read(), file(&second).read()];
        let present = |bytes: Bytes| Loaded { present: bytes, retired: None };
        let Some(known) = keys.secret_id(of)? else {
            let [first_found, _] = found;
            let bytes = first_found?.map_or_else(|| file(&first).make(), Ok)?;
            keys.set_secret_id(of, &id(of, &bytes))?;
            return Ok(present(bytes));
        };
        let has = |wanted: &str| {
            found.iter().flatten().flatten().find(|bytes| id(of, bytes) == wanted).cloned()
        };
        if let Some(next) = keys.next_secret_id(of)? {
            let lost = match (has(&next), has(&known)) {
                (Some(present), retired @ Some(_)) => return Ok(Loaded { present, retired }),
                (None, _) => KeyringError::NextMissing { what, path: second },
                (_, None) => KeyringError::Missing { what, path: first },
            };
            return Err(found.into_iter().find_map(Result::err).map_or(lost, KeyringError::File));
        }
        if let Some(bytes) = has(&known) {
            for error in found.into_iter().filter_map(Result::err) {
                tracing::warn!(%error, "the {what} was found, and this is not it");
            }
            // A rotation was over, and its file had not been moved yet. What is in use is here, so
            // the daemon starts.
            if let Err(error) = self.settle_files(of, &known) {
                tracing::warn!(%error, "an old {what} is not gone");
            }
            self.warn_of_another(of, &first, &known);
            return Ok(present(bytes));
        }
        let [first_found, second_found] = found;
        let (first_found, _) = (first_found?, second_found?);
        // Nothing is lost with it: a directory that was restored without it goes on.
        if of == Rotating::Master && !keys.needs_master_key()? {
            tracing::warn!(
                path = %first.display(),
                "the master key that the store knows is not here; nothing is encrypted under it, so \
                 another takes its place"
            );
            let bytes = first_found.map_or_else(|| file(&first).make(), Ok)?;
            keys.set_secret_id(of, &id(of, &bytes))?;
            return Ok(present(bytes));
        }
        Err(match first_found {
            Some(_) => KeyringError::Other { what, path: first },
            None => KeyringError::Missing { what, path: first },
        })
    }

    /// Where a secret is, or the one that takes its place.
    fn place(&self, of: Rotating, next: bool) -> Result<PathBuf, SecretError> {
        SecretFile::place(of.name(), &self.data_dir, name(of, next))
    }

    fn is_own(&self, path: &Path) -> bool {
        path.starts_with(&self.data_dir)
    }
}

/// The name of the credential, and of the file in the data directory.
pub(super) const fn name(of: Rotating, next: bool) -> &'static str {
    match (of, next) {
        (Rotating::Pepper, false) => "pepper",
        (Rotating::Pepper, true) => "pepper.next",
        (Rotating::Master, false) => "master.key",
        (Rotating::Master, true) => "master.key.next",
    }
}

pub(super) fn id(of: Rotating, bytes: &[u8; secret::BYTES]) -> String {
    match of {
        Rotating::Pepper => Pepper::new(bytes).fingerprint(),
        Rotating::Master => Master::new(bytes).name(),
    }
}

#[cfg(test)]
mod tests;
