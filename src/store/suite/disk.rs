//! What only a store on disk does.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use super::super::{SledOptions, SledStore, Store, StoreError};
use super::{put, remove, rows_of};

fn open(dir: &Path) -> Result<SledStore, StoreError> {
    SledStore::open(dir, &SledOptions { cache_bytes: 1 << 20 })
}

#[test]
fn a_second_daemon_is_told_who_holds_the_data() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let first = open(dir.path()).expect("opened");
    let error = open(dir.path()).expect_err("held");
    let holder = format!("process {}", std::process::id());
    assert!(
        matches!(&error, StoreError::InUse { holder: found, .. } if *found == holder),
        "{error}"
    );
    first.apply(&[put(b"a", b"1")]).expect("the first is not disturbed");
    drop(first);
    let second = open(dir.path()).expect("free again");
    assert_eq!(second.get(b"a").expect("readable"), Some(b"1".to_vec()));
}

#[test]
fn nobody_else_can_read_the_data() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let dir = home.path().join("data");
    drop(open(&dir).expect("opened"));
    drop(open(&dir).expect("opened again, with a snapshot"));
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for entry in fs::read_dir(&dir).expect("readable") {
        let path = entry.expect("readable").path();
        assert!(path.is_dir() || mode(&path) == 0o600, "{}", path.display());
    }
}

#[test]
fn no_row_is_written_outside_the_log() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = open(dir.path()).expect("opened");
    let blobs = || fs::read_dir(dir.path().join("blobs")).expect("readable").count();
    for round in 0..3_u8 {
        for row in 0..200_u8 {
            let len = 1000 + 500 * usize::from(row ^ round);
            store.apply(&[put(&[b'r', row], &vec![round; len])]).expect("applied");
        }
        store.sync().expect("synced");
        assert_eq!(blobs(), 0);
    }
    for row in (0..200).filter(|row| row % 8 != 0) {
        store.apply(&[remove(&[b'r', row])]).expect("applied");
    }
    store.sync().expect("synced");
    assert_eq!(rows_of(&store).len(), 25);
}

#[test]
fn damaged_files_are_an_error_and_not_a_panic() {
    for name in ["conf", "snap."] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = open(dir.path()).expect("opened");
        store.apply(&[put(b"a", b"1")]).expect("applied");
        drop(store);
        drop(open(dir.path()).expect("opened again, with a snapshot"));
        for entry in fs::read_dir(dir.path()).expect("readable") {
            let path = entry.expect("readable").path();
            if path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name)) {
                fs::write(&path, b"these are not the bytes you wrote").expect("damaged");
            }
        }
        let error = open(dir.path()).map(drop).expect_err("damaged");
        let known = matches!(error, StoreError::Corrupt { .. } | StoreError::Panicked { .. });
        assert!(known, "{name}: {error}");
    }
}

#[test]
fn a_long_value_is_read_whole_while_it_is_written() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Arc::new(open(dir.path()).expect("opened"));
    let value = |round: u8| vec![round; 4000 + 3000 * usize::from(round % 5)];
    store.apply(&[put(b"a", &value(0))]).expect("applied");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 1..=200 {
                store.apply(&[put(b"a", &value(round))]).expect("applied");
            }
        });
        let mut last = 0;
        while !writer.is_finished() {
            let read = store.get(b"a").expect("readable").expect("always there");
            assert_eq!(read, value(read[0]), "one write's value, not a mixture");
            assert!(read[0] >= last);
            last = read[0];
        }
    });
}
