//! What a record says of limits beyond the second, and how a change of it treats what was spent.

use super::credits::CreditTerms;
use super::named::NamedTerms;
use super::quota::UNLIMITED;
use super::spent::Spent;

/// How long a slot is held if nothing says otherwise.
pub const SLOT_TTL_MS: u32 = 60_000;

/// What the record says of these limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Units in a calendar day; [`UNLIMITED`] for no limit, as below.
    pub day: u64,
    /// Units in a calendar month.
    pub month: u64,
    /// Units in the whole life.
    pub lifetime: u64,
    /// Slots; `u32::MAX` for no limit.
    pub slots: u32,
    /// How long a slot is held, in milliseconds; 0 where this does not say.
    pub slot_ttl_ms: u32,
    /// The balance, if there is one.
    pub credits: Option<CreditTerms>,
    /// Named limits.
    pub named: Vec<NamedTerms>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            day: UNLIMITED,
            month: UNLIMITED,
            lifetime: UNLIMITED,
            slots: u32::MAX,
            slot_ttl_ms: 0,
            credits: None,
            named: Vec::new(),
        }
    }
}

impl Terms {
    /// Whether anything is said.
    #[must_use]
    pub fn say_anything(&self) -> bool {
        let Self { day, month, lifetime, slots, slot_ttl_ms, .. } = self;
        [day, month, lifetime].iter().any(|cap| **cap != UNLIMITED)
            || *slots != u32::MAX
            || *slot_ttl_ms != 0
            || self.credits.is_some()
            || !self.named.is_empty()
    }
}

/// Which limits a change names, and what becomes of what was spent of those.
#[derive(Debug, Clone, Copy, Default)]
pub struct Change {
    /// What becomes of what was spent.
    pub spent: Spent,
    /// Whether the requests per second are named.
    pub second: bool,
    /// Whether the day is.
    pub day: bool,
    /// Whether the month is.
    pub month: bool,
    /// Whether the lifetime is.
    pub lifetime: bool,
    /// Whether the named limits are.
    pub named: bool,
}

impl Change {
    /// What becomes of what was spent of the requests per second.
    #[must_use]
    pub const fn of_second(&self) -> Spent {
        self.of(self.second)
    }

    pub(super) const fn of(&self, named: bool) -> Spent {
        if named { self.spent } else { Spent::Keep }
    }
}
