//! The whole way over a Unix socket: one in flight, and 32 on one connection, beside an echo of the
//! same frames by the same kind of runtime.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use keygate_protocol::validate::ValidateWriter;
use keygate_protocol::{Flags, Opcode, ValidateFlags, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const DEPTH: usize = 32;

/// A daemon with one key that no limit stops, in a directory of its own.
struct Gate {
    daemon: Child,
    token: String,
    dir: tempfile::TempDir,
}

impl Gate {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let keygate = env!("CARGO_BIN_EXE_keygate");
        let path = |name: &str| dir.path().join(name);
        let daemon = Command::new(keygate)
            .args(["serve", "--data-dir"])
            .arg(path("data"))
            .arg("--socket")
            .arg(path("data.sock"))
            .arg("--admin-socket")
            .arg(path("admin.sock"))
            .stderr(Stdio::piped())
            .spawn();
        let mut daemon = daemon.expect("the daemon starts");
        let log = BufReader::new(daemon.stderr.take().expect("its log"));
        let ready = log.lines().map_while(Result::ok).any(|line| line.contains("ready"));
        assert!(ready, "the daemon became ready");
        let created = Command::new(keygate)
            .args(["--json", "key", "create", "--name", "bench", "--scope", "leads:*"])
            .args(["--rps", "2000000000", "--admin-socket"])
            .arg(path("admin.sock"))
            .output();
        let created = created.expect("the key is made").stdout;
        let created: serde_json::Value = serde_json::from_slice(&created).expect("JSON");
        let token = created["token"].as_str().expect("a token").to_owned();
        Self { daemon, token, dir }
    }

    fn question(&self) -> BytesMut {
        let mut out = BytesMut::new();
        frame::encode(&mut out, Opcode::Validate.byte(), Flags::NONE, 1, |out| {
            ValidateWriter::new(out, ValidateFlags::NONE, 1, self.token.as_bytes())
                .scope_all("leads:read");
        });
        out
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("data.sock")
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// Echoes whatever a read brings in one write.
fn start_echo(path: &Path) {
    let listener = std::os::unix::net::UnixListener::bind(path).expect("a socket");
    listener.set_nonblocking(true).expect("a socket");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        runtime.expect("a runtime").block_on(async {
            let listener = tokio::net::UnixListener::from_std(listener).expect("a socket");
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut buffer = BytesMut::with_capacity(65_536);
            while stream.read_buf(&mut buffer).await.is_ok_and(|count| count > 0) {
                if stream.write_all(&buffer).await.is_err() {
                    break;
                }
                buffer.clear();
            }
        });
    });
}

/// Sends the questions in one write and reads until as many bytes have come as were expected.
fn ask(stream: &mut UnixStream, questions: &[u8], answers: &mut [u8]) {
    stream.write_all(questions).expect("a write");
    stream.read_exact(answers).expect("answers");
}

fn socket(c: &mut Criterion) {
    let gate = Gate::start();
    let question = gate.question();
    let echo = gate.dir.path().join("echo.sock");
    start_echo(&echo);
    let mut echo = UnixStream::connect(&echo).expect("the echo");
    let mut stream = UnixStream::connect(gate.socket()).expect("the daemon");
    // The answer's length: learnt from the first one.
    let mut answer = [0; 1024];
    stream.write_all(&question).expect("a write");
    let answer_bytes = stream.read(&mut answer).expect("an answer");
    assert_eq!(answer[frame::PREFIX_BYTES], 0, "the verdict is VALID");

    for (name, depth) in [("one in flight", 1), ("32 in flight", DEPTH)] {
        let questions = question.repeat(depth);
        let mut group = c.benchmark_group(format!("socket/{name}"));
        group.throughput(Throughput::Elements(depth as u64));
        let mut answers = vec![0; questions.len()];
        group.bench_function("yardstick: echo", |b| {
            b.iter(|| ask(&mut echo, &questions, &mut answers));
        });
        let mut answers = vec![0; answer_bytes * depth];
        group.bench_function("validate", |b| {
            b.iter(|| ask(&mut stream, &questions, &mut answers));
        });
        group.finish();
    }
}

criterion_group!(benches, socket);
criterion_main!(benches);
