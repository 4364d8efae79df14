//! The files of the pepper and of the master key: from systemd credentials, or made at first start
//! beside the data; and those that take their place in a rotation.
//!
//! The store says which secret it was written under, by an id that is derived from it, and while one
//! is exchanged which takes its place. Files are told apart by that id and never by their names
//! alone: so a crash between a file and what the store says of it leaves nothing to guess.

use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::admin::SecretFiles;
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

    /// Its file, where that lies in the data directory.
    pub(super) fn own(&self, of: Rotating) -> Result<Option<PathBuf>, KeyringError> {
        let path = self.place(of, false)?;
        Ok(self.is_own(&path).then_some(path))
    }

    fn load(&self, of: Rotating, keys: &Keys) -> Result<Loaded, KeyringError> {
        let what = of.name();
        let (first, second) = (self.place(of, false)?, self.place(of, true)?);
        let file = |path| SecretFile { what, path };
        let found = [file(&first).read()?, file(&second).read()?];
        let present = |bytes: Bytes| Loaded { present: bytes, retired: None };
        let Some(known) = keys.secret_id(of)? else {
            let [first_found, _] = found;
            let bytes = first_found.map_or_else(|| file(&first).make(), Ok)?;
            keys.set_secret_id(of, &id(of, &bytes))?;
            return Ok(present(bytes));
        };
        let has = |wanted: &str| found.iter().flatten().find(|bytes| id(of, bytes) == wanted);
        if let Some(next) = keys.next_secret_id(of)? {
            let next = has(&next).ok_or(KeyringError::NextMissing { what, path: second })?;
            let retired = has(&known).ok_or(KeyringError::Missing { what, path: first })?;
            return Ok(Loaded { present: next.clone(), retired: Some(retired.clone()) });
        }
        if let Some(bytes) = has(&known) {
            let bytes = bytes.clone();
            if found[0].as_ref().is_none_or(|first| **first != *bytes) {
                // The rotation was over, and its file had not been moved yet.
                self.settle_files(of).map_err(|error| error.of(what))?;
            }
            return Ok(present(bytes));
        }
        let [first_found, _] = found;
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

    /// Has the file of a rotation that is over be the only one; whether it stays a credential of the
    /// other name.
    fn settle_files(&self, of: Rotating) -> Result<bool, Failed> {
        let (first, second) = (self.place(of, false)?, self.place(of, true)?);
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| Failed::Io { path, error }
        };
        if self.is_own(&second) {
            std::fs::rename(&second, self.data_dir.join(name(of, false))).map_err(io(&second))?;
        } else if self.is_own(&first) {
            match std::fs::remove_file(&first) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(io(&first)(error));
                }
                _ => {}
            }
        }
        let directory = std::fs::File::open(&self.data_dir);
        directory.and_then(|it| it.sync_all()).map_err(io(&self.data_dir))?;
        Ok(!self.is_own(&second))
    }
}

/// Why files were not settled.
enum Failed {
    Secret(SecretError),
    Io { path: PathBuf, error: io::Error },
}

impl From<SecretError> for Failed {
    fn from(error: SecretError) -> Self {
        Self::Secret(error)
    }
}

impl Failed {
    fn of(self, what: &'static str) -> SecretError {
        match self {
            Self::Secret(error) => error,
            Self::Io { path, error } => {
                SecretError::Io { doing: "move or remove", what, path, error }
            }
        }
    }
}

impl SecretFiles for Keyring {
    fn next(&self, of: Rotating) -> Result<Bytes, String> {
        let words = |error: SecretError| error.to_string();
        let (first, second) =
            (self.place(of, false).map_err(words)?, self.place(of, true).map_err(words)?);
        let file = SecretFile { what: of.name(), path: &second };
        if !self.is_own(&second) {
            let bytes = file.read().map_err(words)?;
            return bytes.ok_or_else(|| format!("{} is gone", second.display()));
        }
        if !self.is_own(&first) {
            return Err(format!(
                "the {what} comes from a credential, so its successor must too: pass 32 random bytes \
                 as the credential {next}, restart keygate, and rotate then",
                what = of.name(),
                next = name(of, true),
            ));
        }
        file.make().map_err(words)
    }

