//! Data that goes from one directory to another: copies, backups, compactions.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::copy::{Rows, Writer, compare, copy_all};
use super::super::swap::{self};
use super::super::{
    Draft, MemoryStore, Op, Row, Store, StoreEngine, StoreError, StoreOptions, compact, found_in,
    open_existing,
};
use super::{
    Home, changed, insert, open_small, over_every_disk, put, record, replace, rows_of, start,
};

over_every_disk! {
    a_copy_holds_the_same_rows_in_any_engine
    a_compaction_keeps_every_row_and_gives_room_back
    a_compaction_that_is_cut_short_leaves_the_old_or_the_new
    a_copy_and_its_redo_are_the_state_at_the_end
    what_root_does_in_the_daemons_directory_stays_the_daemons
}

/// Rows of many sizes.
fn fill(store: &dyn Store) {
    for n in 0..60_u32 {
        let value = vec![7; usize::try_from(n * n * 20).expect("small")];
        store.apply(&[put(&[b'r', u8::try_from(n).expect("small")], &value)]).expect("applied");
    }
    store.sync().expect("synced");
}

fn a_copy_holds_the_same_rows_in_any_engine(home: &mut Home) {
    fill(home.store().as_ref());
    let place = tempfile::tempdir().expect("a temporary directory");
    for engine in StoreEngine::ALL {
        let target = place.path().join(engine.name());
        let draft = Draft::begin(&target, false).expect("begun");
        let copy = draft.open(*engine, &StoreOptions::default()).expect("opened");
        let walked = copy_all(home.store().as_ref(), copy.as_ref(), |_| {}).expect("copied");
        compare(home.store().as_ref(), copy.as_ref(), &target, |_| {}).expect("the same");
        assert_eq!(walked.rows, 60);
        copy.apply(&[put(b"r\x03", b"other")]).expect("applied");
        let differs = compare(home.store().as_ref(), copy.as_ref(), &target, |_| {});
        assert!(matches!(differs, Err(StoreError::CopyDiffers { .. })), "{differs:?}");
        draft.add_file("pepper", b"secret").expect("added");
        drop(copy);
        assert!(!target.exists(), "not before it is whole");
        draft.finish().expect("finished");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&target), mode(&target.join("pepper"))), (0o700, 0o600));
        let (found, copy) = open_existing(&target, &StoreOptions::default()).expect("opened");
        assert_eq!((found, rows_of(copy.as_ref()).len()), (*engine, 60));
        let there = Draft::begin(&target, true).map(drop).expect_err("it is there");
        assert!(matches!(there, StoreError::Exists { .. }), "{there}");
    }
}

/// Two commands that make the same directory at once: one of them is refused, whenever it comes.
#[test]
fn a_draft_is_one_makers_from_its_beginning_to_its_end() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let (target, part) = (place.path().join("copy"), place.path().join("copy.part"));
    let refuses_another = |when: &str| match Draft::begin(&target, false).map(drop) {
        Err(StoreError::InUse { .. }) => {}
        other => panic!("{when}: {other:?}"),
    };
    let draft = Draft::begin(&target, false).expect("begun");
    refuses_another("before its store is opened");
    let store = draft.open(StoreEngine::Redb, &StoreOptions::default()).expect("opened");
    fill(store.as_ref());
    drop(store);
    refuses_another("after its store was closed");
    draft.add_file("pepper", b"secret").expect("added");
    draft.finish().expect("finished");
    let (_, store) = open_existing(&target, &StoreOptions::default()).expect("opened");
    assert_eq!(rows_of(store.as_ref()).len(), 60);
    drop(store);
    fs::remove_dir_all(&target).expect("removed");

    let draft = Draft::begin(&target, false).expect("begun");
    fs::remove_dir_all(&part).expect("somebody removes it");
    assert!(draft.finish().is_err());
    assert!(!target.exists(), "what has its name is whole");
}

