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
    /// Leave the master key out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_master_key: bool,
}

/// Where a daemon has its pepper or its master key from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretFrom {
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
    pub pepper_from: Option<SecretFrom>,
    /// In the first frame: the pepper's file, in base64, where the daemon keeps it in its data
    /// directory and it was not to be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pepper: Option<String>,
    /// In the first frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master_key_from: Option<SecretFrom>,
    /// In the first frame: the master key's file, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master_key: Option<String>,
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
    /// Of them, those whose rows are encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records_encrypted: Option<u64>,
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

/// The reply to `PepperRotate`, `PepperStatus`, `MasterRotate` and `MasterStatus`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretStatus {
    /// The beginning of the id of the secret that the store is written under; it tells nothing of it.
    pub id: String,
    /// Where the daemon has it from.
    pub from: SecretFrom,
    /// Its rotation, if there was one since the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<SecretRotation>,
    /// What is to be done yet about the files of a rotation that is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How a rotation stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRotation {
    /// The beginning of the id of the new secret.
    pub to: String,
    /// Whether it goes on.
    pub state: RotationState,
    /// Records that were looked at since it began, or since the start.
    pub records: u64,
    /// About how many there are; never below `records`.
    pub records_estimate: u64,
    /// Why it stands still, or what is to be done yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Whether a rotation goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RotationState {
    /// Records are renewed.
    Running,
    /// It stands still; rotating again, or a restart, goes on with it.
    Failed,
    /// Everything is under the new secret.
    Done,
}
