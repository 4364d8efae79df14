//! What the tests of the whole program share: the real binary as a daemon and as a command line,
//! and raw connections.
//!
//! Nothing here sleeps. A daemon's readiness is its own word to `NOTIFY_SOCKET`, its end is the end
//! of its standard error, and every wait has a deadline. A child is killed by its own id when what
//! holds it is dropped.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod certs;
mod daemon;
pub(crate) mod http;
pub(crate) mod random;
pub(crate) mod wire;

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use keygate::client::blocking::Client;
use keygate::client::{Endpoint, ValidateRequest};
use keygate_protocol::VerdictCode;
use serde_json::{Value, json};

pub(crate) use daemon::Daemon;
use wire::Wire;

/// The program under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_keygate");
/// How long anything may take: far more than it does, on a machine that is busy with other tests.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// The token of the example record.
pub(crate) const EXAMPLE_TOKEN: &str = "lk_live_9f8e7d6c5b4a39281706f5e4d3c2b1a0";
/// What a request states that meets the example's rules.
pub(crate) const EXAMPLE_FACTS: &[&str] = &[
    "--ip=203.0.113.7",
    "--origin=https://app.example.com",
    "--environment=production",
    "--region=eu-west-1",
    "--integration=salesforce",
    "--api-version=v1",
    "--https",
    "KEYGATE_CLIENT_SECRET=s3cr3t-for-the-example-client",
];

/// What the example record names, as a configuration gives it.
pub(crate) const EXAMPLE_NAMES: &str = "
[tiers.enterprise]

[profiles.SOC2]
requires = [\"requires_audit_logging\"]

[sinks.statsd]
kind = \"statsd\"
target = \"127.0.0.1:8125\"
";

/// The example file as the source system writes it.
pub(crate) fn example_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/api_key.example.json")
}

/// The example record. It expires in March 2027; what validates its token must not, so its end is
/// put off.
pub(crate) fn example_record() -> Value {
    let text = std::fs::read_to_string(example_path()).expect("the example can be read");
    let mut document: Value = serde_json::from_str(&text).expect("the example is JSON");
    let mut record = document["api_keys"][0].take();
    record["expires_at"] = "2127-03-01T09:00:00Z".into();
    record
}

