//! What was acknowledged survives SIGKILL, whenever it comes; what was not is there or is not.
//!
//! Over both engines, and after every kill `keygate verify` must find the data whole. The moments
//! are drawn from a seed that is printed. `KEYGATE_CRASH_SEED` repeats them, and
//! `KEYGATE_CRASH_ROUNDS` makes the run longer than the 10 rounds (for each engine) of an ordinary
//! one. Backups and compactions that are killed are in `crash_copies.rs`.

mod support;

use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use keygate::client::blocking::Client;
use keygate::client::{Endpoint, Error, Report};
use keygate_protocol::admin::{KeyDelete, KeyRotate, KeySetStatus, KeyUpdate};
use keygate_protocol::{ErrorCode, Flags, Opcode, VerdictCode};
use serde_json::{Value, json};

use support::random::{Random, number};
use support::wire::request;
use support::{DEADLINE, Daemon, Home, text};

const CONNECTIONS: u64 = 16;
const ROUNDS_DEFAULT: u64 = 10;
/// Acknowledgements that a round waits for at the most before it kills.
const ACKNOWLEDGED_MAX: u64 = 300;

/// A key that a connection was told of, and what may be true of it.
struct Held {
    id: u64,
    /// Its tokens, each with the verdicts that it may get.
    tokens: Vec<(String, Vec<VerdictCode>)>,
    /// Names that it may have.
    names: Vec<String>,
}

impl Held {
    /// Whether `get` may find it.
    fn may_be_there(&self) -> bool {
        self.tokens.iter().any(|(_, codes)| codes.iter().any(|code| *code != VerdictCode::NotFound))
    }

    fn may_be_gone(&self) -> bool {
        self.tokens.iter().any(|(_, codes)| codes.contains(&VerdictCode::NotFound))
    }

    /// An operation that leads to `code`: it has happened, or, without an answer, perhaps.
    fn becomes(&mut self, code: VerdictCode, acknowledged: bool) {
        for (_, codes) in &mut self.tokens {
            if acknowledged {
                codes.clear();
            }
            codes.push(code);
        }
    }
}

/// Whether an operation was acknowledged. A refusal is neither an answer nor a crash.
fn acknowledged<T>(outcome: Result<T, Error>) -> Option<T> {
    match outcome {
        Ok(answer) => Some(answer),
        Err(error @ (Error::Refused(_) | Error::Protocol(_) | Error::TimedOut { .. })) => {
            panic!("no crash does this: {error}")
        }
        Err(_) => None,
    }
}

/// Creates keys and changes some of them, until the daemon is gone.
fn work(home: &Home, mut random: Random, acks: &Sender<()>) -> Vec<Held> {
    let mut held: Vec<Held> = Vec::new();
    let Ok(mut client) = Client::connect(Endpoint::unix(home.admin_socket())) else { return held };
    client.set_timeout(DEADLINE);
    loop {
        let goes_on = match held.last_mut().filter(|key| key.tokens[0].1 == [VerdictCode::Valid]) {
            Some(key) if random.below(2) == 0 => change(&mut client, key, random.below(6)),
            _ => match acknowledged(client.create(json!({"name": "crash", "tags": ["crash"]}))) {
                Some(made) => {
                    let id = text(&made.key["id"]).parse().expect("an id");
                    let token = made.token.expect("a new key's token");
                    let tokens = vec![(token, vec![VerdictCode::Valid])];
                    held.push(Held { id, tokens, names: vec!["crash".to_owned()] });
                    true
                }
                None => false,
            },
        };
        if !goes_on {
            return held;
        }
        // The round may have ended.
        let _ = acks.send(());
    }
}

