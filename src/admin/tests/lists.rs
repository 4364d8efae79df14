//! Lists: what passes, where pages begin, what is counted.

use keygate_protocol::ErrorCode;
use keygate_protocol::admin::{KeyDelete, KeyList, KeyPage};
use serde_json::{Value, json};

use super::{ALL, admin, code, listed, record, records};
use crate::admin::{Admin, Caller, Import};
use crate::key::KeyRecord;
use crate::store::{KeyWrite, Write, jobs};
use crate::usage::UsageRow;

/// The instant of the clock, 2027-01-15T08:00:00Z.
const NOW_US: i64 = 1_800_000_000_000_000;

async fn import(admin: &std::sync::Arc<Admin>, given: impl IntoIterator<Item = Value>) {
    let begun = Import::begin(std::sync::Arc::clone(admin), ALL, false).await.expect("begun");
    let mut import = begun;
    let given: Vec<Value> = given.into_iter().collect();
    for some in given.chunks(500) {
        import = import.take(records(some.iter().cloned())).await.expect("taken");
    }
    let report = import.finish().await.expect("whole");
    assert_eq!((report.imported, report.problems), (given.len() as u64, vec![]));
}

fn with(id: u64, members: &Value) -> Value {
    let mut made = record(id);
    for (name, value) in members.as_object().expect("members") {
        made[name] = value.clone();
    }
    made
}

fn ids(page: &KeyPage) -> Vec<&str> {
    page.keys.iter().filter_map(|key| key["id"].as_str()).collect()
}

