//! Secrets at rest: encrypted records, the exchange of pepper and master key while serving and across
//! SIGKILL, and that no secret is found where none belongs.

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use keygate::store::{Op, StoreOptions, layout, open_existing};
use keygate_protocol::VerdictCode;
use serde_json::json;

use support::random::{Random, number};
use support::{DEADLINE, Daemon, Home, Reaped, text};

const ENGINES: [&str; 2] = ["sled", "redb"];
const ROUNDS_DEFAULT: u64 = 5;
/// Keys of the rotations that are killed.
const KEYS: u64 = 2000;

fn home_of(engine: &str) -> Home {
    Home::with(&format!("[store]\nengine = \"{engine}\"\n"))
}

fn utf8(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Every file under a directory, with what is in it.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push((path.display().to_string(), fs::read(&path).expect("readable")));
        }
    }
    found
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

fn holds_any(dir: &Path, needle: &[u8]) -> bool {
    files(dir).iter().any(|(_, bytes)| holds(bytes, needle))
}

/// Asks until a rotation is over.
fn wait_for_end(home: &Home, secret: &str) {
    let asked = Instant::now();
    loop {
        let status = home.json([secret, "status"]);
        if status["rotation"].is_null() || status["rotation"]["state"] == "done" {
            return;
        }
        assert_eq!(status["rotation"]["state"], "running", "{status}");
        assert!(asked.elapsed() < DEADLINE, "{status}");
    }
}

/// Makes so many keys, every other one encrypted; ids and tokens.
fn fill(home: &Home, keys: usize) -> Vec<(String, String)> {
    let mut made = Vec::new();
    for at in 0..keys {
        let name = format!("key-{at}");
        let mut args = vec!["--name", &name, "--tag", "every"];
        if at % 2 == 0 {
            args.push("--encrypted");
        }
        made.push(home.create(&args));
    }
    made
}

#[test]
fn an_encrypted_record_is_nowhere_in_clear_and_opens_with_its_master_key_alone() {
    for engine in ENGINES {
        let home = home_of(engine);
        let daemon = home.start();
        let created = home.json([
            "key",
            "create",
            "--name",
            "hidden-in-rows",
            "--data-classification",
            "restricted",
        ]);
        let notices = created["notices"].to_string();
        assert!(notices.contains("encrypted was set"), "{notices}");
        assert_eq!(created["key"]["encrypted"], true);
        let (id, token) = (text(&created["key"]["id"]), text(&created["token"]));
        home.json(["key", "update", &id, "--description", "told-to-nobody"]);
        assert_eq!(home.json(["verify"])["records_encrypted"], 1);
        let backup = home.path("backup");
        home.run(["backup", utf8(&backup), "--without-master-key"]).expect(0);
        daemon.stop();
        for secret in ["hidden-in-rows", "told-to-nobody"] {
            assert!(!holds_any(&home.data(), secret.as_bytes()), "{engine}: {secret}");
            assert!(!holds_any(&backup, secret.as_bytes()), "{engine}: {secret} in the backup");
        }
        // Whole, also for who cannot read it.
        let report = home.clean(&backup);
        assert_eq!((&report["records"], &report["records_encrypted"]), (&json!(1), &json!(1)));
        let daemon = home.start();
        assert_eq!(home.code(&token), "VALID");
        assert_eq!(home.json(["key", "get", &id])["description"], "told-to-nobody");
        // Turned off, it is written in clear.
        home.run(["key", "update", &id, "--data-classification", "internal", "--encrypted=false"])
            .expect(0);
        assert_eq!(home.json(["verify"])["records_encrypted"], 0);
        home.run(["key", "update", &id, "--encrypted"]).expect(0);
        daemon.stop();

        let key = home.data().join("master.key");
        let moved = home.path("master.key");
        fs::rename(&key, &moved).expect("moved");
        support::run(home.serve(), b"").expect(1).says(&["master key", "is missing", "restore"]);
        fs::write(&key, [7; 32]).expect("another");
        support::run(home.serve(), b"").expect(1).says(&["is not the one", "would open"]);
        fs::rename(&moved, &key).expect("moved back");
        let daemon = home.start();
        assert_eq!(home.code(&token), "VALID");
        daemon.stop();
    }
}