/// Changes a key in one of several ways, or uses it; whether that was acknowledged.
fn change(client: &mut Client, key: &mut Held, way: u64) -> bool {
    let id = key.id.to_string();
    match way {
        // A second rotation would end the first token, overlap or not.
        0 if key.tokens.len() == 1 => {
            let grace_ms = Some(24 * 3600 * 1000);
            let rotated = acknowledged(client.rotate(&KeyRotate { id, grace_ms, reason: None }));
            let goes_on = rotated.is_some();
            // The old token is in its overlap, so it is valid whether or not this has happened.
            key.tokens.extend(rotated.map(|rotated| (rotated.token, vec![VerdictCode::Valid])));
            goes_on
        }
        0 | 1 => {
            let status = "REVOKED".to_owned();
            let set = acknowledged(client.set_status(&KeySetStatus {
                id,
                status,
                reason_code: None,
                reason: None,
            }));
            key.becomes(VerdictCode::Revoked, set.is_some());
            set.is_some()
        }
        // With usage on its way to the disk, a purge must leave none behind.
        2 | 3 => {
            let report = Report::new(key.id).status(200).endpoint("GET /crash");
            if acknowledged(client.increment(&report)).is_none() {
                return false;
            }
            let deleted = acknowledged(client.delete(&KeyDelete { id, purge: way == 3 }));
            key.becomes(VerdictCode::NotFound, deleted.is_some());
            deleted.is_some()
        }
        _ => {
            let name = format!("update {way}");
            let set = json!({ "name": name, "tags": [name] });
            let updated = acknowledged(client.update(&KeyUpdate {
                id,
                set,
                mask: None,
                expected_revision: None,
                spent: None,
            }));
            if updated.is_some() {
                key.names.clear();
            }
            key.names.push(name);
            updated.is_some()
        }
    }
}

/// Shows that every key is what was acknowledged of it. What was open is settled by what is found:
/// it may not change again.
fn check(home: &Home, all: &mut [Held], newest: usize) {
    let tokens: Vec<&str> =
        all.iter().flat_map(|key| key.tokens.iter().map(|(token, _)| token.as_str())).collect();
    let mut codes = home.codes(&tokens).into_iter();
    for key in all.iter_mut() {
        for (_, allowed) in &mut key.tokens {
            let code = codes.next().expect("a verdict for each token");
            assert!(allowed.contains(&code), "key {}: {code:?}, not {allowed:?}", key.id);
            *allowed = vec![code];
        }
    }
    let mut admin = home.admin();
    for key in &mut all[newest..] {
        match admin.get(key.id) {
            Ok(record) => {
                assert!(key.may_be_there(), "key {} was deleted", key.id);
                assert_eq!(record["id"], json!(key.id.to_string()));
                let name = text(&record["name"]);
                assert!(key.names.contains(&name), "key {}: {name}, not {:?}", key.id, key.names);
                key.names = vec![name];
                let revoked = key.tokens[0].1 == [VerdictCode::Revoked];
                assert_eq!(record["status"] == "STATUS_REVOKED", revoked, "key {}", key.id);
            }
            Err(error) if error.code() == Some(ErrorCode::NotFound) => {
                assert!(key.may_be_gone(), "key {} is lost", key.id);
            }
            Err(error) => panic!("key {}: {error}", key.id),
        }
    }
}

/// One round of writing, which a kill ends.
fn round(home: &Home, daemon: Daemon, random: &mut Random) -> Vec<Held> {
    let (ack, acks) = channel();
    let wanted = 1 + random.below(ACKNOWLEDGED_MAX);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let (of_worker, ack) = (random.fork(), ack.clone());
                scope.spawn(move || work(home, of_worker, &ack))
            })
            .collect();
        for _ in 0..wanted {
            acks.recv_timeout(DEADLINE).expect("writes are acknowledged");
        }
        random.dawdle(Duration::from_millis(5));
        daemon.kill();
        let held = workers.into_iter().map(|worker| worker.join().expect("no worker panicked"));
        held.flatten().collect()
    })
}

/// A home whose daemon has this engine.
fn home_of(engine: &str) -> Home {
    Home::with(&format!("[store]\nengine = \"{engine}\"\nusage_flush_interval_ms = 10\n"))
}

