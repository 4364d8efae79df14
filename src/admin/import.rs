//! Imports: records of the source system, taken all or not at all.
//!
//! Rows are written as they come, one batch of records while the next is read, under a mark that
//! says the import is not whole; decisions do not see them. Finishing writes the tenants under the
//! same mark, removes it, durably, and then lets decisions see all of them, tenants first. An import
//! that fails, is broken off, or is cut short by a crash is rolled back: here, or when the store is
//! opened again.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use keygate_protocol::ErrorCode;
use keygate_protocol::admin::{ImportChunk, ImportProblem, ImportReport};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::OwnedMutexGuard;

use super::batch::{Batch, field_error};
use super::keys::notices;
use super::room::Places;
use super::tenant_import::Tenants;
use super::{Admin, AdminError, Caller, RECORD_JSON_BYTES_MAX, blocking};
use crate::key::{FieldError, KeyRecord, RecordInput, Rules, Time};
use crate::store::{CommitError, Conflict, KeyWrite, Write, WriteError};

/// Problems and notices that a report carries.
const LINES_MAX: usize = 1000;
/// JSON of all problems of a report: it must fit a frame, whatever the records say.
const LINES_BYTES_MAX: usize = 512 * 1024;
/// Fields that were put right of which a report tells each.
const PUT_RIGHT_LINES_MAX: usize = 100;
/// What a problem repeats of a record: a field's name, a value.
const WORDS_BYTES_MAX: usize = 256;

/// Threads that load imported keys.
const PUBLISHERS_MAX: usize = 4;
/// Keys that one of them loads under one lock of the catalog. One by one, the threads did little but
/// wake each other; of more, decisions would wait for longer than for one of their own batches.
const PUBLISHED_AT_A_TIME: usize = 32;