#[test]
fn a_directory_that_was_restored_without_a_master_key_goes_on_where_nothing_needs_it() {
    let home = Home::new();
    let daemon = home.start();
    let (_, token) = home.create(&["--name", "plain"]);
    let (bare, new) = (home.path("bare"), home.path("new"));
    home.run(["backup", utf8(&bare), "--without-master-key"])
        .expect(0)
        .says(&["the master key ", " is not in it"]);
    home.run(["restore", utf8(&bare), "--data-dir", utf8(&new)]).expect(0).says(&["no master key"]);
    daemon.stop();
    fs::rename(home.data(), home.path("old")).expect("moved");
    fs::rename(&new, home.data()).expect("moved");
    let daemon = home.start();
    assert_eq!(home.code(&token), "VALID");
    assert!(daemon.stop().contains("another takes its place"));
}

#[test]
fn pepper_and_master_key_are_exchanged_and_no_key_becomes_invalid() {
    for engine in ENGINES {
        let home = home_of(engine);
        let daemon = home.start();
        let keys = fill(&home, 20);
        let hook = "--webhook-url=https://hooks.example.com/a";
        home.run(["key", "update", &keys[0].0, hook]).expect(0);
        let secret = home.json(["alert", "secret", &keys[0].0]);
        let of = |name: &str| fs::read(home.data().join(name)).expect("a secret");
        let (pepper, master) = (of("pepper"), of("master.key"));
        for (what, file) in [("pepper", "pepper"), ("master", "master.key")] {
            let before = home.json([what, "status"]);
            let rotated = home.json([what, "rotate"]);
            assert_eq!(rotated["rotation"]["state"], "done", "{rotated}");
            assert_eq!(rotated["rotation"]["records"], 20);
            assert_ne!(rotated["id"], before["id"]);
            assert!(!home.data().join(format!("{file}.next")).exists());
        }
        assert_ne!((of("pepper"), of("master.key")), (pepper.clone(), master.clone()));
        let whole = |home: &Home| {
            for (_, token) in &keys {
                assert_eq!(home.code(token), "VALID");
            }
            assert_eq!(home.json(["verify"])["clean"], true);
            assert_eq!(home.json(["alert", "secret", &keys[0].0]), secret);
            assert_eq!(
                home.json(["key", "list", "--tag", "every"])["keys"].as_array().map(Vec::len),
                Some(20)
            );
        };
        whole(&home);
        daemon.stop();
        assert!(!files(&home.data()).iter().any(|(_, it)| *it == pepper || *it == master));
        let daemon = home.start();
        whole(&home);
        home.run(["--as-tenant", "acme", "master", "rotate"]).expect(1).says(&["tenant"]);
        daemon.stop();
    }
}

/// The file of the secret in use cannot be put in its place: it is the only copy, so another rotation
/// is refused, a backup has it, and the daemon starts with it.
#[test]
fn a_secret_whose_file_cannot_take_its_place_is_neither_lost_nor_in_the_way_of_a_start() {
    for (what, file) in [("pepper", "pepper"), ("master", "master.key")] {
        let home = Home::new();
        let daemon = home.start();
        let (_, token) = home.create(&["--name", "one", "--encrypted"]);
        let (first, second) = (home.data().join(file), home.data().join(format!("{file}.next")));
        fs::remove_file(&first).expect("removed");
        fs::create_dir_all(first.join("in-the-way")).expect("a directory");
        let rotated = home.json([what, "rotate"]);
        assert_eq!(rotated["rotation"]["state"], "done", "{rotated}");
        assert!(text(&rotated["rotation"]["message"]).contains("still there"), "{rotated}");
        let present = fs::read(&second).expect("the one in use");
        home.run([what, "rotate"]).expect(1).says(&["is still", "mend that"]);
        assert_eq!(fs::read(&second).expect("still there"), present);
        let reasons = home.run(["status", "--json"]).expect(1).json()["reasons"].to_string();
        assert!(reasons.contains("still there"), "{reasons}");
        let backup = home.path("backup");
        home.run(["backup", utf8(&backup)]).expect(0);
        assert_eq!(fs::read(backup.join(file)).expect("it is in the backup"), present);
        daemon.kill();

        let daemon = home.start();
        assert_eq!(home.code(&token), "VALID");
        assert!(home.json([what, "status"])["message"].to_string().contains("still there"));
        home.run([what, "rotate"]).expect(1).says(&["mend that"]);
        fs::remove_dir_all(&first).expect("out of the way");
        let again = home.json([what, "rotate"]);
        assert_eq!(again["rotation"]["state"], "done", "{again}");
        assert!(again["message"].is_null(), "{again}");
        daemon.stop();
        assert!(!files(&home.data()).iter().any(|(_, it)| *it == present), "{what}");
        let daemon = home.start();
        assert_eq!(home.code(&token), "VALID");
        assert_eq!(home.json(["status"])["healthy"], true);
        daemon.stop();
    }
}

