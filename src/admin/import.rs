//! Imports: records of the source system, taken all or not at all.
//!
//! Rows are written as they come, under a mark that says the import is not whole; decisions do not
//! see them. Finishing removes the mark, durably, and then lets decisions see all of them. An
//! import that fails, is broken off, or is cut short by a crash is rolled back: here, or when the
//! store is opened again.

use std::sync::Arc;

use keygate_protocol::ErrorCode;
use keygate_protocol::admin::{ImportChunk, ImportProblem, ImportReport};
use serde_json::value::RawValue;
use tokio::sync::OwnedMutexGuard;

use super::keys::notices;
use super::{Admin, AdminError, RECORD_JSON_BYTES_MAX, blocking};
use crate::key::{FieldError, KeyRecord, RecordInput, Time};
use crate::store::{CommitError, KeyWrite, Write, WriteError, plan};

/// Problems and notices that a report carries.
const LINES_MAX: usize = 1000;

/// An import that is under way. Must be ended by [`Import::finish`] or [`Import::roll_back`].
pub struct Import {
    admin: Arc<Admin>,
    number: u64,
    skip_bad: bool,
    /// Records seen so far.
    seen: u64,
    /// Keys written so far.
    ids: Vec<u64>,
    report: ImportReport,
    /// Keys with fields that are kept and not enforced.
    unenforced: u64,
    _only_one: OwnedMutexGuard<()>,
}

impl Import {
    /// Begins an import.
    ///
    /// # Errors
    /// `BUSY` while another is under way; `READ_ONLY`, `STORAGE`.
    pub async fn begin(admin: Arc<Admin>, skip_bad: bool) -> Result<Self, AdminError> {
        let only_one = Arc::clone(&admin.importing).try_lock_owned().map_err(|_| {
            AdminError::new(ErrorCode::Busy, "another import is under way; wait for its end")
        })?;
        let keys = admin.keys.clone();
        let number =
            blocking(move || keys.next_import()).await.ok_or_else(AdminError::stopping)??;
        admin.commit(vec![Write::BeginImport { number }]).await?;
        Ok(Self {
            admin,
            number,
            skip_bad,
            seen: 0,
            ids: Vec::new(),
            report: ImportReport::default(),
            unenforced: 0,
            _only_one: only_one,
        })
    }

    /// Takes some records. A problem without `skip_bad` is noted, and the rest is not looked at.
    ///
    /// # Errors
    /// Of the store; the import has then been rolled back as far as the store allows.
    pub async fn take(mut self, chunk: ImportChunk) -> Result<Self, AdminError> {
        let taken = blocking(move || match self.take_blocking(&chunk.records) {
            Ok(()) => Ok(self),
            Err(error) => {
                // What cannot be removed now is removed when the store is opened again.
                let _ = self.roll_back_blocking();
                Err(error)
            }
        });
        taken.await.ok_or_else(AdminError::stopping)?
    }

    fn failed(&self) -> bool {
        !self.skip_bad && !self.report.problems.is_empty()
    }

    fn take_blocking(&mut self, records: &[Box<RawValue>]) -> Result<(), AdminError> {
        self.admin.engine.check_room(self.ids.len() + records.len())?;
        let now = Time::from_micros(self.admin.clock.now().wall_us);
        let mut units = Vec::with_capacity(records.len());
        for raw in records {
            self.seen += 1;
            if self.failed() {
                break;
            }
            match self.read(raw, now) {
                Ok(record) => units.push((self.seen, record)),
                Err(error) => self.problem(self.seen, error.field, error.reason),
            }
        }
        if self.failed() {
            return Ok(());
        }
        self.write(&units)
    }

    fn read(&self, raw: &RawValue, now: Time) -> Result<KeyRecord, FieldError> {
        let whole = |reason| FieldError { field: None, reason };
        let bytes = raw.get().len();
        if bytes > RECORD_JSON_BYTES_MAX {
            return Err(whole(format!(
                "it has {bytes} bytes, at most {RECORD_JSON_BYTES_MAX} are taken"
            )));
        }
        let input: RecordInput =
            serde_json::from_str(raw.get()).map_err(|error| whole(error.to_string()))?;
        let mut record = input.import(self.admin.engine.pepper())?;
        record.import = self.number;
        record.foreign_token = true;
        record.previous_foreign_token = record.previous_key_hash.is_some();
        record.revision = record.revision.max(1);
        record.created_at = record.created_at.or(Some(now));
        record.updated_at = record.updated_at.or(record.created_at);
        Ok(record)
    }

