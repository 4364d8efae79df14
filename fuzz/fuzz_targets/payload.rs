//! Every payload of the protocol, of requests and of replies. The first byte says of which kind.
#![no_main]

use bytes::BytesMut;
use keygate_protocol::batch::Batch;
use keygate_protocol::hello::{Hello, HelloReply};
use keygate_protocol::{
    ErrorReply, Increment, IncrementOutcome, RenewOutcome, SlotRenew, Validate, Verdict, admin,
    tenant,
};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Some((kind, payload)) = data.split_first() else { return };
    match kind % 12 {
        0 => hello(payload),
        1 => drop(HelloReply::decode(payload)),
        2 => validate(payload),
        3 => increment(payload),
        4 => items(payload, validate),
        5 => items(payload, increment),
        6 => {
            if let Ok(renew) = SlotRenew::decode(payload) {
                let mut again = BytesMut::new();
                renew.encode(&mut again);
                assert_eq!(&again[..], payload);
            }
        }
        7 => verdict(payload),
        8 => items(payload, verdict),
        9 => {
            let _ = (IncrementOutcome::decode(payload), RenewOutcome::decode(payload));
            items(payload, |item| drop(IncrementOutcome::decode(item)));
        }
        10 => drop(ErrorReply::decode(payload)),
        _ => json(payload),
    }
});

fn hello(payload: &[u8]) {
    if let Ok(hello) = Hello::decode(payload) {
        let mut again = BytesMut::new();
        hello.encode(&mut again);
        let again = Hello::decode(&again).expect("what was written is read");
        assert_eq!((again.name, again.tenant), (hello.name, hello.tenant));
    }
}

fn validate(payload: &[u8]) {
    let Ok(question) = Validate::decode(payload) else { return };
    let facts = question.facts;
    let stated = facts.stated();
    assert_eq!(stated.address, facts.address());
    let _ = (facts.scopes_all().count(), facts.scopes_any().count(), facts.features().count());
    assert!(facts.limits().count() <= keygate_protocol::limits::LIMITS_NAMED_MAX);
    assert_eq!(facts.states_certificate(), facts.client_certificate().is_some());
    assert!(facts.client_secret().is_none_or(|secret| (1..=512).contains(&secret.len())));
    assert!(facts.tenant().is_none_or(|tenant| !tenant.is_empty()));
    // Whatever it holds, its secrets are not shown.
    let _ = format!("{question:?}");
}

fn increment(payload: &[u8]) {
    if let Ok(report) = Increment::decode(payload) {
        assert!(report.counters.iter().count() <= 8);
    }
}

fn verdict(payload: &[u8]) {
    let Ok((verdict, _)) = Verdict::decode(payload) else { return };
    let mut again = BytesMut::new();
    verdict.encode(&mut again);
    let (read, _) = Verdict::decode(&again).expect("what was written is read");
    assert_eq!(read, verdict);
}

fn items(payload: &[u8], each: impl Fn(&[u8])) {
    if let Ok(items) = Batch::decode(payload) {
        items.for_each(each);
    }
}

fn json(payload: &[u8]) {
    fn read<T: serde::de::DeserializeOwned>(payload: &[u8]) {
        let _ = serde_json::from_slice::<T>(payload);
    }
    read::<Value>(payload);
    read::<admin::KeyCreate>(payload);
    read::<admin::KeyRef>(payload);
    read::<admin::KeyList>(payload);
    read::<admin::KeyUpdate>(payload);
    read::<admin::KeyRotate>(payload);
    read::<admin::KeySecret>(payload);
    read::<admin::KeySetStatus>(payload);
    read::<admin::ImportChunk>(payload);
    read::<admin::TenantUpdate>(payload);
    read::<admin::UsageHistoryRequest>(payload);
    read::<admin::Watch>(payload);
    read::<tenant::TenantUsage>(payload);
}
