//! What every record on disk is wrapped in.
//!
//! bincode alone decodes most single-bit flips to other values, and a flipped length to an
//! allocation of any size. The envelope finds both before bincode is asked:
//!
//! ```text
//!  0        4        6          10        14
//!  | "KGR1" | schema | length   | CRC-32C | payload …
//!    magic    u16 LE   u32 LE     u32 LE    length bytes of bincode, standard configuration
//! ```
//!
//! The checksum covers schema, length and payload. Nothing follows the payload.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Most bytes of a payload: with the envelope it fits into a value of the store.
pub const PAYLOAD_BYTES_MAX: usize = super::VALUE_BYTES_MAX - HEADER_BYTES;

const MAGIC: [u8; 4] = *b"KGR1";
/// What an encrypted record is wrapped in: the same envelope, and its payload is the master key's id,
/// the nonce and the ciphertext, of another envelope. So whether it is whole is told without a key.
pub(super) const SEALED: [u8; 4] = *b"KGE1";
/// How an encrypted record begins in clear, which it is in memory alone.
pub(super) const OPENED: [u8; 4] = *b"KGO1";
/// How one begins that does not open; in memory alone.
pub(super) const UNOPENED: [u8; 4] = *b"KGX2";
pub(super) const HEADER_BYTES: usize = 14;
const _: () = assert!(HEADER_BYTES == MAGIC.len() + 2 + 4 + 4);

/// Why bytes are not a record, or a record not bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Fewer bytes than the header, or another number than it states.
    #[error("{found} bytes where the envelope takes {expected}")]
    Length {
        /// Bytes there are.
        found: usize,
        /// Bytes there must be.
        expected: usize,
    },
    /// Not a record of keygate's.
    #[error("the bytes do not begin as an envelope does")]
    Magic,
    /// It is encrypted, and nothing was asked to open it.
    #[error("it is encrypted, and there is no master key here")]
    Encrypted,
    /// It is encrypted and does not open.
    #[error("it is encrypted and does not open: its master key is not here, or it was changed")]
    Unopened,
    /// A later keygate wrote this.
    #[error("schema {found} is newer than {known}, the newest that this keygate reads")]
    NewerSchema {
        /// The record's schema.
        found: u16,
        /// The newest schema that this program reads.
        known: u16,
    },
    /// The bytes have changed since they were written.
    #[error("the checksum is {found:08x} and the bytes' is {computed:08x}")]
    Checksum {
        /// As it stands in the envelope.
        found: u32,
        /// As it is of these bytes.
        computed: u32,
    },
    /// The checksum is right and the payload is not of this type.
    #[error("the payload does not decode: {reason}")]
    Payload {
        /// The decoder's reason.
        reason: String,
    },
    /// The payload decodes and more bytes follow.
    #[error("{left} bytes are left over after the payload was decoded")]
    Trailing {
        /// How many.
        left: usize,
    },
    /// The value is larger than a record may be.
    #[error("{found} bytes are over a record's limit of {PAYLOAD_BYTES_MAX}")]
    TooLarge {
        /// The payload's length.
        found: usize,
    },
}

/// An envelope whose checksum is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed<'a> {
    /// The schema of the payload: what type it decodes to.
    pub schema: u16,
    payload: &'a [u8],
}

/// Wraps a value.
///
/// # Errors
/// [`EnvelopeError::TooLarge`]; [`EnvelopeError::Payload`] where the type cannot be written.
pub fn seal<T: Serialize>(schema: u16, value: &T) -> Result<Vec<u8>, EnvelopeError> {
    let mut bytes = vec![0; HEADER_BYTES];
    bincode::serde::encode_into_std_write(value, &mut bytes, config())
        .map_err(|error| EnvelopeError::Payload { reason: error.to_string() })?;
    finish(MAGIC, schema, bytes)
}

/// Wraps a payload that is bytes already.
///
/// # Errors
/// [`EnvelopeError::TooLarge`].
pub(super) fn wrap(magic: [u8; 4], schema: u16, payload: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
    finish(magic, schema, [&[0; HEADER_BYTES][..], payload].concat())
}

/// The payload of an envelope of this kind, if it is whole.
///
/// # Errors
/// [`EnvelopeError::Length`], [`EnvelopeError::Magic`], [`EnvelopeError::Checksum`].
pub(super) fn unwrap(magic: [u8; 4], bytes: &[u8]) -> Result<&[u8], EnvelopeError> {
    let (found, sealed) = parts(bytes)?;
    if found == magic { Ok(sealed.payload) } else { Err(EnvelopeError::Magic) }
}

