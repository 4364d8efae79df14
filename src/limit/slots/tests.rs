use std::collections::BTreeMap;

use proptest::prelude::*;

use super::many::CHUNK;
use super::*;

fn slot(serial: u64, expires_ns: u64) -> Slot {
    Slot { serial, expires_ns, peer: serial * 10 }
}

fn taken(expiries: impl IntoIterator<Item = u64>) -> Slots {
    let mut slots = Slots::default();
    for (serial, expires_ns) in (1..).zip(expiries) {
        slots.take(serial, expires_ns, serial * 10);
    }
    slots
}

/// Bytes outside of the structure.
fn heap_bytes(slots: &Slots) -> usize {
    match &slots.nodes {
        Nodes::Few(_) => 0,
        Nodes::Many(many) => many.heap_bytes(),
    }
}

#[test]
fn a_slot_is_held_until_it_is_released_or_expires() {
    // One in the structure itself, more than fit there, and more than a chunk.
    for others in [0, 1, 2, 3, 20, 300] {
        let place = format!("beside {others} others");
        let mut slots = taken((0..others).map(|at| 1000 + at));
        let others = u32::try_from(others).expect("few");
        slots.take(900, 500, 7);
        let ours = Slot { serial: 900, expires_ns: 500, peer: 7 };
        assert_eq!(slots.used(499), others + 1, "{place}");
        assert_eq!(slots.get(900), Some(ours), "{place}");
        assert!(slots.holds(900, 499) && !slots.holds(900, 500), "{place}");
        assert_eq!(slots.earliest_ns(), Some(500), "{place}");
        assert!(slots.renew(900, 600), "{place}");
        assert_eq!((slots.used(599), slots.used(600)), (others + 1, others), "{place}");
        assert_eq!((slots.release(900), slots.renew(900, 9999)), (None, false), "{place}");

        slots.take(901, 700, 7);
        assert_eq!(slots.release(901).map(|slot| slot.serial), Some(901), "{place}");
        assert_eq!(slots.release(901), None, "once: {place}");
        assert_eq!(slots.used(699), others, "{place}");
    }
}

#[test]
fn what_was_never_taken_is_not_held() {
    let mut slots = Slots::default();
    for serial in [0, 1, u64::MAX] {
        assert_eq!((slots.release(serial), slots.get(serial)), (None, None));
        assert!(!slots.renew(serial, 5) && !slots.holds(serial, 0));
    }
    assert_eq!((slots.used(u64::MAX), slots.earliest_ns(), slots.latest_ns()), (0, None, None));
    // Nor are slots that were taken confused with free nodes, whatever their serial.
    slots.take(0, u64::MAX, 1);
    assert_eq!((slots.used(u64::MAX - 2), slots.get(0).is_some()), (1, true));
    assert!(slots.release(0).is_some() && slots.get(0).is_none());
}

#[test]
fn reaping_what_was_released_takes_nothing_twice() {
    for many in [1, 2, 3, 10, 400] {
        let mut slots = taken((0..many).map(|_| 100));
        for serial in 1..=many {
            assert!(slots.release(serial).is_some());
        }
        assert_eq!(slots.used(100), 0);
        slots.take(many + 1, 200, 0);
        assert_eq!((slots.used(150), slots.used(200), slots.used(300)), (1, 0, 0));
    }
}

#[test]
fn the_first_and_the_last_expiry_are_exact() {
    let cases: [(&[u64], u64); 5] =
        [(&[5], 1), (&[5, 3], 2), (&[3, 5], 1), (&[4, 9, 6], 2), (&[9, 4, 6, 4], 4)];
    for (expiries, gone) in cases {
        let mut slots = taken(expiries.iter().copied());
        assert_eq!(slots.earliest_ns(), expiries.iter().min().copied());
        assert_eq!(slots.latest_ns(), expiries.iter().max().copied());
        slots.release(gone);
        let left = (1..).zip(expiries).filter(|(serial, _)| *serial != gone).map(|(_, ns)| *ns);
        assert_eq!(slots.earliest_ns(), left.clone().min());
        assert_eq!(slots.latest_ns(), left.max());
    }
}

/// Several chunks; serials 3, 2, 5, 4, …, and the very first one last of all.
fn taken_late(expires_ns: impl Fn(u64) -> u64) -> (Slots, u64) {
    let (mut slots, last) = (Slots::default(), 3 * CHUNK as u64 - 1);
    for serial in (2..=last).map(|at| at ^ 1).chain([1]) {
        slots.take(serial, expires_ns(serial), serial * 10);
    }
    (slots, last)
}

#[test]
fn serials_that_come_late_are_found_and_expire() {
    let (mut slots, last) = taken_late(|serial| 1000 + serial);
    for serial in 1..=last {
        assert_eq!(slots.get(serial), Some(slot(serial, 1000 + serial)));
        let left = u32::try_from(last - serial).expect("few");
        assert_eq!(slots.used(1000 + serial), left, "{serial}");
    }
    let (mut slots, last) = taken_late(|serial| 1000 + serial);
    for serial in 1..=last {
        assert_eq!(slots.earliest_ns(), Some(1000 + serial));
        assert_eq!(slots.release(serial).map(|slot| slot.serial), Some(serial));
    }
    let (mut slots, last) = taken_late(|serial| 5000 - serial);
    for serial in 1..=last {
        assert_eq!(slots.latest_ns(), Some(5000 - serial));
        assert_eq!(slots.release(serial).map(|slot| slot.serial), Some(serial));
    }
}

