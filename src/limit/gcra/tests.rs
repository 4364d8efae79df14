use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// `tests/data/rate.json`: sequences from the test suites and defect reports of other limiters.
#[test]
fn every_known_case_comes_out_as_stated() {
    let text = include_str!("../../../tests/data/rate.json");
    let file: Value = serde_json::from_str(text).expect("the case file is JSON");
    let cases = file["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 10);
    for case in cases {
        let number = |name: &str| case[name].as_u64().expect("a number");
        let rate = Rate::new(number("count"), number("period_ms") * 1_000_000, number("burst"));
        let mut state = RateState::default();
        for (at, step) in case["steps"].as_array().expect("steps").iter().enumerate() {
            let place = format!("{}, step {at}", case["name"]);
            let now_ns = step["at_ms"].as_u64().expect("a time") * 1_000_000;
            let judged = rate.judge(state, step["cost"].as_u64().expect("a cost"), now_ns);
            state = judged.next;
            let near = |ns: u64, name: &str| {
                let wanted_ns = step[name].as_f64().expect("a time") * 1e6;
                (ns as f64 - wanted_ns).abs() <= 1000.0
            };
            assert_eq!(judged.allowed, step["allow"].as_bool().expect("a verdict"), "{place}");
            assert_eq!(rate.remaining(state, now_ns), step["remaining"], "{place}");
            assert_eq!(
                judged.retry_after_ns.is_none(),
                step["retry_after_ms"].is_null(),
                "{place}"
            );
            if let Some(retry_ns) = judged.retry_after_ns {
                assert!(near(retry_ns, "retry_after_ms"), "{place}: {retry_ns}");
            }
            let reset_ns = rate.reset_after_ns(state, now_ns);
            assert!(near(reset_ns, "reset_after_ms"), "{place}: {reset_ns}");
        }
    }
}

#[test]
fn extreme_rates_are_exact() {
    // Two billion a second: the 2,000,000,001st unit of the first second waits for its tick.
    let fast = Rate::per_second(2_000_000_000, 2_000_000_000);
    let spent = fast.judge(RateState::default(), 2_000_000_000, 0).next;
    assert!(!fast.judge(spent, 1, 0).allowed);
    assert!(fast.judge(spent, 2, 1).allowed && !fast.judge(spent, 3, 1).allowed);

    // Seven a minute never drifts: after a year exactly the earned units have come.
    let slow = Rate::new(7, 60_000_000_000, 1);
    let year_ns = 365 * 24 * 3600 * 1_000_000_000_u64;
    let mut state = RateState::default();
    state = slow.judge(state, 1, 0).next;
    assert_eq!(slow.reset_after_ns(state, 0), 8_571_428_572);
    assert!(!slow.judge(state, 1, 8_571_428_571).allowed);
    assert!(slow.judge(state, 1, 8_571_428_572).allowed);
    assert!(slow.judge(state, 1, year_ns).allowed);

    let wide = Rate::per_second(1, (1 << 32) + 1);
    let spent = wide.judge(RateState::default(), 1 << 32, 0).next;
    assert_eq!(wide.remaining(spent, 0), 1);
    assert!(wide.judge(spent, 1, u64::MAX).allowed);
}

#[test]
fn a_count_of_zero_admits_nothing_and_cost_zero_always_passes() {
    let none = Rate::per_second(0, 5);
    let judged = none.judge(RateState::default(), 1, 1_000);
    assert_eq!((judged.allowed, judged.retry_after_ns), (false, None));
    assert_eq!(none.remaining(RateState::default(), 1_000), 0);
    assert!(none.judge(RateState::default(), 0, 0).allowed);
}

#[test]
fn a_changed_rate_keeps_what_was_spent_and_no_more() {
    let (slow, fast) = (Rate::per_second(1, 10), Rate::per_second(100, 100));
    let spent = slow.judge(RateState::default(), 10, 0).next;
    let carried = slow.carry(spent, &fast, 0, Spent::Keep);
    assert_eq!(fast.remaining(carried, 0), 90, "ten units stay spent");
    let all = fast.judge(RateState::default(), 100, 0).next;
    let carried = fast.carry(all, &slow, 0, Spent::Keep);
    assert_eq!(slow.remaining(carried, 0), 0);
    assert_eq!(slow.reset_after_ns(carried, 0), 10_000_000_000, "lowering clamps to one burst");
}

proptest! {
    /// In every window (t, t + w] at most burst + w * rate units are admitted; with w = 0: no
    /// instant admits more than the burst.
    #[test]
    fn no_window_admits_more_than_the_burst_and_what_it_earned(
        count in 1_u64..1000,
        period_ns in 1_u64..5_000_000_000,
        burst in 1_u64..50,
        steps in prop::collection::vec((0_u64..2_000_000_000, 0_u64..12), 1..120),
    ) {
        let rate = Rate::new(count, period_ns, burst);
        let mut state = RateState::default();
        let mut now_ns = 0;
        let mut admitted: Vec<(u64, u64)> = Vec::new();
        for (gap_ns, cost) in steps {
            // Half of the gaps are nothing at all, so that instants are crowded.
            now_ns += if gap_ns % 2 == 0 { 0 } else { gap_ns };
            let before = rate.remaining(state, now_ns);
            let judged = rate.judge(state, cost, now_ns);
            prop_assert_eq!(judged.allowed, cost <= before);
            if judged.allowed {
                admitted.push((now_ns, cost));
                prop_assert_eq!(rate.remaining(judged.next, now_ns), before - cost);
            } else {
                prop_assert_eq!(judged.next, state, "a denied request changes nothing");
                if let Some(wait) = judged.retry_after_ns {
                    prop_assert!(rate.judge(state, cost, now_ns + wait).allowed);
                    prop_assert!(!rate.judge(state, cost, now_ns + wait - 1).allowed);
                }
            }
            state = judged.next;
        }
        for (first, (start, _)) in admitted.iter().enumerate() {
            let mut sum = 0_u128;
            for (at, cost) in &admitted[first..] {
                sum += u128::from(*cost);
                let earned = u128::from(at - start) * u128::from(count) / u128::from(period_ns);
                prop_assert!(sum <= u128::from(burst) + earned);
            }
        }
    }
}
