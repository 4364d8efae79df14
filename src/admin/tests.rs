//! The operations against a store in memory.

mod credits;
mod deletion;
mod full;
mod journal;
mod life;
mod limits;
mod lists;
mod model;
mod moves;
mod secret;
mod signing;
mod tenants;
mod whole;
mod writes;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use keygate_protocol::ErrorCode;
use keygate_protocol::admin::{
    ImportChunk, KeyCreate, KeyDelete, KeyList, KeyPage, KeyRef, KeySetStatus, KeyUpdate,
};
use serde_json::json;
use serde_json::value::RawValue;

use super::{Admin, AdminError, Applied, Caller, Import, LifeRules, Listing, Live};
use crate::clock::ManualClock;
use crate::engine::{Engine, EngineLimits};
use crate::key::token::Prefixes;
use crate::key::{Allowance, Pepper, Rules};
use crate::limit::LedgerState;
use crate::store::{Committer, CommitterOptions, Keys, MemoryStore};

const START_US: i64 = 1_800_000_000_000_000;
const ALL: Caller = Caller::unbound();
const RULES: LifeRules = LifeRules {
    rotation_grace_ms: 1000,
    rotation_grace_max_ms: 60_000,
    deleted_retention_days: 30,
};

fn admin() -> Arc<Admin> {
    admin_over(Arc::new(MemoryStore::new()), Arc::new(ManualClock::new(START_US)))
}

fn admin_over(store: Arc<MemoryStore>, clock: Arc<ManualClock>) -> Arc<Admin> {
    admin_of(store, clock, 100_000)
}

fn admin_of(store: Arc<MemoryStore>, clock: Arc<ManualClock>, keys_max: usize) -> Arc<Admin> {
    let keys = Keys::open(store).expect("a store");
    let committer = Committer::start(&keys, &CommitterOptions::default()).expect("threads");
    let limits = EngineLimits {
        keys_max,
        expiry_warning_us: 0,
        increment_id_window_us: 1_000_000,
        increment_ids_max: 1000,
        slots_max: 1000,
        usage_history: true,
        usage_detail_bytes_max: 1 << 30,
    };
    let engine = Engine::new(Pepper::new(&[1; 32]), Prefixes::default(), limits);
    Arc::new(Admin::new(Arc::new(engine), keys, Arc::new(committer), clock, RULES))
}

fn records(records: impl IntoIterator<Item = serde_json::Value>) -> ImportChunk {
    let raw = |record: serde_json::Value| RawValue::from_string(record.to_string()).expect("JSON");
    ImportChunk { records: records.into_iter().map(raw).collect(), ..ImportChunk::default() }
}

fn record(id: u64) -> serde_json::Value {
    json!({"id": id.to_string(), "key_hash": format!("{id:064x}"), "name": "imported"})
}

fn of(id: u64) -> KeyRef {
    KeyRef { id: id.to_string(), deleted: false }
}

fn code<T>(result: Result<T, AdminError>) -> Option<ErrorCode> {
    result.err().map(|error| error.code)
}

/// All frames of a listing, as a client joins them.
async fn joined(admin: &Admin, mut listing: Listing) -> KeyPage {
    let (mut tenants, mut keys, mut last) = (Vec::new(), Vec::new(), KeyPage::default());
    loop {
        let (frames, more) = admin.next_page(&mut listing).await.expect("a page");
        for frame in frames {
            let sent = serde_json::to_vec(&frame).expect("JSON");
            let frame: KeyPage = serde_json::from_slice(&sent).expect("a page");
            tenants.extend(frame.tenants);
            keys.extend(frame.keys);
            last = KeyPage { keys: Vec::new(), tenants: Vec::new(), ..frame };
        }
        if !more {
            return KeyPage { tenants, keys, ..last };
        }
    }
}

async fn listed(admin: &Admin, caller: &Caller, list: KeyList) -> Result<KeyPage, AdminError> {
    Ok(joined(admin, admin.list(caller, list).await?).await)
}

async fn exported(admin: &Admin, caller: &Caller) -> Vec<serde_json::Value> {
    joined(admin, admin.export(caller)).await.keys
}

