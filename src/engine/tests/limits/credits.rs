//! Balances: when they are refilled and by how much, and what is given back.

use super::*;
use crate::key::limits::{Refill, RefillEvery};

fn monthly(day: u8, amount: u64, adds: bool) -> Option<Refill> {
    Some(Refill { amount, every: RefillEvery::Month { day }, adds })
}

/// A key whose balance was set now.
fn desk(instant: &str, balance: u64, refill: Option<Refill>) -> Desk {
    let desk = Desk::at(instant);
    let granted_at = Some(Time::from_micros(desk.now().wall_us));
    desk.put(1, |it| {
        it.credits = Some(crate::key::Credits { granted_at, ..credits(balance, refill) });
    });
    desk
}

fn balance(desk: &Desk) -> u64 {
    desk.engine().balance(1, desk.now()).expect("it has one")
}

#[test]
fn a_refill_on_day_31_comes_on_the_last_day_of_a_shorter_month() {
    for (from, before, at) in [
        ("2027-01-31T12:00:00Z", "2027-02-27T23:59:59.999999Z", "2027-02-28T00:00:00Z"),
        ("2028-01-31T12:00:00Z", "2028-02-28T23:59:59.999999Z", "2028-02-29T00:00:00Z"),
        ("2027-02-28T12:00:00Z", "2027-03-30T23:59:59.999999Z", "2027-03-31T00:00:00Z"),
        ("2027-03-31T00:00:00Z", "2027-04-29T23:59:59.999999Z", "2027-04-30T00:00:00Z"),
        ("2027-12-30T00:00:00Z", "2027-12-30T23:59:59.999999Z", "2027-12-31T00:00:00Z"),
    ] {
        for adds in [false, true] {
            let desk = desk(from, 5, monthly(31, 40, adds));
            assert_eq!(desk.code(1, 5), VerdictCode::Valid);
            desk.go_to(before);
            let denied = desk.ask(1, 1);
            assert_eq!(denied.code, VerdictCode::CreditsExhausted, "{before}");
            assert_eq!(report(&denied, LimitName::Credits).retry_after_us, Some(1), "{before}");
            desk.go_to(at);
            assert_eq!(balance(&desk), 40, "{at}");
        }
    }
}

#[test]
fn a_refill_adds_or_replaces_and_those_that_were_missed_count() {
    for (refill, after_one, after_three) in [
        (monthly(15, 10, false), 10, 10),
        (monthly(15, 10, true), 17, 37),
        (monthly(15, 0, false), 0, 0),
        (monthly(15, 0, true), 7, 7),
        (None, 7, 7),
    ] {
        let desk = desk("2027-01-20T00:00:00Z", 9, refill);
        assert_eq!(desk.code(1, 2), VerdictCode::Valid);
        desk.go_to("2027-02-15T00:00:00Z");
        assert_eq!(balance(&desk), after_one, "{refill:?}");
        desk.go_to("2027-04-15T00:00:00Z");
        assert_eq!(balance(&desk), after_three, "{refill:?}, two of which nobody saw");
        desk.step_to("2027-01-20T00:00:00Z");
        assert_eq!(balance(&desk), after_three, "{refill:?}, with the clock set back");
        desk.step_to("2027-04-15T00:00:00Z");
        assert_eq!(balance(&desk), after_three, "{refill:?}: none comes twice");
    }
}

#[test]
fn a_refund_gives_back_what_was_taken_and_once_for_an_id() {
    let desk = desk("2027-01-20T00:00:00Z", 50, None);
    let refund = |id: u128, credits| {
        let refund = Some(credits);
        desk.report(&Increment { id: Some(id), refund, ..Increment::new(1) })
    };
    use IncrementOutcome::{Counted, Duplicate};
    assert_eq!(refund(1, 10), (Counted, 0), "nothing was taken");
    assert_eq!(desk.code(1, 30), VerdictCode::Valid);
    assert_eq!(refund(2, 12), (Counted, 12));
    assert_eq!(refund(2, 12), (Duplicate, 0));
    assert_eq!(refund(1, 12), (Duplicate, 0), "also one that gave nothing");
    assert_eq!(balance(&desk), 32);
    assert_eq!(refund(3, 1 << 32), (Counted, 18), "no more than was taken");
    assert_eq!((balance(&desk), refund(4, 1)), (50, (Counted, 0)));
}

