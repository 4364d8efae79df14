//! What a finding is to people and to programs.

use serde_json::{Value, json};

use super::judge::Finding;
use super::quota::Month;
use super::rules::Stopped;
use super::window::Sample;
use super::{PPM, Ppm};
use crate::event::AlertKind;
use crate::key::Time;

impl Finding {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> AlertKind {
        match self {
            Self::Quota { .. } => AlertKind::QuotaThreshold,
            Self::Errors { .. } => AlertKind::ErrorSpike,
            Self::Recovered { .. } => AlertKind::ErrorsRecovered,
            Self::Expires { .. } => AlertKind::KeyExpiring,
            Self::Overdue { .. } => AlertKind::RotationOverdue,
            Self::Stopped { what: Stopped::Revoked, .. } => AlertKind::KeyRevoked,
            Self::Stopped { what: Stopped::Suspended, .. } => AlertKind::KeySuspended,
        }
    }

    /// One line, about the key that it names.
    #[must_use]
    pub fn summary(&self, key: &str) -> String {
        match self {
            Self::Quota { month: Month { cap, spent, .. }, threshold } => format!(
                "{key} has used {spent} of {cap} units of this month's quota ({}); the threshold is \
                 {}",
                percent(*spent, *cap),
                percent_of(*threshold)
            ),
            Self::Errors { sample: Sample { requests, errors }, threshold } => format!(
                "{key}: {errors} of {requests} requests of the last five minutes were errors ({}); \
                 the threshold is {}",
                percent(*errors, *requests),
                percent_of(*threshold)
            ),
            Self::Recovered { sample: Sample { requests, errors }, since_us } => format!(
                "{key}: errors are low again, {errors} of {requests} requests of the last five \
                 minutes; they were high since {}",
                at(*since_us)
            ),
            Self::Expires { expires_us, days } => {
                let within = if *days == 1 { "a day".to_owned() } else { format!("{days} days") };
                format!("{key} expires within {within}, at {}", at(*expires_us))
            }
            Self::Overdue { due_us } => {
                format!("{key} was to be rotated by {}; `keygate key rotate` does", at(*due_us))
            }
            Self::Stopped { what, at_us } => {
                let what = match what {
                    Stopped::Revoked => "revoked",
                    Stopped::Suspended => "suspended",
                };
                format!("{key} was {what} at {}", at(*at_us))
            }
        }
    }

    /// The figures, by stable names.
    #[must_use]
    pub fn detail(&self) -> Value {
        let share = |ppm: Ppm| f64::from(ppm) / PPM as f64;
        match self {
            Self::Quota { month: Month { cap, spent, .. }, threshold } => {
                json!({"spent": spent, "quota": cap, "threshold": share(*threshold)})
            }
            Self::Errors { sample: Sample { requests, errors }, threshold } => {
                json!({"requests": requests, "errors": errors, "threshold": share(*threshold)})
            }
            Self::Recovered { sample: Sample { requests, errors }, since_us } => {
                json!({"requests": requests, "errors": errors, "since": at(*since_us)})
            }
            Self::Expires { expires_us, days } => {
                json!({"expires_at": at(*expires_us), "days": days})
            }
            Self::Overdue { due_us } => json!({"due_at": at(*due_us)}),
            Self::Stopped { at_us, .. } => json!({"at": at(*at_us)}),
        }
    }
}

/// A key as a summary names it.
#[must_use]
pub fn key_name(id: u64, name: &str) -> String {
    if name.is_empty() { format!("key {id}") } else { format!("key {id} ({name})") }
}

fn at(us: i64) -> String {
    Time::from_micros(us).to_string()
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.1} %", part as f64 * 100.0 / whole.max(1) as f64)
}

fn percent_of(share: Ppm) -> String {
    percent(u64::from(share), PPM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_said_with_its_figures() {
        let sample = Sample { requests: 200, errors: 50 };
        #[rustfmt::skip]
        let cases = [
            (Finding::Quota { month: Month { number: 1, cap: 1000, spent: 812 }, threshold: 800_000 },
             "key 7 (billing) has used 812 of 1000 units of this month's quota (81.2 %); the threshold is 80.0 %",
             json!({"spent": 812, "quota": 1000, "threshold": 0.8})),
            (Finding::Errors { sample, threshold: 100_000 },
             "key 7 (billing): 50 of 200 requests of the last five minutes were errors (25.0 %); the threshold is 10.0 %",
             json!({"requests": 200, "errors": 50, "threshold": 0.1})),
            (Finding::Recovered { sample, since_us: 0 },
             "key 7 (billing): errors are low again, 50 of 200 requests of the last five minutes; they were high since 1970-01-01T00:00:00Z",
             json!({"requests": 200, "errors": 50, "since": "1970-01-01T00:00:00Z"})),
            (Finding::Expires { expires_us: 0, days: 1 }, "key 7 (billing) expires within a day, at 1970-01-01T00:00:00Z",
             json!({"expires_at": "1970-01-01T00:00:00Z", "days": 1})),
            (Finding::Overdue { due_us: 0 }, "key 7 (billing) was to be rotated by 1970-01-01T00:00:00Z; `keygate key rotate` does",
             json!({"due_at": "1970-01-01T00:00:00Z"})),
            (Finding::Stopped { what: Stopped::Revoked, at_us: 0 }, "key 7 (billing) was revoked at 1970-01-01T00:00:00Z",
             json!({"at": "1970-01-01T00:00:00Z"})),
        ];
        for (finding, summary, detail) in cases {
            assert_eq!(finding.summary(&key_name(7, "billing")), summary);
            assert_eq!(finding.detail(), detail);
        }
        assert_eq!(key_name(7, ""), "key 7");
    }
}
