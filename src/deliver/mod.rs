//! Sends alerts: to web hooks by Standard Webhooks, to mailboxes by SMTP, to sinks. Moves bytes and
//! decides nothing: what is sent, when it is tried again and what becomes of a destination that is
//! gone is the caller's.
//!
//! Every step has a timeout, so that a destination that is dead holds up the one attempt at it and
//! nothing else. What went wrong is told by host and status; a URL's path and query may hold a token
//! and are not repeated.

mod secret;

use std::collections::BTreeMap;

pub use secret::{SecretError, WebhookSecret};

use crate::config::{Alerts, Sink};
use crate::event::{Alert, Destination};

/// Sends alerts. There is one for the daemon; a reload puts another in its place.
pub struct Courier {}

/// What became of an attempt. A `why` is one line for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken.
    Delivered,
    /// It was not, and may be later.
    Retry {
        /// Why not.
        why: String,
    },
    /// The destination says that it is no more (410): nothing is to be sent to it again.
    Gone {
        /// What it said.
        why: String,
    },
    /// It cannot be taken as things stand, however often it is tried: somebody has to change the
    /// destination or the configuration.
    Refused {
        /// What is wrong.
        why: String,
    },
}

/// Why there is no courier; each says what mends it.
#[derive(Debug, thiserror::Error)]
pub enum CourierError {}

impl Courier {
    /// A courier of these settings. It reads the files that they name.
    ///
    /// # Errors
    /// [`CourierError`].
    pub fn new(alerts: &Alerts, sinks: &BTreeMap<String, Sink>) -> Result<Self, CourierError> {
        let _ = (alerts, sinks);
        Ok(Self {})
    }

    /// Sends alerts to one destination: by mail as one digest, otherwise one after the other until
    /// one is not taken. So those that were sent before a failure are sent again when the caller
    /// tries again; receivers know them by their ids. A web hook is signed with each of the
    /// `secrets`; nothing else needs them. `now_us` is the time of the attempt, microseconds since
    /// 1970.
    ///
    /// It must be awaited inside a tokio runtime with time and I/O.
    pub async fn deliver(
        &self,
        to: &Destination,
        alerts: &[Alert],
        secrets: &[WebhookSecret],
        now_us: i64,
    ) -> Outcome {
        let _ = (to, alerts, secrets, now_us);
        Outcome::Retry { why: "nothing is sent yet".to_owned() }
    }
}
