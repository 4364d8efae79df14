mod access;
mod audit;
mod bookkeeping;
mod defects;
mod found;
mod life;
mod limits;
mod model;
mod proofs;
mod racing;
mod signatures;

use std::sync::Arc;

use bytes::BytesMut;
use keygate_protocol::validate::ValidateWriter;
use keygate_protocol::{
    Increment, IncrementOutcome, Validate, ValidateFlags, VerdictCode, Warnings,
};

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::key::token::random_bytes_for_token;
use crate::key::{Status, TenantRecord, TenantState, TenantStatus, Time};
use crate::usage::{Tally, UsageRow};

const START_US: i64 = 1_800_000_000_000_000;
const DAY_US: i64 = 86_400_000_000;

pub(super) struct Bench {
    pub(super) engine: Engine,
    pub(super) clock: ManualClock,
}

impl Bench {
    pub(super) fn new() -> Self {
        let limits = EngineLimits {
            keys_max: 1000,
            expiry_warning_us: DAY_US,
            increment_id_window_us: DAY_US,
            increment_ids_max: 1000,
            slots_max: 1000,
            usage_history: true,
            usage_detail_bytes_max: 1 << 30,
        };
        let engine = Engine::new(Pepper::new(&[3; 32]), Prefixes::default(), limits);
        Self { engine, clock: ManualClock::new(START_US) }
    }

    pub(super) fn token(&self, number: u8) -> String {
        let random = vec![number; random_bytes_for_token()];
        self.engine.prefixes().make(false, &random).expect("enough bytes").to_string()
    }

    pub(super) fn record(&self, id: u64, token: &str) -> KeyRecord {
        KeyRecord {
            id,
            key_hash: Some(self.engine.pepper().seal_token(token.as_bytes())),
            tenant_id: "acme".to_owned(),
            ..KeyRecord::default()
        }
    }

    pub(super) fn put(&self, record: &KeyRecord) {
        self.engine.put(record, self.clock.now()).expect("the catalog takes it");
    }

    pub(super) fn put_tenant(&self, id: &str, state: TenantState) {
        let now = self.clock.now();
        let status = if state == TenantState::Suspended {
            TenantStatus::Suspended
        } else {
            TenantStatus::Active
        };
        let deleted_at = (state == TenantState::Deleted).then(|| Time::from_micros(now.wall_us));
        let record = TenantRecord { status, deleted_at, ..TenantRecord::unrecorded(id) };
        self.engine.put_tenant(&record, now);
    }

    pub(super) fn ask(&self, question: &Question<'_>) -> Answer {
        self.ask_all(&[question]).remove(0)
    }

    fn ask_all(&self, questions: &[&Question<'_>]) -> Vec<Answer> {
        let frames: Vec<BytesMut> = questions.iter().map(|question| question.encode()).collect();
        let questions: Vec<Validate<'_>> =
            frames.iter().map(|frame| Validate::decode(frame).expect("well-formed")).collect();
        let mut answers = Answers::default();
        self.engine.validate(&questions, self.clock.now(), &mut answers);
        answers.to_vec()
    }
}

#[derive(Clone, Copy, Default)]
pub(super) struct Question<'a> {
    token: &'a str,
    cost: u64,
    flags: ValidateFlags,
    all: &'a [&'a str],
    any: &'a [&'a str],
}

impl Question<'_> {
    fn encode(&self) -> BytesMut {
        let mut out = BytesMut::new();
        let mut writer =
            ValidateWriter::new(&mut out, self.flags, self.cost, self.token.as_bytes());
        self.all.iter().for_each(|scope| writer.scope_all(scope));
        self.any.iter().for_each(|scope| writer.scope_any(scope));
        out
    }
}

pub(super) fn of(token: &str) -> Question<'_> {
    Question { token, cost: 1, ..Question::default() }
}

#[test]
fn every_state_has_its_verdict() {
    for status in Status::ALL {
        let bench = Bench::new();
        let token = bench.token(1);
        bench.put(&KeyRecord { status, ..bench.record(7, &token) });
        let expected = match status {
            Status::Active | Status::Deprecated => VerdictCode::Valid,
            Status::Suspended => VerdictCode::Suspended,
            Status::PendingVerification => VerdictCode::PendingVerification,
            Status::Revoked => VerdictCode::Revoked,
            Status::Expired => VerdictCode::Expired,
            Status::RateLimited => VerdictCode::RateLimited,
            Status::PendingReview => VerdictCode::PendingReview,
            Status::Maintenance => VerdictCode::Maintenance,
        };
        let verdict = bench.ask(&of(&token)).verdict;
        assert_eq!((verdict.code, verdict.key_id), (expected, 7), "{status:?}");
        let warned = verdict.warnings.has(Warnings::DEPRECATED);
        assert_eq!(warned, status == Status::Deprecated, "{status:?}");
    }
}

