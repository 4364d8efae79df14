//! The decision alone: random and hot keys, single and in batches, at 10 thousand and 1 million
//! keys; with scopes and a rate alone, with the rules of 1,000 distinct policies, with every durable
//! limit that a key and its tenant may have, and with a slot that is taken and given back too.
//! `KEYGATE_BENCH_KEYS=4000000` measures one size of your own.

use std::cell::RefCell;
use std::hint::black_box;

use arrayvec::ArrayVec;
use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use keygate::clock::{Clock, SystemClock};
use keygate::engine::{Answers, BATCH, Engine, EngineLimits};
use keygate::key::tenant::TenantLimits;
use keygate::key::token::{Prefixes, random_bytes_for_token};
use keygate::key::{Credits, KeyRecord, Pepper, TenantRecord};
use keygate::limit::LedgerState;
use keygate_protocol::validate::ValidateWriter;
use keygate_protocol::{Validate, ValidateFlags};
use zeroize::Zeroizing;

/// Questions in the ring that is walked: more than the caches hold entries for.
const RING: usize = 1 << 16;
/// Distinct sets of rules, where keys have any.
const POLICIES: u64 = 1000;

/// A cap that no bench comes to the end of.
const PLENTY: u64 = 1 << 62;

/// What keys have beside scopes and a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    /// Rules about where a request comes from.
    Ruled,
    /// Day, month and lifetime; and of the tenant second, day, month and lifetime.
    Limited,
    /// The same, and a slot, which is given back behind the decision.
    Slotted,
    /// The same, and a balance.
    Balanced,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Plain, Self::Ruled, Self::Limited, Self::Slotted, Self::Balanced];

    const fn title(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Ruled => ", 1000 policies",
            Self::Limited => ", all quotas",
            Self::Slotted => ", all quotas and a slot",
            Self::Balanced => ", all quotas, a slot and a balance",
        }
    }

    const fn is_limited(self) -> bool {
        matches!(self, Self::Limited | Self::Slotted | Self::Balanced)
    }
}

struct Bench {
    engine: Engine,
    clock: SystemClock,
    answers: RefCell<Answers>,
    payloads: Vec<BytesMut>,
}

fn token(number: u64) -> Zeroizing<String> {
    // Not secret: a reproducible stream that looks random to the index.
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03;
    let random: Vec<u8> = (0..random_bytes_for_token())
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect();
    Prefixes::default().make(false, &random).expect("enough bytes")
}

