//! Records as earlier keygates wrote them: `src/store/golden/record_<schema>.hex`, and those of
//! tenants, `tenant_<schema>.hex`, of the ledger, `ledger_<schema>.hex`, of usage, `usage.hex`, of web hooks, `endpoint_<schema>.hex`,
//! and of an encrypted record, `encrypted_1.hex`.
//!
//! A released file never changes. A change of the record before its schema is released is written
//! with `KEYGATE_GOLDEN=write cargo test golden`.

use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use serde::ser::{Serialize, SerializeTuple, Serializer};

use super::super::alerts::open_endpoint;
use super::super::plan::{FORMAT, RECORD_SCHEMA, newest_payload, read_record};
use super::super::rows::{
    ENDPOINT_SCHEMA, HISTORY_SCHEMA, LEDGER_FACT_SCHEMA, LEDGER_SCHEMA, LedgerFact, USAGE_SCHEMA,
};
use super::super::tenants::open_tenant;
use super::super::usage::open_usage;
use super::super::verify::{NoWriters, verify};
use super::super::{Seals, StoreError, TENANT_SCHEMA, envelope};
use super::{
    Committer, CommitterOptions, KeyWrite, Keys, MemoryStore, Op, Store, Write, index_rows, layout,
    pepper, record, rows_of,
};
use crate::alert::{EndpointRow, EndpointRow1, SecretRow, StoredEndpoint};
use crate::key::digest::hex;
use crate::key::record::{AddedBySchema2, AddedBySchema3, AddedBySchema4};
use crate::key::{
    Credits, KeyRecord, KeyView, LimitPeriod, NamedLimit, Refill, RefillEvery, SigningKey,
    SigningMaterial, Status, StoredSecret, TenantLimits, TenantRecord, TenantStatus, Time,
};
use crate::limit::{AccountRow, CreditDebits, Debits, NamedDebits, NamedFigures, Period};
use crate::usage::{
    Figures, Hour, MonthRow, More, RecentError, Reported1, Sketch, SumRow, Tally, UsageRow,
    UsageRow1,
};
use crate::vault::{Master, Vault};

/// A record of schema 1 that sets a field of every type.
fn golden_1() -> KeyRecord {
    KeyRecord {
        status: Status::Deprecated,
        scopes: vec!["leads:read".to_owned(), "billing:*".to_owned()],
        requests_per_second: Some(50),
        monthly_request_quota: Some(1 << 40),
        cost_per_request: Some(0.0025),
        total_requests: u64::MAX,
        created_at: Some(Time::from_micros(1_700_000_000_000_001)),
        expires_at: Some(Time::from_micros(-1)),
        metadata_json: br#"{"team":"growth"}"#.to_vec(),
        previous_key_hash: Some(pepper().seal_token(b"the one before")),
        import: 3,
        ..record(0x0123_4567_89AB_CDEF)
    }
}

/// The same, with all that schema 2 added.
fn golden_2() -> KeyRecord {
    KeyRecord {
        request_id: "0f1e2d3c".to_owned(),
        status_reason_code: "superseded".to_owned(),
        status_changed_at: Some(Time::from_micros(1_800_000_000_000_000)),
        ..golden_1()
    }
}

/// The same, with all that schema 3 added.
fn golden_3() -> KeyRecord {
    let limit = |name: &str, count, period| NamedLimit { name: name.to_owned(), count, period };
    let refill = Refill { amount: 1 << 41, every: RefillEvery::Month { day: 31 }, adds: true };
    KeyRecord {
        slot_ttl_seconds: Some(300),
        limits: vec![
            limit("exports", 10, LimitPeriod::Rolling { seconds: 3600 }),
            limit("Größe", i64::MAX as u64, LimitPeriod::Calendar(Period::Year)),
        ],
        credits: Some(Credits {
            balance: 1000,
            refill: Some(refill),
            granted_at: Some(Time::from_micros(1_800_000_000_000_001)),
        }),
        ..golden_2()
    }
}

/// The same, with all that schema 4 added.
fn golden_4() -> KeyRecord {
    let secret = StoredSecret { master: 7, nonce: [9; 24], sealed: vec![1, 2, 3] };
    let key = |id: &str, material| SigningKey {
        id: id.to_owned(),
        material,
        added_at: Some(Time::from_micros(1_800_000_000_000_002)),
    };
    KeyRecord {
        previous_client_secret_hash: Some(pepper().seal_token(b"the secret before")),
        previous_client_secret_ends_at: Some(Time::from_micros(1_800_000_000_000_003)),
        signing_keys: vec![
            key("public", SigningMaterial::Public(vec![0x30, 0x2A])),
            key("shared", SigningMaterial::Shared(secret)),
        ],
        ..golden_3()
    }
}

