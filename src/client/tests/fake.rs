//! A daemon that answers as its test tells it to, over a real socket.

use std::path::{Path, PathBuf};

use bytes::{Buf, BytesMut};
use keygate_protocol::hello::HelloReply;
use keygate_protocol::limits::{DATA_FRAME_BYTES_MAX, REPLY_FRAME_BYTES_MAX};
use keygate_protocol::{
    ErrorCode, ErrorReply, Flags, IncrementOutcome, LimitName, LimitReport, Opcode, Validate,
    Verdict, VerdictCode, frame, opcode,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// A listener in a directory of its own.
pub(crate) struct FakeDaemon {
    directory: TempDir,
    listener: UnixListener,
}

/// How a fake daemon greets.
#[derive(Clone, Copy)]
pub(crate) struct Greeting {
    pub(crate) batch_items_max: u16,
    pub(crate) frame_bytes_max: u32,
}

impl Default for Greeting {
    fn default() -> Self {
        Self { batch_items_max: 512, frame_bytes_max: DATA_FRAME_BYTES_MAX }
    }
}

/// One request, owned.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) opcode: Opcode,
    pub(crate) flags: Flags,
    pub(crate) correlation: u32,
    pub(crate) payload: Vec<u8>,
}

impl Asked {
    /// The token of a `Validate`.
    pub(crate) fn token(&self) -> String {
        let request = Validate::decode(&self.payload).expect("the client writes what is readable");
        String::from_utf8(request.token.to_vec()).expect("tests use tokens of text")
    }
}

impl FakeDaemon {
    pub(crate) fn start() -> Self {
        let directory = TempDir::new().expect("the test has a place for its socket");
        let listener =
            UnixListener::bind(directory.path().join("data.sock")).expect("nobody listens there");
        Self { directory, listener }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("data.sock")
    }

    /// Listens again after [`FakeDaemon::stop`].
    pub(crate) fn start_in(directory: TempDir) -> Self {
        let listener =
            UnixListener::bind(directory.path().join("data.sock")).expect("nobody listens there");
        Self { directory, listener }
    }

    /// Listens no more; the socket's file is gone too.
    pub(crate) fn stop(self) -> TempDir {
        remove(&self.path());
        self.directory
    }

    /// The next connection, greeted.
    pub(crate) async fn accept(&self) -> Peer {
        self.accept_with(Greeting::default()).await
    }

    pub(crate) async fn accept_with(&self, greeting: Greeting) -> Peer {
        let mut peer = self.accept_silent().await;
        let hello = peer.asked().await.expect("a client greets");
        assert_eq!(hello.opcode, Opcode::Hello);
        peer.answer(&hello, |out| {
            let reply = HelloReply {
                version: 1,
                admin: false,
                batch_items_max: greeting.batch_items_max,
                frame_bytes_max: greeting.frame_bytes_max,
                name: Some("fake/1"),
            };
            reply.encode(out);
        })
        .await;
        peer
    }

    /// The next connection, its greeting unread.
    pub(crate) async fn accept_silent(&self) -> Peer {
        let (stream, _) = self.listener.accept().await.expect("the listener stands");
        Peer { stream, read: BytesMut::new() }
    }

    /// Answers everything on every connection until it is dropped: each token `valid…` is valid,
    /// `spent…` is beyond its rate, `scope…` lacks a scope, any other unknown.
    pub(crate) async fn serve(self, seen: impl Fn(&Asked) + Send + Clone + 'static) {
        loop {
            let mut peer = self.accept().await;
            let seen = seen.clone();
            tokio::spawn(async move {
                while let Some(asked) = peer.asked().await {
                    seen(&asked);
                    peer.answer_as_usual(&asked).await;
                }
            });
        }
    }
}

