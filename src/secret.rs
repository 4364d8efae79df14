//! Files of 32 secret bytes: passed by systemd as a credential, or made at first start beside the data.

use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Bytes of a secret.
pub const BYTES: usize = 32;

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be looked at, read or made.
    #[error("cannot {doing} the {what} {}: {error}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Which secret.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
    /// The file has another length.
    #[error("the {what} {} has {found} bytes; it has 32: restore it from a backup", path.display())]
    Length {
        /// Which secret.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Its length.
        found: usize,
    },
}

/// A secret's file: what it is called in errors, and its place.
#[derive(Debug, Clone, Copy)]
pub struct SecretFile<'a> {
    /// What it is, for people: `pepper`.
    pub what: &'static str,
    /// Where it is.
    pub path: &'a Path,
}

impl SecretFile<'_> {
    /// Where the secret of a name is: in systemd's credentials, if it passed any of that name, else
    /// in the data directory.
    ///
    /// # Errors
    /// A credential that is there and cannot be looked at: another secret in its place would do harm.
    pub fn place(what: &'static str, data_dir: &Path, name: &str) -> Result<PathBuf, SecretError> {
        let own = data_dir.join(name);
        let Some(directory) = std::env::var_os("CREDENTIALS_DIRECTORY") else { return Ok(own) };
        let passed = PathBuf::from(directory).join(name);
        match passed.symlink_metadata() {
            Ok(_) => Ok(passed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(own),
            Err(error) => Err(SecretError::Io { doing: "look for", what, path: passed, error }),
        }
    }

    /// Reads it; `None` where there is no such file. Warns where others may read it too.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn read(&self) -> Result<Option<Zeroizing<[u8; BYTES]>>, SecretError> {
        let Self { what, path } = *self;
        let bytes = match std::fs::read(path).map(Zeroizing::new) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed("read", error)),
        };
        self.warn_if_exposed();
        let secret = <&[u8; BYTES]>::try_from(bytes.as_slice());
        let length = |_| SecretError::Length { what, path: path.to_owned(), found: bytes.len() };
        secret.map(|secret| Some(Zeroizing::new(*secret))).map_err(length)
    }

    /// Makes it, whole or not at all: under another name first, synced, then renamed.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn make(&self) -> Result<Zeroizing<[u8; BYTES]>, SecretError> {
        make(self.path).map_err(|error| self.failed("make", error))
    }

    fn failed(&self, doing: &'static str, error: io::Error) -> SecretError {
        SecretError::Io { doing, what: self.what, path: self.path.to_owned(), error }
    }

    fn warn_if_exposed(&self) {
        let Ok(metadata) = self.path.metadata() else { return };
        // The group's bits of a file that is not ours may be how we come to read it: so systemd
        // passes credentials.
        let ours = metadata.uid() == rustix::process::geteuid().as_raw();
        let others = if ours { 0o077 } else { 0o007 };
        if metadata.mode() & others != 0 {
            let (path, mode) = (self.path.display(), format!("{:03o}", metadata.mode() & 0o777));
            let what = self.what;
            tracing::warn!(%path, mode, "other users may read the {what}; chmod 600 mends it");
        }
    }
}

fn make(path: &Path) -> io::Result<Zeroizing<[u8; BYTES]>> {
    let mut secret = Zeroizing::new([0; BYTES]);
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
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_made_once_private_and_never_taken_for_another_length() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("pepper");
        let file = SecretFile { what: "pepper", path: &path };
        assert!(file.read().expect("looked").is_none());
        let made = file.make().expect("made");
        let again = file.read().expect("readable").expect("it is there");
        assert!(*made == *again && *made != [0; BYTES]);
        let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&path, b"short").expect("a file");
        let error = file.read().expect_err("too short").to_string();
        assert!(error.contains("pepper") && error.contains("has 5 bytes"), "{error}");
    }
}
