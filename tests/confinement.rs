//! The system calls that the units allow are enough for the daemon's main job, and no more than they
//! say: the daemon and `keygate deliver` run under the filters that systemd would build of the units
//! (`confinement/filtered.py`), and calls that are not on the lists fail there. No unit is started.

mod delivery;
#[path = "delivery/receiver.rs"]
mod receiver;
mod support;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use delivery::{Authority, DEADLINE};
use receiver::{Answer, Receiver};
use support::{BINARY, Daemon, Home, finish, http, text};

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A Python that has the seccomp module.
fn python() -> &'static str {
    let has = |python: &&&str| {
        let ran = Command::new(python).args(["-c", "import seccomp"]).output();
        ran.is_ok_and(|ran| ran.status.success())
    };
    let found = ["/usr/bin/python3", "python3"].iter().find(has);
    found.expect("no Python has seccomp: apt-get install python3-seccomp")
}

/// A program under the filters of a unit.
fn under(unit: &str, program: &str) -> Command {
    let mut command = Command::new(python());
    command.arg(here("tests/confinement/filtered.py")).arg(here("systemd").join(unit)).arg(program);
    command
}

/// The daemon of a home under its unit's filters, handing alerts to `deliver.sock`.
fn confined(home: &Home) -> Daemon {
    let mut command = home.dress(under("keygate.service", BINARY));
    command.arg("serve").arg("--config").arg(home.path("keygate.toml"));
    command.arg("--data-dir").arg(home.data());
    command.arg("--deliver-socket").arg(home.path("deliver.sock"));
    Daemon::start(command)
}

/// Its helper likewise, on a socket that it is handed, as the unit has it.
fn confined_helper(home: &Home, socket: &UnixListener) -> Daemon {
    let mut command = home.dress(Daemon::handing("deliver"));
    let filtered = under("keygate-deliver.service", BINARY);
    command.arg(filtered.get_program()).args(filtered.get_args());
    command.arg("deliver").arg("--config").arg(home.path("keygate.toml"));
    Daemon::start_handed(command, Daemon::passed(socket), Stdio::null())
}

fn configure(home: &Home, engine: &str, authority: &Authority, more: &str) {
    home.configure(&format!(
        "{more}\n[store]\nengine = {engine:?}\n[http]\nlisten = {:?}\n[alerts]\n\
         allow_addresses = ['127.0.0.1', '::1']\nca_file = {:?}\noperator_sinks = ['told']\n\
         [audit]\nsync = 'fsync'\n[sinks.told]\nkind = 'file'\ntarget = {:?}\n",
        home.path("http.sock"),
        authority.file(),
        home.path("told.jsonl"),
    ));
}