#[test]
fn a_draft_leaves_nothing_and_clears_what_a_killed_one_left() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let (target, part) = (place.path().join("copy"), place.path().join("copy.part"));
    drop(Draft::begin(&target, false).expect("begun"));
    assert!(!target.exists() && !part.exists());
    fs::create_dir(&part).expect("left behind");
    fs::write(part.join("keys.redb"), b"half").expect("left behind");
    // It may be anybody's: no data of ours is without its lock.
    let foreign = Draft::begin(&target, false).map(drop).expect_err("it is not ours");
    assert!(foreign.to_string().contains("copy.part is there already"), "{foreign}");
    assert!(part.join("keys.redb").exists());
    fs::write(part.join("LOCK"), b"").expect("left behind");
    let draft = Draft::begin(&target, false).expect("begun again");
    assert_eq!(found_in(&part), None, "cleared");
    let store = draft.open(StoreEngine::Redb, &StoreOptions::default()).expect("opened");
    let busy = Draft::begin(&target, false).map(drop).expect_err("being made");
    assert!(matches!(busy, StoreError::InUse { .. }), "{busy}");
    drop(store);
    fs::create_dir(&target).expect("an empty directory");
    assert!(matches!(Draft::begin(&target, false), Err(StoreError::Exists { .. })));
    drop(draft);
    let draft = Draft::begin(&target, true).expect("over an empty one");
    fs::write(target.join("file"), b"x").expect("filled meanwhile");
    assert!(draft.finish().is_err(), "what is there is not replaced");
    assert!(target.join("file").exists());
}

fn a_compaction_keeps_every_row_and_gives_room_back(home: &mut Home) {
    let store = home.store();
    for round in 0..20_u8 {
        for row in 0..100_u8 {
            store.apply(&[put(&[b'r', row], &vec![round; 3000])]).expect("applied");
        }
        store.sync().expect("synced");
    }
    let rows = rows_of(store.as_ref());
    drop(store);
    let (dir, engine) = home.stop();
    fs::write(dir.join("pepper"), b"secret").expect("written");
    let mut heard = 0;
    let done = compact(&dir, &StoreOptions::default(), |_| heard += 1).expect("compacted");
    assert_eq!((done.engine, done.copied.rows), (engine, 100));
    assert!(done.bytes_after < done.bytes_before, "{done:?}");
    assert!(heard >= 2, "it is copied and compared");
    assert_eq!(fs::read(dir.join("pepper")).expect("there"), b"secret");
    home.restart();
    assert_eq!(rows_of(home.store().as_ref()), rows);
    let held = compact(&dir, &StoreOptions::default(), |_| {}).expect_err("in use");
    assert!(matches!(held, StoreError::InUse { .. }), "{held}");
    let left = fs::read_dir(&dir).expect("readable").filter(|entry| {
        let name = entry.as_ref().expect("readable").file_name();
        name.to_string_lossy().starts_with("swap")
    });
    assert_eq!(left.count(), 0);
}

/// An administrator verifies and compacts as root, and the daemon's user must still have its data.
/// Where nobody is root this shows that there is nothing to give.
fn what_root_does_in_the_daemons_directory_stays_the_daemons(home: &mut Home) {
    fill(home.store().as_ref());
    let (dir, _) = home.stop();
    if rustix::process::geteuid().is_root() {
        let paths =
            fs::read_dir(&dir).expect("readable").map(|entry| entry.expect("readable").path());
        for path in paths.chain([dir.clone()]) {
            lchown(path, Some(4711), Some(4712)).expect("given away");
        }
    }
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let bystander = elsewhere.path().join("bystander");
    fs::write(&bystander, b"root's own").expect("written");
    let owner = |path: &Path| {
        let found = path.symlink_metadata().expect("there");
        (found.uid(), found.gid())
    };
    let before = owner(&bystander);
    let opened = open_existing(&dir, &StoreOptions::default()).expect("opened");
    fs::hard_link(&bystander, dir.join("snap.linked")).expect("linked");
    symlink(&bystander, dir.join("snap.pointing")).expect("linked");
    drop(opened);
    assert_eq!(owner(&bystander), before, "what is not of the store is not given away");
    for link in ["snap.linked", "snap.pointing"] {
        fs::remove_file(dir.join(link)).expect("removed");
    }
    compact(&dir, &StoreOptions::default(), |_| {}).expect("compacted");
    let mut paths = vec![dir.clone()];
    while let Some(path) = paths.pop() {
        assert_eq!(owner(&path), owner(&dir), "{}", path.display());
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("readable");
            paths.extend(entries.map(|entry| entry.expect("readable").path()));
        }
    }
}

