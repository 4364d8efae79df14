//! Balances: when one is set, and what a change of another field does to it.

use serde_json::Value;

use super::*;

fn bench() -> (Arc<Admin>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(START_US));
    (admin_over(Arc::new(MemoryStore::new()), Arc::clone(&clock)), clock)
}

fn update(id: &str, set: Value, mask: Option<&[&str]>) -> KeyUpdate {
    let mask = mask.map(|names| names.iter().map(|&name| name.to_owned()).collect());
    KeyUpdate { id: id.to_owned(), set, mask, expected_revision: None, spent: None }
}

async fn granted_at(admin: &Admin, id: u64) -> Option<i64> {
    let stored = admin.stored(&ALL, id).await.expect("readable").expect("there");
    stored.credits.and_then(|credits| credits.granted_at).map(crate::key::Time::micros_up)
}

#[tokio::test]
async fn a_balance_is_set_when_it_is_named_and_by_nothing_else() {
    let (admin, clock) = bench();
    let record =
        json!({"name": "n", "credits": {"balance": 10, "granted_at": "2001-01-01T00:00:00Z"}});
    let create = || KeyCreate { record: record.clone(), request_id: Some("once".to_owned()) };
    let made = admin.create(&ALL, create()).await.expect("made");
    let id = made.key["id"].as_str().expect("an id").to_owned();
    let number = id.parse().expect("a number");
    assert_eq!(granted_at(&admin, number).await, Some(START_US));
    assert_eq!(made.key["credits"]["balance"], "10");
    clock.advance_us(5);
    assert!(admin.create(&ALL, create()).await.expect("the same request").repeated);

    let credits = json!({"credits": {"balance": 10}});
    let whole = json!({"name": "m", "credits": {"balance": 99}});
    for (set, mask, expected) in [
        (json!({"name": "m"}), None, Some(START_US)),
        (json!({"requests_per_second": 5}), None, Some(START_US)),
        (whole.clone(), Some(&["name"][..]), Some(START_US)),
        (credits.clone(), None, Some(START_US + 5)),
        // At the same instant, and so later.
        (credits.clone(), None, Some(START_US + 6)),
        (whole, Some(&["credits"]), Some(START_US + 7)),
        (json!({"name": "m"}), Some(&["credits"]), None),
        (credits, None, Some(START_US + 5)),
        (json!({"credits": null}), None, None),
    ] {
        admin.update(&ALL, update(&id, set.clone(), mask)).await.expect("changed");
        assert_eq!(granted_at(&admin, number).await, expected, "{set} {mask:?}");
    }
}

#[tokio::test]
async fn an_imported_balance_is_set_by_the_import() {
    let (admin, _) = bench();
    let mut given = record(7);
    given["credits"] = json!({"balance": "3", "grantedAt": "2001-01-01T00:00:00Z",
        "refill": {"amount": 1, "every": "day"}});
    let import = Import::begin(Arc::clone(&admin), ALL, false).await.expect("begun");
    let import = import.take(records([given, record(8)])).await.expect("taken");
    assert_eq!(import.finish().await.expect("whole").imported, 2);
    assert_eq!(granted_at(&admin, 7).await, Some(START_US));
    assert_eq!(granted_at(&admin, 8).await, None);
}

#[tokio::test]
async fn a_burst_that_nothing_refills_is_told_of() {
    let (admin, _) = bench();
    for (record, told) in [
        (json!({"burst": 5}), true),
        (json!({"burst": 5, "requests_per_second": 1}), false),
        (json!({}), false),
    ] {
        let create = KeyCreate { record: record.clone(), request_id: None };
        let notices = admin.create(&ALL, create).await.expect("made").notices;
        assert_eq!(
            notices.iter().any(|line| line.contains("burst does nothing")),
            told,
            "{record}"
        );
    }
}
