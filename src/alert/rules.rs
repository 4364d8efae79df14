//! What a record demands of alerts, as little as is needed to judge it.

use super::{Ppm, ppm};
use crate::event::Destination;
use crate::key::{KeyRecord, KeyView, Status, Time};

/// The share of the month's quota at which a key's holders are told whose record says no other.
pub const QUOTA_SHARE_DEFAULT: f64 = 0.8;

/// The share of errors, likewise.
pub const ERROR_SHARE_DEFAULT: f64 = 0.1;

/// What was done to a key that ends its use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// For good.
    Revoked,
    /// Until it is resumed.
    Suspended,
}

/// The conditions of one key. A key that nobody is told about has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Told at this share of the month's quota, in parts of a million.
    pub quota: Option<Ppm>,
    /// Told at this share of errors.
    pub errors: Option<Ppm>,
    /// Microseconds since 1970, this and those below.
    pub expires_us: Option<i64>,
    /// When its rotation is overdue.
    pub rotation_due_us: Option<i64>,
    /// When it was made; the beginning of time where that is not known.
    pub made_us: i64,
    /// That it was revoked or suspended, and when.
    pub stopped: Option<(Stopped, i64)>,
}

impl Rules {
    /// Those of a record; `None` for one that names no destination, and for a deleted key.
    #[must_use]
    pub fn of(record: &KeyView<'_>) -> Option<Self> {
        let told = !record.webhook_url.is_empty()
            || !record.alert_emails.is_empty()
            || !record.monitoring_integrations.is_empty();
        if !told || record.deleted_at.is_some() {
            return None;
        }
        let share = |wanted: bool, share: Option<f64>, default| {
            wanted.then(|| ppm(share.unwrap_or(default)))
        };
        // A key that has ended is not said to end, or to be in need of a new token.
        let lives = !matches!(record.status, Status::Revoked | Status::Expired);
        Some(Self {
            quota: share(
                record.alert_on_quota_threshold,
                record.quota_alert_threshold,
                QUOTA_SHARE_DEFAULT,
            ),
            errors: share(
                record.alert_on_error_spike,
                record.error_alert_threshold,
                ERROR_SHARE_DEFAULT,
            ),
            expires_us: record.expires_at.filter(|_| lives).map(Time::micros_up),
            rotation_due_us: record.rotation_due_us().filter(|_| lives),
            made_us: record.created_at.map_or(i64::MIN, Time::micros_up),
            stopped: stopped(record),
        })
    }
}

/// That a key was revoked or suspended, and when, microseconds since 1970.
#[must_use]
pub fn stopped(record: &KeyView<'_>) -> Option<(Stopped, i64)> {
    let stopped = match record.status {
        Status::Revoked => Some(Stopped::Revoked),
        Status::Suspended => Some(Stopped::Suspended),
        _ => None,
    };
    stopped.zip(record.status_changed_at.map(Time::micros_up))
}

/// Where the alerts of a key go, each once, in the order of the record.
#[must_use]
pub fn destinations(record: &KeyRecord) -> Vec<Destination> {
    let hook = Some(&record.webhook_url).filter(|url| !url.is_empty());
    let hook = hook.map(|url| Destination::Webhook { url: url.clone() });
    let mails = record.alert_emails.iter();
    let mails = mails.map(|address| Destination::Email { address: address.clone() });
    let sinks = record.monitoring_integrations.iter();
    let sinks = sinks.map(|name| Destination::Sink { name: name.clone() });
    let mut all = Vec::new();
    for one in hook.into_iter().chain(mails).chain(sinks) {
        if !all.contains(&one) {
            all.push(one);
        }
    }
    all
}

/// The name of a key as alerts tell it: that of a `restricted` one is left out.
#[must_use]
pub fn told_name(record: &KeyRecord) -> &str {
    if record.data_classification == "restricted" { "" } else { &record.name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> KeyRecord {
        KeyRecord { webhook_url: "https://a.example".to_owned(), ..KeyRecord::default() }
    }

    #[test]
    fn who_names_nobody_has_no_rules_and_neither_has_a_deleted_key() {
        assert_eq!(Rules::of(&KeyRecord::default().view()), None);
        let flags = KeyRecord { alert_on_error_spike: true, ..KeyRecord::default() };
        assert_eq!(Rules::of(&flags.view()), None);
        let deleted = KeyRecord { deleted_at: Some(Time::from_micros(1)), ..record() };
        assert_eq!(Rules::of(&deleted.view()), None);
        let rules = Rules::of(&record().view()).expect("one destination is enough");
        assert_eq!((rules.quota, rules.errors, rules.expires_us), (None, None, None));
    }

    #[test]
    fn shares_are_those_of_the_record_or_the_defaults() {
        let rules = |quota_alert_threshold, error_alert_threshold| {
            let record = KeyRecord {
                alert_on_quota_threshold: true,
                alert_on_error_spike: true,
                quota_alert_threshold,
                error_alert_threshold,
                ..record()
            };
            Rules::of(&record.view()).map(|rules| (rules.quota, rules.errors))
        };
        assert_eq!(rules(None, None), Some((Some(800_000), Some(100_000))));
        assert_eq!(rules(Some(1.0), Some(0.025)), Some((Some(1_000_000), Some(25_000))));
    }

    #[test]
    fn a_key_that_has_ended_is_not_said_to_end() {
        let at = Some(Time::from_micros(5));
        for (status, lives, stopped) in [
            (Status::Active, true, None),
            (Status::Suspended, true, Some((Stopped::Suspended, 5))),
            (Status::Revoked, false, Some((Stopped::Revoked, 5))),
            (Status::Expired, false, None),
        ] {
            let record = KeyRecord {
                status,
                status_changed_at: at,
                expires_at: at,
                created_at: at,
                rotation_frequency_days: Some(1),
                ..record()
            };
            let rules = Rules::of(&record.view()).expect("it is told about");
            assert_eq!(rules.expires_us.is_some(), lives, "{status:?}");
            assert_eq!(rules.rotation_due_us.is_some(), lives, "{status:?}");
            assert_eq!(rules.stopped, stopped);
        }
    }

    #[test]
    fn the_name_of_a_restricted_key_is_left_out() {
        for (class, told) in [("", "n"), ("confidential", "n"), ("restricted", "")] {
            let data_classification = class.to_owned();
            let record = KeyRecord { name: "n".to_owned(), data_classification, ..record() };
            assert_eq!(told_name(&record), told, "{class}");
        }
    }

    #[test]
    fn each_destination_is_told_once() {
        let two = || vec!["a@b.example".to_owned(), "a@b.example".to_owned()];
        let record = KeyRecord { alert_emails: two(), monitoring_integrations: two(), ..record() };
        assert_eq!(destinations(&record).len(), 3);
    }
}