#[test]
fn what_was_taken_before_a_balance_was_replaced_is_not_given_back() {
    for (adds, given, left) in [(false, 0, 10), (true, 30, 60)] {
        let desk = desk("2027-01-31T00:00:00Z", 50, monthly(1, 10, adds));
        assert_eq!(desk.code(1, 30), VerdictCode::Valid);
        desk.go_to("2027-02-01T00:00:00Z");
        let refund = Increment { id: Some(1), refund: Some(40), ..Increment::new(1) };
        assert_eq!(desk.report(&refund), (IncrementOutcome::Counted, given), "adds: {adds}");
        assert_eq!(balance(&desk), left, "adds: {adds}");
    }
}

#[test]
fn a_balance_that_is_set_anew_owes_nothing_and_others_stay() {
    let desk = desk("2027-01-20T00:00:00Z", 50, None);
    assert_eq!(desk.code(1, 30), VerdictCode::Valid);
    let first = Some(Time::from_micros(desk.now().wall_us));
    let set = |granted_at, day| {
        desk.put(1, |it| {
            it.requests_per_day = day;
            it.credits = Some(crate::key::Credits { granted_at, ..credits(50, None) });
        });
    };
    set(first, Some(100));
    assert_eq!(balance(&desk), 20, "another field was changed");
    set(Some(Time::from_micros(desk.now().wall_us + 1)), Some(100));
    let refund = Increment { id: Some(1), refund: Some(30), ..Increment::new(1) };
    assert_eq!((balance(&desk), desk.report(&refund).1), (50, 0));
}

#[test]
fn a_request_is_told_of_the_refill_that_covers_it_however_far() {
    let from = "2027-06-15T12:00:00Z";
    for (refill, cost, at) in [
        (Refill { amount: 1, every: RefillEvery::Day, adds: true }, 2000, "2032-12-05T00:00:00Z"),
        (Refill { amount: 5, every: RefillEvery::Day, adds: true }, 2000, "2028-07-19T00:00:00Z"),
        (monthly(31, 1, true).expect("one"), 1201, "2127-06-30T00:00:00Z"),
        (monthly(15, 1, true).expect("one"), 6, "2027-12-15T00:00:00Z"),
    ] {
        let desk = desk(from, 0, Some(refill));
        let wait_us = report(&desk.ask(1, cost), LimitName::Credits).retry_after_us;
        let expected = u64::try_from(us(at) - us(from)).expect("later");
        assert_eq!(wait_us, Some(expected), "{refill:?}");
        desk.go_ns((expected - 1) * 1000);
        assert_eq!(desk.code(1, cost), VerdictCode::CreditsExhausted);
        desk.go_ns(1000);
        assert_eq!(desk.code(1, cost), VerdictCode::Valid, "{refill:?}");
    }
}

/// The largest number would be no limit.
#[test]
fn a_balance_that_was_refilled_for_ever_is_still_a_balance() {
    let most = i64::MAX.unsigned_abs();
    let refill = Refill { amount: most, every: RefillEvery::Day, adds: true };
    let desk = desk("2027-06-15T12:00:00Z", most, Some(refill));
    for day in 16..=19 {
        let key = Account::Key(1);
        let mut row = desk.engine().settle(&key, true, desk.now()).expect("a row");
        let credits = row.credits.as_mut().expect("credits");
        credits.debits.spent = credits.base;
        credits.debits.debited = credits.base;
        desk.engine().restore_account(&key, &row, desk.now());
        assert_eq!(desk.code(1, 1), VerdictCode::CreditsExhausted, "all of it is spent");
        desk.go_to(&format!("2027-06-{day}T12:00:00Z"));
    }
    let before = balance(&desk);
    assert!(before <= most, "{before}");
    assert_eq!(
        desk.code(1, 1),
        if before == 0 { VerdictCode::CreditsExhausted } else { VerdictCode::Valid }
    );
    assert_eq!(balance(&desk), before.saturating_sub(1));
}
