use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

const NOW_S: i64 = 1_800_000_000;
const MAX_S: u32 = 300;

fn age(now_s: i64) -> Age {
    Age { now_s, max_s: MAX_S }
}

fn used(key: u64, number: u8, created: i64) -> Used {
    Used::new(key, &[number; 32], created)
}

/// One that takes what is up to half a minute ahead.
fn ahead(max: usize) -> Replays {
    let replays = Replays::new(max);
    replays.lead().kept(30);
    replays
}

#[test]
fn a_signature_is_used_once_by_each_key_and_again_only_after_it_was_taken_back() {
    let replays = Replays::new(100);
    let one = used(1, 7, NOW_S);
    assert_eq!(replays.look(&one, age(NOW_S)), Ok(()));
    assert_eq!(replays.reserve(&one, age(NOW_S)), Ok(()), "a look uses nothing");
    assert_eq!(replays.look(&one, age(NOW_S)), Err(Refusal::Replayed));
    assert_eq!(replays.reserve(&one, age(NOW_S + 300)), Err(Refusal::Replayed));
    assert_eq!(replays.reserve(&used(2, 7, NOW_S), age(NOW_S)), Ok(()), "another key's");
    replays.take_back(&one);
    replays.take_back(&one);
    assert_eq!(replays.len(), 1);
    assert_eq!(replays.reserve(&one, age(NOW_S)), Ok(()));
    assert_eq!(replays.len(), 2);
}

#[test]
fn what_is_forgotten_is_never_taken_again_whatever_the_clock_says() {
    let replays = ahead(100);
    let one = used(1, 7, NOW_S);
    assert_eq!(replays.reserve(&one, age(NOW_S)), Ok(()));
    assert_eq!(replays.reserve(&used(1, 8, NOW_S + 301), age(NOW_S + 301)), Ok(()));
    (0..Replays::SWEEPS).for_each(|_| replays.sweep_some(age(NOW_S + 301)));
    assert_eq!(replays.len(), 1);
    // The clock is set back.
    assert_eq!(replays.reserve(&one, age(NOW_S)), Err(Refusal::Forgotten));
    let later = Used { created: NOW_S + 1, ..one };
    assert_eq!(replays.reserve(&later, age(NOW_S)), Ok(()), "that was not");
}

fn fill(replays: &Replays, key: u64, tenant: u32, count: u16) -> usize {
    let take = |number: u16| {
        let mut one = used(key, 0, NOW_S).of_tenant(tenant);
        one.tag[..2].copy_from_slice(&number.to_le_bytes());
        replays.reserve(&one, age(NOW_S)).is_ok()
    };
    (0..count).filter(|number| take(*number)).count()
}

#[test]
fn neither_a_key_nor_a_tenant_takes_more_than_its_share() {
    let replays = Replays::new(64);
    let taken = |tenant| -> Vec<_> {
        (0..20).map(|key| fill(&replays, u64::from(tenant) * 100 + key, tenant, 64)).collect()
    };
    let first = taken(1);
    assert_eq!((&first[..5], first.iter().sum()), (&[4, 4, 4, 4, 0][..], 16));
    for tenant in 2..4 {
        assert_eq!(fill(&replays, tenant.into(), tenant, 64), 4, "whatever others have");
        assert_eq!(taken(tenant).iter().sum::<usize>(), 12);
    }
    assert_eq!((fill(&replays, 7, 7, 64), replays.len()), (4, 52));
    let one = used(8, 1, NOW_S).of_tenant(1);
    assert_eq!(replays.look(&one, age(NOW_S)), Err(Refusal::Full), "a look says so too");
    assert_eq!(replays.look(&one.of_tenant(8), age(NOW_S)), Ok(()));
    replays.set_room(Room::new(64, 64, 64));
    assert_eq!(fill(&replays, 9, 1, 64), 12, "what is left");
    assert_eq!(replays.reserve(&used(10, 1, NOW_S), age(NOW_S)), Err(Refusal::Full));
    // What is too old makes room, whatever part it is in.
    let later = age(NOW_S + 301);
    (0..Replays::SWEEPS).for_each(|_| replays.sweep_some(later));
    assert_eq!(replays.len(), 0);
    assert_eq!(replays.reserve(&used(10, 1, NOW_S + 301), later), Ok(()));
}

#[test]
fn what_is_too_old_is_forgotten_in_small_steps_and_memory_is_given_back() {
    let replays = Replays::new(Room::new(100_000, 100_000, 100_000));
    assert_eq!(fill(&replays, 1, 1, 60_000), 60_000);
    let capacity = || -> usize { replays.shards.iter().map(|it| it.lock().capacity()).sum() };
    assert!(capacity() >= 60_000);
    let later = age(NOW_S + 301);
    replays.look(&used(1, 9, NOW_S + 301), later).expect("new");
    assert!(replays.len() >= 60_000 - FORGOTTEN_AT_ONCE, "{}", replays.len());
    let mut before = replays.len();
    while !replays.is_empty() {
        replays.sweep_some(later);
        assert!(before - replays.len() <= SWEPT_AT_ONCE * SWEPT_OF_SHARD);
        before = replays.len();
    }
    assert!(capacity() <= SHARDS * 64, "{}", capacity());
}

