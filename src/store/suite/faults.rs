//! Bad days: failing writes, a disk that hangs, a queue that is full.

use std::io::ErrorKind;
use std::sync::Arc;

use crossbeam::channel::{self, Receiver};

use super::super::{
    CommitError, Committer, CommitterOptions, Job, Keys, MemoryStore, OPS_MAX, Store, StoreError,
    SubmitError, Write, WriteError, layout,
};
use super::{insert, put, record, records_of, rows_of};

fn bench(options: &CommitterOptions) -> (Arc<MemoryStore>, Keys, Committer) {
    let store = Arc::new(MemoryStore::new());
    let keys = Keys::open(Arc::<MemoryStore>::clone(&store)).expect("readable");
    let committer = Committer::start(&keys, options).expect("a thread");
    (store, keys, committer)
}

type Answer = Receiver<Result<(), WriteError>>;

fn submit(committer: &Committer, writes: Vec<Write>) -> Result<Answer, SubmitError> {
    let (answer, answered) = channel::bounded(1);
    let done = Box::new(move |outcome| answer.send(outcome).expect("someone waits"));
    committer.submit(Job { writes, durable: true, done }).map(|()| answered)
}

fn is_latched(error: &WriteError) -> bool {
    matches!(error, WriteError::Store(StoreError::Latched { .. }))
}

#[test]
fn after_a_failed_sync_nothing_is_written_and_reads_go_on() {
    let (store, keys, committer) = bench(&CommitterOptions::default());
    committer.commit(vec![insert(&record(1))], true).expect("committed");
    store.fail_sync(1, ErrorKind::StorageFull);
    match committer.commit(vec![insert(&record(2))], true) {
        Err(CommitError::Write(WriteError::Store(StoreError::Io { source, .. }))) => {
            assert_eq!(source.kind(), ErrorKind::StorageFull);
        }
        other => panic!("expected the disk's error, got {other:?}"),
    }
    match committer.commit(vec![insert(&record(3))], false) {
        Err(CommitError::Write(error)) => assert!(is_latched(&error), "{error}"),
        other => panic!("expected the latch, got {other:?}"),
    }
    assert_eq!(keys.get(1).expect("reads go on"), Some(record(1)));
    let stats = committer.stats();
    assert!(stats.latched.is_some_and(|cause| cause.contains("sync memory")));
    assert!(stats.last_error.is_some());
    assert!(committer.stop().is_err(), "the last sync was not made");

    let (_, committer) = super::start(Arc::new(store.crash()));
    assert_eq!(committer.stats().latched, None, "a restart opens the latch");
    committer.commit(vec![insert(&record(3))], true).expect("committed");
}

#[test]
fn a_store_that_takes_no_writes_says_so_before_it_is_read() {
    let (store, _keys, committer) = bench(&CommitterOptions::default());
    store.fail_reads_with_writes();
    store.fail_sync(1, ErrorKind::StorageFull);
    committer.commit(vec![insert(&record(1))], true).expect_err("the disk's error");
    match committer.commit(vec![insert(&record(2))], true) {
        Err(CommitError::Write(error)) => assert!(is_latched(&error), "{error}"),
        other => panic!("expected the latch, got {other:?}"),
    }
}

#[test]
fn a_failed_apply_writes_nothing_of_its_batch() {
    let (store, _keys, committer) = bench(&CommitterOptions::default());
    let before = rows_of(store.as_ref());
    store.fail_apply(1, ErrorKind::Other);
    committer.commit(vec![insert(&record(1))], true).expect_err("the disk's error");
    assert_eq!(rows_of(store.as_ref()), before);
    assert!(store.apply(&[put(b"x", b"")]).is_err());
    assert!(store.sync().is_err());
}

#[test]
fn everyone_who_shares_a_failed_sync_hears_of_it() {
    let (store, _keys, committer) = bench(&CommitterOptions::default());
    store.hold_sync();
    let first = submit(&committer, vec![insert(&record(1))]).expect("taken");
    let group: Vec<_> =
        (2..40).map(|id| submit(&committer, vec![insert(&record(id))]).expect("taken")).collect();
    // The first one's sync may have taken some of the others along; all of it fails.
    store.fail_sync(1, ErrorKind::Other);
    store.release_sync();
    for answer in std::iter::once(first).chain(group) {
        answer.recv().expect("answered").expect_err("failed or latched");
    }
    assert_eq!(records_of(&store.crash()).len(), 0);
}