/// A record that cannot be read may need the old secret: the rotation stands still and says which it
/// is, there is no backup that would not open, and it ends once that record is mended.
#[test]
fn a_rotation_does_not_end_over_what_it_cannot_renew() {
    for engine in ENGINES {
        for (what, file) in [("pepper", "pepper"), ("master", "master.key")] {
            let home = home_of(engine);
            let daemon = home.start();
            let keys = fill(&home, 4);
            let (id, token) = &keys[2];
            daemon.stop();
            let row = layout::record(id.parse().expect("an id"));
            let sound = exchange(&home, &row, b"damaged");
            let old = fs::read(home.data().join(file)).expect("the old one");
            let daemon = home.start();
            let rotated = home.run([what, "rotate", "--json"]).expect(1).json();
            let rotation = &rotated["rotation"];
            assert_eq!(rotation["state"], "failed", "{rotated}");
            let message = text(&rotation["message"]);
            assert!(message.contains(&format!("key {id};")), "{message}");
            assert_eq!(fs::read(home.data().join(file)).expect("kept"), old);
            let reasons = home.run(["status", "--json"]).expect(1).json()["reasons"].to_string();
            assert!(reasons.contains("stands still"), "{reasons}");
            let backup = home.path("backup");
            home.run(["backup", utf8(&backup)]).expect(1).says(&["stands still", what]);
            assert!(!backup.exists());
            let other = if what == "pepper" { "master" } else { "pepper" };
            home.run([other, "rotate"]).expect(1).says(&["stands still"]);
            let file_of_other = if what == "pepper" { "master.key.next" } else { "pepper.next" };
            assert!(!home.data().join(file_of_other).exists(), "nothing is made for it");
            assert_eq!(home.code(&keys[0].1), "VALID");
            daemon.stop();
            assert_eq!(exchange(&home, &row, &sound), b"damaged");
            // The next start goes on by itself.
            let daemon = home.start();
            wait_for_end(&home, what);
            assert!(!files(&home.data()).iter().any(|(_, it)| *it == old), "{engine}, {what}");
            assert_eq!(home.code(token), "VALID");
            assert_eq!(home.json(["verify"])["clean"], true);
            daemon.stop();
        }
    }
}

/// Writes a row over another in a directory that nobody uses; what it was.
fn exchange(home: &Home, key: &[u8], value: &[u8]) -> Vec<u8> {
    let (_, store) = open_existing(&home.data(), &StoreOptions::default()).expect("opened");
    let before = store.get(key).expect("readable").expect("there");
    let put = Op::Put { key: key.to_vec(), value: value.to_vec() };
    store.apply(&[put]).expect("applied");
    store.sync().expect("synced");
    before
}

