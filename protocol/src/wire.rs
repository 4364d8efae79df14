//! Little-endian fields and type-length-values, read in place.

use std::fmt;

use bytes::{BufMut, BytesMut};

/// Why a payload could not be read. Says which field, so that a client's author can find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// The payload ended inside the named field.
    #[error("the payload ends inside {field}")]
    Truncated {
        /// The field that was being read.
        field: &'static str,
    },
    /// The named field has a value outside its bounds.
    #[error("{field} is out of bounds: {why}")]
    OutOfBounds {
        /// The field in question.
        field: &'static str,
        /// Which bound, in words.
        why: &'static str,
    },
    /// Bytes follow the last field.
    #[error("{count} bytes follow the last field")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// A type of 128 or above that this side does not know: it must not be skipped.
    #[error("type {kind} must be understood and is not known here")]
    UnknownDemand {
        /// The type byte.
        kind: u8,
    },
}

/// Types from here on must be understood by the receiver; lower ones may be skipped (SPEC §5).
pub(crate) const DEMAND: u8 = 128;

/// Reads fields off the front of a payload.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

/// A payload may hold a token, so its bytes are not shown.
impl fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("bytes_left", &self.rest.len()).finish()
    }
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    pub(crate) fn bytes(
        &mut self,
        count: usize,
        field: &'static str,
    ) -> Result<&'a [u8], PayloadError> {
        let Some((head, rest)) = self.rest.split_at_checked(count) else {
            return Err(PayloadError::Truncated { field });
        };
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], PayloadError> {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(PayloadError::Truncated { field });
        };
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, PayloadError> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, PayloadError> {
        self.array(field).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, PayloadError> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, PayloadError> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// The next type-length-value, or `None` at the end.
    pub(crate) fn tlv(&mut self) -> Result<Option<(u8, &'a [u8])>, PayloadError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let kind = self.u8("a type-length-value's type")?;
        let length = self.u16("a type-length-value's length")?;
        let value = self.bytes(usize::from(length), "a type-length-value's value")?;
        Ok(Some((kind, value)))
    }

    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) const fn end(&self) -> Result<(), PayloadError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(PayloadError::Trailing { count: self.rest.len() })
        }
    }
}

/// Keeps the value of a type that may stand once. Were the last of two to win here and the first
/// elsewhere, two readers would see two different requests in the same bytes.
pub(crate) fn once<T>(
    slot: &mut Option<T>,
    value: T,
    field: &'static str,
) -> Result<(), PayloadError> {
    if slot.replace(value).is_some() {
        return Err(PayloadError::OutOfBounds { field, why: "it stands twice" });
    }
    Ok(())
}

/// A value that is one number of eight bytes.
pub(crate) fn u64_of(value: &[u8], field: &'static str) -> Result<u64, PayloadError> {
    let bytes = value.try_into();
    bytes
        .map(u64::from_le_bytes)
        .map_err(|_| PayloadError::OutOfBounds { field, why: "it is 8 bytes" })
}

/// Text of 1 to `max` bytes; `why` says that bound in words.
pub(crate) fn text<'a>(
    value: &'a [u8],
    max: usize,
    field: &'static str,
    why: &'static str,
) -> Result<&'a str, PayloadError> {
    if value.is_empty() || value.len() > max {
        return Err(PayloadError::OutOfBounds { field, why });
    }
    str::from_utf8(value).map_err(|_| PayloadError::OutOfBounds { field, why })
}

/// Appends one type-length-value. The caller has bounded the value; a longer one is cut at 65,535.
pub(crate) fn put_tlv(out: &mut BytesMut, kind: u8, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    out.put_u8(kind);
    out.put_u16_le(length);
    out.put_slice(&value[..usize::from(length)]);
}

/// Appends a text that is only told, never judged: cut at `max` bytes, left out when empty. What
/// a stranger put into a path must not make the receiver refuse the frame that reports it.
pub(crate) fn put_text(out: &mut BytesMut, kind: u8, text: &str, max: usize) {
    let text = &text[..text.floor_char_boundary(max)];
    if !text.is_empty() {
        put_tlv(out, kind, text.as_bytes());
    }
}

/// At most one byte more than `max`: enough to be refused for its length, whatever it was, and
/// never so much that the frame around it outgrows its own bound and costs the connection.
pub(crate) fn just_above(value: &[u8], max: usize) -> &[u8] {
    &value[..value.len().min(max + 1)]
}
