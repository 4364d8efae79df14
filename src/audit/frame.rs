//! One record as bytes.
//!
//! ```text
//! magic "KGA1" | kind u8 | 0 u8 × 3 | sequence u64 | length u32 | crc u32 | mac 32 | payload
//! ```
//!
//! Numbers are little-endian. The CRC-32C is over the 20 bytes before it and the payload: it tells
//! what is torn or has rotted, for whoever has no key. The MAC is over that of the record before, the
//! 24 bytes before it, and the payload: `HMAC-SHA-256(key, SHA-256("keygate audit record 1" | before |
//! head | payload))`.

use super::mac::{ChainKey, MAC_BYTES, Mac};

const MAGIC: [u8; 4] = *b"KGA1";
const LABEL: &[u8] = b"keygate audit record 1";
/// Bytes before the CRC.
const CHECKED_BYTES: usize = 20;
/// Bytes before the MAC.
const AUTHENTIC_BYTES: usize = CHECKED_BYTES + 4;
/// Bytes before the payload.
pub(super) const HEAD_BYTES: usize = AUTHENTIC_BYTES + MAC_BYTES;
/// Highest sequence: no log comes near it, and one more is still a number.
pub(super) const SEQUENCE_MAX: u64 = 1 << 63;
/// Longest payload.
pub(super) const PAYLOAD_BYTES_MAX: usize = 64 * 1024;

const _: () = assert!(HEAD_BYTES == 56);

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The first of a file.
    Begin = 1,
    /// Something that happened.
    Event = 2,
    /// What the log says of itself.
    Note = 3,
}

/// A record, where it lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) kind: Kind,
    pub(super) sequence: u64,
    pub(super) payload: &'a [u8],
    pub(super) mac: Mac,
    head: &'a [u8],
}

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No record begins here.
    #[error("no record begins here")]
    Magic,
    /// A kind or a reserved byte that no release has written.
    #[error("it is of no known kind")]
    Kind,
    /// A length beyond the most that is written.
    #[error("it says that it has {0} bytes, more than any record")]
    Length(u32),
    /// A sequence that no record has.
    #[error("it says that it is record {0}, and no log has as many")]
    Sequence(u64),
    /// The checksum differs.
    #[error("its checksum differs")]
    Checksum,
}

impl Frame<'_> {
    /// Whether its MAC is the one behind this.
    pub(super) fn follows(&self, key: &ChainKey, before: &Mac) -> bool {
        subtle::ConstantTimeEq::ct_eq(&self.mac_behind(key, before)[..], &self.mac[..]).into()
    }

    /// The MAC that it should have behind this.
    pub(super) fn mac_behind(&self, key: &ChainKey, before: &Mac) -> Mac {
        key.mac(LABEL, &[before, self.head, self.payload])
    }

    /// Bytes of the whole.
    pub(super) const fn bytes(&self) -> usize {
        HEAD_BYTES + self.payload.len()
    }
}

/// Appends a record; answers its MAC. The payload is within its bound.
pub(super) fn encode(
    key: &ChainKey,
    before: &Mac,
    kind: Kind,
    sequence: u64,
    payload: &[u8],
    out: &mut Vec<u8>,
) -> Mac {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[kind as u8, 0, 0, 0]);
    out.extend_from_slice(&sequence.to_le_bytes());
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&out[start..]), payload);
    out.extend_from_slice(&crc.to_le_bytes());
    let mac = key.mac(LABEL, &[before, &out[start..], payload]);
    out.extend_from_slice(&mac);
    out.extend_from_slice(payload);
    mac
}

