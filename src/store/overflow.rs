//! How a long value lies in several short rows.
//!
//! sled writes a page of more than about 128 KiB to a file of its own, which it never syncs, and
//! skips without a word when a power loss has taken it: acknowledged rows that had moved to that
//! page are gone. A page holds about 16 rows, so no row may be long:
//!
//! ```text
//! key                     0x00 | value                          a value of at most PART_BYTES
//! key                     0x01 | length u32 LE | first part     a longer one
//! 0xFF | key | 0001 BE    second part
//! 0xFF | key | 0002 BE    third part, …
//! ```
//!
//! The rows of one value are written and removed in one atomic batch.

use super::{RESERVED_PREFIX, StoreError, VALUE_BYTES_MAX};

/// Bytes of one part.
pub(super) const PART_BYTES: usize = 4096;

const WHOLE: u8 = 0;
const PARTED: u8 = 1;

const _: () = assert!(VALUE_BYTES_MAX.div_ceil(PART_BYTES) <= u16::MAX as usize);

/// What the row under a value's own key says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head<'a> {
    /// The value.
    Whole(&'a [u8]),
    /// The value's length in bytes, and its first part.
    Parted { len: usize, first: &'a [u8] },
}

impl<'a> Head<'a> {
    /// Reads the row under a value's own key.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub(super) fn read(row: &'a [u8]) -> Result<Self, StoreError> {
        let head = match row.split_first() {
            Some((&WHOLE, value)) => Some(Self::Whole(value)),
            Some((&PARTED, rest)) => rest.split_first_chunk().and_then(|(len, first)| {
                let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
                let fits = (PART_BYTES + 1..=VALUE_BYTES_MAX).contains(&len);
                (fits && first.len() == PART_BYTES).then_some(Self::Parted { len, first })
            }),
            _ => None,
        };
        head.ok_or_else(|| StoreError::corrupt("a row's head names neither a value nor its parts"))
    }

    /// Rows beside the value's own.
    pub(super) fn parts(&self) -> u16 {
        match self {
            Self::Whole(_) => 0,
            Self::Parted { len, .. } => parts(*len),
        }
    }
}

/// Rows that a value of `len` bytes takes beside its own.
pub(super) fn parts(len: usize) -> u16 {
    let rows = len.div_ceil(PART_BYTES).saturating_sub(1);
    u16::try_from(rows).unwrap_or(u16::MAX)
}

/// The row under a value's own key.
pub(super) fn head_row(value: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(1 + 4 + value.len().min(PART_BYTES));
    if value.len() <= PART_BYTES {
        row.push(WHOLE);
        row.extend_from_slice(value);
    } else {
        row.push(PARTED);
        let len = u32::try_from(value.len()).unwrap_or(u32::MAX);
        row.extend_from_slice(&len.to_le_bytes());
        row.extend_from_slice(&value[..PART_BYTES]);
    }
    row
}

/// The part that stands in row `part` (from 1) beside the value's own.
pub(super) fn part_of(value: &[u8], part: u16) -> &[u8] {
    let start = usize::from(part) * PART_BYTES;
    &value[start.min(value.len())..(start + PART_BYTES).min(value.len())]
}

/// The key of row `part` (from 1) beside the value's own.
pub(super) fn part_key(key: &[u8], part: u16) -> Vec<u8> {
    let mut part_key = Vec::with_capacity(1 + key.len() + 2);
    part_key.push(RESERVED_PREFIX);
    part_key.extend_from_slice(key);
    part_key.extend_from_slice(&part.to_be_bytes());
    part_key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_the_sum_of_its_parts() {
        for len in [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES, 10_000] {
            let value: Vec<u8> = (0_u8..=255).cycle().take(len).collect();
            let row = head_row(&value);
            let head = Head::read(&row).expect("a head of our own");
            let mut read = match head {
                Head::Whole(value) => value.to_vec(),
                Head::Parted { len: stated, first } => {
                    assert_eq!(stated, len);
                    first.to_vec()
                }
            };
            for part in 1..=head.parts() {
                read.extend_from_slice(part_of(&value, part));
            }
            assert_eq!(read, value, "length {len}");
        }
    }

    #[test]
    fn a_damaged_head_is_an_error() {
        let mut long = head_row(&[7; PART_BYTES + 1]);
        long.truncate(PART_BYTES);
        let oversize = [&[PARTED][..], &u32::MAX.to_le_bytes(), &[0; PART_BYTES]].concat();
        for row in [&[][..], &[2], &[PARTED, 1, 2], &long, &oversize] {
            assert!(Head::read(row).is_err(), "{row:?}");
        }
    }
}