#[test]
fn what_16_connections_were_told_survives_being_killed_with_sled() {
    what_was_told_survives("sled");
}

#[test]
fn what_16_connections_were_told_survives_being_killed_with_redb() {
    what_was_told_survives("redb");
}

fn what_was_told_survives(engine: &str) {
    let mut random = Random::seeded();
    let home = home_of(engine);
    let mut all: Vec<Held> = Vec::new();
    let rounds = number("KEYGATE_CRASH_ROUNDS").unwrap_or(ROUNDS_DEFAULT);
    for number in 1..=rounds {
        let held = round(&home, home.start(), &mut random);
        let newest = all.len();
        all.extend(held);
        if random.below(3) == 0 {
            // A crash while the data is being read back.
            let starting = Daemon::launch(home.serve());
            random.dawdle(Duration::from_millis(100));
            starting.kill();
        }
        let report = home.clean(&home.data());
        let daemon = home.start();
        println!(
            "{engine}, round {number}: {} keys acknowledged, {} in all, {} records",
            all.len() - newest,
            all.len(),
            report["records"],
        );
        let newest = if number == rounds { 0 } else { newest };
        check(&home, &mut all, newest);
        let stats = home.admin().stats().expect("figures");
        assert_eq!(stats["records_unreadable"], 0);
        // Killed again without having been written to.
        daemon.kill();
    }
    // And what is left is whole for those who stop it well.
    let daemon = home.start();
    check(&home, &mut all, 0);
    daemon.stop();
    home.clean(&home.data());
}

/// A record to import, with a token that can be derived from its number.
fn record(id: u64) -> Value {
    use sha2::Digest as _;
    let hash = sha2::Sha256::digest(token(id));
    json!({
        "id": id.to_string(), "name": "imported", "tags": ["import"], "description": "d".repeat(300),
        "key_hash": keygate::key::digest::hex(&hash),
    })
}

fn token(id: u64) -> String {
    format!("imported-{id}")
}

/// Frames of an import of many records, with a suspended tenant in each.
fn import_frames(records: u64) -> Vec<Vec<u8>> {
    const IN_FRAME: u64 = 100;
    let firsts: Vec<u64> = (1..=records).step_by(100).collect();
    let last = *firsts.last().expect("records");
    let frame = |first: &u64| {
        let records: Vec<Value> =
            (*first..=records.min(first + IN_FRAME - 1)).map(record).collect();
        let flags = if *first == last { Flags::NONE } else { Flags::MORE };
        let tenants = [json!({ "id": format!("tenant-{first}"), "status": "SUSPENDED" })];
        let chunk = json!({ "tenants": tenants, "records": records });
        request(Opcode::Import, flags, 1, chunk.to_string().as_bytes())
    };
    firsts.iter().map(frame).collect()
}

/// How many of the imported keys there are, to each way of asking, and of the suspended tenants.
fn imported(home: &Home, records: u64) -> [u64; 4] {
    let tokens: Vec<String> = (1..=records).map(token).collect();
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let codes = home.codes(&tokens);
    let valid = codes.iter().filter(|code| **code == VerdictCode::Valid).count() as u64;
    let mut admin = home.admin();
    let found = (1..=records).filter(|id| admin.get(*id).is_ok()).count() as u64;
    let keys = admin.stats().expect("figures")["keys"];
    let tenants = home.json(["tenant", "list", "--status", "SUSPENDED", "--limit", "1000"]);
    [valid, found, keys, tenants["tenants"].as_array().expect("a list").len() as u64]
}

#[test]
fn an_import_that_is_killed_leaves_nothing_or_is_whole_with_sled() {
    an_import_is_killed("sled");
}

#[test]
fn an_import_that_is_killed_leaves_nothing_or_is_whole_with_redb() {
    an_import_is_killed("redb");
}

