//! Power losses: whatever was acknowledged as durable is there, nothing is there by halves.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::{Keys, MemoryStore, Store, Write};
use super::{KeyWrite, changed, insert, record, records_of, replace, start};
use crate::key::{KeyRecord, Status};

type Records = BTreeMap<u64, KeyRecord>;

#[derive(Debug, Clone)]
enum Step {
    Insert(u64),
    Retag(u64, String),
    Restate(u64, Status),
    Rotate(u64, u8),
    Remove(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let id = 1..12_u64;
    prop_oneof![
        3 => id.clone().prop_map(Step::Insert),
        1 => (id.clone(), "[a-c]{0,3}").prop_map(|(id, tag)| Step::Retag(id, tag)),
        1 => (id.clone(), prop::sample::select(&Status::ALL[..]))
            .prop_map(|(id, status)| Step::Restate(id, status)),
        2 => (id.clone(), 0..4_u8).prop_map(|(id, token)| Step::Rotate(id, token)),
        1 => id.prop_map(Step::Remove),
    ]
}

/// The write of a step as of these records, and what it leaves if it is taken.
fn write_of(step: &Step, records: &Records) -> (Write, Records) {
    let mut after = records.clone();
    let (Step::Insert(id)
    | Step::Retag(id, _)
    | Step::Restate(id, _)
    | Step::Rotate(id, _)
    | Step::Remove(id)) = step;
    let before = records.get(id).cloned().unwrap_or_else(|| record(*id));
    let write = match step {
        Step::Insert(id) => {
            after.insert(*id, record(*id));
            insert(&record(*id))
        }
        Step::Remove(id) => {
            after.remove(id);
            Write::Key(KeyWrite::Remove { id: *id, revision: before.revision })
        }
        change => {
            let next = changed(&before, |record| match change {
                Step::Retag(_, tag) => record.tags = vec![tag.clone(), "every".to_owned()],
                Step::Restate(_, status) => record.status = *status,
                Step::Rotate(_, token) => {
                    record.previous_key_hash = record.key_hash;
                    record.key_hash = Some(super::pepper().seal_token(&[*token]));
                }
                _ => {}
            });
            after.insert(*id, next.clone());
            replace(&before, &next)
        }
    };
    (write, after)
}

/// Whether the rules take the step, said without the store.
fn allowed(step: &Step, before: &Records, after: &Records) -> bool {
    let digests: Vec<_> = after
        .values()
        .flat_map(|record| record.digests().map(|digest| (digest.0, record.id)))
        .collect();
    let holders: BTreeMap<_, _> = digests.iter().copied().collect();
    let unique = digests.iter().all(|(digest, id)| holders.get(digest) == Some(id));
    match step {
        Step::Insert(id) => unique && !before.contains_key(id),
        Step::Retag(id, _) | Step::Restate(id, _) | Step::Rotate(id, _) | Step::Remove(id) => {
            unique && before.contains_key(id)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_acknowledged_is_there_and_nothing_by_halves(
        steps in prop::collection::vec((step(), any::<bool>()), 1..40),
        kept in 0..40_usize,
    ) {
        let store = Arc::new(MemoryStore::new());
        let (_keys, committer) = start(Arc::<MemoryStore>::clone(&store));
        // What the records were after each acknowledged write, from the last durable one on.
        let mut states = vec![Records::new()];
        for (step, durable) in steps {
            let now = states.last().cloned().unwrap_or_default();
            let (write, after) = write_of(&step, &now);
            let outcome = committer.commit(vec![write], durable);
            prop_assert_eq!(outcome.is_ok(), allowed(&step, &now, &after), "{:?}", step);
            if outcome.is_ok() {
                if durable {
                    states.clear();
                }
                states.push(after);
            }
        }
        let kept = kept.min(store.unsynced_batches());
        let restarted: Arc<dyn Store> = Arc::new(store.crash_keeping(kept));
        let keys = Keys::open(Arc::clone(&restarted)).expect("readable");
        prop_assert_eq!(&records_of(restarted.as_ref()), &states[kept]);
        for (id, expected) in &states[kept] {
            let found = keys.get(*id).expect("readable");
            prop_assert_eq!(found.as_ref(), Some(expected));
        }
    }

    #[test]
    fn an_import_is_there_whole_or_not_at_all(
        size in 1..60_u64,
        finished in any::<bool>(),
        kept in 0..200_usize,
    ) {
        let store = Arc::new(MemoryStore::new());
        let (keys, committer) = start(Arc::<MemoryStore>::clone(&store));
        committer.commit(vec![insert(&record(1000))], true).expect("one of before");
        let number = keys.next_import().expect("readable");
        committer.commit(vec![Write::BeginImport { number }], true).expect("begun");
        for id in 1..=size {
            let imported = changed(&record(id), |record| record.import = number);
            committer.commit(vec![insert(&imported)], false).expect("imported");
        }
        if finished {
            committer.commit(vec![Write::FinishImport { number }], false).expect("finished");
        }
        let waiting = store.unsynced_batches();
        let whole = finished && kept >= waiting;
        let crashed = store.crash_keeping(kept);
        // A crash while the next start cleans up, and a start after that.
        let crashed = Arc::new(crashed);
        let opened: Arc<dyn Store> = Arc::<MemoryStore>::clone(&crashed);
        Keys::open(opened).expect("readable");
        let restarted: Arc<dyn Store> = Arc::new(crashed.crash());
        Keys::open(Arc::clone(&restarted)).expect("readable");
        let expected = if whole { size + 1 } else { 1 };
        prop_assert_eq!(records_of(restarted.as_ref()).len() as u64, expected);
    }
}

#[test]
fn a_clean_up_that_fails_half_way_is_taken_up_again() {
    let store = Arc::new(MemoryStore::new());
    let (keys, committer) = start(Arc::<MemoryStore>::clone(&store));
    let number = keys.next_import().expect("readable");
    committer.commit(vec![Write::BeginImport { number }], true).expect("begun");
    for id in 1..=500 {
        let imported = changed(&record(id), |record| record.import = number);
        committer.commit(vec![insert(&imported)], false).expect("imported");
    }
    committer.stop().expect("stopped");
    for applies_before in 1..4 {
        let crashed = Arc::new(store.crash());
        crashed.fail_apply(applies_before + 1, std::io::ErrorKind::Other);
        let opened: Arc<dyn Store> = Arc::<MemoryStore>::clone(&crashed);
        assert!(Keys::open(opened).is_err(), "not served while rows are left");
        let kept = crashed.unsynced_batches();
        let again: Arc<dyn Store> = Arc::new(crashed.crash_keeping(kept));
        Keys::open(Arc::clone(&again)).expect("readable");
        assert_eq!(records_of(again.as_ref()).len(), 0);
    }
}