#[tokio::test]
async fn keys_of_an_import_are_not_there_until_it_is_whole() {
    let admin = admin();
    let import = Import::begin(Arc::clone(&admin), ALL, false).await.expect("begun");
    let import = import.take(records([record(1), record(2)])).await.expect("taken");
    let revoke = KeySetStatus {
        id: "1".to_owned(),
        status: "REVOKED".to_owned(),
        reason_code: None,
        reason: None,
    };
    let purge = KeyDelete { id: "1".to_owned(), purge: true };
    assert_eq!(code(admin.get(&ALL, of(1)).await), Some(ErrorCode::NotFound));
    assert_eq!(code(admin.set_status(&ALL, revoke.clone()).await), Some(ErrorCode::NotFound));
    assert_eq!(code(admin.delete(&ALL, purge).await), Some(ErrorCode::NotFound));
    assert!(listed(&admin, &ALL, KeyList::default()).await.expect("a list").keys.is_empty());
    assert!(exported(&admin, &ALL).await.is_empty());
    assert_eq!(admin.engine.key_count(), 0, "nothing above has shown it to decisions");
    assert_eq!(import.finish().await.expect("whole").imported, 2);
    assert_eq!(code(admin.set_status(&ALL, revoke).await), None);
    assert_eq!(listed(&admin, &ALL, KeyList::default()).await.expect("a list").keys.len(), 2);
    assert_eq!(admin.engine.key_count(), 2);
}

#[tokio::test]
async fn an_import_that_was_left_behind_does_not_stop_the_next() {
    let admin = admin();
    // Its roll-back failed because the store was busy, so its mark and its rows are still there.
    let import = Import::begin(Arc::clone(&admin), ALL, false).await.expect("begun");
    drop(import.take(records([record(1)])).await.expect("taken"));
    assert_ne!(admin.pending_import.load(Ordering::Acquire), 0);
    let import = Import::begin(Arc::clone(&admin), ALL, false).await.expect("begun");
    let import = import.take(records([record(1), record(2)])).await.expect("taken");
    let report = import.finish().await.expect("whole");
    assert_eq!((report.imported, report.problems), (2, vec![]));
}

#[tokio::test]
async fn the_first_of_two_records_that_contradict_is_taken_wherever_jobs_are_cut() {
    let admin = admin();
    // Several jobs: in the first something is wrong, and what a later one has taken meanwhile
    // belongs to a record of the first.
    let mut given: Vec<_> = (1..=400).map(record).collect();
    given[2]["key_hash"] = given[0]["key_hash"].clone();
    given[249]["key_hash"] = given[3]["key_hash"].clone();
    given[349]["id"] = given[4]["id"].clone();
    let import = Import::begin(Arc::clone(&admin), ALL, true).await.expect("begun");
    let (first, second) = given.split_at(380);
    let import = import.take(records(first.iter().cloned())).await.expect("taken");
    let import = import.take(records(second.iter().cloned())).await.expect("taken");
    let report = import.finish().await.expect("whole");
    let problems: Vec<_> =
        report.problems.iter().map(|problem| (problem.record, problem.field.as_deref())).collect();
    let expected = [(3, Some("key_hash")), (250, Some("key_hash")), (350, Some("id"))];
    assert_eq!((report.imported, problems.as_slice()), (397, &expected[..]));
    assert_eq!((admin.engine.key_count(), exported(&admin, &ALL).await.len()), (397, 397));
    for id in [1, 4, 5] {
        assert!(admin.get(&ALL, of(id)).await.is_ok(), "{id} came first");
    }
}

#[tokio::test]
async fn a_report_fits_a_frame_whatever_the_records_say() {
    let admin = admin();
    let import = Import::begin(Arc::clone(&admin), ALL, true).await.expect("begun");
    let bad = (0..2000).map(|n| json!({ format!("{n}{}", "\u{1}".repeat(300)): n }));
    let import = import.take(records(bad)).await.expect("taken");
    let report = import.finish().await.expect("a report");
    assert_eq!((report.imported, report.skipped), (0, 2000));
    assert!(report.problems.len() > 100);
    let bytes = serde_json::to_vec(&report).expect("JSON").len();
    assert!(bytes < 600_000, "{bytes}");
}

