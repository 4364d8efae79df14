//! A disk that is full, or fails, and is well again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, bounded};
use parking_lot::Mutex;

use super::super::{Audit, LogFile, Options, Sync};
use super::*;
use crate::clock::ManualClock;
use crate::engine::AuditDesk;
use crate::event::{Decision, Event, Journal as _};

/// A real disk, that fails where it is told to.
#[derive(Clone, Default)]
struct FailingDisk(Arc<Faults>);

#[derive(Default)]
struct Faults {
    /// Nothing is written.
    full: AtomicBool,
    /// Nothing is synced.
    unsynced: AtomicBool,
    /// A sync waits until this is let go.
    slow: Mutex<()>,
    syncs: AtomicU64,
    /// A write is a fault of the daemon's.
    faulty: AtomicBool,
    syncs_behind_failure: AtomicU64,
    made: AtomicU64,
}

struct FailingFile {
    file: Box<dyn LogFile>,
    faults: Arc<Faults>,
    failed: bool,
}

impl FailingDisk {
    fn wrap(&self, file: io::Result<Box<dyn LogFile>>) -> io::Result<Box<dyn LogFile>> {
        let faults = Arc::clone(&self.0);
        Ok(Box::new(FailingFile { file: file?, faults, failed: false }))
    }
}

impl Disk for FailingDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        self.0.made.fetch_add(1, Ordering::Relaxed);
        self.wrap(SystemDisk.create(path))
    }

    fn append(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn LogFile>> {
        self.wrap(SystemDisk.append(path, bytes))
    }
}

impl LogFile for FailingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        assert!(!self.faults.faulty.load(Ordering::Relaxed), "a fault, for a test");
        if self.faults.full.load(Ordering::Relaxed) {
            // As far as there was room.
            self.file.write(&bytes[..bytes.len() / 2])?;
            self.failed = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.failed {
            self.faults.syncs_behind_failure.fetch_add(1, Ordering::Relaxed);
        }
        self.faults.syncs.fetch_add(1, Ordering::Relaxed);
        drop(self.faults.slow.lock());
        if self.faults.unsynced.load(Ordering::Relaxed) {
            self.failed = true;
            return Err(io::Error::other("the disk does not answer"));
        }
        self.file.sync()
    }
}

struct Bench {
    dir: tempfile::TempDir,
    disk: FailingDisk,
    desk: Arc<AuditDesk>,
    audit: Audit,
    failures: Arc<Mutex<Vec<String>>>,
    clock: Arc<ManualClock>,
}

fn decision(cost: u64) -> Decision {
    Decision { cost, ..Decision::unrecorded("VALID", 1) }
}

impl Bench {
    fn new(sync: Sync) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (disk, desk) = (FailingDisk::default(), Arc::<AuditDesk>::default());
        let failures: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = LogOptions { file_bytes_max: 1 << 20, ..options(dir.path()) };
        let options = Options {
            log,
            sync,
            queue_records_max: 100,
            denials_per_second_max: 10,
            configuration: b"{}".to_vec(),
        };
        let clock = Arc::new(ManualClock::new(7));
        let told = Arc::clone(&failures);
        let on_failing = Box::new(move |why: Option<String>| told.lock().extend(why));
        let disk_of_log = Box::new(disk.clone());
        let time = Arc::clone(&clock) as Arc<dyn crate::clock::Clock>;
        let places = (Arc::clone(&desk), time);
        let audit = Audit::start(options, key(), disk_of_log, places, |_| Some("X"), on_failing);
        Self { dir, disk, desk, audit: audit.expect("started"), failures, clock }
    }

    /// Hands a record over whose place is reserved; who hears whether it is on disk.
    fn hand_over(&self, cost: u64) -> Receiver<bool> {
        assert!(self.desk.reserve());
        let (told, hears) = bounded(1);
        let waiter = Box::new(move |on_disk| told.send(on_disk).expect("somebody hears"));
        self.audit.record(1, decision(cost), Some(waiter));
        hears
    }

    /// Hands a record over as a decision does; whether it was accepted.
    fn accepted(&self, cost: u64) -> bool {
        if !self.desk.reserve() {
            return false;
        }
        if !self.audit.waits_for_disk() {
            self.audit.record(1, decision(cost), None);
            return true;
        }
        let (told, hears) = bounded(1);
        let waiter = Box::new(move |on_disk| told.send(on_disk).expect("somebody hears"));
        self.audit.record(1, decision(cost), Some(waiter));
        hears.recv_timeout(Duration::from_secs(20)).expect("it is told")
    }

    fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        for _ in 0..4000 {
            if so(self) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("{what} has not come");
    }

    fn is_failing(&self) -> bool {
        self.audit.stats().failing.is_some()
    }

    /// Costs and codes of all decisions in the log.
    fn recorded(&self) -> Vec<(u64, String)> {
        let mut found = Vec::new();
        super::super::read::each(self.dir.path(), 0, |entry| {
            let json = serde_json::to_value(&entry).expect("JSON");
            if json["event"] == "decision" {
                let code = json["code"].as_str().expect("a code").to_owned();
                found.push((json["cost"].as_u64().expect("a number"), code));
            }
            Ok(true)
        })
        .expect("read");
        found
    }
}

