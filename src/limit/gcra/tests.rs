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

/// What is admitted, in single units, until one is denied.
fn drain(rate: &Rate, state: &mut RateState, now_ns: u64) -> u64 {
    let mut admitted = 0;
    loop {
        let judged = rate.judge(*state, 1, now_ns);
        *state = judged.next;
        if !judged.allowed {
            return admitted;
        }
        admitted += 1;
    }
}

const SECOND_NS: u64 = 1_000_000_000;

/// throttlecrab: a burst of 1 never limits.
#[test]
fn a_burst_of_one_limits() {
    for (count, period_ns) in [(1, 3600 * SECOND_NS), (10, SECOND_NS), (7, 60 * SECOND_NS)] {
        let (rate, mut state) = (Rate::new(count, period_ns, 1), RateState::default());
        for now_ns in [0, 10 * period_ns, 20 * period_ns] {
            assert_eq!(drain(&rate, &mut state, now_ns), 1, "{count} in {period_ns} ns");
        }
    }
}

/// throttlecrab: after idling 8 s a burst of 10 admits 17, and after 15 s another 15.
#[test]
fn idling_never_earns_more_than_the_burst() {
    let (rate, mut state) = (Rate::per_second(1, 10), RateState::default());
    state = rate.judge(state, 1, 0).next;
    assert_eq!(drain(&rate, &mut state, 8 * SECOND_NS), 10);
    assert_eq!(drain(&rate, &mut state, 23 * SECOND_NS), 10);
    assert_eq!(drain(&rate, &mut state, u64::MAX >> 1), 10);
}

/// redis-cell #50 (6,000 a second and 1,000 a minute count nothing), #11 and #80 (above 1,000 a
/// second refused): there a rate whose interval is below its clock's grain is none.
#[test]
fn high_rates_are_enforced() {
    let counts = [1000, 1001, 2000, 6000, 1_000_000, 2_000_000_000, 1 << 40, (1 << 63) - 1];
    for count in counts {
        // Every tenth of a millisecond all that is there is spent, for one second.
        let (rate, mut state) = (Rate::new(count, SECOND_NS, count), RateState::default());
        let mut admitted = 0;
        for at in 0..=10_000 {
            let now_ns = at * (SECOND_NS / 10_000);
            let there = rate.remaining(state, now_ns);
            assert!(!rate.judge(state, there + 1, now_ns).allowed, "{count} a second");
            let judged = rate.judge(state, there, now_ns);
            assert!(judged.allowed, "{count} a second");
            state = judged.next;
            admitted += u128::from(there);
        }
        assert_eq!(admitted, 2 * u128::from(count), "{count} a second");
    }
    let (minute, mut state) = (Rate::new(1000, 60 * SECOND_NS, 1001), RateState::default());
    assert_eq!(drain(&minute, &mut state, 5), 1001);
    let (no_burst, mut state) = (Rate::per_second(2000, 1), RateState::default());
    assert_eq!(drain(&no_burst, &mut state, 5), 1);
}

/// better-auth #3573: 30 at once and 1 a second, asked once a second, is denied after 30.
#[test]
fn who_asks_no_faster_than_the_rate_is_never_denied() {
    for burst in [1, 30] {
        let (rate, mut state) = (Rate::per_second(1, burst), RateState::default());
        for second in 0..1000 {
            let judged = rate.judge(state, 1, second * SECOND_NS);
            assert!(judged.allowed, "second {second}, burst {burst}");
            state = judged.next;
        }
    }
}

#[test]
fn seven_a_minute_is_ten_thousand_and_eighty_a_day() {
    let (rate, mut state) = (Rate::new(7, 60 * SECOND_NS, 7), RateState::default());
    // At odd instants, none of which is a multiple of the interval.
    let sum: u64 = (0..=24 * 3600).map(|at| drain(&rate, &mut state, at * SECOND_NS)).sum();
    assert_eq!(sum, 7 + 7 * 60 * 24);
}

/// The bounds that the module's text states, all at once: nothing overflows, and nothing is lost.
#[test]
fn the_greatest_rate_is_exact() {
    let (most, year_ns) = ((1 << 63) - 1, 366 * 24 * 3600 * SECOND_NS);
    let now_ns = most;
    let rate = Rate::new(most, year_ns, most);
    let state = rate.judge(RateState::default(), 1 << 32, now_ns).next;
    assert_eq!(rate.remaining(state, now_ns), most - (1 << 32));
    let all = rate.judge(state, most - (1 << 32), now_ns).next;
    let judged = rate.judge(all, 1 << 32, now_ns);
    assert_eq!((judged.allowed, rate.remaining(all, now_ns)), (false, 0));
    assert_eq!(rate.reset_after_ns(all, now_ns), year_ns);
    assert_eq!(RateState::from_tat(all.tat()), all);
    for to in [rate, Rate::new(1, 1, most), Rate::new(1, year_ns, 1), Rate::new(most, 1, most)] {
        for policy in [Spent::Keep, Spent::Proportional] {
            let carried = rate.carry(all, &to, now_ns, policy);
            assert_eq!(to.remaining(carried, now_ns), 0, "{to:?} {policy:?}");
        }
        let carried = rate.carry(all, &to, now_ns, Spent::Reset);
        assert_eq!(to.remaining(carried, now_ns), to.burst());
    }
}