#[tokio::test]
async fn a_bound_caller_sees_its_tenant_and_nothing_else() {
    let admin = admin();
    let (ours, theirs) = (Caller::of_tenant("ours"), Caller::of_tenant("theirs"));
    let create = |record| KeyCreate { record, request_id: None };
    let made = admin.create(&ours, create(json!({"name": "a"}))).await.expect("made");
    assert_eq!(made.key["tenant_id"], "ours", "it is its own tenant's if nothing else is said");
    let id = made.key["id"].as_str().expect("an id").to_owned();
    let key = || KeyRef { id: id.clone(), deleted: false };
    assert_eq!(code(admin.get(&theirs, key()).await), Some(ErrorCode::NotFound));
    assert_eq!(code(admin.usage(&theirs, key()).await), Some(ErrorCode::NotFound));
    let purge = KeyDelete { id: id.clone(), purge: true };
    assert_eq!(code(admin.delete(&theirs, purge).await), Some(ErrorCode::NotFound));
    assert!(listed(&admin, &theirs, KeyList::default()).await.expect("a list").keys.is_empty());
    assert!(exported(&admin, &theirs).await.is_empty());
    let of_ours = KeyList { tenant_id: Some("ours".to_owned()), ..KeyList::default() };
    assert!(listed(&admin, &theirs, of_ours).await.expect("a list").keys.is_empty());

    let foreign = create(json!({"name": "b", "tenantId": "theirs"}));
    assert_eq!(code(admin.create(&ours, foreign).await), Some(ErrorCode::Invalid));
    let set = json!({"tenant_id": "theirs"});
    let away = KeyUpdate { id: id.clone(), set, mask: None, expected_revision: None, spent: None };
    assert_eq!(code(admin.update(&ours, away).await), Some(ErrorCode::Invalid));
    assert_eq!(admin.get(&ours, key()).await.expect("still there")["tenant_id"], "ours");
    assert_eq!(exported(&admin, &ours).await.len(), 1);

    let import = Import::begin(Arc::clone(&admin), ours, false).await.expect("begun");
    let import = import.take(records([record(1)])).await.expect("taken");
    let report = import.finish().await.expect("a report");
    assert_eq!((report.imported, report.problems.len()), (0, 1), "it is the default tenant's");
}

fn rules(tiers: &[(&str, u32)], profiles: &[(&str, &[&str])]) -> Live {
    let allowance = |rate| Allowance { requests_per_second: Some(rate), ..Allowance::default() };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Live {
        rules: Rules {
            tiers: tiers.iter().map(|(name, rate)| ((*name).into(), allowance(*rate))).collect(),
            profiles: profiles
                .iter()
                .map(|(name, requires)| ((*name).to_owned(), names(requires)))
                .collect(),
            ..Rules::default()
        },
        life: RULES,
        deny_rotation_overdue: false,
        expiry_warning_us: 0,
        ledger_unavailable: LedgerState::Denies,
    }
}

async fn create(admin: &Admin, record: serde_json::Value) -> Result<u64, AdminError> {
    let made = admin.create(&ALL, KeyCreate { record, request_id: None }).await?;
    Ok(made.key["id"].as_str().and_then(|id| id.parse().ok()).expect("an id"))
}

#[tokio::test]
async fn writes_are_held_to_the_rules_and_other_changes_are_not() {
    let admin = admin();
    let secure = json!({"name": "a", "billing_tier": "gold", "compliance_standards": ["PCI"]});
    let refused = create(&admin, secure.clone()).await.expect_err("nothing is configured");
    assert_eq!(refused.code, ErrorCode::Invalid);
    assert!(refused.message.contains("billing_tier: there is no tier"), "{refused}");
    admin.apply(rules(&[("gold", 5)], &[("PCI", &["enforce_https"])])).await.expect("applied");
    let refused = create(&admin, secure.clone()).await.expect_err("it contradicts its profile");
    assert!(refused.message.contains("leaves unset: enforce_https"), "{refused}");
    let mut whole = secure;
    whole["enforce_https"] = true.into();
    let id = create(&admin, whole).await.expect("as its profile demands");

    let update = async |set: serde_json::Value| {
        let update =
            KeyUpdate { id: id.to_string(), set, mask: None, expected_revision: None, spent: None };
        admin.update(&ALL, update).await
    };
    for (set, words) in [
        (json!({"billing_tier": "silver"}), "no tier \"silver\"; those there are: gold"),
        (json!({"compliance_standards": ["SOC2"]}), "no profile \"SOC2\""),
        (json!({"enforce_https": false}), "\"PCI\" demands enforce_https"),
    ] {
        let refused = update(set).await.expect_err(words);
        assert!(refused.message.contains(words), "{refused}");
    }
    // The profile demands more than the key has: it cannot be written like that, only stopped.
    let more = &["enforce_https", "requires_audit_logging"][..];
    admin.apply(rules(&[("gold", 5)], &[("PCI", more)])).await.expect("applied");
    assert_eq!(code(update(json!({"name": "b"})).await), Some(ErrorCode::Invalid));
    let revoke = KeySetStatus {
        id: id.to_string(),
        status: "SUSPENDED".to_owned(),
        reason: None,
        reason_code: None,
    };
    assert_eq!(code(admin.set_status(&ALL, revoke).await), None);
    let both = json!({"name": "b", "requires_audit_logging": true});
    assert_eq!(code(update(both).await), None);
}

