//! `SlotRenew`: a request that takes longer than its slot's time asks for more (SPEC §6.6).
//!
//! ```text
//! key_id u64 | slot u64
//! ```

use bytes::{BufMut, BytesMut};

use crate::wire::{PayloadError, Reader};

/// Asks that a slot be held for its whole time again, from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotRenew {
    /// The key, as the verdict named it.
    pub key_id: u64,
    /// The slot, as the verdict named it.
    pub slot: u64,
}

impl SlotRenew {
    /// Reads a request payload.
    ///
    /// # Errors
    /// [`PayloadError`] when it is not 16 bytes.
    pub fn decode(payload: &[u8]) -> Result<Self, PayloadError> {
        let mut reader = Reader::new(payload);
        let key_id = reader.u64("key_id")?;
        let slot = reader.u64("slot")?;
        reader.end()?;
        Ok(Self { key_id, slot })
    }

    /// Appends the request payload.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.key_id);
        out.put_u64_le(self.slot);
    }
}

/// What became of it: the one byte of its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RenewOutcome {
    /// It is held on.
    Renewed = 0,
    /// It was given back, or its time had ended.
    Gone = 1,
    /// No such key.
    NotFound = 2,
}

impl RenewOutcome {
    /// Reads a reply payload.
    ///
    /// # Errors
    /// [`PayloadError`] when it is not one known byte.
    pub fn decode(payload: &[u8]) -> Result<Self, PayloadError> {
        let mut reader = Reader::new(payload);
        let outcome = match reader.u8("outcome")? {
            0 => Self::Renewed,
            1 => Self::Gone,
            2 => Self::NotFound,
            _ => return Err(PayloadError::OutOfBounds { field: "outcome", why: "it is 0 to 2" }),
        };
        reader.end()?;
        Ok(outcome)
    }

    /// Appends the reply payload.
    pub fn encode(self, out: &mut BytesMut) {
        out.put_u8(self as u8);
    }
}