#[test]
fn jobs_that_wait_share_one_sync_and_conflict_with_each_other() {
    let (store, _keys, committer) = bench(&CommitterOptions::default());
    store.hold_sync();
    let first = submit(&committer, vec![insert(&record(1))]).expect("taken");
    while store.unsynced_batches() == 0 {
        std::thread::yield_now();
    }
    let twice: Vec<_> =
        (0..2).map(|_| submit(&committer, vec![insert(&record(2))]).expect("taken")).collect();
    let others: Vec<_> =
        (3..50).map(|id| submit(&committer, vec![insert(&record(id))]).expect("taken")).collect();
    store.release_sync();
    first.recv().expect("answered").expect("committed");
    let outcomes: Vec<_> = twice.iter().map(|answer| answer.recv().expect("answered")).collect();
    assert!(matches!(outcomes[..], [Ok(()), Err(WriteError::Conflict(_))]), "{outcomes:?}");
    for answer in others {
        answer.recv().expect("answered").expect("committed");
    }
    let stats = committer.stats();
    assert_eq!((stats.commits, stats.refused, stats.groups), (49, 1, 2));
    assert_eq!(records_of(&store.crash()).len(), 49);
}

#[test]
fn a_group_is_no_larger_than_a_batch() {
    let (store, _keys, committer) = bench(&CommitterOptions::default());
    store.hold_sync();
    let job = |seq: u64| {
        let chunk = |n| Write::increments(seq * 1000 + n, 1, &n).expect("small");
        (0..300).map(chunk).collect::<Vec<_>>()
    };
    let answers: Vec<_> = (0..10).map(|seq| submit(&committer, job(seq)).expect("taken")).collect();
    store.release_sync();
    for answer in answers {
        answer.recv().expect("answered").expect("committed");
    }
    let stats = committer.stats();
    assert_eq!((stats.commits, stats.ops), (10, 3000));
    assert_eq!(stats.groups, 10, "two of {} operations do not fit into {OPS_MAX}", 300);
    let rows = rows_of(&store.crash());
    assert_eq!(rows.iter().filter(|(key, _)| key.starts_with(&[layout::INCREMENTS])).count(), 3000);
}

#[test]
fn a_full_queue_says_so_at_once() {
    let options = CommitterOptions { queue_jobs_max: 2, ..CommitterOptions::default() };
    let (store, _keys, committer) = bench(&options);
    store.hold_sync();
    let mut answers = vec![submit(&committer, vec![insert(&record(1))]).expect("taken")];
    while store.unsynced_batches() == 0 {
        std::thread::yield_now();
    }
    answers.extend((2..4).map(|id| submit(&committer, vec![insert(&record(id))]).expect("taken")));
    let busy = submit(&committer, vec![insert(&record(4))]);
    assert!(matches!(busy, Err(SubmitError::Busy { waiting: 2 })), "{busy:?}");
    store.release_sync();
    for answer in answers {
        answer.recv().expect("answered").expect("committed");
    }
    assert_eq!(records_of(store.as_ref()).len(), 3);
}

#[test]
fn stopping_writes_what_waits_and_then_takes_no_more() {
    let (store, _keys, committer) = bench(&CommitterOptions::default());
    store.hold_sync();
    let answers: Vec<_> =
        (1..30).map(|id| submit(&committer, vec![insert(&record(id))]).expect("taken")).collect();
    store.release_sync();
    committer.stop().expect("stopped");
    for answer in answers {
        answer.recv().expect("answered").expect("committed");
    }
    let late = submit(&committer, vec![insert(&record(99))]);
    assert!(matches!(late, Err(SubmitError::Stopped)), "{late:?}");
    committer.stop().expect("twice does nothing");
    assert_eq!(records_of(&store.crash()).len(), 29);
}

#[test]
fn stopping_makes_durable_what_nobody_waited_for() {
    let (store, _keys, committer) = bench(&CommitterOptions::default());
    committer.commit(vec![insert(&record(1))], false).expect("applied");
    assert_eq!(records_of(&store.crash()).len(), 0);
    committer.stop().expect("stopped");
    assert_eq!(records_of(&store.crash()).len(), 1);
}

#[test]
fn a_disk_that_hangs_is_given_up() {
    let options = CommitterOptions { stall_ms: 400, ..CommitterOptions::default() };
    let (store, keys, committer) = bench(&options);
    store.hold_sync();
    let stalled = |outcome: &Result<(), WriteError>| {
        matches!(outcome, Err(WriteError::Store(StoreError::Stalled { .. })))
    };
    let first = submit(&committer, vec![insert(&record(1))]).expect("taken");
    let second = submit(&committer, vec![insert(&record(2))]).expect("taken");
    for answer in [first, second] {
        let outcome = answer.recv().expect("answered");
        assert!(stalled(&outcome), "{outcome:?}");
    }
    let third = submit(&committer, vec![insert(&record(3))]);
    assert!(matches!(third, Err(SubmitError::Store(_))), "{third:?}");
    assert!(committer.stats().latched.is_some());
    assert!(keys.get(7).is_ok(), "reads go on");
    assert!(committer.stop().is_err(), "and stopping does not wait for the disk");
    store.release_sync();
}
