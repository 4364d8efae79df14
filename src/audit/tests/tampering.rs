//! Whatever is done to the files, the verification names the record that it was done to.

use std::fs;
use std::path::PathBuf;

use super::super::frame::{HEAD_BYTES, decode};
use super::super::problem::{Problem, ProblemKind};
use super::*;

/// A log of several files, with its files' bytes and where their records lie.
struct Victim {
    dir: tempfile::TempDir,
    files: Vec<(PathBuf, Vec<u8>, Vec<std::ops::Range<usize>>)>,
    last: u64,
}

impl Victim {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut log, _) = open(dir.path());
        append(&mut log, 30);
        log.sync(true).expect("synced");
        let mut last = 0;
        let file = |name: dir::LogName| {
            let path = name.path(dir.path());
            let bytes = fs::read(&path).expect("read");
            let (mut records, mut at) = (Vec::new(), 0);
            while let Some(frame) = decode(&bytes[at..]).expect("a record") {
                records.push(at..at + frame.bytes());
                last = frame.sequence;
                at += frame.bytes();
                if at == bytes.len() {
                    break;
                }
            }
            (path, bytes, records)
        };
        let files: Vec<_> = dir::list(dir.path()).expect("read").into_iter().map(file).collect();
        assert!(files.len() >= 3);
        Self { dir, files, last }
    }

    fn first_of(&self, file: usize) -> u64 {
        self.files[..file].iter().map(|(_, _, records)| records.len() as u64).sum::<u64>() + 1
    }

    /// Puts other bytes in a file's place, and takes them back when it was judged.
    fn with(&self, file: usize, bytes: &[u8]) -> Report {
        let (path, whole, _) = &self.files[file];
        fs::write(path, bytes).expect("written");
        let report = judged(self.dir.path());
        fs::write(path, whole).expect("written");
        report
    }

    fn name(&self, file: usize) -> String {
        self.files[file].0.file_name().expect("a name").to_string_lossy().into_owned()
    }
}

#[track_caller]
fn assert_names(report: &Report, kind: ProblemKind, file: &str, at: usize, sequence: u64) {
    let first = report.problems.first().expect("a problem");
    let expected = Problem {
        kind,
        file: file.to_owned(),
        offset: at as u64,
        sequence,
        what: first.what.clone(),
    };
    assert_eq!(*first, expected, "{:#?}", report.problems);
}

#[test]
fn a_whole_log_is_clean() {
    let victim = Victim::new();
    let report = judged(victim.dir.path());
    assert!(report.is_clean(), "{:#?}", report.problems);
    assert_eq!((report.last, report.records, report.first), (victim.last, victim.last, 1));
}

#[test]
fn any_flipped_bit_of_any_record_names_that_record_and_no_other() {
    let victim = Victim::new();
    for file in 0..3 {
        let (_, whole, records) = &victim.files[file];
        for (number, record) in records.iter().enumerate().step_by(3) {
            let sequence = victim.first_of(file) + number as u64;
            // Bits of every field of the head, and some of the payload.
            let head = (0..HEAD_BYTES * 8).step_by(7);
            let payload = (HEAD_BYTES * 8..record.len() * 8).step_by(331);
            for bit in head.chain(payload) {
                let mut bytes = whole.clone();
                bytes[record.start + bit / 8] ^= 1 << (bit % 8);
                let report = victim.with(file, &bytes);
                let name = victim.name(file);
                assert_eq!(report.problem_count, 1, "{sequence} {bit}: {:#?}", report.problems);
                let problem = &report.problems[0];
                assert_eq!((&problem.file, problem.sequence), (&name, sequence), "bit {bit}");
                assert_eq!(problem.offset, record.start as u64, "bit {bit}");
            }
        }
    }
}

#[test]
fn a_removed_record_is_missing_before_the_one_behind_it() {
    let victim = Victim::new();
    for file in 0..victim.files.len() {
        let (_, whole, records) = &victim.files[file];
        for (number, record) in records.iter().enumerate() {
            let bytes = [&whole[..record.start], &whole[record.end..]].concat();
            let sequence = victim.first_of(file) + number as u64;
            let report = victim.with(file, &bytes);
            let is_last_of_file = number + 1 == records.len();
            let is_last = is_last_of_file && file + 1 == victim.files.len();
            if is_last {
                assert_names(&report, ProblemKind::Cut, &victim.name(file), 0, sequence);
            } else if is_last_of_file {
                assert_names(&report, ProblemKind::Removed, &victim.name(file + 1), 0, sequence);
            } else {
                let name = victim.name(file);
                assert_names(&report, ProblemKind::Removed, &name, record.start, sequence);
            }
            assert_eq!(report.problem_count, 1, "{sequence}: {:#?}", report.problems);
        }
    }
}