#[test]
fn what_is_further_ahead_than_is_kept_waits_until_it_is() {
    let replays = Replays::new(100);
    let lead = replays.lead();
    lead.kept(5);
    let one = |ahead_s: i64| {
        let created = NOW_S + ahead_s;
        Used { tag: tag_of(1, created), ..used(1, 1, created) }
    };
    let take = |ahead_s| replays.reserve(&one(ahead_s), age(NOW_S));
    for ahead_s in [-300, 0, 5] {
        assert_eq!(take(ahead_s), Ok(()), "{ahead_s}");
    }
    assert_eq!(lead.ask(300), None, "nothing was in want of more");
    assert_eq!(replays.look(&one(6), age(NOW_S)), Err(Refusal::Ahead));
    assert_eq!(replays.look(&one(5), age(NOW_S)), Err(Refusal::Replayed));
    assert_eq!(take(6), Err(Refusal::Ahead));
    assert_eq!((lead.ask(300), lead.ask(300)), (Some(10), None), "asked for once");
    assert_eq!(take(6), Err(Refusal::Ahead), "it is not kept yet");
    assert_eq!(lead.ask(300), None);
    lead.not_kept();
    assert_eq!(lead.ask(300), None, "until it is needed again");
    assert_eq!(take(6), Err(Refusal::Ahead));
    assert_eq!(lead.ask(300), Some(10));
    lead.kept(10);
    assert_eq!((take(6), take(6)), (Ok(()), Err(Refusal::Replayed)));
    assert_eq!(take(299), Err(Refusal::Ahead));
    assert_eq!((lead.ask(297), lead.seconds()), (Some(297), 10), "never beyond what is granted");
    lead.kept(297);
    lead.kept(10);
    assert_eq!((lead.seconds(), replays.ahead_s(NOW_S)), (297, 6));
    replays.raise_floor(NOW_S + 40);
    assert_eq!(replays.ahead_s(NOW_S + 10), 30, "the floor as well");
}

#[test]
fn leads_are_whole_steps_and_a_start_takes_none_that_is_too_low() {
    for (ahead_s, lead_s) in
        [(i64::MIN, 5), (-1, 5), (0, 5), (1, 5), (5, 5), (6, 10), (299, 300), (i64::MAX, u32::MAX)]
    {
        assert_eq!(lead_for(ahead_s), lead_s, "{ahead_s}");
    }
    for (kept_s, is_new, skew_s, lead_s) in [
        (None, true, 300, 5),
        (None, true, 3, 3),
        (None, false, 300, 300),
        (Some(5), false, 300, 5),
        // Less is granted by now; what was used then may be of a time that is still to come.
        (Some(120), false, 30, 120),
        (Some(120), true, 30, 120),
    ] {
        assert_eq!(lead_at_start(kept_s, is_new, skew_s), lead_s, "{kept_s:?} {is_new} {skew_s}");
    }
}

#[test]
fn what_is_saved_is_remembered_and_what_has_no_room_raises_the_floor() {
    let first = ahead(100);
    (0..10).for_each(|n| {
        first.reserve(&used(n.into(), n, NOW_S + i64::from(n)), age(NOW_S)).expect("room");
    });
    first.raise_floor(NOW_S - 5);
    let (floor_s, mut all) = first.saved();
    all.sort_unstable();
    let second = ahead(8);
    second.restore(floor_s, &all);
    assert_eq!((floor_s, second.len()), (NOW_S - 5, 8));
    for one in &all {
        assert!(second.reserve(one, age(NOW_S)).is_err(), "{one:?}");
    }
    second.set_room(100);
    assert_eq!(second.look(&used(1, 99, NOW_S + 9), age(NOW_S)), Err(Refusal::Forgotten));
    assert_eq!(second.look(&used(1, 99, NOW_S + 10), age(NOW_S)), Ok(()));
}

#[derive(Debug, Clone)]
enum Step {
    Reserve { key: u64, number: u8, ago_s: i64 },
    TakeBack { back: usize },
    Clock { by_s: i64 },
    Save,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u64..4, 0_u8..8, -30_i64..=300)
            .prop_map(|(key, number, ago_s)| Step::Reserve { key, number, ago_s }),
        2 => (0_usize..4).prop_map(|back| Step::TakeBack { back }),
        2 => (-400_i64..400).prop_map(|by_s| Step::Clock { by_s }),
        1 => Just(Step::Save),
    ]
}

