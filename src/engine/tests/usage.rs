//! What verdicts and reports come to: by the hour, in money, of whom.

use std::collections::BTreeMap;

use keygate_protocol::{Counters, Increment, VerdictCode};
use proptest::prelude::*;

use super::{Bench, Question};
use crate::clock::Clock;
use crate::usage::{Hour, HourTally, Tally};

/// The hundredth part of an hour.
const STEP_US: u32 = 36_000_000;
/// 2.5 units of money, and another price.
const PRICES: [f64; 2] = [2.5, 0.000_000_007];
const TENANTS: [&str; 2] = ["acme", "globex"];

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A question of this cost.
    Ask(u64),
    Peek,
    /// One that lacks a scope.
    Denied,
    /// A report of a count, with a status.
    Report(u32, u16),
    /// Another price, another tenant, or the same.
    Change {
        price: usize,
        tenant: usize,
    },
    /// So many hundredths of an hour go by.
    Wait(i64),
    /// Whoever writes usage comes by.
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop_oneof![Just(1), Just(1), Just(7)].prop_map(Step::Ask),
        1 => Just(Step::Peek),
        1 => Just(Step::Denied),
        2 => (1_u32..4, prop_oneof![Just(200), Just(503)]).prop_map(|(n, s)| Step::Report(n, s)),
        1 => (0_usize..2, 0_usize..2).prop_map(|(price, tenant)| Step::Change { price, tenant }),
        2 => (1_i64..250).prop_map(Step::Wait),
        2 => Just(Step::Settle),
    ]
}

/// What must come out.
#[derive(Default)]
struct Expected {
    by_hour: BTreeMap<Hour, Tally>,
    by_tenant: BTreeMap<&'static str, Tally>,
    verdicts: u64,
}

struct Run {
    bench: Bench,
    token: String,
    price: usize,
    tenant: usize,
    expected: Expected,
    /// Hours that were handed over to be written.
    written: BTreeMap<Hour, Tally>,
}

impl Run {
    fn new() -> Self {
        let bench = Bench::new();
        let token = bench.token(1);
        let run = Self {
            bench,
            token,
            price: 0,
            tenant: 0,
            expected: Expected::default(),
            written: BTreeMap::new(),
        };
        run.put();
        run
    }

    fn put(&self) {
        let mut record = self.bench.record(7, &self.token);
        record.cost_per_request = Some(PRICES[self.price]);
        record.tenant_id = TENANTS[self.tenant].to_owned();
        self.bench.put(&record);
    }

    fn hour(&self) -> Hour {
        Hour::of(self.bench.clock.now().wall_us)
    }

