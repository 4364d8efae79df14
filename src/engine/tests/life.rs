//! Ends and beginnings, to the microsecond: overlaps of a rotation, expiry, overdue rotations.

use keygate_protocol::VerdictCode::{Expired, NotFound, RotatedOut, RotationOverdue, Valid};

use super::*;

/// A key whose token `old` was rotated out in favour of `new`.
fn rotated(bench: &Bench, old: &str, new: &str, ends_us: i64) -> KeyRecord {
    KeyRecord {
        previous_key_hash: Some(bench.engine.pepper().seal_token(old.as_bytes())),
        previous_key_ends_at: Some(Time::from_micros(ends_us)),
        ..bench.record(7, new)
    }
}

#[test]
fn an_overlap_ends_at_its_instant_and_an_expiry_ends_both_tokens() {
    let far = START_US + 1000 * DAY_US;
    // When the overlap ends, when the key expires, and what the old and the new token get when.
    let cases = [
        (100, far, 99, (Valid, Valid)),
        (100, far, 100, (RotatedOut, Valid)),
        (0, far, 0, (RotatedOut, Valid)),
        (100, START_US + 100, 99, (Valid, Valid)),
        // The key's end comes before that of its token: both say the same.
        (100, START_US + 100, 100, (Expired, Expired)),
        (100, START_US + 50, 49, (Valid, Valid)),
        (100, START_US + 50, 50, (Expired, Expired)),
    ];
    for (overlap_us, expires_us, at_us, (of_old, of_new)) in cases {
        let bench = Bench::new();
        let (old, new) = (bench.token(1), bench.token(2));
        let record = KeyRecord {
            expires_at: Some(Time::from_micros(expires_us)),
            ..rotated(&bench, &old, &new, START_US + overlap_us)
        };
        bench.put(&record);
        bench.clock.step_wall_us(at_us);
        let codes = [&old, &new].map(|token| bench.ask(&of(token)).verdict.code);
        assert_eq!(codes, [of_old, of_new], "{overlap_us} {expires_us} at {at_us}");
    }
}

#[test]
fn a_second_rotation_within_an_overlap_ends_the_first_token_at_once() {
    let bench = Bench::new();
    let [first, second, third] = [1, 2, 3].map(|number| bench.token(number));
    bench.put(&rotated(&bench, &first, &second, START_US + DAY_US));
    bench.put(&rotated(&bench, &second, &third, START_US + DAY_US));
    let codes = [&first, &second, &third].map(|token| bench.ask(&of(token)).verdict.code);
    assert_eq!(codes, [NotFound, Valid, Valid]);
}

#[test]
fn an_overdue_rotation_warns_and_denies_where_it_is_told_to() {
    let bench = Bench::new();
    let token = bench.token(1);
    let record = KeyRecord {
        rotation_frequency_days: Some(2),
        created_at: Some(Time::from_micros(START_US)),
        ..bench.record(7, &token)
    };
    bench.put(&record);
    let ask = || {
        let verdict = bench.ask(&of(&token)).verdict;
        (verdict.code, verdict.warnings.has(Warnings::ROTATION_OVERDUE))
    };
    bench.clock.step_wall_us(2 * DAY_US - 1);
    bench.engine.set_deny_rotation_overdue(true);
    assert_eq!(ask(), (Valid, false));
    bench.clock.step_wall_us(1);
    assert_eq!(ask(), (RotationOverdue, true));
    bench.engine.set_deny_rotation_overdue(false);
    assert_eq!(ask(), (Valid, true), "the order to deny is taken back under way");
    bench.engine.set_deny_rotation_overdue(true);

    let last_rotated_at = Some(Time::from_micros(START_US + 2 * DAY_US));
    bench.put(&KeyRecord { last_rotated_at, ..record.clone() });
    assert_eq!(ask(), (Valid, false), "a rotation gives it its days anew");
    bench.put(&KeyRecord { rotation_frequency_days: None, ..record.clone() });
    assert_eq!(ask(), (Valid, false));
    bench.put(&KeyRecord { created_at: None, ..record });
    assert_eq!(ask(), (Valid, false), "nobody knows since when");
}

#[test]
fn an_overdue_rotation_comes_after_the_state_and_before_what_is_asked() {
    let bench = Bench::new();
    bench.engine.set_deny_rotation_overdue(true);
    let (old, new) = (bench.token(1), bench.token(2));
    let overdue = KeyRecord {
        rotation_frequency_days: Some(1),
        created_at: Some(Time::from_micros(START_US - DAY_US)),
        ..rotated(&bench, &old, &new, START_US)
    };
    let scoped = Question { all: &["x"], ..of(&new) };
    bench.put(&overdue);
    assert_eq!(bench.ask(&scoped).verdict.code, RotationOverdue);
    assert_eq!(bench.ask(&of(&old)).verdict.code, RotatedOut);
    bench.put(&KeyRecord { expires_at: Some(Time::from_micros(START_US)), ..overdue.clone() });
    assert_eq!(bench.ask(&scoped).verdict.code, Expired);
    bench.put(&KeyRecord { status: Status::Revoked, ..overdue });
    let verdict = bench.ask(&scoped).verdict;
    assert_eq!(verdict.code, VerdictCode::Revoked);
    assert!(verdict.warnings.has(Warnings::ROTATION_OVERDUE), "a denial warns too");
}

#[test]
fn a_restored_key_is_judged_as_before_and_its_limits_stay_spent() {
    let bench = Bench::new();
    let (old, new) = (bench.token(1), bench.token(2));
    let record = KeyRecord {
        requests_per_second: Some(1),
        ..rotated(&bench, &old, &new, START_US + DAY_US)
    };
    bench.put(&record);
    assert_eq!(bench.ask(&of(&new)).verdict.code, Valid);
    bench.put(&KeyRecord { deleted_at: Some(Time::from_micros(START_US)), ..record.clone() });
    let codes = || [&old, &new].map(|token| bench.ask(&of(token)).verdict.code);
    assert_eq!(codes(), [NotFound, NotFound]);
    bench.put(&record);
    assert_eq!(codes(), [VerdictCode::RateExceeded, VerdictCode::RateExceeded]);
    bench.clock.advance_us(1_000_000);
    assert_eq!(bench.ask(&of(&old)).verdict.code, Valid, "its overlap goes on");
}
