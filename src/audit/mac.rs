//! The keyed MAC that chains records.

use zeroize::Zeroizing;

use crate::key::Pepper;

/// Bytes of a MAC, and of the key.
pub(super) const MAC_BYTES: usize = 32;

/// The MAC of a record.
pub(super) type Mac = [u8; MAC_BYTES];

/// What stands for the record before the first.
pub(super) const ORIGIN: Mac = [0; MAC_BYTES];

/// The secret under which records are chained. Wiped when it is dropped.
pub struct ChainKey(Pepper);

impl ChainKey {
    /// The key of these bytes.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(Pepper::new(secret))
    }

    /// `HMAC-SHA-256(key, SHA-256(label | parts …))`. The parts of one label have stated lengths, all
    /// but the last, so no two messages are the same bytes.
    pub(super) fn mac(&self, label: &[u8], parts: &[&[u8]]) -> Mac {
        let bytes = label.len() + parts.iter().map(|part| part.len()).sum::<usize>();
        let mut message = Zeroizing::new(Vec::with_capacity(bytes));
        message.extend_from_slice(label);
        parts.iter().for_each(|part| message.extend_from_slice(part));
        self.0.digest(&message).0
    }
}