fn path(schema: u16) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("src/store/golden/record_{schema}.hex"))
}

fn bytes_of(schema: u16) -> Vec<u8> {
    let text = fs::read_to_string(path(schema)).expect("the golden file");
    text.trim().as_bytes().chunks(2).map(byte).collect()
}

#[test]
fn records_of_every_schema_are_read() {
    assert_eq!(RECORD_SCHEMA, 4, "a new schema has a golden file, and a case here");
    for (schema, golden) in [(1, golden_1()), (2, golden_2()), (3, golden_3()), (4, golden_4())] {
        let bytes = bytes_of(schema);
        assert_eq!(read_record(&bytes), Ok(golden.clone()), "schema {schema}");
        let payload = newest_payload(&bytes).expect("an envelope");
        let view: KeyView<'_> = envelope::decode(&payload).expect("readable");
        assert_eq!(view, golden.view(), "schema {schema}, borrowed");
    }
}

#[test]
fn the_newest_schema_is_written_as_its_golden_file_has_it() {
    let written = hex(&envelope::seal(RECORD_SCHEMA, &golden_4()).expect("sealed"));
    if std::env::var_os("KEYGATE_GOLDEN").is_some_and(|value| value == "write") {
        fs::write(path(RECORD_SCHEMA), format!("{written}\n")).expect("written");
    }
    let kept = fs::read_to_string(path(RECORD_SCHEMA)).expect("the golden file");
    assert_eq!(kept.trim(), written, "the record's bytes have changed: raise RECORD_SCHEMA");
}

/// A payload that is written as it is.
struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        self.0.iter().try_for_each(|byte| tuple.serialize_element(byte))?;
        tuple.end()
    }
}

/// A store that an older keygate wrote is opened, read, and written in the newest schema; one of a
/// newer keygate is refused, and not touched.
#[test]
fn an_older_store_is_upgraded_and_a_newer_one_refused() {
    let store = Arc::new(MemoryStore::new());
    let (old, format) = (golden_1(), layout::meta(FORMAT.0));
    let of_keygate = |schema: u16| [&schema.to_le_bytes()[..], b"9.9.9"].concat();
    let mut rows = index_rows(&old).expect("indexable");
    rows.insert(layout::record(old.id), bytes_of(1));
    // Of schema 1 too, and without a row that says when it was deleted.
    let gone = KeyRecord { id: 9, deleted_at: Some(Time::from_micros(77)), ..record(9) };
    let payload = envelope::payload_of(&gone).expect("a payload");
    let added = (AddedBySchema2::default(), AddedBySchema3::default(), AddedBySchema4::default());
    let added = envelope::payload_of(&added).expect("a payload").len();
    let of_schema_1 = envelope::seal(1, &Bytes(&payload[..payload.len() - added]));
    let of_gone = index_rows(&gone).expect("indexable").into_iter();
    rows.extend(of_gone.filter(|(key, _)| key[0] != layout::DELETED));
    rows.insert(layout::record(9), of_schema_1.expect("sealed"));
    rows.insert(format.clone(), of_keygate(1));
    let put = |(key, value)| Op::Put { key, value };
    store.apply(&rows.into_iter().map(put).collect::<Vec<_>>()).expect("applied");

    let judged = || verify(store.as_ref(), &NoWriters, |_| ControlFlow::Continue(()));
    let report = judged().expect("readable");
    assert!(report.is_clean(), "it lacks what there was not: {report:#?}");
    let keys = Keys::open(Arc::<MemoryStore>::clone(&store)).expect("an older store is opened");
    let report = judged().expect("readable");
    assert!(report.is_clean(), "and has it now: {report:#?}");
    let row = Op::Remove { key: layout::deleted(77, 9) };
    store.apply(std::slice::from_ref(&row)).expect("applied");
    assert!(!judged().expect("readable").is_clean(), "from here on it must");
    store.apply(&[Op::Put { key: row.key().to_vec(), value: Vec::new() }]).expect("applied");
    assert_eq!(keys.get(old.id).expect("readable"), Some(old.clone()));
    assert_eq!(keys.deleted_until(i64::MAX, None, 10).expect("readable"), [(77, 9)]);
    let committer = Committer::start(&keys, &CommitterOptions::default()).expect("a thread");
    let after = KeyRecord { revision: old.revision + 1, ..golden_3() };
    let replace =
        KeyWrite::Replace { before_revision: old.revision, after: Box::new(after.clone()) };
    committer.commit(vec![Write::Key(replace)], true).expect("committed");
    let row = store.get(&layout::record(old.id)).expect("readable").expect("there");
    assert_eq!(envelope::check(&row, RECORD_SCHEMA).map(|sealed| sealed.schema), Ok(RECORD_SCHEMA));
    assert_eq!(keys.get(old.id).expect("readable"), Some(after));
    assert!(store.get(&format).expect("readable").is_some_and(|row| row[..2] == [4, 0]));
    drop((keys, committer));

    let newer = Op::Put { key: format, value: of_keygate(RECORD_SCHEMA + 1) };
    store.apply(&[newer]).expect("applied");
    let before = rows_of(store.as_ref());
    let refused = Keys::open(Arc::<MemoryStore>::clone(&store)).map(drop).expect_err("newer");
    assert!(matches!(refused, StoreError::NewerSchema { .. }), "{refused}");
    assert!(refused.to_string().contains("9.9.9"), "it names who can read it: {refused}");
    assert_eq!(rows_of(store.as_ref()), before);
}

