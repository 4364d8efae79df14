//! Whether how long an answer takes tells a secret, as dudect asks it (Reparaz, Balasch, Verbauwhede,
//! "Dude, is my code constant time?"): two classes of input, one of them at random each time, and
//! Welch's t over what they took, of all and of those below each of many percentiles. A |t| above 10
//! is a leak, one above 4.5 is worth another run. A class that is known to leak must be found.
//!
//! `KEYGATE_TIMING_SAMPLES=2000000` takes more than the default of 400,000.

use std::cell::RefCell;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use bytes::BytesMut;
use keygate::clock::Now;
use keygate::engine::{Answers, Asker, Engine, EngineLimits};
use keygate::key::token::{Prefixes, random_bytes_for_token};
use keygate::key::{KeyRecord, Pepper, Time};
use keygate_protocol::validate::ValidateWriter;
use keygate_protocol::{Validate, ValidateFlags, VerdictCode};

const SAMPLES_DEFAULT: usize = 400_000;
const KEYS: u64 = 20_000;
/// Inputs of each class, so that no single token's place in memory speaks for its class.
const INPUTS: u64 = 512;
const SUSPECT: f64 = 4.5;
const LEAKS: f64 = 10.0;
const NOW: Now = Now { mono_ns: 1_000_000_000, wall_us: 1_800_000_000_000_000 };
const OWN: &str = "own";

/// A stream that looks random; nothing here is secret.
struct Stream(u64);

