//! Which engine lies in a data directory, and opening it.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::dir::DataDir;
use super::redb::{self, RedbStore};
use super::sled::{self, SledStore};
use super::{Store, StoreError, swap};

/// Memory for pages unless stated otherwise. Decisions never read the store, so this serves lists
/// and the parents of pages that are written.
const CACHE_BYTES_DEFAULT: u64 = 16 * 1024 * 1024;

/// An implementation of [`Store`] on disk, as the configuration names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreEngine {
    /// sled 0.34.7.
    #[default]
    Sled,
    /// redb 4.
    Redb,
}

impl StoreEngine {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Sled, Self::Redb];

    /// As it stands in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sled => "sled",
            Self::Redb => "redb",
        }
    }

    /// The engine of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|engine| engine.name() == name)
    }

    /// The file that shows a directory to hold this engine's data.
    pub(super) const fn file(self) -> &'static str {
        match self {
            Self::Sled => sled::FILE,
            Self::Redb => redb::FILE,
        }
    }

    /// Whether a file of a data directory is this engine's.
    pub(super) fn owns(self, name: &str) -> bool {
        match self {
            Self::Sled => sled::is_ours(name),
            Self::Redb => redb::is_ours(name),
        }
    }
}

impl std::fmt::Display for StoreEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What can be chosen about a store on disk.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Memory for pages, in bytes.
    pub cache_bytes: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { cache_bytes: CACHE_BYTES_DEFAULT }
    }
}

/// Opens the store of this engine in a directory, or makes both. What a compaction left behind
/// that was cut short is finished or removed.
///
/// # Errors
/// [`StoreError::InUse`] when another process has it open, [`StoreError::OtherEngine`] when the
/// data is the other's, [`StoreError::Corrupt`], [`StoreError::Io`], [`StoreError::Panicked`].
pub fn open(
    engine: StoreEngine,
    dir: &Path,
    options: &StoreOptions,
) -> Result<Arc<dyn Store>, StoreError> {
    let claimed = DataDir::claim(dir)?;
    swap::settle(&claimed)?;
    match found_in(dir) {
        Some(found) if found != engine => {
            Err(StoreError::OtherEngine { dir: dir.to_owned(), found, wanted: engine })
        }
        _ => open_claimed(engine, claimed, options),
    }
}

/// Opens the store that lies in a directory, whichever engine made it. Makes nothing where there
/// is none.
///
/// # Errors
/// [`StoreError::NoData`]; otherwise as [`open`].
pub fn open_existing(
    dir: &Path,
    options: &StoreOptions,
) -> Result<(StoreEngine, Arc<dyn Store>), StoreError> {
    let (engine, claimed) = claim_existing(dir)?;
    Ok((engine, open_claimed(engine, claimed, options)?))
}

/// Takes a directory that holds data.
///
/// # Errors
/// [`StoreError::NoData`], [`StoreError::InUse`], [`StoreError::Io`].
pub(super) fn claim_existing(dir: &Path) -> Result<(StoreEngine, DataDir), StoreError> {
    let no_data = || StoreError::NoData { dir: dir.to_owned() };
    // Where nothing can be seen, nothing is known.
    if let Err(error) = std::fs::metadata(dir.join("."))
        && error.kind() == ErrorKind::PermissionDenied
    {
        let source = Arc::new(error);
        return Err(StoreError::Io { doing: "look into", path: dir.to_owned(), source });
    }
    // Before the claim, which would leave its lock in any directory that somebody mistyped.
    if found_in(dir).is_none() && !swap::is_begun(dir) {
        return Err(no_data());
    }
    let claimed = DataDir::claim(dir)?;
    swap::settle(&claimed)?;
    Ok((found_in(dir).ok_or_else(no_data)?, claimed))
}

/// Opens a store in a directory that is ours.
pub(super) fn open_claimed(
    engine: StoreEngine,
    dir: DataDir,
    options: &StoreOptions,
) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match engine {
        StoreEngine::Sled => Arc::new(SledStore::open(dir, options.cache_bytes)?),
        StoreEngine::Redb => Arc::new(RedbStore::open(dir, options.cache_bytes)?),
    })
}

/// Whose data lies in a directory, if any does.
#[must_use]
pub fn found_in(dir: &Path) -> Option<StoreEngine> {
    StoreEngine::ALL.iter().copied().find(|engine| dir.join(engine.file()).exists())
}
