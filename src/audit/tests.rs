//! A log on a real disk, and what becomes of it.

mod failing;
mod tampering;

use std::path::Path;

use serde_json::json;

use super::dir;
use super::disk::SystemDisk;
use super::frame::Kind;
use super::log::{Log, LogOptions};
use super::mac::ChainKey;
use super::recovery::Found;
use super::verify::verify;
use super::{Disk, Report};

/// Small enough that a few records fill a file.
const FILE_BYTES_MAX: u64 = 2048;

fn key() -> ChainKey {
    ChainKey::new(&[5; 32])
}

fn options(dir: &Path) -> LogOptions {
    LogOptions {
        dir: dir.to_owned(),
        file_bytes_max: FILE_BYTES_MAX,
        file_age_max_hours: 24,
        files_max: 100,
    }
}

fn open_on(dir: &Path, disk: Box<dyn Disk>) -> (Log, Found) {
    Log::open(options(dir), key(), disk).expect("opened")
}

fn open(dir: &Path) -> (Log, Found) {
    open_on(dir, Box::new(SystemDisk))
}

/// Appends so many events, one at a time.
fn append(log: &mut Log, count: u64) {
    for number in 0..count {
        let payload = json!({"at_us": number, "pad": "x".repeat(100)}).to_string();
        let (accepted, appended) = log.append([(Kind::Event, payload.as_bytes())], 0);
        appended.expect("appended");
        assert_eq!(accepted, 1);
    }
}

fn judged(dir: &Path) -> Report {
    verify(dir, &key()).expect("read")
}

#[track_caller]
fn assert_clean(dir: &Path, last: u64) {
    let report = judged(dir);
    assert!(report.is_clean(), "{:#?}", report.problems);
    assert_eq!(report.last, last);
}

#[test]
fn a_chain_goes_on_over_files_and_restarts() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut log, found) = open(dir.path());
    assert!(found.clean && found.damage.is_none());
    append(&mut log, 40);
    log.sync(true).expect("synced");
    drop(log);
    let files = dir::list(dir.path()).expect("read").len();
    assert!(files > 3, "{files}");
    assert_clean(dir.path(), 40 + files as u64);
    let (mut log, found) = open(dir.path());
    let again = Log::open(options(dir.path()), key(), Box::new(SystemDisk)).err();
    assert_eq!(again.expect("it is held").kind(), std::io::ErrorKind::ResourceBusy);
    assert!(!found.clean && found.damage.is_none() && found.cut_bytes == 0);
    append(&mut log, 3);
    log.sync(true).expect("synced");
    let files = dir::list(dir.path()).expect("read").len();
    assert_clean(dir.path(), 43 + files as u64);
    assert!(!verify(dir.path(), &ChainKey::new(&[6; 32])).expect("read").is_clean());
}

#[test]
fn files_are_begun_by_age_and_the_oldest_are_removed_and_the_chain_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = LogOptions { files_max: 3, file_age_max_hours: 1, ..options(dir.path()) };
    let (mut log, _) = Log::open(options, key(), Box::new(SystemDisk)).expect("opened");
    for hour in 0..10_i64 {
        let (_, appended) = log.append([(Kind::Event, &b"{}"[..])], hour * 3_600_000_000);
        appended.expect("appended");
        log.sync(true).expect("synced");
        let files = dir::list(dir.path()).expect("read").len();
        assert_eq!(files, usize::try_from(hour + 1).expect("few").min(3));
        assert_clean(dir.path(), (u64::try_from(hour).expect("positive") + 1) * 2);
    }
    // What is older than what the log says it has removed is missing.
    let oldest = dir::list(dir.path()).expect("read").remove(0);
    std::fs::remove_file(oldest.path(dir.path())).expect("removed");
    let problem = judged(dir.path()).problems.remove(0);
    assert_eq!((problem.kind, problem.sequence), (super::ProblemKind::Removed, oldest.first));
}

#[test]
fn a_record_that_a_crash_has_torn_is_cut_off_and_one_that_was_on_disk_is_damage() {
    for synced in [false, true] {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut log, _) = open(dir.path());
        append(&mut log, 3);
        log.sync(true).expect("synced");
        append(&mut log, 1);
        if synced {
            log.sync(true).expect("synced");
        }
        drop(log);
        let file = dir::list(dir.path()).expect("read").remove(0).path(dir.path());
        let whole = std::fs::read(&file).expect("read");
        std::fs::write(&file, &whole[..whole.len() - 30]).expect("cut");
        let report = judged(dir.path());
        assert_eq!(report.is_clean(), !synced, "{:?}", report.problems);
        assert_eq!(report.notices.len(), usize::from(!synced));
        let (mut log, found) = open(dir.path());
        assert_eq!(found.damage.is_some(), synced);
        append(&mut log, 1);
        log.sync(true).expect("synced");
        let report = judged(dir.path());
        assert_eq!(report.is_clean(), !synced, "{:?}", report.problems);
        // The damage stays where it is, and is named once.
        assert_eq!(report.problem_count, u64::from(synced));
        assert_eq!(dir::list(dir.path()).expect("read").len(), 1 + usize::from(synced));
    }
}
