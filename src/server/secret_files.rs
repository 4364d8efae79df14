//! The files of the pepper and of the master key as a command finds them in a data directory: which
//! they are, by the ids that a store knows them by. Nothing is made, moved or written.

use std::path::Path;

use super::keyring::{id, name};
pub use crate::secret::SecretError;
use crate::secret::SecretFile;
use crate::store::Rotating;

/// The ids of a secret's files in a data directory: first of the one in use, then of one that takes
/// its place. Either may be absent. A credential is not looked for.
///
/// # Errors
/// A file that cannot be read, or has another length.
pub fn secret_files(data_dir: &Path, of: Rotating) -> Result<[Option<String>; 2], SecretError> {
    let read = |next| {
        let path = data_dir.join(name(of, next));
        let bytes = SecretFile { what: of.name(), path: &path }.read()?;
        Ok::<_, SecretError>(bytes.map(|bytes| id(of, &bytes)))
    };
    Ok([read(false)?, read(true)?])
}
