//! `Hello` and `Ping`, which either socket answers.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use keygate_protocol::hello::{Hello, HelloReply, VERSION};
use keygate_protocol::limits::BATCH_ITEMS_MAX;
use keygate_protocol::{ErrorCode, Frame, Opcode};

use super::dispatch::{Go, put_error, put_payload_error, reply};

/// The name and release that `Hello` answers.
const NAME: &str = concat!("keygate/", env!("CARGO_PKG_VERSION"));

/// Binds a connection to a tenant; whether it is bound to that one now. Once bound it stays so:
/// whoever is handed the connection cannot undo what binds it.
pub(super) fn bind(tenant: &mut Option<Arc<str>>, to: &str) -> bool {
    &**tenant.get_or_insert_with(|| to.into()) == to
}

/// `Hello`, on either socket. `bind` binds the connection and says whether that could be done.
pub(super) fn hello(
    frame: Frame<'_>,
    admin: bool,
    frame_bytes_max: u32,
    bind: impl FnOnce(&str) -> bool,
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
    if hello.tenant.is_some_and(|tenant| !bind(tenant)) {
        let message = "tenant: the connection is bound to another tenant already, and stays so";
        put_error(out, frame.header.correlation, ErrorCode::BadPayload, message);
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