#[test]
fn a_changed_rate_keeps_what_was_spent_and_no_more() {
    let (slow, fast) = (Rate::per_second(1, 10), Rate::per_second(100, 100));
    let none = Rate::per_second(0, 10);
    // The old rate and what is spent of it, the new one; what remains by each policy.
    let cases = [
        (slow, 10, fast, [90, 0, 100]),
        (slow, 3, fast, [97, 70, 100]),
        (slow, 0, fast, [100, 100, 100]),
        (fast, 100, slow, [0, 0, 10]),
        (fast, 15, slow, [0, 8, 10]),
        (fast, 1, slow, [9, 9, 10]),
        (slow, 4, slow, [6, 6, 10]),
        (slow, 4, none, [0, 0, 0]),
        (none, 0, slow, [10, 10, 10]),
    ];
    for (from, spent, to, remaining) in cases {
        for now_ns in [0, 1_700_000_000 * SECOND_NS] {
            let state = from.judge(RateState::default(), spent, now_ns).next;
            let left = Spent::ALL.map(|policy| {
                let carried = from.carry(state, &to, now_ns, policy);
                to.remaining(carried, now_ns)
            });
            assert_eq!(left, remaining, "{spent} of {from:?}, now {to:?}");
        }
    }
}

#[test]
fn a_raised_rate_does_not_deny_by_the_old_arrival_time() {
    let (hourly, fast) = (Rate::new(1, 3600 * SECOND_NS, 1), Rate::per_second(1000, 1));
    let spent = hourly.judge(RateState::default(), 1, SECOND_NS).next;
    for policy in Spent::ALL {
        let carried = hourly.carry(spent, &fast, SECOND_NS, policy);
        assert!(fast.judge(carried, 1, SECOND_NS + 1_000_000).allowed, "{policy:?}");
    }
    // And lowered, it is no further behind than one burst of its own.
    let full = fast.judge(RateState::default(), 1, SECOND_NS).next;
    let carried = fast.carry(full, &hourly, SECOND_NS, Spent::Keep);
    assert_eq!(hourly.reset_after_ns(carried, SECOND_NS), 3600 * SECOND_NS);
}

/// Rounded up at every change, what is spent would grow by itself.
#[test]
fn changing_a_rate_there_and_back_keeps_what_was_earned() {
    let (one, other) = (Rate::per_second(1, 10), Rate::per_second(2, 20));
    let mut state = one.judge(RateState::default(), 10, 0).next;
    for at in 1..1000 {
        let now_ns = at * 1_000_000;
        let there = one.carry(state, &other, now_ns, Spent::Keep);
        state = other.carry(there, &one, now_ns, Spent::Keep);
    }
    assert_eq!(drain(&one, &mut state, SECOND_NS), 1);
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

    /// Against the formulas, where these fit.
    #[test]
    fn a_carried_rate_is_what_the_formulas_say(
        from in (1_u64..1000, 1_u64..1 << 40, 1_u64..1000),
        to in (1_u64..1000, 1_u64..1 << 40, 1_u64..1000),
        spent in 0_u64..1000,
        waited_ns in 0_u64..1 << 40,
    ) {
        let (from, to) = (Rate::new(from.0, from.1, from.2), Rate::new(to.0, to.1, to.2));
        let spent = spent % (from.burst + 1);
        let state = from.judge(RateState::default(), spent, 5).next;
        let now_ns = 5 + waited_ns;
        let ahead = state.tat().saturating_sub(from.ticks(now_ns));
        let carried = |policy| {
            from.carry(state, &to, now_ns, policy).tat() - to.ticks(now_ns)
        };
        let (old_period, new_period) = (u128::from(from.period_ns), u128::from(to.period_ns));
        let kept = (ahead * new_period).div_ceil(old_period).min(to.span(to.burst));
        let share = (ahead * u128::from(to.burst)).div_ceil(from.span(from.burst)) * new_period;
        if from != to {
            prop_assert_eq!(carried(Spent::Keep), kept);
            prop_assert_eq!(carried(Spent::Proportional), share);
        }
        prop_assert_eq!(carried(Spent::Reset), 0);
    }
}
