//! `Hello` and `Ping`, which either socket answers.

use bytes::{BufMut, BytesMut};
use keygate_protocol::hello::{Hello, HelloReply, VERSION};
use keygate_protocol::limits::BATCH_ITEMS_MAX;
use keygate_protocol::{ErrorCode, Frame, Opcode};

use super::dispatch::{Go, put_error, put_payload_error, reply};

/// The name and release that `Hello` answers.
const NAME: &str = concat!("keygate/", env!("CARGO_PKG_VERSION"));

/// `Hello`, on either socket. `bind` binds the connection, or says why that cannot be done.
pub(super) fn hello(
    frame: Frame<'_>,
    admin: bool,
    frame_bytes_max: u32,
    bind: impl FnOnce(&str) -> Result<(), String>,
    out: &mut BytesMut,
) -> Go {
    let hello = match Hello::decode(frame.payload) {
        Ok(hello) => hello,
        Err(error) => {
            put_payload_error(out, frame.header, error);
            return Go::On;
        }
    };
    let Some(version) = hello.agree() else {
        let message = format!(
            "this daemon speaks protocol version {VERSION}; the client speaks {} to {}",
            hello.version_min, hello.version_max
        );
        put_error(out, frame.header.correlation, ErrorCode::UnsupportedVersion, &message);
        return Go::Close;
    };
    if let Some(Err(message)) = hello.tenant.map(bind) {
        put_error(out, frame.header.correlation, ErrorCode::BadPayload, &message);
        return Go::On;
    }
    // A constant well below 2^16.
    let batch_items_max = u16::try_from(BATCH_ITEMS_MAX).unwrap_or(u16::MAX);
    reply(frame.header, Opcode::Hello, out, |out| {
        HelloReply { version, admin, batch_items_max, frame_bytes_max, name: Some(NAME) }
            .encode(out);
    });
    Go::On
}

/// `Ping`, on either socket.
pub(super) fn ping(frame: Frame<'_>, out: &mut BytesMut) {
    reply(frame.header, Opcode::Ping, out, |out| out.put_slice(frame.payload));
}