#[test]
fn identity_comes_before_everything_else() {
    let bench = Bench::new();
    let (known, unknown) = (bench.token(1), bench.token(2));
    bench.put(&bench.record(7, &known));
    let mut mistyped = known.clone();
    mistyped.replace_range(9..10, "!");
    let long = "x".repeat(513);
    for (token, code) in [
        (known.as_str(), VerdictCode::Valid),
        (&unknown, VerdictCode::NotFound),
        (&mistyped, VerdictCode::Malformed),
        (&long, VerdictCode::Malformed),
        ("", VerdictCode::Malformed),
        ("lk_live_abc", VerdictCode::NotFound),
    ] {
        assert_eq!(bench.ask(&of(token)).verdict.code, code, "{token}");
    }
}

#[test]
fn tokens_of_another_shape_are_known_once_their_digest_was_imported() {
    let bench = Bench::new();
    let record = KeyRecord { foreign_token: true, ..bench.record(7, "lk_live_abc") };
    bench.put(&record);
    assert_eq!(bench.ask(&of("lk_live_abc")).verdict.code, VerdictCode::Valid);
    assert_eq!(bench.ask(&of("lk_live_abd")).verdict.code, VerdictCode::NotFound);
}

#[test]
fn a_key_expires_at_the_instant_it_says() {
    let bench = Bench::new();
    let token = bench.token(1);
    let expires_at = Some(Time::from_micros(START_US + 2 * DAY_US));
    bench.put(&KeyRecord { expires_at, ..bench.record(7, &token) });
    assert_eq!(bench.ask(&of(&token)).verdict.warnings, Warnings::NONE);
    bench.clock.step_wall_us(2 * DAY_US - 1);
    let verdict = bench.ask(&of(&token)).verdict;
    assert_eq!((verdict.code, verdict.warnings), (VerdictCode::Valid, Warnings::EXPIRING));
    bench.clock.step_wall_us(1);
    assert_eq!(bench.ask(&of(&token)).verdict.code, VerdictCode::Expired);
}

#[test]
fn scopes_are_demanded_all_of_and_any_of() {
    let bench = Bench::new();
    let token = bench.token(1);
    let scopes = ["leads:read".to_owned(), "files:*".to_owned()].to_vec();
    bench.put(&KeyRecord { scopes, ..bench.record(7, &token) });
    let cases: &[(&[&str], &[&str], bool)] = &[
        (&[], &[], true),
        (&["leads:read"], &[], true),
        (&["leads:read", "files:write"], &[], true),
        (&["leads:read", "leads:write"], &[], false),
        (&[], &["leads:write", "files:x"], true),
        (&[], &["leads:write"], false),
        (&["leads:read"], &["nope"], false),
    ];
    for (all, any, valid) in cases {
        let verdict = bench.ask(&Question { all, any, ..of(&token) }).verdict;
        assert_eq!(verdict.code.is_valid(), *valid, "{all:?} {any:?}");
        assert!(*valid || verdict.code == VerdictCode::InsufficientScope);
    }
}

#[test]
fn a_denied_request_and_a_peek_consume_nothing() {
    let bench = Bench::new();
    let token = bench.token(1);
    bench.put(&KeyRecord { requests_per_second: Some(2), ..bench.record(7, &token) });
    let remaining = |question: &Question<'_>| {
        let verdict = bench.ask(question).verdict;
        (verdict.code, verdict.limits.iter().next().map(|limit| limit.remaining))
    };
    let peek = Question { flags: ValidateFlags::PEEK, ..of(&token) };
    let missing_scope = Question { all: &["x"], ..of(&token) };
    assert_eq!(remaining(&peek), (VerdictCode::Valid, Some(2)));
    assert_eq!(remaining(&missing_scope), (VerdictCode::InsufficientScope, None));
    assert_eq!(
        remaining(&Question { cost: 3, ..of(&token) }),
        (VerdictCode::RateExceeded, Some(2))
    );
    assert_eq!(remaining(&of(&token)), (VerdictCode::Valid, Some(1)));
    assert_eq!(remaining(&Question { cost: 0, ..of(&token) }), (VerdictCode::Valid, Some(1)));
    assert_eq!(remaining(&of(&token)), (VerdictCode::Valid, Some(0)));
    assert_eq!(remaining(&of(&token)), (VerdictCode::RateExceeded, Some(0)));
    assert_eq!(remaining(&peek), (VerdictCode::RateExceeded, Some(0)));
    assert_eq!(
        bench.engine.usage(7, false).total.requests,
        2,
        "only spent and valid verdicts count"
    );
    bench.clock.advance_us(500_000);
    assert_eq!(remaining(&of(&token)), (VerdictCode::Valid, Some(0)));
}

