//! The data directory: made private, held by one daemon at a time, and made durable.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::engine::StoreEngine;
use super::{StoreError, owner};

/// The file whose lock is the right to the directory. It stays when the daemon ends: removing it
/// would let two daemons hold locks on two files of one name.
pub(super) const LOCK_FILE: &str = "LOCK";

/// Bytes read of a lock file to name its holder: a process id and a line feed.
const HOLDER_BYTES_MAX: u64 = 32;

/// A data directory that is ours until this and every clone of it is dropped. The system drops the
/// lock with the process, however that ends.
#[derive(Debug, Clone)]
pub(crate) struct DataDir(Arc<Held>);

#[derive(Debug)]
struct Held {
    path: PathBuf,
    /// Held for its lock.
    _lock: File,
}

impl Drop for Held {
    fn drop(&mut self) {
        let ours = |name: &str| {
            let of_engine = StoreEngine::ALL.iter().any(|engine| engine.owns(name));
            of_engine || name == LOCK_FILE
        };
        match owner::hand_back(&self.path, ours) {
            // A directory in the making has another name by now.
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => tracing::warn!(
                path = %self.path.display(), %error,
                "what root made in this directory could not be given to its owner; chown it"
            ),
            _ => {}
        }
    }
}

impl DataDir {
    /// Makes the directory (mode 0700) where there is none, and takes it.
    ///
    /// # Errors
    /// [`StoreError::InUse`] with the holder's process id; [`StoreError::Io`].
    pub(crate) fn claim(path: &Path) -> Result<Self, StoreError> {
        create_private(path)?;
        let lock_path = path.join(LOCK_FILE);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(|error| StoreError::io("open", &lock_path, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::InUse { dir: path.to_owned(), holder: holder(&mut lock) });
            }
            Err(TryLockError::Error(error)) => {
                return Err(StoreError::io("lock", &lock_path, error));
            }
        }
        // Somebody has removed the file between our opening and our locking it, and others may hold a
        // lock on a new one of its name: ours is worth nothing.
        if !is_named(&lock, &lock_path) {
            let holder = "another process".to_owned();
            return Err(StoreError::InUse { dir: path.to_owned(), holder });
        }
        // The lock is what counts; on a full disk the daemon must start without its name in it.
        let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        Ok(Self(Arc::new(Held { path: path.to_owned(), _lock: lock })))
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }

    /// Makes the files and directories whose names are `ours` durable, then their names, and the
    /// files private. What else lies in the directory is left alone.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(crate) fn settle(&self, ours: impl Fn(&str) -> bool) -> Result<(), StoreError> {
        let io = |error| StoreError::io("list", self.path(), error);
        for entry in fs::read_dir(self.path()).map_err(io)? {
            let entry = entry.map_err(io)?;
            if !entry.file_name().to_str().is_some_and(&ours) {
                continue;
            }
            let path = entry.path();
            if entry.file_type().map_err(io)?.is_file() {
                fs::set_permissions(&path, Permissions::from_mode(0o600))
                    .map_err(|error| StoreError::io("make private", &path, error))?;
            }
            sync_path(&path)?;
        }
        sync_path(self.path())
    }
}

/// fsyncs a file or a directory.
pub(crate) fn sync_path(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|error| StoreError::io("sync", path, error))
}

/// fsyncs everything under a directory, and the directory.
pub(super) fn sync_tree(path: &Path) -> Result<(), StoreError> {
    let io = |error| StoreError::io("list", path, error);
    for entry in fs::read_dir(path).map_err(io)? {
        let entry = entry.map_err(io)?;
        if entry.file_type().map_err(io)?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            sync_path(&entry.path())?;
        }
    }
    sync_path(path)
}

/// Makes a directory of its owner's alone, durably, where there is none.
fn create_private(path: &Path) -> Result<(), StoreError> {
    let io = |error| StoreError::io("make the directory", path, error);
    if path.is_dir() {
        return Ok(());
    }
    let parent = parent_of(path);
    fs::create_dir_all(parent).map_err(io)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => sync_path(parent),
        // Two daemons may start at once; the lock decides between them.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(io(error)),
    }
}

/// Where the name of a file or a directory stands.
pub(super) fn parent_of(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// Whether an open file is the one that has a name.
fn is_named(file: &File, path: &Path) -> bool {
    let which = |found: fs::Metadata| (found.dev(), found.ino());
    let named = path.metadata().map(which).ok();
    named.is_some() && named == file.metadata().map(which).ok()
}

/// Who wrote the lock file, in words.
fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    let pid = match lock.take(HOLDER_BYTES_MAX).read_to_string(&mut text) {
        Ok(_) => text.trim().parse::<u32>().ok(),
        Err(_) => None,
    };
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_claim_is_told_who_holds_the_directory() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().join("deep/data");
        let first = DataDir::claim(&path).expect("the first claim");
        let mode = fs::metadata(&path).expect("the directory").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        match DataDir::claim(&path) {
            Err(StoreError::InUse { holder, .. }) => {
                assert_eq!(holder, format!("process {}", std::process::id()));
            }
            other => panic!("expected InUse, got {other:?}"),
        }
        drop(first);
        DataDir::claim(&path).expect("free again");
    }

    #[test]
    fn an_unreadable_holder_is_still_a_holder() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let _first = DataDir::claim(home.path()).expect("the first claim");
        fs::write(home.path().join(LOCK_FILE), "not a number").expect("overwritten");
        let error = DataDir::claim(home.path()).expect_err("held");
        assert!(error.to_string().contains("another process"), "{error}");
    }

    #[test]
    fn a_file_that_was_removed_is_not_the_one_of_its_name() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().join(LOCK_FILE);
        let first = File::create(&path).expect("made");
        assert!(is_named(&first, &path));
        fs::remove_file(&path).expect("removed");
        assert!(!is_named(&first, &path));
        let second = File::create(&path).expect("made");
        assert!(!is_named(&first, &path) && is_named(&second, &path));
    }

    #[test]
    fn our_files_are_made_private_and_others_left_alone() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let dir = DataDir::claim(home.path()).expect("claimed");
        for (name, mode) in [("db", 0o600), ("notes", 0o644)] {
            let file = home.path().join(name);
            fs::write(&file, "x").expect("written");
            fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("opened up");
            dir.settle(|name| name == "db").expect("settled");
            let found = fs::metadata(&file).expect("the file").permissions().mode();
            assert_eq!(found & 0o777, mode, "{name}");
        }
    }
}