    fn expect(&mut self, tally: &Tally) {
        let hour = self.hour();
        self.expected.by_hour.entry(hour).or_default().add(tally);
        self.expected.by_tenant.entry(TENANTS[self.tenant]).or_default().add(tally);
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small prices")]
    fn price_nano(&self) -> u64 {
        (PRICES[self.price] * 1e9).round() as u64
    }

    fn step(&mut self, step: Step) {
        let question = Question { token: &self.token, ..Question::default() };
        match step {
            Step::Ask(cost) => {
                let verdict = self.bench.ask(&Question { cost, ..question }).verdict;
                assert!(verdict.code.is_valid());
                self.expected.verdicts += 1;
                self.expect(&Tally::of_verdicts(1, cost, self.price_nano()));
            }
            Step::Peek => {
                let flags = keygate_protocol::ValidateFlags::PEEK;
                self.bench.ask(&Question { flags, cost: 1, ..question });
                self.bench.ask(&Question { cost: 0, ..question });
                self.bench.ask(&Question { flags, cost: 1, all: &["a:b"], ..question });
            }
            Step::Denied => {
                let answer = self.bench.ask(&Question { cost: 1, all: &["a:b"], ..question });
                assert_eq!(answer.verdict.code, VerdictCode::InsufficientScope);
                let mut tally = Tally::default();
                tally.deny(VerdictCode::InsufficientScope, 1);
                self.expect(&tally);
            }
            Step::Report(count, status) => {
                let counters = [("tokens", 5)];
                let report = Increment {
                    count,
                    status: Some(status),
                    latency_us: Some(900),
                    counters: Counters::of(&counters),
                    ..Increment::new(7)
                };
                self.bench.engine.increment(&report, self.bench.clock.now());
                let mut tally = Tally::default();
                tally.report(&report);
                self.expect(&tally);
            }
            Step::Change { price, tenant } => {
                (self.price, self.tenant) = (price, tenant);
                self.put();
            }
            Step::Wait(hundredths) => {
                (0..hundredths).for_each(|_| self.bench.clock.advance_us(STEP_US));
            }
            Step::Settle => self.settle(),
        }
    }

    fn settle(&mut self) {
        let now_us = self.bench.clock.now().wall_us;
        let mut ids = self.bench.engine.take_moved();
        ids.extend(self.bench.engine.keys_to_settle(now_us));
        for id in ids {
            let settled = self.bench.engine.take_usage(id, now_us).expect("the key is there");
            for closed in settled.closed {
                let HourTally { hour, tally } = closed.counted;
                assert!(!closed.adds, "the clock goes forward");
                assert!(self.written.insert(hour, tally).is_none(), "an hour is over once");
            }
        }
    }

    /// Compares with what the engine shows.
    fn check(&self) {
        let usage = self.bench.engine.usage(7, true);
        let mut by_hour = self.written.clone();
        for open in &usage.hours {
            by_hour.entry(open.hour).or_default().add(&open.tally);
        }
        let mut total = Tally::default();
        self.expected.by_hour.values().for_each(|tally| total.add(tally));
        assert_eq!(usage.total, total);
        assert_eq!(usage.total.requests, self.expected.verdicts);
        assert_eq!(by_hour, self.expected.by_hour);
    }
}

proptest! {
    #[test]
    fn everything_is_counted_once_in_its_hour_at_its_price_and_for_its_tenant(
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut run = Run::new();
        for step in steps {
            run.step(step);
            run.check();
        }
        run.settle();
        run.check();
        let mut all = Tally::default();
        for tenant in TENANTS {
            let sum = run.bench.engine.sum(Some(tenant)).0;
            let expected = run.expected.by_tenant.get(tenant).cloned().unwrap_or_default();
            prop_assert_eq!(&sum, &expected);
            all.add(&sum);
        }
        prop_assert_eq!(run.bench.engine.sum(None).0, all);
    }
}

#[test]
fn a_restart_goes_on_where_the_row_ends() {
    let mut run = Run::new();
    for step in [Step::Ask(1), Step::Ask(7), Step::Denied, Step::Report(2, 503), Step::Wait(130)] {
        run.step(step);
    }
    run.step(Step::Ask(1));
    let now_us = run.bench.clock.now().wall_us;
    let settled = run.bench.engine.take_usage(7, now_us).expect("the key is there");
    run.written.extend(settled.closed.into_iter().map(|it| (it.counted.hour, it.counted.tally)));
    // Another daemon, over what the first has stored.
    let next = Bench::new();
    (0..200).for_each(|_| next.clock.advance_us(STEP_US));
    run.bench = next;
    run.put();
    run.bench.engine.restore_usage(7, settled.row);
    run.check();
    for step in [Step::Ask(1), Step::Ask(7), Step::Settle] {
        run.step(step);
        run.check();
    }
}

#[test]
fn without_a_history_totals_are_told_and_nothing_else() {
    let mut run = Run::new();
    let limits =
        crate::engine::EngineLimits { usage_history: false, ..run.bench.engine.limits.clone() };
    let (pepper, prefixes) = (crate::key::Pepper::new(&[3; 32]), Default::default());
    run.bench.engine = crate::engine::Engine::new(pepper, prefixes, limits);
    run.put();
    for step in [Step::Ask(1), Step::Ask(7), Step::Denied, Step::Report(2, 503), Step::Wait(130)] {
        run.step(step);
    }
    run.step(Step::Ask(1));
    let now_us = run.bench.clock.now().wall_us;
    let row = run.bench.engine.take_usage(7, now_us).expect("the key is there").row;
    let more = row.total.more();
    assert_eq!((row.total.requests, more.reported, more.errors, more.denied()), (3, 2, 2, 0));
    assert!(row.hours.open().is_empty() && run.bench.engine.take_sums(now_us).is_empty());
}

#[test]
fn where_a_key_was_used_from_is_told() {
    use keygate_protocol::Validate;
    use keygate_protocol::validate::ValidateWriter;
    let run = Run::new();
    for address in ["203.0.113.7", "2001:db8::1"] {
        let address = address.parse().expect("an address");
        let mut out = bytes::BytesMut::new();
        let flags = keygate_protocol::ValidateFlags::NONE;
        let mut writer = ValidateWriter::new(&mut out, flags, 1, run.token.as_bytes());
        writer.address(address);
        let question = Validate::decode(&out).expect("well-formed");
        let now = run.bench.clock.now();
        run.bench.engine.validate(&[question], now, &mut crate::engine::Answers::default());
        assert_eq!(run.bench.engine.usage(7, false).last_used_from, Some(address));
        run.bench.engine.take_usage(7, now.wall_us);
    }
}
