//! The daemon as an operator has it: sockets, starts that are refused, stops, and a full disk.

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use keygate_protocol::{ErrorCode, Flags, Opcode, opcode};
use rustix::process::{Resource, Rlimit, Signal, prlimit};
use serde_json::{Value, json};

use support::wire::{increment, request, validate};
use support::{BINARY, Daemon, Home, Ran, finish};

/// Starts a daemon that must refuse to start, and hears why.
fn refused(mut serve: Command) -> Ran {
    serve.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ran = finish(serve, b"");
    ran.expect(1);
    assert!(!ran.stderr.contains("panicked"), "{ran:#?}");
    ran
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

fn utf8(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn sockets_and_data_have_their_modes_and_parents_and_go_with_the_daemon() {
    let home = Home::new();
    let sockets = [home.path("deep/er/data.sock"), home.path("deeper/admin.sock")];
    let mut serve = home.serve();
    serve.arg("--socket").arg(&sockets[0]).arg("--admin-socket").arg(&sockets[1]);
    let daemon = Daemon::start(serve);
    assert_eq!(sockets.each_ref().map(|path| mode(path)), [0o660, 0o600]);
    assert_eq!(mode(&home.data()), 0o700);
    for name in ["pepper", "db", "LOCK"] {
        assert_eq!(mode(&home.data().join(name)), 0o600, "{name}");
    }
    home.run(["ping".as_ref(), "--socket".as_ref(), sockets[0].as_os_str()]).expect(0);
    home.run(["status".as_ref(), "--admin-socket".as_ref(), sockets[1].as_os_str()]).expect(0);
    daemon.stop();
    assert!(sockets.iter().all(|path| !path.exists()), "nobody answers on them any more");
}

#[test]
fn a_dead_daemons_sockets_are_replaced() {
    let home = Home::new();
    home.start().kill();
    assert!(home.socket().exists() && home.admin_socket().exists(), "a kill cleans nothing up");
    let _daemon = home.start();
    home.run(["ping"]).expect(0);
    home.run(["status"]).expect(0);
}

#[test]
fn a_live_socket_is_refused_with_who_holds_it_and_goes_on() {
    let home = Home::new();
    let daemon = home.start();
    let holder = format!("process {} (keygate)", daemon.id());
    let other = home.path("other-data");
    for (taken, free) in [("--socket", "--admin-socket"), ("--admin-socket", "--socket")] {
        let socket = if taken == "--socket" { home.socket() } else { home.admin_socket() };
        let mut serve = home.command();
        serve.args(["serve", "--data-dir", utf8(&other), taken, utf8(&socket), free]);
        serve.arg(home.path("free.sock"));
        refused(serve).says(&[utf8(&socket), &holder]);
        assert!(!home.path("free.sock").exists(), "what it had made is removed");
    }
    home.run(["ping"]).expect(0);
    home.run(["status"]).expect(0);
    // What is no socket is not touched.
    fs::write(home.path("precious"), "data").expect("a file");
    let mut serve = home.command();
    serve.args(["serve", "--data-dir", utf8(&other), "--socket", utf8(&home.path("precious"))]);
    serve.arg("--admin-socket").arg(home.path("free.sock"));
    refused(serve).says(&["is not a socket"]);
    assert_eq!(fs::read_to_string(home.path("precious")).expect("still there"), "data");
}

#[test]
fn a_second_daemon_on_the_same_data_is_told_who_holds_it() {
    let home = Home::new();
    let daemon = home.start();
    let mut serve = home.serve();
    serve.arg("--socket").arg(home.path("2.sock")).arg("--admin-socket").arg(home.path("3.sock"));
    refused(serve).says(&[utf8(&home.data()), &format!("process {}", daemon.id()), "--data-dir"]);
    home.run(["status"]).expect(0);
}

#[test]
fn a_configuration_is_refused_with_its_line_or_its_bound() {
    let cases: &[(&str, &[&str])] = &[
        ("threads = 1\n[limits]\nidle_timeout = 5\n", &["keygate.toml", "line 3", "idle_timeout"]),
        ("socket_path = 'x'\n", &["line 1", "socket_path"]),
        ("[limits]\nidle_timeout_ms = 'long'\n", &["line 2", "idle_timeout_ms"]),
        ("threads =\n", &["line 1"]),
        ("[limits]\nidle_timeout_ms = 5\n", &["limits.idle_timeout_ms is 5", "100"]),
        ("[limits]\nframe_bytes_max = 1048576\n", &["limits.frame_bytes_max", "65536"]),
        ("tcp = ['0.0.0.0:7430']\n", &["tcp", "loopback"]),
        ("token_brand = 'K-G'\n", &["token_brand"]),
    ];
    for (config, words) in cases {
        let home = Home::with(config);
        refused(home.serve()).says(words);
        assert!(!home.data().exists(), "{config}: nothing was begun");
    }
    let home = Home::new();
    for address in ["0.0.0.0:7430", "[::]:7430", "192.0.2.1:7430"] {
        let mut serve = home.serve();
        serve.args(["--tcp", address]);
        refused(serve).says(&[address, "loopback", "plain text"]);
    }
    let mut serve = home.command();
    serve.args(["serve", "--config", "/no/such/keygate.toml"]);
    refused(serve).says(&["/no/such/keygate.toml"]);
}

#[test]
fn a_flag_outweighs_the_environment_and_the_environment_the_file() {
    let home = Home::new();
    let path = |name: &str| utf8(&home.path(name)).to_owned();
    home.configure(&format!("socket = '{}'\n", path("file.sock")));
    let mut from_file = home.serve();
    from_file.env_remove("KEYGATE_SOCKET");
    let mut from_environment = home.serve();
    from_environment.env("KEYGATE_SOCKET", path("environment.sock"));
    let mut from_flag = home.serve();
    from_flag.env("KEYGATE_SOCKET", path("environment.sock"));
    from_flag.args(["--socket", &path("flag.sock")]);
    for (serve, name) in
        [(from_file, "file.sock"), (from_environment, "environment.sock"), (from_flag, "flag.sock")]
    {
        let daemon = Daemon::start(serve);
        home.run(["ping", "--socket", &path(name)]).expect(0);
        daemon.stop();
    }
}

#[test]
fn tokens_outlive_a_change_of_the_brand() {
    let home = Home::new();
    let daemon = home.start();
    let (id, old) = home.create(&["--name", "branded"]);
    daemon.stop();
    home.configure("token_brand = 'acme'\n");
    let daemon = home.start();
    assert_eq!(home.code(&old), "VALID");
    let new = support::text(&home.json(["key", "rotate", &id, "--grace", "1h"])["token"]);
    assert!(new.starts_with("acme_live_"), "{} bytes", new.len());
    daemon.stop();
    let daemon = home.start();
    assert_eq!([home.code(&old), home.code(&new)], ["VALID"; 2]);
    daemon.stop();
}

#[test]
fn a_pepper_that_is_another_missing_or_cut_short_is_refused() {
    let home = Home::new();
    let daemon = home.start();
    let (_, token) = home.create(&["--name", "peppered"]);
    daemon.stop();
    let path = home.data().join("pepper");
    let pepper = fs::read(&path).expect("the pepper");
    let cases: [(Option<&[u8]>, &str); 4] = [
        (Some(&[7; 32]), "is not the one that this store was made with"),
        (None, "is missing"),
        (Some(&pepper[..31]), "31 bytes"),
        (Some(&[]), "0 bytes"),
    ];
    for (found, says) in cases {
        match found {
            Some(bytes) => fs::write(&path, bytes).expect("written"),
            None => fs::remove_file(&path).expect("removed"),
        }
        refused(home.serve()).says(&[says, utf8(&path), "restore"]);
        assert!(!home.socket().exists(), "{says}: it leaves no socket behind");
        assert_eq!(path.exists(), found.is_some(), "{says}: no new one is made over the keys");
    }
    // It may come from systemd as well.
    let credentials = home.path("credentials");
    fs::create_dir(&credentials).expect("a directory");
    fs::write(credentials.join("pepper"), &pepper).expect("written");
    let mut serve = home.serve();
    serve.env("CREDENTIALS_DIRECTORY", &credentials);
    let daemon = Daemon::start(serve);
    assert_eq!(home.code(&token), "VALID");
    daemon.stop();
    // What was passed and cannot be looked at is no reason to take another one.
    fs::write(&path, &pepper).expect("written");
    let mut serve = home.serve();
    serve.env("CREDENTIALS_DIRECTORY", credentials.join("pepper"));
    refused(serve).says(&["cannot look for the pepper"]);
}

#[test]
fn a_pepper_that_others_may_read_is_warned_of() {
    let home = Home::new();
    let log = home.start().stop();
    assert!(!log.contains("chmod 600"), "{log}");
    let pepper = home.data().join("pepper");
    fs::set_permissions(&pepper, fs::Permissions::from_mode(0o640)).expect("its mode");
    let log = home.start().stop();
    assert!(log.contains("WARN") && log.contains("chmod 600"), "{log}");
}

#[test]
fn what_to_log_is_understood_or_refused() {
    let home = Home::new();
    let mut serve = home.serve();
    serve.env("KEYGATE_LOG", "inof").stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(serve, b"").expect(2).says(&["KEYGATE_LOG", "inof", "keygate=debug"]);
}

#[test]
fn more_connections_than_files_are_warned_of() {
    let home = Home::with("[limits]\nconnections_max = 1048576\n");
    let mut shell = home.dress(Command::new("sh"));
    shell.args([
        "-c",
        "ulimit -n 512; exec \"$0\" serve --data-dir \"$1\" --config \"$2\"",
        BINARY,
    ]);
    shell.arg(home.data()).arg(home.path("keygate.toml"));
    let log = Daemon::start(shell).stop();
    assert!(log.contains("too few open files"), "{log}");
}

#[test]
fn a_stop_answers_what_it_has_read_and_counts_what_it_has_answered() {
    for signal in [Signal::TERM, Signal::INT] {
        let home = Home::new();
        let mut daemon = home.start();
        let (id, token) = home.create(&["--name", "stopped"]);
        let question = validate(&token);
        let answers = std::thread::scope(|scope| {
            let connections: Vec<_> = (0..4)
                .map(|_| {
                    let mut wire = home.wire();
                    let question = &question;
                    scope.spawn(move || {
                        let burst: Vec<u8> = (1..=16)
                            .flat_map(|n| request(Opcode::Validate, Flags::NONE, n, question))
                            .collect();
                        let mut answers = 0_u64;
                        while wire.try_write(&burst).is_ok() {
                            for _ in 0..16 {
                                let Some(reply) = wire.next() else { return answers };
                                if reply.opcode == opcode::ERROR {
                                    assert_eq!(reply.error().0, ErrorCode::Stopping);
                                    assert!(wire.next().is_none());
                                    return answers;
                                }
                                assert!(reply.verdict().code.is_valid());
                                answers += 1;
                            }
                        }
                        // What was answered before the end is still to be read.
                        while let Some(reply) = wire.next() {
                            answers += u64::from(reply.opcode == Opcode::Validate.reply());
                        }
                        answers
                    })
                })
                .collect();
            let mut watch = home.admin();
            while watch.get(id.parse().expect("an id")).expect("a key")["total_requests"] == "0" {}
            daemon.signal(signal);
            connections
                .into_iter()
                .map(|connection| connection.join().expect("no panic"))
                .sum::<u64>()
        });
        assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
        let _daemon = home.start();
        let counted = home.json(["usage", &id])["total_requests"].as_u64().expect("a number");
        assert_eq!(counted, answers, "every answer was counted, and nothing else");
    }
}

#[test]
fn reports_that_were_written_before_a_stop_are_counted() {
    const REPORTS: u64 = 200;
    let home = Home::new();
    let mut daemon = home.start();
    let (id, _) = home.create(&["--name", "reported"]);
    let report =
        request(Opcode::Increment, Flags::NO_REPLY, 1, &increment(id.parse().expect("an id")));
    for round in 1..=10 {
        let mut wires: Vec<_> = (0..4).map(|_| home.wire()).collect();
        wires.iter_mut().for_each(support::wire::Wire::answers);
        for _ in 0..REPORTS / 4 {
            wires.iter_mut().for_each(|wire| wire.write(&report));
        }
        daemon.stop();
        daemon = home.start();
        assert_eq!(home.json(["usage", &id])["reported_requests"], REPORTS * round);
    }
    daemon.stop();
}

#[test]
fn a_stopping_daemon_says_so_to_those_who_are_connected() {
    let home = Home::new();
    let mut daemon = home.start();
    let mut wires = [home.wire(), home.admin_wire()];
    wires.iter_mut().for_each(support::wire::Wire::answers);
    daemon.signal(Signal::TERM);
    for wire in &mut wires {
        wire.closes_with(ErrorCode::Stopping);
    }
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
}

/// A peer that has asked, and read no answer, until the daemon took no more of it.
fn deaf_peer(home: &Home) -> UnixStream {
    let mut deaf = UnixStream::connect(home.socket()).expect("the socket takes connections");
    deaf.set_write_timeout(Some(Duration::from_secs(1))).expect("a timeout");
    let ping = request(Opcode::Ping, Flags::NONE, 1, &[0; 32 * 1024]);
    deaf.write_all(&ping).expect("the first is taken");
    while deaf.write_all(&ping).is_ok() {}
    deaf
}

#[test]
fn a_stop_is_not_held_up_by_a_peer_beyond_its_deadline() {
    let config =
        "[limits]\nstop_deadline_ms = 300\nwrite_timeout_ms = 60000\nreply_bytes_max = 4096\n";
    let home = Home::with(config);
    let mut daemon = home.start();
    let _deaf = deaf_peer(&home);
    daemon.signal(Signal::TERM);
    let began = std::time::Instant::now();
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

#[test]
fn a_second_signal_ends_a_stop_at_once() {
    let home = Home::with(
        "[limits]\nstop_deadline_ms = 600000\nwrite_timeout_ms = 600000\nreply_bytes_max = 4096\n",
    );
    let mut daemon = home.start();
    let _deaf = deaf_peer(&home);
    daemon.signal(Signal::TERM);
    daemon.logs(|log| log.contains("stopping"));
    daemon.signal(Signal::INT);
    assert_eq!(daemon.wait().code(), Some(1), "{}", daemon.log());
    assert!(daemon.log().contains("second signal"), "{}", daemon.log());
}

#[test]
fn a_daemon_that_still_loads_can_be_stopped() {
    let home = Home::new();
    let credentials = home.path("credentials");
    fs::create_dir(&credentials).expect("a directory");
    // Loading waits for this pepper until somebody writes it.
    let pepper = credentials.join("pepper");
    assert!(Command::new("mkfifo").arg(&pepper).status().expect("mkfifo runs").success());
    let mut serve = home.serve();
    serve.env("CREDENTIALS_DIRECTORY", &credentials);
    let mut daemon = Daemon::launch(serve);
    let writer = fs::OpenOptions::new().write(true).open(&pepper).expect("the daemon reads");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
    drop(writer);
}

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let home = Home::new();
    let mut serve = home.serve();
    serve.env("KEYGATE_LOG", "trace");
    let daemon = Daemon::start_unheard(serve);
    let (id, token) = home.create(&["--name", "silent"]);
    home.json(["key", "update", &id, "--rps", "5"]);
    assert_eq!(home.code(&token), "VALID");
    home.import(&[support::example_record()]);
    daemon.stop();
}

/// From here on no file of the daemon's may grow above this, as by `LimitFSIZE=` of its unit.
fn limit_files(daemon: &Daemon, bytes: Option<u64>) {
    let limit = Rlimit { current: bytes, maximum: None };
    prlimit(Some(daemon.pid()), Resource::Fsize, limit).expect("the limit is set");
}

#[test]
fn a_disk_that_takes_no_more_stops_changes_and_not_decisions_with_sled() {
    a_disk_takes_no_more("sled");
}

#[test]
fn a_disk_that_takes_no_more_stops_changes_and_not_decisions_with_redb() {
    a_disk_takes_no_more("redb");
}

/// With sled, whose reads fail with its writes, of what it does not have in memory.
#[test]
fn a_change_that_cannot_be_read_for_a_full_disk_is_told_why() {
    let home = Home::with("[store]\ncache_bytes = 1048576\n");
    let daemon = home.start();
    let long = |id: u64| {
        let hash = format!("{id:064x}");
        json!({ "id": id.to_string(), "key_hash": hash, "description": "d".repeat(4000) })
    };
    home.import(&(1..=1500).map(long).collect::<Vec<_>>());
    limit_files(&daemon, Some(0));
    home.run(["key", "create", "--name", "the first to fail"]).expect(1).says(&["STORAGE"]);
    for id in (1..=1500).step_by(100).map(|id: u64| id.to_string()) {
        let words = ["READ_ONLY", "the store refuses writes since one failed (", "make room"];
        home.run(["key", "revoke", &id]).expect(1).says(&words);
        let words = ["READ_ONLY", "the store refuses writes since one failed ("];
        home.run(["key", "create", "--request-id", &id, "--name", "n"]).expect(1).says(&words);
    }
    daemon.kill();
}

fn a_disk_takes_no_more(engine: &str) {
    // A small cache: what is read later is not all in memory.
    let store = format!("[store]\nengine = \"{engine}\"\ncache_bytes = 1048576\n");
    let home = Home::with(&store);
    let mut daemon = home.start();
    let (id, token) = home.create(&["--name", "before"]);
    let long = |id: u64| {
        let hash = format!("{id:064x}");
        json!({ "id": id.to_string(), "key_hash": hash, "description": "d".repeat(2000) })
    };
    // sled fails reads of what it does not have in memory, and keys are judged all the same.
    let all_is_read = engine == "redb";
    if all_is_read {
        home.import(&(1..=1500).map(long).collect::<Vec<_>>());
    }
    assert_eq!(home.json(["status"])["healthy"], true);
    limit_files(&daemon, Some(0));

    home.run(["key", "create", "--name", "the first to fail"]).expect(1).says(&[
        "STORAGE",
        "ile too large",
        "takes no writes from here on",
        "restart keygate",
    ]);
    for args in [
        &["key", "create", "--name", "another"][..],
        &["key", "revoke", &id],
        &["key", "rotate", &id],
        &["key", "delete", &id],
    ] {
        home.run(args).expect(1).says(&[
            "READ_ONLY",
            "the store refuses writes since one failed (",
            "ile too large",
            "nothing was changed",
            "make room",
            "restart keygate",
        ]);
    }
    home.run_with(&["import", "-"], &json!([support::example_record()]).to_string())
        .expect(1)
        .says(&["READ_ONLY"]);
    // Decisions, reads and counting go on.
    assert_eq!(home.code(&token), "VALID");
    assert_eq!(home.json(["increment", &id])["outcome"], "COUNTED");
    assert_eq!(home.json(["key", "get", &id])["status"], "STATUS_ACTIVE");
    assert_eq!(home.json(["usage", &id])["reported_requests"], 1);
    if all_is_read {
        let file = home.path("export.json");
        home.run(["export", utf8(&file)]).expect(0);
        let export = fs::read_to_string(&file).expect("it is there");
        // That which failed may be seen until the restart.
        let keys = export.lines().filter(|line| line.contains("\"id\"")).count();
        assert!((1501..=1502).contains(&keys), "{keys}");
        home.run(["backup", utf8(&home.path("backup"))]).expect(0);
        home.run(["verify"]).expect(0);
    }
    let status = home.run(["status", "--json"]);
    let status = status.expect(1).json();
    assert_eq!((&status["healthy"], &status["writable"]), (&json!(false), &json!(false)));
    let reasons = status["reasons"].to_string();
    for words in ["ile too large", "make room", "does not start", "restart keygate"] {
        assert!(reasons.contains(words), "{reasons}");
    }

    // A stop cannot write what was counted meanwhile, and says what is lost by it.
    daemon.signal(Signal::TERM);
    assert!(!daemon.wait().success());
    let log = daemon.log();
    let lost = log.lines().find(|line| line.contains("could not be written and is lost"));
    let lost = lost.unwrap_or_else(|| panic!("{log}"));
    assert!(lost.contains("ERROR") && lost.contains("keys=1") && lost.contains("ids=0"), "{lost}");

    // Mended and restarted, it has what was acknowledged and takes changes again.
    let _daemon = home.start();
    assert_eq!(home.json(["status"])["healthy"], true);
    assert_eq!(home.code(&token), "VALID");
    home.json(["key", "revoke", &id]);
}

#[test]
fn an_import_that_the_disk_does_not_take_leaves_nothing() {
    let home = Home::new();
    let daemon = home.start();
    let (_, token) = home.create(&["--name", "before"]);
    let size = fs::metadata(home.data().join("db")).expect("the store").len();
    limit_files(&daemon, Some(size + 256 * 1024));
    let records: Vec<Value> = (1..=2000_u32)
        .map(|n| {
            let description = format!("{n:08}").repeat(250);
            json!({"id": n.to_string(), "key_hash": format!("{n:064x}"), "description": description})
        })
        .collect();
    let file = home.file("large.json", &json!(records).to_string());
    let ran = home.run(["import".as_ref(), file.as_os_str()]);
    ran.expect(1).says(&["STORAGE", "file too large"]);
    // The engine may refuse reads from here on; decisions never ask it. It may be its watch that
    // finds the failure, four times a second.
    while home.run(["status"]).code() == 0 {}
    assert_eq!(home.code(&token), "VALID");
    daemon.kill();
    let _daemon = home.start();
    let status = home.json(["status"]);
    assert_eq!((&status["healthy"], &status["stats"]["keys"]), (&json!(true), &json!(1)));
    assert_eq!(home.json(["import".as_ref(), file.as_os_str()])["imported"], 2000);
}

#[test]
fn what_stands_on_the_path_before_the_daemon_is_stale_or_not_ours() {
    let home = Home::new();
    drop(UnixListener::bind(home.socket()).expect("a socket that nobody answers on"));
    let _daemon = home.start();
    home.run(["ping"]).expect(0);
}