async fn main_job(engine: &str) {
    let authority = Authority::new();
    let tls = authority.server(&["localhost"]);
    let mut receiver = Receiver::start("127.0.0.1:0", tls, Answer::Status(204)).await;
    let hook = format!("https://localhost:{}/hook", receiver.address.port());
    let home = Home::new();
    configure(&home, engine, &authority, "");
    let socket = UnixListener::bind(home.path("deliver.sock")).expect("a socket");
    let user_alone = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(home.path("deliver.sock"), user_alone).expect("its mode");
    let helper = confined_helper(&home, &socket);
    // On an empty directory.
    let daemon = confined(&home);
    for id in [helper.id(), daemon.id()] {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
        assert!(status.contains("Seccomp:\t2") && status.contains("NoNewPrivs:\t1"), "{status}");
    }
    home.json(["tenant", "create", "acme"]);
    let args = ["--name", "k", "--tenant", "acme", "--webhook-url", &hook, "--rps", "50"];
    let (id, token) = home.create(&args);
    assert_eq!(home.code(&token), "VALID");
    assert_eq!(home.json(["increment", &id, "--status", "200"])["outcome"], "COUNTED");
    let rotated = home.json(["key", "rotate", &id, "--grace", "1h"]);
    let token = text(&rotated["token"]);
    home.json(["key", "suspend", &id, "--reason", "a test"]);
    assert_eq!(home.code(&token), "SUSPENDED");
    let told = tokio::time::timeout(DEADLINE, receiver.received.recv()).await;
    let told = told.expect("in time").expect("the receiver serves");
    assert!(told.headers.contains_key("webhook-signature"));
    home.run(["alert", "test", "--operator"]).expect(0).shows(&["sink told", "delivered"]);
    home.json(["key", "resume", &id]);
    home.json(["usage", &id]);
    home.run(["export"]).expect(0);
    let metrics = http::get(http::unix(&home.path("http.sock")), "/metrics", "text/plain");
    assert!((metrics.sample("keygate_keys") - 1.0).abs() < 0.5);
    configure(&home, engine, &authority, "[keys]\nexpiry_warning_days = 9");
    home.run(["reload"]).expect(0);
    let backup = home.path("backup");
    home.run(["backup".as_ref(), backup.as_os_str()]).expect(0);
    home.clean(&backup);
    home.json(["key", "delete", &home.create(&["--name", "gone"]).0, "--purge"]);
    daemon.stop();
    // On what it left, and once more after a crash.
    let daemon = confined(&home);
    assert_eq!(home.code(&token), "VALID");
    daemon.kill();
    let daemon = confined(&home);
    assert_eq!(home.code(&token), "VALID");
    let log = daemon.stop() + &helper.stop();
    assert!(!log.contains("not permitted") && !log.contains("os error 1)"), "{log}");
    home.clean(&home.data());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_job_is_done_under_the_units_filters_with_sled() {
    main_job("sled").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_job_is_done_under_the_units_filters_with_redb() {
    main_job("redb").await;
}

/// Python's words for what each call comes to; that it can do all of it without the filters is shown
/// beside. What is tried needs no right that a user lacks, but for two that say so.
const TRIED: &str = r#"
import errno, mmap, os, socket, sys
place = sys.argv[1]
def told(name, call):
    try:
        call()
        print(name, "done")
    except OSError as error:
        print(name, errno.errorcode[error.errno])
def family(family):
    return lambda: socket.socket(family, socket.SOCK_DGRAM).close()
told("unix", family(socket.AF_UNIX))
told("inet", family(socket.AF_INET))
told("netlink", family(socket.AF_NETLINK))
told("rename", lambda: (open(place + "/a", "w").close(), os.rename(place + "/a", place + "/b")))
told("symlink", lambda: os.symlink("b", place + "/c"))
told("fifo", lambda: os.mkfifo(place + "/d"))
told("setgid", lambda: os.chmod(place + "/b", 0o2700))
told("owner", lambda: os.chown(place + "/b", os.getuid(), os.getgid()))
told("nice", lambda: os.setpriority(os.PRIO_PROCESS, 0, 1))
told("kill", lambda: os.kill(os.getpid(), 0))
told("write and execute", lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC))
told("write", lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE))
"#;

/// The same, of what comes to an end with the process.
fn tried(mut command: Command) -> Vec<(String, String)> {
    let place = tempfile::tempdir().expect("a directory");
    // No site, so that Python does at its start what it must and nothing else.
    command.args(["-I", "-S", "-c", TRIED]).arg(place.path());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let ran = finish(command, b"");
    ran.expect(0);
    let words = |line: &str| line.rsplit_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned()));
    ran.stdout.lines().filter_map(words).collect()
}

#[test]
fn what_the_units_do_not_allow_fails_under_their_filters() {
    let python = python();
    let done = tried(Command::new(python));
    assert!(done.iter().all(|(_, what)| what == "done") && done.len() == 12, "{done:?}");
    let no_family = ["EAFNOSUPPORT"; 2];
    for (unit, [inet, netlink], rename) in
        [("keygate.service", no_family, "done"), ("keygate-deliver.service", ["done"; 2], "EPERM")]
    {
        let found = tried(under(unit, python));
        let found: Vec<_> = found.iter().map(|(name, what)| (&**name, &**what)).collect();
        let expected = [
            ("unix", "done"),
            ("inet", inet),
            ("netlink", netlink),
            ("rename", rename),
            ("symlink", "EPERM"),
            ("fifo", "EPERM"),
            ("setgid", "EPERM"),
            ("owner", "EPERM"),
            ("nice", "EPERM"),
            ("kill", "EPERM"),
            ("write and execute", "EPERM"),
            ("write", "done"),
        ];
        // A file that is not there cannot have its mode changed; the filter answers before that is
        // looked at.
        assert_eq!(found, expected, "{unit}");
    }
}
