//! Data directories as an operator handles them: backup, restore, verify, compact, doctor; from one
//! engine to the other; and what is said when something is in the way. (Kills are in
//! `crash_copies.rs`.)

mod support;

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use keygate::store::{Op, StoreOptions, layout, open_existing};
use keygate_protocol::{ErrorCode, Opcode};
use serde_json::{Value, json};

use support::{Daemon, Home, Ran, run};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

fn utf8(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn home_of(engine: &str) -> Home {
    Home::with(&format!("[store]\nengine = \"{engine}\"\n"))
}

/// The state and the mend of a check, as `doctor --json` has them.
fn finding<'a>(doctor: &'a Value, check: &str) -> &'a Value {
    let findings = doctor["findings"].as_array().expect("a list");
    let found = findings.iter().find(|finding| finding["check"] == check);
    found.unwrap_or_else(|| panic!("no {check} in {doctor}"))
}

fn doctor(home: &Home, code: i32) -> Value {
    let data = home.data();
    let ran = home.run(["doctor", "--json", "--data-dir", utf8(&data)]);
    ran.expect(code);
    ran.json()
}

#[test]
fn keys_move_from_engine_to_engine_and_back_by_backup_and_restore() {
    let homes = [home_of("sled"), home_of("redb"), home_of("sled")];
    let daemon = homes[0].start();
    let (id, token) = homes[0].create(&["--name", "one", "--tenant", "acme", "--scope", "a:b"]);
    homes[0].run(["increment", &id, "--status", "200"]).expect(0);
    let record = homes[0].json(["key", "get", &id]);
    let mut daemon = Some(daemon);
    for pair in homes.windows(2) {
        let (from, to) = (&pair[0], &pair[1]);
        let engine = fs::read_to_string(to.path("keygate.toml")).expect("readable");
        let engine = if engine.contains("redb") { "redb" } else { "sled" };
        let backup = from.path("backup");
        let made = from.json(["backup", utf8(&backup)]);
        assert_eq!(
            (&made["pepper"], &made["master_key"]),
            (&json!("included"), &json!("included"))
        );
        assert_eq!((mode(&backup), mode(&backup.join("pepper"))), (0o700, 0o600));
        assert_eq!(mode(&backup.join("master.key")), 0o600);
        let data = to.data();
        let restored =
            to.json(["restore", utf8(&backup), "--data-dir", utf8(&data), "--engine", engine]);
        assert_eq!((&restored["engine"], &restored["records"]), (&json!(engine), &json!(1)));
        assert_eq!((mode(&data), mode(&data.join("pepper"))), (0o700, 0o600));
        daemon.take().map(Daemon::stop);
        daemon = Some(to.start());
        assert_eq!(to.code(&token), "VALID");
        let moved = to.json(["key", "get", &id]);
        assert_eq!((&moved["key_hash"], &moved["name"]), (&record["key_hash"], &record["name"]));
        assert_eq!(to.json(["verify"])["clean"], true);
    }
    drop(daemon);
}

#[test]
fn data_of_the_other_engine_is_refused_with_the_way_to_move() {
    let home = home_of("redb");
    home.start().stop();
    home.configure("");
    let ran = run(home.serve(), b"");
    ran.expect(1).says(&["engine = \"redb\"", "keygate restore", "export"]);
    home.configure("[store]\nengine = \"rocksdb\"\n");
    run(home.serve(), b"").expect(1).says(&["line 2", "sled", "redb"]);
}

