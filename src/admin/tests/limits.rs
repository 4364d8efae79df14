//! Changes of limits of which something was spent, with a ledger.

use keygate_protocol::admin::{SpentPolicy, TenantUpdate};
use keygate_protocol::validate::ValidateWriter;
use keygate_protocol::{Validate, ValidateFlags, VerdictCode};
use serde_json::Value;

use super::*;
use crate::engine::{Account, Answers};
use crate::ledger::Ledger;

/// A daemon without sockets over a store, with its ledger.
fn with_ledger(store: &Arc<MemoryStore>) -> Arc<Admin> {
    let bare = admin_over(Arc::clone(store), Arc::new(ManualClock::new(START_US)));
    let bare = Arc::into_inner(bare).expect("nobody else has it");
    let (engine, committer) = (Arc::clone(&bare.engine), Arc::clone(&bare.committer));
    let clock = Arc::clone(&bare.clock);
    let ledger = Ledger::open(engine, &bare.keys, committer, clock, LedgerState::Denies);
    let (ledger, _) = ledger.expect("readable");
    ledger.start().expect("a thread");
    Arc::new(bare.with_ledger(Arc::new(ledger)))
}

/// A key with a cap on the day, of which ten units are spent: its id and its token.
async fn spent_ten(admin: &Admin) -> (String, String) {
    let record = json!({"tenant_id": "a", "requests_per_day": 10_000});
    let made = admin.create(&ALL, KeyCreate { record, request_id: None }).await.expect("made");
    let token = made.token.expect("a new key's token");
    assert_eq!(spend(admin, &token, 10), VerdictCode::Valid);
    (made.key["id"].as_str().expect("an id").to_owned(), token)
}

/// A verdict, without waiting for the ledger.
fn spend(admin: &Admin, token: &str, cost: u64) -> VerdictCode {
    let mut payload = bytes::BytesMut::new();
    ValidateWriter::new(&mut payload, ValidateFlags::default(), cost, token.as_bytes());
    let question = Validate::decode(&payload).expect("well-formed");
    let mut answers = Answers::default();
    admin.engine.validate(&[question], admin.clock.now(), &mut answers);
    answers[0].verdict.code
}

fn update(id: &str, set: Value, spent: Option<SpentPolicy>) -> KeyUpdate {
    KeyUpdate { id: id.to_owned(), set, mask: None, expected_revision: None, spent }
}

fn rows(admin: &Admin) -> u64 {
    admin.ledger.as_ref().expect("it has one").stats().rows
}

#[tokio::test]
async fn an_update_that_is_refused_touches_no_lease_and_tells_nothing() {
    let store = Arc::new(MemoryStore::new());
    let admin = with_ledger(&store);
    let (id, token) = spent_ten(&admin).await;
    let before = rows(&admin);
    let foreign = Caller::of_tenant("b");
    let stale = KeyUpdate { expected_revision: Some(9), ..update(&id, json!({}), None) };
    for (caller, update, expected) in [
        (&foreign, update(&id, json!({}), None), ErrorCode::NotFound),
        (&ALL, stale, ErrorCode::Conflict),
        (&ALL, update(&id, json!({"requests_per_day": "x"}), None), ErrorCode::Invalid),
    ] {
        assert_eq!(code(admin.update(caller, update).await), Some(expected));
        assert_eq!(rows(&admin), before);
        assert_eq!(spend(&admin, &token, 1), VerdictCode::Valid, "its lease is in hand");
    }
    // To somebody bound elsewhere a key is as unknown when the store takes no writes.
    store.fail_sync(1, std::io::ErrorKind::Other);
    admin.commit(Vec::new()).await.expect_err("latched");
    for id in [&id, "123456789"] {
        let refused = admin.update(&foreign, update(id, json!({}), None)).await;
        assert_eq!(code(refused), Some(ErrorCode::NotFound), "{id}");
    }
}

#[tokio::test]
async fn a_change_that_could_not_be_written_has_changed_nothing() {
    let store = Arc::new(MemoryStore::new());
    let admin = with_ledger(&store);
    let (id, token) = spent_ten(&admin).await;
    store.fail_sync(1, std::io::ErrorKind::StorageFull);
    let set = json!({"requests_per_day": 20_000});
    let failed = admin.update(&ALL, update(&id, set, Some(SpentPolicy::Reset))).await;
    assert_eq!(code(failed), Some(ErrorCode::Storage));
    let account = Account::Key(id.parse().expect("a number"));
    let day = admin.engine.limit_figures(&account, admin.clock.now()).remove(0);
    assert_eq!((day.cap, day.spent), (10_000, 10));
    assert_eq!(spend(&admin, &token, 10_000), VerdictCode::QuotaExceeded);
}

#[tokio::test]
async fn whoever_is_bound_to_a_tenant_cannot_reset_what_its_keys_have_spent() {
    let admin = with_ledger(&Arc::new(MemoryStore::new()));
    let (_, token) = spent_ten(&admin).await;
    let update = |count: u64, spent| TenantUpdate {
        id: "a".to_owned(),
        set: json!({"requests_per_day": count}),
        expected_revision: None,
        spent,
    };
    admin.update_tenant(&ALL, update(10_000, None)).await.expect("limited");
    assert_eq!(spend(&admin, &token, 50), VerdictCode::Valid);
    let account = Account::Tenant("a".into());
    let spent = || admin.engine.limit_figures(&account, admin.clock.now()).remove(0).spent;
    for policy in [SpentPolicy::Reset, SpentPolicy::Proportional] {
        let own = Caller::of_tenant("a");
        let refused = admin.update_tenant(&own, update(10_000, Some(policy))).await;
        assert_eq!((code(refused), spent()), (Some(ErrorCode::Forbidden), 50));
    }
    let reset = update(10_000, Some(SpentPolicy::Reset));
    admin.update_tenant(&ALL, reset).await.expect("by whoever is not bound");
    assert_eq!(spent(), 0);
}