#[test]
fn a_full_disk_closes_the_desk_and_is_left_without_a_restart_and_without_a_gap() {
    for sync in [Sync::Queue, Sync::Fsync] {
        let bench = Bench::new(sync);
        assert!(bench.accepted(1) && bench.accepted(2));
        bench.until("the writer", |bench| bench.recorded().len() == 2);
        bench.disk.0.full.store(true, Ordering::Relaxed);
        // In the queue it was accepted, on the disk it was not.
        assert_eq!(bench.accepted(3), sync == Sync::Queue);
        bench.until("the failure", Bench::is_failing);
        assert!(!bench.desk.reserve() && !bench.accepted(4));
        bench.until("the word of it", |bench| bench.failures.lock().len() == 1);
        // What nobody demands waits.
        bench.audit.note(&Event { at_us: 3, what: crate::event::What::Decision(decision(5)) });
        bench.until("attempts", |bench| bench.disk.0.made.load(Ordering::Relaxed) >= 3);
        bench.disk.0.full.store(false, Ordering::Relaxed);
        bench.until("the recovery", |bench| !bench.is_failing());
        assert!(bench.accepted(6));
        bench.audit.stop();
        assert_eq!(bench.failures.lock().len(), 1, "told once");
        let files = dir::list(bench.dir.path()).expect("read").len();
        assert_eq!(files, 2, "attempts leave nothing behind");
        assert_eq!(bench.disk.0.syncs_behind_failure.load(Ordering::Relaxed), 0);
        let third = if sync == Sync::Queue { "VALID" } else { "AUDIT_UNAVAILABLE" };
        let codes = ["VALID", "VALID", third, "VALID", "VALID"].map(str::to_owned);
        let expected: Vec<_> = [1, 2, 3, 5, 6].into_iter().zip(codes).collect();
        assert_eq!(bench.recorded(), expected);
        let report = judged(bench.dir.path());
        assert!(report.is_clean(), "{:#?}", report.problems);
    }
}

#[test]
fn a_failed_sync_is_not_tried_again_and_who_waited_is_refused() {
    let bench = Bench::new(Sync::Fsync);
    assert!(bench.accepted(1));
    bench.disk.0.unsynced.store(true, Ordering::Relaxed);
    assert!(!bench.accepted(2) && !bench.accepted(3));
    bench.disk.0.unsynced.store(false, Ordering::Relaxed);
    bench.until("the recovery", |bench| !bench.is_failing());
    assert!(bench.accepted(4));
    bench.audit.stop();
    assert_eq!(bench.disk.0.syncs_behind_failure.load(Ordering::Relaxed), 0);
    let recorded = bench.recorded();
    // What the failed file has of it is followed by how it was answered.
    assert!(recorded.contains(&(2, "AUDIT_UNAVAILABLE".to_owned())), "{recorded:?}");
    let report = judged(bench.dir.path());
    assert!(report.is_clean(), "{:#?}", report.problems);
}

#[test]
fn who_comes_while_a_sync_fails_is_refused_while_the_disk_is_still_bad() {
    let bench = Bench::new(Sync::Fsync);
    assert!(bench.accepted(1));
    let slow = bench.disk.0.slow.lock();
    bench.disk.0.unsynced.store(true, Ordering::Relaxed);
    let before = bench.disk.0.syncs.load(Ordering::Relaxed);
    let first = bench.hand_over(2);
    bench.until("the sync", |bench| bench.disk.0.syncs.load(Ordering::Relaxed) > before);
    // The disk has not answered yet, so the gate is open.
    let behind = [bench.hand_over(3), bench.hand_over(4)];
    drop(slow);
    for waits in [first].iter().chain(&behind) {
        assert_eq!(waits.recv_timeout(Duration::from_secs(20)), Ok(false));
    }
    assert!(bench.is_failing());
    bench.disk.0.unsynced.store(false, Ordering::Relaxed);
    bench.until("the recovery", |bench| !bench.is_failing());
    bench.audit.stop();
    let unavailable = "AUDIT_UNAVAILABLE".to_owned();
    let recorded = bench.recorded();
    assert!(recorded.ends_with(&[(3, unavailable.clone()), (4, unavailable)]), "{recorded:?}");
    assert!(judged(bench.dir.path()).is_clean());
}

