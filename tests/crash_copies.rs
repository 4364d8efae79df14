//! Backups and compactions that are killed: whatever has its final name is whole, nothing that was
//! acknowledged is lost, and the next run clears what was left. Over both engines.
//!
//! The moments are drawn from a seed that is printed; `KEYGATE_CRASH_SEED` repeats them, and
//! `KEYGATE_CRASH_ROUNDS` makes the run longer than the 5 rounds of an ordinary one.

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use keygate::client::blocking::Client;
use keygate::client::{Endpoint, Error};
use keygate_protocol::VerdictCode;
use keygate_protocol::admin::KeyUpdate;
use serde_json::{Value, json};

use support::random::{Random, number};
use support::{DEADLINE, Home, Reaped, text};

const ROUNDS_DEFAULT: u64 = 5;
/// Keys that a backup and a compaction have to copy: enough that a kill meets them at work.
const KEYS: u64 = 2000;
/// Keys that are changed meanwhile.
const CHANGED: u64 = 50;

fn rounds() -> u64 {
    number("KEYGATE_CRASH_ROUNDS").unwrap_or(ROUNDS_DEFAULT)
}

fn token(id: u64) -> String {
    format!("imported-{id}")
}

/// A daemon's place, filled.
fn filled(engine: &str) -> Home {
    use sha2::Digest as _;
    let home = Home::with(&format!("[store]\nengine = \"{engine}\"\n"));
    let record = |id: u64| {
        let hash = keygate::key::digest::hex(&sha2::Sha256::digest(token(id)));
        json!({
            "id": id.to_string(), "name": "0", "tags": ["copy"], "description": "d".repeat(300),
            "key_hash": hash,
        })
    };
    let daemon = home.start();
    home.import(&(1..=KEYS).map(record).collect::<Vec<Value>>());
    daemon.stop();
    home
}

/// Counts the names of some keys up, one after the other, until it is told to stop or the daemon is
/// gone. `told` has what was acknowledged last, and `asked` what was asked for last.
struct Counter {
    stop: AtomicBool,
    asked: AtomicU64,
    told: AtomicU64,
}

impl Counter {
    /// From where the last one stood.
    fn from(before: u64) -> Self {
        let at = || AtomicU64::new(before);
        Self { stop: AtomicBool::new(false), asked: at(), told: at() }
    }

    /// Connected before anything is killed.
    fn run(&self, mut client: Client) {
        while !self.stop.load(Ordering::Relaxed) {
            let next = self.asked.load(Ordering::SeqCst) + 1;
            self.asked.store(next, Ordering::SeqCst);
            let id = (1 + next % CHANGED).to_string();
            let set = json!({ "name": next.to_string(), "tags": [format!("t{}", next % 7)] });
            match client.update(&KeyUpdate {
                id,
                set,
                mask: None,
                expected_revision: None,
                spent: None,
            }) {
                Ok(_) => self.told.store(next, Ordering::SeqCst),
                Err(error @ (Error::Refused(_) | Error::Protocol(_) | Error::TimedOut { .. })) => {
                    panic!("no crash does this: {error}")
                }
                Err(_) => return,
            }
        }
    }

    fn client(home: &Home) -> Client {
        let mut client = Client::connect(Endpoint::unix(home.admin_socket())).expect("a daemon");
        client.set_timeout(DEADLINE);
        client
    }

