//! What the configuration says of alerts, but for how they are sent.

use crate::alert::outbox::OutboxBounds;
use crate::config;
use crate::event::Destination;

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Fewer reported requests in five minutes say nothing about errors.
    pub error_spike_requests_min: u64,
    /// So many unknown tokens a minute are told; 0 for none.
    pub brute_force_per_minute: u64,
    /// Alerts that wait.
    pub outbox_max: usize,
    /// How long an alert that was given up is kept, in microseconds.
    pub failed_kept_us: i64,
    /// How long mails to one address are gathered into one, in microseconds.
    pub digest_us: i64,
    /// Attempts at a time.
    pub attempts_at_once_max: usize,
    /// All records are looked through again after so long, in nanoseconds.
    pub walk_interval_ns: u64,
    /// Where daemon-wide alerts go.
    pub operator: Vec<Destination>,
}

impl Settings {
    /// Those of a configuration.
    #[must_use]
    pub fn new(alerts: &config::Alerts) -> Self {
        let hook = Some(&alerts.operator_webhook).filter(|url| !url.is_empty());
        let hook = hook.map(|url| Destination::Webhook { url: url.clone() });
        let mails = alerts.operator_emails.iter();
        let mails = mails.map(|address| Destination::Email { address: address.clone() });
        let sinks = alerts.operator_sinks.iter();
        let sinks = sinks.map(|name| Destination::Sink { name: name.clone() });
        let us = |units: u64, each: i64| i64::try_from(units).unwrap_or(i64::MAX) * each;
        Self {
            error_spike_requests_min: alerts.error_spike_requests_min,
            brute_force_per_minute: alerts.brute_force_per_minute,
            outbox_max: alerts.outbox_max,
            failed_kept_us: us(alerts.failed_kept_hours, 3_600_000_000),
            digest_us: us(alerts.digest_ms, 1000),
            attempts_at_once_max: alerts.attempts_at_once_max,
            walk_interval_ns: alerts.walk_interval_s.saturating_mul(1_000_000_000),
            operator: hook.into_iter().chain(mails).chain(sinks).collect(),
        }
    }

    pub(super) const fn bounds(&self) -> OutboxBounds {
        OutboxBounds {
            alerts_max: self.outbox_max,
            failed_kept_us: self.failed_kept_us,
            attempts_at_once_max: self.attempts_at_once_max,
        }
    }
}