fn an_import_is_killed(engine: &str) {
    const RECORDS: u64 = 2000;
    /// A record has its own row and one in each of four indexes.
    const ROWS: u64 = RECORDS * 5;
    let mut random = Random::seeded();
    let home = home_of(engine);
    let frames = import_frames(RECORDS);
    // How many of the frames are sent, and how many rows the store has written when the kill comes.
    let some = |random: &mut Random| 1 + random.below(frames.len() as u64 - 1);
    let mut moments: Vec<(u64, u64)> = Vec::new();
    for _ in 0..3 {
        let sent = some(&mut random);
        moments.push((sent, random.below(sent * ROWS / frames.len() as u64)));
        moments.push((frames.len() as u64, random.below(ROWS)));
    }
    moments.push((frames.len() as u64, ROWS));
    for (sent, rows) in moments {
        let daemon = home.start();
        let mut admin = home.admin();
        let before = admin.stats().expect("figures")["commit_ops"];
        let mut wire = home.admin_wire();
        for frame in &frames[..usize::try_from(sent).expect("few")] {
            wire.write(frame);
        }
        while admin.stats().expect("figures")["commit_ops"] < before + rows {}
        random.dawdle(Duration::from_millis(20));
        daemon.kill();

        // One that has begun is no problem, and neither are its rows.
        home.clean(&home.data());
        let daemon = home.start();
        let found = imported(&home, RECORDS);
        println!(
            "{sent} of {} frames sent, {rows} rows written, {found:?} keys found",
            frames.len()
        );
        if sent < frames.len() as u64 {
            assert_eq!(found, [0; 4], "an import that had no end");
        }
        let whole = [RECORDS, RECORDS, RECORDS, frames.len() as u64];
        assert!([[0; 4], whole].contains(&found), "{found:?}");
        if found[0] > 0 {
            daemon.stop();
            std::fs::remove_dir_all(home.data()).expect("a new beginning");
        }
    }
    // Nothing of those that were cut short is in the way of the whole, which is then there to stay.
    let records: Vec<Value> = (1..=RECORDS).map(record).collect();
    let daemon = home.start();
    home.import(&records);
    daemon.kill();
    assert_eq!(home.clean(&home.data())["records"], RECORDS);
    let _daemon = home.start();
    assert_eq!(imported(&home, RECORDS), [RECORDS, RECORDS, RECORDS, 0]);
}

#[test]
fn a_crash_takes_no_more_usage_than_the_stated_interval() {
    const INTERVAL: Duration = Duration::from_millis(200);
    /// What the write itself, and this machine, may add.
    const SLACK: Duration = Duration::from_millis(800);
    let home = Home::with("[store]\nusage_flush_interval_ms = 200\n");
    let mut daemon = home.start();
    let (id, _) = home.create(&["--name", "counted"]);
    let key_id: u64 = id.parse().expect("an id");
    for _ in 0..3 {
        let counted_before =
            home.json(["usage", &id])["reported_requests"].as_u64().expect("a number");
        let mut client = home.client();
        let mut counted = Vec::new();
        let began = Instant::now();
        while began.elapsed() < 3 * INTERVAL + SLACK {
            client.increment(&Report::new(key_id).status(200)).expect("it is counted");
            counted.push(Instant::now());
        }
        let killed = Instant::now();
        daemon.kill();
        daemon = home.start();
        let usage = home.json(["usage", &id]);
        let survived = usage["reported_requests"].as_u64().expect("a number") - counted_before;
        let owed = counted.iter().filter(|at| killed - **at > INTERVAL + SLACK).count() as u64;
        println!("{} counted, {survived} survived, {owed} were owed", counted.len());
        assert!(survived >= owed, "{survived} of {} survived, {owed} were owed", counted.len());
        assert!(survived <= counted.len() as u64, "{survived}: more than were counted");
        assert!(owed > 0, "the daemon was too slow to show anything");
    }
    daemon.stop();
}