/// A tenant's record that sets a field of every type.
fn golden_tenant_1() -> TenantRecord {
    TenantRecord {
        id: "acme".to_owned(),
        organization_id: "holding".to_owned(),
        name: "Acme Ltd".to_owned(),
        description: "makes everything".to_owned(),
        status: TenantStatus::Suspended,
        status_reason: "unpaid".to_owned(),
        created_at: Some(Time::from_micros(1_700_000_000_000_001)),
        updated_at: Some(Time::from_micros(1_800_000_000_000_000)),
        deleted_at: None,
        purge_began_at: Some(Time::from_micros(-1)),
        revision: 300,
        import: 0,
        limits: TenantLimits::default(),
    }
}

/// The same, with what schema 2 added.
fn golden_tenant_2() -> TenantRecord {
    TenantRecord { import: 7, ..golden_tenant_1() }
}

/// The same, with what schema 3 added.
fn golden_tenant_3() -> TenantRecord {
    let limits = TenantLimits {
        requests_per_second: Some(50),
        burst: Some(1 << 40),
        requests_per_day: Some(i32::MAX as u32),
        concurrent_requests: Some(0),
        monthly_request_quota: Some(i64::MAX as u64),
        max_uses: None,
        slot_ttl_seconds: Some(300),
    };
    TenantRecord { limits, ..golden_tenant_2() }
}

#[test]
fn tenants_of_every_schema_are_read_and_the_newest_is_written() {
    assert_eq!(TENANT_SCHEMA, 3, "a new schema has a golden file, and a case here");
    let path = |schema: u16| path(1).with_file_name(format!("tenant_{schema}.hex"));
    let written = hex(&envelope::seal(TENANT_SCHEMA, &golden_tenant_3()).expect("sealed"));
    if std::env::var_os("KEYGATE_GOLDEN").is_some_and(|value| value == "write") {
        fs::write(path(TENANT_SCHEMA), format!("{written}\n")).expect("written");
    }
    let kept = |schema| fs::read_to_string(path(schema)).expect("the golden file");
    assert_eq!(kept(3).trim(), written, "the record's bytes have changed: raise TENANT_SCHEMA");
    for (schema, golden) in [(1, golden_tenant_1()), (2, golden_tenant_2()), (3, golden_tenant_3())]
    {
        let bytes: Vec<u8> = kept(schema).trim().as_bytes().chunks(2).map(byte).collect();
        assert_eq!(open_tenant(&bytes), Ok(golden), "schema {schema}");
    }
}

/// A row of the ledger that sets a field of every type, and what the ledger says of itself.
fn golden_ledger_1() -> (AccountRow, LedgerFact) {
    let debits = |window, debited| Debits { window, debited, spent: debited / 2, stranded: 3 };
    let calendar = |name: &str, period| NamedDebits {
        name: name.to_owned(),
        figures: NamedFigures::Calendar { period, debits: debits(497_222, 12) },
    };
    let mut named: Vec<_> =
        Period::ALL.iter().map(|period| calendar(period.name(), *period)).collect();
    named.push(NamedDebits {
        name: "exports".to_owned(),
        figures: NamedFigures::Rolling {
            count: 10,
            period_ns: 3_600_000_000_000,
            debited: u128::MAX,
            spent: 1 << 100,
        },
    });
    let row = AccountRow {
        day: debits(20_000, 100),
        month: debits(670, u64::MAX),
        lifetime: debits(1, 1 << 40),
        credits: Some(CreditDebits {
            granted_us: -1_700_000_000_000_001,
            base: 1_000_000,
            debits: debits(670, 70),
        }),
        named,
    };
    let fact = LedgerFact {
        open: true,
        void_day: 20_000,
        void_month: 670,
        last_day: 20_001,
        last_month: 671,
    };
    (row, fact)
}

