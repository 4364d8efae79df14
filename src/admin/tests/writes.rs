//! Creating once, and updates that write over nobody's.

use std::sync::Arc;

use keygate_protocol::ErrorCode;
use keygate_protocol::admin::{KeyCreate, KeyCreated, KeyDelete, KeyUpdate};
use serde_json::{Value, json};

use super::{ALL, START_US, admin, admin_of, code, record, records};
use crate::admin::{Admin, AdminError, Import};
use crate::clock::ManualClock;
use crate::store::MemoryStore;

async fn create(admin: &Admin, record: Value, request_id: &str) -> Result<KeyCreated, AdminError> {
    admin.create(&ALL, KeyCreate { record, request_id: Some(request_id.to_owned()) }).await
}

fn update(id: &str, set: Value) -> KeyUpdate {
    KeyUpdate { id: id.to_owned(), set, mask: None, expected_revision: None, spent: None }
}

fn id_of(created: &KeyCreated) -> String {
    created.key["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn the_same_request_makes_one_key_and_shows_its_token_once() {
    let admin = admin();
    let record = || json!({"name": "n", "tenant_id": "a", "scopes": ["x:read"]});
    let made = create(&admin, record(), "r-1").await.expect("made");
    assert!(made.token.is_some() && !made.repeated);
    assert_eq!(made.key["request_id"], "r-1");
    let again = create(&admin, record(), "r-1").await.expect("the same");
    assert_eq!((id_of(&again), &again.token, again.repeated), (id_of(&made), &None, true));
    assert!(
        again.notices[0].contains(&format!("key rotate {}", id_of(&made))),
        "{:?}",
        again.notices
    );
    // Another tenant has its own ids, and another id makes another key.
    let elsewhere = json!({"name": "n", "tenant_id": "b", "scopes": ["x:read"]});
    assert!(!create(&admin, elsewhere, "r-1").await.expect("made").repeated);
    assert_ne!(id_of(&create(&admin, record(), "r-2").await.expect("made")), id_of(&made));
    assert_eq!(admin.engine.key_count(), 3);
}

#[tokio::test]
async fn another_request_of_the_same_id_is_refused_until_the_key_is_changed() {
    let admin = admin();
    let made = create(&admin, json!({"name": "n"}), "r").await.expect("made");
    let id = id_of(&made);
    let other = create(&admin, json!({"name": "n", "requests_per_second": 5}), "r").await;
    let refused = other.err().expect("another request");
    assert_eq!(refused.code, ErrorCode::Conflict);
    for words in [id.as_str(), "requests_per_second", "\"r\""] {
        assert!(refused.message.contains(words), "{words}: {refused}");
    }
    admin.update(&ALL, update(&id, json!({"name": "m"}))).await.expect("changed");
    let again = create(&admin, json!({"name": "n"}), "r").await.expect("the same");
    assert_eq!((again.key["name"].as_str(), again.repeated), (Some("m"), true));
    assert!(again.notices.iter().any(|line| line.contains("differs in: name")));
}

#[tokio::test]
async fn a_deleted_key_keeps_its_request_and_a_purged_one_gives_it_free() {
    let admin = admin();
    let made = create(&admin, json!({"name": "n"}), "r").await.expect("made");
    let delete = |purge| KeyDelete { id: id_of(&made), purge };
    admin.delete(&ALL, delete(false)).await.expect("deleted");
    let again = create(&admin, json!({"name": "n"}), "r").await.expect("the same");
    assert!(again.repeated && again.notices.iter().any(|line| line.contains("deleted")));
    admin.delete(&ALL, delete(true)).await.expect("purged");
    let new = create(&admin, json!({"name": "n"}), "r").await.expect("made");
    assert!(!new.repeated && id_of(&new) != id_of(&made));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_requests_of_one_id_make_one_key() {
    let admin = admin();
    for round in 0..50 {
        let racers = (0..8).map(|_| {
            let admin = Arc::clone(&admin);
            tokio::spawn(async move {
                create(&admin, json!({"name": "n"}), &format!("round-{round}")).await
            })
        });
        let racers: Vec<_> = racers.collect();
        let mut made = Vec::new();
        for racer in racers {
            made.push(racer.await.expect("no panic").expect("an answer"));
        }
        let id = id_of(&made[0]);
        assert!(made.iter().all(|it| id_of(it) == id), "round {round}");
        assert_eq!(made.iter().filter(|it| it.token.is_some()).count(), 1, "round {round}");
        assert_eq!(made.iter().filter(|it| !it.repeated).count(), 1, "round {round}");
    }
    assert_eq!(admin.engine.key_count(), 50);
}

#[tokio::test]
async fn ids_of_requests_are_short_and_visible() {
    let admin = admin();
    let long = "x".repeat(65);
    for bad in ["", " ", "a b", "ü", "a\n", long.as_str()] {
        let refused = create(&admin, json!({"name": "n"}), bad).await;
        assert_eq!(code(refused), Some(ErrorCode::Invalid), "{bad:?}");
    }
    assert!(create(&admin, json!({"name": "n"}), &long[1..]).await.is_ok());
    assert_eq!(admin.engine.key_count(), 1);
}

#[tokio::test]
async fn a_lost_update_is_refused_with_both_versions() {
    let admin = admin();
    let made = create(&admin, json!({"name": "n"}), "r").await.expect("made");
    let id = id_of(&made);
    let expecting = |revision| KeyUpdate {
        expected_revision: Some(revision),
        ..update(&id, json!({"description": "d"}))
    };
    let changed = admin.update(&ALL, expecting(1)).await.expect("the revision that was read");
    assert_eq!(changed.key["revision"], 2);
    let refused = admin.update(&ALL, expecting(1)).await.expect_err("it was changed");
    assert_eq!(refused.code, ErrorCode::Conflict);
    let at = changed.key["updated_at"].as_str().expect("an instant");
    for words in ["revision 2", "revision 1 was expected", at] {
        assert!(refused.message.contains(words), "{words}: {refused}");
    }
}

#[tokio::test]
async fn an_update_with_a_mask_changes_what_it_names() {
    let admin = admin();
    let record = json!({"name": "n", "description": "d", "tags": ["t"]});
    let made = create(&admin, record, "r").await.expect("made");
    // The whole record as it was read, with changes.
    let mut set = made.key.clone();
    (set["name"], set["description"]) = ("m".into(), "e".into());
    let masked = |mask: &[&str]| KeyUpdate {
        mask: Some(mask.iter().map(|&name| name.to_owned()).collect()),
        ..update(&id_of(&made), set.clone())
    };
    let changed = admin.update(&ALL, masked(&["name"])).await.expect("changed").key;
    assert_eq!((&changed["name"], &changed["description"]), (&json!("m"), &json!("d")));
    let cleared = KeyUpdate {
        mask: Some(vec!["tags".to_owned(), "supportContact".to_owned()]),
        ..update(&id_of(&made), json!({"support_contact": "x"}))
    };
    let changed = admin.update(&ALL, cleared).await.expect("changed").key;
    assert_eq!((&changed["tags"], &changed["support_contact"]), (&json!([]), &json!("x")));
    for bad in [&[][..], &["colour"], &["id"], &["revision"], &["name", "name"]] {
        assert_eq!(
            code(admin.update(&ALL, masked(bad)).await),
            Some(ErrorCode::Invalid),
            "{bad:?}"
        );
    }
}

/// A key that is stored and for which there is no room would keep the daemon from its next start.
#[tokio::test]
async fn of_writers_that_race_for_the_last_places_so_many_win_as_there_are() {
    let clock = Arc::new(ManualClock::new(START_US));
    let admin = admin_of(Arc::new(MemoryStore::new()), clock, 8);
    let import = Import::begin(Arc::clone(&admin), ALL, false).await.expect("begun");
    let import = import.take(records((1..=3).map(record))).await.expect("taken");
    let mut racing = tokio::task::JoinSet::new();
    for number in 0..16 {
        let admin = Arc::clone(&admin);
        racing.spawn(async move {
            create(&admin, json!({"name": "n"}), &format!("r-{number}")).await.map(drop)
        });
    }
    let outcomes = racing.join_all().await;
    let made = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let refusals = outcomes.into_iter().filter_map(Result::err);
    assert!(refusals.into_iter().all(|error| error.message.contains("keys_max")));
    assert_eq!(made, 5, "an import that is not whole has its places too");
    assert_eq!(import.finish().await.expect("whole").imported, 3);
    assert_eq!(admin.engine.key_count(), 8);
    let stored = admin.keys.ids_of_tenant("default", 100).expect("readable");
    assert_eq!(stored.len(), 8, "nothing is stored that is not there");
    admin.delete(&ALL, KeyDelete { id: "1".to_owned(), purge: true }).await.expect("purged");
    assert!(create(&admin, json!({"name": "n"}), "free-again").await.is_ok());
}
