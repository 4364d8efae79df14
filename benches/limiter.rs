//! The limiter: one judgement under its lock, beside a counter under the same kind of lock; a rate
//! alone, and a budget with every limit a key can have.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use keygate::clock::Now;
use keygate::limit::{
    Ask, Budget, Calendar, Judging, LedgerState, NamedPlaces, Names, PerSecond, RateState, Reports,
    Terms, Windows,
};
use keygate_protocol::LimitName;
use keygate_protocol::verdict::Limits;
use parking_lot::Mutex;

/// A cap that no bench comes to the end of.
const PLENTY: u64 = 1 << 62;

const fn ask(calendar: &Calendar, mono_ns: u64) -> Ask<'_> {
    Ask {
        cost: 1,
        spends: true,
        now: Now { mono_ns, wall_us: 0 },
        calendar,
        void: Windows { day: 0, month: 0 },
        said: Windows::LAST,
        ledger: LedgerState::Allows,
    }
}

fn limiter(c: &mut Criterion) {
    let mut group = c.benchmark_group("limiter");
    let counter = Mutex::new(0_u64);
    group.bench_function("yardstick: a counter under a lock", |b| {
        b.iter(|| {
            let mut count = counter.lock();
            *count = black_box(*count + 1);
        });
    });
    let calendar = Calendar::at(0);
    let cases = [
        ("admitted, 1,000,000 a second", PerSecond::new(1_000_000, 1_000_000)),
        ("denied, 1 a second", PerSecond::new(1, 1)),
        ("denied, 1 a second, a burst of 2^32", PerSecond::new(1, 1 << 32)),
    ];
    for (name, second) in cases {
        let state = Mutex::new(RateState::default());
        let mut limits = Limits::NONE;
        let mut now_ns = 1_000_000_000;
        group.bench_function(name, |b| {
            b.iter(|| {
                now_ns += 1000;
                let ask = ask(&calendar, black_box(now_ns));
                let (mut state, mut judging) = (state.lock(), Judging::default());
                let next = second.judge(*state, LimitName::Second, &ask, &mut judging);
                let denied = judging.denied_by().is_some();
                if !denied {
                    *state = next;
                }
                limits.clear();
                let mut reports = Reports::new(&mut limits, denied);
                second.report(*state, LimitName::Second, &ask, &mut reports);
                black_box(reports.near_end())
            });
        });
    }
    let terms = Terms { day: PLENTY, month: PLENTY, lifetime: PLENTY, ..Terms::default() };
    let budget = Mutex::new(Budget::new(&terms));
    let (places, mut limits) = (NamedPlaces::new(), Limits::NONE);
    group.bench_function("day, month and lifetime", |b| {
        b.iter(|| {
            let ask = ask(&calendar, black_box(1_000_000_000));
            let (mut budget, mut judging) = (budget.lock(), Judging::default());
            budget.enter(&ask);
            budget.judge(&Names::KEY, &ask, &mut judging);
            budget.spend(&places, &ask);
            limits.clear();
            let mut reports = Reports::new(&mut limits, judging.denied_by().is_some());
            budget.report(&Names::KEY, &ask, &mut reports);
            black_box(reports.near_end())
        });
    });
    group.finish();
}

criterion_group!(benches, limiter);
criterion_main!(benches);
