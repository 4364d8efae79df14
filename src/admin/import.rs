//! Imports: records of the source system, taken all or not at all.
//!
//! Rows are written as they come, under a mark that says the import is not whole; decisions do not
//! see them. Finishing removes the mark, durably, and then lets decisions see all of them. An
//! import that fails, is broken off, or is cut short by a crash is rolled back: here, or when the
//! store is opened again.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use keygate_protocol::ErrorCode;
use keygate_protocol::admin::{ImportChunk, ImportProblem, ImportReport};
use serde_json::value::RawValue;
use tokio::sync::OwnedMutexGuard;

use super::keys::notices;
use super::{Admin, AdminError, Caller, RECORD_JSON_BYTES_MAX, blocking};
use crate::key::{FieldError, KeyRecord, RecordInput, Rules, Time};
use crate::store::{CommitError, KeyWrite, Write, WriteError, plan};

/// Problems and notices that a report carries.
const LINES_MAX: usize = 1000;
/// JSON of all problems of a report: it must fit a frame, whatever the records say.
const LINES_BYTES_MAX: usize = 512 * 1024;
/// What a problem repeats of a record: a field's name, a value.
const WORDS_BYTES_MAX: usize = 256;

/// An import that is under way. Must be ended by [`Import::finish`] or [`Import::roll_back`].
pub struct Import {
    admin: Arc<Admin>,
    caller: Caller,
    number: u64,
    /// Those of its beginning: no reload comes between, for it waits for the import's end.
    rules: Arc<Rules>,
    skip_bad: bool,
    /// Records seen so far.
    seen: u64,
    /// Keys written so far.
    ids: Vec<u64>,
    report: ImportReport,
    /// JSON of its problems.
    line_bytes: usize,
    /// Keys with fields that are kept and not enforced.
    unenforced: u64,
    _only_one: OwnedMutexGuard<()>,
}

impl Import {
    /// Begins an import.
    ///
    /// # Errors
    /// `BUSY` while another is under way; `READ_ONLY`, `STORAGE`.
    pub async fn begin(
        admin: Arc<Admin>,
        caller: Caller,
        skip_bad: bool,
    ) -> Result<Self, AdminError> {
        let only_one = Arc::clone(&admin.importing).try_lock_owned().map_err(|_| {
            AdminError::new(
                ErrorCode::Busy,
                "another import or a reload is under way; wait for its end",
            )
        })?;
        let of_reader = Arc::clone(&admin);
        let number = blocking(move || {
            // Nobody else is importing: this one was left behind when the store was too busy to
            // roll it back.
            if let Some(number) = of_reader.keys.pending_import()? {
                of_reader.roll_back_blocking(number)?;
            }
            Ok::<_, AdminError>(of_reader.keys.next_import()?)
        });
        let number = number.await.ok_or_else(AdminError::stopping)??;
        admin.pending_import.store(number, Ordering::Release);
        admin.commit(vec![Write::BeginImport { number }]).await?;
        let rules = admin.engine.rules();
        Ok(Self {
            admin,
            caller,
            number,
            rules,
            skip_bad,
            seen: 0,
            ids: Vec::new(),
            report: ImportReport::default(),
            line_bytes: 0,
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
                let _ = self.admin.roll_back_blocking(self.number);
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
        self.caller
            .check_owns(&record)
            .map_err(|error| FieldError { field: None, reason: error.message })?;
        self.rules.check(&record)?;
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
                        WriteError::Conflict(crate::store::Conflict::TenantDeleted { .. }) => {
                            Some("tenant_id")
                        }
                        _ => None,
                    };
                    let reason = match error {
                        // It may be another tenant's.
                        WriteError::Conflict(crate::store::Conflict::Digest { .. })
                            if self.caller.tenant().is_some() =>
                        {
                            "another key has the same token digest".to_owned()
                        }
                        error => error.to_string(),
                    };
                    self.problem(*number, field.map(str::to_owned), reason);
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
            let lines = notices(record, &self.rules);
            let of_key = |line| format!("key {}: {line}", record.id);
            self.report.notices.extend(lines.into_iter().map(of_key));
        }
    }

    fn problem(&mut self, record: u64, field: Option<String>, reason: String) {
        self.report.skipped += 1;
        let (field, reason) = (field.map(cut), cut(reason));
        let problem = ImportProblem { record, field, reason };
        let bytes = serde_json::to_string(&problem).map_or(0, |json| json.len());
        if self.report.problems.len() < LINES_MAX && self.line_bytes + bytes <= LINES_BYTES_MAX {
            self.line_bytes += bytes;
            self.report.problems.push(problem);
        }
    }

    /// Ends the import: all of it is durable and judged from here on, or none of it is there.
    ///
    /// # Errors
    /// Of the store: nothing was imported then, as far as the store can tell.
    pub async fn finish(mut self) -> Result<ImportReport, AdminError> {
        if self.failed() {
            self.report.notices.clear();
            let report = std::mem::take(&mut self.report);
            self.roll_back().await?;
            return Ok(report);
        }
        if let Err(error) =
            self.admin.commit(vec![Write::FinishImport { number: self.number }]).await
        {
            // Refused where it was written all the same: then its mark is gone.
            let _ = self.roll_back().await;
            return Err(error);
        }
        self.admin.pending_import.store(0, Ordering::Release);
        self.report.imported = self.ids.len() as u64;
        if self.unenforced > 1 {
            self.report.notices.push(format!(
                "{} keys have fields that this release keeps without enforcing them yet",
                self.unenforced
            ));
        }
        let published = blocking(move || {
            self.publish_blocking();
            self
        });
        let import = published.await.ok_or_else(AdminError::stopping)?;
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
        let roll_back = move || self.admin.roll_back_blocking(self.number);
        blocking(roll_back).await.ok_or_else(AdminError::stopping)?
    }

    /// Lets decisions see the keys, as they are now and each under its lock: a change that was made
    /// since the import became whole is not undone, and a key that was purged stays away.
    fn publish_blocking(&mut self) {
        let mut left_out = 0_u64;
        for id in &self.ids {
            let _lock = self.admin.lock_of(*id).blocking_lock();
            let published = match self.admin.keys.get(*id) {
                Ok(Some(record)) => self.admin.publish(&record),
                Ok(None) => Ok(()),
                Err(error) => Err(error.into()),
            };
            // The others are imported all the same.
            if let Err(error) = published {
                left_out += 1;
                tracing::error!(key = id, %error, "an imported key could not be loaded");
            }
        }
        if left_out > 0 {
            self.report.notices.push(format!(
                "{left_out} keys are stored and could not be loaded, so they are not judged; the \
                 log names them; restart keygate"
            ));
        }
    }
}

impl Admin {
    fn roll_back_blocking(&self, import: u64) -> Result<(), AdminError> {
        let commit = |writes| self.committer.commit(writes, true);
        let removed = self.keys.roll_back_import(import, commit)?;
        self.pending_import.store(0, Ordering::Release);
        tracing::info!(import, removed, "an import was rolled back");
        Ok(())
    }
}

/// A line for people repeats no more of a record than they can take in.
fn cut(mut words: String) -> String {
    if words.len() > WORDS_BYTES_MAX {
        words.truncate(words.floor_char_boundary(WORDS_BYTES_MAX));
        words.push('…');
    }
    words
}