#[test]
fn a_batch_is_decided_in_order_and_as_if_one_by_one() {
    let bench = Bench::new();
    let (a, b) = (bench.token(1), bench.token(2));
    bench.put(&KeyRecord { requests_per_second: Some(1), ..bench.record(1, &a) });
    bench.put(&bench.record(2, &b));
    let (first, second, bad) = (of(&a), of(&b), of("kg_live_x"));
    let answers = bench.ask_all(&[&first, &second, &bad, &first]);
    let codes: Vec<_> = answers.iter().map(|answer| answer.verdict.code).collect();
    use VerdictCode::{Malformed, RateExceeded, Valid};
    assert_eq!(codes, [Valid, Valid, Malformed, RateExceeded]);
}

#[test]
fn details_name_tenant_and_scopes_only_when_asked_for() {
    let bench = Bench::new();
    let token = bench.token(1);
    bench.put(&KeyRecord { scopes: vec!["a:b".to_owned()], ..bench.record(7, &token) });
    assert!(bench.ask(&of(&token)).policy.is_none());
    let details = Question { flags: ValidateFlags::DETAILS, ..of(&token) };
    let answer = bench.ask(&details);
    let policy = answer.policy.expect("details");
    assert_eq!(answer.tenant.as_deref(), Some("acme"));
    assert_eq!(policy.scopes.iter().collect::<Vec<_>>(), ["a:b"]);
}

#[test]
fn a_rotated_out_token_works_until_its_overlap_ends() {
    let bench = Bench::new();
    let (old, new) = (bench.token(1), bench.token(2));
    bench.put(&bench.record(7, &old));
    let rotated = KeyRecord {
        previous_key_hash: Some(bench.engine.pepper().seal_token(old.as_bytes())),
        previous_key_ends_at: Some(Time::from_micros(START_US + 100)),
        ..bench.record(7, &new)
    };
    bench.put(&rotated);
    let verdict = bench.ask(&of(&old)).verdict;
    assert_eq!((verdict.code, verdict.warnings), (VerdictCode::Valid, Warnings::TOKEN_REPLACED));
    assert_eq!(bench.ask(&of(&new)).verdict.warnings, Warnings::NONE);
    bench.clock.step_wall_us(100);
    assert_eq!(bench.ask(&of(&old)).verdict.code, VerdictCode::RotatedOut);
    bench.put(&bench.record(7, &new));
    assert_eq!(bench.ask(&of(&old)).verdict.code, VerdictCode::NotFound);
}

#[test]
fn a_deleted_key_is_unknown_and_keeps_its_figures() {
    let bench = Bench::new();
    let token = bench.token(1);
    let record = bench.record(7, &token);
    bench.put(&record);
    bench.ask(&of(&token));
    bench.put(&KeyRecord { deleted_at: Some(Time::from_micros(START_US)), ..record.clone() });
    assert_eq!(bench.ask(&of(&token)).verdict.code, VerdictCode::NotFound);
    assert_eq!(
        bench.engine.increment(&report(7, None), bench.clock.now()),
        IncrementOutcome::NotFound
    );
    assert_eq!((bench.engine.key_count(), bench.engine.usage(7, false).total.requests), (0, 1));
    bench.put(&record);
    bench.ask(&of(&token));
    assert_eq!(bench.engine.usage(7, false).total.requests, 2);
}

#[test]
fn one_token_has_one_key_and_the_catalog_has_a_bound() {
    let bench = Bench::new();
    let token = bench.token(1);
    bench.put(&bench.record(1, &token));
    let same = bench.engine.put(&bench.record(2, &token), bench.clock.now());
    assert_eq!(same, Err(CatalogError::SameToken { holder: 1 }));
    assert_eq!(bench.engine.check_room(999), Ok(()));
    assert_eq!(bench.engine.check_room(1000), Err(CatalogError::Full { max: 1000 }));
}

