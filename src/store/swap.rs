//! A store that takes the place of another in its data directory: whole, or not at all.
//!
//! ```text
//! swap.part/    the new store in the making; removed by whoever finds it
//! swap.done/    the new store, whole and durable: from its name on, it is the data
//! ```
//!
//! The one step that decides is the rename of `swap.part` to `swap.done`. Before it the old files
//! are the data, after it the new ones are; moving them to their places is repeated by whoever
//! opens the directory until it is done. It is done inside the directory, which may be the root of a
//! file system and then has no neighbour to be renamed to.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::copy::{Walked, compare, copy_all};
use super::dir::{self, DataDir, LOCK_FILE, sync_path};
use super::engine::{StoreEngine, StoreOptions, claim_existing, open_claimed};
use super::{Store, StoreError};

const PART: &str = "swap.part";
const DONE: &str = "swap.done";

/// What a compaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// Whose data it is.
    pub engine: StoreEngine,
    /// What was copied.
    pub copied: Walked,
    /// Bytes on disk before.
    pub bytes_before: u64,
    /// Bytes on disk after.
    pub bytes_after: u64,
}

/// Writes all rows of a data directory that nobody uses into a new store, shows that it holds the
/// same, and lets it take the old one's place. `each` hears of every chunk, first as it is copied
/// and then as it is compared.
///
/// # Errors
/// [`StoreError::InUse`], [`StoreError::NoData`], [`StoreError::CopyDiffers`], and those of the
/// engine. The data is then what it was.
pub fn compact(
    dir: &Path,
    options: &StoreOptions,
    mut each: impl FnMut(Walked),
) -> Result<Compacted, StoreError> {
    let (engine, claimed) = claim_existing(dir)?;
    let old = open_claimed(engine, claimed.clone(), options)?;
    let bytes_before = old.bytes_on_disk()?;
    let copied = copy_beside(&*old, engine, &claimed, options, &mut each).inspect_err(|_| {
        // Not left for the next start, on a disk that may be full.
        let _ = remove(&part_of(&claimed));
    })?;
    drop(old);
    commit(&claimed)?;
    let new = open_claimed(engine, claimed, options)?;
    Ok(Compacted { engine, copied, bytes_before, bytes_after: new.bytes_on_disk()? })
}

/// Makes the new store and shows that it holds what the old one does.
fn copy_beside(
    old: &dyn Store,
    engine: StoreEngine,
    dir: &DataDir,
    options: &StoreOptions,
    each: &mut impl FnMut(Walked),
) -> Result<Walked, StoreError> {
    let part = part_of(dir);
    let new = open_claimed(engine, DataDir::claim(&part)?, options)?;
    let copied = copy_all(old, &*new, &mut *each)?;
    // Closed and opened again: what is compared is what a start would find.
    drop(new);
    let new = open_claimed(engine, DataDir::claim(&part)?, options)?;
    compare(old, &*new, &part, each)?;
    Ok(copied)
}

/// Where the new store is made.
fn part_of(dir: &DataDir) -> PathBuf {
    dir.path().join(PART)
}

/// Whether a new store has taken the old one's place and is not moved there yet.
pub(super) fn is_begun(dir: &Path) -> bool {
    dir.join(DONE).is_dir()
}

/// Makes the store in `swap.part`, which is closed, the data of the directory.
///
/// # Errors
/// [`StoreError::Io`]. After one, either store may be the data, whole; the next open settles which.
fn commit(dir: &DataDir) -> Result<(), StoreError> {
    let (part, done) = (part_of(dir), dir.path().join(DONE));
    dir::sync_tree(&part)?;
    rename(&part, &done)?;
    sync_path(dir.path())?;
    finish(dir, &done)
}

/// Finishes what was begun, and removes what was not.
///
/// # Errors
/// [`StoreError::Io`].
pub(super) fn settle(dir: &DataDir) -> Result<(), StoreError> {
    remove(&part_of(dir))?;
    let done = dir.path().join(DONE);
    if !is_begun(dir.path()) {
        return Ok(());
    }
    tracing::warn!("a compaction was cut short when it was whole; its store takes its place");
    finish(dir, &done)
}

/// Moves a store that is the data to its place. Cut short anywhere, it goes on where it was.
fn finish(dir: &DataDir, done: &Path) -> Result<(), StoreError> {
    let mains = StoreEngine::ALL.iter().map(|engine| engine.file());
    // While the main file of the new store has not moved, no file of it has: those that lie in the
    // directory are the old one's. One of them beside the new main file would be taken for its own.
    if let Some(main) = mains.clone().find(|main| done.join(main).exists()) {
        for name in names(dir.path())? {
            let old = StoreEngine::ALL.iter().any(|engine| engine.owns(&name));
            if old && name != main {
                remove(&dir.path().join(&name))?;
            }
        }
        rename(&done.join(main), &dir.path().join(main))?;
        sync_path(dir.path())?;
        sync_path(done)?;
    }
    remove(&done.join(LOCK_FILE))?;
    for name in names(done)? {
        rename(&done.join(&name), &dir.path().join(&name))?;
    }
    sync_path(dir.path())?;
    remove(done)?;
    sync_path(dir.path())
}

fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let io = |error| StoreError::io("list", dir, error);
    let name = |entry: std::io::Result<fs::DirEntry>| {
        Ok(entry.map_err(io)?.file_name().into_string().unwrap_or_default())
    };
    let names: Result<Vec<_>, StoreError> = fs::read_dir(dir).map_err(io)?.map(name).collect();
    Ok(names?.into_iter().filter(|name| !name.is_empty()).collect())
}

fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(|error| StoreError::io("move a new store to", to, error))
}

/// Removes a file or a directory with what is in it; one that is not there is removed already.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    let removed = match path.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(StoreError::io("remove", path, error))
        }
        _ => Ok(()),
    }
}