#[test]
fn a_secret_from_a_credential_is_exchanged_for_another_credential() {
    let home = Home::new();
    let credentials = home.path("credentials");
    fs::create_dir(&credentials).expect("a directory");
    fs::write(credentials.join("master.key"), [7; 32]).expect("written");
    let serve = || {
        let mut serve = home.serve();
        serve.env("CREDENTIALS_DIRECTORY", &credentials);
        Daemon::start(serve)
    };
    let daemon = serve();
    let (_, token) = home.create(&["--name", "one", "--encrypted"]);
    home.run(["master", "rotate"]).expect(1).says(&["credential master.key.next", "restart"]);
    daemon.stop();
    fs::write(credentials.join("master.key.next"), [8; 32]).expect("written");
    let daemon = serve();
    let rotated = home.json(["master", "rotate"]);
    assert!(text(&rotated["rotation"]["message"]).contains("as the credential master.key"));
    daemon.stop();
    // As it stands, and as it was said to be put.
    let daemon = serve();
    let status = home.json(["master", "status"]);
    assert!(text(&status["message"]).contains("as the credential master.key"), "{status}");
    home.run(["master", "rotate"]).expect(1).says(&["is the present master key", "restart"]);
    daemon.stop();
    fs::rename(credentials.join("master.key.next"), credentials.join("master.key")).expect("moved");
    let daemon = serve();
    assert_eq!(home.code(&token), "VALID");
    assert_eq!(home.json(["verify"])["clean"], true);
    daemon.stop();
}

