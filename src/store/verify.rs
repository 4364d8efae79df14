//! Judges every row of a store: is it readable, and does it agree with the others?
//!
//! Two passes, in constant memory. The first reads every row, and looks up what it must have beside
//! it: a record its index rows, usage its key, figures of the ledger their key or tenant. The second goes from every index row to its record; it
//! is left out where the first has shown that there are exactly as many index rows as the records
//! have, each of them found.
//!
//! Others may write meanwhile. Rows that are read one after the other may then contradict each
//! other without being wrong, so what looks wrong is judged once more while writes are held up.

mod judge;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::copy::{Rows, Walked};
use super::keys::read_format;
use super::plan::{self, FORMAT, PENDING_IMPORT};
use super::write::Fact;
use super::{Committer, Store, StoreError, layout};
use judge::{Judged, Seen, judge, judge_index, name};

/// Problems that a report names; the others are counted.
pub const PROBLEMS_MAX: usize = 1000;

/// What is wrong with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It does not decode, or its checksum is wrong.
    Unreadable,
    /// A later keygate wrote it.
    NewerSchema,
    /// It lies where another belongs.
    Misplaced,
    /// A record lacks a row of an index.
    IndexMissing,
    /// A row of an index names a record that is not there, or does not have it.
    IndexStray,
    /// Two records have the same digest.
    DigestShared,
    /// Usage of a key that is not there.
    UsageStray,
    /// Figures of the ledger of a key or a tenant that is not there.
    LedgerStray,
    /// What alerts have said of a key that is not there.
    AlertStray,
    /// It belongs to nothing that this keygate knows.
    Unknown,
}

impl Kind {
    /// A stable name for programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::NewerSchema => "newer_schema",
            Self::Misplaced => "misplaced",
            Self::IndexMissing => "index_missing",
            Self::IndexStray => "index_stray",
            Self::DigestShared => "digest_shared",
            Self::UsageStray => "usage_stray",
            Self::LedgerStray => "ledger_stray",
            Self::AlertStray => "alert_stray",
            Self::Unknown => "unknown",
        }
    }
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What kind.
    pub kind: Kind,
    /// Which row, in words.
    pub row: String,
    /// What is wrong with it.
    pub what: String,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// All rows.
    pub walked: Walked,
    /// Records.
    pub records: u64,
    /// Of them, those whose rows are encrypted.
    pub records_encrypted: u64,
    /// Records by the schema that they are written in.
    pub records_by_schema: BTreeMap<u16, u64>,
    /// Rows of the indexes.
    pub index_rows: u64,
    /// Rows of usage.
    pub usage_rows: u64,
    /// Rows of the ledger.
    pub ledger_rows: u64,
    /// Chunks of ids of increments.
    pub increment_chunks: u64,
    /// The schema that the whole states, and the version of the keygate that wrote it.
    pub format: Option<(u16, String)>,
    /// An import that has begun and not finished. No problem: it is taken back, or finishes.
    pub pending_import: Option<u64>,
    /// The latest instant at which something was written that says when, microseconds since 1970.
    pub newest_us: Option<i64>,
    /// The first problems, [`PROBLEMS_MAX`] at most.
    pub problems: Vec<Problem>,
    /// All of them, by kind.
    pub problem_counts: BTreeMap<Kind, u64>,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problem_counts.is_empty()
    }

    fn add(&mut self, problem: Problem) {
        *self.problem_counts.entry(problem.kind).or_default() += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }

    fn saw(&mut self, at_us: i64) {
        self.newest_us = self.newest_us.max(Some(at_us));
    }
}

/// Whoever else writes to the store.
pub trait Writers {
    /// Runs something while nobody writes.
    fn hold(&self, quiet: &mut dyn FnMut());

    /// A figure that moves with every write.
    fn batches(&self) -> u64;
}

/// Nobody does.
#[derive(Debug)]
pub struct NoWriters;

impl Writers for NoWriters {
    fn hold(&self, quiet: &mut dyn FnMut()) {
        quiet();
    }

    fn batches(&self) -> u64 {
        0
    }
}

impl Writers for Committer {
    fn hold(&self, quiet: &mut dyn FnMut()) {
        Self::hold(self, quiet);
    }

    fn batches(&self) -> u64 {
        Self::batches(self)
    }
}

/// Judges every row. `each` hears how far it has come, from the beginning again in the second
/// pass, and may end it.
///
/// # Errors
/// Those of reading, but for damage, which is a problem like others. [`ControlFlow::Break`] is none:
/// the report then says what was seen.
pub fn verify(
    store: &dyn Store,
    writers: &dyn Writers,
    mut each: impl FnMut(Walked) -> ControlFlow<()>,
) -> Result<Report, StoreError> {
    let before = writers.batches();
    let mut verifier = Verifier { store, writers, report: Report::default(), index_rows_owed: 0 };
    if !verifier.pass(&mut each, Verifier::first)? {
        return Ok(verifier.report);
    }
    // Every row that a record must have was found, and there are no others.
    let report = &verifier.report;
    let agree = report.is_clean() && report.index_rows == verifier.index_rows_owed;
    let settled = agree && writers.batches() == before;
    if !settled && !verifier.pass(&mut each, Verifier::second)? {
        return Ok(verifier.report);
    }
    verifier.whole()?;
    Ok(verifier.report)
}

