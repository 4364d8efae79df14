//! Counters of a report's own: a name and a number each (SPEC §6.4).
//!
//! ```text
//! counted u64 | name …
//! ```

use std::fmt;

use bytes::BytesMut;

use crate::limits::{COUNTER_NAME_BYTES_MAX, COUNTERS_REPORTED_MAX};
use crate::wire::{PayloadError, Reader, just_above, put_tlv, text};

/// Must be understood: what was counted so is billed.
pub(crate) const TLV_COUNTER: u8 = 131;

/// Bytes of a counter before its name.
const COUNTED_BYTES: usize = 8;

/// The counters of one report, as they were listed or as they lie in its payload.
#[derive(Clone, Copy)]
pub struct Counters<'a>(Form<'a>);

#[derive(Clone, Copy)]
enum Form<'a> {
    Listed(&'a [(&'a str, u64)]),
    /// Type-length-values, found well-formed, counters among them.
    Encoded(&'a [u8]),
}

impl<'a> Counters<'a> {
    /// None.
    pub const NONE: Self = Self::of(&[]);

    /// Names of 1 to 64 bytes of UTF-8, with what is to be added to each; up to 8.
    #[must_use]
    pub const fn of(counters: &'a [(&'a str, u64)]) -> Self {
        Self(Form::Listed(counters))
    }

    pub(crate) const fn encoded(facts: &'a [u8]) -> Self {
        Self(Form::Encoded(facts))
    }

    /// Names and numbers, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, u64)> {
        let (listed, encoded) = match self.0 {
            Form::Listed(listed) => (listed, &[][..]),
            Form::Encoded(facts) => (&[][..], facts),
        };
        let mut reader = Reader::new(encoded);
        let tlvs = std::iter::from_fn(move || reader.tlv().ok().flatten());
        let encoded = tlvs.filter(|(kind, _)| *kind == TLV_COUNTER);
        listed.iter().copied().chain(encoded.filter_map(|(_, value)| decode(value).ok()))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        // One more than may be is refused, and a name beyond its bound too: what is billed is not
        // cut. No more than that, so that the frame stays within its own bound.
        for (name, counted) in self.iter().take(COUNTERS_REPORTED_MAX + 1) {
            let mut value = counted.to_le_bytes().to_vec();
            value.extend_from_slice(just_above(name.as_bytes(), COUNTER_NAME_BYTES_MAX));
            put_tlv(out, TLV_COUNTER, &value);
        }
    }
}

/// Reads one counter's value.
pub(crate) fn decode(value: &[u8]) -> Result<(&str, u64), PayloadError> {
    let bound = |why| PayloadError::OutOfBounds { field: "counter", why };
    let Some((counted, name)) = value.split_first_chunk::<COUNTED_BYTES>() else {
        return Err(bound("it is 8 bytes and a name"));
    };
    let why = "its name is 1 to 64 bytes of UTF-8";
    let name = text(name, COUNTER_NAME_BYTES_MAX, "counter", why)?;
    Ok((name, u64::from_le_bytes(*counted)))
}

impl Default for Counters<'_> {
    fn default() -> Self {
        Self::NONE
    }
}

/// In whatever form.
impl PartialEq for Counters<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Counters<'_> {}

impl fmt::Debug for Counters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
