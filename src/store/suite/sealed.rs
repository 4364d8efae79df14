//! Encrypted records, and the exchange of what they and digests are made by.

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::plan::Plan;
use super::super::verify::{NoWriters, verify};
use super::super::write::{Conflict, WriteError};
use super::super::{
    CommitError, Committer, CommitterOptions, KeyWrite, Keys, MemoryStore, Outdated, Rotating,
    SealedStore, Seals, Store, StoreError, Write, layout,
};
use super::{changed, insert, pepper, put, record, replace, rows_of};
use crate::alert::{EndpointRow, SecretRow};
use crate::key::{KeyRecord, Pepper, SigningKey, SigningMaterial, StoredSecret};
use crate::vault::{Master, Purpose, Vault, signing_owner};

fn vault() -> Arc<Vault> {
    Arc::new(Vault::new(Master::new(&[3; 32])))
}

fn new_pepper() -> Pepper {
    Pepper::new(&[8; 32])
}

/// A store with its secrets, as the daemon opens it.
struct Bench {
    store: Arc<MemoryStore>,
    keys: Keys,
    committer: Committer,
    vault: Arc<Vault>,
}

impl Bench {
    fn over(store: Arc<MemoryStore>, vault: Arc<Vault>, pepper: Pepper) -> Self {
        let keys = Keys::begin(Arc::<MemoryStore>::clone(&store) as _).expect("readable");
        keys.set_seals(Seals::new(Arc::clone(&vault), Arc::new(pepper)));
        keys.settle().expect("settled");
        let committer = Committer::start(&keys, &CommitterOptions::default()).expect("threads");
        Self { store, keys, committer, vault }
    }

    fn new() -> Self {
        Self::over(Arc::new(MemoryStore::new()), vault(), pepper())
    }

    fn commit(&self, write: Write) -> Result<(), CommitError> {
        self.committer.commit(vec![write], true)
    }

    fn get(&self, id: u64) -> KeyRecord {
        self.keys.get(id).expect("readable").expect("there")
    }

    /// Both peppers are there from here on.
    fn begin(&self, of: Rotating) {
        self.commit(Write::BeginRotation { of, to: "next".to_owned() }).expect("begun");
        match of {
            Rotating::Pepper => {
                let both = Arc::new(new_pepper().with_retired(&pepper()));
                self.keys.seals().expect("given").set_pepper(both);
            }
            Rotating::Master => self.vault.rotate(Master::new(&[4; 32])),
        }
    }

    /// Everything is renewed, and the old one is gone.
    fn finish(&self, of: Rotating) {
        for id in self.keys.ids_after(None, 1000).expect("readable") {
            self.commit(Write::Key(KeyWrite::Renew { id })).expect("renewed");
        }
        let over = Write::finish_rotation(of, "next").expect("texts");
        self.committer.commit(over, true).expect("over");
        match of {
            Rotating::Pepper => {
                self.keys.seals().expect("given").set_pepper(Arc::new(new_pepper()));
            }
            Rotating::Master => self.vault.forget(),
        }
    }

    fn is_clean(&self) -> bool {
        let sealed = SealedStore::new(Arc::<MemoryStore>::clone(&self.store) as _);
        sealed.set_seals(Seals::new(Arc::clone(&self.vault), Arc::new(pepper())));
        let report = verify(&sealed, &NoWriters, |_| ControlFlow::Continue(())).expect("readable");
        report.is_clean()
    }
}

/// What a record says, whatever its hashes are sealed under.
fn plain(record: &KeyRecord, opens: &Pepper) -> (KeyRecord, Vec<Option<[u8; 32]>>) {
    let hashes = [
        record.key_hash,
        record.previous_key_hash,
        record.client_secret_hash,
        record.previous_client_secret_hash,
    ];
    let opened = hashes.iter().map(|hash| hash.and_then(|hash| opens.open(&hash))).collect();
    let mut rest = record.clone();
    (rest.key_hash, rest.previous_key_hash) = (None, None);
    (rest.client_secret_hash, rest.previous_client_secret_hash) = (None, None);
    rest.signing_keys.clear();
    (rest, opened)
}