#[test]
fn what_is_in_the_way_is_said_and_nothing_is_written_over() {
    let home = Home::new();
    let daemon = home.start();
    home.create(&["--name", "one"]);
    let (data, backup) = (home.data(), home.path("backup"));
    let (data, backup) = (utf8(&data), utf8(&backup));
    let absent = home.path("absent");
    let absent = utf8(&absent);
    home.run(["backup", backup]).expect(0).says(&["the pepper is in it", "keygate verify"]);
    let in_the_way: &[(i32, &[&str], &[&str])] = &[
        (1, &["backup", backup], &["there already"]),
        (1, &["verify", data], &["in use by process", "without DIR"]),
        (1, &["compact", "--data-dir", data], &["in use by process", "no daemon"]),
        (1, &["restore", backup, "--data-dir", data], &["there already"]),
        (1, &["verify", absent], &["no data"]),
        (1, &["compact", "--data-dir", absent], &["no data"]),
        (1, &["restore", absent, "--data-dir", absent], &["no data"]),
        (2, &["restore", backup, "--data-dir", absent, "--engine", "x"], &["sled or redb"]),
        (2, &["compact"], &["--data-dir"]),
    ];
    for (code, args, words) in in_the_way {
        home.run(*args).expect(*code).says(words);
    }
    assert!(!home.path("absent").exists() && !home.path("absent.part").exists());

    // The name that a new directory has while it is made may be somebody's already.
    let taken = home.path("new-1.part");
    fs::create_dir_all(taken.join("photographs")).expect("made");
    home.run(["backup", utf8(&home.path("new-1"))]).expect(1).says(&["there already"]);
    assert!(taken.join("photographs").exists());
    let moved = home.path("new-2.part");
    fs::rename(backup, &moved).expect("moved");
    let ran = home.run(["restore", utf8(&moved), "--data-dir", utf8(&home.path("new-2"))]);
    ran.expect(1).says(&["in use"]);
    home.clean(&moved);
    fs::rename(&moved, backup).expect("moved back");

    let bare = home.path("bare");
    let ran = home.run(["backup", utf8(&bare), "--without-pepper"]);
    let status = home.json(["pepper", "status"]);
    let id = status["id"].as_str().expect("an id");
    ran.expect(0).says(&[&format!("the pepper {id} is not in it")]);
    assert!(!bare.join("pepper").exists() && bare.join("master.key").exists());
    let new = home.path("new");
    fs::create_dir(&new).expect("an empty directory");
    let ran = home.run(["restore", utf8(&bare), "--data-dir", utf8(&new)]);
    ran.expect(0).says(&["no pepper", &format!("made under, {id}"), "0600"]);
    daemon.stop();
    home.run(["backup", utf8(&home.path("late"))]).expect(4);
    assert!(!home.path("late.part").exists(), "a backup that fails leaves nothing");
    home.run(["verify"]).expect(4);
    home.clean(Path::new(data));
}

#[test]
fn a_pepper_that_is_a_credential_is_not_in_the_backup() {
    let home = Home::new();
    let credentials = home.path("credentials");
    fs::create_dir(&credentials).expect("a directory");
    fs::write(credentials.join("pepper"), [7; 32]).expect("a pepper");
    let mut serve = home.serve();
    serve.env("CREDENTIALS_DIRECTORY", &credentials);
    let _daemon = Daemon::start(serve);
    let backup = home.path("backup");
    let ran = home.run(["backup", "--json", utf8(&backup)]);
    ran.expect(0).says(&["credential"]);
    assert_eq!(ran.json()["pepper"], "credential");
    assert!(!backup.join("pepper").exists());
}

/// Damages a directory that nobody uses: the index rows of a tenant are gone.
fn damage(dir: &Path) {
    let (_, store) = open_existing(dir, &StoreOptions::default()).expect("opened");
    let rows = store.scan(&[layout::TENANT], None, 100).expect("readable");
    let ops: Vec<Op> = rows.into_iter().map(|(key, _)| Op::Remove { key }).collect();
    store.apply(&ops).expect("applied");
    store.sync().expect("synced");
}

#[test]
fn damage_is_named_with_a_directory_and_by_the_daemon_and_is_not_restored() {
    for engine in ["sled", "redb"] {
        let home = home_of(engine);
        let daemon = home.start();
        let (id, _) = home.create(&["--name", "one", "--tenant", "acme"]);
        daemon.stop();
        damage(&home.data());
        let named = |ran: &Ran| {
            ran.expect(1).says(&["index_missing", "acme", &id, "keygate restore"]);
            assert!(ran.stdout.contains("NOT CLEAN"), "{ran:#?}");
        };
        named(&home.run([OsStr::new("verify"), home.data().as_os_str()]));
        let found = doctor(&home, 1);
        assert_eq!(finding(&found, "data")["state"], "wrong");
        let _daemon = home.start();
        named(&home.run(["verify"]));
        let ran = home.run(["verify", "--json"]);
        ran.expect(1);
        assert_eq!(ran.json()["problem_counts"], json!({ "index_missing": 1 }));
        let backup = home.path("backup");
        home.run(["backup", utf8(&backup)]).expect(0);
        let new = home.path("new");
        let ran = home.run(["restore", utf8(&backup), "--data-dir", utf8(&new)]);
        ran.expect(1).says(&["nothing was restored", "index_missing"]);
        assert!(!new.exists() && !home.path("new.part").exists());
    }
}

#[test]
fn a_compaction_gives_room_back_and_says_how_much() {
    for engine in ["sled", "redb"] {
        let home = home_of(engine);
        let daemon = home.start();
        let record = |id: u64| {
            let hash = format!("{id:064x}");
            json!({ "id": id.to_string(), "key_hash": hash, "description": "d".repeat(4000) })
        };
        home.import(&(1..=300).map(record).collect::<Vec<_>>());
        for id in 1..=290 {
            let delete = keygate_protocol::admin::KeyDelete { id: id.to_string(), purge: true };
            home.admin().delete(&delete).expect("purged");
        }
        daemon.stop();
        let data = home.data();
        let done = home.json(["compact", "--data-dir", utf8(&data)]);
        let (before, after) = (done["bytes_before"].as_u64(), done["bytes_after"].as_u64());
        assert!(after < before, "{done}");
        assert_eq!(home.clean(&data)["records"], 10);
        let _daemon = home.start();
        assert_eq!(home.json(["key", "get", "300"])["id"], "300");
    }
}

