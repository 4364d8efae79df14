//! The pepper: from a systemd credential, or made at first start beside the data.

use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::key::Pepper;
use crate::store::Fact;

/// The name of the credential, and of the file in the data directory.
const NAME: &str = "pepper";
/// What the store knows the pepper by, so that another one is noticed before it denies every key.
pub(super) const FINGERPRINT: Fact = Fact("pepper_fingerprint");
pub(super) const FINGERPRINT_SCHEMA: u16 = 1;

/// Why there is no pepper.
#[derive(Debug, thiserror::Error)]
pub enum PepperError {
    /// The file cannot be read or made.
    #[error("cannot {doing} the pepper {}: {error}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
    /// The file has another length.
    #[error("the pepper {} has {found} bytes; it has 32: restore it from a backup", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Its length.
        found: usize,
    },
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

/// Where the pepper is: in systemd's credentials, if it passed any of that name. A credential that
/// cannot be looked at is an error: another pepper in its place would deny every key.
pub(super) fn path(data_dir: &Path) -> Result<PathBuf, PepperError> {
    let own = data_dir.join(NAME);
    let Some(directory) = std::env::var_os("CREDENTIALS_DIRECTORY") else { return Ok(own) };
    let passed = PathBuf::from(directory).join(NAME);
    match passed.symlink_metadata() {
        Ok(_) => Ok(passed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(own),
        Err(error) => Err(PepperError::Io { doing: "look for", path: passed, error }),
    }
}

/// Warns of a pepper that others may read.
fn warn_if_exposed(path: &Path) {
    let Ok(metadata) = path.metadata() else { return };
    // The group's bits of a file that is not ours may be how we come to read it: so systemd passes
    // credentials.
    let ours = metadata.uid() == rustix::process::geteuid().as_raw();
    let others = if ours { 0o077 } else { 0o007 };
    if metadata.mode() & others != 0 {
        let (path, mode) = (path.display(), format!("{:03o}", metadata.mode() & 0o777));
        tracing::warn!(%path, mode, "other users may read the pepper; chmod 600 mends it");
    }
}

/// Reads the pepper; makes it where there is none, if `may_make`.
pub(super) fn load(path: &Path, may_make: bool) -> Result<Pepper, PepperError> {
    let failed = |doing| move |error| PepperError::Io { doing, path: path.to_owned(), error };
    match std::fs::read(path).map(Zeroizing::new) {
        Ok(bytes) => {
            warn_if_exposed(path);
            let secret = <&[u8; Pepper::BYTES]>::try_from(bytes.as_slice());
            let length = |_| PepperError::Length { path: path.to_owned(), found: bytes.len() };
            secret.map(Pepper::new).map_err(length)
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("read")(error)),
        Err(_) if !may_make => Err(PepperError::Missing { path: path.to_owned() }),
        Err(_) => make(path).map_err(failed("make")),
    }
}

/// Makes a pepper, whole or not at all: under another name first, synced, then renamed.
fn make(path: &Path) -> io::Result<Pepper> {
    let mut secret = Zeroizing::new([0; Pepper::BYTES]);
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
    if let Some(directory) = path.parent() {
        std::fs::File::open(directory)?.sync_all()?;
    }
    Ok(Pepper::new(&secret))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_pepper_is_made_once_and_private() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(NAME);
        assert!(matches!(load(&path, false), Err(PepperError::Missing { .. })));
        let made = load(&path, true).expect("made");
        let again = load(&path, false).expect("read");
        assert!(made.digest(b"x") == again.digest(b"x"));
        let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&path, b"short").expect("a file");
        assert!(matches!(load(&path, true), Err(PepperError::Length { found: 5, .. })));
    }
}
