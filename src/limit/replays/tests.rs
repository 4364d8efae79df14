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
    let replays = Replays::new(100);
    let one = used(1, 7, NOW_S);
    assert_eq!(replays.reserve(&one, age(NOW_S)), Ok(()));
    assert_eq!(replays.reserve(&used(1, 8, NOW_S + 301), age(NOW_S + 301)), Ok(()));
    assert_eq!(replays.len(), 1);
    // The clock is set back.
    assert_eq!(replays.reserve(&one, age(NOW_S)), Err(Refusal::Forgotten));
    assert_eq!(replays.look(&used(1, 9, NOW_S), age(NOW_S)), Err(Refusal::Forgotten));
    assert_eq!(replays.reserve(&used(1, 9, NOW_S + 1), age(NOW_S)), Ok(()));
}

#[test]
fn one_key_leaves_as_much_as_it_takes_and_a_full_cache_takes_nothing() {
    let replays = Replays::new(12);
    let fill = |key| {
        (0..12).filter(|n| replays.reserve(&used(key, *n, NOW_S), age(NOW_S)).is_ok()).count()
    };
    assert_eq!(fill(1), 6);
    assert_eq!(fill(2), 3);
    assert_eq!(fill(3), 2, "less for each, and never all");
    assert_eq!(fill(4), 1);
    assert_eq!(fill(5), 0);
    assert_eq!(replays.reserve(&used(6, 1, NOW_S), age(NOW_S)), Err(Refusal::Full));
    assert_eq!(replays.len(), 12);
    // What is too old makes room, in whatever shard it is.
    assert_eq!(replays.reserve(&used(6, 1, NOW_S + 301), age(NOW_S + 301)), Ok(()));
    assert_eq!(replays.len(), 1);
}

#[test]
fn what_is_saved_is_remembered_and_what_has_no_room_raises_the_floor() {
    let first = Replays::new(100);
    (0..10).for_each(|n| {
        first.reserve(&used(n.into(), n, NOW_S + i64::from(n)), age(NOW_S)).expect("room");
    });
    first.raise_floor(NOW_S - 5);
    let (floor_s, mut all) = first.saved();
    all.sort_unstable();
    let second = Replays::new(8);
    second.restore(floor_s, &all);
    assert_eq!((floor_s, second.len()), (NOW_S - 5, 8));
    for one in &all {
        assert!(second.reserve(one, age(NOW_S)).is_err(), "{one:?}");
    }
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
        let mut replays = Replays::new(10_000);
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
                        Err(Refusal::Full) => prop_assert!(false, "there is room"),
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
                    replays = Replays::new(10_000);
                    replays.restore(floor_s, &all);
                }
            }
            prop_assert!(replays.len() <= model.len());
        }
    }
}

fn tag_of(number: u8, created: i64) -> Tag {
    let mut tag = [number; TAG_BYTES];
    tag[..8].copy_from_slice(&created.to_le_bytes());
    tag
}