#[test]
fn rows_of_the_ledger_are_read_and_written_as_their_golden_file_has_them() {
    assert_eq!((LEDGER_SCHEMA, LEDGER_FACT_SCHEMA), (1, 1), "a new schema has a golden file");
    let path = path(1).with_file_name("ledger_1.hex");
    let (row, fact) = golden_ledger_1();
    let row_bytes = envelope::seal(LEDGER_SCHEMA, &row).expect("sealed");
    let fact_bytes = envelope::seal(LEDGER_FACT_SCHEMA, &fact).expect("sealed");
    let written = format!("{}\n{}\n", hex(&row_bytes), hex(&fact_bytes));
    if std::env::var_os("KEYGATE_GOLDEN").is_some_and(|value| value == "write") {
        fs::write(&path, &written).expect("written");
    }
    let kept = fs::read_to_string(path).expect("the golden file");
    assert_eq!(kept, written, "the bytes have changed: raise LEDGER_SCHEMA");
    let bytes: Vec<Vec<u8>> =
        kept.lines().map(|line| line.as_bytes().chunks(2).map(byte).collect()).collect();
    assert_eq!(envelope::open(&bytes[0], LEDGER_SCHEMA), Ok(row));
    assert_eq!(envelope::open(&bytes[1], LEDGER_FACT_SCHEMA), Ok(fact));
}

fn byte(digits: &[u8]) -> u8 {
    let digits = std::str::from_utf8(digits).expect("ASCII");
    u8::from_str_radix(digits, 16).expect("hex")
}

/// Usage as schema 1 had it, as it is read now, and what is written now beside it.
fn golden_usage() -> (UsageRow1, UsageRow, SumRow, Tally, MonthRow) {
    let figures = Figures { requests: 990, errors: 5, latency_count: 3, latency_sum_us: 1 << 40 };
    let error = RecentError {
        at_us: 1_795_608_000_000_001,
        endpoint: Some("GET /v1/leads".to_owned()),
        status: Some(503),
        message: Some("upstream timed out — ü".to_owned()),
    };
    let first = UsageRow1 {
        total_requests: 1000,
        last_used_us: 1_795_608_000_000_000,
        reported: Some(Reported1 {
            total: figures,
            endpoints: [("GET /v1/leads".to_owned(), figures)].into(),
            statuses: [(200, 985), (503, 5)].into(),
            recent_errors: [error].into(),
        }),
    };
    let mut latencies = Sketch::default();
    latencies.count(1500, 1);
    latencies.count(u32::MAX - 1, 1);
    let more = More {
        denials: [(30, 3)].into(),
        reported: 2,
        errors: 2,
        statuses: [(503, 2)].into(),
        latency_count: 2,
        latency_sum_us: 4_294_968_794,
        latencies,
        counters: [("tokens".to_owned(), 1532)].into(),
    };
    let tally = Tally { more: Some(Box::new(more)), ..Tally::of_verdicts(20, 25, 500_000) };
    let mut row = UsageRow::from(first.clone());
    row.total.add(&tally);
    row.last_used_from = Some("2001:db8::7".parse().expect("an address"));
    row.hours.add(Hour(498_779), &tally);
    drop(row.hours.take_closed(Hour(498_780)));
    row.hours.add(Hour(498_780), &tally);
    let sum = SumRow { total: tally.clone(), hours: row.hours.clone() };
    (first, row, sum, tally.clone(), MonthRow::from([(20_782, tally)]))
}

