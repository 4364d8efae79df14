//! What durable limits cost the disk: 100,000 keys with a monthly quota, each used once a second, and
//! a ledger in either engine that debits their leases. Not a criterion bench: it counts syncs, over
//! a time. `KEYGATE_BENCH_KEYS` and `KEYGATE_BENCH_SECONDS` set other numbers.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use keygate::clock::{Clock, SystemClock};
use keygate::engine::{Answers, BATCH, Engine, EngineLimits, Wait};
use keygate::key::token::{Prefixes, random_bytes_for_token};
use keygate::key::{KeyRecord, Pepper};
use keygate::ledger::Ledger;
use keygate::limit::LedgerState;
use keygate::store::{Committer, CommitterOptions, KeyWrite, Keys, StoreEngine, Write, open};
use keygate_protocol::validate::ValidateWriter;
use keygate_protocol::{Validate, ValidateFlags, VerdictCode};

/// Units that each key may spend in a month.
const QUOTA: u64 = 10_000_000;

struct Bench {
    engine: Arc<Engine>,
    committer: Arc<Committer>,
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    /// Of each key, a request that costs so much that keys come to the half of their leases at
    /// different times, and one that costs one.
    payloads: [Vec<BytesMut>; 2],
    _dir: tempfile::TempDir,
}

/// What came of asking for a while.
#[derive(Default)]
struct Told {
    asked: u64,
    waited: u64,
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |number| number.parse().expect("a number"))
}

impl Bench {
    fn new(kind: StoreEngine, count: u64) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = open(kind, &dir.path().join("data"), &Default::default()).expect("a store");
        let keys = Keys::open(store).expect("its keys");
        let committer =
            Arc::new(Committer::start(&keys, &CommitterOptions::default()).expect("a thread"));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let limits = EngineLimits {
            keys_max: usize::MAX,
            expiry_warning_us: 0,
            increment_id_window_us: 0,
            increment_ids_max: 64,
            slots_max: 64,
            usage_history: true,
            usage_detail_bytes_max: 1 << 30,
        };
        let engine = Arc::new(Engine::new(Pepper::new(&[5; 32]), Prefixes::default(), limits));
        let mut payloads = [Vec::new(), Vec::new()];
        let ids: Vec<u64> = (1..=count).collect();
        for some in ids.chunks(50) {
            let mut writes = Vec::new();
            for id in some {
                // The id in base 62, again and again, so that no two are the same.
                let digits = (0..4).cycle().map(|at| id / 62_u64.pow(at) % 62);
                let random: Vec<u8> = digits
                    .map(|digit| u8::try_from(digit).expect("below 62"))
                    .take(random_bytes_for_token())
                    .collect();
                let token = engine.prefixes().make(false, &random).expect("enough bytes");
                let record = KeyRecord {
                    id: *id,
                    key_hash: Some(engine.pepper().seal_token(token.as_bytes())),
                    key_prefix: engine.prefixes().visible(&token),
                    tenant_id: "tenant".to_owned(),
                    monthly_request_quota: Some(QUOTA),
                    ..KeyRecord::default()
                };
                engine.put(&record, clock.now()).expect("room");
                writes.push(Write::Key(KeyWrite::Insert(Box::new(record))));
                for (payloads, cost) in payloads.iter_mut().zip([id % 50 + 1, 1]) {
                    let mut out = BytesMut::new();
                    ValidateWriter::new(&mut out, ValidateFlags::NONE, cost, token.as_bytes());
                    payloads.push(out);
                }
            }
            committer.commit(writes, false).expect("a commit");
        }
        let (of_ledger, at) = (Arc::clone(&committer), Arc::clone(&clock));
        let opened = Ledger::open(Arc::clone(&engine), &keys, of_ledger, at, LedgerState::Denies);
        let (ledger, _) = opened.expect("readable");
        ledger.start().expect("a thread");
        Self { engine, committer, ledger, clock, payloads, _dir: dir }
    }

    /// Every key once a second, spread over it.
    fn ask(&self, payloads: &[BytesMut], seconds: u64) -> Told {
        let (mut told, mut answers) = (Told::default(), Answers::default());
        let begun = Instant::now();
        for second in 0..seconds {
            for (at, some) in payloads.chunks(BATCH).enumerate() {
                let due = Duration::from_secs_f64((at * BATCH) as f64 / payloads.len() as f64);
                let due = Duration::from_secs(second) + due;
                thread::sleep(due.saturating_sub(begun.elapsed()));
                told.asked += some.len() as u64;
                let asked: Vec<_> =
                    some.iter().map(|it| Validate::decode(it).expect("well-formed")).collect();
                self.engine.validate(&asked, self.clock.now(), &mut answers);
                let waits: Vec<_> = answers.iter().filter_map(|it| it.wait.clone()).collect();
                told.waited += waits.len() as u64;
                assert!(answers.iter().all(|answer| {
                    matches!(answer.verdict.code, VerdictCode::Valid) || answer.wait.is_some()
                }));
                if self.engine.asks() {
                    self.ledger.nudge();
                }
                if !waits.is_empty() {
                    let (done, debited) = mpsc::channel();
                    let accounts: Vec<_> = waits.iter().flat_map(Wait::accounts).collect();
                    self.ledger.want(
                        accounts,
                        Box::new(move || {
                            let _ = done.send(());
                        }),
                    );
                    // They are not asked again: what waited was counted.
                    debited.recv().expect("called");
                }
            }
        }
        told
    }
}

fn main() {
    // `cargo test --benches` only wants to see it compile and start.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let (keys, seconds) =
        (number("KEYGATE_BENCH_KEYS", 100_000), number("KEYGATE_BENCH_SECONDS", 30));
    for kind in [StoreEngine::Sled, StoreEngine::Redb] {
        let bench = Bench::new(kind, keys);
        let [first, each] = &bench.payloads;
        let begin = bench.ask(first, 1);
        let (before, rows) = (bench.committer.stats(), bench.ledger.stats());
        let begun = Instant::now();
        let told = bench.ask(each, seconds);
        let took = begun.elapsed().as_secs_f64();
        let (after, end) = (bench.committer.stats(), bench.ledger.stats());
        println!(
            "{kind:?}: {keys} keys, {:.0} decisions a second: {:.1} syncs and {:.0} rows a second; \
             {} of {} requests waited, and of the {} that came first {}",
            told.asked as f64 / took,
            (after.groups - before.groups) as f64 / took,
            (end.rows - rows.rows) as f64 / took,
            told.waited,
            told.asked,
            begin.asked,
            begin.waited,
        );
        let begun = Instant::now();
        bench.ledger.stop().expect("settled");
        println!(
            "{kind:?}: a clean stop settles all of them in {:.2} s",
            begun.elapsed().as_secs_f64()
        );
    }
}