#[test]
fn two_records_that_changed_places_are_named_by_the_one_that_came_too_early() {
    let victim = Victim::new();
    let (_, whole, records) = &victim.files[1];
    for pair in records.windows(2) {
        let [one, two] = [pair[0].clone(), pair[1].clone()];
        let bytes =
            [&whole[..one.start], &whole[two.clone()], &whole[one.clone()], &whole[two.end..]]
                .concat();
        let at = records.iter().position(|record| record.start == one.start).expect("there");
        let sequence = victim.first_of(1) + at as u64 + 1;
        let report = victim.with(1, &bytes);
        assert_names(&report, ProblemKind::Misplaced, &victim.name(1), one.start, sequence);
        assert_eq!(report.problem_count, 1, "{:#?}", report.problems);
    }
}

#[test]
fn a_log_that_is_cut_anywhere_lacks_its_end() {
    let victim = Victim::new();
    let file = victim.files.len() - 1;
    let (_, whole, records) = &victim.files[file];
    for cut in (0..whole.len()).step_by(3) {
        let whole_records = records.iter().take_while(|record| record.end <= cut).count();
        let sequence = victim.first_of(file) + whole_records as u64;
        let report = victim.with(file, &whole[..cut]);
        let problem = report.problems.first().expect("noticed");
        assert_eq!(problem.sequence, sequence, "{cut}: {:#?}", report.problems);
        assert_eq!(problem.kind, ProblemKind::Cut, "{cut}: {:#?}", report.problems);
    }
    fs::remove_file(&victim.files[file].0).expect("removed");
    let report = judged(victim.dir.path());
    let name = victim.name(file - 1);
    assert_names(&report, ProblemKind::Cut, &name, 0, victim.first_of(file));
}

#[test]
fn a_record_from_elsewhere_is_named_where_it_was_put() {
    let victim = Victim::new();
    for (from, to) in [(0, 1), (1, 0), (0, 2), (2, 0), (1, 1)] {
        let foreign = victim.files[from].2[2].clone();
        let foreign_sequence = victim.first_of(from) + 2;
        let foreign = &victim.files[from].1[foreign];
        let (_, whole, records) = &victim.files[to];
        for record in &records[1..] {
            // Put between two.
            let bytes = [&whole[..record.start], foreign, &whole[record.start..]].concat();
            let report = victim.with(to, &bytes);
            let misplaced = report
                .problems
                .iter()
                .find(|problem| problem.sequence == foreign_sequence)
                .unwrap_or_else(|| panic!("{from} {to}: {:#?}", report.problems));
            assert_eq!(misplaced.kind, ProblemKind::Misplaced);
            assert_eq!(misplaced.file, victim.name(to));
            assert_eq!(report.problem_count, 1, "{from} {to}: {:#?}", report.problems);
        }
        if from == to {
            continue;
        }
        // Put in place of another.
        for (number, record) in records.iter().enumerate().skip(1) {
            let bytes = [&whole[..record.start], foreign, &whole[record.end..]].concat();
            let report = victim.with(to, &bytes);
            let lost = victim.first_of(to) + number as u64;
            let named: Vec<u64> = report.problems.iter().map(|problem| problem.sequence).collect();
            assert!(named.contains(&foreign_sequence) && named.contains(&lost), "{named:?}");
            assert!(report.problem_count <= 2, "{:#?}", report.problems);
        }
    }
}

#[test]
fn whole_files_that_are_missing_exchanged_or_from_another_log_are_noticed() {
    let victim = Victim::new();
    let other = Victim::new();
    let (path, whole, records) = &victim.files[1];
    fs::remove_file(path).expect("removed");
    let report = judged(victim.dir.path());
    assert_names(&report, ProblemKind::Removed, &victim.name(2), 0, victim.first_of(1));
    assert!(report.problems[0].what.contains(&format!("{}", victim.first_of(2) - 1)));
    assert_eq!((report.problem_count, records.is_empty()), (1, false));
    // The same files of another run are the same bytes but for what the clock says, so these have
    // another key.
    let mut foreign = Vec::new();
    let key = ChainKey::new(&[77; 32]);
    let mut before = super::super::mac::ORIGIN;
    for (number, record) in other.files[1].2.iter().enumerate() {
        let frame = decode(&other.files[1].1[record.clone()]).expect("a record").expect("whole");
        let sequence = victim.first_of(1) + number as u64;
        before = super::super::frame::encode(
            &key,
            &before,
            frame.kind,
            sequence,
            frame.payload,
            &mut foreign,
        );
    }
    let report = victim.with(1, &foreign);
    assert_eq!(report.problems[0].kind, ProblemKind::Changed);
    assert_eq!(report.problems[0].sequence, victim.first_of(1));
    fs::write(path, whole).expect("written");
    fs::write(path, &victim.files[2].1).expect("written");
    assert!(!judged(victim.dir.path()).is_clean());
    fs::write(path, whole).expect("written");
    // Without the head nobody knows where the end was, and with another's neither.
    let head = victim.dir.path().join("head");
    let kept = fs::read(&head).expect("read");
    fs::remove_file(&head).expect("removed");
    assert_eq!(judged(victim.dir.path()).problems[0].kind, ProblemKind::Head);
    fs::write(&head, vec![0; kept.len()]).expect("written");
    assert_eq!(judged(victim.dir.path()).problems[0].kind, ProblemKind::Head);
    fs::write(&head, kept).expect("written");
    assert!(judged(victim.dir.path()).is_clean());
}