/// Every state that a kill can leave, made by hand.
fn a_compaction_that_is_cut_short_leaves_the_old_or_the_new(home: &mut Home) {
    home.store().apply(&[put(b"which", b"old"), put(b"old", b"1")]).expect("applied");
    let (dir, engine) = home.stop();
    type Make = fn(&Path, &Path, &str);
    let states: [(&str, &str, Make); 6] = [
        ("the copy is not whole", "old", |_, part, main| {
            fs::write(part.join(main), b"half").expect("cut");
        }),
        ("the copy is whole and not named", "old", |_, _, _| {}),
        ("it is named", "new", |dir, part, _| name(dir, part)),
        ("the old one's other files are gone", "new", |dir, part, main| {
            name(dir, part);
            clear(dir, main);
        }),
        ("the main file has moved", "new", |dir, part, main| {
            name(dir, part);
            clear(dir, main);
            fs::rename(dir.join("swap.done").join(main), dir.join(main)).expect("moved");
        }),
        ("all has moved", "new", |dir, part, main| {
            name(dir, part);
            clear(dir, main);
            for entry in fs::read_dir(dir.join("swap.done")).expect("readable") {
                let entry = entry.expect("readable");
                if entry.file_name() != "LOCK" {
                    fs::rename(entry.path(), dir.join(entry.file_name())).expect("moved");
                }
            }
        }),
    ];
    for (state, expected, make) in states {
        let part = dir.join("swap.part");
        let new = open_small(engine, &part).expect("made");
        new.apply(&[put(b"which", b"new"), put(b"new", b"1")]).expect("applied");
        new.sync().expect("synced");
        drop(new);
        make(&dir, &part, engine.file());
        // The first start settles it, and a second finds it settled.
        for _ in 0..2 {
            let (_, store) = open_existing(&dir, &StoreOptions::default()).expect(state);
            let row = |key: &[u8]| (key.to_vec(), b"1".to_vec());
            let which = (b"which".to_vec(), expected.as_bytes().to_vec());
            let mut rows = vec![row(expected.as_bytes()), which];
            rows.sort();
            assert_eq!(rows_of(store.as_ref()), rows, "{state}");
            assert!(!dir.join("swap.part").exists() && !dir.join("swap.done").exists(), "{state}");
        }
        let store = open_small(engine, &dir).expect("opened");
        let back = [put(b"which", b"old"), put(b"old", b"1"), super::remove(b"new")];
        store.apply(&back).expect("the old one again");
    }

    fn name(dir: &Path, part: &Path) {
        fs::rename(part, dir.join("swap.done")).expect("named");
        assert!(swap::is_begun(dir));
    }

    fn clear(dir: &Path, main: &str) {
        for name in ["conf", "blobs", "snap."] {
            for entry in fs::read_dir(dir).expect("readable") {
                let entry = entry.expect("readable");
                let is = entry.file_name().to_string_lossy().starts_with(name);
                if is && entry.file_name() != main {
                    swap::remove(&entry.path()).expect("removed");
                }
            }
        }
    }
}

/// A copy that is made while keys come, change and go, with all that was applied meanwhile behind
/// it, is what the store was when the last of it was taken.
fn a_copy_and_its_redo_are_the_state_at_the_end(home: &mut Home) {
    let (_keys, committer) = start(home.store());
    for id in 1..=300 {
        committer.commit(vec![insert(&record(id))], false).expect("inserted");
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut records: BTreeMap<_, _> = (1..=300).map(|id| (id, record(id))).collect();
            for round in 0_u64.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let id = 1 + (round * 7919) % 300;
                let before = &records[&id];
                let after = changed(before, |record| record.name = format!("round {round}"));
                committer.commit(vec![replace(before, &after)], false).expect("changed");
                committer.commit(vec![insert(&record(1000 + round))], false).expect("inserted");
                records.insert(id, after);
            }
        });
        let mut same = true;
        for _ in 0..10 {
            let copy = MemoryStore::new();
            let tap = committer.tap();
            let (mut rows, mut writer) = (Rows::default(), Writer::new(&copy));
            let store = home.store();
            loop {
                let chunk = rows.next_chunk(store.as_ref()).expect("readable");
                if chunk.is_empty() {
                    break;
                }
                let puts = chunk.into_iter().map(|(key, value)| Op::Put { key, value });
                for op in puts.chain(tap.take().expect("kept up with")) {
                    writer.push(op).expect("written");
                }
            }
            let (redo, now): (_, Vec<Row>) =
                committer.hold(|| (tap.end().expect("kept up with"), rows_of(store.as_ref())));
            redo.into_iter().for_each(|op| writer.push(op).expect("written"));
            writer.finish().expect("written");
            same &= rows_of(&copy) == now;
        }
        // Before anything fails: the writer would go on for ever.
        stop.store(true, Ordering::Relaxed);
        assert!(same, "the copy is the state at its end");
    });
}