type Judge<'a> = fn(&mut Verifier<'a>, &[u8], &[u8]) -> Result<(), StoreError>;

/// Judges a row as it is now.
type Again = fn(&dyn Store, &[u8], &[u8]) -> Result<Vec<Problem>, StoreError>;

struct Verifier<'a> {
    store: &'a dyn Store,
    writers: &'a dyn Writers,
    report: Report,
    /// Rows of the indexes that the records must have.
    index_rows_owed: u64,
}

impl<'a> Verifier<'a> {
    /// Judges every row in one way; whether it came to the end.
    fn pass(
        &mut self,
        each: &mut impl FnMut(Walked) -> ControlFlow<()>,
        judge: Judge<'a>,
    ) -> Result<bool, StoreError> {
        let mut rows = Rows::default();
        loop {
            let chunk = match rows.next_chunk(self.store) {
                Ok(chunk) => chunk,
                Err(error) => {
                    self.damaged(&format!("rows after row {}", rows.walked().rows), error)?;
                    return Ok(true);
                }
            };
            if chunk.is_empty() {
                self.report.walked = rows.walked();
                return Ok(true);
            }
            for (key, value) in chunk {
                judge(self, &key, &value)?;
            }
            if each(rows.walked()).is_break() {
                return Ok(false);
            }
        }
    }

    /// Notes damage that keeps from reading on; any other error is passed on.
    fn damaged(&mut self, row: &str, error: StoreError) -> Result<(), StoreError> {
        match error {
            StoreError::Corrupt { .. } | StoreError::Panicked { .. } => {
                let (row, what) = (row.to_owned(), error.to_string());
                self.report.add(Problem { kind: Kind::Unreadable, row, what });
                Ok(())
            }
            error => Err(error),
        }
    }

    fn first(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let Judged { problems, seen } = match judge(self.store, key, value) {
            Ok(judged) => judged,
            Err(error) => return self.damaged(&name(key), error),
        };
        match seen {
            Seen::Record { schema, index_rows, at_us, encrypted } => {
                self.report.records += 1;
                self.report.records_encrypted += u64::from(encrypted);
                *self.report.records_by_schema.entry(schema).or_default() += 1;
                self.index_rows_owed += index_rows;
                at_us.into_iter().for_each(|at_us| self.report.saw(at_us));
            }
            Seen::Index => self.report.index_rows += 1,
            Seen::Usage { at_us } => {
                self.report.usage_rows += 1;
                at_us.into_iter().for_each(|at_us| self.report.saw(at_us));
            }
            Seen::Increments { at_us } => {
                self.report.increment_chunks += 1;
                at_us.into_iter().for_each(|at_us| self.report.saw(at_us));
            }
            Seen::Account => self.report.ledger_rows += 1,
            Seen::Fact | Seen::Unknown => {}
        }
        self.suspect(key, problems, |store, key, value| Ok(judge(store, key, value)?.problems))
    }

    fn second(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        if !key.first().is_some_and(|space| layout::INDEXES.contains(space)) {
            return Ok(());
        }
        match judge_index(self.store, key, value) {
            Ok(problems) => self.suspect(key, problems, judge_index),
            Err(error) => self.damaged(&name(key), error),
        }
    }

    /// Judges a row again that looked wrong, as it is now, while nobody writes.
    fn suspect(
        &mut self,
        key: &[u8],
        problems: Vec<Problem>,
        again: Again,
    ) -> Result<(), StoreError> {
        if problems.is_empty() {
            return Ok(());
        }
        let mut found = Ok(problems);
        self.writers.hold(&mut || {
            found = self.store.get(key).and_then(|value| match value {
                Some(value) => again(self.store, key, &value),
                None => Ok(Vec::new()),
            });
        });
        match found {
            Ok(problems) => problems.into_iter().for_each(|problem| self.report.add(problem)),
            Err(error) => self.damaged(&name(key), error)?,
        }
        Ok(())
    }

    /// What the store says of itself as a whole.
    fn whole(&mut self) -> Result<(), StoreError> {
        let number = |fact: Fact| {
            let row = self.store.get(&layout::meta(fact.0))?;
            // One that cannot be read was named before.
            Ok::<_, StoreError>(row.and_then(|bytes| plan::read_number(fact, &bytes).ok()))
        };
        self.report.pending_import = number(PENDING_IMPORT)?;
        let format = self.store.get(&layout::meta(FORMAT.0))?;
        self.report.format = format.as_deref().and_then(|bytes| read_format(bytes).ok());
        // A start that was cut short has written nothing at all.
        if format.is_none() && self.report.walked.rows > 0 {
            let what = "the schema of the data is not stated".to_owned();
            let row = "the fact \"format\"".to_owned();
            self.report.add(Problem { kind: Kind::Unreadable, row, what });
        }
        Ok(())
    }
}