    /// Writes records in jobs as large as they may be; where one conflicts, its job is written
    /// again one by one, so that the right record is named.
    fn write(&mut self, records: &[(u64, KeyRecord)]) -> Result<(), AdminError> {
        let insert = |record: &KeyRecord| Write::Key(KeyWrite::Insert(Box::new(record.clone())));
        let units = records.iter().map(|(_, record)| vec![insert(record)]);
        let mut rest = records;
        for job in plan::jobs(units) {
            let (these, later) = rest.split_at(job.len());
            rest = later;
            match self.admin.committer.commit(job, false) {
                Ok(()) => these.iter().for_each(|(_, record)| self.taken(record)),
                Err(CommitError::Write(error)) if !matches!(error, WriteError::Store(_)) => {
                    self.write_singly(these, insert)?;
                }
                Err(error) => return Err(error.into()),
            }
            if self.failed() {
                break;
            }
        }
        Ok(())
    }

    fn write_singly(
        &mut self,
        records: &[(u64, KeyRecord)],
        insert: impl Fn(&KeyRecord) -> Write,
    ) -> Result<(), AdminError> {
        for (number, record) in records {
            match self.admin.committer.commit(vec![insert(record)], false) {
                Ok(()) => self.taken(record),
                Err(CommitError::Write(WriteError::Store(error))) => return Err(error.into()),
                Err(CommitError::Write(error)) => {
                    let field = match &error {
                        WriteError::Conflict(crate::store::Conflict::Id { .. }) => Some("id"),
                        WriteError::Conflict(crate::store::Conflict::Digest { .. }) => {
                            Some("key_hash")
                        }
                        _ => None,
                    };
                    self.problem(*number, field.map(str::to_owned), error.to_string());
                }
                Err(error) => return Err(error.into()),
            }
            if self.failed() {
                break;
            }
        }
        Ok(())
    }

    fn taken(&mut self, record: &KeyRecord) {
        self.ids.push(record.id);
        self.unenforced += u64::from(!record.not_enforced_yet().is_empty());
        // The fields are named for a few; a line for each of a million helps nobody.
        if self.report.notices.len() < 10 {
            let lines = notices(record);
            let of_key = |line| format!("key {}: {line}", record.id);
            self.report.notices.extend(lines.into_iter().map(of_key));
        }
    }

    fn problem(&mut self, record: u64, field: Option<String>, reason: String) {
        self.report.skipped += 1;
        if self.report.problems.len() < LINES_MAX {
            self.report.problems.push(ImportProblem { record, field, reason });
        }
    }

    /// Ends the import: all of it is durable and judged from here on, or none of it is there.
    ///
    /// # Errors
    /// Of the store.
    pub async fn finish(mut self) -> Result<ImportReport, AdminError> {
        if self.failed() {
            self.report.notices.clear();
            let report = std::mem::take(&mut self.report);
            self.roll_back().await?;
            return Ok(report);
        }
        self.admin.commit(vec![Write::FinishImport { number: self.number }]).await?;
        self.report.imported = self.ids.len() as u64;
        if self.unenforced > 1 {
            self.report.notices.push(format!(
                "{} keys have fields that this release keeps without enforcing them yet",
                self.unenforced
            ));
        }
        let published = blocking(move || {
            for id in &self.ids {
                // Another request may have changed the key since the import was finished.
                let _lock = self.admin.lock_blocking(*id);
                if let Some(record) = self.admin.keys.get(*id)? {
                    self.admin.publish(&record)?;
                }
            }
            Ok::<_, AdminError>(self)
        });
        let import = published.await.ok_or_else(AdminError::stopping)??;
        tracing::info!(
            imported = import.report.imported,
            skipped = import.report.skipped,
            "an import was finished"
        );
        Ok(import.report)
    }

    /// Removes everything that the import had brought.
    ///
    /// # Errors
    /// Of the store; what is left is removed when the store is opened again.
    pub async fn roll_back(self) -> Result<(), AdminError> {
        blocking(move || self.roll_back_blocking()).await.ok_or_else(AdminError::stopping)?
    }

    fn roll_back_blocking(&self) -> Result<(), AdminError> {
        let admin = &self.admin;
        let commit = |writes| admin.committer.commit(writes, true);
        let removed = admin.keys.roll_back_import(self.number, commit)?;
        tracing::info!(import = self.number, removed, "an import was rolled back");
        Ok(())
    }
}