async fn list(admin: &Admin, list: KeyList) -> KeyPage {
    listed(admin, &ALL, list).await.expect("a list")
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[tokio::test]
async fn every_filter_shows_its_keys_and_joins_the_others_by_and() {
    let admin = admin();
    import(
        &admin,
        [
            with(
                1,
                &json!({"tenant_id": "a", "expires_at": "2027-02-01T00:00:00Z", "tags": ["x"]}),
            ),
            with(2, &json!({"tenant_id": "a", "key_prefix": "lk_live_a", "tags": ["x", "Growth"]})),
            with(3, &json!({"rotation_frequency_days": 30, "created_at": "2026-12-01T00:00:00Z"})),
            with(4, &json!({"status": "SUSPENDED", "last_used_at": "2027-01-01T00:00:00Z"})),
            with(
                5,
                &json!({"last_security_review_at": "2027-01-01T00:00:00Z",
            "created_at": "2026-12-01T00:00:00Z", "description": "grows"}),
            ),
        ],
    )
    .await;
    admin.delete(&ALL, KeyDelete { id: "5".to_owned(), purge: false }).await.expect("deleted");
    let all = KeyList::default;
    for (request, expected) in [
        (all(), &["1", "2", "3", "4"][..]),
        (KeyList { deleted: true, ..all() }, &["1", "2", "3", "4", "5"]),
        (KeyList { only_deleted: true, ..all() }, &["5"]),
        (KeyList { tenant_id: some("a"), ..all() }, &["1", "2"]),
        (KeyList { tag: some("x"), tenant_id: some("default"), ..all() }, &[]),
        (KeyList { status: some("SUSPENDED"), ..all() }, &["4"]),
        (KeyList { prefix: some("lk_live"), ..all() }, &["2"]),
        (KeyList { expiring_before: some("2027-02-01T00:00:00.000001Z"), ..all() }, &["1"]),
        (KeyList { expiring_before: some("2027-02-01T00:00:00Z"), ..all() }, &[]),
        (
            KeyList { not_reviewed_since: some("2027-01-01T00:00:00Z"), deleted: true, ..all() },
            &["1", "2", "3", "4"],
        ),
        (KeyList { not_used_since: some("2027-01-01T00:00:00Z"), ..all() }, &["1", "2", "3"]),
        (KeyList { not_used_since: some("2027-01-01T00:00:01Z"), ..all() }, &["1", "2", "3", "4"]),
        (KeyList { rotation_overdue: true, ..all() }, &["3"]),
        (KeyList { search: some("GROW"), ..all() }, &["2"]),
        (KeyList { search: some("grow"), deleted: true, ..all() }, &["2", "5"]),
        (KeyList { search: some("grow"), tag: some("x"), prefix: some("lk"), ..all() }, &["2"]),
    ] {
        let page = list(&admin, KeyList { count: true, ..request.clone() }).await;
        assert_eq!(ids(&page), expected, "{request:?}");
        assert_eq!((page.total, page.next), (Some(expected.len() as u64), None), "{request:?}");
    }
}

#[tokio::test]
async fn a_key_that_is_used_here_is_used_whatever_was_imported() {
    let admin = admin();
    let long_ago = json!({"last_used_at": "2020-01-01T00:00:00Z"});
    import(&admin, [with(1, &long_ago), with(2, &long_ago)]).await;
    let unused = || KeyList { not_used_since: some("2026-01-01T00:00:00Z"), ..KeyList::default() };
    assert_eq!(ids(&list(&admin, unused()).await), ["1", "2"]);
    let row = UsageRow { last_used_us: NOW_US, ..UsageRow::default() };
    admin.engine.restore_usage(1, row);
    assert_eq!(ids(&list(&admin, unused()).await), ["2"], "live usage counts");
}

#[tokio::test]
async fn pages_by_number_and_by_cursor_show_every_key_once() {
    let admin = admin();
    import(&admin, (1..=25).map(|id| with(id, &json!({"tags": [format!("t{}", id % 2)]})))).await;
    let numbered = |page, tag: Option<&str>| KeyList {
        page: Some(page),
        page_size: Some(5),
        tag: tag.map(str::to_owned),
        count: true,
        ..KeyList::default()
    };
    let mut seen = Vec::new();
    for number in 1..=4 {
        let page = list(&admin, numbered(number, Some("t1"))).await;
        assert_eq!((page.total, page.total_pages), (Some(13), Some(3)), "page {number}");
        assert_eq!(page.keys.len(), [5, 5, 3, 0][usize::try_from(number - 1).expect("small")]);
        seen.extend(ids(&page).into_iter().map(str::to_owned));
        assert_eq!(page.next.is_some(), number < 3, "page {number}");
    }
    let odd: Vec<String> = (1..=25).step_by(2).map(|id: u64| id.to_string()).collect();
    assert_eq!(seen, odd);

    let mut by_cursor = Vec::new();
    let mut after = None;
    loop {
        let request = KeyList { tag: some("t1"), after, limit: Some(4), ..KeyList::default() };
        let page = list(&admin, request).await;
        assert_eq!((page.total, page.total_pages), (None, None), "it was not asked for");
        by_cursor.extend(ids(&page).into_iter().map(str::to_owned));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(by_cursor, odd);
    // A page by its number says where the next begins.
    let second = list(&admin, numbered(2, None)).await;
    assert_eq!((ids(&second).len(), second.next.as_deref()), (5, Some("10")));
}

#[tokio::test]
async fn a_filter_that_passes_few_ends_a_page_by_cursor_early_and_not_one_by_number() {
    let admin = admin();
    // More than is looked at for one page of the store.
    let keys = (1..=12_000).map(|id| KeyRecord {
        id,
        name: if id == 12_000 { "the needle".to_owned() } else { String::new() },
        ..KeyRecord::default()
    });
    let units = keys.map(|record| vec![Write::Key(KeyWrite::Insert(Box::new(record)))]);
    for job in jobs::jobs(units) {
        admin.committer.commit(job, false).expect("written");
    }
    let search = || KeyList { search: some("needle"), ..KeyList::default() };
    let first = list(&admin, KeyList { count: true, ..search() }).await;
    assert_eq!((first.keys.len(), first.total, first.next.as_deref()), (0, Some(1), Some("10000")));
    let second = list(&admin, KeyList { after: first.next, ..search() }).await;
    assert_eq!((ids(&second), second.next.as_deref()), (vec!["12000"], None));
    let numbered = list(&admin, KeyList { page: Some(1), ..search() }).await;
    assert_eq!(ids(&numbered), ["12000"]);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_by_name() {
    let admin = admin();
    let all = KeyList::default;
    let long = "x".repeat(257);
    for (request, words) in [
        (KeyList { limit: Some(0), ..all() }, "limit is 0"),
        (KeyList { page_size: Some(1001), page: Some(1), ..all() }, "page_size is 1001"),
        (KeyList { page_size: Some(5), ..all() }, "needs page"),
        (KeyList { page: Some(0), ..all() }, "the first is 1"),
        (KeyList { page: Some(1), after: some("7"), ..all() }, "page_size"),
        (KeyList { page: Some(1), limit: Some(7), ..all() }, "page_size"),
        (KeyList { search: some(""), ..all() }, "search"),
        (KeyList { search: some(&long), ..all() }, "257 bytes"),
        (KeyList { expiring_before: some("soon"), ..all() }, "expiring_before"),
        (KeyList { not_used_since: some("30d"), ..all() }, "not_used_since"),
        (KeyList { not_reviewed_since: some(""), ..all() }, "not_reviewed_since"),
        (KeyList { status: some("GONE"), ..all() }, "not a status"),
    ] {
        let refused = listed(&admin, &ALL, request).await;
        let message = refused.as_ref().err().map(ToString::to_string).unwrap_or_default();
        assert!(message.contains(words), "{words}: {message}");
        assert_eq!(code(refused), Some(ErrorCode::Invalid), "{words}");
    }
}

#[tokio::test]
async fn a_bound_caller_counts_its_own_keys_alone() {
    let admin = admin();
    import(&admin, (1..=6).map(|id| with(id, &json!({"tenant_id": format!("t{}", id % 3)})))).await;
    let count = |tenant: Option<&str>| KeyList {
        tenant_id: tenant.map(str::to_owned),
        count: true,
        ..KeyList::default()
    };
    let bound = Caller::of_tenant("t1");
    let own = listed(&admin, &bound, count(None)).await.expect("a list");
    assert_eq!((ids(&own), own.total), (vec!["1", "4"], Some(2)));
    let other = listed(&admin, &bound, count(Some("t2"))).await.expect("a list");
    assert_eq!((other.keys.len(), other.total, other.next), (0, Some(0), None));
    let page = KeyList { page: Some(3), ..count(Some("t2")) };
    let other = listed(&admin, &bound, page).await.expect("a list");
    assert_eq!((other.total, other.total_pages), (Some(0), Some(0)));
}