/// Gives an envelope another beginning, which its checksum does not cover.
pub(super) fn mark(bytes: &mut [u8], magic: [u8; 4]) {
    bytes.iter_mut().zip(magic).for_each(|(byte, of_magic)| *byte = of_magic);
}

/// The schema that an envelope states.
pub(super) fn schema_of(bytes: &[u8]) -> Option<u16> {
    let schema = bytes.get(MAGIC.len()..)?.first_chunk()?;
    Some(u16::from_le_bytes(*schema))
}

/// Whether a record is encrypted in its row.
pub(super) fn is_encrypted(bytes: &[u8]) -> bool {
    [SEALED, OPENED, UNOPENED].iter().any(|magic| bytes.starts_with(magic))
}

/// Writes the header of an envelope whose payload is there.
fn finish(magic: [u8; 4], schema: u16, mut bytes: Vec<u8>) -> Result<Vec<u8>, EnvelopeError> {
    let found = bytes.len() - HEADER_BYTES;
    let too_large = EnvelopeError::TooLarge { found };
    if found > PAYLOAD_BYTES_MAX {
        return Err(too_large);
    }
    let length = u32::try_from(found).map_err(|_| too_large)?;
    let schema = schema.to_le_bytes();
    let length = length.to_le_bytes();
    let crc = checksum(&schema, &length, &bytes[HEADER_BYTES..]).to_le_bytes();
    let header = magic.into_iter().chain(schema).chain(length).chain(crc);
    bytes.iter_mut().zip(header).for_each(|(byte, of_header)| *byte = of_header);
    Ok(bytes)
}

/// Bytes that a value's payload would take; 0 for one that cannot be written.
pub(super) fn payload_bytes<T: Serialize>(value: &T) -> usize {
    let mut size = bincode::enc::write::SizeWriter::default();
    let written = bincode::serde::encode_into_writer(value, &mut size, config());
    written.map_or(0, |()| size.bytes_written)
}

/// Checks an envelope, and leaves the payload as it is: for a reader of more than one schema.
///
/// # Errors
/// All but [`EnvelopeError::Payload`] and [`EnvelopeError::Trailing`].
pub fn check(bytes: &[u8], known_schema: u16) -> Result<Sealed<'_>, EnvelopeError> {
    let (magic, sealed) = parts(bytes)?;
    if sealed.schema > known_schema {
        return Err(EnvelopeError::NewerSchema { found: sealed.schema, known: known_schema });
    }
    match magic {
        SEALED => Err(EnvelopeError::Encrypted),
        UNOPENED => Err(EnvelopeError::Unopened),
        _ => Ok(sealed),
    }
}

/// How an envelope begins, and the rest of it, whose checksum is right.
fn parts(bytes: &[u8]) -> Result<([u8; 4], Sealed<'_>), EnvelopeError> {
    let short = EnvelopeError::Length { found: bytes.len(), expected: HEADER_BYTES };
    let (magic, rest) = bytes.split_first_chunk::<4>().ok_or_else(|| short.clone())?;
    let (schema, rest) = rest.split_first_chunk::<2>().ok_or_else(|| short.clone())?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(|| short.clone())?;
    let (crc, payload) = rest.split_first_chunk::<4>().ok_or(short)?;
    if ![MAGIC, OPENED, SEALED, UNOPENED].contains(magic) {
        return Err(EnvelopeError::Magic);
    }
    let expected = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if payload.len() != expected {
        let (found, expected) = (bytes.len(), expected.saturating_add(HEADER_BYTES));
        return Err(EnvelopeError::Length { found, expected });
    }
    // Before the schema is believed: a flipped bit there is damage, not a later keygate.
    let (found, computed) = (u32::from_le_bytes(*crc), checksum(schema, length, payload));
    if found != computed {
        return Err(EnvelopeError::Checksum { found, computed });
    }
    Ok((*magic, Sealed { schema: u16::from_le_bytes(*schema), payload }))
}

impl<'a> Sealed<'a> {
    /// The payload as it lies there.
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Decodes the payload; what the type borrows, it borrows from the bytes.
    ///
    /// # Errors
    /// [`EnvelopeError::Payload`], [`EnvelopeError::Trailing`].
    pub fn decode<T: Deserialize<'a>>(&self) -> Result<T, EnvelopeError> {
        decode(self.payload)
    }
}

