//! The limits of a verdict: which there are, and how each stands (SPEC §8.2).
//!
//! ```text
//! name u8 | limit u64 | remaining u64 | retry_after_us u64 | reset_after_us u64
//! ```

use std::fmt;

use bytes::{BufMut, BytesMut};

use crate::limits::{LIMITS_IN_VERDICT_MAX, LIMITS_NAMED_MAX};
use crate::wire::{PayloadError, Reader};

/// Bytes of one report.
pub(crate) const LIMIT_BYTES: usize = 33;

macro_rules! limit_names {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal $wire:literal;)+) => {
        /// Which limit a figure belongs to. The one table of limits, in the order in which a
        /// verdict has them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum LimitName { $($(#[doc = $doc])+ $name = $code,)+ }

        impl LimitName {
            /// Every limit, in order.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The limit of a byte.
            #[must_use]
            pub const fn from_byte(byte: u8) -> Option<Self> {
                match byte { $($code => Some(Self::$name),)+ _ => None }
            }

            /// The name, as it stands in JSON; of a named limit the place in which the request
            /// named it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $wire,)+ }
            }
        }
    };
}

limit_names! {
    /// Requests per second.
    Second = 1 "second";
    /// Units of a calendar day, UTC.
    Day = 2 "day";
    /// Units of a calendar month, UTC.
    Month = 3 "month";
    /// Units of the key's whole life.
    Lifetime = 4 "lifetime";
    /// Requests under way.
    Slots = 5 "slots";
    /// The balance.
    Credits = 6 "credits";
    /// The tenant's requests per second, shared by its keys, as those that follow.
    TenantSecond = 17 "tenant_second";
    /// The tenant's calendar day.
    TenantDay = 18 "tenant_day";
    /// The tenant's calendar month.
    TenantMonth = 19 "tenant_month";
    /// The tenant's whole life.
    TenantLifetime = 20 "tenant_lifetime";
    /// The tenant's requests under way.
    TenantSlots = 21 "tenant_slots";
    /// The limit that the request named first.
    Named1 = 64 "named_1";
    /// The limit that it named second.
    Named2 = 65 "named_2";
    /// The limit that it named third.
    Named3 = 66 "named_3";
    /// The limit that it named fourth.
    Named4 = 67 "named_4";
}

const _: () = assert!(LimitName::ALL.len() <= LIMITS_IN_VERDICT_MAX);

impl LimitName {
    /// Limits that a request names, in its order.
    pub const NAMED: [Self; LIMITS_NAMED_MAX] =
        [Self::Named1, Self::Named2, Self::Named3, Self::Named4];

    /// The place, from 0, of the limit among those that the request named, if it named it.
    #[must_use]
    pub fn place(self) -> Option<usize> {
        Self::NAMED.iter().position(|named| *named == self)
    }
}

/// How one limit stands after a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitReport {
    /// Which limit.
    pub name: LimitName,
    /// The most that it admits: of a rate the burst, of a window its units, of slots their number.
    pub limit: u64,
    /// Units left now.
    pub remaining: u64,
    /// Microseconds, rounded up, after which the same request would be admitted if nothing else is
    /// spent. `None` when this limit admitted it, or never will.
    pub retry_after_us: Option<u64>,
    /// Microseconds, rounded up, until the limit is whole again if nothing more is spent. `None`
    /// for never.
    pub reset_after_us: Option<u64>,
}

impl LimitReport {
    const NONE: Self = Self {
        name: LimitName::Second,
        limit: 0,
        remaining: 0,
        retry_after_us: None,
        reset_after_us: None,
    };

    fn bytes(&self) -> [u8; LIMIT_BYTES] {
        let mut bytes = [0; LIMIT_BYTES];
        bytes[0] = self.name as u8;
        bytes[1..9].copy_from_slice(&self.limit.to_le_bytes());
        bytes[9..17].copy_from_slice(&self.remaining.to_le_bytes());
        let retry_after_us = self.retry_after_us.unwrap_or(NEVER);
        bytes[17..25].copy_from_slice(&retry_after_us.to_le_bytes());
        let reset_after_us = self.reset_after_us.unwrap_or(NEVER);
        bytes[25..].copy_from_slice(&reset_after_us.to_le_bytes());
        bytes
    }
}

/// A time that does not come.
const NEVER: u64 = u64::MAX;

/// The limits of one verdict, in place: those there are stand at the beginning.
#[derive(Clone, Copy)]
pub struct Limits {
    len: u8,
    reports: [LimitReport; LIMITS_IN_VERDICT_MAX],
}

impl Limits {
    /// None.
    pub const NONE: Self = Self { len: 0, reports: [LimitReport::NONE; LIMITS_IN_VERDICT_MAX] };

    /// Forgets all reports, and leaves their memory as it is.
    pub const fn clear(&mut self) {
        self.len = 0;
    }

    /// Appends a report. There is room for every limit once; one beyond that is left out.
    pub const fn push(&mut self, report: LimitReport) {
        if (self.len as usize) < LIMITS_IN_VERDICT_MAX {
            self.reports[self.len as usize] = report;
            self.len += 1;
        }
    }

    /// The reports there are.
    pub fn iter(&self) -> impl Iterator<Item = &LimitReport> {
        self.reports[..usize::from(self.len)].iter()
    }

    /// The report of one limit.
    #[must_use]
    pub fn get(&self, name: LimitName) -> Option<&LimitReport> {
        self.iter().find(|report| report.name == name)
    }

    /// How many there are, as the wire tells it.
    pub(crate) const fn count(&self) -> u8 {
        self.len
    }

    /// Appends the reports, one copy for each.
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        self.iter().for_each(|report| out.put_slice(&report.bytes()));
    }

    /// Reads `count` reports; those of limits that are not known here are skipped.
    pub(crate) fn decode(count: u8, reader: &mut Reader<'_>) -> Result<Self, PayloadError> {
        let bound = |why| PayloadError::OutOfBounds { field: "limit_count", why };
        if usize::from(count) > LIMITS_IN_VERDICT_MAX {
            return Err(bound("at most 16 limits in one verdict"));
        }
        let mut limits = Self::NONE;
        for _ in 0..count {
            let name = LimitName::from_byte(reader.u8("limit name")?);
            let limit = reader.u64("limit")?;
            let remaining = reader.u64("remaining")?;
            let retry_after_us = Some(reader.u64("retry_after_us")?).filter(|&us| us != NEVER);
            let reset_after_us = Some(reader.u64("reset_after_us")?).filter(|&us| us != NEVER);
            let Some(name) = name else { continue };
            if limits.get(name).is_some() {
                return Err(bound("a limit stands twice"));
            }
            limits.push(LimitReport { name, limit, remaining, retry_after_us, reset_after_us });
        }
        Ok(limits)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::NONE
    }
}

/// What lies behind those there are is nobody's affair.
impl PartialEq for Limits {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Limits {}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