const fn report(key_id: u64, id: Option<u128>) -> Increment<'static> {
    let endpoint = Some("GET /x");
    Increment {
        key_id,
        count: 1,
        latency_us: Some(10),
        status: Some(500),
        endpoint,
        error: None,
        id,
        slot: None,
        ..Increment::new(key_id)
    }
}

#[test]
fn reports_are_counted_once_by_id_and_handed_over_once() {
    let bench = Bench::new();
    let now = bench.clock.now();
    bench.put(&bench.record(7, &bench.token(1)));
    for (key, id, expected) in [
        (7, None, IncrementOutcome::Counted),
        (7, Some(1), IncrementOutcome::Counted),
        (7, Some(1), IncrementOutcome::Duplicate),
        (8, Some(2), IncrementOutcome::NotFound),
        (7, Some(2), IncrementOutcome::Counted),
    ] {
        assert_eq!(bench.engine.increment(&report(key, id), now), expected, "{key} {id:?}");
    }
    bench.ask(&of(&bench.token(1)));
    assert_eq!(bench.engine.take_moved(), [7]);
    let now_us = now.wall_us;
    let settled = bench.engine.take_usage(7, now_us).expect("the key is there");
    let total = settled.row.total;
    assert_eq!((total.requests, total.more().errors), (1, 3));
    assert!(bench.engine.take_moved().is_empty());
    bench.ask(&of(&bench.token(1)));
    assert_eq!(bench.engine.take_moved(), [7]);
    let mut ids = bench.engine.take_fresh_increment_ids();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2]);
}

#[test]
fn a_purged_key_has_nothing_to_store_and_moves_so_that_its_row_goes() {
    let bench = Bench::new();
    let now = bench.clock.now();
    bench.put(&bench.record(7, &bench.token(1)));
    bench.engine.increment(&report(7, None), now);
    assert_eq!(bench.engine.take_moved(), [7]);
    bench.engine.remove(7);
    assert_eq!(bench.engine.increment(&report(7, None), now), IncrementOutcome::NotFound);
    assert_eq!(bench.engine.take_moved(), [7], "also when its figures were on their way");
    assert_eq!(bench.engine.take_usage(7, now.wall_us), None);
    // A row that a crash has left behind.
    let row = UsageRow { total: Tally::of_verdicts(5, 5, 0), ..UsageRow::default() };
    bench.engine.restore_usage(8, row);
    assert_eq!(bench.engine.take_moved(), [8]);
    bench.put(&bench.record(8, &bench.token(2)));
    assert_eq!(
        bench.engine.usage(8, true),
        KeyUsage::default(),
        "the next key of the id inherits nothing"
    );
}

#[test]
fn a_step_of_the_wall_clock_makes_no_report_count_twice() {
    let bench = Bench::new();
    bench.put(&bench.record(7, &bench.token(1)));
    for step in [0, 400 * DAY_US, -800 * DAY_US, 400 * DAY_US] {
        bench.clock.step_wall_us(step);
        let expected =
            if step == 0 { IncrementOutcome::Counted } else { IncrementOutcome::Duplicate };
        assert_eq!(bench.engine.increment(&report(7, Some(1)), bench.clock.now()), expected);
    }
}

#[test]
fn racing_threads_never_admit_more_than_the_burst() {
    let bench = Arc::new(Bench::new());
    let token = bench.token(1);
    bench.put(&KeyRecord { requests_per_second: Some(500), ..bench.record(7, &token) });
    let admitted: usize = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    (0..1000).filter(|_| bench.ask(&of(&token)).verdict.code.is_valid()).count()
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().expect("no panic")).sum()
    });
    assert_eq!((admitted, bench.engine.usage(7, false).total.requests), (500, 500));
}

#[test]
fn a_deleted_key_claims_no_token() {
    let bench = Bench::new();
    let token = bench.token(1);
    let gone = KeyRecord { deleted_at: Some(Time::from_micros(1)), ..bench.record(9, &token) };
    bench.put(&bench.record(1, &token));
    assert_eq!(bench.engine.put(&gone, bench.clock.now()), Ok(()));
}

mod tenants;
mod throttle;
mod usage;