/// Decodes a payload as its type's newest schema; see [`Sealed::decode`].
///
/// # Errors
/// [`EnvelopeError::Payload`], [`EnvelopeError::Trailing`].
pub(super) fn decode<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, EnvelopeError> {
    let (value, read) = bincode::serde::borrow_decode_from_slice(payload, config())
        .map_err(|error| EnvelopeError::Payload { reason: error.to_string() })?;
    let left = payload.len().saturating_sub(read);
    if left > 0 { Err(EnvelopeError::Trailing { left }) } else { Ok(value) }
}

/// The bytes of a payload without its envelope.
pub(super) fn payload_of<T: Serialize>(value: &T) -> Result<Vec<u8>, EnvelopeError> {
    bincode::serde::encode_to_vec(value, config())
        .map_err(|error| EnvelopeError::Payload { reason: error.to_string() })
}

/// Checks an envelope and decodes its payload as the type of the newest schema.
///
/// # Errors
/// Every [`EnvelopeError`] but [`EnvelopeError::TooLarge`].
pub fn open<T: DeserializeOwned>(bytes: &[u8], known_schema: u16) -> Result<T, EnvelopeError> {
    check(bytes, known_schema)?.decode()
}

fn checksum(schema: &[u8], length: &[u8], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(schema), length), payload)
}

/// Little endian, variable-length integers. The limit is on what decoding may allocate.
const fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<{ 4 * PAYLOAD_BYTES_MAX }>()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Sample {
        id: u64,
        name: String,
        tags: Vec<String>,
        share: Option<f64>,
    }

    fn sample() -> Sample {
        let tags = vec!["one".to_owned(), "two".to_owned()];
        Sample { id: 300, name: "näme".to_owned(), tags, share: Some(0.5) }
    }

    /// Changing this breaks every data directory in the world: raise the schema instead.
    const GOLDEN: &str =
        "4b47523103001b0000002347c733fb2c01056ec3a46d6502036f6e650374776f01000000000000e03f";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_format_is_golden() {
        let bytes = seal(3, &sample()).expect("sealed");
        assert_eq!(hex(&bytes), GOLDEN);
        assert_eq!(open::<Sample>(&bytes, 3), Ok(sample()));
        assert_eq!(check(&bytes, 9).map(|sealed| sealed.schema), Ok(3), "older ones are read");
    }

    #[test]
    fn every_flipped_bit_is_an_error() {
        let bytes = seal(3, &sample()).expect("sealed");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let error = open::<Sample>(&flipped, 3).expect_err("a flipped bit");
            assert!(!matches!(error, EnvelopeError::NewerSchema { .. }), "bit {bit}: {error}");
        }
    }

    #[test]
    fn every_truncation_and_every_addition_is_an_error() {
        let mut bytes = seal(3, &sample()).expect("sealed");
        for len in 0..bytes.len() {
            assert!(open::<Sample>(&bytes[..len], 3).is_err(), "{len} bytes");
        }
        bytes.push(0);
        assert!(open::<Sample>(&bytes, 3).is_err());
    }

    #[test]
    fn a_newer_schema_is_refused_by_number() {
        let bytes = seal(4, &sample()).expect("sealed");
        let error = EnvelopeError::NewerSchema { found: 4, known: 3 };
        assert_eq!(open::<Sample>(&bytes, 3), Err(error));
    }

    #[test]
    fn a_payload_of_another_type_is_an_error() {
        let shorter = seal(3, &7_u64).expect("sealed");
        assert!(matches!(open::<Sample>(&shorter, 3), Err(EnvelopeError::Payload { .. })));
        let longer = seal(3, &sample()).expect("sealed");
        assert!(matches!(open::<u64>(&longer, 3), Err(EnvelopeError::Trailing { .. })));
    }

    #[test]
    fn a_hostile_length_inside_allocates_nothing() {
        // A vector that claims 2^63 elements, under a right checksum.
        let claim = seal(3, &(1_u64 << 63)).expect("sealed");
        assert!(matches!(open::<Vec<u64>>(&claim, 3), Err(EnvelopeError::Payload { .. })));
    }

    #[test]
    fn a_value_over_the_limit_is_refused() {
        let value = "x".repeat(PAYLOAD_BYTES_MAX + 1);
        assert!(matches!(seal(3, &value), Err(EnvelopeError::TooLarge { .. })));
    }
}
