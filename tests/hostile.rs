//! Clients that mean harm, and a neighbour that means none: through all of it the daemon's memory,
//! which is looked at while the attack goes on, stays within a stated bound, and every question of the neighbour is answered within its deadline.
//!
//! The sizes are those of a CI run; `KEYGATE_HOSTILE=10` makes everything ten times as many, and the
//! idle connections 10,000 where the system lets a process have so many.

mod support;

use std::fs;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use keygate_protocol::validate::ValidateWriter;
use keygate_protocol::{ErrorCode, Flags, Opcode, ValidateFlags, VerdictCode};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use support::wire::{request, validate};
use support::{DEADLINE, Home};

/// What an answer to the neighbour may take: a client's usual deadline, and far beyond what a machine
/// under load needs.
const NEIGHBOUR_WAITS_MAX: Duration = Duration::from_secs(2);
/// What the daemon may have grown by at any moment of an attack, beyond what is stated for it: buffers
/// of the neighbour, of the allocator and of the store's own work.
const GROWTH_BYTES_MAX: u64 = 2 << 20;
/// What a connection may hold on which a frame has begun whose end never comes, whatever it says that
/// its length is: that of an idle one.
const HALF_FRAME_BYTES_MAX: u64 = IDLE_CONNECTION_BYTES_MAX;
/// What one may hold that never reads: what is to be written (`reply_bytes_max`), the frames that were
/// read at once, and what the allocator makes of both.
const READER_BYTES_MAX: u64 = 256 << 10;
/// Between two looks at the daemon's memory.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// What one idle connection may hold: buffers and task, 8 to 11 KiB of a debug build.
const IDLE_CONNECTION_BYTES_MAX: u64 = 16 << 10;
/// What the daemon may grow by where nothing is to be kept: less than the header that is sent, or than
/// [`ADDRESSES`] would take, were each remembered (32 bytes and a place in a map).
const NOTHING_KEPT_BYTES_MAX: u64 = 768 << 10;
/// Addresses that lookups fail from, for each unit of scale.
const ADDRESSES: usize = 50_000;
/// Connections that are opened and kept idle, for each unit of scale.
const IDLE_CONNECTIONS: usize = 1000;
/// Descriptors that the test and the daemon need beside those.
const DESCRIPTORS_SPARE: u64 = 200;

/// How much larger than in CI everything is.
fn scale() -> usize {
    std::env::var("KEYGATE_HOSTILE").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// What of a process is in memory ("VmRSS"), or was at the most ("VmHWM"), in bytes.
fn resident_bytes(id: u32, which: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(which)?.strip_prefix(':'));
    let kib: u64 = line.expect("a line").trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}

/// Looks at a process's memory until it is told to end, and keeps the most.
struct Looker {
    end: Arc<AtomicBool>,
    thread: thread::JoinHandle<u64>,
}

impl Looker {
    fn start(id: u32) -> Self {
        let end = Arc::<AtomicBool>::default();
        let ends = Arc::clone(&end);
        // The kernel keeps the most itself, and forgets it for root alone: the daemon's files in /proc
        // are not its user's. Looks see what holds for longer than they are apart.
        let counts = fs::write(format!("/proc/{id}/clear_refs"), "5").is_ok();
        let thread = thread::spawn(move || {
            let mut most = 0;
            while !ends.load(Ordering::Relaxed) {
                most = most.max(resident_bytes(id, "VmRSS"));
                thread::sleep(LOOK_EVERY);
            }
            if counts { most.max(resident_bytes(id, "VmHWM")) } else { most }
        });
        Self { end, thread }
    }

    fn stop(self) -> u64 {
        self.end.store(true, Ordering::Relaxed);
        self.thread.join().expect("it looked")
    }
}

/// Asks one question after another until it is told to end, and times each.
struct Neighbour {
    end: Arc<AtomicBool>,
    slowest: Arc<Mutex<Duration>>,
    thread: thread::JoinHandle<u64>,
}

