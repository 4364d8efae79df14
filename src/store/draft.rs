//! A data directory in the making: under another name until it is whole and durable.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::dir::{DataDir, LOCK_FILE, parent_of, sync_path, sync_tree};
use super::engine::{StoreEngine, StoreOptions, open_claimed};
use super::{Store, StoreError, swap};

/// Makes the directory `target` out of `target` + `.part`, which is its own from the beginning to the
/// end. Dropped before its end, it leaves nothing behind; killed, it leaves the part, which the next
/// one of this name removes.
#[derive(Debug)]
pub struct Draft {
    part: DataDir,
    target: PathBuf,
    finished: bool,
}

impl Draft {
    /// Begins. An empty directory of the target's name may be there if `over_empty`.
    ///
    /// # Errors
    /// [`StoreError::Exists`]; [`StoreError::InUse`] while another process makes the same one;
    /// [`StoreError::Io`].
    pub fn begin(target: &Path, over_empty: bool) -> Result<Self, StoreError> {
        // So that `.` has a name too. A path that ends in `..` is refused: it is there.
        let target = std::path::absolute(target)
            .map_err(|error| StoreError::io("look at", target, error))?;
        let target = target.as_path();
        let may_be_made = match target.symlink_metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
            Err(error) => return Err(StoreError::io("look at", target, error)),
            Ok(_) => {
                over_empty
                    && target.file_name().is_some()
                    && target.read_dir().is_ok_and(|mut names| names.next().is_none())
            }
        };
        if !may_be_made {
            return Err(StoreError::Exists { dir: target.to_owned() });
        }
        let part = target.with_added_extension("part");
        if part.exists() {
            if !is_left_behind(&part) {
                return Err(StoreError::Exists { dir: part });
            }
            // Shows that nobody is making it now.
            let left = DataDir::claim(&part)?;
            swap::remove(left.path())?;
        }
        // Another may have made the same one since; the lock decides.
        let part = DataDir::claim(&part)?;
        Ok(Self { part, target: target.to_owned(), finished: false })
    }

    /// Opens a new store in it. It must be dropped before [`Draft::finish`].
    ///
    /// # Errors
    /// As [`super::open`].
    pub fn open(
        &self,
        engine: StoreEngine,
        options: &StoreOptions,
    ) -> Result<Arc<dyn Store>, StoreError> {
        open_claimed(engine, self.part.clone(), options)
    }

    /// Adds a file, readable by its owner alone.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn add_file(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.part.path().join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(bytes))
            .map_err(|error| StoreError::io("write", &path, error))
    }

    /// Makes all of it durable, and then known by its name.
    ///
    /// # Errors
    /// [`StoreError::Io`]; what is there of the target's name then is whole, and may not be durable.
    pub fn finish(mut self) -> Result<(), StoreError> {
        sync_tree(self.part.path())?;
        // Over nothing, or an empty directory: one that was filled meanwhile is not replaced.
        fs::rename(self.part.path(), &self.target).map_err(|error| {
            StoreError::io("give the finished directory its name,", &self.target, error)
        })?;
        self.finished = true;
        sync_path(parent_of(&self.target))
    }
}

/// Whether a directory of a part's name may be one that was left behind: the lock is the first that
/// comes into it.
fn is_left_behind(part: &Path) -> bool {
    let is_empty = || part.read_dir().is_ok_and(|mut names| names.next().is_none());
    part.join(LOCK_FILE).exists() || is_empty()
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.finished {
            // What cannot be removed now is removed by the next one of this name.
            let _ = swap::remove(self.part.path());
        }
    }
}