fn signing(vault: &Vault, id: u64) -> SigningKey {
    let secret = vault.seal(Purpose::Signing, &signing_owner(id, "ci"), b"shared").expect("sealed");
    SigningKey { id: "ci".to_owned(), material: SigningMaterial::Shared(secret), added_at: None }
}

#[test]
fn an_encrypted_row_opens_in_its_place_alone_and_unchanged() {
    let bench = Bench::new();
    let hidden = KeyRecord { encrypted: true, ..record(2) };
    bench.commit(insert(&hidden)).expect("written");
    bench.commit(insert(&record(3))).expect("written");
    assert_eq!((bench.get(2), bench.get(3)), (hidden, record(3)));
    let key = layout::record(2);
    let row = bench.store.get(&key).expect("readable").expect("there");
    assert!(row.starts_with(b"KGE1") && !row.windows(5).any(|it| it == b"key 2"));
    assert!(bench.is_clean());
    for at in 0..row.len() {
        let mut flipped = row.clone();
        flipped[at] ^= 0x10;
        bench.store.apply(&[put(&key, &flipped)]).expect("applied");
        assert!(bench.keys.get(2).is_err(), "byte {at}");
    }
    bench.store.apply(&[put(&key, &row), put(&layout::record(9), &row)]).expect("applied");
    let error = bench.keys.get(9).expect_err("another's place").to_string();
    assert!(error.contains("does not open"), "{error}");
    assert!(!bench.is_clean());
}

#[test]
fn without_a_master_key_nothing_is_written_in_clear_and_the_rest_goes_on() {
    let store = Arc::new(MemoryStore::new());
    let (keys, committer) = super::start(Arc::<MemoryStore>::clone(&store));
    let before = rows_of(store.as_ref());
    let hidden = KeyRecord { encrypted: true, ..record(2) };
    let refused = committer.commit(vec![insert(&hidden)], true).expect_err("nothing encrypts");
    let refused =
        matches!(refused, CommitError::Write(WriteError::Store(StoreError::Unsealed { .. })));
    assert!(refused && rows_of(store.as_ref()) == before);
    committer.commit(vec![insert(&record(3))], true).expect("no latch");
    assert_eq!(keys.get(3).expect("readable"), Some(record(3)));
    // Whether it is whole is told without one; what it says is not.
    let bench = Bench::new();
    bench.commit(insert(&hidden)).expect("written");
    let report = verify(bench.store.as_ref(), &NoWriters, |_| ControlFlow::Continue(()));
    let report = report.expect("readable");
    assert!(report.is_clean() && report.records_encrypted == 1, "{report:?}");
}

#[test]
fn a_token_is_one_keys_alone_under_both_peppers() {
    let bench = Bench::new();
    bench.commit(insert(&record(2))).expect("written");
    bench.begin(Rotating::Pepper);
    let taken = |error| match error {
        CommitError::Write(WriteError::Conflict(Conflict::Digest { holder })) => holder,
        other => panic!("expected a conflict, got {other:?}"),
    };
    // The one that is there is under the old pepper still, or under the new one; what comes, too.
    for renewed in [false, true] {
        if renewed {
            bench.commit(Write::Key(KeyWrite::Renew { id: 2 })).expect("renewed");
        }
        for pepper in [pepper(), new_pepper()] {
            let key_hash = Some(pepper.seal_token(b"2"));
            let second = KeyRecord { key_hash, ..record(5) };
            assert_eq!(taken(bench.commit(insert(&second)).expect_err("taken")), 2);
        }
    }
    // A change that had read the record before it was renewed takes nothing back.
    let late = changed(&record(2), |record| record.name = "late".to_owned());
    bench.commit(replace(&record(2), &late)).expect("its revision is the same");
    assert_eq!(bench.get(2).key_hash, Some(new_pepper().seal_token(b"2")));
    bench.finish(Rotating::Pepper);
    assert!(bench.is_clean());
}

