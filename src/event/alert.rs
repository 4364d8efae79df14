//! Alerts: somebody is to be told.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Subject;

/// One alert. It says the same to everybody that is told, whatever way it goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Names this alert, `msg_` and letters and digits: who gets it twice knows it by this.
    pub id: String,
    /// What it is.
    pub kind: AlertKind,
    /// When it was found, microseconds since 1970. An event that tells of it has an `at_us` of its
    /// own.
    #[serde(rename = "found_us")]
    pub at_us: i64,
    /// What it is about.
    pub subject: Subject,
    /// The name of the key or the tenant, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// One line for people, with the figures.
    pub summary: String,
    /// The figures, for programs.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub detail: Value,
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident = $wire:literal;)+) => {
        /// The one table of alerts.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum AlertKind { $($(#[doc = $doc])+ #[serde(rename = $wire)] $name,)+ }

        impl AlertKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Its name, as it stands in JSON: the `type` of a webhook.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $wire,)+ }
            }
        }
    };
}

kinds! {
    /// A share of the month's quota is used.
    QuotaThreshold = "key.quota_threshold";
    /// The share of errors among what was reported is high.
    ErrorSpike = "key.error_spike";
    /// It is no more.
    ErrorsRecovered = "key.errors_recovered";
    /// A key expires soon.
    KeyExpiring = "key.expiring";
    /// A key was to be rotated by now.
    RotationOverdue = "key.rotation_overdue";
    /// A key was revoked.
    KeyRevoked = "key.revoked";
    /// A key was suspended.
    KeySuspended = "key.suspended";
    /// Many tokens that are no key's were tried.
    BruteForce = "daemon.brute_force";
    /// The store takes no writes any more.
    StoreLatched = "daemon.store_latched";
    /// Audit records cannot be taken.
    AuditFailing = "daemon.audit_failing";
    /// Made by `keygate alert test`.
    Test = "test";
}

/// Where an alert goes. One of a key that has several goes to each by itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "to", rename_all = "snake_case")]
pub enum Destination {
    /// A web hook, by Standard Webhooks.
    Webhook {
        /// Its URL.
        url: String,
    },
    /// A mailbox, by SMTP.
    Email {
        /// Its address.
        address: String,
    },
    /// A sink of the configuration.
    Sink {
        /// Its name.
        name: String,
    },
}
