//! Frames: the only file that knows the length prefix (SPEC §2).
//!
//! ```text
//! 0        4        5        6          8             12
//! | length | opcode | flags  | reserved | correlation | payload …
//!   u32      u8       u8       u16 = 0    u32           length - 8 bytes
//! ```
//!
//! `length` counts what follows it. All integers are little-endian.

use std::fmt;

use bytes::{BufMut, BytesMut};

/// Bytes of the length prefix.
pub const LENGTH_BYTES: usize = 4;
/// Bytes of the header that follows the length prefix.
pub const HEADER_BYTES: usize = 8;
/// Bytes before the payload.
pub const PREFIX_BYTES: usize = LENGTH_BYTES + HEADER_BYTES;

const _: () = assert!(PREFIX_BYTES == 12);

/// The flag bits of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u8);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// On a request: answer only if it cannot be judged. Allowed on `Increment` and its batch.
    pub const NO_REPLY: Self = Self(1);
    /// More frames with the same correlation follow: a streamed request or reply.
    pub const MORE: Self = Self(2);
    const KNOWN: u8 = 3;

    /// Whether every bit of `other` is set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets of bits.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The bits as they stand on the wire.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }
}

/// What every frame says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The message's kind, raw: an unknown one is still a whole frame (see [`crate::Opcode`]).
    pub opcode: u8,
    /// The flag bits.
    pub flags: Flags,
    /// Chosen by the requester, repeated in the reply; replies may come out of order.
    pub correlation: u32,
}

/// One whole frame, borrowed from the read buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The header.
    pub header: Header,
    /// What follows the header.
    pub payload: &'a [u8],
}

/// A payload may hold a token, so its bytes are not shown.
impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("header", &self.header)
            .field("payload_bytes", &self.payload.len())
            .finish()
    }
}

/// Why bytes are not a frame. The connection cannot go on after any of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length is below the header's size.
    #[error("a frame of {length} bytes is shorter than its 8-byte header")]
    TooShort {
        /// What the prefix said.
        length: u32,
    },
    /// The length is above what this socket takes.
    #[error("a frame of {length} bytes is longer than the {max} allowed here")]
    TooLong {
        /// What the prefix said.
        length: u32,
        /// The bound of this socket.
        max: u32,
    },
    /// The reserved field is not zero.
    #[error("the reserved header field is {value}, and must be 0")]
    Reserved {
        /// What stood there.
        value: u16,
    },
    /// A flag bit that version 1 does not define.
    #[error("flag bits {bits:#04x} are not defined")]
    Flags {
        /// The flags byte.
        bits: u8,
    },
}

/// The first frame of `buffer` and the bytes it took, or `None` while it is not yet whole.
///
/// The length is compared with its bounds before anything else is done with it.
///
/// # Errors
/// [`FrameError`] when the bytes can never become a frame; the peer must be told and closed.
pub fn decode(buffer: &[u8], length_max: u32) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    let Some((prefix, rest)) = buffer.split_first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*prefix);
    if length > length_max {
        return Err(FrameError::TooLong { length, max: length_max });
    }
    if (length as usize) < HEADER_BYTES {
        return Err(FrameError::TooShort { length });
    }
    let Some(([opcode, flags, r0, r1, c0, c1, c2, c3], _)) =
        rest.split_first_chunk::<HEADER_BYTES>()
    else {
        return Ok(None);
    };
    let reserved = u16::from_le_bytes([*r0, *r1]);
    if reserved != 0 {
        return Err(FrameError::Reserved { value: reserved });
    }
    if flags & !Flags::KNOWN != 0 {
        return Err(FrameError::Flags { bits: *flags });
    }
    let Some(payload) = rest.get(HEADER_BYTES..length as usize) else {
        return Ok(None);
    };
    let header = Header {
        opcode: *opcode,
        flags: Flags(*flags),
        correlation: u32::from_le_bytes([*c0, *c1, *c2, *c3]),
    };
    Ok(Some((Frame { header, payload }, LENGTH_BYTES + length as usize)))
}

/// Appends one frame whose payload `write` appends. The length is filled in afterwards; keeping it
/// within the receiver's bound is the caller's part.
pub fn encode(
    out: &mut BytesMut,
    opcode: u8,
    flags: Flags,
    correlation: u32,
    write: impl FnOnce(&mut BytesMut),
) {
    let start = out.len();
    // One copy: each `put_` by itself would look at the buffer's room again.
    let mut prefix = [0; PREFIX_BYTES];
    prefix[4] = opcode;
    prefix[5] = flags.bits();
    prefix[8..].copy_from_slice(&correlation.to_le_bytes());
    out.put_slice(&prefix);
    write(out);
    let length = u32::try_from(out.len() - start - LENGTH_BYTES).unwrap_or(u32::MAX);
    out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
}
