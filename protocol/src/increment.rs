//! `Increment`: what became of a request (SPEC §6.4).
//!
//! ```text
//! key_id u64 | count u32 | latency_us u32 | status u16 | type-length-values …
//! ```

use bytes::{BufMut, BytesMut};

use crate::counters::{self, Counters, TLV_COUNTER};
use crate::limits::{COUNTERS_REPORTED_MAX, ENDPOINT_BYTES_MAX, ERROR_TEXT_BYTES_MAX, REFUND_MAX};
use crate::wire::{DEMAND, PayloadError, Reader, once, put_text, put_tlv, text, u64_of};

const TLV_ENDPOINT: u8 = 1;
const TLV_ERROR_TEXT: u8 = 2;
// Skipping an id would count a retry twice, so it must be understood.
const TLV_ID: u8 = 128;
// So must these: a slot would stay taken, and credits would not come back.
const TLV_SLOT: u8 = 129;
const TLV_REFUND: u8 = 130;

/// `latency_us` when no latency is reported.
const LATENCY_NONE: u32 = u32::MAX;

/// One report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Increment<'a> {
    /// The key, as its verdict named it.
    pub key_id: u64,
    /// Requests that this report stands for, at least 1; status and latency are those of each.
    pub count: u32,
    /// Microseconds each took, at most 2^32 - 2.
    pub latency_us: Option<u32>,
    /// The status of each, 100 to 999 as in HTTP; 400 and above is an error.
    pub status: Option<u16>,
    /// Which endpoint, as the caller names it; at most 256 bytes of UTF-8.
    pub endpoint: Option<&'a str>,
    /// What went wrong; at most 1,024 bytes of UTF-8.
    pub error: Option<&'a str>,
    /// The same id within the daemon's window counts once.
    pub id: Option<u128>,
    /// The slot that the request held, as its verdict named it; it is given back.
    pub slot: Option<u64>,
    /// Credits to give back, 1 to 2^32; needs an id.
    pub refund: Option<u64>,
    /// Counters of the caller's own, added up under their names.
    pub counters: Counters<'a>,
}

impl<'a> Increment<'a> {
    /// A report that one request was made, and nothing else.
    #[must_use]
    pub const fn new(key_id: u64) -> Self {
        Self {
            key_id,
            count: 1,
            latency_us: None,
            status: None,
            endpoint: None,
            error: None,
            id: None,
            slot: None,
            refund: None,
            counters: Counters::NONE,
        }
    }

    /// Reads a request payload in place.
    ///
    /// # Errors
    /// [`PayloadError`] when a field is missing, out of bounds, or not known and demanded.
    pub fn decode(payload: &'a [u8]) -> Result<Self, PayloadError> {
        let mut reader = Reader::new(payload);
        let key_id = reader.u64("key_id")?;
        let count = reader.u32("count")?;
        if count == 0 {
            return Err(PayloadError::OutOfBounds { field: "count", why: "it is at least 1" });
        }
        let latency_us = Some(reader.u32("latency_us")?).filter(|&us| us != LATENCY_NONE);
        let status = match reader.u16("status")? {
            0 => None,
            status @ 100..=999 => Some(status),
            _ => {
                return Err(PayloadError::OutOfBounds { field: "status", why: "0 or 100 to 999" });
            }
        };
        let mut report = Self { count, latency_us, status, ..Self::new(key_id) };
        report.decode_facts(reader)?;
        if report.refund.is_some() && report.id.is_none() {
            return Err(PayloadError::OutOfBounds {
                field: "refund",
                why: "it needs an id, so that it is given once",
            });
        }
        Ok(report)
    }