impl Bench {
    fn new(keys: u64, kind: Kind) -> Self {
        let ruled = kind == Kind::Ruled;
        let limits = EngineLimits {
            keys_max: usize::MAX,
            expiry_warning_us: 0,
            increment_id_window_us: 600_000_000,
            increment_ids_max: 1_000_000,
            slots_max: 1_000_000,
            usage_history: true,
            usage_detail_bytes_max: 1 << 30,
        };
        let engine = Engine::new(Pepper::new(&[5; 32]), Prefixes::default(), limits);
        let clock = SystemClock::default();
        // No ledger is kept here: what it would have to debit goes through.
        engine.set_ledger(LedgerState::Allows);
        if kind.is_limited() {
            for number in 0..1000 {
                let mut tenant = TenantRecord::unrecorded(&format!("tenant-{number}"));
                tenant.limits = TenantLimits {
                    requests_per_second: Some(1_000_000_000),
                    requests_per_day: Some(2_000_000_000),
                    monthly_request_quota: Some(PLENTY),
                    max_uses: Some(PLENTY),
                    ..TenantLimits::default()
                };
                engine.put_tenant(&tenant, clock.now());
            }
        }
        for id in 1..=keys {
            let token = token(id);
            let mut record = KeyRecord {
                id,
                key_hash: Some(engine.pepper().seal_token(token.as_bytes())),
                key_prefix: engine.prefixes().visible(&token),
                scopes: vec!["leads:read".to_owned(), "leads:write".to_owned()],
                requests_per_second: Some(1_000_000_000),
                tenant_id: format!("tenant-{}", id % 1000),
                ..KeyRecord::default()
            };
            if ruled {
                let policy = id % POLICIES;
                record.scopes.push(format!("team-{policy}:*"));
                record.allowed_ips = vec![
                    "192.0.2.0/24".to_owned(),
                    format!("10.{}.{}.0/24", policy / 250, policy % 250),
                ];
                record.allowed_domains =
                    vec!["*.example.org".to_owned(), format!("team-{policy}.example.com")];
                record.allowed_environments = vec!["production".to_owned()];
                record.data_residency = "eu-west-1".to_owned();
                record.api_version = "v1".to_owned();
                record.enforce_https = true;
            }
            if kind.is_limited() {
                record.requests_per_day = Some(2_000_000_000);
                record.monthly_request_quota = Some(PLENTY);
                record.max_uses = Some(PLENTY);
            }
            if matches!(kind, Kind::Slotted | Kind::Balanced) {
                record.concurrent_requests = Some(1000);
            }
            if kind == Kind::Balanced {
                record.credits = Some(Credits { balance: PLENTY, refill: None, granted_at: None });
            }
            engine.put(&record, clock.now()).expect("room");
        }
        let payloads = (0..RING as u64)
            .map(|n| {
                let id = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % keys + 1;
                let mut out = BytesMut::new();
                let token = token(id);
                let mut writer =
                    ValidateWriter::new(&mut out, ValidateFlags::NONE, 1, token.as_bytes());
                writer.scope_all("leads:read");
                if ruled {
                    let policy = id % POLICIES;
                    let address = format!("10.{}.{}.7", policy / 250, policy % 250);
                    writer.address(address.parse().expect("an address"));
                    writer.origin("https://a.b.example.org");
                    writer.environment("production");
                    writer.region("eu-west-1");
                    writer.api_version("v1");
                    writer.https(true);
                }
                out
            })
            .collect();
        Self { engine, clock, answers: RefCell::default(), payloads }
    }

    fn decide(&self, at: &mut usize, batch: usize, spread: usize) {
        let mut questions = ArrayVec::<Validate<'_>, BATCH>::new();
        for _ in 0..batch {
            *at = (*at + 1) % spread;
            questions.push(Validate::decode(&self.payloads[*at]).expect("well-formed"));
        }
        let mut answers = self.answers.borrow_mut();
        let now = self.clock.now();
        self.engine.validate(&questions, now, &mut answers);
        for answer in answers.iter() {
            if let Some(slot) = answer.verdict.slot {
                self.engine.release_slot(answer.verdict.key_id, slot, now);
            }
        }
        assert!(answers.iter().all(|answer| answer.verdict.code.is_valid()));
        black_box(&*answers);
    }
}

fn decisions(c: &mut Criterion) {
    let sizes = std::env::var("KEYGATE_BENCH_KEYS")
        .map_or(vec![10_000, 1_000_000], |keys| vec![keys.parse().expect("a number of keys")]);
    for (keys, kind) in sizes.into_iter().flat_map(|keys| Kind::ALL.map(|kind| (keys, kind))) {
        let bench = Bench::new(keys, kind);
        let mut group = c.benchmark_group(format!("decision/{keys} keys{}", kind.title()));
        for (name, batch, spread) in
            [("random", 1, RING), ("random", BATCH, RING), ("hot", 1, 16), ("hot", BATCH, 16)]
        {
            group.throughput(Throughput::Elements(batch as u64));
            let id = BenchmarkId::new(name, format!("batch of {batch}"));
            let mut at = 0;
            group.bench_function(id, |b| b.iter(|| bench.decide(&mut at, batch, spread)));
        }
        group.finish();
    }
}

criterion_group!(benches, decisions);
criterion_main!(benches);
