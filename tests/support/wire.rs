//! A raw connection: frames, and bytes that are none.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use bytes::BytesMut;
use keygate_protocol::limits::ADMIN_FRAME_BYTES_MAX;
use keygate_protocol::validate::ValidateWriter;
use keygate_protocol::{
    ErrorCode, ErrorReply, Flags, Increment, Opcode, ValidateFlags, Verdict, frame, opcode,
};
use serde_json::Value;

use super::DEADLINE;

/// What a connection is made of.
trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

/// A raw connection. Every read and every write has a deadline.
pub(crate) struct Wire {
    stream: Box<dyn Stream>,
    unread: BytesMut,
}

/// One frame from the daemon.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) opcode: u8,
    pub(crate) more: bool,
    pub(crate) correlation: u32,
    pub(crate) payload: Vec<u8>,
}

impl Reply {
    /// The error that this reply is.
    pub(crate) fn error(&self) -> (ErrorCode, String) {
        assert_eq!(self.opcode, opcode::ERROR, "not an error: {self:?}");
        let error = ErrorReply::decode(&self.payload).expect("an error that can be read");
        (error.code.expect("a code of version 1"), error.message.to_owned())
    }

    /// The verdict that this reply carries.
    pub(crate) fn verdict(&self) -> Verdict {
        assert_eq!(self.opcode, Opcode::Validate.reply(), "not a verdict: {self:?}");
        Verdict::decode(&self.payload).expect("a verdict that can be read").0
    }

    /// The JSON of an admin reply.
    pub(crate) fn json(&self) -> Value {
        assert_ne!(self.opcode, opcode::ERROR, "{:?}", self.error());
        serde_json::from_slice(&self.payload).expect("JSON")
    }
}

impl Wire {
    pub(crate) fn unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("the socket takes connections");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        stream.set_write_timeout(Some(DEADLINE)).expect("a timeout");
        Self::over(stream)
    }

    /// A connection whose reads give up early: to wait without sleeping.
    pub(crate) fn unix_impatient(path: &Path, patience: Duration) -> Self {
        let stream = UnixStream::connect(path).expect("the socket takes connections");
        stream.set_read_timeout(Some(patience)).expect("a timeout");
        stream.set_write_timeout(Some(DEADLINE)).expect("a timeout");
        Self::over(stream)
    }

    pub(crate) fn tcp(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the address takes connections");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        stream.set_write_timeout(Some(DEADLINE)).expect("a timeout");
        Self::over(stream)
    }

    pub(crate) fn over(stream: impl Read + Write + Send + 'static) -> Self {
        Self { stream: Box::new(stream), unread: BytesMut::new() }
    }

    /// Writes bytes as they are.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).expect("the daemon reads");
    }

    pub(crate) fn send(&mut self, opcode: Opcode, correlation: u32, payload: &[u8]) {
        self.write(&request(opcode, Flags::NONE, correlation, payload));
    }

    /// Sends an admin request and reads its one reply.
    pub(crate) fn ask(&mut self, opcode: Opcode, body: &Value) -> Reply {
        self.send(opcode, 7, body.to_string().as_bytes());
        self.read()
    }

    /// The next frame, which must come.
    pub(crate) fn read(&mut self) -> Reply {
        self.next().expect("a reply, and the connection has ended")
    }

    /// The next frame; `None` at the end of the connection.
    pub(crate) fn next(&mut self) -> Option<Reply> {
        match self.try_next() {
            Ok(reply) => reply,
            // What the daemon did not read before it closed.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no reply and no end: {error}"),
        }
    }

    pub(crate) fn try_next(&mut self) -> io::Result<Option<Reply>> {
        loop {
            let whole = frame::decode(&self.unread, ADMIN_FRAME_BYTES_MAX);
            if let Some((frame, bytes)) = whole.expect("the daemon writes frames") {
                let reply = Reply {
                    opcode: frame.header.opcode,
                    more: frame.header.flags.has(Flags::MORE),
                    correlation: frame.header.correlation,
                    payload: frame.payload.to_vec(),
                };
                let _ = self.unread.split_to(bytes);
                return Ok(Some(reply));
            }
            let mut bytes = [0; 16 * 1024];
            match self.stream.read(&mut bytes)? {
                0 => {
                    assert!(self.unread.is_empty(), "the connection ends inside a frame");
                    return Ok(None);
                }
                count => self.unread.extend_from_slice(&bytes[..count]),
            }
        }
    }

    /// Shows that the daemon says why, in a reply to no request, and closes.
    pub(crate) fn closes_with(&mut self, expected: ErrorCode) -> String {
        let reply = self.read();
        let (code, message) = reply.error();
        assert_eq!((code, reply.correlation), (expected, 0), "{message}");
        assert!(self.next().is_none(), "the connection lives on after {code:?}");
        message
    }

    /// Shows that the connection is served.
    pub(crate) fn answers(&mut self) {
        self.send(Opcode::Ping, 99, b"there?");
        let reply = self.read();
        assert_eq!((reply.opcode, reply.correlation), (Opcode::Ping.reply(), 99), "{reply:?}");
        assert_eq!(reply.payload, b"there?");
    }
}

/// A request's frame.
pub(crate) fn request(opcode: Opcode, flags: Flags, correlation: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    frame::encode(&mut out, opcode.byte(), flags, correlation, |out| {
        out.extend_from_slice(payload);
    });
    out.to_vec()
}

/// The payload of a `Validate` that spends 1.
pub(crate) fn validate(token: &str) -> Vec<u8> {
    let mut out = BytesMut::new();
    ValidateWriter::new(&mut out, ValidateFlags::default(), 1, token.as_bytes());
    out.to_vec()
}

/// The payload of an `Increment` by 1.
pub(crate) fn increment(key_id: u64) -> Vec<u8> {
    let mut out = BytesMut::new();
    let report = Increment {
        key_id,
        count: 1,
        latency_us: Some(1000),
        status: Some(200),
        endpoint: None,
        error: None,
        id: None,
        slot: None,
        ..Increment::new(key_id)
    };
    report.encode(&mut out);
    out.to_vec()
}