#[test]
fn a_rotation_and_an_import_exclude_each_other_and_so_do_two_rotations() {
    let bench = Bench::new();
    let begin = |of| bench.commit(Write::BeginRotation { of, to: "next".to_owned() });
    bench.commit(Write::BeginImport { number: 1 }).expect("begun");
    assert!(begin(Rotating::Pepper).is_err() && begin(Rotating::Master).is_err());
    bench.commit(Write::FinishImport { number: 1 }).expect("finished");
    begin(Rotating::Pepper).expect("begun");
    for refused in [begin(Rotating::Master), begin(Rotating::Pepper)] {
        assert!(refused.expect_err("one at a time").to_string().contains("being rotated"));
    }
    let import = || bench.commit(Write::BeginImport { number: 2 });
    assert!(import().expect_err("not now").to_string().contains("pepper"));
    bench.finish(Rotating::Pepper);
    begin(Rotating::Master).expect("begun");
    assert!(import().expect_err("not now").to_string().contains("master key"));
}

/// One group of the committer: a change, planned before the new secret was there, and its renewal.
#[test]
fn what_was_planned_before_the_new_secret_is_renewed_with_the_rest() {
    for of in Rotating::ALL {
        let bench = Bench::new();
        let shared = vec![signing(&bench.vault, 1)];
        let made = KeyRecord { signing_keys: shared, encrypted: true, ..record(1) };
        bench.commit(insert(&made)).expect("written");
        let sealed = SealedStore::new(Arc::<MemoryStore>::clone(&bench.store) as _);
        sealed.set_seals(Seals::new(Arc::clone(&bench.vault), Arc::new(pepper())));
        let mut plan = Plan::new(&sealed);
        let after = changed(&made, |record| record.name = "another".to_owned());
        assert!(plan.add(&mut [replace(&made, &after)]).expect("planned"));
        bench.begin(of);
        if of == Rotating::Pepper {
            let both = Arc::new(new_pepper().with_retired(&pepper()));
            sealed.seals().expect("given").set_pepper(both);
        }
        assert!(plan.add(&mut [Write::Key(KeyWrite::Renew { id: 1 })]).expect("planned"));
        sealed.apply(plan.ops()).expect("applied");
        assert_eq!(bench.get(1).name, "another");
        let outdated = bench.keys.outdated(of, || false).expect("readable");
        assert_eq!(outdated, Outdated::default());
        assert!(bench.is_clean());
    }
}

#[test]
fn what_still_needs_the_old_secret_is_named() {
    for of in Rotating::ALL {
        let bench = Bench::new();
        for id in 1..=3 {
            let shared = vec![signing(&bench.vault, id)];
            let made = KeyRecord { encrypted: id == 2, signing_keys: shared, ..record(id) };
            bench.commit(insert(&made)).expect("written");
        }
        let endpoint = layout::endpoint("acme", &[7; 32]);
        let hook = |secret: StoredSecret| {
            let secrets = vec![SecretRow { sealed: secret, until_us: None }];
            let row = EndpointRow { tenant: "acme".to_owned(), secrets, ..EndpointRow::default() };
            Write::endpoint(&row).expect("it fits")
        };
        let secret = bench.vault.seal(Purpose::Webhook, b"acme", b"secret").expect("sealed");
        bench.commit(hook(secret)).expect("written");
        bench.begin(of);
        let hooks = u64::from(of == Rotating::Master);
        let found = || bench.keys.outdated(of, || false).expect("readable");
        assert_eq!(found().rows, 3 + hooks);
        for id in 1..=3 {
            bench.commit(Write::Key(KeyWrite::Renew { id })).expect("renewed");
        }
        let words = if hooks == 1 { "a web hook of tenant \"acme\"" } else { "" };
        assert_eq!(found().words(), words);
        let secret = bench.vault.seal(Purpose::Webhook, b"acme", b"secret").expect("sealed");
        bench.commit(hook(secret)).expect("written");
        assert_eq!(found(), Outdated::default());
        // What cannot be read may need it.
        for key in [layout::record(3), endpoint] {
            bench.store.apply(&[put(&key, b"damaged")]).expect("applied");
        }
        bench.commit(Write::Key(KeyWrite::Renew { id: 3 })).expect("passed over");
        assert_eq!(found().words(), "key 3, a web hook of tenant \"acme\"");
    }
}

