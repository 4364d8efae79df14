//! `Validate`: may this token do this, now? (SPEC §6.3)
//!
//! ```text
//! flags u8 | token_length u16 | cost u64 | token … | type-length-values …
//! ```

use std::fmt;

use bytes::{BufMut, BytesMut};

use crate::limits::{COST_MAX, SCOPE_BYTES_MAX, SCOPES_DEMANDED_MAX, TOKEN_BYTES_MAX};
use crate::wire::{DEMAND, PayloadError, Reader, just_above, put_tlv};

const TLV_SCOPE_ALL: u8 = 128;
const TLV_SCOPE_ANY: u8 = 129;

/// The flag bits of a `Validate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ValidateFlags(u8);

impl ValidateFlags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// Judge without spending: nothing is counted and no limit moves.
    pub const PEEK: Self = Self(1);
    /// Answer the key's tenant and scopes too. Not allowed in a batch.
    pub const DETAILS: Self = Self(2);
    const KNOWN: u8 = 3;

    /// Whether every bit of `other` is set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets of bits.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One question. Borrowed from the read buffer; nothing is copied to ask it.
#[derive(Clone, Copy)]
pub struct Validate<'a> {
    /// How to judge.
    pub flags: ValidateFlags,
    /// Units to spend, 0 to 2^32; 0 judges without spending, as [`ValidateFlags::PEEK`] does.
    pub cost: u64,
    /// What the holder sent. Longer than 512 bytes is judged `MALFORMED`.
    pub token: &'a [u8],
    /// What the request demands and where it comes from.
    pub facts: Facts<'a>,
}

/// The token is a secret, so only its length is shown.
impl fmt::Debug for Validate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Validate")
            .field("flags", &self.flags)
            .field("cost", &self.cost)
            .field("token_bytes", &self.token.len())
            .field("facts", &self.facts)
            .finish()
    }
}

impl<'a> Validate<'a> {
    /// Reads a request payload in place.
    ///
    /// # Errors
    /// [`PayloadError`] when a field is missing, out of bounds, or not known and demanded.
    pub fn decode(payload: &'a [u8]) -> Result<Self, PayloadError> {
        let mut reader = Reader::new(payload);
        let flags = reader.u8("flags")?;
        if flags & !ValidateFlags::KNOWN != 0 {
            return Err(PayloadError::OutOfBounds { field: "flags", why: "only bits 0 and 1" });
        }
        let token_length = reader.u16("token_length")?;
        let cost = reader.u64("cost")?;
        if cost > COST_MAX {
            return Err(PayloadError::OutOfBounds { field: "cost", why: "it is 0 to 2^32" });
        }
        let token = reader.bytes(usize::from(token_length), "token")?;
        let facts = Facts::decode(reader.rest())?;
        Ok(Self { flags: ValidateFlags(flags), cost, token, facts })
    }

    /// Whether this question spends nothing.
    #[must_use]
    pub const fn peeks(&self) -> bool {
        self.cost == 0 || self.flags.has(ValidateFlags::PEEK)
    }
}

/// The facts of a question: well-formed type-length-values, read again where they are needed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts<'a> {
    bytes: &'a [u8],
    demands_scopes: bool,
}

impl<'a> Facts<'a> {
    fn decode(bytes: &'a [u8]) -> Result<Self, PayloadError> {
        let mut reader = Reader::new(bytes);
        let mut scopes = 0;
        while let Some((kind, value)) = reader.tlv()? {
            match kind {
                TLV_SCOPE_ALL | TLV_SCOPE_ANY => {
                    scopes += 1;
                    if value.is_empty() || value.len() > SCOPE_BYTES_MAX {
                        return Err(PayloadError::OutOfBounds {
                            field: "a demanded scope",
                            why: "it is 1 to 128 bytes",
                        });
                    }
                }
                kind if kind >= DEMAND => return Err(PayloadError::UnknownDemand { kind }),
                _ => {}
            }
        }
        if scopes > SCOPES_DEMANDED_MAX {
            return Err(PayloadError::OutOfBounds {
                field: "demanded scopes",
                why: "at most 64 in one request",
            });
        }
        Ok(Self { bytes, demands_scopes: scopes > 0 })
    }

    /// Whether any scope is demanded; spares the walk when none is.
    #[must_use]
    pub const fn demands_scopes(&self) -> bool {
        self.demands_scopes
    }

    /// Scopes that must all be granted.
    pub fn scopes_all(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.of(TLV_SCOPE_ALL)
    }

    /// Scopes of which one must be granted, if there are any.
    pub fn scopes_any(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.of(TLV_SCOPE_ANY)
    }

    fn of(&self, wanted: u8) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        // `decode` has shown the bytes to be well-formed, so an error here is the end.
        std::iter::from_fn(move || reader.tlv().ok().flatten())
            .filter_map(move |(kind, value)| (kind == wanted).then_some(value))
    }
}

/// Appends a `Validate` payload: the writing side of [`Validate::decode`].
pub struct ValidateWriter<'a> {
    out: &'a mut BytesMut,
}

/// What was written holds the token, so its bytes are not shown.
impl fmt::Debug for ValidateWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValidateWriter").finish_non_exhaustive()
    }
}

impl<'a> ValidateWriter<'a> {
    /// Begins a question. A token longer than 512 bytes is cut after its 513th: it is `MALFORMED`
    /// whatever follows, and a stranger's oversized token must not outgrow the frame.
    pub fn new(out: &'a mut BytesMut, flags: ValidateFlags, cost: u64, token: &[u8]) -> Self {
        let token = just_above(token, TOKEN_BYTES_MAX);
        out.put_u8(flags.0);
        out.put_u16_le(u16::try_from(token.len()).unwrap_or(u16::MAX));
        out.put_u64_le(cost);
        out.put_slice(token);
        Self { out }
    }

    /// Demands a scope. One that is empty or longer than 128 bytes is for the daemon to refuse.
    pub fn scope_all(&mut self, scope: &str) {
        put_tlv(self.out, TLV_SCOPE_ALL, just_above(scope.as_bytes(), SCOPE_BYTES_MAX));
    }

    /// Names one of the scopes of which one must be granted; bounds as for
    /// [`scope_all`](Self::scope_all).
    pub fn scope_any(&mut self, scope: &str) {
        put_tlv(self.out, TLV_SCOPE_ANY, just_above(scope.as_bytes(), SCOPE_BYTES_MAX));
    }
}
