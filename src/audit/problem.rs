//! What a verification finds.

use serde::Serialize;

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What is wrong.
    pub kind: ProblemKind,
    /// The file; empty where it is not one file's.
    pub file: String,
    /// The byte at which the record begins, or would have begun.
    pub offset: u64,
    /// The record; of several the first; 0 where it cannot be told.
    pub sequence: u64,
    /// For people.
    pub what: String,
}

/// See [`Problem::kind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// A record was changed, or is no record any more.
    Changed,
    /// A record stands behind one that is not there, so nobody can tell whether it was changed.
    Unchecked,
    /// Records are missing between others.
    Removed,
    /// A record stands where it does not belong, or was put in.
    Misplaced,
    /// The end of the log is missing.
    Cut,
    /// The file that says where the log ends is missing, spoiled, or another's; or was at a start.
    Head,
    /// A file cannot be read.
    Unreadable,
}

/// What a verification has read, and found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Files that were read.
    pub files: u64,
    /// Records whose chain was checked.
    pub records: u64,
    /// The first record that is there.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// The MAC of the last, in hexadecimal: kept elsewhere, it shows later that nothing before it
    /// was exchanged as a whole.
    pub last_mac: String,
    /// What is no problem and worth to be known.
    pub notices: Vec<String>,
    /// What is wrong: the first of them.
    pub problems: Vec<Problem>,
    /// How much is wrong.
    pub problem_count: u64,
}

/// Problems that are told each.
const PROBLEMS_MAX: usize = 1000;

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.problem_count == 0
    }

    pub(super) fn add(&mut self, problem: Problem) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }
}