    fn settle(&self, of: Rotating) -> Result<Option<String>, String> {
        let stays = self.settle_files(of).map_err(|error| error.of(of.name()).to_string())?;
        Ok(stays.then(|| {
            format!(
                "pass what is the credential {next} as the credential {name} from now on, and {next} \
                 no more: then nothing of the old {what} is left",
                next = name(of, true),
                name = name(of, false),
                what = of.name(),
            )
        }))
    }

    fn is_credential(&self, of: Rotating) -> bool {
        [false, true]
            .into_iter()
            .any(|next| self.place(of, next).is_ok_and(|path| !self.is_own(&path)))
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
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::{MemoryStore, Write};

    fn keys(store: &Arc<MemoryStore>) -> Keys {
        Keys::open(Arc::<MemoryStore>::clone(store) as _).expect("a store")
    }

    #[test]
    fn a_secret_is_made_once_and_another_or_none_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let (store, ring) = (Arc::new(MemoryStore::new()), Keyring::of(dir.path()));
        let made = ring.pepper(&keys(&store)).expect("made").fingerprint();
        assert_eq!(ring.pepper(&keys(&store)).expect("read").fingerprint(), made);
        let path = dir.path().join("pepper");
        for (bytes, says) in [(Some(&[7; 32][..]), "not the one"), (None, "is missing")] {
            match bytes {
                Some(bytes) => std::fs::write(&path, bytes).expect("written"),
                None => std::fs::remove_file(&path).expect("removed"),
            }
            let error = ring.pepper(&keys(&store)).err().expect("refused").to_string();
            assert!(error.contains(says) && error.contains("no key would be found"), "{error}");
        }
    }

    #[test]
    fn a_master_key_that_nothing_needs_may_be_another() {
        let dir = tempfile::tempdir().expect("a directory");
        let (store, ring) = (Arc::new(MemoryStore::new()), Keyring::of(dir.path()));
        let made = ring.vault(&keys(&store)).expect("made").master_id();
        assert_eq!(ring.vault(&keys(&store)).expect("read").master_id(), made);
        std::fs::remove_file(dir.path().join("master.key")).expect("removed");
        assert_ne!(ring.vault(&keys(&store)).expect("another").master_id(), made);
    }

    /// Wherever a crash falls, the files are told apart by what the store says.
    #[test]
    fn a_rotation_is_found_again_at_each_of_its_steps() {
        for of in Rotating::ALL {
            let dir = tempfile::tempdir().expect("a directory");
            let (store, ring) = (Arc::new(MemoryStore::new()), Keyring::of(dir.path()));
            let load = || {
                ring.load(of, &keys(&store))
                    .map(|it| (id(of, &it.present), it.retired.map(|bytes| id(of, &bytes))))
            };
            let (old, _) = load().expect("made");
            // The file is there, and nothing was begun.
            let next = id(of, &ring.next(of).expect("made"));
            assert_eq!(load().expect("the old one"), (old.clone(), None));
            let keys = keys(&store);
            let options = crate::store::CommitterOptions::default();
            let committer = crate::store::Committer::start(&keys, &options).expect("threads");
            committer
                .commit(vec![Write::BeginRotation { of, to: next.clone() }], true)
                .expect("begun");
            assert_eq!(load().expect("both"), (next.clone(), Some(old.clone())));
            // It is over, and the file was not moved.
            committer
                .commit(Write::finish_rotation(of, &next).expect("texts"), true)
                .expect("over");
            assert_eq!(load().expect("the new one"), (next.clone(), None));
            assert!(!dir.path().join(name(of, true)).exists(), "moved to its place");
            assert_eq!(load().expect("and stays"), (next, None));
        }
    }
}