#[tokio::test]
async fn an_import_is_held_to_the_rules_and_no_reload_comes_between() {
    let admin = admin();
    admin.apply(rules(&[("gold", 5)], &[])).await.expect("applied");
    let with = |id, tier: &str| {
        let mut record = record(id);
        record["billingTier"] = tier.into();
        record
    };
    let import = Import::begin(Arc::clone(&admin), ALL, true).await.expect("begun");
    let import = import.take(records([with(1, "gold"), with(2, "free")])).await.expect("taken");
    let reload = admin.apply(rules(&[], &[])).await;
    assert_eq!(code(reload), Some(ErrorCode::Busy), "the import names a tier");
    let report = import.finish().await.expect("a report");
    assert_eq!((report.imported, report.skipped), (1, 1));
    assert_eq!(report.problems[0].field.as_deref(), Some("billing_tier"));
    let reload = admin.apply(rules(&[], &[])).await.expect_err("the tier is used");
    assert_eq!(reload.code, ErrorCode::Conflict);
    assert!(reload.message.contains("[tiers.gold] is used by 1 key;"), "{reload}");
}

#[tokio::test]
async fn what_keys_use_cannot_be_taken_away_and_nothing_is_applied_by_halves() {
    let admin = admin();
    let first = rules(&[("gold", 5), ("free", 1)], &[("PCI", &[])]);
    admin.apply(first).await.expect("applied");
    let gold = json!({"name": "a", "billing_tier": "gold", "compliance_standards": ["PCI"]});
    let id = create(&admin, gold).await.expect("made");
    let delete = |purge| KeyDelete { id: id.to_string(), purge };
    for (live, words) in [
        (rules(&[("free", 2)], &[("PCI", &[])]), "[tiers.gold] is used by 1 key"),
        (rules(&[("gold", 9)], &[]), "[profiles.PCI] is used by 1 key"),
    ] {
        let refused = admin.apply(live).await.expect_err(words);
        assert!(refused.message.contains(words), "{refused}");
        let tiers = &admin.engine.rules().tiers;
        assert_eq!(tiers["gold"].requests_per_second, Some(5), "the good change neither");
        assert_eq!(tiers["free"].requests_per_second, Some(1));
    }
    admin.delete(&ALL, delete(false)).await.expect("deleted");
    let refused = admin.apply(rules(&[], &[])).await.expect_err("it may be restored");
    assert!(refused.message.contains("1 key, 1 of them deleted"), "{refused}");
    admin.delete(&ALL, delete(true)).await.expect("purged");
    let applied = admin.apply(rules(&[], &[])).await.expect("nobody uses them");
    assert_eq!(applied, Applied::default());
}

#[tokio::test]
async fn keys_of_a_changed_tier_are_compiled_again_as_they_are_and_no_others() {
    let admin = admin();
    admin.apply(rules(&[("gold", 5), ("free", 1)], &[])).await.expect("applied");
    for n in 0..20 {
        let tier = ["gold", "free", ""][n % 3];
        create(&admin, json!({"name": "n", "billing_tier": tier})).await.expect("made");
    }
    let applied = admin.apply(rules(&[("gold", 5), ("free", 2)], &[])).await.expect("applied");
    assert_eq!(applied, Applied { keys: 7, failed: 0 });
    let applied = admin.apply(rules(&[("gold", 5), ("free", 2)], &[])).await.expect("applied");
    assert_eq!(applied, Applied::default(), "nothing has changed");
    assert_eq!(admin.health(&ALL, 0).reasons, Vec::<String>::new());
}

#[tokio::test]
async fn creations_that_race_a_reload_never_leave_a_key_without_its_tier() {
    let admin = admin();
    let with = || rules(&[("gold", 5)], &[]);
    let (mut made, mut refused) = (0, 0);
    for round in 0..50 {
        admin.apply(with()).await.expect("applied");
        let creating: Vec<_> = (0..4)
            .map(|_| {
                let admin = Arc::clone(&admin);
                let gold = json!({"name": "n", "billing_tier": "gold"});
                tokio::spawn(async move { create(&admin, gold).await })
            })
            .collect();
        // A different moment each round.
        for _ in 0..round % 10 {
            tokio::task::yield_now().await;
        }
        let removed = admin.apply(rules(&[], &[])).await.is_ok();
        let mut ids = Vec::new();
        for creation in creating {
            match creation.await.expect("it does not panic") {
                Ok(id) => ids.push(id),
                Err(error) => assert_eq!(error.code, ErrorCode::Invalid, "{error}"),
            }
        }
        assert!(!removed || ids.is_empty(), "round {round}: {ids:?} have no tier");
        assert_eq!(admin.engine.unknown_tiers(), []);
        *(if removed { &mut refused } else { &mut made }) += 1;
        for id in ids {
            let purge = KeyDelete { id: id.to_string(), purge: true };
            admin.delete(&ALL, purge).await.expect("purged");
        }
    }
    assert!(made > 0 && refused > 0, "both came first at some time: {made} and {refused}");
}
