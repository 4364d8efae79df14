//! The JSON of what concerns the store as a whole: `Backup` and `Verify` (SPEC §9).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How far a walk over the store has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Rows so far.
    pub rows: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// About how many rows there are; never below `rows`.
    pub rows_estimate: u64,
}

/// `Backup`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// Leave the pepper out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_pepper: bool,
}

/// Where a daemon has its pepper from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PepperFrom {
    /// From a file in its data directory: it belongs in a backup.
    DataDir,
    /// From a systemd credential: it is kept elsewhere.
    Credential,
}

/// One frame of the reply to `Backup`: more follow while the frame says so.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct BackupFrame {
    /// In the first frame: the engine of the daemon's store, `sled` or `redb`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// In the first frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pepper_from: Option<PepperFrom>,
    /// In the first frame: the pepper's file, in base64, where the daemon keeps it in its data
    /// directory and it was not to be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pepper: Option<String>,
    /// What to write, in order.
    pub rows: Vec<BackupRow>,
    /// How far the daemon has come.
    pub progress: Progress,
}

/// One row to write or to remove.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRow {
    /// The row's key, in base64.
    pub k: String,
    /// Its value, in base64; absent: the row is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v: Option<String>,
    /// The value goes on in the next row of this key, which follows at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// One frame of the reply to `Verify`: more follow while the frame says so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyFrame {
    /// How far the daemon has come; from the beginning again in a second pass.
    pub progress: Progress,
    /// In the last frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<VerifyReport>,
}

/// What was found in a store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Whether nothing is wrong.
    pub clean: bool,
    /// All rows.
    pub rows: u64,
    /// Bytes of their keys and values: the live data.
    pub bytes: u64,
    /// Records.
    pub records: u64,
    /// Records by the schema that they are written in.
    pub records_by_schema: BTreeMap<String, u64>,
    /// Rows of the indexes.
    pub index_rows: u64,
    /// Keys with usage.
    pub usage_rows: u64,
    /// Keys and tenants of which the ledger has figures; absent from a daemon without a ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger_rows: Option<u64>,
    /// Chunks of ids of increments.
    pub increment_chunks: u64,
    /// The schema that the store states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<u16>,
    /// The release of the keygate that stated it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_by: Option<String>,
    /// An import that has begun and not finished; no problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_import: Option<u64>,
    /// The latest instant at which something was written that says when, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_at: Option<String>,
    /// The first problems, 1,000 at most.
    pub problems: Vec<VerifyProblem>,
    /// All problems, by kind.
    pub problem_counts: BTreeMap<String, u64>,
}

/// One thing that is wrong with a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyProblem {
    /// A stable name of what kind it is.
    pub kind: String,
    /// Which row, in words.
    pub row: String,
    /// What is wrong with it.
    pub what: String,
}
