//! Batches: many payloads of one kind in one frame (SPEC §6.5).
//!
//! ```text
//! count u16 | (length u16 | payload …) × count
//! ```
//!
//! The same layout serves questions and answers; answers stand in the order of their questions.

use std::fmt;

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
///
/// The caller keeps to [`BATCH_ITEMS_MAX`] items and to the frame's bound. A batch that the layout
/// cannot carry is given the count 0, which every receiver refuses: lengths that lie would make
/// one item's bytes pass for other items.
pub struct BatchWriter<'a> {
    out: &'a mut BytesMut,
    start: usize,
    /// `None` once an item was too long or there were too many.
    count: Option<u16>,
}

/// What was written may hold tokens, so its bytes are not shown.
impl fmt::Debug for BatchWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchWriter").field("count", &self.count).finish_non_exhaustive()
    }
}

impl<'a> BatchWriter<'a> {
    /// Begins a batch.
    pub fn new(out: &'a mut BytesMut) -> Self {
        let start = out.len();
        out.put_u16_le(0);
        Self { out, start, count: Some(0) }
    }

    /// Appends one item, whose payload `write` appends and keeps below 64 KiB.
    pub fn item(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let at = self.out.len();
        self.out.put_u16_le(0);
        write(self.out);
        let length = u16::try_from(self.out.len() - at - 2).ok();
        self.out[at..at + 2].copy_from_slice(&length.unwrap_or(0).to_le_bytes());
        self.count = length.and(self.count).and_then(|count| count.checked_add(1));
    }

    /// Fills in the count.
    pub fn finish(self) {
        let count = self.count.unwrap_or(0);
        self.out[self.start..self.start + 2].copy_from_slice(&count.to_le_bytes());
    }
}
