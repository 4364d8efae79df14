//! Whether a log is as it was written: every record behind the one before, none missing, none moved.
//!
//! Files are judged oldest first. A record that is wrong is named once, and the chain is taken up
//! again behind it: with the MAC that it bears, or, where that is what was changed, with the one that
//! it should bear.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::dir::{self, LogName};
use super::frame::{Frame, Kind, SEQUENCE_MAX};
use super::head;
use super::mac::{ChainKey, Mac, ORIGIN};
use super::payload::{Begin, Cause, Link};
use super::pieces::{Piece, pieces};
use super::problem::{Problem, ProblemKind, Report};

/// So often a log is judged again that does not seem whole while its files change.
const JUDGED_AGAIN_MAX: usize = 3;

/// Judges a log. What a daemon writes meanwhile is no damage.
///
/// # Errors
/// The directory or the head cannot be read.
pub fn verify(dir: &Path, key: &ChainKey) -> io::Result<Report> {
    for _ in 0..JUDGED_AGAIN_MAX {
        let names = dir::list(dir)?;
        let report = judge(dir, key)?;
        // A file may have been begun or removed in its time between two looks.
        if report.is_clean() || dir::list(dir)? == names {
            return Ok(report);
        }
    }
    judge(dir, key)
}

fn judge(dir: &Path, key: &ChainKey) -> io::Result<Report> {
    // First: the log may only grow behind it.
    let said = head::read(dir, key)?;
    let head = said.link;
    let names = dir::list(dir)?;
    let mut chain = Chain::new(key);
    let mut next: Option<Vec<u8>> = None;
    for (number, name) in names.iter().enumerate() {
        let bytes = match next.take().map_or_else(|| dir::read(&name.path(dir)), Ok) {
            Ok(bytes) => bytes,
            // Its time was over meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound && chain.report.files == 0 => {
                continue;
            }
            Err(error) => {
                chain.unreadable(name, &error);
                continue;
            }
        };
        let following = names.get(number + 1);
        next = following.and_then(|following| dir::read(&following.path(dir)).ok());
        let ends = Ends {
            next: next.as_deref().and_then(begin_of),
            next_first: following.map(|following| following.first),
            head: head.as_ref(),
        };
        chain.file(name, &bytes, &ends);
    }
    if head.is_some() && !said.is_whole {
        chain.spoiled_head(names.last());
    }
    Ok(chain.finish(head.as_ref(), names.last()))
}

/// What the first record of a file says.
pub(super) fn begin_of(bytes: &[u8]) -> Option<Begin> {
    let frame = super::frame::decode(bytes).ok()??;
    begin_in(&frame)
}

fn begin_in(frame: &Frame<'_>) -> Option<Begin> {
    let begin: Begin = serde_json::from_slice(frame.payload).ok()?;
    // Anybody may have written these numbers.
    let numbers = [begin.previous.sequence, begin.sure, begin.removed];
    let bounded = numbers.into_iter().all(|number| number < SEQUENCE_MAX);
    (frame.kind == Kind::Begin && bounded).then_some(begin)
}

/// Where a file ends.
struct Ends<'h> {
    /// What the file behind it says at its beginning.
    next: Option<Begin>,
    /// The first record of that.
    next_first: Option<u64>,
    head: Option<&'h Link>,
}

impl Ends<'_> {
    /// The last record that was accepted of the file, where a failure ended it.
    fn accepted(&self) -> Option<u64> {
        self.failed().map(|next| next.previous.sequence)
    }

    fn failed(&self) -> Option<&Begin> {
        self.next.as_ref().filter(|next| next.cause == Cause::Failure)
    }

    /// Whether a record may be lost, because it was not known to be on disk when the file failed, or
    /// when the daemon ended.
    fn may_lack(&self, sequence: u64) -> bool {
        match (self.failed(), self.next_first) {
            (Some(next), _) => sequence > next.sure,
            (None, Some(_)) => false,
            (None, None) => self.head.is_none_or(|head| head.sequence < sequence),
        }
    }
}

/// The chain, as far as it was followed.
struct Chain<'k> {
    key: &'k ChainKey,
    report: Report,
    /// The record that is expected next; `None` before the first.
    expected: Option<u64>,
    /// What its predecessor's MAC may be; nothing where that cannot be told.
    before: Vec<Mac>,
    /// Records that stood too early, with their MACs: no gap.
    early: BTreeMap<u64, Mac>,
    removed: u64,
    /// The MAC of the record that the head names, once it was seen.
    at_head: Option<Mac>,
}

impl<'k> Chain<'k> {
    fn new(key: &'k ChainKey) -> Self {
        Self {
            key,
            report: Report::default(),
            expected: None,
            before: Vec::new(),
            early: BTreeMap::new(),
            removed: 0,
            at_head: None,
        }
    }

    fn problem(&mut self, kind: ProblemKind, name: &LogName, at: usize, sequence: u64, what: &str) {
        let (file, offset) = (name.name.clone(), at as u64);
        self.report.add(Problem { kind, file, offset, sequence, what: what.to_owned() });
    }

