//! The audit log of a real daemon: what is in it, what it proves, and what becomes of it when the
//! disk takes nothing or the daemon is killed.

mod support;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use keygate::client::ValidateRequest;
use keygate::client::blocking::Client;
use keygate::client::{Endpoint, Error};
use keygate_protocol::VerdictCode;
use rustix::process::{Resource, Rlimit, Signal, prlimit};
use serde_json::Value;

use support::random::{Random, number};
use support::{BINARY, DEADLINE, Daemon, Home, Ran, text};

/// `keygate audit …` on a home's log.
fn audit(home: &Home, args: &[&str]) -> Ran {
    let mut all: Vec<OsString> = vec!["audit".into()];
    all.extend(args.iter().map(Into::into));
    all.extend(["--data-dir".into(), home.data().into_os_string()]);
    home.run(all)
}

/// Every record, or those that a search finds.
fn records(home: &Home, args: &[&str]) -> Vec<Value> {
    let ran = audit(home, args);
    ran.expect(0);
    ran.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[track_caller]
fn assert_verifies(home: &Home) {
    let ran = audit(home, &["verify", "--json"]);
    assert_eq!(ran.code(), 0, "{ran:#?}");
}

/// Waits until something is so: a record is written behind the reply that it is of.
fn until(what: &str, so: impl Fn() -> bool) {
    for _ in 0..600 {
        if so() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("{what} has not come");
}

#[test]
fn changes_and_decisions_are_recorded_shown_searched_and_verified() {
    let home = Home::new();
    let daemon = home.start();
    let (id, token) = home.create(&["--name", "a", "--require-audit-logging"]);
    let (other, unaudited) = home.create(&["--name", "b", "--tenant", "acme"]);
    home.json(["key", "update", &id, "--name", "c"]);
    assert_eq!(home.code(&token), "VALID");
    assert_eq!(home.code(&unaudited), "VALID");
    home.json(["key", "suspend", &other, "--reason", "unpaid"]);
    assert_eq!(home.code(&unaudited), "SUSPENDED");
    home.run(["export"]).expect(0);
    let uid = rustix::process::geteuid().as_raw().to_string();
    until("the denial", || records(&home, &["search", "--code", "SUSPENDED", "--json"]).len() == 1);
    let of_key = records(&home, &["search", "--key", &id, "--json"]);
    let told: Vec<String> = of_key
        .iter()
        .map(|record| match record["event"].as_str() {
            Some("change") => text(&record["action"]),
            _ => text(&record["code"]),
        })
        .collect();
    assert_eq!(told, ["create", "update", "VALID"]);
    assert_eq!(of_key[1]["before"]["name"], "a");
    assert_eq!(of_key[1]["after"]["name"], "c");
    assert_eq!(of_key[1]["actor"]["uid"].to_string(), uid);
    assert!(text(&of_key[1]["actor"]["program"]).ends_with("keygate"));
    assert_eq!(of_key[2]["ip"], "203.0.113.7");
    // Of a key that does not ask for it a valid verdict is nobody's business.
    let of_other = records(&home, &["search", "--tenant", "acme", "--json"]);
    let codes: Vec<_> = of_other.iter().filter_map(|record| record["code"].as_str()).collect();
    assert_eq!(codes, ["SUSPENDED"]);
    let by_us =
        ["search", "--action", "set_status", "--actor-uid", &uid, "--since", "1h", "--json"];
    let suspended = records(&home, &by_us);
    assert_eq!((suspended.len(), text(&suspended[0]["reason"])), (1, "unpaid".to_owned()));
    assert!(records(&home, &["search", "--action", "export", "--json"]).len() == 1);
    let tail = audit(&home, &["tail", "-n", "3"]);
    assert_eq!(tail.expect(0).stdout.lines().count(), 3, "{tail:?}");
    let all = audit(&home, &["export"]);
    assert!(!all.expect(0).stdout.contains(&token));
    assert_verifies(&home);
    daemon.stop();
    assert_verifies(&home);
    home.start().stop();
    assert_verifies(&home);
    let last = records(&home, &["export"]).pop().expect("a record");
    assert_eq!(last["note"], "stop");
}

#[test]
fn whatever_is_done_to_the_file_is_named_with_its_record() {
    let home = Home::new();
    let daemon = home.start();
    for name in ["a", "b", "c"] {
        home.create(&["--name", name]);
    }
    daemon.stop();
    let file = home.data().join("audit/audit-00000000000000000001.log");
    let whole = std::fs::read(&file).expect("read");
    let at = whole.windows(10).position(|part| part == b"\"name\":\"b\"").expect("its name");
    let mut changed = whole.clone();
    changed[at + 8] = b'x';
    std::fs::write(&file, &changed).expect("written");
    let report = audit(&home, &["verify", "--json"]);
    let report = report.expect(1).json();
    assert_eq!(report["problem_count"], 1, "{report}");
    let problem = &report["problems"][0];
    // The beginning, the start, and the first key stand before it.
    assert_eq!((&problem["kind"], &problem["sequence"]), (&"changed".into(), &4.into()));
    let offset = problem["offset"].as_u64().expect("a number");
    assert!(offset < at as u64 && offset + 2000 > at as u64, "{problem}");
    audit(&home, &["verify"]).expect(1).says(&["audit-00000000000000000001.log", "record 4"]);
    std::fs::write(&file, &whole[..whole.len() - 1]).expect("cut");
    audit(&home, &["verify"]).expect(1).says(&["is cut short"]);
    std::fs::write(&file, &whole).expect("written");
    audit(&home, &["verify"]).expect(0);
    // Without its key a log can neither be checked nor continued.
    std::fs::remove_file(home.data().join("audit.key")).expect("removed");
    audit(&home, &["verify"]).expect(1).says(&["restore the key"]);
    support::run(home.serve(), b"").expect(1).says(&["audit.key is missing"]);
}

#[test]
fn without_a_log_keys_that_demand_one_are_denied_and_others_are_not() {
    let home = Home::with("[audit]\nenabled = false\n");
    let _daemon = home.start();
    let (_, audited) = home.create(&["--name", "a", "--require-audit-logging"]);
    let (_, other) = home.create(&["--name", "b", "--log-all-requests"]);
    assert_eq!(home.code(&audited), "AUDIT_UNAVAILABLE");
    assert_eq!(home.code(&other), "VALID");
}

/// `keygate serve` that is not killed by the signal of a limit on file sizes.
fn serve_under_limit(home: &Home) -> Command {
    let mut shell = home.dress(Command::new("sh"));
    shell.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh", BINARY, "serve", "--config"]);
    shell.arg(home.path("keygate.toml")).arg("--data-dir").arg(home.data());
    shell
}

fn limit_files(daemon: &Daemon, bytes: Option<u64>) {
    let limit = Rlimit { current: bytes, maximum: None };
    prlimit(Some(daemon.pid()), Resource::Fsize, limit).expect("the limit is set");
}

#[test]
fn a_disk_that_takes_nothing_denies_keys_that_demand_audit_until_it_does_again() {
    for sync in ["queue", "fsync"] {
        let home = Home::with(&format!("[audit]\nsync = \"{sync}\"\n"));
        let daemon = Daemon::start(serve_under_limit(&home));
        let (_, audited) =
            home.create(&["--name", "a", "--require-audit-logging", "--concurrent", "1"]);
        let (_, other) = home.create(&["--name", "b"]);
        assert_eq!(home.code(&audited), "VALID");
        limit_files(&daemon, Some(0));
        // The one that finds it out: in the queue it was accepted, on the disk it was not.
        let first = home.code(&audited);
        assert!(sync == "queue" || first == "AUDIT_UNAVAILABLE", "{first}");
        until("the failure", || home.code(&audited) == "AUDIT_UNAVAILABLE");
        assert_eq!(home.code(&other), "VALID");
        let status = home.run(["status", "--json"]);
        status.expect(1);
        let status = status.json();
        assert_eq!(status["stats"]["audit_failing"], 1);
        assert!(status["reasons"].to_string().contains("audit records cannot be written"));
        limit_files(&daemon, None);
        // By itself, and its slot was given back.
        until("the recovery", || home.code(&audited) == "VALID");
        assert_eq!(home.run(["status", "--json"]).json()["stats"]["audit_failing"], 0);
        daemon.kill();
        assert_verifies(&home);
        let valid = records(&home, &["search", "--code", "VALID", "--json"]).len();
        let expected = if sync == "queue" { 3 } else { 2 };
        assert!(valid <= expected, "{valid} of {expected}");
    }
}

#[test]
fn replies_that_wait_for_the_disk_come_whole_and_one_at_a_time_too() {
    let home = Home::with("[audit]\nsync = \"fsync\"\n");
    let daemon = home.start();
    let (id, audited) = home.create(&["--name", "a", "--require-audit-logging"]);
    let limit = ["--name", "c", "--require-audit-logging", "--monthly-quota", "1000000"];
    let (_, leased) = home.create(&limit);
    let (_, other) = home.create(&["--name", "b"]);
    let mut client = home.client();
    let requests: Vec<_> = (0..300)
        .map(|at| ValidateRequest::new([&audited, &other, &leased][at % 3].as_str()))
        .collect();
    let all_valid = |verdicts: Vec<keygate::client::Validation>| {
        assert_eq!(verdicts.len(), 300);
        assert!(verdicts.iter().all(|verdict| verdict.code == VerdictCode::Valid));
    };
    all_valid(client.validate_pipelined(&requests).expect("judged"));
    all_valid(client.validate_batch(&requests).expect("judged"));
    let details = ValidateRequest::new(&audited).details();
    let verdict = client.validate(&details).expect("judged");
    assert_eq!(verdict.tenant_id.as_deref(), Some("default"));
    // The admin socket answers one request at a time.
    let mut admin = home.admin();
    assert_eq!(admin.validate(&details).expect("judged").code, VerdictCode::Valid);
    // What was answered is on disk.
    let of_key = ["search", "--key", &id, "--code", "VALID", "--json"];
    assert_eq!(records(&home, &of_key).len(), 202);
    daemon.stop();
    assert_eq!(records(&home, &["search", "--code", "VALID", "--json"]).len(), 402);
    assert_verifies(&home);
}

const KILLS_DEFAULT: u64 = 8;
const CONNECTIONS: usize = 4;
const VERDICTS_MAX: u64 = 3000;

/// Asks until the daemon is gone; valid verdicts of each key that were heard.
fn load(home: &Home, tokens: &[String], verdicts: &std::sync::mpsc::Sender<u64>) -> Vec<u64> {
    let mut heard = vec![0; tokens.len()];
    let Ok(mut client) = Client::connect(Endpoint::unix(home.socket())) else { return heard };
    client.set_timeout(DEADLINE);
    loop {
        for (at, token) in tokens.iter().enumerate() {
            let requests = vec![ValidateRequest::new(token); 16];
            match client.validate_pipelined(&requests) {
                Ok(all) => {
                    let valid = all.iter().filter(|it| it.code == VerdictCode::Valid).count();
                    assert_eq!(valid, 16);
                    heard[at] += 16;
                    let _ = verdicts.send(16);
                }
                Err(error @ (Error::Refused(_) | Error::Protocol(_) | Error::TimedOut { .. })) => {
                    panic!("no crash does this: {error}")
                }
                Err(_) => return heard,
            }
        }
    }
}

#[test]
fn the_chain_survives_any_kill_and_what_was_answered_is_in_it_with_the_queue() {
    kills("queue");
}

#[test]
fn the_chain_survives_any_kill_and_what_was_answered_is_in_it_with_fsync() {
    kills("fsync");
}

fn kills(sync: &str) {
    let mut random = Random::seeded();
    let home = Home::with(&format!("[audit]\nsync = \"{sync}\"\nfile_bytes_max = 131072\n"));
    let mut daemon = home.start();
    let keys: Vec<(String, String)> =
        (0..3).map(|_| home.create(&["--name", "k", "--require-audit-logging"])).collect();
    let tokens: Vec<String> = keys.iter().map(|(_, token)| token.clone()).collect();
    let mut heard = vec![0; keys.len()];
    let rounds = number("KEYGATE_CRASH_AUDIT_KILLS").unwrap_or(KILLS_DEFAULT);
    for round in 0..rounds {
        let (said, verdicts) = channel();
        let wanted = random.below(VERDICTS_MAX);
        let of_workers: Vec<Vec<u64>> = thread::scope(|scope| {
            let (home, tokens) = (&home, &tokens);
            let workers: Vec<_> = (0..CONNECTIONS)
                .map(|_| {
                    let said = said.clone();
                    scope.spawn(move || load(home, tokens, &said))
                })
                .collect();
            let mut seen = 0;
            while seen < wanted {
                seen += verdicts.recv_timeout(DEADLINE).expect("requests are judged");
            }
            random.dawdle(Duration::from_millis(3));
            daemon.kill();
            workers.into_iter().map(|worker| worker.join().expect("no panic")).collect()
        });
        for of_worker in of_workers {
            heard.iter_mut().zip(of_worker).for_each(|(all, some)| *all += some);
        }
        assert_verifies(&home);
        daemon = home.start();
        assert_verifies(&home);
        let _ = round;
    }
    daemon.stop();
    assert_verifies(&home);
    let mut recorded: BTreeMap<String, u64> = BTreeMap::new();
    for record in records(&home, &["search", "--code", "VALID", "--json"]) {
        *recorded.entry(text(&record["subject"]["id"])).or_default() += 1;
    }
    for ((id, _), heard) in keys.iter().zip(&heard) {
        let recorded = recorded.get(id).copied().unwrap_or(0);
        println!("{sync}: {recorded} records of {heard} verdicts");
        if sync == "fsync" {
            assert!(recorded >= *heard, "{recorded} of {heard}");
        } else {
            // What a kill finds in the queue is lost, and no more.
            assert!(recorded + rounds * 65_536 >= *heard, "{recorded} of {heard}");
        }
    }
}

/// A `keygate watch` that runs, and its lines.
struct Watching {
    child: std::process::Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Watching {
    fn start(home: &Home, args: &[&str]) -> Self {
        let mut command = home.command();
        command.arg("watch").args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let (send, lines) = channel();
        let stdout = child.stdout.take().expect("a pipe");
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        Self { child, lines }
    }

    fn next(&self) -> String {
        self.lines.recv_timeout(DEADLINE).expect("an event")
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn who_watches_is_told_of_changes_and_denials_of_what_it_may_see() {
    let home = Home::with("[limits]\nwatchers_max = 2\n");
    let daemon = home.start();
    let all = Watching::start(&home, &["--json"]);
    let of_acme = Watching::start(&home, &["--as-tenant", "acme"]);
    // They watch once they are told of something.
    let mut made = 0;
    until("the watchers", || {
        home.create(&["--name", "first", "--tenant", "acme"]);
        all.lines.try_recv().is_ok() && of_acme.lines.try_recv().is_ok()
    });
    home.run(["watch"]).expect(1).says(&["BUSY", "limits.watchers_max"]);
    let (id, token) = home.create(&["--name", "mark", "--tenant", "other"]);
    home.json(["key", "suspend", &id]);
    assert_eq!(home.code(&token), "SUSPENDED");
    let (_, token) = home.create(&["--name", "end", "--tenant", "acme"]);
    assert_eq!(home.code(&token), "VALID");
    let mut told = Vec::new();
    loop {
        let event: Value = serde_json::from_str(&all.next()).expect("JSON");
        if event["after"]["name"] == "first" {
            made += 1;
            continue;
        }
        let what = if event["event"] == "change" { &event["action"] } else { &event["code"] };
        told.push(text(what));
        if event["after"]["name"] == "end" {
            break;
        }
    }
    assert_eq!(told, ["create", "set_status", "SUSPENDED", "create"], "{made}");
    home.json(["tenant", "suspend", "acme"]);
    loop {
        let line = of_acme.next();
        assert!(line.contains(" acme by uid "), "{line}");
        assert!(!line.contains('\x1b'), "no colours off a terminal: {line}");
        if line.contains("change   set_status tenant acme") {
            break;
        }
        assert!(line.contains("change   create key "), "{line}");
    }
    daemon.signal(Signal::TERM);
    let mut watching = all;
    let status = watching.child.wait().expect("its status");
    assert_eq!(status.code(), Some(0));
}
