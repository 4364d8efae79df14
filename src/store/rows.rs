//! The rows beside the records whose types the store knows by name, and their schemas: what writes
//! them, what reads them at a start and what verifies them agree here.

use serde::{Deserialize, Serialize};

use super::write::Fact;
use super::{Op, Store, StoreError, layout};

/// The newest schema of a usage row. Raised with every change of [`crate::usage::UsageRow`].
pub const USAGE_SCHEMA: u16 = 2;

/// The newest schema of the usage of a tenant or of the daemon, of an hour, and of a month of days.
/// Raised with every change of [`crate::usage::Tally`] or of [`crate::usage::SumRow`].
pub const HISTORY_SCHEMA: u16 = 1;

/// The newest schema of a row of the ledger. Raised with every change of
/// [`crate::limit::AccountRow`].
pub const LEDGER_SCHEMA: u16 = 1;

/// What the ledger says of itself: a [`LedgerFact`].
pub const LEDGER: Fact = Fact("ledger");

/// The newest schema of a [`LedgerFact`].
pub const LEDGER_FACT_SCHEMA: u16 = 1;

/// What the ledger says of itself as a whole. Absent in a store that no ledger was ever opened over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LedgerFact {
    /// Whether a daemon has leases out, or ended without giving them back: a crash.
    pub open: bool,
    /// The day ([`crate::limit::Period::Day`]) until which initial leases are void since a crash; 0
    /// for none.
    pub void_day: u32,
    /// The month until which initial leases are void; 0 for none.
    pub void_month: u32,
    /// The latest day in which initial leases may be out; 0 where none are.
    pub last_day: u32,
    /// The latest month in which they may be; 0 where none are.
    pub last_month: u32,
}

/// How far ahead of the daemon's clock signatures of requests were made that were used: a
/// [`LeadFact`]. Absent where that is not known.
pub const SIGNING_LEAD: Fact = Fact("signing_lead");

/// The newest schema of a [`LeadFact`].
pub const SIGNING_LEAD_SCHEMA: u16 = 1;

/// How far ahead of the daemon's clock signatures of requests were made that were used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LeadFact {
    /// None was further ahead than so many seconds.
    pub seconds: u32,
}

/// Until when signatures of requests may be used: a [`HorizonFact`].
pub const SIGNING_HORIZON: Fact = Fact("signing_horizon");

/// The newest schema of a [`HorizonFact`].
pub const SIGNING_HORIZON_SCHEMA: u16 = 1;

/// Until when signatures of requests may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HorizonFact {
    /// None was used when the daemon's clock was past this second, counted since 1970.
    pub until_s: i64,
}

/// Has a restored store know no [`LeadFact`]: that of its backup may be lower than what was used
/// since then. Durable; not while a committer runs.
///
/// # Errors
/// As [`Store::apply`].
pub fn forget_signing_lead(store: &dyn Store) -> Result<(), StoreError> {
    store.apply(&[Op::Remove { key: layout::meta(SIGNING_LEAD.0) }])?;
    store.sync()
}

/// The newest schema of what was said of a key. Raised with every change of
/// [`crate::alert::KeyState`].
pub const ALERT_STATE_SCHEMA: u16 = 1;

/// The newest schema of an alert on its way. Raised with every change of
/// [`crate::alert::OutboxRow`].
pub const ALERT_OUT_SCHEMA: u16 = 1;

/// The newest schema of an endpoint. Raised with every change of [`crate::alert::EndpointRow`].
pub const ENDPOINT_SCHEMA: u16 = 2;

/// What alerts have said of the daemon: a [`crate::alert::state::DaemonState`].
pub const ALERTS: Fact = Fact("alerts");

/// The newest schema of [`ALERTS`].
pub const ALERTS_SCHEMA: u16 = 1;

/// The newest schema of a chunk of ids.
pub const IDS_SCHEMA: u16 = 1;

/// Ids of `Increment`s that were counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdChunk {
    /// When they were written, microseconds since 1970.
    pub at_us: i64,
    /// The ids.
    pub ids: Vec<u128>,
}