/// A place of its own for a daemon: its data, its sockets, its configuration. Outlives the daemon,
/// so that another can be started on the same data.
pub(crate) struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        let home = Self { dir: tempfile::tempdir().expect("a temporary directory") };
        home.configure("");
        home
    }

    /// A home with a configuration: lines of TOML before those that the example record needs.
    pub(crate) fn with(config: &str) -> Self {
        let home = Self::new();
        home.configure(config);
        home
    }

    /// Writes the configuration; what the example record names stands behind it.
    pub(crate) fn configure(&self, config: &str) {
        self.configure_just(&format!("{config}\n{EXAMPLE_NAMES}"));
    }

    /// Writes a configuration without what the example record names.
    pub(crate) fn configure_just(&self, config: &str) {
        std::fs::write(self.path("keygate.toml"), config).expect("the configuration is written");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("keygate.sock")
    }

    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.path("admin.sock")
    }

    /// Writes a file, for a command to read.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("the file is written");
        path
    }

    /// `keygate serve` on this place, not yet started.
    pub(crate) fn serve(&self) -> Command {
        let mut command = self.command();
        command.arg("serve").arg("--config").arg(self.path("keygate.toml"));
        command.arg("--data-dir").arg(self.data());
        command
    }

    /// A daemon that is ready.
    pub(crate) fn start(&self) -> Daemon {
        Daemon::start(self.serve())
    }

    /// `keygate`, knowing the sockets of this place, and nothing else of the environment that it
    /// would listen to.
    pub(crate) fn command(&self) -> Command {
        self.dress(Command::new(BINARY))
    }

    /// Gives a command the environment of this place.
    pub(crate) fn dress(&self, mut command: Command) -> Command {
        for name in ["CONFIG", "DATA_DIR", "TCP", "TOKEN", "CLIENT_SECRET", "LOG", "DELIVER_SOCKET"]
        {
            command.env_remove(format!("KEYGATE_{name}"));
        }
        for name in ["LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY"] {
            command.env_remove(name);
        }
        command.env("KEYGATE_SOCKET", self.socket());
        command.env("KEYGATE_ADMIN_SOCKET", self.admin_socket());
        command
    }

    /// Runs a command of the command line to its end.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Ran {
        let mut command = self.command();
        command.args(args);
        run(command, b"")
    }

    /// Runs a command as another user, in a place that others may pass through.
    pub(crate) fn run_as(
        &self,
        uid: u32,
        gid: u32,
        args: &[&str],
        environment: &[(&str, &str)],
    ) -> Ran {
        let binary = self.path("keygate");
        if !binary.exists() {
            // The build's own place may be closed to others.
            std::fs::copy(BINARY, &binary).expect("a copy");
            for path in [self.path("."), binary.clone()] {
                let others = std::fs::Permissions::from_mode(0o755);
                std::fs::set_permissions(path, others).expect("its mode");
            }
        }
        let mut command = self.dress(Command::new(binary));
        command.args(args).envs(environment.iter().copied());
        command.uid(uid).gid(gid).current_dir("/");
        run(command, b"")
    }

    /// Runs a command with something on its standard input.
    pub(crate) fn run_with(&self, args: &[&str], input: &str) -> Ran {
        let mut command = self.command();
        command.args(args);
        run(command, input.as_bytes())
    }

    /// Runs a command that must succeed with `--json`, and reads what it printed.
    pub(crate) fn json<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Value {
        let mut command = self.command();
        command.args(args).arg("--json");
        let ran = run(command, b"");
        ran.expect(0);
        ran.json()
    }

    /// The verdict on a token, as `validate --json` prints it. An argument that begins with
    /// `KEYGATE_` is one of the environment.
    pub(crate) fn verdict(&self, token: &str, args: &[&str]) -> Value {
        let mut command = self.command();
        command.args(["validate", "--json"]).env("KEYGATE_TOKEN", token);
        for arg in args {
            match arg.split_once('=').filter(|(name, _)| name.starts_with("KEYGATE_")) {
                Some((name, value)) => command.env(name, value),
                None => command.arg(arg),
            };
        }
        let ran = run(command, b"");
        let verdict = ran.json();
        ran.expect(if verdict["valid"] == true { 0 } else { 3 });
        verdict
    }

    /// The code of the verdict on a token, for a request that the example record would take.
    pub(crate) fn code(&self, token: &str) -> String {
        text(&self.verdict(token, EXAMPLE_FACTS)["code"])
    }

    /// What `keygate verify` says of a directory that nobody uses, which must be whole.
    pub(crate) fn clean(&self, dir: &Path) -> Value {
        let report = self.json([OsStr::new("verify"), dir.as_os_str()]);
        assert_eq!(report["clean"], true, "{report}");
        report
    }

    /// Makes a key; its id and its token.
    pub(crate) fn create(&self, args: &[&str]) -> (String, String) {
        let mut all = vec!["key", "create"];
        all.extend(args);
        let created = self.json(all);
        (text(&created["key"]["id"]), text(&created["token"]))
    }

    /// Imports records that must all be taken; the report.
    pub(crate) fn import(&self, records: &[Value]) -> Value {
        let file = self.file("import.json", &json!({ "api_keys": records }).to_string());
        let report = self.json([OsStr::new("import"), file.as_os_str()]);
        assert_eq!(report["imported"], records.len(), "{report}");
        report
    }

    /// A raw connection to the data socket.
    pub(crate) fn wire(&self) -> Wire {
        Wire::unix(&self.socket())
    }

    /// A raw connection to the admin socket.
    pub(crate) fn admin_wire(&self) -> Wire {
        Wire::unix(&self.admin_socket())
    }

    /// A client on the data socket.
    pub(crate) fn client(&self) -> Client {
        let mut client =
            Client::connect(Endpoint::unix(self.socket())).expect("the data socket answers");
        client.set_timeout(DEADLINE);
        client
    }

    /// A client on the admin socket.
    pub(crate) fn admin(&self) -> Client {
        let mut client =
            Client::connect(Endpoint::unix(self.admin_socket())).expect("the admin socket answers");
        client.set_timeout(DEADLINE);
        client
    }

    /// The codes of the verdicts on tokens, without spending anything.
    pub(crate) fn codes(&self, tokens: &[&str]) -> Vec<VerdictCode> {
        let mut client = self.client();
        let mut codes = Vec::with_capacity(tokens.len());
        for some in tokens.chunks(512) {
            let questions: Vec<_> =
                some.iter().map(|token| ValidateRequest::new(*token).peek()).collect();
            let verdicts = client.validate_pipelined(&questions).expect("the daemon judges");
            codes.extend(verdicts.into_iter().map(|verdict| verdict.code));
        }
        codes
    }
}