    fn unreadable(&mut self, name: &LogName, error: &io::Error) {
        let what = format!("the file cannot be read: {error}");
        self.problem(ProblemKind::Unreadable, name, 0, name.first, &what);
    }

    fn file(&mut self, name: &LogName, bytes: &[u8], ends: &Ends<'_>) {
        self.report.files += 1;
        let begin = begin_of(bytes);
        if self.expected.is_none() {
            self.start(begin.as_ref(), name);
        }
        if let Some(begin) = &begin {
            self.removed = self.removed.max(begin.removed);
            self.excuse(begin, name);
            self.found_at_start(begin, name);
        }
        let pieces = pieces(bytes);
        let mut later = Later::of(&pieces);
        for piece in &pieces {
            let expected = self.expected.unwrap_or_default();
            // Behind this nothing was accepted: the next file says so.
            if ends.accepted().is_some_and(|accepted| expected > accepted) {
                break;
            }
            match piece {
                Piece::Record { at, frame } => {
                    later.take(frame.sequence);
                    self.record(name, *at, frame, &later, ends);
                }
                Piece::Damage { .. } if ends.failed().is_some() && ends.may_lack(expected) => break,
                Piece::Damage { at, bytes, mac, why } => {
                    self.damage(name, *at, *bytes, *mac, &why.to_string());
                }
                Piece::Torn { at, bytes } => self.torn(name, *at, *bytes, ends),
            }
        }
    }

    /// Takes the chain up at the first file that is there.
    fn start(&mut self, begin: Option<&Begin>, name: &LogName) {
        self.expected = Some(name.first);
        self.report.first = name.first;
        self.before = match begin {
            Some(begin) => vec![begin.previous.mac],
            None if name.first == 1 => vec![ORIGIN],
            None => Vec::new(),
        };
    }

    /// Records that a file's beginning says may be lost, because a sync had failed.
    fn excuse(&mut self, begin: &Begin, name: &LogName) {
        let Some(expected) = self.expected else { return };
        let lost = expected > begin.sure && begin.previous.sequence >= expected;
        if begin.cause == Cause::Failure && lost {
            let last = begin.previous.sequence;
            self.report.notices.push(format!(
                "{}: records {expected} to {last} are lost: the file before could not be synced",
                name.name
            ));
            self.expected = Some(last + 1);
            self.before = vec![begin.previous.mac];
        }
    }

    /// What a start has found, for ever: the daemon went on behind it.
    fn found_at_start(&mut self, begin: &Begin, name: &LogName) {
        match begin.cause {
            Cause::Damage => self.report.notices.push(format!(
                "{}: it was begun because the log before it was damaged at a start",
                name.name
            )),
            Cause::Head => {
                let previous = begin.previous.sequence;
                let what = format!(
                    "at a start the head was missing or spoiled, so whether records behind \
                     {previous} were removed before that cannot be told"
                );
                self.problem(ProblemKind::Head, name, 0, name.first, &what);
            }
            _ => {}
        }
    }

    fn record(
        &mut self,
        name: &LogName,
        at: usize,
        frame: &Frame<'_>,
        later: &Later,
        ends: &Ends<'_>,
    ) {
        let expected = self.expected.unwrap_or(frame.sequence);
        let sequence = frame.sequence;
        if sequence < expected {
            let what = format!("record {sequence} stands where {expected} belongs");
            return self.problem(ProblemKind::Misplaced, name, at, sequence, &what);
        }
        // It belongs into another file, or behind others of this one.
        let is_beyond = ends.next_first.is_some_and(|next| sequence >= next);
        if is_beyond || sequence > expected && later.has(expected..sequence) {
            let what = format!("record {sequence} stands before {expected}");
            self.problem(ProblemKind::Misplaced, name, at, sequence, &what);
            self.early.insert(sequence, frame.mac);
            return;
        }
        if sequence > expected {
            self.gap(name, at, expected..sequence);
        }
        let was_known = !self.before.is_empty() || frame.kind == Kind::Begin;
        let is_whole = self.check(name, at, frame);
        self.report.records += u64::from(was_known);
        if (is_whole || !was_known) && ends.head.is_some_and(|head| head.sequence == sequence) {
            self.at_head = Some(frame.mac);
        }
        self.report.last = sequence;
        self.report.last_mac = crate::key::digest::hex(&frame.mac);
        self.expected = Some(sequence + 1);
    }

    /// Records that are not there; those that stood too early are.
    fn gap(&mut self, name: &LogName, at: usize, missing: std::ops::Range<u64>) {
        let early: BTreeSet<u64> = self.early.range(missing.clone()).map(|(it, _)| *it).collect();
        let last_early = self.early.get(&(missing.end - 1)).copied();
        self.before = last_early.into_iter().collect();
        // Early ones are told already, and there are few of them.
        let mut from = missing.start;
        for end in early.into_iter().chain([missing.end]) {
            if from < end {
                let what = match end - from {
                    1 => format!("record {from} is missing before this one"),
                    _ => format!("records {from} to {} are missing before this one", end - 1),
                };
                self.problem(ProblemKind::Removed, name, at, from, &what);
            }
            from = end + 1;
        }
    }