impl Neighbour {
    fn start(home: &Home, token: &str) -> Self {
        let (end, slowest) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Duration>>::default());
        let (ends, times) = (Arc::clone(&end), Arc::clone(&slowest));
        let (mut wire, question) = (home.wire(), validate(token));
        let thread = thread::spawn(move || {
            let mut asked = 0;
            while !ends.load(Ordering::Relaxed) {
                let start = Instant::now();
                wire.send(Opcode::Validate, 1, &question);
                assert_eq!(wire.read().verdict().code, VerdictCode::Valid);
                let mut slowest = times.lock().expect("nobody panicked");
                *slowest = start.elapsed().max(*slowest);
                asked += 1;
            }
            asked
        });
        Self { end, slowest, thread }
    }

    fn stop(self, attack: &str) {
        self.end.store(true, Ordering::Relaxed);
        let asked = self.thread.join().expect("every question was answered as valid");
        let slowest = *self.slowest.lock().expect("nobody panicked");
        assert!(asked > 0, "{attack}: the neighbour was never answered");
        println!("{attack}: {asked} answers to the neighbour, the slowest in {slowest:?}");
        assert!(slowest <= NEIGHBOUR_WAITS_MAX, "{attack}: an answer took {slowest:?}");
    }
}

/// Has the test, and with it the daemon, which inherits it, take so many connections, each of which
/// needs a descriptor at both sides; or as many as the system lets it, which is told.
fn raise_descriptors(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let needed = wanted as u64 + DESCRIPTORS_SPARE;
    let most = limit.maximum.unwrap_or(u64::MAX);
    let raised =
        Rlimit { current: Some(needed.max(limit.current.unwrap_or(0)).min(most)), ..limit };
    setrlimit(Resource::Nofile, raised).expect("a process may raise it to its bound");
    wanted.min(usize::try_from(most.saturating_sub(DESCRIPTORS_SPARE)).unwrap_or(wanted))
}

/// Runs an attack beside a neighbour; at no moment of it has memory grown by more than is allowed.
fn beside_a_neighbour(config: &str, attack: &str, allowed: u64, run: impl FnOnce(&Home, &str)) {
    let home = Home::with(config);
    let daemon = home.start();
    let (_, token) = home.create(&["--name", "neighbour"]);
    let neighbour = Neighbour::start(&home, &token);
    let before = resident_bytes(daemon.id(), "VmRSS");
    let looker = Looker::start(daemon.id());
    run(&home, &token);
    let most = looker.stop();
    neighbour.stop(attack);
    let grown = most.saturating_sub(before);
    println!("{attack}: at most {} KiB more in memory, {} allowed", grown / 1024, allowed / 1024);
    assert!(grown <= allowed, "{attack}: {grown} bytes more in memory, {allowed} are allowed");
    daemon.stop();
}

#[test]
fn half_frames_and_lying_lengths_cost_a_connection_each() {
    let rounds = 50 * scale();
    raise_descriptors(2 * rounds);
    // Long enough for all of them to be there at a time.
    let config = format!(
        "[limits]\nframe_timeout_ms = {}\nconnections_max = {}\n",
        2000 * scale(),
        2 * rounds + 16
    );
    let allowed = GROWTH_BYTES_MAX + 2 * rounds as u64 * HALF_FRAME_BYTES_MAX;
    beside_a_neighbour(&config, "half frames", allowed, |home, token| {
        let whole = request(Opcode::Validate, Flags::NONE, 3, &validate(token));
        let mut silent = Vec::new();
        for round in 0..rounds {
            // Every length of beginning, then silence.
            let mut cut = home.wire();
            cut.write(&whole[..1 + round % (whole.len() - 1)]);
            // A length of which only a little ever comes.
            let mut lies = home.wire();
            lies.write(&60_000_u32.to_le_bytes());
            lies.write(&whole[4..]);
            // Lengths that are refused before anything is made of them.
            for length in [u32::MAX, 1 << 31, 65_537, 7, 0] {
                let mut wire = home.wire();
                wire.write(&[&length.to_le_bytes()[..], &[0; 8]].concat());
                wire.closes_with(ErrorCode::BadFrame);
            }
            silent.extend([cut, lies]);
        }
        for mut wire in silent {
            wire.closes_with(ErrorCode::TimedOut);
        }
    });
}

#[test]
fn a_megabyte_of_header_is_refused_at_its_first_bytes() {
    beside_a_neighbour("", "a megabyte of header", NOTHING_KEPT_BYTES_MAX, |home, _| {
        let megabyte = vec![b'A'; 1 << 20];
        for _ in 0..20 * scale() {
            // Whether it is all taken is the daemon's affair; it is told and closed.
            let mut wire = home.wire();
            let _ = wire.try_write(b"GET / HTTP/1.1\r\nX: ");
            let _ = wire.try_write(&megabyte);
            let refused = wire.next().map(|reply| reply.error().0);
            assert!(matches!(refused, Some(ErrorCode::BadFrame) | None), "{refused:?}");
        }
    });
}

