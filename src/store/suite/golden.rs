//! Records as earlier keygates wrote them: `src/store/golden/record_<schema>.hex`.
//!
//! A released file never changes. A change of the record before its schema is released is written
//! with `KEYGATE_GOLDEN=write cargo test golden`.

use std::fs;
use std::path::PathBuf;

use super::super::envelope;
use super::super::plan::{RECORD_SCHEMA, read_record, stored_view};
use super::{pepper, record};
use crate::key::digest::hex;
use crate::key::{KeyRecord, Status, Time};

/// A record that sets a field of every type.
fn golden() -> KeyRecord {
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

#[test]
fn golden_records_are_read() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join(format!("src/store/golden/record_{RECORD_SCHEMA}.hex"));
    let written = hex(&envelope::seal(RECORD_SCHEMA, &golden()).expect("sealed"));
    if std::env::var_os("KEYGATE_GOLDEN").is_some_and(|value| value == "write") {
        fs::write(&path, format!("{written}\n")).expect("written");
    }
    let text = fs::read_to_string(&path).expect("the golden file");
    assert_eq!(text.trim(), written, "the record's bytes have changed: raise RECORD_SCHEMA");
    let bytes: Vec<u8> = text.trim().as_bytes().chunks(2).map(byte).collect();
    assert_eq!(read_record(&bytes), Ok(golden()));
    let view = stored_view(golden().id, &bytes).expect("readable");
    assert_eq!(view, golden().view(), "borrowed, it is the same");
}

fn byte(digits: &[u8]) -> u8 {
    let digits = std::str::from_utf8(digits).expect("ASCII");
    u8::from_str_radix(digits, 16).expect("hex")
}
