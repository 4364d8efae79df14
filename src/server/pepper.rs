//! The pepper: from a systemd credential, or made at first start beside the data.

use std::path::{Path, PathBuf};

use crate::key::Pepper;
use crate::secret::{self, SecretError, SecretFile};
use crate::store::Fact;

/// The name of the credential, and of the file in the data directory.
const NAME: &str = "pepper";
/// What the store knows the pepper by, so that another one is noticed before it denies every key.
pub(super) const FINGERPRINT: Fact = Fact("pepper_fingerprint");
pub(super) const FINGERPRINT_SCHEMA: u16 = 1;

const _: () = assert!(Pepper::BYTES == secret::BYTES);

/// Why there is no pepper.
#[derive(Debug, thiserror::Error)]
pub enum PepperError {
    /// The file cannot be read or made, or has another length.
    #[error(transparent)]
    File(#[from] SecretError),
    /// The store was written under another pepper.
    #[error(
        "the pepper {} is not the one that this store was made with, so no key would be found: \
         restore the pepper that belongs to it", path.display()
    )]
    Other {
        /// Where the pepper came from.
        path: PathBuf,
    },
    /// The store has keys and the pepper is gone.
    #[error(
        "the store has keys and {} is missing, so none of them could be found: restore the pepper \
         from a backup", path.display()
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
}

/// Where the pepper is.
pub(super) fn path(data_dir: &Path) -> Result<PathBuf, PepperError> {
    Ok(SecretFile::place(NAME, data_dir, NAME)?)
}

/// Reads the pepper; makes it where there is none, if `may_make`.
pub(super) fn load(path: &Path, may_make: bool) -> Result<Pepper, PepperError> {
    let file = SecretFile { what: NAME, path };
    let secret = match file.read()? {
        Some(secret) => secret,
        None if may_make => file.make()?,
        None => return Err(PepperError::Missing { path: path.to_owned() }),
    };
    Ok(Pepper::new(&secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pepper_is_made_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(NAME);
        assert!(matches!(load(&path, false), Err(PepperError::Missing { .. })));
        let made = load(&path, true).expect("made");
        let again = load(&path, false).expect("read");
        assert!(made.digest(b"x") == again.digest(b"x"));
        std::fs::write(&path, b"short").expect("a file");
        assert!(matches!(load(&path, true), Err(PepperError::File(_))));
    }
}
