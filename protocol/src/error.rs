//! Errors: requests that could not be judged (SPEC §7). A denied key is a verdict, not an error.

use bytes::{BufMut, BytesMut};

use crate::frame::FrameError;
use crate::limits::ERROR_MESSAGE_BYTES_MAX;
use crate::wire::{PayloadError, Reader};

/// Whether a request that got this error may have had an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Execution {
    /// It had none; sending it again is safe.
    Never,
    /// It may have had one.
    Maybe,
}

macro_rules! errors {
    ($($code:literal $name:ident $wire:literal $execution:ident $closes:literal $text:literal;)+) => {
        /// Why a request was not judged. The one table of errors: code, name, whether the request
        /// may have been executed, whether the connection ends, one-line text.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum ErrorCode { $(#[doc = $text] $name = $code,)+ }

        impl ErrorCode {
            /// Every code, in order.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The code of a byte.
            #[must_use]
            pub const fn from_byte(byte: u8) -> Option<Self> {
                match byte { $($code => Some(Self::$name),)+ _ => None }
            }

            /// The name, as it stands in JSON and in the specification.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $wire,)+ }
            }

            /// One line for people.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// Whether the request may have had an effect.
            #[must_use]
            pub const fn execution(self) -> Execution {
                match self { $(Self::$name => Execution::$execution,)+ }
            }

            /// Whether the daemon closes the connection after this error.
            #[must_use]
            pub const fn closes(self) -> bool {
                match self { $(Self::$name => $closes,)+ }
            }
        }
    };
}

errors! {
    1  BadFrame "BAD_FRAME" Never true "the bytes are not a frame";
    2  UnknownOpcode "UNKNOWN_OPCODE" Never false "the opcode is not known here";
    3  BadPayload "BAD_PAYLOAD" Never false "the payload is not what the opcode takes";
    4  UnknownDemand "UNKNOWN_DEMAND" Never false "a type-length-value of type 128 or above is not known here";
    5  UnsupportedVersion "UNSUPPORTED_VERSION" Never true "no protocol version is spoken by both sides";
    6  NotOnThisSocket "NOT_ON_THIS_SOCKET" Never false "this request belongs to the admin socket";
    7  TooManyConnections "TOO_MANY_CONNECTIONS" Never true "the daemon has as many connections as it is configured to take";
    8  TimedOut "TIMED_OUT" Never true "the connection was silent or did not finish a frame in time";
    9  Stopping "STOPPING" Never true "the daemon is stopping";
    10 Busy "BUSY" Never false "too much is waiting already; try again";
    11 NotAdmitted "NOT_ADMITTED" Never true "the configuration gives this peer no right here";
    20 NotFound "NOT_FOUND" Never false "no such key or tenant";
    21 Invalid "INVALID" Never false "a field has a value that it cannot have";
    22 Conflict "CONFLICT" Never false "the record is not in the state that the request expects";
    23 ReadOnly "READ_ONLY" Never false "the store refuses writes after a failure";
    24 Storage "STORAGE" Maybe false "the store failed while the request was carried out";
    25 Internal "INTERNAL" Maybe false "the daemon failed while the request was carried out";
    26 Forbidden "FORBIDDEN" Never false "the caller has no right to this";
}

impl From<FrameError> for ErrorCode {
    fn from(_: FrameError) -> Self {
        Self::BadFrame
    }
}

/// What a request with an unreadable payload is answered.
impl From<PayloadError> for ErrorCode {
    fn from(error: PayloadError) -> Self {
        match error {
            PayloadError::UnknownDemand { .. } => Self::UnknownDemand,
            PayloadError::Truncated { .. }
            | PayloadError::OutOfBounds { .. }
            | PayloadError::Trailing { .. } => Self::BadPayload,
        }
    }
}

/// An error reply: code, then up to 4,096 bytes of UTF-8 that say what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorReply<'a> {
    /// Which error; `None` for a code that a later release has added.
    pub code: Option<ErrorCode>,
    /// The code's byte.
    pub byte: u8,
    /// What happened and what mends it.
    pub message: &'a str,
}

impl<'a> ErrorReply<'a> {
    /// Reads an error payload.
    ///
    /// # Errors
    /// [`PayloadError`] when the code is missing or the text is too long or not UTF-8.
    pub fn decode(payload: &'a [u8]) -> Result<Self, PayloadError> {
        let mut reader = Reader::new(payload);
        let byte = reader.u8("code")?;
        let bound = PayloadError::OutOfBounds {
            field: "message",
            why: "it is at most 4,096 bytes of UTF-8",
        };
        if reader.rest().len() > ERROR_MESSAGE_BYTES_MAX {
            return Err(bound);
        }
        let message = str::from_utf8(reader.rest()).map_err(|_| bound)?;
        Ok(Self { code: ErrorCode::from_byte(byte), byte, message })
    }

    /// Appends an error payload; a longer message is cut at a character's edge.
    pub fn encode(code: ErrorCode, message: &str, out: &mut BytesMut) {
        out.put_u8(code as u8);
        out.put_slice(&message.as_bytes()[..message.floor_char_boundary(ERROR_MESSAGE_BYTES_MAX)]);
    }
}