#[test]
fn a_stop_while_the_disk_fails_still_writes_what_waits_if_it_can() {
    let bench = Bench::new(Sync::Queue);
    bench.disk.0.full.store(true, Ordering::Relaxed);
    assert!(bench.accepted(2));
    bench.until("the failure", Bench::is_failing);
    (10..20).for_each(|cost| bench.audit.offer(3, decision(cost)));
    bench.disk.0.full.store(false, Ordering::Relaxed);
    bench.audit.stop();
    let costs: Vec<u64> = bench.recorded().into_iter().map(|(cost, _)| cost).collect();
    assert_eq!(costs, [2].into_iter().chain(10..20).collect::<Vec<_>>());
    assert!(judged(bench.dir.path()).is_clean());
}

#[test]
fn a_fault_of_the_writing_thread_closes_the_gate_and_refuses_who_waits() {
    let bench = Bench::new(Sync::Fsync);
    assert!(bench.accepted(1));
    let slow = bench.disk.0.slow.lock();
    let before = bench.disk.0.syncs.load(Ordering::Relaxed);
    let first = bench.hand_over(2);
    bench.until("the sync", |bench| bench.disk.0.syncs.load(Ordering::Relaxed) > before);
    bench.disk.0.faulty.store(true, Ordering::Relaxed);
    let second = bench.hand_over(3);
    drop(slow);
    assert_eq!(first.recv_timeout(Duration::from_secs(20)), Ok(true));
    assert_eq!(second.recv_timeout(Duration::from_secs(20)), Ok(false));
    bench.until("the gate", Bench::is_failing);
    assert!(!bench.desk.reserve());
    assert!(bench.audit.stats().failing.is_some_and(|why| why.contains("restart")));
}

#[test]
fn a_log_that_failed_recovers_without_a_record_that_waits() {
    let bench = Bench::new(Sync::Queue);
    bench.disk.0.unsynced.store(true, Ordering::Relaxed);
    assert!(bench.accepted(1));
    bench.until("the writer", |bench| bench.recorded().len() == 1);
    bench.clock.advance_us(1_000_001);
    bench.until("the failure", Bench::is_failing);
    bench.disk.0.unsynced.store(false, Ordering::Relaxed);
    bench.until("the recovery", |bench| !bench.is_failing());
    assert!(bench.desk.reserve());
}

#[test]
fn a_queue_that_is_full_refuses_and_says_how_much_it_has_lost() {
    let bench = Bench::new(Sync::Queue);
    bench.disk.0.full.store(true, Ordering::Relaxed);
    bench.audit.offer(1, decision(0));
    bench.until("the failure", Bench::is_failing);
    for cost in 1..200 {
        bench.audit.offer(1, decision(cost));
    }
    bench.disk.0.full.store(false, Ordering::Relaxed);
    bench.until("the recovery", |bench| !bench.is_failing());
    bench.audit.stop();
    let mut lost = 0;
    super::super::read::each(bench.dir.path(), 0, |entry| {
        let json = serde_json::to_value(&entry).expect("JSON");
        lost += json["decisions"].as_u64().unwrap_or(0);
        Ok(true)
    })
    .expect("read");
    assert_eq!(bench.recorded().len() as u64 + lost, 200);
    assert_eq!(lost, 150, "they leave half of it to others");
    assert_eq!(bench.audit.stats().lost, lost);
    assert!(judged(bench.dir.path()).is_clean());
}

#[test]
fn what_is_sampled_out_is_told_by_its_code() {
    let bench = Bench::new(Sync::Queue);
    let recorded = (0..50).filter(|_| bench.audit.samples(7, 5)).count();
    assert_eq!(recorded, 10);
    bench.audit.stop();
    let mut told = 0;
    super::super::read::each(bench.dir.path(), 0, |entry| {
        let json = serde_json::to_value(&entry).expect("JSON");
        if json["code"] == "X" {
            told += json["count"].as_u64().expect("a number");
        }
        Ok(true)
    })
    .expect("read");
    assert_eq!(told, 40);
}

#[test]
fn a_device_that_is_always_full_is_a_full_disk() {
    let mut full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
    let error = LogFile::write(&mut full, b"x").expect_err("no room");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}
