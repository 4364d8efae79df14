//! The file of the key that records are chained under: from a systemd credential, or made at first
//! start beside the data.

use std::io;
use std::path::{Path, PathBuf};

use super::mac::{ChainKey, MAC_BYTES};
use crate::secret::{self, SecretError, SecretFile};

/// The name of the credential, and of the file in the data directory.
const NAME: &str = "audit.key";
/// What it is called in errors.
const WHAT: &str = "key of the audit log";

const _: () = assert!(MAC_BYTES == secret::BYTES);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or made, or has another length.
    #[error(transparent)]
    File(#[from] SecretError),
    /// There is a log, and its key is gone.
    #[error(
        "there is an audit log and its key {} is missing, so the log could neither be checked nor \
         continued: restore the key, or move the log's directory away to begin another", path.display()
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
}

/// Where the key is: in systemd's credentials, if it passed any of that name.
///
/// # Errors
/// A credential that is there and cannot be looked at: another key in its place would break the chain.
pub fn path(data_dir: &Path) -> Result<PathBuf, KeyError> {
    Ok(SecretFile::place(WHAT, data_dir, NAME)?)
}

/// Reads the key; makes it where there is none, if `may_make`.
///
/// # Errors
/// [`KeyError`].
pub fn load(path: &Path, may_make: bool) -> Result<ChainKey, KeyError> {
    let file = SecretFile { what: WHAT, path };
    let secret = match file.read()? {
        Some(secret) => secret,
        None if may_make => file.make()?,
        None => return Err(KeyError::Missing { path: path.to_owned() }),
    };
    Ok(ChainKey::new(&secret))
}

/// Whether a directory has files of a log, or of one only its head any more.
///
/// # Errors
/// It is there and cannot be read.
pub fn has_log(dir: &Path) -> io::Result<bool> {
    match super::dir::list(dir) {
        Ok(names) => Ok(!names.is_empty() || dir.join(super::head::NAME).exists()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(NAME);
        assert!(matches!(load(&path, false), Err(KeyError::Missing { .. })));
        let made = load(&path, true).expect("made");
        let again = load(&path, false).expect("read");
        assert_eq!(made.mac(b"x", &[]), again.mac(b"x", &[]));
        std::fs::write(&path, b"short").expect("a file");
        assert!(matches!(load(&path, true), Err(KeyError::File(_))));
        assert!(!has_log(&dir.path().join("none")).expect("looked"));
    }
}