/// An import that is under way. Must be ended by [`Import::finish`] or [`Import::roll_back`].
pub struct Import {
    pub(super) admin: Arc<Admin>,
    pub(super) caller: Caller,
    pub(super) number: u64,
    /// Those of its beginning: no reload comes between, for it waits for the import's end.
    rules: Arc<Rules>,
    skip_bad: bool,
    /// Records seen so far.
    seen: u64,
    /// Keys written so far.
    ids: Vec<u64>,
    /// Room for all of them.
    places: Places,
    /// What the committer has been given and not answered yet.
    under_way: Batch,
    /// Records of tenants, which are written at the end.
    pub(super) tenants: Tenants,
    pub(super) report: ImportReport,
    /// JSON of its problems.
    line_bytes: usize,
    /// Fields that were put right.
    put_right: usize,
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
        let number = admin.to_change(number.await.ok_or_else(AdminError::stopping)?)?;
        admin.pending_import.store(number, Ordering::Release);
        admin.commit(vec![Write::BeginImport { number }]).await?;
        let rules = admin.engine.rules();
        let places = admin.room.places();
        Ok(Self {
            admin,
            caller,
            number,
            rules,
            skip_bad,
            seen: 0,
            ids: Vec::new(),
            places,
            under_way: Batch::default(),
            tenants: Tenants::default(),
            report: ImportReport::default(),
            line_bytes: 0,
            put_right: 0,
            _only_one: only_one,
        })
    }

    /// Takes some records. A problem without `skip_bad` is noted, and the rest is not looked at.
    ///
    /// # Errors
    /// Of the store; the import has then been rolled back as far as the store allows.
    pub async fn take(self, chunk: ImportChunk) -> Result<Self, AdminError> {
        self.step(move |import| {
            import.take_tenants(&chunk.tenants)?;
            if import.failed() { Ok(()) } else { import.take_blocking(&chunk.records) }
        })
        .await
    }

    /// Does a part of the work on a thread that may wait for the disk. A failure ends the import.
    async fn step(
        mut self,
        part: impl FnOnce(&mut Self) -> Result<(), AdminError> + Send + 'static,
    ) -> Result<Self, AdminError> {
        let done = blocking(move || match part(&mut self) {
            Ok(()) => Ok(self),
            Err(error) => {
                // What cannot be removed now is removed when the store is opened again.
                let _ = self.admin.roll_back_blocking(self.number);
                Err(error)
            }
        });
        done.await.ok_or_else(AdminError::stopping)?
    }

    pub(super) fn failed(&self) -> bool {
        !self.skip_bad && !self.report.problems.is_empty()
    }

    fn take_blocking(&mut self, records: &[Box<RawValue>]) -> Result<(), AdminError> {
        let before = self.ids.len() + self.under_way.records.len();
        self.places.hold(before + records.len(), &self.admin.engine)?;
        // The committer is at the batch before while this one is read.
        let mut batch = self.read_batch(records);
        self.settle()?;
        if self.failed() {
            return Ok(());
        }
        if self.skip_bad || batch.problems.is_empty() {
            batch.submit(&self.admin.committer)?;
        } else {
            batch.records.clear();
        }
        self.under_way = batch;
        Ok(())
    }

    /// Reads records; one problem ends it, unless the bad are to be skipped.
    fn read_batch(&mut self, records: &[Box<RawValue>]) -> Batch {
        let now = Time::from_micros(self.admin.clock.now().wall_us);
        let mut batch = Batch::default();
        for raw in records {
            if self.failed() || (!self.skip_bad && !batch.problems.is_empty()) {
                break;
            }
            self.seen += 1;
            let read = match self.read(raw, now) {
                Ok((record, put_right)) => {
                    self.put_right(record.id, put_right);
                    Ok(record)
                }
                Err(error) => Err(error),
            };
            batch.add(self.seen, read);
        }
        batch
    }

    fn read(&self, raw: &RawValue, now: Time) -> Result<(KeyRecord, Vec<String>), FieldError> {
        let whole = |reason| FieldError { field: None, reason };
        let bytes = raw.get().len();
        if bytes > RECORD_JSON_BYTES_MAX {
            return Err(whole(format!(
                "it has {bytes} bytes, at most {RECORD_JSON_BYTES_MAX} are taken"
            )));
        }
        let mut input: RecordInput =
            serde_json::from_str(raw.get()).map_err(|error| whole(error.to_string()))?;
        let put_right = input.put_right(true, None);
        let mut record = input.import(&self.admin.engine.pepper())?;
        self.caller
            .check_owns(&record)
            .map_err(|error| FieldError { field: None, reason: error.message })?;
        self.rules.check(&record)?;
        record.import = self.number;
        record.foreign_token = true;
        record.previous_foreign_token = record.previous_key_hash.is_some();
        record.revision = record.revision.max(1);
        record.created_at = record.created_at.or(Some(now));
        // What there was when it was exported is what there is here, from now on.
        record.credits = record.credits.map(|credits| credits.granted(None, now));
        record.updated_at = record.updated_at.or(record.created_at);
        Ok((record, put_right))
    }

    /// Says what of a record was put right. Only so many lines: they must fit the report, and of a
    /// million alike nobody reads more.
    fn put_right(&mut self, id: u64, lines: Vec<String>) {
        let left = PUT_RIGHT_LINES_MAX.saturating_sub(self.put_right);
        self.put_right += lines.len();
        let of_key = lines.into_iter().take(left).map(|line| format!("key {id}: {line}"));
        self.report.notices.extend(of_key);
    }

    /// Waits for all that is under way, and notes what became of it, in the file's order.
    pub(super) fn settle(&mut self) -> Result<(), AdminError> {
        let mut batch = std::mem::take(&mut self.under_way);
        let answers = batch.answers();
        let Batch { records, mut problems, .. } = batch;
        let (mut written, mut refused) = (0, false);
        let mut at = 0;
        let mut out_of_order = Vec::new();
        for (of_job, answer) in answers {
            let job = at..at + of_job;
            at = job.end;
            match answer {
                Ok(()) if refused => out_of_order.extend(&records[job]),
                Ok(()) => written = job.end,
                Err(CommitError::Write(error)) if !matches!(error, WriteError::Store(_)) => {
                    refused = true;
                }
                Err(error) => return Err(error.into()),
            }
        }
        records[..written].iter().for_each(|(_, record)| self.taken(record));
        if refused {
            // What stands behind the record in fault must not have been before it: again, one by
            // one, so that the right record is named.
            self.take_back(&out_of_order)?;
            self.write_singly(&records[written..], &mut problems)?;
        }
        problems.sort_by_key(|(number, _)| *number);
        problems.into_iter().for_each(|(number, error)| self.problem(number, None, error));
        Ok(())
    }

    fn take_back(&self, records: &[&(u64, KeyRecord)]) -> Result<(), AdminError> {
        let import = self.number;
        for (_, record) in records {
            let write = Write::Key(KeyWrite::RollBack { id: record.id, import });
            self.admin.committer.commit(vec![write], false)?;
        }
        Ok(())
    }

    fn write_singly(
        &mut self,
        records: &[(u64, KeyRecord)],
        problems: &mut Vec<(u64, FieldError)>,
    ) -> Result<(), AdminError> {
        for (number, record) in records {
            let insert = Write::Key(KeyWrite::Insert(Box::new(record.clone())));
            match self.admin.committer.commit(vec![insert], false) {
                Ok(()) => self.taken(record),
                Err(CommitError::Write(WriteError::Store(error))) => return Err(error.into()),
                Err(CommitError::Write(error)) => {
                    problems.push((*number, self.told(&error)));
                    if !self.skip_bad {
                        break;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Why a record was not written, as this caller may know it.
    fn told(&self, error: &WriteError) -> FieldError {
        let told = field_error(error);
        match error {
            // It may be another tenant's.
            WriteError::Conflict(Conflict::Digest { .. }) if self.caller.tenant().is_some() => {
                FieldError { reason: "another key has the same token digest".to_owned(), ..told }
            }
            _ => told,
        }
    }

    fn taken(&mut self, record: &KeyRecord) {
        self.ids.push(record.id);
        // The fields are named for a few; a line for each of a million helps nobody.
        if self.report.notices.len() < 10 {
            let lines = notices(record, &self.rules);
            let of_key = |line| format!("key {}: {line}", record.id);
            self.report.notices.extend(lines.into_iter().map(of_key));
        }
    }

    /// Notes what is wrong with a record: a key's, or that of a tenant.
    pub(super) fn problem(&mut self, record: u64, tenant: Option<String>, error: FieldError) {
        self.report.skipped += 1;
        let (field, reason) = (error.field.map(cut), cut(error.reason));
        let problem = ImportProblem { record, tenant: tenant.map(cut), field, reason };
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
        self = self.step(Self::settle).await?;
        let admin = Arc::clone(&self.admin);
        // Nobody changes a tenant until decisions obey those of the import.
        let tenants = admin.tenants.lock().await;
        self = self.step(Self::write_tenants).await?;
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
        // Before the first of the keys: none passes whose tenant is suspended or deleted.
        self.publish_tenants();
        self.admin.pending_import.store(0, Ordering::Release);
        drop(tenants);
        self.report.imported = self.ids.len() as u64;
        let ImportReport { imported, tenants_imported, skipped, .. } = self.report;
        let counts = json!({"keys": imported, "tenants": tenants_imported, "skipped": skipped});
        self.admin.note_import(&self.caller, counts, &self.ids);
        self.say_what_remains();
        let published = blocking(move || {
            self.publish_blocking();
            self
        });
        let import = published.await.ok_or_else(AdminError::stopping)?;
        tracing::info!(
            imported = import.report.imported,
            tenants = import.report.tenants_imported,
            skipped = import.report.skipped,
            "an import was finished"
        );
        Ok(import.report)
    }

    /// Adds the notices that are about all of the import.
    fn say_what_remains(&mut self) {
        if let Some(more) = self.put_right.checked_sub(PUT_RIGHT_LINES_MAX).filter(|more| *more > 0)
        {
            self.report.notices.push(format!("{more} more fields were put right likewise"));
        }
    }

    /// Removes everything that the import had brought.
    ///
    /// # Errors
    /// Of the store; what is left is removed when the store is opened again.
    pub async fn roll_back(self) -> Result<(), AdminError> {
        let roll_back = move || self.admin.roll_back_blocking(self.number);
        blocking(roll_back).await.ok_or_else(AdminError::stopping)?
    }

    /// Lets decisions see the keys, on as many threads as may help.
    fn publish_blocking(&mut self) {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let of_thread = self.ids.len().div_ceil(threads.min(PUBLISHERS_MAX)).max(1);
        let admin = &self.admin;
        let publish = |ids: &[u64]| -> usize {
            ids.chunks(PUBLISHED_AT_A_TIME).map(|ids| admin.publish_stored(ids)).sum()
        };
        let left_out: usize = std::thread::scope(|scope| {
            let shares = self.ids.chunks(of_thread);
            let threads: Vec<_> =
                shares.map(|ids| (ids.len(), scope.spawn(move || publish(ids)))).collect();
            // A thread that could not go on is taken to have loaded none.
            threads.into_iter().map(|(all, thread)| thread.join().unwrap_or(all)).sum()
        });
        if left_out > 0 {
            self.report.notices.push(format!(
                "{left_out} keys are stored and could not be loaded, so they are not judged; the \
                 log names them; restart keygate"
            ));
        }
    }
}

impl Admin {
    /// Lets decisions see some keys as they are now, under their locks: a change that was made since
    /// the import became whole is not undone, and a key that was purged stays away. Answers how many
    /// could not be loaded; the others are imported all the same.
    ///
    /// The import holds reloads off, so the rules that keys are compiled under stay.
    fn publish_stored(&self, ids: &[u64]) -> usize {
        let _locks = self.lock_all_blocking(ids);
        let mut left_out = 0;
        let mut leave_out = |id: u64, error: &dyn std::fmt::Display| {
            left_out += 1;
            tracing::error!(key = id, %error, "an imported key could not be loaded");
        };
        let mut loaded = Vec::with_capacity(ids.len());
        for id in ids {
            match self.keys.get(*id) {
                Ok(Some(record)) => match self.engine.compile(&record.view()) {
                    Ok(key) => loaded.push(key),
                    Err(error) => leave_out(*id, &error),
                },
                Ok(None) => {}
                Err(error) => leave_out(*id, &error),
            }
        }
        for (id, error) in self.engine.put_all(loaded, self.clock.now()) {
            leave_out(id, &error);
        }
        left_out
    }

    fn roll_back_blocking(&self, import: u64) -> Result<(), AdminError> {
        // What was handed over before is written by the time that an empty job is answered: the
        // roll-back finds all of it.
        self.committer.commit(Vec::new(), false)?;
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
