//! Deletion, restoring and purging, over a store in memory.

use keygate_protocol::VerdictCode;
use keygate_protocol::admin::KeyRestore;

use super::super::{Retention, Swept};
use super::life::{Bench, DAY_US, refused};
use super::*;
use crate::key::KeyRecord;
use crate::store::{Write, layout};

#[tokio::test]
async fn a_deleted_key_can_be_seen_and_restored_with_its_tokens() {
    let bench = Bench::new();
    let (id, old) = bench.create(json!({"name": "n", "tenant_id": "ours"})).await;
    let new = bench.rotate(&id, Some(60_000)).await.expect("rotated").token;
    assert_eq!(refused(bench.restore(&id).await).0, ErrorCode::Conflict, "it is not deleted");
    let before = bench.get(&id, true).await.expect("one that is not deleted is answered too");
    bench.delete(&id, false).await.expect("deleted");
    assert_eq!(
        (bench.code(&old), bench.code(&new)),
        (VerdictCode::NotFound, VerdictCode::NotFound)
    );

    let (code, message) = refused(bench.get(&id, false).await);
    assert_eq!(code, ErrorCode::NotFound);
    assert!(message.contains("--deleted") && message.contains("key restore"), "{message}");
    let seen = bench.get(&id, true).await.expect("seen");
    assert_eq!(seen["deleted_at"], "2027-01-15T08:00:00Z");
    let usage = KeyRef { id: id.clone(), deleted: true };
    assert!(bench.admin.usage(&ALL, usage).await.is_ok());
    let theirs = Caller::of_tenant("theirs");
    let hidden = bench.admin.get(&theirs, KeyRef { id: id.clone(), deleted: true }).await;
    assert_eq!(refused(hidden).1, AdminError::not_found(id.parse().expect("an id")).message);
    let hidden = bench.admin.restore(&theirs, KeyRestore { id: id.clone() }).await;
    assert_eq!(refused(hidden).0, ErrorCode::NotFound);

    let mut restored = bench.restore(&id).await.expect("restored");
    assert_eq!((bench.code(&old), bench.code(&new)), (VerdictCode::Valid, VerdictCode::Valid));
    assert_eq!(restored["revision"], json!(4));
    restored["revision"] = before["revision"].clone();
    restored["updated_at"] = before["updated_at"].clone();
    assert_eq!(restored, before);
    bench.delete(&id, true).await.expect("purged");
    assert_eq!(refused(bench.restore(&id).await).0, ErrorCode::NotFound);
    assert_eq!(refused(bench.get(&id, true).await).0, ErrorCode::NotFound);
}

#[tokio::test]
async fn a_key_whose_token_another_one_has_by_now_stays_deleted() {
    let bench = Bench::new();
    let same_token = |id: u64, tenant: &str| json!({"id": id.to_string(), "key_hash": "ab".repeat(32), "tenant_id": tenant});
    bench.import(same_token(1, "ours")).await;
    bench.delete("1", false).await.expect("deleted");
    bench.import(same_token(2, "theirs")).await;
    let (code, message) = refused(bench.restore("1").await);
    assert_eq!(code, ErrorCode::Conflict);
    assert!(message.contains("key 2 has the same token"), "{message}");
    let ours = Caller::of_tenant("ours");
    let (code, message) =
        refused(bench.admin.restore(&ours, KeyRestore { id: "1".to_owned() }).await);
    assert_eq!(code, ErrorCode::Conflict);
    assert!(!message.contains("key 2"), "the other tenant's key is not named: {message}");
    assert!(bench.get("1", true).await.is_ok_and(|key| !key["deleted_at"].is_null()));
    bench.delete("2", false).await.expect("deleted");
    assert!(bench.restore("1").await.is_ok());
}

impl Bench {
    /// The first look of a daemon, that may go on; how many keys it purged.
    async fn look(&self) -> Result<u64, AdminError> {
        let mut retention = Retention::new(Arc::clone(&self.admin));
        Ok(retention.look(&|| true).await?.keys)
    }
}

#[tokio::test]
async fn what_is_stored_and_cannot_be_judged_is_no_conflict_and_names_nobody() {
    let bench = Bench::new();
    let own = json!({"id": "1", "key_hash": "ab".repeat(32), "tenant_id": "ours"});
    bench.import(own).await;
    bench.delete("1", false).await.expect("deleted");
    let admin = &bench.admin;
    let stored = admin.keys.get(1).expect("readable").expect("there");
    let other = KeyRecord { id: 77, tenant_id: "theirs".into(), deleted_at: None, ..stored };
    admin.engine.put(&other, admin.clock.now()).expect("only decisions know it");
    let ours = Caller::of_tenant("ours");
    let (code, words) = refused(admin.restore(&ours, KeyRestore { id: "1".to_owned() }).await);
    assert_eq!(code, ErrorCode::Internal, "it may have been carried out, and was");
    assert!(!words.contains("77"), "{words}");
    assert!(bench.get("1", false).await.is_ok(), "it is stored");
}

