//! What the history of usage takes: on disk, of keys that were used in every hour of 400 days, over both
//! engines; and in memory, of keys that were used. Figures, not times: see README.md.

use std::sync::Arc;

use bytes::BytesMut;
use keygate::clock::{Clock, ManualClock};
use keygate::engine::{Answers, Engine, EngineLimits};
use keygate::key::token::{Prefixes, random_bytes_for_token};
use keygate::key::{KeyRecord, Pepper};
use keygate::store::{
    Committer, CommitterOptions, KeyWrite, Keys, StoreEngine, StoreOptions, Whose, Write, jobs,
    open,
};
use keygate::usage::{Day, Hour, MonthRow, Tally};
use keygate_protocol::validate::ValidateWriter;
use keygate_protocol::{Counters, Increment, Validate, ValidateFlags, VerdictCode};

/// 2026-11-25T12:00:00Z.
const NOW: Hour = Hour(498_780);
/// Hours that stand by themselves at the most.
const HOURS: u32 = 71;
const DAYS: u32 = 400;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// An hour in which a key was used and reported, and denied now and then.
fn busy(times: u32) -> Tally {
    let mut tally = Tally::of_verdicts(u64::from(times), u64::from(times), 500_000);
    let counters = [("tokens", 1532)];
    for n in 0..times {
        let report = Increment {
            status: Some(if n % 50 == 0 { 503 } else { 200 }),
            // From one millisecond to forty.
            latency_us: Some(1000 + n % 40 * 1000),
            counters: Counters::of(&counters),
            ..Increment::new(1)
        };
        tally.report(&report);
    }
    tally.deny(VerdictCode::RateExceeded, 3);
    tally
}

fn disk(kind: StoreEngine, count: u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(kind, &dir.path().join("data"), &StoreOptions::default()).expect("a store");
    let keys = Keys::open(store).expect("a store");
    let committer = Committer::start(&keys, &CommitterOptions::default()).expect("threads");
    let commit = |units: Vec<Vec<Write>>| {
        jobs::jobs(units).for_each(|job| committer.commit(job, true).expect("written"));
    };
    let insert = |id| {
        let key_hash = Some(Pepper::new(&[5; 32]).seal_token(&u64::to_le_bytes(id)));
        let record = KeyRecord { id, key_hash, ..KeyRecord::default() };
        vec![Write::Key(KeyWrite::Insert(Box::new(record)))]
    };
    commit((1..=count).map(insert).collect());
    let before = keys.bytes_on_disk().expect("readable");
    let (hour, mut day) = (busy(500), Tally::default());
    (0..24).for_each(|_| day.add(&hour));
    let hours: Vec<u32> = (NOW.0 - HOURS..NOW.0).collect();
    let mut months = std::collections::BTreeMap::<u32, MonthRow>::new();
    for at in NOW.day().0 - DAYS..NOW.day().0 {
        months.entry(Day(at).month()).or_default().insert(at, day.clone());
    }
    for id in 1..=count {
        let whose = Whose::Key(id);
        let hours = hours.iter().map(|at| Write::hour(whose, Hour(*at), &hour));
        let months = months.iter().map(|(month, row)| Write::month(whose, *month, row));
        let history = hours.chain(months).map(|write| write.expect("small"));
        commit(vec![history.collect()]);
    }
    let after = keys.bytes_on_disk().expect("readable");
    println!("{kind:?}: {} bytes of history a key on disk", (after - before) / count);
}

/// Memory that is resident, in bytes.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = pages.split(' ').nth(1).expect("a figure").parse().expect("a number");
    pages * 4096
}

fn memory(count: u64) {
    let engine = Engine::new(
        Pepper::new(&[5; 32]),
        Prefixes::default(),
        EngineLimits {
            keys_max: usize::try_from(count).expect("few"),
            expiry_warning_us: 0,
            increment_id_window_us: 1,
            increment_ids_max: 64,
            slots_max: 64,
            usage_history: true,
            usage_detail_bytes_max: 1 << 30,
        },
    );
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW.start_us()));
    let now = clock.now();
    let token = |id: u64| {
        let digits = (0..4).cycle().map(|at| id / 62_u64.pow(at) % 62);
        let random: Vec<u8> = digits
            .map(|digit| u8::try_from(digit).expect("below 62"))
            .take(random_bytes_for_token())
            .collect();
        engine.prefixes().make(false, &random).expect("enough bytes")
    };
    for id in 1..=count {
        let key_hash = Some(engine.pepper().seal_token(token(id).as_bytes()));
        engine.put(&KeyRecord { id, key_hash, ..KeyRecord::default() }, now).expect("room");
    }
    let settle = |now_us| {
        let mut ids = engine.take_moved();
        ids.extend(engine.keys_to_settle(now_us));
        ids.iter().for_each(|id| drop(engine.take_usage(*id, now_us)));
    };
    let mut last = resident();
    let mut told = |what: &str| {
        let now = resident();
        println!("{} bytes a key in memory {what}", now.saturating_sub(last) / count);
        last = now;
    };
    let mut answers = Answers::default();
    for id in 1..=count {
        let mut out = BytesMut::new();
        ValidateWriter::new(&mut out, ValidateFlags::NONE, 1, token(id).as_bytes());
        let question = Validate::decode(&out).expect("well-formed");
        engine.validate(&[question], now, &mut answers);
        assert!(answers[0].verdict.code.is_valid());
    }
    settle(now.wall_us);
    told("more once it was used, in the hour in which it was");
    for id in 1..=count {
        let report = Increment {
            status: Some(200),
            latency_us: Some(1000),
            endpoint: Some("GET /v1/leads"),
            ..Increment::new(id)
        };
        engine.increment(&report, now);
    }
    settle(now.wall_us);
    told("more once a report came, of one endpoint");
}

fn main() {
    // `cargo test --benches` only wants to see it compile and start.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    for kind in [StoreEngine::Sled, StoreEngine::Redb] {
        disk(kind, number("KEYGATE_BENCH_KEYS", 2000));
    }
    memory(number("KEYGATE_BENCH_KEYS_IN_MEMORY", 200_000));
}