    fn decode_facts(&mut self, mut reader: Reader<'a>) -> Result<(), PayloadError> {
        let (facts, mut counted) = (reader.rest(), 0);
        while let Some((kind, value)) = reader.tlv()? {
            match kind {
                TLV_ENDPOINT => {
                    let why = "it is 1 to 256 bytes of UTF-8";
                    let endpoint = text(value, ENDPOINT_BYTES_MAX, "endpoint", why)?;
                    once(&mut self.endpoint, endpoint, "endpoint")?;
                }
                TLV_ERROR_TEXT => {
                    let why = "it is 1 to 1,024 bytes of UTF-8";
                    let error = text(value, ERROR_TEXT_BYTES_MAX, "error", why)?;
                    once(&mut self.error, error, "error")?;
                }
                TLV_ID => {
                    let id = value.try_into().map_err(|_| PayloadError::OutOfBounds {
                        field: "id",
                        why: "it is 16 bytes",
                    })?;
                    once(&mut self.id, u128::from_le_bytes(id), "id")?;
                }
                TLV_SLOT => once(&mut self.slot, u64_of(value, "slot")?, "slot")?,
                TLV_REFUND => {
                    let refund = u64_of(value, "refund")?;
                    if !(1..=REFUND_MAX).contains(&refund) {
                        let why = "it is 1 to 2^32";
                        return Err(PayloadError::OutOfBounds { field: "refund", why });
                    }
                    once(&mut self.refund, refund, "refund")?;
                }
                TLV_COUNTER => {
                    counters::decode(value)?;
                    counted += 1;
                    if counted > COUNTERS_REPORTED_MAX {
                        let why = "at most 8 in one report";
                        return Err(PayloadError::OutOfBounds { field: "counter", why });
                    }
                    self.counters = Counters::encoded(facts);
                }
                kind if kind >= DEMAND => return Err(PayloadError::UnknownDemand { kind }),
                _ => {}
            }
        }
        Ok(())
    }

    /// Appends the request payload. Texts beyond their bounds are cut at a character's edge, empty
    /// ones left out; a `count` of 0 or a `status` outside 100 to 999 is for the daemon to refuse.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.key_id);
        out.put_u32_le(self.count);
        out.put_u32_le(self.latency_us.unwrap_or(LATENCY_NONE));
        out.put_u16_le(self.status.unwrap_or(0));
        if let Some(endpoint) = self.endpoint {
            put_text(out, TLV_ENDPOINT, endpoint, ENDPOINT_BYTES_MAX);
        }
        if let Some(error) = self.error {
            put_text(out, TLV_ERROR_TEXT, error, ERROR_TEXT_BYTES_MAX);
        }
        if let Some(id) = self.id {
            put_tlv(out, TLV_ID, &id.to_le_bytes());
        }
        if let Some(slot) = self.slot {
            put_tlv(out, TLV_SLOT, &slot.to_le_bytes());
        }
        if let Some(refund) = self.refund {
            put_tlv(out, TLV_REFUND, &refund.to_le_bytes());
        }
        self.counters.encode(out);
    }
}

/// What became of a report: the one byte of its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum IncrementOutcome {
    /// It was counted.
    Counted = 0,
    /// Its id was seen before; nothing was counted again.
    Duplicate = 1,
    /// No such key.
    NotFound = 2,
    /// It was counted, and the slot was not held any more.
    SlotGone = 3,
}

impl IncrementOutcome {
    /// Bytes of one reply payload.
    pub const BYTES: usize = 1;

    /// Reads a reply payload.
    ///
    /// # Errors
    /// [`PayloadError`] when it is not one known byte.
    pub fn decode(payload: &[u8]) -> Result<Self, PayloadError> {
        let mut reader = Reader::new(payload);
        let outcome = match reader.u8("outcome")? {
            0 => Self::Counted,
            1 => Self::Duplicate,
            2 => Self::NotFound,
            3 => Self::SlotGone,
            _ => return Err(PayloadError::OutOfBounds { field: "outcome", why: "it is 0 to 3" }),
        };
        reader.end()?;
        Ok(outcome)
    }

    /// Appends the reply payload.
    pub fn encode(self, out: &mut BytesMut) {
        out.put_u8(self as u8);
    }
}
