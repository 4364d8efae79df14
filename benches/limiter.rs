//! The limiter: one judgement under its lock, beside a counter under the same kind of lock.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use keygate::limit::{LimitSet, LimitState, Rate};
use parking_lot::Mutex;

fn limiter(c: &mut Criterion) {
    let mut group = c.benchmark_group("limiter");
    let counter = Mutex::new(0_u64);
    group.bench_function("yardstick: a counter under a lock", |b| {
        b.iter(|| {
            let mut count = counter.lock();
            *count = black_box(*count + 1);
        });
    });
    let cases = [
        ("admitted, 1,000,000 a second", Rate::per_second(1_000_000, 1_000_000)),
        ("denied, 1 a second", Rate::per_second(1, 1)),
        ("denied, 7 a minute", Rate::new(7, 60_000_000_000, 7)),
    ];
    for (name, rate) in cases {
        let limits = LimitSet { second: Some(rate) };
        let state = Mutex::new(LimitState::default());
        let mut now_ns = 1_000_000_000;
        group.bench_function(name, |b| {
            b.iter(|| {
                now_ns += 1000;
                black_box(limits.decide(&mut state.lock(), 1, black_box(now_ns), true))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, limiter);
criterion_main!(benches);
