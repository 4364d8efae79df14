//! What an import hands to the committer at a time.

use crossbeam::channel::{self, Receiver};

use crate::key::{FieldError, KeyRecord};
use crate::store::jobs::jobs;
use crate::store::{
    CommitError, Committer, Conflict, Job, KeyWrite, Prepared, SubmitError, Write, WriteError,
};

/// Records that are written together, in the file's order.
#[derive(Default)]
pub(super) struct Batch {
    /// Each with its number in the file.
    pub(super) records: Vec<(u64, KeyRecord)>,
    /// What is wrong with the others.
    pub(super) problems: Vec<(u64, FieldError)>,
    /// What is to be written of each record.
    writes: Vec<Write>,
    /// The jobs that they were cut into.
    jobs: Vec<UnderWay>,
}

/// How many records a job has, and where its answer arrives.
type UnderWay = (usize, Receiver<Result<(), WriteError>>);

impl Batch {
    /// Adds a record, or what is wrong with it, and works out what is to be written of it.
    pub(super) fn add(&mut self, number: u64, read: Result<KeyRecord, FieldError>) {
        match read.and_then(|record| Ok((prepare(&record)?, record))) {
            Ok((write, record)) => {
                self.writes.push(write);
                self.records.push((number, record));
            }
            Err(error) => self.problems.push((number, error)),
        }
    }

    /// Hands all of it to the committer, in jobs as large as they may be.
    pub(super) fn submit(&mut self, committer: &Committer) -> Result<(), SubmitError> {
        let units = std::mem::take(&mut self.writes).into_iter().map(|write| vec![write]);
        for writes in jobs(units) {
            let records = writes.len();
            let (answer, answered) = channel::bounded(1);
            let done = Box::new(move |outcome| {
                // An import that is gone is rolled back, which finds what this has written.
                let _ = answer.send(outcome);
            });
            committer.submit(Job { writes, durable: false, done })?;
            self.jobs.push((records, answered));
        }
        Ok(())
    }

    /// Waits for all of it: what became of each job, with the number of its records.
    pub(super) fn answers(&mut self) -> Vec<(usize, Result<(), CommitError>)> {
        let answer = |(of_job, answered): UnderWay| {
            // It goes unanswered only if the writer is gone.
            let answer = answered.recv().map_err(|_| SubmitError::Stopped.into());
            (of_job, answer.and_then(|written| written.map_err(CommitError::from)))
        };
        std::mem::take(&mut self.jobs).into_iter().map(answer).collect()
    }
}

fn prepare(record: &KeyRecord) -> Result<Write, FieldError> {
    let prepared = Prepared::new(record).map_err(|error| field_error(&error))?;
    Ok(Write::Key(KeyWrite::InsertPrepared(prepared)))
}

/// Why a record was not written, with the field that is at fault.
pub(super) fn field_error(error: &WriteError) -> FieldError {
    let field = match error {
        WriteError::Conflict(Conflict::Id { .. }) => Some("id"),
        WriteError::Conflict(Conflict::Digest { .. }) => Some("key_hash"),
        WriteError::Conflict(Conflict::Request { .. }) => Some("request_id"),
        WriteError::Conflict(Conflict::TenantDeleted { .. }) => Some("tenant_id"),
        _ => None,
    };
    FieldError { field: field.map(str::to_owned), reason: error.to_string() }
}