/// The text of a JSON string.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is not a string")).to_owned()
}

/// What a command that has ended said.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// The exit code; a command that was killed has none.
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("it was killed: {self:?}"))
    }

    /// Shows that it ended with this code.
    pub(crate) fn expect(&self, code: i32) -> &Self {
        assert_eq!(self.status.code(), Some(code), "{self:#?}");
        self
    }

    /// Shows that standard error has these words.
    pub(crate) fn says(&self, words: &[&str]) -> &Self {
        for words in words {
            assert!(self.stderr.contains(words), "nothing of {words:?} in {self:#?}");
        }
        self
    }

    /// Shows that standard output has these words.
    pub(crate) fn shows(&self, words: &[&str]) -> &Self {
        for words in words {
            assert!(self.stdout.contains(words), "nothing of {words:?} in {self:#?}");
        }
        self
    }

    /// What it printed, which is one line of JSON.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "one line of JSON: {self:#?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// Runs a command to its end.
pub(crate) fn run(mut command: Command, input: &[u8]) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(command, input)
}

/// Runs a command to its end, of which at least one of standard output and error is a pipe.
pub(crate) fn finish(mut command: Command, input: &[u8]) -> Ran {
    let mut child = Reaped(command.spawn().expect("the command starts"));
    if let Some(mut stdin) = child.0.stdin.take() {
        let input = input.to_vec();
        // A command that does not read its input has closed the pipe.
        thread::spawn(move || drop(stdin.write_all(&input)));
    }
    let stdout = child.0.stdout.take().map(collect);
    let stderr = child.0.stderr.take().map(collect);
    let read = |pipe: Option<Receiver<Vec<u8>>>| {
        let bytes = pipe.map_or(Ok(Vec::new()), |pipe| pipe.recv_timeout(DEADLINE));
        let bytes =
            bytes.unwrap_or_else(|_| panic!("{command:?} has not ended within {DEADLINE:?}"));
        String::from_utf8(bytes).expect("it prints UTF-8")
    };
    let (stdout, stderr) = (read(stdout), read(stderr));
    let status = child.0.wait().expect("its status");
    Ran { status, stdout, stderr }
}

fn collect(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (send, receive) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        let _ = send.send(bytes);
    });
    receive
}

/// A child that does not outlive its test.
pub(crate) struct Reaped(Child);

impl Reaped {
    /// Starts a command that is not waited for.
    pub(crate) fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("it is spawned"))
    }

    /// Ends it as a crash does, and tells how it ended: it may have been sooner.
    pub(crate) fn kill(mut self) -> ExitStatus {
        self.0.kill().expect("a child of ours");
        self.0.wait().expect("its status")
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> ExitStatus {
        self.0.wait().expect("its status")
    }
}

impl Drop for Reaped {
    fn drop(&mut self) {
        // One that has ended already is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
