//! What counting costs a decision and a report: with the history of usage and without.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use keygate::clock::{Clock, SystemClock};
use keygate::engine::{Answers, BATCH, Engine, EngineLimits};
use keygate::key::token::{Prefixes, random_bytes_for_token};
use keygate::key::{KeyRecord, Pepper};
use keygate_protocol::validate::ValidateWriter;
use keygate_protocol::{Counters, Increment, Validate, ValidateFlags};

const KEYS: u64 = 10_000;

struct Bench {
    engine: Engine,
    clock: SystemClock,
    payloads: Vec<BytesMut>,
    answers: Answers,
}

/// What a question is like.
#[derive(Clone, Copy)]
enum Kind {
    Valid,
    /// Valid, and costs more than one unit.
    Dear,
    /// Denied for its scope.
    Denied,
}

impl Bench {
    fn new(usage_history: bool, kind: Kind) -> Self {
        let limits = EngineLimits {
            keys_max: usize::MAX,
            expiry_warning_us: 0,
            increment_id_window_us: 600_000_000,
            increment_ids_max: 1_000_000,
            slots_max: 64,
            usage_history,
            usage_detail_bytes_max: 1 << 30,
        };
        let engine = Engine::new(Pepper::new(&[5; 32]), Prefixes::default(), limits);
        let clock = SystemClock::default();
        let payloads = (1..=KEYS).map(|id| {
            let digits = (0..4).cycle().map(|at| id / 62_u64.pow(at) % 62);
            let random: Vec<u8> = digits
                .map(|digit| u8::try_from(digit).expect("below 62"))
                .take(random_bytes_for_token())
                .collect();
            let token = engine.prefixes().make(false, &random).expect("enough bytes");
            let record = KeyRecord {
                id,
                key_hash: Some(engine.pepper().seal_token(token.as_bytes())),
                key_prefix: engine.prefixes().visible(&token),
                scopes: vec!["leads:read".to_owned()],
                requests_per_second: Some(1_000_000_000),
                cost_per_request: Some(0.0005),
                ..KeyRecord::default()
            };
            engine.put(&record, clock.now()).expect("room");
            let mut out = BytesMut::new();
            let cost = if matches!(kind, Kind::Dear) { 3 } else { 1 };
            let mut writer =
                ValidateWriter::new(&mut out, ValidateFlags::NONE, cost, token.as_bytes());
            writer.scope_all(if matches!(kind, Kind::Denied) { "no:no" } else { "leads:read" });
            out
        });
        let payloads = payloads.collect();
        Self { engine, clock, payloads, answers: Answers::default() }
    }

    fn decide(&mut self, at: &mut usize) {
        let questions: arrayvec::ArrayVec<Validate<'_>, BATCH> = (0..BATCH)
            .map(|_| {
                *at = (*at + 7919) % self.payloads.len();
                Validate::decode(&self.payloads[*at]).expect("well-formed")
            })
            .collect();
        self.engine.validate(&questions, self.clock.now(), &mut self.answers);
        black_box(&self.answers);
    }
}

fn decisions(c: &mut Criterion) {
    let mut group = c.benchmark_group("decision");
    group.throughput(Throughput::Elements(BATCH as u64));
    for (name, kind) in
        [("valid", Kind::Valid), ("cost of 3", Kind::Dear), ("denied", Kind::Denied)]
    {
        for history in [false, true] {
            let (mut bench, mut at) = (Bench::new(history, kind), 0);
            let id = BenchmarkId::new(name, if history { "with history" } else { "without" });
            group.bench_function(id, |b| b.iter(|| bench.decide(&mut at)));
        }
    }
    group.finish();
}

fn reports(c: &mut Criterion) {
    let mut group = c.benchmark_group("increment");
    let counters = [("tokens", 1532)];
    for (name, counted) in [("plain", &[][..]), ("with a counter", &counters[..])] {
        for history in [false, true] {
            let bench = Bench::new(history, Kind::Valid);
            let id = BenchmarkId::new(name, if history { "with history" } else { "without" });
            let mut key = 0;
            group.bench_function(id, |b| {
                b.iter(|| {
                    key = (key + 7919) % KEYS;
                    let report = Increment {
                        status: Some(200),
                        latency_us: Some(1500),
                        endpoint: Some("GET /v1/leads"),
                        counters: Counters::of(counted),
                        ..Increment::new(key + 1)
                    };
                    bench.engine.increment(black_box(&report), bench.clock.now())
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, decisions, reports);
criterion_main!(benches);
