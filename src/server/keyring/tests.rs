//! Which secret is found, wherever a rotation stands.

use std::sync::Arc;

use super::*;
use crate::admin::SecretFiles as _;
use crate::store::{MemoryStore, Write};

fn keys(store: &Arc<MemoryStore>) -> Keys {
    Keys::open(Arc::<MemoryStore>::clone(store) as _).expect("a store")
}

#[test]
fn a_secret_is_made_once_and_another_or_none_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, ring) = (Arc::new(MemoryStore::new()), Keyring::of(dir.path()));
    let made = ring.pepper(&keys(&store)).expect("made").fingerprint();
    assert_eq!(ring.pepper(&keys(&store)).expect("read").fingerprint(), made);
    let path = dir.path().join("pepper");
    for (bytes, says) in [(Some(&[7; 32][..]), "not the one"), (None, "is missing")] {
        match bytes {
            Some(bytes) => std::fs::write(&path, bytes).expect("written"),
            None => std::fs::remove_file(&path).expect("removed"),
        }
        let error = ring.pepper(&keys(&store)).err().expect("refused").to_string();
        assert!(error.contains(says) && error.contains("no key would be found"), "{error}");
    }
}

#[test]
fn a_master_key_that_nothing_needs_may_be_another() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, ring) = (Arc::new(MemoryStore::new()), Keyring::of(dir.path()));
    let made = ring.vault(&keys(&store)).expect("made").master_id();
    assert_eq!(ring.vault(&keys(&store)).expect("read").master_id(), made);
    std::fs::remove_file(dir.path().join("master.key")).expect("removed");
    assert_ne!(ring.vault(&keys(&store)).expect("another").master_id(), made);
}

/// Wherever a crash falls, the files are told apart by what the store says.
#[test]
fn a_rotation_is_found_again_at_each_of_its_steps() {
    for of in Rotating::ALL {
        let dir = tempfile::tempdir().expect("a directory");
        let (store, ring) = (Arc::new(MemoryStore::new()), Keyring::of(dir.path()));
        let load = || {
            ring.load(of, &keys(&store))
                .map(|it| (id(of, &it.present), it.retired.map(|bytes| id(of, &bytes))))
        };
        let (old, _) = load().expect("made");
        // The file is there, and nothing was begun.
        let next = id(of, &ring.next(of, &old).expect("made"));
        assert_eq!(load().expect("the old one"), (old.clone(), None));
        let keys = keys(&store);
        let options = crate::store::CommitterOptions::default();
        let committer = crate::store::Committer::start(&keys, &options).expect("threads");
        committer.commit(vec![Write::BeginRotation { of, to: next.clone() }], true).expect("begun");
        assert_eq!(load().expect("both"), (next.clone(), Some(old.clone())));
        // It is over, and the file was not moved.
        committer.commit(Write::finish_rotation(of, &next).expect("texts"), true).expect("over");
        assert_eq!(load().expect("the new one"), (next.clone(), None));
        assert!(!dir.path().join(name(of, true)).exists(), "moved to its place");
        assert_eq!(load().expect("and stays"), (next, None));
    }
}

/// A file that cannot be moved: neither a start nor another rotation may cost the secret in use.
#[test]
fn nothing_is_put_over_the_secret_in_use_where_its_file_cannot_be_moved() {
    for of in Rotating::ALL {
        let dir = tempfile::tempdir().expect("a directory");
        let (store, ring) = (Arc::new(MemoryStore::new()), Keyring::of(dir.path()));
        let keys = keys(&store);
        let old = id(of, &ring.load(of, &keys).expect("made").present);
        let made = ring.next(of, &old).expect("made");
        let present = id(of, &made);
        keys.set_secret_id(of, &present).expect("a rotation is over");
        let (first, second) = (dir.path().join(name(of, false)), dir.path().join(name(of, true)));
        std::fs::remove_file(&first).expect("removed");
        std::fs::create_dir_all(first.join("in the way")).expect("a directory");

        assert_eq!(ring.load(of, &keys).expect("it starts").present, made);
        assert!(ring.settle(of, &present).is_err());
        let why = ring.next(of, &present).expect_err("no other is made");
        assert!(why.contains("is still") && why.contains("mend that"), "{why}");
        assert_eq!(std::fs::read(&second).expect("there"), *made);
        assert_eq!(ring.kept(of, &present), Ok(Some(made.clone())));

        std::fs::remove_dir_all(&first).expect("out of the way");
        assert_eq!(ring.settle(of, &present), Ok(None));
        assert_eq!(
            (std::fs::read(&first).expect("there"), second.exists()),
            (made.to_vec(), false)
        );
        assert_eq!(ring.settle(of, &present), Ok(None), "once more");
        assert_ne!(ring.next(of, &present).expect("another"), made);
    }
}

/// The store may know it, whatever the request that made it was told.
#[test]
fn a_secret_that_was_made_and_not_used_is_taken_and_never_replaced() {
    for of in Rotating::ALL {
        let dir = tempfile::tempdir().expect("a directory");
        let (store, ring) = (Arc::new(MemoryStore::new()), Keyring::of(dir.path()));
        let old = id(of, &ring.load(of, &keys(&store)).expect("made").present);
        let made = ring.next(of, &old).expect("made");
        assert_eq!(ring.next(of, &old).expect("taken"), made);
    }
}

#[test]
fn a_backup_has_the_secret_that_the_store_is_under_or_is_told_that_it_is_nowhere() {
    let of = Rotating::Pepper;
    let dir = tempfile::tempdir().expect("a directory");
    let (store, ring) = (Arc::new(MemoryStore::new()), Keyring::of(dir.path()));
    let loaded = ring.load(of, &keys(&store)).expect("made").present;
    let present = id(of, &loaded);
    assert_eq!(ring.kept(of, &present), Ok(Some(loaded)));
    let path = dir.path().join("pepper");
    std::fs::write(&path, [7; 32]).expect("another");
    assert!(ring.kept(of, &present).expect_err("another").contains("in memory alone"));
    std::fs::remove_file(&path).expect("removed");
    assert!(ring.kept(of, &present).expect_err("none").contains("in memory alone"));
}
