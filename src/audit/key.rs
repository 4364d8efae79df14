//! The file of the key that records are chained under: from a systemd credential, or made at first
//! start beside the data.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::mac::{ChainKey, MAC_BYTES};

/// The name of the credential, and of the file in the data directory.
const NAME: &str = "audit.key";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or made.
    #[error("cannot {doing} the key of the audit log {}: {error}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
    /// The file has another length.
    #[error(
        "the key of the audit log {} has {found} bytes; it has 32: restore it from a backup",
        path.display()
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// Its length.
        found: usize,
    },
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
    let own = data_dir.join(NAME);
    let Some(directory) = std::env::var_os("CREDENTIALS_DIRECTORY") else { return Ok(own) };
    let passed = PathBuf::from(directory).join(NAME);
    match passed.symlink_metadata() {
        Ok(_) => Ok(passed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(own),
        Err(error) => Err(KeyError::Io { doing: "look for", path: passed, error }),
    }
}

/// Reads the key; makes it where there is none, if `may_make`.
///
/// # Errors
/// [`KeyError`].
pub fn load(path: &Path, may_make: bool) -> Result<ChainKey, KeyError> {
    let failed = |doing| move |error| KeyError::Io { doing, path: path.to_owned(), error };
    match std::fs::read(path).map(Zeroizing::new) {
        Ok(bytes) => {
            let secret = <&[u8; MAC_BYTES]>::try_from(bytes.as_slice());
            let length = |_| KeyError::Length { path: path.to_owned(), found: bytes.len() };
            secret.map(ChainKey::new).map_err(length)
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("read")(error)),
        Err(_) if !may_make => Err(KeyError::Missing { path: path.to_owned() }),
        Err(_) => make(path).map_err(failed("make")),
    }
}

/// Whether a directory has files of a log.
///
/// # Errors
/// It is there and cannot be read.
pub fn has_log(dir: &Path) -> io::Result<bool> {
    match super::dir::list(dir) {
        Ok(names) => Ok(!names.is_empty()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes a key, whole or not at all: under another name first, synced, then renamed.
fn make(path: &Path) -> io::Result<ChainKey> {
    let mut secret = Zeroizing::new([0; MAC_BYTES]);
    getrandom::fill(&mut *secret).map_err(io::Error::other)?;
    let draft = path.with_extension("new");
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(&*secret)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    super::disk::sync_parent(path)?;
    Ok(ChainKey::new(&secret))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_private() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(NAME);
        assert!(matches!(load(&path, false), Err(KeyError::Missing { .. })));
        let made = load(&path, true).expect("made");
        let again = load(&path, false).expect("read");
        assert_eq!(made.mac(b"x", &[]), again.mac(b"x", &[]));
        let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&path, b"short").expect("a file");
        assert!(matches!(load(&path, true), Err(KeyError::Length { found: 5, .. })));
        assert!(!has_log(&dir.path().join("none")).expect("looked"));
    }
}
