//! Slots: how many, for how long, whose, and given back once.

use super::*;
use keygate_protocol::{RenewOutcome, SlotRenew};

const NOON: &str = "2027-06-15T12:00:00Z";

#[test]
fn a_slot_ends_at_its_very_nanosecond() {
    let desk = Desk::at(NOON);
    desk.put(1, |it| (it.concurrent_requests, it.slot_ttl_seconds) = (Some(1), Some(2)));
    let first = desk.ask(1, 1);
    desk.go_ns(1_999_999_999);
    let denied = desk.ask(1, 1);
    assert_eq!(denied.code, VerdictCode::ConcurrencyExceeded);
    assert_eq!(denied.denied_by, Some(LimitName::Slots));
    assert_eq!(report(&denied, LimitName::Slots).retry_after_us, Some(1));
    desk.go_ns(1);
    let second = desk.ask(1, 1);
    assert!(second.code.is_valid() && second.slot > first.slot);
    assert_eq!(desk.release(1, first.slot), IncrementOutcome::SlotGone);
    assert_eq!(desk.left(1, LimitName::Slots), 0, "the second's is held all the same");
}

#[test]
fn a_slot_is_given_back_once_and_there_are_never_more_than_there_may_be() {
    let desk = Desk::at(NOON);
    desk.put(1, |it| it.concurrent_requests = Some(2));
    let slots = [desk.ask(1, 1).slot, desk.ask(1, 1).slot];
    assert_eq!(desk.code(1, 1), VerdictCode::ConcurrencyExceeded);
    use IncrementOutcome::{Counted, SlotGone};
    assert_eq!([0, 0, 0].map(|at| desk.release(1, slots[at])), [Counted, SlotGone, SlotGone]);
    assert_eq!(desk.left(1, LimitName::Slots), 1);
    assert_eq!(desk.release(1, slots[1]), Counted);
    assert_eq!(desk.release(1, Some(0)), SlotGone);
    assert_eq!((desk.left(1, LimitName::Slots), desk.engine().slots_held()), (2, 0));
    for cost in [0, 1] {
        assert_eq!(desk.peek(1, cost).slot, None, "who looks takes none");
    }
}

#[test]
fn the_slots_of_a_tenant_are_shared_and_each_is_given_back_by_its_own_key() {
    let desk = Desk::at(NOON);
    desk.put(1, |it| it.concurrent_requests = Some(5));
    desk.put(2, |_| ());
    desk.share(TenantLimits { concurrent_requests: Some(2), ..TenantLimits::default() });
    let (one, two) = (desk.ask(1, 1).slot, desk.ask(2, 1).slot);
    for key in [1, 2] {
        let denied = desk.ask(key, 1);
        assert_eq!(denied.denied_by, Some(LimitName::TenantSlots));
        assert_eq!(denied.code, VerdictCode::ConcurrencyExceeded);
    }
    assert_eq!(desk.release(2, one), IncrementOutcome::SlotGone, "of another key");
    let renew = SlotRenew { key_id: 2, slot: one.expect("a slot") };
    assert_eq!(desk.engine().renew_slot(None, renew, desk.now()), RenewOutcome::Gone);
    assert_eq!(desk.left(1, LimitName::TenantSlots), 0);
    assert_eq!(desk.release(1, one), IncrementOutcome::Counted);
    assert_eq!(desk.left(1, LimitName::Slots), 5, "given back to the key and to the tenant");
    assert_eq!(desk.left(2, LimitName::TenantSlots), 1);
    assert_eq!(desk.release(2, two), IncrementOutcome::Counted);
    assert_eq!(desk.engine().slots_held(), 0);
}

#[test]
fn a_renewed_slot_is_held_for_its_whole_time_again() {
    let desk = Desk::at(NOON);
    desk.put(1, |it| (it.concurrent_requests, it.slot_ttl_seconds) = (Some(1), Some(2)));
    let slot = desk.ask(1, 1).slot.expect("a slot");
    let renew = || desk.engine().renew_slot(None, SlotRenew { key_id: 1, slot }, desk.now());
    for _ in 0..3 {
        desk.go_ns(1_999_999_999);
        assert_eq!(renew(), RenewOutcome::Renewed);
    }
    desk.go_ns(1_999_999_999);
    assert_eq!(desk.code(1, 1), VerdictCode::ConcurrencyExceeded);
    desk.go_ns(1);
    assert_eq!(renew(), RenewOutcome::Gone);
    assert_eq!(desk.code(1, 1), VerdictCode::Valid);
}

#[test]
fn fewer_slots_than_are_held_admit_when_enough_are_gone() {
    let desk = Desk::at(NOON);
    let ttl = |it: &mut KeyRecord| it.slot_ttl_seconds = Some(10);
    desk.put(1, |it| {
        ttl(it);
        it.concurrent_requests = Some(4);
    });
    for _ in 0..4 {
        assert_eq!(desk.code(1, 1), VerdictCode::Valid);
        desk.go_ns(1_000_000_000);
    }
    desk.put(1, |it| {
        ttl(it);
        it.concurrent_requests = Some(2);
    });
    // Three have to go: the third ends at 12 seconds, of which four are past.
    let denied = desk.ask(1, 1);
    assert_eq!(report(&denied, LimitName::Slots).retry_after_us, Some(8_000_000));
    assert_eq!(report(&denied, LimitName::Slots).remaining, 0);
    desk.go_ns(7_999_999_999);
    assert_eq!(desk.code(1, 1), VerdictCode::ConcurrencyExceeded);
    desk.go_ns(1);
    assert_eq!(desk.code(1, 1), VerdictCode::Valid);
}