/// The record that bytes begin with. `None`: it is not whole.
///
/// # Errors
/// [`FrameError`].
pub(super) fn decode(bytes: &[u8]) -> Result<Option<Frame<'_>>, FrameError> {
    let known = bytes.len().min(MAGIC.len());
    if bytes[..known] != MAGIC[..known] {
        return Err(FrameError::Magic);
    }
    let Some((head, rest)) = bytes.split_at_checked(HEAD_BYTES) else { return Ok(None) };
    let kind = match head[4..8] {
        [1, 0, 0, 0] => Kind::Begin,
        [2, 0, 0, 0] => Kind::Event,
        [3, 0, 0, 0] => Kind::Note,
        _ => return Err(FrameError::Kind),
    };
    let length = u32_at(head, 16);
    let payload_bytes = usize::try_from(length).unwrap_or(usize::MAX);
    if payload_bytes > PAYLOAD_BYTES_MAX {
        return Err(FrameError::Length(length));
    }
    let Some(payload) = rest.get(..payload_bytes) else { return Ok(None) };
    let crc = crc32c::crc32c_append(crc32c::crc32c(&head[..CHECKED_BYTES]), payload);
    if crc != u32_at(head, CHECKED_BYTES) {
        return Err(FrameError::Checksum);
    }
    let mut mac = [0; MAC_BYTES];
    mac.copy_from_slice(&head[AUTHENTIC_BYTES..]);
    let sequence = u64::from(u32_at(head, 8)) | u64::from(u32_at(head, 12)) << 32;
    if !(1..=SEQUENCE_MAX).contains(&sequence) {
        return Err(FrameError::Sequence(sequence));
    }
    Ok(Some(Frame { kind, sequence, payload, mac, head: &head[..AUTHENTIC_BYTES] }))
}

/// The MAC that stands where a record's would, whatever else is wrong with it.
pub(super) fn mac_at(bytes: &[u8]) -> Option<Mac> {
    bytes.get(AUTHENTIC_BYTES..HEAD_BYTES)?.try_into().ok()
}

/// Where the next record begins that is whole, behind damage; its place in the bytes.
pub(super) fn next_whole(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(found) = bytes.get(at..)?.windows(MAGIC.len()).position(|window| window == MAGIC)
    {
        at += found;
        if matches!(decode(&bytes[at..]), Ok(Some(_))) {
            return Some(at);
        }
        at += 1;
    }
    None
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::super::mac::ORIGIN;
    use super::*;

    fn key() -> ChainKey {
        ChainKey::new(&[9; 32])
    }

    #[test]
    fn a_record_comes_back_and_every_flipped_bit_is_noticed() {
        let mut bytes = Vec::new();
        let mac = encode(&key(), &ORIGIN, Kind::Event, 7, b"{\"a\":1}", &mut bytes);
        let frame = decode(&bytes).expect("a record").expect("whole");
        assert_eq!(
            (frame.kind, frame.sequence, frame.payload),
            (Kind::Event, 7, &b"{\"a\":1}"[..])
        );
        assert_eq!((frame.mac, frame.bytes()), (mac, bytes.len()));
        assert!(frame.follows(&key(), &ORIGIN) && !frame.follows(&key(), &[1; 32]));
        assert!(!frame.follows(&ChainKey::new(&[8; 32]), &ORIGIN));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let noticed = match decode(&flipped) {
                Ok(Some(frame)) => !frame.follows(&key(), &ORIGIN),
                Ok(None) | Err(_) => true,
            };
            assert!(noticed, "bit {bit}");
        }
    }

    #[test]
    fn what_is_cut_short_is_not_whole_and_a_hostile_length_is_refused() {
        let mut bytes = Vec::new();
        encode(&key(), &ORIGIN, Kind::Note, 1, &[b'x'; 100], &mut bytes);
        for cut in 0..bytes.len() {
            assert!(matches!(decode(&bytes[..cut]), Ok(None)), "{cut}");
        }
        bytes[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(decode(&bytes).err(), Some(FrameError::Length(u32::MAX)));
        assert_eq!(decode(b"nothing at all").err(), Some(FrameError::Magic));
        for sequence in [0, SEQUENCE_MAX + 1, u64::MAX] {
            let mut bytes = Vec::new();
            encode(&key(), &ORIGIN, Kind::Note, sequence, b"{}", &mut bytes);
            assert_eq!(decode(&bytes).err(), Some(FrameError::Sequence(sequence)));
        }
    }
}