    fn told(&self) -> u64 {
        self.told.load(Ordering::SeqCst)
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

/// The highest count among the changed keys of the daemon that runs here. All keys must be there,
/// and no key may lag: each has the highest count that is its own.
fn count_of(home: &Home) -> u64 {
    let tokens: Vec<String> = (1..=KEYS).map(token).collect();
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    assert!(home.codes(&tokens).iter().all(|code| *code == VerdictCode::Valid), "a key is lost");
    let mut admin = home.admin();
    let mut name =
        |id: u64| -> u64 { text(&admin.get(id).expect("there")["name"]).parse().expect("a count") };
    let names: Vec<(u64, u64)> = (1..=CHANGED).map(|id| (id, name(id))).collect();
    let highest = names.iter().map(|(_, count)| *count).max().expect("some");
    for (id, count) in names {
        let mut own = highest;
        while own > 0 && 1 + own % CHANGED != id {
            own -= 1;
        }
        assert_eq!(count, own, "key {id} is not of the same instant as the others ({highest})");
    }
    highest
}

fn backup(home: &Home, to: &Path) -> Command {
    let mut command = home.command();
    command.arg("backup").arg(to);
    command
}

/// What a backup that was made says, when a daemon is started on what is restored from it.
fn restored_count(home: &Home, from: &Path, engine: &str) -> u64 {
    home.clean(from);
    let other = Home::with(&format!("[store]\nengine = \"{engine}\"\n"));
    let mut restore = other.command();
    restore.args(["restore", "--engine", engine, "--data-dir"]).arg(other.data()).arg(from);
    support::run(restore, b"").expect(0);
    other.clean(&other.data());
    let daemon = other.start();
    let count = count_of(&other);
    daemon.stop();
    count
}

#[test]
fn a_backup_under_load_is_the_state_at_one_instant_with_sled() {
    a_backup_is_of_one_instant("sled", "redb");
}

#[test]
fn a_backup_under_load_is_the_state_at_one_instant_with_redb() {
    a_backup_is_of_one_instant("redb", "sled");
}

fn a_backup_is_of_one_instant(engine: &str, other: &str) {
    let home = filled(engine);
    let daemon = home.start();
    let counter = Counter::from(0);
    let to = home.path("backup");
    thread::scope(|scope| {
        let client = Counter::client(&home);
        scope.spawn(|| counter.run(client));
        while counter.told() < 20 {
            std::hint::spin_loop();
        }
        let before = counter.told();
        // The daemon may not have noticed yet that the reader is gone, and takes one at a time.
        let ran = loop {
            let ran = support::run(backup(&home, &to), b"");
            if ran.code() == 0 || !ran.stderr.contains("BUSY") {
                break ran;
            }
        };
        ran.expect(0);
        let after = counter.asked();
        counter.stop.store(true, Ordering::Relaxed);
        for engine in [engine, other] {
            let count = restored_count(&home, &to, engine);
            println!("{engine}: {before} <= {count} <= {after}");
            assert!((before..=after).contains(&count), "{before} <= {count} <= {after}");
        }
        assert!(after > before, "something was written meanwhile");
    });
    // Under load it is verified by the daemon, too.
    let report = home.json(["verify"]);
    assert_eq!(report["clean"], true, "{report}");
    daemon.stop();
}

#[test]
fn a_backup_that_is_killed_leaves_nothing_by_halves_with_sled() {
    backups_are_killed("sled");
}

#[test]
fn a_backup_that_is_killed_leaves_nothing_by_halves_with_redb() {
    backups_are_killed("redb");
}

fn backups_are_killed(engine: &str) {
    let mut random = Random::seeded();
    let home = filled(engine);
    let mut count = 0;
    for round in 1..=rounds() {
        let to = home.path(&format!("backup-{round}"));
        let kill_daemon = round % 2 == 0;
        let daemon = home.start();
        let counter = Counter::from(count);
        let (status, daemon) = thread::scope(|scope| {
            let client = Counter::client(&home);
            scope.spawn(|| counter.run(client));
            let command = Reaped::spawn(backup(&home, &to));
            random.dawdle(Duration::from_millis(250));
            if kill_daemon {
                daemon.kill();
                let status = command.wait();
                assert_eq!(home.clean(&home.data())["records"], KEYS);
                (status, home.start())
            } else {
                let status = command.kill();
                counter.stop.store(true, Ordering::Relaxed);
                (status, daemon)
            }
        });
        count = count_of(&home);
        let (told, asked) = (counter.told(), counter.asked());
        assert!((told..=asked).contains(&count), "{told} <= {count} <= {asked}");
        println!(
            "{engine}, round {round}: {} killed, the command ended with {status}, backup there: {}",
            if kill_daemon { "daemon" } else { "command" },
            to.exists()
        );
        if status.success() {
            assert!(to.exists());
        }
        if to.exists() {
            home.clean(&to);
            std::fs::remove_dir_all(&to).expect("removed");
        }
        // What was left is in nobody's way, and gone afterwards.
        // The daemon may not have noticed yet that the reader is gone, and takes one at a time.
        let ran = loop {
            let ran = support::run(backup(&home, &to), b"");
            if ran.code() == 0 || !ran.stderr.contains("BUSY") {
                break ran;
            }
        };
        ran.expect(0);
        assert!(!home.path(&format!("backup-{round}.part")).exists());
        assert_eq!(restored_count(&home, &to, engine), count);
        daemon.stop();
        home.clean(&home.data());
    }
}

#[test]
fn a_compaction_that_is_killed_leaves_the_data_whole_with_sled() {
    compactions_are_killed("sled");
}

#[test]
fn a_compaction_that_is_killed_leaves_the_data_whole_with_redb() {
    compactions_are_killed("redb");
}

fn compactions_are_killed(engine: &str) {
    let mut random = Random::seeded();
    let home = filled(engine);
    let data = home.data();
    let compact = || {
        let mut command = home.command();
        command.arg("compact").arg("--data-dir").arg(&data);
        command
    };
    let before = home.clean(&data);
    // How long it takes, so that kills fall within it.
    let began = std::time::Instant::now();
    support::run(compact(), b"").expect(0);
    let takes = began.elapsed();
    for round in 1..=2 * rounds() {
        let command = Reaped::spawn(compact());
        random.dawdle(takes);
        let status = command.kill();
        println!("{engine}, round {round}: the command ended with {status}");
        let after = home.clean(&data);
        assert_eq!((&after["rows"], &after["bytes"]), (&before["rows"], &before["bytes"]));
        for left in ["swap.part", "swap.done"] {
            assert!(!data.join(left).exists(), "{left} is cleared by whoever opens the data");
        }
    }
    let _ = Reaped::spawn(compact()).kill();
    let daemon = home.start();
    assert_eq!(count_of(&home), 0);
    daemon.stop();
    support::run(compact(), b"").expect(0);
    home.clean(&data);
}
