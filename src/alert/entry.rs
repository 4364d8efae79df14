//! One alert to one destination, and what becomes of it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{Alert, Destination};

/// Where an alert goes, and whose: a destination of one tenant is not the same as that of another,
/// so that neither waits for what the other has sent there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route {
    /// Whether it concerns the daemon, and so no tenant.
    pub operator: bool,
    /// The tenant; empty for the operator, and for a key that has none.
    pub tenant: String,
    /// Where to.
    pub to: Destination,
}

impl Route {
    /// The route of an alert to a destination.
    #[must_use]
    pub fn of(alert: &Alert, to: &Destination) -> Self {
        let tenant = alert.subject.tenant();
        let (operator, tenant) = (tenant.is_none(), tenant.unwrap_or_default().to_owned());
        Self { operator, tenant, to: to.clone() }
    }
}

/// One alert to one destination.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its number: those of one destination are tried in this order.
    pub seq: u64,
    /// What is told.
    pub alert: Arc<Alert>,
    /// To whom.
    pub to: Destination,
    /// Attempts that have failed.
    pub attempts: u32,
    /// When it is tried next, microseconds since 1970.
    pub due_us: i64,
    /// What has become of it.
    pub state: EntryState,
    /// Why the last attempt failed.
    pub why: String,
}

/// What has become of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryState {
    /// It waits for its first attempt or the next.
    Waiting,
    /// It was taken, at this instant.
    Delivered(i64),
    /// It was given up, at this instant.
    Failed(i64),
}

impl Entry {
    /// A new one, to be tried at `due_us`.
    #[must_use]
    pub const fn new(seq: u64, alert: Arc<Alert>, to: Destination, due_us: i64) -> Self {
        let why = String::new();
        Self { seq, alert, to, attempts: 0, due_us, state: EntryState::Waiting, why }
    }

    pub(super) fn route(&self) -> Route {
        Route::of(&self.alert, &self.to)
    }

    /// As it is stored. What is tagged in JSON is kept as JSON.
    #[must_use]
    pub fn row(&self) -> OutboxRow {
        OutboxRow {
            alert: serde_json::to_vec(&*self.alert).unwrap_or_default(),
            to: serde_json::to_vec(&self.to).unwrap_or_default(),
            attempts: self.attempts,
            due_us: self.due_us,
            failed_us: match self.state {
                EntryState::Failed(at_us) => Some(at_us),
                EntryState::Waiting | EntryState::Delivered(_) => None,
            },
            why: self.why.clone(),
        }
    }

    /// Reads it back.
    ///
    /// # Errors
    /// What the row has is no alert, or no destination.
    pub fn from_row(seq: u64, row: OutboxRow) -> serde_json::Result<Self> {
        Ok(Self {
            seq,
            alert: Arc::new(serde_json::from_slice(&row.alert)?),
            to: serde_json::from_slice(&row.to)?,
            attempts: row.attempts,
            due_us: row.due_us,
            state: row.failed_us.map_or(EntryState::Waiting, EntryState::Failed),
            why: row.why,
        })
    }
}

/// An [`Entry`] on disk, in an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxRow {
    /// The alert, as JSON.
    pub alert: Vec<u8>,
    /// The destination, as JSON.
    pub to: Vec<u8>,
    /// Attempts that have failed.
    pub attempts: u32,
    /// When it is tried next, microseconds since 1970.
    pub due_us: i64,
    /// When it was given up.
    pub failed_us: Option<i64>,
    /// Why the last attempt failed.
    pub why: String,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken.
    Delivered,
    /// It was not, and may be later.
    Retry(String),
    /// Nothing more is to be sent there.
    Gone(String),
    /// It will never be taken as things stand.
    Refused(String),
}