#[test]
fn a_list_that_empties_gives_its_memory_back() {
    let count = 10_000;
    let bytes = usize::try_from(count).expect("few") * size_of::<Slot>();
    let full = || taken((1..=count).map(|serial| 1000 + serial));
    assert!(heap_bytes(&full()) >= bytes);
    type Order = fn(u64) -> u64;
    let orders: [(&str, Order); 3] = [
        ("oldest first", |at| at + 1),
        ("latest first", |at| 10_000 - at),
        ("from the middle", |at| (at * 7919 + 5000) % 10_000 + 1),
    ];
    for (order, serial) in orders {
        let mut slots = full();
        for at in 0..count {
            assert!(slots.release(serial(at)).is_some(), "{order}");
            let held = usize::try_from(count - at - 1).expect("few");
            // At most half are free nodes, and an eighth of the room is used before it shrinks.
            let bound = 8 * (held + 16) * size_of::<Slot>();
            assert!(heap_bytes(&slots) <= bound.min(2 * bytes), "{order}: {held}");
        }
        assert_eq!((slots.used(0), heap_bytes(&slots)), (0, 0), "{order}");
    }
    let mut slots = full();
    assert_eq!((slots.used(11_000), heap_bytes(&slots)), (0, 0), "all expired at once");
}

#[derive(Debug, Clone)]
enum Step {
    Take { ttl_ns: u64, late: bool },
    Release { pick: usize },
    Renew { pick: usize, ttl_ns: u64 },
    Advance { ns: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0_u64..5000, prop::bool::weighted(0.1)).prop_map(|(ttl_ns, late)| Step::Take { ttl_ns, late }),
        3 => any::<usize>().prop_map(|pick| Step::Release { pick }),
        2 => (any::<usize>(), 0_u64..5000).prop_map(|(pick, ttl_ns)| Step::Renew { pick, ttl_ns }),
        2 => (0_u64..60).prop_map(|ns| Step::Advance { ns }),
        1 => (0_u64..1500).prop_map(|ns| Step::Advance { ns: if ns > 1400 { ns } else { 0 } }),
    ];
    prop::collection::vec(step, 1..1500)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is done, the slots are those of an obvious map.
    #[test]
    fn slots_are_those_of_an_obvious_map(steps in steps()) {
        let (mut slots, mut model) = (Slots::default(), BTreeMap::<u64, Slot>::new());
        let (mut now_ns, mut serial, mut skipped) = (1_u64, 0, None);
        for step in steps {
            model.retain(|_, slot| slot.expires_ns > now_ns);
            prop_assert_eq!(slots.used(now_ns) as usize, model.len());
            // Mostly one that is held, at times one that is not any more.
            let choose = |pick: usize| match model.keys().nth(pick % (model.len() + 1)) {
                Some(held) => *held,
                None => pick as u64 % (serial + 2),
            };
            match step {
                Step::Take { ttl_ns, late } => {
                    serial += 1;
                    let mut number = serial;
                    if late {
                        number = skipped.replace(serial).unwrap_or(serial + 1);
                        serial += u64::from(number > serial);
                    }
                    let slot = slot(number, now_ns + ttl_ns);
                    slots.take(slot.serial, slot.expires_ns, slot.peer);
                    model.insert(slot.serial, slot);
                }
                Step::Release { pick } => {
                    let serial = choose(pick);
                    prop_assert_eq!(slots.release(serial), model.remove(&serial));
                }
                Step::Renew { pick, ttl_ns } => {
                    let serial = choose(pick);
                    let held = model.get_mut(&serial);
                    prop_assert_eq!(slots.renew(serial, now_ns + ttl_ns), held.is_some());
                    if let Some(slot) = held {
                        slot.expires_ns = now_ns + ttl_ns;
                    }
                    prop_assert_eq!(slots.get(serial), model.get(&serial).copied());
                    let holds = model.get(&serial).is_some_and(|slot| slot.expires_ns > now_ns);
                    prop_assert_eq!(slots.holds(serial, now_ns), holds);
                }
                Step::Advance { ns } => {
                    now_ns += ns;
                    // Not after every step, so that bounds also grow stale.
                    let expiries = model.values().map(|slot| slot.expires_ns);
                    prop_assert_eq!(slots.earliest_ns(), expiries.clone().min());
                    prop_assert_eq!(slots.latest_ns(), expiries.max());
                }
            }
        }
    }
}

#[test]
fn the_oldest_and_the_latest_slot_of_a_peer_are_found_however_many_there_are() {
    for others in [0, 1, 300] {
        let mut slots = Slots::default();
        assert_eq!((slots.oldest_of(7), slots.latest_of(7)), (None, None));
        // The first place is given back and taken again, so that places are in no order.
        slots.take(1, 100, 7);
        slots.take(2, 100, 7);
        slots.release(1);
        slots.take(3, 100, 7);
        (0..others).for_each(|at| slots.take(10 + at, 100, 8));
        let serials = |slots: &Slots| {
            [slots.oldest_of(7), slots.latest_of(7)].map(|slot| slot.map(|slot| slot.serial))
        };
        assert_eq!(serials(&slots), [Some(2), Some(3)], "{others}");
        slots.release(2);
        assert_eq!(serials(&slots), [Some(3), Some(3)], "{others}");
        slots.release(3);
        assert_eq!(serials(&slots), [None, None], "{others}");
    }
}

/// Who lowers a limit must not make every denial a walk over all slots that are held.
#[test]
fn when_enough_of_very_many_have_expired_is_not_told() {
    for (held, exact) in [(2_u64, true), (256, true), (257, false), (10_000, false)] {
        let mut slots = Slots::default();
        for serial in 0..held {
            slots.take(serial + 1, 1000 + (serial * 7919) % held, 0);
        }
        assert_eq!(slots.expires_after(0), Some(1000));
        assert_eq!(slots.expires_after(1), Some(if exact { 1001 } else { 1000 }), "{held}");
    }
}
