//! `keygate serve` as a child: its readiness, its log, its end.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use super::{DEADLINE, Reaped};

enum Event {
    Ready,
    /// It has logged something.
    Said,
    /// Standard error has ended, and with it the process.
    Ended,
}

/// A running daemon.
pub(crate) struct Daemon {
    child: Reaped,
    events: Receiver<Event>,
    ready: bool,
    ended: bool,
    log: Arc<Mutex<Vec<u8>>>,
    /// Holds the socket of the daemon's readiness.
    _notify: tempfile::TempDir,
}

impl Daemon {
    /// Starts a daemon and waits until it says that it is ready.
    pub(crate) fn start(command: Command) -> Self {
        let mut daemon = Self::launch(command);
        daemon.ready();
        daemon
    }

    /// Starts a daemon that is not waited for.
    pub(crate) fn launch(mut command: Command) -> Self {
        command.stderr(Stdio::piped());
        Self::spawn(command)
    }

    /// Starts a daemon whose log goes into a pipe that nobody reads any more.
    pub(crate) fn start_unheard(mut command: Command) -> Self {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        // Its end is seen at the other pipe, into which it says nothing.
        command.stdout(Stdio::piped()).stderr(writer);
        let mut daemon = Self::spawn(command);
        daemon.ready();
        daemon
    }

    /// Starts a daemon that is handed what stands at standard input and output, and waits until it is
    /// ready.
    pub(crate) fn start_handed(mut command: Command, stdin: Stdio, stdout: Stdio) -> Self {
        command.stdout(stdout).stderr(Stdio::piped());
        let mut daemon = Self::spawn_with(command, stdin);
        daemon.ready();
        daemon
    }

    /// A shell that becomes what its further arguments name, with its standard input, and its standard
    /// output if there are two names, where systemd puts the sockets that it hands over.
    pub(crate) fn handing(names: &str) -> Command {
        let (sockets, put) = match names.split(':').count() {
            1 => (1, "3<&0"),
            2 => (2, "3<&0 4<&1 >/dev/null"),
            more => panic!("{more} sockets are more than come this way"),
        };
        let script = format!(
            "exec {put} </dev/null; LISTEN_PID=$$ LISTEN_FDS={sockets} LISTEN_FDNAMES={names} exec \"$@\""
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh"]);
        command
    }

    /// A socket as a child's standard input or output.
    pub(crate) fn passed(listener: &UnixListener) -> Stdio {
        OwnedFd::from(listener.try_clone().expect("a descriptor")).into()
    }

    fn spawn(command: Command) -> Self {
        Self::spawn_with(command, Stdio::null())
    }

    fn spawn_with(mut command: Command, stdin: Stdio) -> Self {
        let place = tempfile::tempdir().expect("a temporary directory");
        let (send, events) = channel();
        command.env("NOTIFY_SOCKET", listen_for_readiness(place.path(), send.clone()));
        let mut child = Reaped(command.stdin(stdin).spawn().expect("it is spawned"));
        let log = Arc::default();
        match (child.0.stderr.take(), child.0.stdout.take()) {
            (Some(stderr), stdout) => {
                read_log(stderr, Arc::clone(&log), send);
                child.0.stdout = stdout;
            }
            (None, stdout) => read_log(stdout.expect("a pipe"), Arc::clone(&log), send),
        }
        Self { child, events, ready: false, ended: false, log, _notify: place }
    }

    /// Waits until it says that it is ready.
    pub(crate) fn ready(&mut self) {
        self.wait_until("be ready", |daemon| daemon.ready);
    }

    /// Waits until its log is what is wanted of it.
    pub(crate) fn logs(&mut self, wanted: impl Fn(&str) -> bool) {
        self.wait_until("log what is wanted", |daemon| wanted(&daemon.log()));
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.wait_until("end", |daemon| daemon.ended);
        self.child.0.wait().expect("its status")
    }

    fn wait_until(&mut self, what: &str, wanted: impl Fn(&Self) -> bool) {
        while !wanted(self) {
            if self.ended {
                let status = self.child.0.wait().expect("its status");
                panic!("the daemon was to {what} and has ended, {status}:\n{}", self.log());
            }
            match self.events.recv_timeout(DEADLINE) {
                Ok(Event::Ready) => self.ready = true,
                Ok(Event::Said) => {}
                Ok(Event::Ended) | Err(RecvTimeoutError::Disconnected) => self.ended = true,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("the daemon was to {what} within {DEADLINE:?}:\n{}", self.log())
                }
            }
        }
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        let log = self.log.lock().expect("no reader panicked");
        String::from_utf8_lossy(&log).into_owned()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.0.id()
    }

    /// The id as the system's calls take it.
    pub(crate) fn pid(&self) -> Pid {
        let id = i32::try_from(self.id()).expect("ids are positive");
        Pid::from_raw(id).expect("no id is 0")
    }

    /// The end of a pipe that the command was given.
    pub(crate) fn stdout(&mut self) -> ChildStdout {
        self.child.0.stdout.take().expect("standard output is a pipe")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the daemon runs");
    }

    /// Ends it as systemd does. It must end well.
    pub(crate) fn stop(mut self) -> String {
        self.signal(Signal::TERM);
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{status}:\n{}", self.log());
        self.log()
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(mut self) {
        self.child.0.kill().expect("the daemon runs");
        let status = self.wait();
        let by_us = status.signal() == Some(Signal::KILL.as_raw());
        assert!(by_us, "it ended by itself, {status}:\n{}", self.log());
    }
}

/// A socket of the test's own, as systemd gives one to a unit of `Type=notify`.
fn listen_for_readiness(place: &Path, events: Sender<Event>) -> PathBuf {
    let path = place.join("notify");
    let socket = UnixDatagram::bind(&path).expect("a datagram socket");
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    thread::spawn(move || {
        let mut message = [0; 256];
        while let Ok(bytes) = socket.recv(&mut message) {
            if message[..bytes].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                let _ = events.send(Event::Ready);
                return;
            }
        }
    });
    path
}

fn read_log(mut pipe: impl Read + Send + 'static, log: Arc<Mutex<Vec<u8>>>, events: Sender<Event>) {
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = pipe.read(&mut bytes) {
            log.lock().expect("no reader panicked").extend_from_slice(&bytes[..count]);
            let _ = events.send(Event::Said);
        }
        let _ = events.send(Event::Ended);
    });
}