proptest! {
    /// Against a list that forgets nothing: nothing counts twice, wherever the clock goes and over
    /// clean stops; and while the clock only goes on and there is room, nothing new is refused.
    #[test]
    fn nothing_counts_twice(steps in proptest::collection::vec(step(), 1..200)) {
        let mut replays = ahead(10_000);
        let mut model = HashSet::new();
        let mut order = Vec::new();
        let (mut now_s, mut latest_s) = (NOW_S, NOW_S);
        for step in steps {
            match step {
                Step::Reserve { key, number, ago_s } => {
                    let one = used(key, number, now_s - ago_s);
                    // Another time makes it another signature, whatever it is told by.
                    let one = Used { tag: tag_of(number, one.created), ..one };
                    match replays.reserve(&one, age(now_s)) {
                        Ok(()) => {
                            prop_assert!(model.insert(one), "{one:?} counts twice");
                            order.push(one);
                        }
                        Err(Refusal::Replayed) => prop_assert!(model.contains(&one)),
                        Err(Refusal::Forgotten) => {
                            prop_assert!(one.created < latest_s - i64::from(MAX_S), "{one:?}");
                        }
                        Err(Refusal::Ahead | Refusal::Full) => {
                            prop_assert!(false, "there is room, and none is further ahead");
                        }
                    }
                }
                Step::TakeBack { back } => {
                    if order.len() > back {
                        let one = order.remove(order.len() - 1 - back);
                        replays.take_back(&one);
                        model.remove(&one);
                    }
                }
                Step::Clock { by_s } => {
                    now_s += by_s;
                    latest_s = latest_s.max(now_s);
                }
                Step::Save => {
                    let (floor_s, all) = replays.saved();
                    replays = ahead(10_000);
                    replays.restore(floor_s, &all);
                }
            }
            prop_assert!(replays.len() <= model.len());
        }
    }
}

#[derive(Debug, Clone)]
enum Turn {
    Reserve {
        key: u64,
        number: u8,
        ahead_s: i64,
    },
    Tick {
        by_s: i64,
    },
    /// What was asked for is durable.
    Keep,
    /// It is, though nobody hears of it, or it is not.
    Crash {
        kept: bool,
    },
    Stop,
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        8 => (0_u64..2, 0_u8..3, prop_oneof![-20_i64..=20, -300_i64..=300])
            .prop_map(|(key, number, ahead_s)| Turn::Reserve { key, number, ahead_s }),
        3 => (0_i64..60).prop_map(|by_s| Turn::Tick { by_s }),
        3 => Just(Turn::Keep),
        2 => any::<bool>().prop_map(|kept| Turn::Crash { kept }),
        1 => Just(Turn::Stop),
    ]
}

/// How far ahead signers may be.
const SKEW_S: u32 = 300;

proptest! {
    /// A crash forgets all but the lead, and still nothing counts twice; and it costs no more than
    /// the lead.
    #[test]
    fn nothing_counts_twice_over_crashes(turns in proptest::collection::vec(turn(), 1..200)) {
        let start = |lead_s: u32| {
            let replays = Replays::new(10_000);
            replays.lead().kept(lead_s);
            replays
        };
        let (mut now_s, mut durable_s, mut asked) = (NOW_S, LEAD_STEP_S, None);
        let (mut replays, mut floor_s) = (start(durable_s), i64::MIN);
        let mut model = HashSet::new();
        for turn in turns {
            match turn {
                Turn::Reserve { key, number, ahead_s } => {
                    let one = used(key, number, now_s + ahead_s);
                    let one = Used { tag: tag_of(number, one.created), ..one };
                    match replays.reserve(&one, age(now_s)) {
                        Ok(()) => prop_assert!(model.insert(one), "{one:?} counts twice"),
                        Err(Refusal::Replayed) => prop_assert!(model.contains(&one)),
                        Err(Refusal::Forgotten) => {
                            prop_assert!(one.created <= floor_s.max(now_s - i64::from(MAX_S)));
                        }
                        Err(Refusal::Ahead) => {
                            prop_assert!(ahead_s > i64::from(durable_s), "{ahead_s}");
                            asked = replays.lead().ask(SKEW_S).or(asked);
                            prop_assert!(i64::from(asked.unwrap_or(0)) >= ahead_s);
                        }
                        Err(Refusal::Full) => prop_assert!(false, "there is room"),
                    }
                }
                Turn::Tick { by_s } => now_s += by_s,
                Turn::Keep => {
                    if let Some(seconds) = asked.take() {
                        durable_s = seconds;
                        replays.lead().kept(seconds);
                    }
                }
                Turn::Crash { kept } => {
                    durable_s = asked.take().filter(|_| kept).unwrap_or(durable_s);
                    replays = start(durable_s);
                    floor_s = now_s + i64::from(durable_s);
                    replays.raise_floor(floor_s);
                }
                Turn::Stop => {
                    let (floor_s, all) = replays.saved();
                    durable_s = durable_s.min(lead_for(replays.ahead_s(now_s)));
                    asked = None;
                    replays = start(durable_s);
                    replays.restore(floor_s, &all);
                }
            }
        }
    }
}

fn tag_of(number: u8, created: i64) -> Tag {
    let mut tag = [number; TAG_BYTES];
    tag[..8].copy_from_slice(&created.to_le_bytes());
    tag
}