/// What must not be found in any row of the store once a key is gone.
fn traces(key: &KeyRecord) -> Vec<(&'static str, Vec<u8>)> {
    let hashes = [("digest", key.key_hash), ("previous digest", key.previous_key_hash)];
    let hashes =
        hashes.into_iter().filter_map(|(what, hash)| Some((what, hash?.digest.0.to_vec())));
    let texts = [
        ("name", &key.name),
        ("prefix", &key.key_prefix),
        ("tag", &key.tags[0]),
        ("tenant", &key.tenant_id),
    ];
    let texts = texts.map(|(what, text)| (what, text.clone().into_bytes()));
    let ids = [("id", key.id.to_be_bytes()), ("id", key.id.to_le_bytes())];
    let ids = ids.map(|(what, id)| (what, id.to_vec()));
    hashes.chain(texts).chain(ids).collect()
}

fn traces_in(rows: &[crate::store::Row], of: &[(&'static str, Vec<u8>)]) -> Vec<&'static str> {
    let has = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
    let found = of
        .iter()
        .filter(|(_, what)| rows.iter().any(|(key, value)| has(key, what) || has(value, what)));
    found.map(|(name, _)| *name).collect()
}

#[tokio::test]
async fn a_purge_leaves_no_trace_in_the_store() {
    for deleted_before in [false, true] {
        let bench = Bench::new();
        let (bystander, _) = bench.create(json!({"name": "another"})).await;
        let rows_before = bench.rows();
        let given = json!({
            "name": "needle-name", "tags": ["needle-tag"], "tenant_id": "needle-tenant",
            "description": "d", "requests_per_second": 5,
        });
        let (id, old) = bench.create(given).await;
        let new = bench.rotate(&id, Some(60_000)).await.expect("rotated").token;
        let number: u64 = id.parse().expect("an id");
        let usage = Write::usage(number, &crate::usage::UsageRow::default()).expect("small");
        bench.admin.commit(vec![usage]).await.expect("written");
        let record = bench.admin.keys.get(number).expect("readable").expect("there");
        let traces = traces(&record);
        let all: Vec<_> = traces.iter().map(|(name, _)| *name).collect();
        assert_eq!(traces_in(&bench.rows(), &traces), all, "the search finds what is there");

        if deleted_before {
            bench.delete(&id, false).await.expect("deleted");
            assert!(bench.rows().iter().any(|(key, _)| key[0] == layout::DELETED));
        }
        bench.delete(&id, true).await.expect("purged");
        assert_eq!(traces_in(&bench.rows(), &traces), [""; 0]);
        assert_eq!(bench.rows(), rows_before);
        assert_eq!(
            (bench.code(&old), bench.code(&new)),
            (VerdictCode::NotFound, VerdictCode::NotFound)
        );
        assert!(bench.get(&bystander, false).await.is_ok());
    }
}

#[tokio::test]
async fn deleted_keys_are_purged_when_their_retention_is_over() {
    let bench = Bench::new();
    let mut ids = Vec::new();
    for _ in 0..150 {
        let (id, _) = bench.create(json!({"name": "n"})).await;
        bench.delete(&id, false).await.expect("deleted");
        ids.push(id);
    }
    let (live, token) = bench.create(json!({"name": "live"})).await;
    let (restored, _) = bench.create(json!({"name": "restored"})).await;
    bench.delete(&restored, false).await.expect("deleted");
    bench.restore(&restored).await.expect("restored");
    let purge = || bench.look();
    bench.clock.step_wall_us(30 * DAY_US - 1);
    assert_eq!(purge().await.expect("a look"), 0, "a microsecond too early");
    let (later, _) = bench.create(json!({"name": "later"})).await;
    bench.delete(&later, false).await.expect("deleted");
    bench.clock.step_wall_us(1);
    let mut stopped = Retention::new(Arc::clone(&bench.admin));
    assert_eq!(stopped.look(&|| false).await.expect("no look"), Swept::default());
    assert_eq!(purge().await.expect("a look"), 150);
    assert_eq!(purge().await.expect("a look"), 0);
    for id in ids {
        assert_eq!(refused(bench.get(&id, true).await).0, ErrorCode::NotFound);
    }
    assert!(bench.get(&later, true).await.is_ok() && bench.get(&restored, false).await.is_ok());
    assert!(bench.get(&live, false).await.is_ok());
    assert_eq!(bench.code(&token), VerdictCode::Valid);

    // A retention that is shortened under way.
    bench.admin.set_life_rules(LifeRules { deleted_retention_days: 0, ..RULES });
    assert_eq!(purge().await.expect("a look"), 1);
    assert_eq!(refused(bench.get(&later, true).await).0, ErrorCode::NotFound);
}

#[tokio::test]
async fn a_look_passes_over_an_import_that_is_not_whole() {
    let bench = Bench::new();
    let import = Import::begin(Arc::clone(&bench.admin), ALL, false).await.expect("begun");
    let mut gone = record(1);
    gone["deleted_at"] = "2020-01-01T00:00:00Z".into();
    let import = import.take(records([gone, record(2)])).await.expect("taken");
    assert_eq!(bench.look().await.expect("a look"), 0);
    assert_eq!(import.finish().await.expect("whole").imported, 2);
    assert_eq!(bench.look().await.expect("a look"), 1);
    assert_eq!(bench.admin.engine.key_count(), 1);
}

#[tokio::test]
async fn a_store_that_takes_nothing_purges_nothing_and_says_so() {
    let bench = Bench::new();
    let (id, _) = bench.create(json!({"name": "n"})).await;
    bench.delete(&id, false).await.expect("deleted");
    bench.clock.step_wall_us(30 * DAY_US);
    bench.store.fail_apply(1, std::io::ErrorKind::StorageFull);
    assert!(bench.look().await.is_err());
    assert!(bench.get(&id, true).await.is_ok(), "it is still there");
    let (code, _) = refused(bench.look().await);
    assert_eq!(code, ErrorCode::ReadOnly);
}

/// A day passes, by both clocks.
fn pass_days(bench: &Bench, days: u32) {
    // In steps that the clock takes.
    (0..days * 24).for_each(|_| bench.clock.advance_us(3_600_000_000));
}

#[tokio::test]
async fn a_look_purges_keys_and_tenants_alike() {
    let bench = Bench::new();
    let mut retention = Retention::new(Arc::clone(&bench.admin));
    let mut look = async || retention.look(&|| true).await.expect("a look");
    let (id, _) = bench.create(json!({"name": "n", "tenant_id": "stays"})).await;
    bench.create(json!({"name": "n", "tenant_id": "goes"})).await;
    bench.delete(&id, false).await.expect("deleted");
    let delete = keygate_protocol::admin::TenantDelete { id: "goes".to_owned(), purge: false };
    bench.admin.delete_tenant(&ALL, delete).await.expect("deleted");
    pass_days(&bench, 29);
    assert_eq!(look().await, Swept::default());
    pass_days(&bench, 1);
    assert_eq!(look().await, Swept { keys: 1, tenants: 1, secrets: 0 });
    assert_eq!(look().await, Swept::default());
    assert_eq!(bench.admin.engine.key_count(), 0);
    assert_eq!(bench.admin.engine.tenant("goes"), None);
}

/// A clock that is set wrong for a moment purges nothing; one that stays so is the time.
#[tokio::test]
async fn a_wall_clock_that_jumps_ahead_is_believed_at_the_second_look() {
    let bench = Bench::new();
    let mut retention = Retention::new(Arc::clone(&bench.admin));
    let mut look = async || retention.look(&|| true).await.expect("a look").keys;
    let (id, _) = bench.create(json!({"name": "n"})).await;
    bench.delete(&id, false).await.expect("deleted");
    assert_eq!(look().await, 0);
    for stays in [false, true] {
        bench.clock.step_wall_us(3_650 * DAY_US);
        bench.clock.advance_us(600_000_000);
        assert_eq!(look().await, 0, "it says so for the first time");
        if !stays {
            bench.clock.step_wall_us(-3_650 * DAY_US);
        }
        bench.clock.advance_us(600_000_000);
        assert_eq!(look().await, u64::from(stays));
    }

    // What is due without the jump is not held up by it.
    let (id, _) = bench.create(json!({"name": "n"})).await;
    bench.delete(&id, false).await.expect("deleted");
    let mut retention = Retention::new(Arc::clone(&bench.admin));
    assert_eq!(retention.look(&|| true).await.expect("a look").keys, 0);
    pass_days(&bench, 30);
    bench.clock.step_wall_us(DAY_US);
    assert_eq!(retention.look(&|| true).await.expect("a look").keys, 1);
}
