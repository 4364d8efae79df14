//! The audit log.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Who changed what and what was decided, in a file of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// Whether it is kept. Where it is not, keys that demand audit are denied.
    pub enabled: bool,
    /// Its directory; empty for `audit` in the data directory.
    pub dir: PathBuf,
    /// What it means that a record was accepted.
    pub sync: AuditSync,
    /// A file that has as many bytes takes no more records.
    pub file_bytes_max: u64,
    /// A file that is as old takes no more records.
    pub file_age_max_hours: u32,
    /// Files; the oldest is removed when there is one more.
    pub files_max: usize,
    /// Records that may wait to be written; a long one counts once for each KiB.
    pub queue_records_max: usize,
    /// Denials that are recorded each second, of keys that do not demand it; the others are counted.
    pub denials_per_second_max: u32,
}

/// See [`Audit::sync`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditSync {
    /// It is in the queue; a crash of the machine may lose what the last second brought.
    #[default]
    Queue,
    /// It is on disk; replies of keys that demand audit wait for that.
    Fsync,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            enabled: true,
            dir: PathBuf::new(),
            sync: AuditSync::default(),
            file_bytes_max: 64 * 1024 * 1024,
            file_age_max_hours: 24,
            files_max: 400,
            queue_records_max: 65_536,
            denials_per_second_max: 100,
        }
    }
}

impl Audit {
    /// The name of the directory inside the data directory.
    pub const DIR_NAME: &str = "audit";

    /// Its directory.
    #[must_use]
    pub fn dir_in(&self, data_dir: &Path) -> PathBuf {
        if self.dir.as_os_str().is_empty() {
            data_dir.join(Self::DIR_NAME)
        } else {
            self.dir.clone()
        }
    }
}
