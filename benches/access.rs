//! The rules about where a request comes from: whole decisions on one key with 64 scopes, 64 blocks
//! and 64 domains, beside the same key without rules. The question is asked of a hot key, so that
//! what is measured is the checks and not the way to the key.

use std::cell::RefCell;
use std::hint::black_box;
use std::net::IpAddr;

use bytes::BytesMut;
use criterion::{Criterion, criterion_group, criterion_main};
use keygate::clock::{Clock, SystemClock};
use keygate::engine::{Answers, Engine, EngineLimits};
use keygate::key::token::{Prefixes, random_bytes_for_token};
use keygate::key::{KeyRecord, Pepper};
use keygate_protocol::validate::ValidateWriter;
use keygate_protocol::{Validate, ValidateFlags, VerdictCode};

/// Entries of each list.
const ENTRIES: usize = 64;

/// What a key has, and what is asked of it.
struct Case {
    name: &'static str,
    code: VerdictCode,
    scope: fn(usize) -> String,
    block: fn(usize) -> String,
    domain: fn(usize) -> String,
    address: &'static str,
    origin: &'static str,
    /// How many of the key's scopes are demanded, from the last on.
    demanded: usize,
}

const PLAIN: Case = Case {
    name: "last of each",
    code: VerdictCode::Valid,
    scope: |n| format!("resource-{n:02}:read"),
    block: |n| format!("10.{}.0.0/16", 2 * n),
    domain: |n| format!("app-{n:02}.example.com"),
    address: "10.126.255.255",
    origin: "https://app-63.example.com:8443",
    demanded: 1,
};

fn v6(n: usize) -> String {
    format!("2001:db8:{:x}::/48", 2 * n)
}

const CASES: &[Case] = &[
    PLAIN,
    Case { name: "last of each, IPv6", block: v6, address: "2001:db8:7e:ffff::1", ..PLAIN },
    Case {
        name: "wildcard domain, 5 levels deep",
        domain: |n| format!("*.app-{n:02}.example.com"),
        origin: "https://a.b.c.d.e.app-63.example.com:8443",
        ..PLAIN
    },
    Case { name: "origin in upper case", origin: "HTTPS://APP-63.EXAMPLE.COM:8443", ..PLAIN },
    Case {
        name: "origin not ASCII",
        domain: |n| format!("bücher-{n:02}.example"),
        origin: "https://bücher-63.example",
        ..PLAIN
    },
    Case {
        name: "no block has it",
        code: VerdictCode::AddressNotAllowed,
        address: "10.127.0.0",
        ..PLAIN
    },
    Case {
        name: "no wildcard domain covers it, 12 levels",
        code: VerdictCode::DomainNotAllowed,
        domain: |n| format!("*.app-{n:02}.example.com"),
        origin: "https://a.b.c.d.e.f.g.h.i.app-64.example.com",
        ..PLAIN
    },
    Case {
        name: "wildcard scopes, the last grants",
        scope: |n| format!("resource-{n:02}:*"),
        ..PLAIN
    },
    Case { name: "64 scopes demanded", demanded: ENTRIES, ..PLAIN },
];

struct Bench {
    engine: Engine,
    clock: SystemClock,
    answers: RefCell<Answers>,
    payload: BytesMut,
    code: VerdictCode,
}

impl Bench {
    fn new(case: &Case, ruled: bool) -> Self {
        let limits = EngineLimits {
            keys_max: 10,
            expiry_warning_us: 0,
            increment_id_window_us: 600_000_000,
            increment_ids_max: 64,
            slots_max: 1_000_000,
            usage_history: true,
            usage_detail_bytes_max: 1 << 30,
        };
        let engine = Engine::new(Pepper::new(&[5; 32]), Prefixes::default(), limits);
        let clock = SystemClock::default();
        let random = vec![7; random_bytes_for_token()];
        let token = engine.prefixes().make(false, &random).expect("enough bytes");
        let list = |entry: fn(usize) -> String| (0..ENTRIES).map(entry).collect::<Vec<_>>();
        let scopes = list(case.scope);
        let mut record = KeyRecord {
            id: 1,
            key_hash: Some(engine.pepper().seal_token(token.as_bytes())),
            scopes: scopes.clone(),
            requests_per_second: Some(1_000_000_000),
            ..KeyRecord::default()
        };
        if ruled {
            record.allowed_ips = list(case.block);
            record.allowed_domains = list(case.domain);
        }
        engine.put(&record, clock.now()).expect("room");
        let mut payload = BytesMut::new();
        let mut writer =
            ValidateWriter::new(&mut payload, ValidateFlags::NONE, 1, token.as_bytes());
        writer.address(case.address.parse::<IpAddr>().expect("an address"));
        writer.origin(case.origin);
        for scope in &scopes[ENTRIES - case.demanded..] {
            writer.scope_all(&scope.replace('*', "read"));
        }
        let code = if ruled { case.code } else { VerdictCode::Valid };
        Self { engine, clock, answers: RefCell::default(), payload, code }
    }

    fn decide(&self) {
        let question = Validate::decode(&self.payload).expect("well-formed");
        let mut answers = self.answers.borrow_mut();
        self.engine.validate(&[question], self.clock.now(), &mut answers);
        assert_eq!(answers[0].verdict.code, self.code);
        black_box(&*answers);
    }
}

fn rules(c: &mut Criterion) {
    let mut group = c.benchmark_group("access");
    let bench = Bench::new(&PLAIN, false);
    group.bench_function("no rules but 64 scopes", |b| b.iter(|| bench.decide()));
    for case in CASES {
        let bench = Bench::new(case, true);
        group.bench_function(case.name, |b| b.iter(|| bench.decide()));
    }
    group.finish();
}

criterion_group!(benches, rules);
criterion_main!(benches);
