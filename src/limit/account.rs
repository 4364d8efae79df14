//! What the ledger keeps of an account: absolute figures, so that writing them twice debits once.

use serde::{Deserialize, Serialize};

use super::Period;

/// The durable limits of one key or tenant, as the ledger has them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AccountRow {
    /// Of the calendar day.
    pub day: Debits,
    /// Of the calendar month.
    pub month: Debits,
    /// Of the whole life; its window is always 1.
    pub lifetime: Debits,
    /// Of the balance, where there is one.
    pub credits: Option<CreditDebits>,
    /// Of named limits, each that was ever spent.
    pub named: Vec<NamedDebits>,
}

/// Figures of one window. `spent <= debited`, and `stranded <= spent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Debits {
    /// The window they belong to; 0 for none.
    pub window: u32,
    /// Units that were leased, and may have been spent.
    pub debited: u64,
    /// Units that were spent when this was written, at the least.
    pub spent: u64,
    /// Of these, units that no one is known to have spent: lost to a crash.
    pub stranded: u64,
}

/// Figures of a balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CreditDebits {
    /// When the balance was set, microseconds since 1970: figures of another setting are void.
    pub granted_us: i64,
    /// What the balance was when it was set or last refilled, before what was spent since.
    pub base: u64,
    /// Since then; the window is that of the refill.
    pub debits: Debits,
}

/// Figures of one named limit. They are void for a limit of another form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedDebits {
    /// The limit's name.
    pub name: String,
    /// Its figures.
    pub figures: NamedFigures,
}

/// See [`NamedDebits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamedFigures {
    /// Of a calendar window.
    Calendar {
        /// Which kind of window.
        period: Period,
        /// Its figures.
        debits: Debits,
    },
    /// Of a rolling limit: its theoretical arrival time, in ticks of 1/count ns since 1970.
    Rolling {
        /// Units in each period.
        count: u64,
        /// The period.
        period_ns: u64,
        /// The arrival time up to which units were leased.
        debited: u128,
        /// That of what was spent when this was written, at the least.
        spent: u128,
    },
}