#[test]
fn usage_of_every_schema_is_read_and_written_as_its_golden_file_has_it() {
    assert_eq!((USAGE_SCHEMA, HISTORY_SCHEMA), (2, 1), "a new schema has a golden file");
    let (first, row, sum, hour, month) = golden_usage();
    let sealed = [
        envelope::seal(1, &first),
        envelope::seal(USAGE_SCHEMA, &row),
        envelope::seal(HISTORY_SCHEMA, &sum),
        envelope::seal(HISTORY_SCHEMA, &hour),
        envelope::seal(HISTORY_SCHEMA, &month),
    ];
    let lines = sealed.map(|bytes| hex(&bytes.expect("sealed")) + "\n");
    let path = path(1).with_file_name("usage.hex");
    if std::env::var_os("KEYGATE_GOLDEN").is_some_and(|value| value == "write") {
        fs::write(&path, lines.concat()).expect("written");
    }
    let kept = fs::read_to_string(path).expect("the golden file");
    assert_eq!(
        kept,
        lines.concat(),
        "the bytes have changed: raise USAGE_SCHEMA or HISTORY_SCHEMA"
    );
    let bytes: Vec<Vec<u8>> =
        kept.lines().map(|line| line.as_bytes().chunks(2).map(byte).collect()).collect();
    let read = open_usage(&bytes[0]).expect("an older schema");
    let more = read.total.more();
    assert_eq!((read.total.requests, read.total.units, more.reported), (1000, 1000, 990));
    assert_eq!((more.statuses[&503], read.details.recent_errors.len()), (5, 1));
    assert_eq!(open_usage(&bytes[1]), Ok(row));
    assert_eq!(envelope::open(&bytes[2], HISTORY_SCHEMA), Ok(sum));
    assert_eq!(envelope::open(&bytes[3], HISTORY_SCHEMA), Ok(hour));
    assert_eq!(envelope::open(&bytes[4], HISTORY_SCHEMA), Ok(month));
}

/// The row of an encrypted record: its nonce is another each time, so it is read and not compared.
#[test]
fn an_encrypted_record_is_read_as_it_was_written() {
    let golden = KeyRecord { encrypted: true, ..golden_4() };
    let vault = Arc::new(Vault::new(Master::new(&[3; 32])));
    let store = Arc::new(MemoryStore::new());
    let keys = Keys::begin(Arc::<MemoryStore>::clone(&store) as _).expect("a store");
    keys.set_seals(Seals::new(vault, Arc::new(pepper())));
    let key = layout::record(golden.id);
    let path = golden_file("encrypted_1.hex");
    if std::env::var_os("KEYGATE_GOLDEN").is_some_and(|value| value == "write") {
        let committer = Committer::start(&keys, &CommitterOptions::default()).expect("threads");
        let write = Write::Key(KeyWrite::Insert(Box::new(golden.clone())));
        committer.commit(vec![write], true).expect("written");
        let row = store.get(&key).expect("readable").expect("there");
        fs::write(&path, format!("{}\n", hex(&row))).expect("written");
    }
    let text = fs::read_to_string(&path).expect("the golden file");
    let value: Vec<u8> = text.trim().as_bytes().chunks(2).map(byte).collect();
    store.apply(&[Op::Put { key, value }]).expect("applied");
    assert_eq!(keys.get(golden.id).expect("readable"), Some(golden));
}

/// Endpoints of web hooks, of both schemas.
#[test]
fn endpoints_are_read_and_written_as_their_golden_files_have_them() {
    let (tenant, url) = ("acme".to_owned(), "https://hooks.example.com/a".to_owned());
    let old = EndpointRow1 {
        tenant: tenant.clone(),
        url: url.clone(),
        secrets: vec![(pepper().seal(&[5; 32]), None), (pepper().seal(&[6; 32]), Some(7))],
        disabled_us: Some(1),
    };
    let secret = |byte| StoredSecret { master: 7, nonce: [byte; 24], sealed: vec![byte; 48] };
    let rows = [(5, None), (6, Some(7))];
    let rows = rows.map(|(byte, until_us)| SecretRow { sealed: secret(byte), until_us });
    let new = EndpointRow { tenant, url, secrets: rows.to_vec(), disabled_us: Some(1) };
    let cases = [
        ("endpoint_1.hex", envelope::seal(1, &old), StoredEndpoint::Old(old)),
        ("endpoint_2.hex", envelope::seal(ENDPOINT_SCHEMA, &new), StoredEndpoint::Present(new)),
    ];
    for (name, written, endpoint) in cases {
        let (path, written) = (golden_file(name), hex(&written.expect("sealed")));
        if std::env::var_os("KEYGATE_GOLDEN").is_some_and(|value| value == "write") {
            fs::write(&path, format!("{written}\n")).expect("written");
        }
        let kept = fs::read_to_string(&path).expect("the golden file");
        assert_eq!(kept.trim(), written, "{name}: the bytes have changed: raise its schema");
        let bytes: Vec<u8> = kept.trim().as_bytes().chunks(2).map(byte).collect();
        assert_eq!(open_endpoint(&bytes), Ok(endpoint), "{name}");
    }
}

fn golden_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/store/golden").join(name)
}