#[test]
fn a_rotation_that_is_killed_goes_on_and_loses_nothing() {
    let mut random = Random::seeded();
    let rounds = number("KEYGATE_CRASH_ROUNDS").unwrap_or(ROUNDS_DEFAULT);
    for engine in ENGINES {
        let home = home_of(engine);
        let daemon = home.start();
        // Enough of them that most kills come before the end.
        let imported = |at: u64| {
            let hash: String =
                sha2(format!("token-{at}").as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
            json!({"id": at.to_string(), "name": format!("key {at}"), "key_hash": hash,
                "encrypted": at.is_multiple_of(2)})
        };
        home.import(&(1..=KEYS).map(imported).collect::<Vec<_>>());
        let mut made = fill(&home, 4);
        daemon.stop();
        let mut went_on = 0;
        for round in 0..rounds {
            let mut daemon = home.start();
            let secret = if round % 2 == 0 { "pepper" } else { "master" };
            let mut rotate = home.command();
            rotate.args([secret, "rotate", "--no-wait"]);
            // It may be refused: the one of the round before perhaps goes on.
            let rotate = Reaped::spawn(rotate);
            match random.below(3) {
                0 => random.dawdle(Duration::from_millis(60)),
                1 => made.push(home.create(&["--name", "meanwhile", "--encrypted"])),
                _ => daemon.logs(|log| {
                    ["a rotation has begun", "goes on that"].iter().any(|it| log.contains(it))
                }),
            }
            daemon.kill();
            rotate.wait();
            let daemon = home.start();
            for token in ["token-1", &format!("token-{KEYS}"), &made[made.len() - 1].1] {
                assert_eq!(home.code(token), "VALID", "{engine}, round {round}");
            }
            if daemon.log().contains("a rotation goes on") {
                went_on += 1;
                // It does, before anybody is served.
                let goes_on = |what| !home.json([what, "status"])["rotation"].is_null();
                assert!(goes_on("pepper") || goes_on("master"), "{engine}, round {round}");
            }
            // Ended at its end, or where it stands.
            if random.below(2) == 0 {
                wait_for_end(&home, "pepper");
                wait_for_end(&home, "master");
                assert_eq!(home.json(["verify"])["clean"], true, "{engine}, round {round}");
            }
            daemon.kill();
        }
        println!("{engine}: {went_on} of {rounds} rotations were cut short");
        let daemon = home.start();
        wait_for_end(&home, "pepper");
        wait_for_end(&home, "master");
        assert_eq!(home.json(["verify"])["clean"], true, "{engine}");
        let imported: Vec<String> = (1..=KEYS).map(|at| format!("token-{at}")).collect();
        let tokens: Vec<&str> = imported
            .iter()
            .chain(made.iter().map(|(_, token)| token))
            .map(String::as_str)
            .collect();
        assert!(home.codes(&tokens).iter().all(|code| *code == VerdictCode::Valid), "{engine}");
        // One that was made, and killed before the store knew it, is taken by the next.
        for (what, file) in [("pepper", "pepper.next"), ("master", "master.key.next")] {
            assert_eq!(home.json([what, "rotate"])["rotation"]["state"], "done", "{engine}");
            assert!(!home.data().join(file).exists(), "{engine}");
        }
        assert!(home.codes(&tokens).iter().all(|code| *code == VerdictCode::Valid), "{engine}");
        daemon.stop();
    }
}

#[test]
fn the_daemon_leaves_no_core_dump() {
    let home = Home::new();
    let daemon = home.start();
    let proc = format!("/proc/{}", daemon.id());
    let limits = fs::read_to_string(format!("{proc}/limits")).expect("readable");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("it");
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
    // The files of a process that is not dumpable are root's (proc(5)). Of root's own they are anyway.
    if rustix::process::geteuid().is_root() {
        eprintln!("PR_SET_DUMPABLE is not looked at: this test is root's");
    } else {
        let files = fs::metadata(format!("{proc}/environ")).expect("there").uid();
        assert_eq!(files, 0, "not dumpable");
    }
    daemon.stop();
}

/// A secret, and what it is called where it is found.
struct Secret {
    name: &'static str,
    bytes: Vec<u8>,
}

impl Secret {
    /// Every form in which it might stand somewhere.
    fn forms(&self) -> Vec<Vec<u8>> {
        let hex: String = self.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut texts = vec![
            hex.to_uppercase(),
            hex,
            // As serde writes bytes into JSON.
            self.bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(","),
        ];
        // Of base64, what does not depend on what stands before it or behind it: wherever it begins
        // in what was encoded.
        for skipped in 0..3 {
            let rest = &self.bytes[skipped..];
            let whole = &rest[..rest.len() / 3 * 3];
            texts.extend([STANDARD_NO_PAD.encode(whole), URL_SAFE.encode(whole)]);
        }
        texts.into_iter().map(String::into_bytes).chain([self.bytes.clone()]).collect()
    }
}

/// Shows that none of the secrets stands in something.
fn holds_none(secrets: &[Secret], place: &str, bytes: &[u8]) {
    for secret in secrets {
        for form in secret.forms() {
            let found = holds(bytes, &form);
            assert!(!found, "the {} stands in {place}", secret.name);
        }
    }
}

#[test]
fn no_secret_is_found_where_none_belongs() {
    let home = home_of("redb");
    let mut serve = home.serve();
    serve.env("KEYGATE_LOG", "trace");
    let daemon = Daemon::start(serve);
    let mut secrets = Vec::new();
    let mut keep = |name, bytes: &[u8]| secrets.push(Secret { name, bytes: bytes.to_vec() });
    let (plain, token) = home.create(&["--name", "plain", "--log-all-requests"]);
    keep("token", token.as_bytes());
    let (hidden, hidden_token) = home.create(&["--name", "hidden", "--encrypted"]);
    keep("token of an encrypted record", hidden_token.as_bytes());
    let rotated = text(&home.json(["key", "rotate", &plain])["token"]);
    keep("rotated token", rotated.as_bytes());
    let hook = "--webhook-url=https://hooks.example.com/a";
    home.run(["key", "update", &hidden, hook]).expect(0);
    let shown = text(&home.json(["alert", "secret", &hidden])["secrets"][0]["secret"]);
    let raw = STANDARD.decode(shown.trim_start_matches("whsec_")).expect("base64");
    keep("web hook's secret", &raw);
    for name in ["pepper", "master.key"] {
        let bytes = fs::read(home.data().join(name)).expect("a secret");
        keep(if name == "pepper" { "pepper" } else { "master key" }, &bytes);
    }
    let shown = home.json(["key", "secret", &hidden]);
    let old_secret = text(&shown["client_secret"]);
    keep("client secret before", old_secret.as_bytes());
    let shown = home.json(["key", "secret", &hidden, "--require", "--grace", "1h"]);
    let secret = text(&shown["client_secret"]);
    keep("client secret", secret.as_bytes());
    let wrong_secret = "a-client-secret-that-is-nobodys";
    keep("client secret that is nobody's", wrong_secret.as_bytes());
    let unknown = "kg_live_00000000000000000000000000000000000000";
    keep("token that is nobody's", unknown.as_bytes());

    // Everything that is asked with them, and every command but those that show a secret once.
    for token in [&token, &rotated] {
        assert_eq!(home.code(token), "VALID");
    }
    let with_secret = |secret: &str| {
        let mut validate = home.command();
        validate.args(["validate", "--json"]).env("KEYGATE_TOKEN", &hidden_token);
        validate.env("KEYGATE_CLIENT_SECRET", secret);
        support::run(validate, b"")
    };
    for (secret, code) in [
        (secret.as_str(), "VALID"),
        (old_secret.as_str(), "VALID"),
        (wrong_secret, "CLIENT_SECRET_WRONG"),
    ] {
        let ran = with_secret(secret);
        assert_eq!(ran.json()["code"], code);
        holds_none(&secrets, "what validate prints", ran.stdout.as_bytes());
        holds_none(&secrets, "what validate says", ran.stderr.as_bytes());
    }
    home.verdict(unknown, &[]);
    let (export, with, without) = (home.path("export"), home.path("with"), home.path("without"));
    let commands: Vec<Vec<&str>> = vec![
        vec!["key", "get", &plain],
        vec!["key", "get", &hidden, "--json"],
        vec!["key", "list"],
        vec!["key", "list", "--json"],
        vec!["key", "set-status", &plain, "SUSPENDED"],
        vec!["usage", &plain],
        vec!["status"],
        vec!["status", "--json"],
        vec!["export", utf8(&export)],
        vec!["backup", utf8(&with)],
        vec!["backup", utf8(&without), "--without-pepper", "--without-master-key"],
        vec!["verify", "--json"],
        vec!["alert", "list", "--json"],
        vec!["alert", "test", &hidden],
        vec!["pepper", "status"],
        vec!["master", "status", "--json"],
        vec!["ping"],
        vec!["reload"],
        vec!["tenant", "list"],
        vec!["key", "delete", &plain],
        vec!["pepper", "rotate"],
        vec!["master", "rotate", "--json"],
    ];
    for args in commands {
        let ran = home.run(&args);
        holds_none(&secrets, &format!("what {args:?} prints"), ran.stdout.as_bytes());
        holds_none(&secrets, &format!("what {args:?} says"), ran.stderr.as_bytes());
    }
    for (name, file) in [("new pepper", "pepper"), ("new master key", "master.key")] {
        let bytes = fs::read(home.data().join(file)).expect("a secret");
        assert!(secrets.iter().all(|secret| secret.bytes != bytes), "{name}");
        secrets.push(Secret { name, bytes });
    }
    // As arguments they are not repeated, whatever is wrong with the rest.
    let ran = home.run(["validate", &token, "--nonsense"]);
    holds_none(&secrets, "an error about arguments", ran.stderr.as_bytes());

    let proc = format!("/proc/{}", daemon.id());
    for name in ["cmdline", "environ"] {
        // Only root may look at what is not dumpable.
        if let Ok(bytes) = fs::read(format!("{proc}/{name}")) {
            holds_none(&secrets, name, &bytes);
        }
    }
    let log = daemon.stop();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "it logs all there is");
    holds_none(&secrets, "the log", log.as_bytes());
    holds_none(&secrets, "the export", &fs::read(&export).expect("an export"));
    // On disk the hashes of tokens are secrets too.
    for (name, token) in [
        ("hash", &token),
        ("hash of an encrypted record", &hidden_token),
        ("hash of a client secret", &secret),
    ] {
        let bytes = sha2(token.as_bytes());
        secrets.push(Secret { name, bytes });
    }
    for dir in [home.data(), with, without.clone()] {
        for (path, bytes) in files(&dir) {
            if !path.ends_with("/pepper") && !path.ends_with("/master.key") {
                holds_none(&secrets, &path, &bytes);
            }
        }
    }
    for name in ["pepper", "master.key"] {
        assert!(!without.join(name).exists(), "{name} was left out");
    }
}

fn sha2(bytes: &[u8]) -> Vec<u8> {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).to_vec()
}
