//! What happens that somebody may want to know: changes, decisions, alerts. Pure values, made where
//! they happen, and read by whoever keeps them (the audit log), sends them (alerts) or shows them
//! (`keygate watch`).

mod actor;
mod alert;
mod change;

pub use actor::Actor;
pub use alert::{Alert, AlertKind, Destination};
pub use change::{Change, Decision, IMPORT, KEY_IDS, Subject};

use serde::{Deserialize, Serialize};

/// One of them, with its instant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Microseconds since 1970.
    pub at_us: i64,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// A key, a tenant or the configuration was changed.
    Change(Change),
    /// A question was decided.
    Decision(Decision),
    /// Somebody is to be told.
    Alert(Alert),
}

/// Takes note of events. It is called where they happen, on whatever thread that is, so it never
/// waits: what it cannot take it counts.
pub trait Journal: Send + Sync {
    /// Takes note of one.
    fn note(&self, event: &Event);
}

/// Several, each told of every event, in order.
impl Journal for Vec<std::sync::Arc<dyn Journal>> {
    fn note(&self, event: &Event) {
        self.iter().for_each(|journal| journal.note(event));
    }
}