#[test]
fn idle_connections_cost_little_and_the_last_of_too_many_is_told() {
    let idle = raise_descriptors(IDLE_CONNECTIONS * scale());
    let allowed = GROWTH_BYTES_MAX + idle as u64 * IDLE_CONNECTION_BYTES_MAX;
    let config = format!("[limits]\nconnections_max = {}\n", idle + 1);
    beside_a_neighbour(&config, "idle connections", allowed, |home, _| {
        let open = |_| UnixStream::connect(home.socket()).expect("the socket takes connections");
        let held: Vec<UnixStream> = (0..idle).map(open).collect();
        // With the neighbour's that is as many as may be: whoever comes now is told so.
        let message = home.wire().closes_with(ErrorCode::TooManyConnections);
        assert!(message.contains(&(idle + 1).to_string()), "{message}");
        println!("idle connections: {} held", held.len());
        drop(held);
        // And has room when they have gone.
        let start = Instant::now();
        loop {
            let mut wire = home.wire();
            // One that is refused may find its connection ended before it has asked.
            let asked = wire.try_write(&request(Opcode::Ping, Flags::NONE, 1, b"room?"));
            match asked.ok().and_then(|()| wire.next()) {
                Some(reply) if reply.opcode == Opcode::Ping.reply() => break,
                _ => assert!(start.elapsed() < DEADLINE, "there is no room"),
            }
        }
    });
}

#[test]
fn readers_that_never_read_hold_what_is_allowed_and_are_cut() {
    let config = "[limits]\nwrite_timeout_ms = 500\nreply_bytes_max = 65536\n";
    let allowed = GROWTH_BYTES_MAX + 10 * scale() as u64 * READER_BYTES_MAX;
    beside_a_neighbour(config, "readers that never read", allowed, |home, _| {
        let ping = request(Opcode::Ping, Flags::NONE, 1, &[7; 32 * 1024]);
        let hold = |_| {
            let mut wire = home.wire();
            // Until the daemon reads no more of it, and then until it ends the connection.
            for _ in 0..1_000_000 {
                if wire.try_write(&ping).is_err() {
                    return;
                }
            }
            panic!("a reader that never reads was served for ever");
        };
        thread::scope(|scope| {
            (0..10 * scale()).for_each(|number| drop(scope.spawn(move || hold(number))));
        });
    });
}

#[test]
fn floods_of_unknown_tokens_are_throttled_by_address_and_remember_no_more_than_they_may() {
    let config =
        "[throttle]\naddress_failures_per_minute = 60\naddress_burst = 10\ncells_max = 1024\n";
    beside_a_neighbour(
        config,
        "floods of unknown tokens",
        NOTHING_KEPT_BYTES_MAX,
        |home, known| {
            let question = |token: &str, address: [u8; 4]| {
                let mut payload = BytesMut::new();
                let flags = ValidateFlags::NONE;
                ValidateWriter::new(&mut payload, flags, 1, token.as_bytes())
                    .address(address.into());
                payload
            };
            // Of the right form, and no key's: that of SPEC §6.3.
            let unknown = "kg_live_0123456789ABCDEFGHIJKLMNOPQRSTUV03NzCm";
            let mut wire = home.wire();
            let mut ask = |token: &str, address| {
                wire.send(Opcode::Validate, 1, &question(token, address));
                wire.read().verdict().code
            };
            let guesser = [203, 0, 113, 7];
            let looked_up = |code: &VerdictCode| *code == VerdictCode::NotFound;
            let start = Instant::now();
            let guesses = 5000 * scale();
            let answered =
                (0..guesses).map(|_| ask(unknown, guesser)).filter(looked_up).count() as u64;
            let earned = start.elapsed().as_secs() + 1;
            assert!(
                (10..=10 + earned).contains(&answered),
                "{answered} of {guesses} were looked up"
            );
            // A token that is right says nothing there, and passes elsewhere.
            let code = ask(known, guesser);
            assert!(code == VerdictCode::Throttled || earned > 1, "{code:?}");
            assert_eq!(ask(known, [203, 0, 113, 8]), VerdictCode::Valid);
            // Many addresses, each of which fails once or twice: none is remembered beyond the table.
            for number in 0..u32::try_from(ADDRESSES * scale()).expect("small") {
                let code = ask(unknown, number.to_be_bytes());
                assert!(matches!(code, VerdictCode::NotFound | VerdictCode::Throttled), "{code:?}");
            }
            assert_eq!(ask(known, [198, 51, 100, 1]), VerdictCode::Valid);
        },
    );
}
