//! What can go wrong with the store, in words that a person can act on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::engine::StoreEngine;

/// What ends a latch.
pub const MEND: &str = "make room or mend what else is the cause (on a full disk keygate does not \
                        start), then restart keygate";

/// Why the store did not do what it was asked.
///
/// `Clone`, because one failed sync is the answer to every write that waited for it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// An earlier write or sync failed. What has reached the disk is unknown, so nothing more is
    /// written until a restart has read it back; reads go on.
    #[error(
        "the store refuses writes since one failed ({cause}); keys go on being judged; {}",
        MEND
    )]
    Latched {
        /// The message of the first failure.
        cause: Arc<str>,
    },
    /// The operating system refused.
    #[error("cannot {doing} {path}: {source}", path = path.display())]
    Io {
        /// What was tried, as a verb.
        doing: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// Bytes on disk are not what was written.
    #[error("the data is damaged: {what}; restore a backup, or import an export")]
    Corrupt {
        /// What was found, and where.
        what: String,
    },
    /// The data was written by a later keygate.
    #[error(
        "the data has schema {found} and this keygate knows up to {known}: run the keygate that \
         wrote it ({written_by}) or a later one"
    )]
    NewerSchema {
        /// The schema of the data.
        found: u16,
        /// The newest schema that this program reads.
        known: u16,
        /// The version of the keygate that wrote the data, as far as the data says so.
        written_by: String,
    },
    /// Another process holds the data directory.
    #[error("the data directory {dir} is in use by {holder}: stop it, or give --data-dir another", dir = dir.display())]
    InUse {
        /// The data directory.
        dir: PathBuf,
        /// Who holds it, such as `process 4711`.
        holder: String,
    },
    /// A record that is to be encrypted cannot be.
    #[error("a record cannot be encrypted: {why}; nothing of it was written")]
    Unsealed {
        /// Why.
        why: &'static str,
    },
    /// The data directory holds the other engine's data.
    #[error(
        "the data directory {dir} was made by {found}, and the store is to be {wanted}: set engine = \
         \"{found}\" under [store]; to move to {wanted}, stop keygate, make a directory with `keygate \
         restore {dir} --data-dir NEW --engine {wanted}`, and start on that (or export from the one \
         and import into the other)",
        dir = dir.display()
    )]
    OtherEngine {
        /// The data directory.
        dir: PathBuf,
        /// Whose data it is.
        found: StoreEngine,
        /// What was asked for.
        wanted: StoreEngine,
    },
    /// There is no data where some was looked for.
    #[error("{dir} holds no data of keygate's: give the daemon's data directory or a backup", dir = dir.display())]
    NoData {
        /// The directory.
        dir: PathBuf,
    },
    /// A directory that is to be made is there already.
    #[error("{dir} is there already, and nothing is written over: give another name, or move it away", dir = dir.display())]
    Exists {
        /// The directory.
        dir: PathBuf,
    },
    /// A copy is not what it was made from.
    #[error("the copy in {dir} is not the data ({what}); it is not used; look at the disk", dir = dir.display())]
    CopyDiffers {
        /// Where the copy is.
        dir: PathBuf,
        /// The first difference.
        what: String,
    },
    /// One atomic batch asks for too much.
    #[error("a batch of {found} {unit} is over the limit of {max}: split it")]
    BatchTooLarge {
        /// How much was asked for.
        found: usize,
        /// The limit.
        max: usize,
        /// Of what: operations or bytes.
        unit: &'static str,
    },
    /// A key or a value is outside the store's bounds.
    #[error("a {what} of {found} bytes is outside the store's bounds ({min} to {max} bytes)")]
    RowSize {
        /// Key or value.
        what: &'static str,
        /// Its length, in bytes.
        found: usize,
        /// The least allowed.
        min: usize,
        /// The most allowed.
        max: usize,
    },
    /// The engine panicked; the panic was caught and the store latched.
    #[error("the storage engine failed inside while it was to {doing}: {what}")]
    Panicked {
        /// What was tried, as a verb.
        doing: &'static str,
        /// The panic's message.
        what: String,
    },
    /// The disk, or the engine, has not answered in time. Whether the write happened is unknown.
    #[error(
        "the store has not answered for {waited_ms} ms; whether the write is on disk is unknown; \
         look at the disk, then restart keygate"
    )]
    Stalled {
        /// How long the write was waited for, in milliseconds.
        waited_ms: u64,
    },
}

impl StoreError {
    /// An I/O failure with what was tried and where.
    pub(crate) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), source: Arc::new(source) }
    }

    /// Damage, described.
    pub(crate) fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into() }
    }
}
