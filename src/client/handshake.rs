//! The greeting that opens every connection. Requests wait for its answer: one round trip per
//! connection buys that a refused connection has certainly executed nothing.

use bytes::BytesMut;
use keygate_protocol::hello::{Hello, HelloReply, VERSION};
use keygate_protocol::{Flags, Frame, Opcode, frame, opcode};

use super::error::{ConnectError, Refusal, ReplyError};

/// What the daemon says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// The protocol version that is spoken.
    pub version: u8,
    /// Whether this is the admin socket.
    pub admin: bool,
    /// Items that one batch may carry.
    pub batch_items_max: u16,
    /// Longest request frame, bytes, as its length prefix says it.
    pub frame_bytes_max: u32,
    /// The daemon's name and release, for people.
    pub name: Option<String>,
}

/// Under which the greeting is sent. The daemon speaks of the connection itself under 0.
const CORRELATION: u32 = 1;

/// The bytes that open a connection.
pub(super) fn greeting(name: &str, tenant: Option<&str>) -> BytesMut {
    let hello = Hello { version_min: VERSION, version_max: VERSION, name: Some(name), tenant };
    let mut out = BytesMut::new();
    let opcode = Opcode::Hello.byte();
    frame::encode(&mut out, opcode, Flags::NONE, CORRELATION, |out| hello.encode(out));
    out
}

/// Reads the answer to the greeting.
pub(super) fn answer(frame: &Frame<'_>) -> Result<ServerInfo, ConnectError> {
    let unreadable = |error| ConnectError::Handshake(ReplyError::Payload(error));
    if frame.header.opcode == opcode::ERROR {
        return Err(ConnectError::Refused(Refusal::decode(frame.payload).map_err(unreadable)?));
    }
    let expected = Opcode::Hello.reply();
    if frame.header.opcode != expected {
        let is = frame.header.opcode;
        return Err(ConnectError::Handshake(ReplyError::Opcode { is, expected }));
    }
    if frame.header.correlation != CORRELATION {
        let stray = ReplyError::Correlation(frame.header.correlation);
        return Err(ConnectError::Handshake(stray));
    }
    let reply = HelloReply::decode(frame.payload).map_err(unreadable)?;
    if reply.version != VERSION {
        let error = keygate_protocol::PayloadError::OutOfBounds {
            field: "version",
            why: "the daemon chose one that was not offered",
        };
        return Err(unreadable(error));
    }
    Ok(ServerInfo {
        version: reply.version,
        admin: reply.admin,
        batch_items_max: reply.batch_items_max,
        frame_bytes_max: reply.frame_bytes_max,
        name: reply.name.map(str::to_owned),
    })
}
