//! Keys that demand audit: a place for the record before anything is spent.

use keygate_protocol::VerdictCode::{
    AuditUnavailable, NotFound, QuotaExceeded, RateExceeded, Suspended, Valid,
};

use super::*;
use crate::engine::Account;

fn audited(bench: &Bench, id: u64, token: &str) -> KeyRecord {
    KeyRecord { requires_audit_logging: true, ..bench.record(id, token) }
}

/// Whether an answer is recorded, and whether a place was reserved for that.
fn recorded(answer: &Answer) -> Option<bool> {
    answer.record.as_ref().map(|record| record.reserved)
}

#[test]
fn without_a_place_nothing_is_spent_and_no_slot_is_taken() {
    let bench = Bench::new();
    let token = bench.token(1);
    bench.put(&KeyRecord {
        requests_per_second: Some(5),
        requests_per_day: Some(500),
        concurrent_requests: Some(2),
        ..audited(&bench, 7, &token)
    });
    // Where nobody keeps a log there is none.
    for _ in 0..10 {
        let answer = bench.ask(&of(&token));
        assert_eq!((answer.verdict.code, recorded(&answer)), (AuditUnavailable, Some(false)));
        assert_eq!(answer.verdict.slot, None);
    }
    let figures = bench.engine.limit_figures(&Account::Key(7), bench.clock.now());
    assert!(figures.iter().all(|figures| figures.spent == 0), "{figures:?}");
    assert_eq!(bench.engine.slots_held(), 0);
    bench.engine.audit().open_with(1);
    let answer = bench.ask(&of(&token));
    assert_eq!((answer.verdict.code, recorded(&answer)), (Valid, Some(true)));
    // Its place is taken until the record is written.
    assert_eq!(bench.ask(&of(&token)).verdict.code, AuditUnavailable);
    bench.engine.audit().give_back(1);
    assert_eq!(bench.ask(&of(&token)).verdict.code, Valid);
}

#[test]
fn a_denial_reserves_no_place_and_says_why_before_audit_is_asked() {
    let bench = Bench::new();
    let [spent, suspended, tight] = [1, 2, 3].map(|number| bench.token(number));
    bench.put(&KeyRecord { requests_per_second: Some(0), ..audited(&bench, 1, &spent) });
    bench.put(&KeyRecord { status: Status::Suspended, ..audited(&bench, 2, &suspended) });
    bench.put(&KeyRecord { requests_per_day: Some(0), ..audited(&bench, 3, &tight) });
    for places in [0, 1] {
        bench.engine.audit().open_with(places);
        for (token, code) in
            [(&spent, RateExceeded), (&suspended, Suspended), (&tight, QuotaExceeded)]
        {
            let answer = bench.ask(&of(token));
            assert_eq!((answer.verdict.code, recorded(&answer)), (code, Some(false)));
        }
    }
    assert!(bench.engine.audit().reserve(), "the place is there");
    let answer = bench.ask(&of(&bench.token(9)));
    assert_eq!((answer.verdict.code, recorded(&answer)), (NotFound, None));
}

#[test]
fn a_peek_is_recorded_like_any_and_other_keys_need_no_place() {
    let bench = Bench::new();
    let [of_audited, logged, plain] = [1, 2, 3].map(|number| bench.token(number));
    bench.put(&audited(&bench, 1, &of_audited));
    bench.put(&KeyRecord { log_all_requests: true, ..bench.record(2, &logged) });
    bench.put(&bench.record(3, &plain));
    let peek = Question { flags: ValidateFlags::PEEK, ..of(&of_audited) };
    assert_eq!(bench.ask(&peek).verdict.code, AuditUnavailable);
    for (token, expected) in [(&logged, Some(false)), (&plain, None)] {
        let answer = bench.ask(&of(token));
        assert_eq!((answer.verdict.code, recorded(&answer)), (Valid, expected));
    }
    bench.engine.audit().open_with(1);
    let answer = bench.ask(&peek);
    assert_eq!((answer.verdict.code, recorded(&answer)), (Valid, Some(true)));
    assert_eq!(answer.record.expect("a record").tenant.as_ref(), "acme");
    assert_eq!(bench.engine.tenant_of_key(1).as_deref(), Some("acme"));
    // What it demands can be changed.
    bench.put(&bench.record(1, &of_audited));
    assert_eq!(recorded(&bench.ask(&of(&of_audited))), None);
}
