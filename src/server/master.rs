//! The master key: from a systemd credential, or made at first start beside the data.

use std::path::{Path, PathBuf};

use crate::secret::{self, SecretError, SecretFile};
use crate::store::Fact;
use crate::vault::{MASTER_BYTES, Master};

/// The name of the credential, and of the file in the data directory.
const NAME: &str = "master.key";
/// What it is, for people.
const WHAT: &str = "master key";
/// What the store knows the master key by, so that another one is noticed at start.
pub(super) const ID: Fact = Fact("master_key");
pub(super) const ID_SCHEMA: u16 = 1;

const _: () = assert!(MASTER_BYTES == secret::BYTES);

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum MasterError {
    /// The file cannot be read or made, or has another length.
    #[error(transparent)]
    File(#[from] SecretError),
    /// The store was written under another one.
    #[error(
        "the master key {} is not the one that this store was made with, so no stored secret would \
         open: restore the one that belongs to it", path.display()
    )]
    Other {
        /// Where it came from.
        path: PathBuf,
    },
    /// The store knows one, and it is gone.
    #[error(
        "the store has secrets under a master key and {} is missing: restore it from a backup",
        path.display()
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
}

/// Reads it; makes it where there is none, if the store knows none either.
pub(super) fn load(data_dir: &Path, known: Option<u64>) -> Result<Master, MasterError> {
    let path = SecretFile::place(WHAT, data_dir, NAME)?;
    let file = SecretFile { what: WHAT, path: &path };
    let secret = match file.read()? {
        Some(secret) => secret,
        None if known.is_none() => file.make()?,
        None => return Err(MasterError::Missing { path }),
    };
    let master = Master::new(&secret);
    if known.is_some_and(|known| known != master.id()) {
        return Err(MasterError::Other { path });
    }
    Ok(master)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_master_key_and_none_are_refused_once_one_is_known() {
        let dir = tempfile::tempdir().expect("a directory");
        let made = load(dir.path(), None).expect("made").id();
        assert_eq!(load(dir.path(), Some(made)).expect("the same").id(), made);
        let other = load(dir.path(), Some(made ^ 1)).err().expect("another").to_string();
        assert!(other.contains("not the one"), "{other}");
        std::fs::remove_file(dir.path().join(NAME)).expect("removed");
        let missing = load(dir.path(), Some(made)).err().expect("missing").to_string();
        assert!(missing.contains("restore it"), "{missing}");
    }
}