#[test]
fn the_doctor_finds_what_is_wrong_and_what_mends_it() {
    let home = Home::new();
    let daemon = home.start();
    home.create(&["--name", "one"]);
    let well = doctor(&home, 0);
    assert_eq!(well["wrong"], false);
    for check in ["health", "versions", "data", "schema", "clock", "disk", "pepper", "permissions"]
    {
        assert_eq!(finding(&well, check)["state"], "fine", "{check}: {well}");
    }
    let pepper = home.data().join("pepper");
    fs::set_permissions(&pepper, Permissions::from_mode(0o644)).expect("opened up");
    fs::set_permissions(home.admin_socket(), Permissions::from_mode(0o666)).expect("opened up");
    let open = doctor(&home, 1);
    let mends: Vec<&str> = open["findings"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|finding| finding["check"] == "permissions")
        .map(|finding| finding["mend"].as_str().expect("a mend"))
        .collect();
    assert!(mends.contains(&format!("chmod 600 {}", pepper.display()).as_str()), "{mends:?}");
    let socket = format!("chmod 660 {}", home.admin_socket().display());
    assert!(mends.contains(&socket.as_str()), "{mends:?}");
    fs::set_permissions(&pepper, Permissions::from_mode(0o600)).expect("closed");

    let (data, other) = (home.data(), home.data().with_extension("other"));
    home.run(["backup", utf8(&other)]).expect(0);
    home.create(&["--name", "two"]);
    let ran = home.run(["doctor", "--json", "--data-dir", utf8(&other)]);
    let elsewhere: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let said = &finding(&elsewhere, "daemon")["found"];
    assert_eq!(*said, format!("the daemon that answers does not use {}", other.display()));
    let rows = |doctor: &Value| finding(doctor, "data")["found"].clone();
    fs::set_permissions(home.admin_socket(), Permissions::from_mode(0o600)).expect("closed");
    assert_ne!(rows(&elsewhere), rows(&doctor(&home, 0)), "{}", data.display());

    daemon.stop();
    let alone = doctor(&home, 0);
    assert_eq!(finding(&alone, "daemon")["state"], "advice", "a directory was named: {alone}");
    assert_eq!(finding(&alone, "data")["state"], "fine");
    let right = fs::read(&pepper).expect("readable");
    let put = |bytes: Option<&[u8]>| match bytes {
        Some(bytes) => {
            fs::write(&pepper, bytes).expect("written");
            fs::set_permissions(&pepper, Permissions::from_mode(0o600)).expect("closed");
        }
        None => fs::remove_file(&pepper).expect("removed"),
    };
    for (bytes, code, state, words) in [
        (Some(&b"short"[..]), 1, "wrong", "has 5 bytes"),
        (Some(&[7; 32]), 1, "wrong", "and the store was written under"),
        (None, 0, "advice", "is wanted"),
        (Some(&right), 0, "fine", "is the pepper of the store"),
    ] {
        put(bytes);
        let found = doctor(&home, code);
        let found = finding(&found, "pepper");
        assert_eq!(found["state"], state, "{found}");
        assert!(found["found"].as_str().expect("a text").contains(words), "{found}");
    }
    put(Some(b"short"));
    let ran = home.run(["doctor"]);
    ran.expect(1);
    assert!(ran.stdout.contains("WRONG   daemon"), "{ran:#?}");
}

/// Another release's client may ask what it likes.
#[test]
fn the_wire_takes_an_empty_payload_and_refuses_what_it_does_not_know() {
    let home = Home::new();
    let _daemon = home.start();
    home.create(&["--name", "one"]);
    for (opcode, payload) in [(Opcode::Backup, &b""[..]), (Opcode::Verify, b"{}")] {
        let mut wire = home.admin_wire();
        wire.send(opcode, 7, payload);
        loop {
            let reply = wire.read();
            assert_eq!((reply.opcode, reply.correlation), (opcode.reply(), 7));
            if !reply.more {
                break;
            }
        }
        wire.send(opcode, 8, br#"{"colour":1}"#);
        assert_eq!(wire.read().error().0, ErrorCode::BadPayload);
        let mut data = home.wire();
        data.send(opcode, 9, b"{}");
        assert_eq!(data.read().error().0, ErrorCode::NotOnThisSocket);
    }
}
