//! Batches: many payloads of one kind in one frame (SPEC §6.5).
//!
//! ```text
//! count u16 | (length u16 | payload …) × count
//! ```
//!
//! The same layout serves questions and answers; answers stand in the order of their questions.

use bytes::{BufMut, BytesMut};

use crate::limits::BATCH_ITEMS_MAX;
use crate::wire::{PayloadError, Reader};

/// The payloads of a batch, in order.
#[derive(Debug, Clone)]
pub struct Batch<'a> {
    reader: Reader<'a>,
    left: usize,
}

impl<'a> Batch<'a> {
    /// Reads the count and shows every item's length to be right.
    ///
    /// # Errors
    /// [`PayloadError`] when the count or a length does not fit the payload.
    pub fn decode(payload: &'a [u8]) -> Result<Self, PayloadError> {
        let mut reader = Reader::new(payload);
        let count = usize::from(reader.u16("count")?);
        if count == 0 || count > BATCH_ITEMS_MAX {
            return Err(PayloadError::OutOfBounds { field: "count", why: "it is 1 to 512" });
        }
        let mut walk = reader;
        for _ in 0..count {
            let length = walk.u16("an item's length")?;
            walk.bytes(usize::from(length), "an item")?;
        }
        walk.end()?;
        Ok(Self { reader, left: count })
    }
}

impl<'a> Iterator for Batch<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let length = self.reader.u16("an item's length").ok()?;
        self.reader.bytes(usize::from(length), "an item").ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Batch<'_> {}

/// Appends a batch payload item by item; the count is filled in by [`BatchWriter::finish`].
#[derive(Debug)]
pub struct BatchWriter<'a> {
    out: &'a mut BytesMut,
    start: usize,
    count: u16,
}

impl<'a> BatchWriter<'a> {
    /// Begins a batch.
    pub fn new(out: &'a mut BytesMut) -> Self {
        let start = out.len();
        out.put_u16_le(0);
        Self { out, start, count: 0 }
    }

    /// Appends one item, whose payload `write` appends and keeps below 64 KiB.
    pub fn item(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let at = self.out.len();
        self.out.put_u16_le(0);
        write(self.out);
        let length = u16::try_from(self.out.len() - at - 2).unwrap_or(u16::MAX);
        self.out[at..at + 2].copy_from_slice(&length.to_le_bytes());
        self.count += 1;
    }

    /// Fills in the count.
    pub fn finish(self) {
        self.out[self.start..self.start + 2].copy_from_slice(&self.count.to_le_bytes());
    }
}