    /// Whether a record stands behind the one before.
    fn check(&mut self, name: &LogName, at: usize, frame: &Frame<'_>) -> bool {
        if self.before.is_empty() && frame.kind == Kind::Begin {
            // It says itself what it stands behind.
            self.before = begin_in(frame).map(|begin| begin.previous.mac).into_iter().collect();
        }
        if self.before.is_empty() {
            let sequence = frame.sequence;
            let what =
                format!("record {sequence} cannot be checked: the one before it is not there");
            self.problem(ProblemKind::Unchecked, name, at, sequence, &what);
            self.before = vec![frame.mac];
            return false;
        }
        let follows = self.before.iter().any(|before| frame.follows(self.key, before));
        if follows {
            self.before = vec![frame.mac];
            return true;
        }
        let sequence = frame.sequence;
        let what = format!("record {sequence} is not what was written: its MAC differs");
        self.problem(ProblemKind::Changed, name, at, sequence, &what);
        let should: Vec<Mac> =
            self.before.iter().map(|before| frame.mac_behind(self.key, before)).collect();
        self.before = [vec![frame.mac], should].concat();
        false
    }

    fn damage(&mut self, name: &LogName, at: usize, bytes: usize, mac: Option<Mac>, why: &str) {
        let sequence = self.expected.unwrap_or(0);
        let what = format!("record {sequence} is damaged ({bytes} bytes): {why}");
        self.problem(ProblemKind::Changed, name, at, sequence, &what);
        self.before = mac.into_iter().collect();
        self.expected = self.expected.map(|expected| expected + 1);
    }

    fn torn(&mut self, name: &LogName, at: usize, bytes: usize, ends: &Ends<'_>) {
        let sequence = self.expected.unwrap_or(0);
        if ends.may_lack(sequence) {
            self.report.notices.push(format!(
                "{}: record {sequence} at byte {at} is not whole ({bytes} bytes): it is being \
                 written, or was when the daemon ended; it was not known to be on disk",
                name.name
            ));
            return;
        }
        let what = format!("record {sequence} is cut short ({bytes} bytes are there)");
        self.problem(ProblemKind::Cut, name, at, sequence, &what);
        self.before = Vec::new();
        self.expected = Some(sequence + 1);
    }

    fn spoiled_head(&mut self, last: Option<&LogName>) {
        let what = "one of the two places of the head is spoiled, so the end of the log may be missing \
                    from the record that the other names";
        self.report.add(Problem {
            kind: ProblemKind::Head,
            file: last.map(|last| last.name.clone()).unwrap_or_default(),
            offset: 0,
            sequence: 0,
            what: what.to_owned(),
        });
    }

    fn finish(mut self, head: Option<&Link>, last: Option<&LogName>) -> Report {
        let first = self.report.first;
        if first > self.removed + 1 {
            let from = self.removed + 1;
            self.report.add(Problem {
                kind: ProblemKind::Removed,
                file: LogName::of(first).name,
                offset: 0,
                sequence: from,
                what: format!(
                    "records {from} to {} are missing before this file, and no record says that \
                     their time was over",
                    first - 1
                ),
            });
        }
        let file = last.map(|last| last.name.clone()).unwrap_or_default();
        let problem =
            |kind, sequence, what| Problem { kind, file: file.clone(), offset: 0, sequence, what };
        let end = self.expected.map_or(0, |expected| expected - 1);
        match (head, last) {
            (None, None) => {}
            (None, Some(_)) => {
                let what = "the head is missing or was not written under this key, so whether the \
                            end of the log is missing cannot be told";
                self.report.add(problem(ProblemKind::Head, 0, what.to_owned()));
            }
            (Some(head), _) if head.sequence > end => {
                let what = format!(
                    "records {} to {} are missing at the end: the head says that they were written",
                    end + 1,
                    head.sequence
                );
                self.report.add(problem(ProblemKind::Cut, end + 1, what));
            }
            (Some(head), _) if self.at_head.is_some_and(|mac| mac != head.mac) => {
                let what = format!("record {} is not the one that the head names", head.sequence);
                self.report.add(problem(ProblemKind::Head, head.sequence, what));
            }
            _ => {}
        }
        self.report
    }
}

/// The sequences of the records that are still to come in a file, and how often.
struct Later(BTreeMap<u64, usize>);

impl Later {
    fn of(pieces: &[Piece<'_>]) -> Self {
        let mut later = BTreeMap::new();
        for piece in pieces {
            if let Piece::Record { frame, .. } = piece {
                *later.entry(frame.sequence).or_default() += 1;
            }
        }
        Self(later)
    }

    fn take(&mut self, sequence: u64) {
        if let Some(count) = self.0.get_mut(&sequence) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&sequence);
            }
        }
    }

    fn has(&self, sequences: std::ops::Range<u64>) -> bool {
        self.0.range(sequences).next().is_some()
    }
}
