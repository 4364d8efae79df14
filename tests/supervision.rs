//! What systemd is told by a daemon that it watches: ready, alive, reloading, stopping. The socket that
//! hears it is the test's own.

mod support;

use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use support::{DEADLINE, Home, Reaped};

/// A daemon under a supervisor that hears everything it says.
struct Supervised {
    heard: UnixDatagram,
    child: Reaped,
}

impl Supervised {
    fn start(home: &Home, mut command: Command, watchdog_ms: u64) -> Self {
        let path = home.path("notify");
        let _ = std::fs::remove_file(&path);
        let heard = UnixDatagram::bind(&path).expect("a socket");
        heard.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", (watchdog_ms * 1000).to_string());
        command.env_remove("WATCHDOG_PID").stderr(Stdio::null());
        Self { heard, child: Reaped::spawn(command) }
    }

    fn next(&self) -> String {
        let mut message = [0; 256];
        let bytes = self.heard.recv(&mut message).expect("it says something in time");
        String::from_utf8_lossy(&message[..bytes]).trim_end().to_owned()
    }

    /// The next that it says beside being alive.
    fn next_but_alive(&self) -> String {
        std::iter::repeat_with(|| self.next()).find(|said| said != "WATCHDOG=1").expect("endless")
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("an id"), signal).expect("it runs");
    }

    /// It tells that it reloads, when, and that it is ready again.
    fn reloads(&self) {
        let said = self.next_but_alive();
        let (reloading, at) = said.split_once('\n').expect("two words");
        assert_eq!(reloading, "RELOADING=1");
        let at = at.strip_prefix("MONOTONIC_USEC=").and_then(|at| at.parse::<u64>().ok());
        assert!(at.is_some_and(|at| at > 0), "{said}");
        assert_eq!(self.next_but_alive(), "READY=1");
    }
}

#[test]
fn a_daemon_tells_when_it_is_ready_alive_reloading_and_stopping() {
    let home = Home::new();
    let daemon = Supervised::start(&home, home.serve(), 300);
    assert_eq!(daemon.next_but_alive(), "READY=1");
    for _ in 0..3 {
        assert_eq!(daemon.next(), "WATCHDOG=1");
    }
    home.run(["reload"]).expect(0);
    daemon.reloads();
    // A reload that is refused ends, too.
    home.configure("nonsense = 1");
    daemon.signal(Signal::HUP);
    daemon.reloads();
    home.run(["reload"]).expect(1);
    daemon.reloads();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.next_but_alive(), "STOPPING=1");
    assert!(daemon.child.wait().success());
}

#[test]
fn without_a_watchdog_nothing_is_said_of_being_alive() {
    let home = Home::new();
    let mut command = home.serve();
    // Meant for another process.
    command.env("WATCHDOG_PID", "1");
    let path = home.path("notify");
    let heard = UnixDatagram::bind(&path).expect("a socket");
    heard.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "1000").stderr(Stdio::null());
    let daemon = Supervised { heard, child: Reaped::spawn(command) };
    assert_eq!(daemon.next(), "READY=1");
    home.run(["reload"]).expect(0);
    daemon.reloads();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.next(), "STOPPING=1");
    assert!(daemon.child.wait().success());
}

#[test]
fn the_helper_tells_the_same_but_for_being_alive() {
    let home = Home::new();
    let mut command = home.command();
    command.arg("deliver").arg("--config").arg(home.path("keygate.toml"));
    command.arg("--deliver-socket").arg(home.path("deliver.sock"));
    let helper = Supervised::start(&home, command, 300);
    assert_eq!(helper.next(), "READY=1");
    helper.signal(Signal::HUP);
    helper.reloads();
    helper.signal(Signal::TERM);
    assert_eq!(helper.next(), "STOPPING=1");
    assert!(helper.child.wait().success());
}