fn verdict(token: &str) -> Verdict {
    let (code, key_id) = match token {
        token if token.starts_with("valid") => (VerdictCode::Valid, 7),
        token if token.starts_with("scope") => (VerdictCode::InsufficientScope, 7),
        token if token.starts_with("spent") => (VerdictCode::RateExceeded, 7),
        _ => (VerdictCode::NotFound, 0),
    };
    let mut verdict = Verdict::of(code, key_id);
    if code == VerdictCode::RateExceeded {
        verdict.denied_by = Some(LimitName::Second);
        verdict.limits.push(LimitReport {
            name: LimitName::Second,
            limit: 10,
            remaining: 0,
            retry_after_us: Some(1_200_000),
            reset_after_us: Some(2_000_000),
        });
    }
    verdict
}

fn remove(path: &Path) {
    std::fs::remove_file(path).expect("the socket's file is there");
}

/// The daemon's side of one connection.
pub(crate) struct Peer {
    stream: UnixStream,
    read: BytesMut,
}

impl Peer {
    /// The next request; `None` when the client has closed.
    pub(crate) async fn asked(&mut self) -> Option<Asked> {
        loop {
            let decoded =
                frame::decode(&self.read, REPLY_FRAME_BYTES_MAX).expect("frames are whole");
            if let Some((frame, used)) = decoded {
                let asked = Asked {
                    opcode: Opcode::from_byte(frame.header.opcode).expect("opcodes are known"),
                    flags: frame.header.flags,
                    correlation: frame.header.correlation,
                    payload: frame.payload.to_vec(),
                };
                self.read.advance(used);
                return Some(asked);
            }
            match self.stream.read_buf(&mut self.read).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Answers a request with a payload.
    pub(crate) async fn answer(&mut self, asked: &Asked, write: impl FnOnce(&mut BytesMut)) {
        self.send(asked.opcode.reply(), Flags::NONE, asked.correlation, write).await;
    }

    pub(crate) async fn answer_code(&mut self, asked: &Asked, code: VerdictCode, key_id: u64) {
        self.answer(asked, |out| Verdict::of(code, key_id).encode(out)).await;
    }

    /// Answers by the token's beginning.
    pub(crate) async fn answer_as_usual(&mut self, asked: &Asked) {
        match asked.opcode {
            Opcode::Validate => {
                let verdict = verdict(&asked.token());
                self.answer(asked, |out| verdict.encode(out)).await;
            }
            Opcode::Increment if asked.flags.has(Flags::NO_REPLY) => {}
            Opcode::Increment => {
                self.answer(asked, |out| IncrementOutcome::Counted.encode(out)).await;
            }
            Opcode::Ping => self.answer(asked, |out| out.extend_from_slice(&asked.payload)).await,
            _ => self.refuse(asked.correlation, ErrorCode::UnknownOpcode, "not here").await,
        }
    }

    pub(crate) async fn refuse(&mut self, correlation: u32, code: ErrorCode, message: &str) {
        let write = |out: &mut BytesMut| ErrorReply::encode(code, message, out);
        self.send(opcode::ERROR, Flags::NONE, correlation, write).await;
    }

    pub(crate) async fn send(
        &mut self,
        opcode: u8,
        flags: Flags,
        correlation: u32,
        write: impl FnOnce(&mut BytesMut),
    ) {
        let mut out = BytesMut::new();
        frame::encode(&mut out, opcode, flags, correlation, write);
        // A client that has gone is its own test's affair.
        let _ = self.stream.write_all(&out).await;
    }

    /// Sends bytes as they are.
    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the client reads");
    }
}

/// Serves one TCP connection as [`FakeDaemon::serve`] does.
pub(crate) async fn relay(mut tcp: tokio::net::TcpStream) {
    let daemon = FakeDaemon::start();
    let mut unix = UnixStream::connect(daemon.path()).await.expect("it listens");
    tokio::spawn(daemon.serve(|_| ()));
    let _ = tokio::io::copy_bidirectional(&mut tcp, &mut unix).await;
}
