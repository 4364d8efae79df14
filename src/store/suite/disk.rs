//! What only a store on disk does.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::super::{StoreEngine, StoreError, found_in, open_existing};
use super::{Home, open_small, over_every_disk, put, remove, rows_of};

over_every_disk! {
    a_second_daemon_is_told_who_holds_the_data
    nobody_else_can_read_the_data
    damaged_files_are_an_error_and_not_a_panic
    a_long_value_is_read_whole_while_it_is_written
    the_other_engines_data_is_refused_in_words
}

fn a_second_daemon_is_told_who_holds_the_data(home: &mut Home) {
    home.store().apply(&[put(b"a", b"1")]).expect("applied");
    let (dir, engine) = home.stop();
    let first = open_small(engine, &dir).expect("opened");
    let holder = format!("process {}", std::process::id());
    for error in [
        open_small(engine, &dir).map(drop).expect_err("held"),
        open_existing(&dir, &Default::default()).map(drop).expect_err("held"),
    ] {
        assert!(
            matches!(&error, StoreError::InUse { holder: found, .. } if *found == holder),
            "{error}"
        );
    }
    first.apply(&[put(b"a", b"2")]).expect("the first is not disturbed");
    drop(first);
    let (found, second) = open_existing(&dir, &Default::default()).expect("free again");
    assert_eq!(found, engine);
    assert_eq!(second.get(b"a").expect("readable"), Some(b"2".to_vec()));
}

fn nobody_else_can_read_the_data(home: &mut Home) {
    home.restart();
    let (dir, _) = home.stop();
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for path in files(&dir) {
        assert!(path.is_dir() || mode(&path) == 0o600, "{}", path.display());
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("readable");
    entries.map(|entry| entry.expect("readable").path()).collect()
}

fn the_other_engines_data_is_refused_in_words(home: &mut Home) {
    let (dir, engine) = home.stop();
    let before = files(&dir);
    for wanted in StoreEngine::ALL.iter().filter(|other| **other != engine) {
        let error = open_small(*wanted, &dir).map(drop).expect_err("the other's");
        assert!(
            matches!(error, StoreError::OtherEngine { found, .. } if found == engine),
            "{error}"
        );
        let words = error.to_string();
        let setting = format!("engine = \"{engine}\"");
        for needed in [setting.as_str(), "keygate restore", "export", wanted.name()] {
            assert!(words.contains(needed), "{needed} in {words}");
        }
    }
    assert_eq!(files(&dir), before, "it was not touched");
    assert_eq!(found_in(&dir), Some(engine));
}

#[test]
fn a_directory_without_data_is_not_made_one() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let error = open_existing(dir.path(), &Default::default()).map(drop).expect_err("no data");
    assert!(matches!(error, StoreError::NoData { .. }), "{error}");
    assert_eq!(files(dir.path()), Vec::<PathBuf>::new());
}

#[test]
fn no_row_is_written_outside_the_log() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = open_small(StoreEngine::Sled, dir.path()).expect("opened");
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
    assert_eq!(rows_of(store.as_ref()).len(), 25);
}

fn damaged_files_are_an_error_and_not_a_panic(home: &mut Home) {
    home.store().apply(&[put(b"a", b"1")]).expect("applied");
    home.restart();
    let (dir, engine) = home.stop();
    let names: &[&str] = match engine {
        // A log that is damaged ends there; sled cannot tell it from a torn write.
        StoreEngine::Sled => &["conf", "snap."],
        StoreEngine::Redb => &["keys.redb"],
    };
    for name in names {
        let damaged: Vec<_> = files(&dir)
            .into_iter()
            .filter(|path| path.file_name().expect("a name").to_string_lossy().starts_with(name))
            .map(|path| (fs::read(&path).expect("readable"), path))
            .collect();
        assert!(!damaged.is_empty(), "{name}");
        for (_, path) in &damaged {
            fs::write(path, b"these are not the bytes you wrote").expect("damaged");
        }
        let error = open_small(engine, &dir).map(drop).expect_err("damaged");
        let known = matches!(error, StoreError::Corrupt { .. } | StoreError::Panicked { .. });
        assert!(known, "{name}: {error}");
        for (bytes, path) in damaged {
            fs::write(&path, bytes).expect("mended");
        }
    }
}

fn a_long_value_is_read_whole_while_it_is_written(home: &mut Home) {
    let store = home.store();
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