/// Key, tenant, and for how long a slot is held.
#[test]
fn a_slot_is_held_as_the_key_says_or_else_its_tenant() {
    for (own, shared, seconds) in
        [(Some(2), Some(5), 2), (None, Some(5), 5), (Some(2), None, 2), (None, None, 60)]
    {
        for limited in [true, false] {
            let desk = Desk::at(NOON);
            desk.share(TenantLimits {
                concurrent_requests: (!limited).then_some(1),
                slot_ttl_seconds: shared,
                ..TenantLimits::default()
            });
            desk.put(1, |it| {
                it.slot_ttl_seconds = own;
                it.concurrent_requests = limited.then_some(1);
            });
            let place = format!("{own:?} {shared:?}, the key limits them: {limited}");
            assert_eq!(desk.code(1, 1), VerdictCode::Valid, "{place}");
            desk.go_ns(seconds * 1_000_000_000 - 1);
            assert_eq!(desk.code(1, 1), VerdictCode::ConcurrencyExceeded, "{place}");
            desk.go_ns(1);
            assert_eq!(desk.code(1, 1), VerdictCode::Valid, "{place}");
        }
    }
}

/// Whoever looks at a key reaps what has expired, and what is reaped is not held.
#[test]
fn a_look_at_a_key_counts_its_slots_as_they_are() {
    let desk = Desk::at(NOON);
    desk.put(1, |it| (it.concurrent_requests, it.slot_ttl_seconds) = (Some(3), Some(1)));
    for _ in 0..3 {
        assert_eq!(desk.code(1, 1), VerdictCode::Valid);
    }
    assert_eq!(desk.engine().slots_held(), 3);
    desk.go_ns(1_000_000_000);
    assert_eq!(desk.figures(&Account::Key(1))[0].remaining, 3);
    assert_eq!(desk.engine().slots_held(), 0);
}

#[test]
fn there_are_so_many_slots_in_all() {
    let mut bench = Bench::new();
    bench.engine.slots = crate::engine::limits::AllSlots::new(3);
    let now = Cell::new(Now { mono_ns: 0, wall_us: us(NOON) });
    let desk = Desk { bench, now };
    desk.put(1, |it| it.concurrent_requests = Some(2));
    desk.put(2, |it| it.concurrent_requests = Some(2));
    desk.put(3, |_| ());
    let first = desk.ask(1, 1).slot;
    assert_eq!([1, 2, 2].map(|key| desk.code(key, 1)), {
        use VerdictCode::{ConcurrencyExceeded, Valid};
        [Valid, Valid, ConcurrencyExceeded]
    });
    assert_eq!(desk.code(3, 1), VerdictCode::Valid, "it takes none");
    assert_eq!(desk.release(1, first), IncrementOutcome::Counted);
    assert_eq!(desk.code(2, 1), VerdictCode::Valid);
    desk.engine().remove(2);
    assert_eq!(desk.engine().slots_held(), 1, "a key that is gone holds none");
    desk.go_ns(60_000_000_000);
    desk.engine().reap_slots(desk.now());
    assert_eq!(desk.engine().slots_held(), 0);
}

/// Whatever goes while a slot of it is held, nothing of it is counted for ever.
#[test]
fn a_key_or_tenant_that_goes_while_it_holds_slots_holds_none_after() {
    type Go = fn(&Desk);
    let ways: [(&str, Go); 5] = [
        ("the key goes", |desk| desk.engine().remove(1)),
        ("the tenant's record goes", |desk| desk.engine().remove_tenant("acme")),
        ("both go, the key first", |desk| {
            desk.engine().remove(1);
            desk.engine().remove_tenant("acme");
        }),
        ("both go, the tenant first", |desk| {
            desk.engine().remove_tenant("acme");
            desk.engine().remove(1);
        }),
        ("the limits go", |desk| {
            desk.share(TenantLimits::default());
            desk.put(1, |_| ());
        }),
    ];
    for own in [None, Some(3)] {
        for (way, go) in ways {
            let desk = Desk::at(NOON);
            desk.put(1, |it| it.concurrent_requests = own);
            desk.share(TenantLimits { concurrent_requests: Some(3), ..TenantLimits::default() });
            assert!(desk.ask(1, 1).slot.is_some());
            go(&desk);
            desk.go_ns(60_000_000_000);
            desk.engine().reap_slots(desk.now());
            assert_eq!(desk.engine().slots_held(), 0, "{way}, {own:?}");
        }
    }
}

/// Neither its report nor its connection can find that slot any more.
#[test]
fn a_key_that_leaves_its_tenant_leaves_no_slot_behind() {
    for (leaves, slots) in [(true, 1), (false, 1), (true, 40), (false, 40)] {
        let desk = Desk::at(NOON);
        desk.put(1, |_| ());
        desk.put(2, |_| ());
        let (concurrent_requests, slot_ttl_seconds) = (Some(slots), Some(86_400));
        desk.share(TenantLimits { concurrent_requests, slot_ttl_seconds, ..Default::default() });
        for _ in 0..slots {
            assert!(desk.ask(1, 1).slot.is_some());
        }
        assert_eq!(desk.code(2, 1), VerdictCode::ConcurrencyExceeded);
        if leaves {
            desk.put(1, |it| it.tenant_id = "other".to_owned());
        } else {
            desk.engine().remove(1);
        }
        assert_eq!(desk.engine().slots_held(), 0);
        assert!(desk.ask(2, 1).slot.is_some(), "they are free again");
        assert_eq!(desk.engine().slots_held(), 1);
    }
}
