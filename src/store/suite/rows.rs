//! The five verbs.

use super::super::{BATCH_BYTES_MAX, KEY_BYTES_MAX, OPS_MAX, StoreError, VALUE_BYTES_MAX};
use super::{Home, over_every_store, put, remove, rows_of};

over_every_store! {
    rows_are_written_read_and_removed
    scans_are_ordered_and_bounded
    a_batch_writes_in_order
    bounds_are_refused_without_a_latch
    values_of_any_length_come_back
    what_is_synced_survives_a_restart
}

fn rows_are_written_read_and_removed(home: &mut Home) {
    let store = home.store();
    assert_eq!(store.get(b"a").expect("readable"), None);
    store.apply(&[put(b"a", b"1"), put(b"b", b"")]).expect("applied");
    assert_eq!(store.get(b"a").expect("readable"), Some(b"1".to_vec()));
    assert_eq!(store.get(b"b").expect("readable"), Some(Vec::new()));
    store.apply(&[put(b"a", b"2")]).expect("applied");
    store.apply(&[remove(b"b"), remove(b"never there")]).expect("applied");
    assert_eq!(store.get(b"a").expect("readable"), Some(b"2".to_vec()));
    assert_eq!(store.get(b"b").expect("readable"), None);
    store.apply(&[]).expect("an empty batch asks and writes nothing");
}

fn scans_are_ordered_and_bounded(home: &mut Home) {
    let store = home.store();
    for key in [&b"b2"[..], b"a", b"b", b"c", b"b1", b"b\xFF", b"b\xFF\xFF", b"b1\0"] {
        store.apply(&[put(key, key)]).expect("applied");
    }
    let scan = |prefix: &[u8], after: Option<&[u8]>, limit| {
        let rows = store.scan(prefix, after, limit).expect("readable");
        assert!(rows.iter().all(|(key, value)| key == value));
        rows.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    let of_b: [&[u8]; 6] = [b"b", b"b1", b"b1\0", b"b2", b"b\xFF", b"b\xFF\xFF"];
    assert_eq!(scan(b"b", None, 100), of_b);
    assert_eq!(scan(b"b", None, 2), of_b[..2]);
    assert_eq!(scan(b"b", None, 0), Vec::<Vec<u8>>::new());
    assert_eq!(scan(b"b", Some(b"b1"), 100), of_b[2..]);
    assert_eq!(scan(b"b", Some(b"b1zzz"), 1), of_b[3..4], "after a key that is not there");
    assert_eq!(scan(b"b", Some(b"a"), 100), of_b, "after a key before the prefix");
    assert_eq!(scan(b"b", Some(b"c"), 100), Vec::<Vec<u8>>::new());
    assert_eq!(scan(b"b\xFF", None, 100), of_b[4..]);
    assert_eq!(scan(b"", None, 100).len(), 8);
    assert_eq!(scan(b"\xFF", None, 100), Vec::<Vec<u8>>::new());
}

fn a_batch_writes_in_order(home: &mut Home) {
    let store = home.store();
    let long = vec![1; 10_000];
    let ops = [put(b"a", b"1"), remove(b"a"), put(b"b", b"1"), put(b"b", &long), put(b"b", b"2")];
    store.apply(&ops).expect("applied");
    assert_eq!(rows_of(store.as_ref()), [(b"b".to_vec(), b"2".to_vec())]);
}

fn bounds_are_refused_without_a_latch(home: &mut Home) {
    let store = home.store();
    let too_many: Vec<_> = (0..=OPS_MAX).map(|n| put(n.to_string().as_bytes(), b"")).collect();
    let heavy = vec![0; VALUE_BYTES_MAX];
    let too_heavy: Vec<_> = (0..=BATCH_BYTES_MAX / VALUE_BYTES_MAX)
        .map(|n| put(n.to_string().as_bytes(), &heavy))
        .collect();
    for ops in [&too_many, &too_heavy] {
        let error = store.apply(ops).expect_err("too large");
        assert!(matches!(error, StoreError::BatchTooLarge { .. }), "{error}");
    }
    let long_key = vec![b'k'; KEY_BYTES_MAX + 1];
    let long_value = vec![0; VALUE_BYTES_MAX + 1];
    let rows = [put(b"", b""), put(&long_key, b""), put(b"\xFFx", b""), put(b"k", &long_value)];
    for op in rows {
        let error = store.apply(&[op]).expect_err("out of bounds");
        assert!(matches!(error, StoreError::RowSize { .. }), "{error}");
    }
    assert_eq!(rows_of(store.as_ref()), []);
    store.apply(&too_many[..OPS_MAX]).expect("the most that is allowed");
    store.sync().expect("not latched");
}

fn values_of_any_length_come_back(home: &mut Home) {
    let lengths = [0, 4096, 4097, 8192, 100_000, VALUE_BYTES_MAX, 5000, 12, 9000];
    let value =
        |len: usize| (0..len).map(|n| u8::try_from(n % 251).unwrap_or(0)).collect::<Vec<_>>();
    for len in lengths {
        let store = home.store();
        store.apply(&[put(b"row", &value(len)), put(b"rox", b"neighbour")]).expect("applied");
        store.sync().expect("synced");
        drop(store);
        home.restart();
        let store = home.store();
        assert_eq!(store.get(b"row").expect("readable"), Some(value(len)), "length {len}");
        assert_eq!(rows_of(store.as_ref()).len(), 2);
    }
    home.store().apply(&[remove(b"row"), remove(b"rox")]).expect("applied");
    assert_eq!(rows_of(home.store().as_ref()), []);
}

fn what_is_synced_survives_a_restart(home: &mut Home) {
    let store = home.store();
    for n in 0..50_u32 {
        let ops: Vec<_> = (0..20_u32)
            .map(|m| put(&[n.to_be_bytes(), m.to_be_bytes()].concat(), &vec![7; 800]))
            .collect();
        store.apply(&ops).expect("applied");
    }
    store.sync().expect("synced");
    drop(store);
    home.restart();
    let store = home.store();
    assert_eq!(rows_of(store.as_ref()).len(), 1000);
    if matches!(home, Home::Disk { .. }) {
        assert!(store.bytes_on_disk().expect("measured") > 800_000);
    }
}
