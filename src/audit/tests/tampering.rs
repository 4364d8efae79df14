//! Whatever is done to the files, the verification names the record that it was done to.

use std::fs;
use std::path::PathBuf;

use super::super::frame::{HEAD_BYTES, SEQUENCE_MAX, decode};
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
            // The one behind it cannot be checked; the beginning of a file can.
            let unchecked = u64::from(!is_last_of_file);
            let problems = report.problems.iter();
            let told = problems.filter(|it| it.kind == ProblemKind::Unchecked).count() as u64;
            assert_eq!(told, unchecked, "{sequence}: {:#?}", report.problems);
            assert_eq!(report.problem_count, 1 + unchecked, "{sequence}: {:#?}", report.problems);
            assert_eq!(report.records, victim.last - 1 - unchecked);
        }
    }
}

#[test]
fn a_record_that_was_changed_behind_a_gap_is_named() {
    let victim = Victim::new();
    let (_, whole, records) = &victim.files[1];
    let [gone, changed] = [records[2].clone(), records[3].clone()];
    let mut forged = whole[changed.clone()].to_vec();
    let at = forged.len() - 20;
    forged[at] = b'!';
    // The checksum needs no key.
    let crc = crc32c::crc32c_append(crc32c::crc32c(&forged[..20]), &forged[HEAD_BYTES..]);
    forged[20..24].copy_from_slice(&crc.to_le_bytes());
    let bytes = [&whole[..gone.start], &forged, &whole[changed.end..]].concat();
    let report = victim.with(1, &bytes);
    let sequence = victim.first_of(1) + 3;
    let named = report.problems.iter().find(|it| it.sequence == sequence).expect("named");
    assert_eq!(named.kind, ProblemKind::Unchecked);
    assert_eq!(report.records, victim.last - 2);
}

#[test]
fn a_forged_sequence_neither_stops_the_log_nor_removes_a_file() {
    for sequence in [u64::MAX, SEQUENCE_MAX, SEQUENCE_MAX - 1, 0] {
        let victim = Victim::new();
        let path = &victim.files.last().expect("a file").0;
        let mut bytes = fs::read(path).expect("read");
        let stranger = ChainKey::new(&[1; 32]);
        super::super::frame::encode(&stranger, &[0; 32], Kind::Event, sequence, b"{}", &mut bytes);
        fs::write(path, bytes).expect("written");
        assert!(!judged(victim.dir.path()).is_clean());
        for _ in 0..3 {
            let before = dir::list(victim.dir.path()).expect("read").len();
            let (mut log, _) = open(victim.dir.path());
            append(&mut log, 1);
            log.sync(true).expect("synced");
            drop(log);
            let names = dir::list(victim.dir.path()).expect("read");
            assert!(names.len() >= before, "nothing is removed");
            assert!(names.iter().all(|name| name.first < victim.last + 100), "{names:?}");
        }
        // What is no record at all was cut off like what a crash has torn.
        let no_record = !(1..=SEQUENCE_MAX).contains(&sequence);
        assert_eq!(judged(victim.dir.path()).is_clean(), no_record, "{sequence}");
    }
    // A whole file of a stranger's, by its name far ahead, is put aside.
    let victim = Victim::new();
    let name = dir::LogName::of(SEQUENCE_MAX).path(victim.dir.path());
    fs::write(&name, &victim.files[0].1).expect("written");
    let (mut log, found) = open(victim.dir.path());
    append(&mut log, 1);
    assert!(found.damage.is_some() && !name.exists());
    assert!(name.with_extension("aside-1").exists());
}

#[test]
fn a_head_that_is_missing_at_a_start_is_named_for_ever() {
    for spoil in ["missing", "one place", "both places"] {
        let victim = Victim::new();
        let head = victim.dir.path().join("head");
        let mut places = fs::read(&head).expect("read");
        match spoil {
            "missing" => fs::remove_file(&head).expect("removed"),
            "one place" => {
                let newest = if head_sequence(&places[..80]) > head_sequence(&places[512..]) {
                    0..80
                } else {
                    512..592
                };
                places[newest].fill(0);
                fs::write(&head, places).expect("written");
            }
            _ => fs::write(&head, vec![0; places.len()]).expect("written"),
        }
        assert_eq!(judged(victim.dir.path()).problems[0].kind, ProblemKind::Head, "{spoil}");
        // The end is taken too.
        let last = victim.files.len() - 1;
        let (path, whole, records) = &victim.files[last];
        let cut = if spoil == "one place" { records[records.len() - 1].start } else { 0 };
        match cut {
            0 => fs::remove_file(path).expect("removed"),
            cut => fs::write(path, &whole[..cut]).expect("written"),
        }
        let files = dir::list(victim.dir.path()).expect("read").len();
        for _ in 0..2 {
            let (mut log, _) = open(victim.dir.path());
            append(&mut log, 3);
            log.sync(true).expect("synced");
            drop(log);
            let report = judged(victim.dir.path());
            assert_eq!(report.problem_count, 1, "{spoil}: {:#?}", report.problems);
            assert_eq!(report.problems[0].kind, ProblemKind::Head, "{spoil}");
        }
        assert!(dir::list(victim.dir.path()).expect("read").len() > files);
    }
}

fn head_sequence(place: &[u8]) -> u64 {
    u64::from_le_bytes(place[8..16].try_into().expect("eight bytes"))
}

#[test]
fn a_log_is_not_gone_on_with_under_another_key() {
    let victim = Victim::new();
    let other = ChainKey::new(&[6; 32]);
    let opened = Log::open(options(victim.dir.path()), other, Box::new(SystemDisk)).err();
    assert!(opened.expect("refused").to_string().contains("another key"));
    let (_, found) = open(victim.dir.path());
    assert!(found.damage.is_none(), "nothing was changed: {found:?}");
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
            let checked = report.problems.iter().filter(|it| it.kind != ProblemKind::Unchecked);
            assert!(checked.count() <= 2, "{:#?}", report.problems);
            assert!(report.problem_count <= 3, "{:#?}", report.problems);
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