#[test]
fn what_fails_while_renewing_is_whole_after_a_restart() {
    for of in Rotating::ALL {
        let bench = Bench::new();
        for id in 1..=10 {
            let hidden = KeyRecord { encrypted: id % 2 == 0, ..record(id) };
            bench.commit(insert(&hidden)).expect("written");
        }
        bench.begin(of);
        for id in 1..=4 {
            bench.commit(Write::Key(KeyWrite::Renew { id })).expect("renewed");
        }
        bench.store.fail_sync(1, ErrorKind::StorageFull);
        bench.commit(Write::Key(KeyWrite::Renew { id: 6 })).expect_err("the disk's error");
        drop(bench.committer);
        let again = vault();
        let pepper = match of {
            Rotating::Pepper => new_pepper().with_retired(&pepper()),
            Rotating::Master => {
                again.rotate(Master::new(&[4; 32]));
                pepper()
            }
        };
        let bench = Bench::over(Arc::new(bench.store.crash()), again, pepper);
        assert_eq!(bench.keys.next_secret_id(of).expect("readable"), Some("next".to_owned()));
        bench.finish(of);
        assert!(bench.is_clean(), "{of:?}");
        assert_eq!(bench.keys.secret_id(of).expect("readable"), Some("next".to_owned()));
        assert_eq!(bench.keys.next_secret_id(of).expect("readable"), None);
        let opens = if of == Rotating::Pepper { new_pepper() } else { super::pepper() };
        for id in 1..=10 {
            let token = id.to_string();
            assert_eq!(bench.get(id).key_hash, Some(opens.seal_token(token.as_bytes())));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Encrypted or not, renewed at whatever instant: a record goes on saying what it said.
    #[test]
    fn any_record_stays_itself(
        records in proptest::collection::vec((any::<bool>(), ".{0,40}", any::<[bool; 4]>()), 1..8),
        renewed_before in 0_usize..8,
        toggled in any::<proptest::sample::Index>(),
        of in prop_oneof![Just(Rotating::Pepper), Just(Rotating::Master)],
    ) {
        let bench = Bench::new();
        let mut all = Vec::new();
        for (at, (encrypted, name, [previous, client, old_client, shared])) in
            records.into_iter().enumerate()
        {
            let id = at as u64 + 1;
            let hash = |set: bool, what: &str| {
                set.then(|| pepper().seal_token(format!("{what} {id}").as_bytes()))
            };
            let made = KeyRecord {
                encrypted,
                name,
                previous_key_hash: hash(previous, "previous"),
                client_secret_hash: hash(client, "client"),
                previous_client_secret_hash: hash(old_client, "old client"),
                signing_keys: if shared { vec![signing(&bench.vault, id)] } else { Vec::new() },
                ..record(id)
            };
            bench.commit(insert(&made)).expect("written");
            prop_assert_eq!(&bench.get(id), &made);
            all.push(made);
        }
        bench.begin(of);
        for made in all.iter().take(renewed_before) {
            bench.commit(Write::Key(KeyWrite::Renew { id: made.id })).expect("renewed");
        }
        // One is changed meanwhile by somebody who read it before.
        let at = toggled.index(all.len());
        let after = changed(&all[at], |record| record.encrypted = !record.encrypted);
        bench.commit(replace(&all[at], &after)).expect("written");
        all[at] = after;
        bench.finish(of);
        let opens = if of == Rotating::Pepper { new_pepper() } else { pepper() };
        for made in &all {
            let found = bench.get(made.id);
            prop_assert_eq!(plain(&found, &opens), plain(made, &pepper()));
            for key in &found.signing_keys {
                let SigningMaterial::Shared(secret) = &key.material else { continue };
                let owner = signing_owner(made.id, "ci");
                let opened = bench.vault.open(Purpose::Signing, &owner, secret).expect("opens");
                prop_assert_eq!(&*opened, b"shared");
            }
            let row = bench.store.get(&layout::record(made.id)).expect("readable").expect("there");
            prop_assert_eq!(row.starts_with(b"KGE1"), made.encrypted);
        }
        prop_assert!(bench.is_clean());
    }
}