impl Stream {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn token(number: u64) -> String {
    let mut stream = Stream(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03);
    let random: Vec<u8> =
        (0..random_bytes_for_token()).map(|_| stream.next().to_le_bytes()[3]).collect();
    Prefixes::default().make(false, &random).expect("enough bytes").to_string()
}

/// Keys of another tenant, then deleted ones, then such that demand a client secret.
fn engine() -> Engine {
    let limits = EngineLimits {
        keys_max: usize::MAX,
        expiry_warning_us: 0,
        increment_id_window_us: 0,
        increment_ids_max: 0,
        slots_max: 0,
        usage_history: false,
        usage_detail_bytes_max: 0,
    };
    let engine = Engine::new(Pepper::new(&[5; 32]), Prefixes::default(), limits);
    for id in 1..=KEYS {
        let proven = id > 2 * INPUTS && id <= 3 * INPUTS;
        let record = KeyRecord {
            id,
            key_hash: Some(engine.pepper().seal_token(token(id).as_bytes())),
            key_prefix: "kg_live_".to_owned(),
            tenant_id: if proven { OWN.to_owned() } else { "another".to_owned() },
            deleted_at: (INPUTS < id && id <= 2 * INPUTS).then(|| Time::from_micros(NOW.wall_us)),
            requires_client_secret: proven,
            client_secret_hash: Some(engine.pepper().seal_token(SECRET)),
            ..KeyRecord::default()
        };
        engine.put(&record, NOW).expect("room");
    }
    engine
}

const SECRET: &[u8] = b"a client secret of some length";

fn question(token: &str, secret: Option<&[u8]>) -> BytesMut {
    let mut payload = BytesMut::new();
    let flags = ValidateFlags::PEEK;
    let mut writer = ValidateWriter::new(&mut payload, flags, 1, token.as_bytes());
    secret.iter().for_each(|secret| writer.client_secret(secret));
    payload
}

/// What the samples of both classes took, in nanoseconds.
type Taken = [Vec<f64>; 2];

/// Measures the two classes in random order.
/// `ready` prepares what is measured, untimed: inputs are copied to one place, or where they lie would
/// be told apart.
fn measure(
    samples: usize,
    mut ready: impl FnMut(usize, usize),
    mut run: impl FnMut(usize),
) -> Taken {
    let mut stream = Stream(0x2545_F491_4F6C_DD1D);
    let mut taken = [Vec::with_capacity(samples), Vec::with_capacity(samples)];
    for sample in 0..samples + samples / 20 {
        let random = stream.next() >> 20;
        let class = usize::from(random & 1 == 1);
        let input = usize::try_from((random >> 1) % INPUTS).unwrap_or_default();
        ready(class, input);
        let start = Instant::now();
        run(class);
        let ns = start.elapsed().as_nanos() as f64;
        // The first are the caches'.
        if sample >= samples / 20 {
            taken[class].push(ns);
        }
    }
    taken
}

/// The largest |t| of all samples, and of those below each of many percentiles of both together.
fn largest_t(taken: &Taken) -> f64 {
    let mut sorted: Vec<f64> = taken.iter().flatten().copied().collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let share = |percent: usize| sorted[(sorted.len() - 1) * percent / 100];
    let bounds = (50..=99).step_by(7).map(share).chain([f64::INFINITY]);
    bounds.map(|bound| welch(taken, bound).abs()).fold(0.0, f64::max)
}

fn welch(taken: &Taken, bound: f64) -> f64 {
    let [(mean_a, error_a), (mean_b, error_b)] = [0, 1].map(|class| {
        let below = || taken[class].iter().filter(|ns| **ns <= bound);
        let count = below().count().max(2) as f64;
        let mean = below().sum::<f64>() / count;
        let variance = below().map(|ns| (ns - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, variance / count)
    });
    let error = (error_a + error_b).sqrt();
    if error > 0.0 { (mean_a - mean_b) / error } else { 0.0 }
}

fn median(ns: &[f64]) -> f64 {
    let mut sorted = ns.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// Says what came of two classes; whether they are told apart.
fn report(what: &str, taken: &Taken) -> bool {
    let t = largest_t(taken);
    let verdict = if t > LEAKS {
        "LEAKS"
    } else if t > SUSPECT {
        "suspect, run again"
    } else {
        "no difference found"
    };
    let [a, b] = [0, 1].map(|class| median(&taken[class]));
    println!("{what:<58} {a:>6.0} ns {b:>6.0} ns   |t| {t:>8.2}   {verdict}");
    t > LEAKS
}

fn main() -> ExitCode {
    let samples = std::env::var("KEYGATE_TIMING_SAMPLES").ok().and_then(|text| text.parse().ok());
    let samples = samples.unwrap_or(SAMPLES_DEFAULT);
    let engine = engine();
    let mut answers = Answers::default();
    let inputs = |first: u64, secret: Option<&[u8]>| -> Vec<BytesMut> {
        (first + 1..=first + INPUTS).map(|number| question(&token(number), secret)).collect()
    };
    // Spread over the catalog, as what is read for tokens that nobody has.
    let others = (0..INPUTS).map(|number| question(&token(2000 + number * 35), None)).collect();
    let unknown = || inputs(10 * KEYS, None);
    let (mut first, mut last) = (SECRET.to_vec(), SECRET.to_vec());
    first[0] ^= 1;
    *last.last_mut().expect("some bytes") ^= 1;
    let wrong = VerdictCode::ClientSecretWrong;
    let cases = [
        ("unknown, another tenant's", [unknown(), others], VerdictCode::NotFound),
        ("unknown, deleted", [unknown(), inputs(INPUTS, None)], VerdictCode::NotFound),
        ("unknown, unknown", [unknown(), inputs(11 * KEYS, None)], VerdictCode::NotFound),
        (
            "client secret wrong in its first byte, in its last",
            [inputs(2 * INPUTS, Some(&first)), inputs(2 * INPUTS, Some(&last))],
            wrong,
        ),
    ];
    let asker = Asker { tenant: Some(OWN), ..Asker::default() };
    let mut leaks = false;
    for (what, classes, code) in &cases {
        let payload = RefCell::new(Vec::with_capacity(1024));
        let ready = |class: usize, input: usize| {
            let mut payload = payload.borrow_mut();
            payload.clear();
            payload.extend_from_slice(&classes[class][input]);
        };
        let taken = measure(samples, ready, |_| {
            if let Ok(question) = Validate::decode(black_box(&payload.borrow())) {
                engine.validate_for(asker, &[question], NOW, &mut answers);
            }
            assert_eq!(answers[0].verdict.code, *code, "{what}");
        });
        leaks |= report(what, &taken);
    }
    // Two hashes that are compared from the front, which is what must not be done.
    let hashes = [[7_u8; 4096]; 2].map(|hash| hash.to_vec());
    let mut ends_soon = hashes[0].clone();
    ends_soon[0] ^= 1;
    let mut ends_late = hashes[0].clone();
    ends_late[4095] ^= 1;
    let taken = measure(
        samples,
        |_, _| {},
        |class| {
            let other = if class == 0 { &ends_soon } else { &ends_late };
            black_box(black_box(&hashes[0]).iter().zip(black_box(other)).all(|(a, b)| a == b));
        },
    );
    let found = report("self-test: a comparison that ends at the first difference", &taken);
    if !found {
        println!("the self-test found nothing: what is above shows nothing");
    }
    if found && !leaks { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
