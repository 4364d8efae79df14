//! What values may be: one table of every number, with its unit and its range.

use keygate_protocol::limits::{ADMIN_FRAME_BYTES_MAX, DATA_FRAME_BYTES_MAX};

use super::document::Problem;
use super::{Config, alerts, http, names, rights, signing, tls};
use crate::key::rules::TomlKey;
use crate::key::token::Prefixes;

const DAY_MS: u64 = 24 * 3600 * 1000;

/// The range of one setting.
pub struct Bound {
    /// The setting, with its section.
    pub name: &'static str,
    /// What it counts.
    pub unit: &'static str,
    /// The least.
    pub min: u64,
    /// The most.
    pub max: u64,
    value: fn(&Config) -> u64,
}

macro_rules! bounds {
    ($($($part:ident).+: $unit:literal, $min:expr, $max:expr;)+) => {
        /// The range of every number of the configuration.
        pub const BOUNDS: &[Bound] = &[$(Bound {
            name: bounds!(@name $($part).+),
            unit: $unit,
            min: $min,
            max: $max,
            value: |config| wide(config.$($part).+),
        },)+];
    };
    (@name $part:ident) => { stringify!($part) };
    (@name $section:ident.$part:ident) => {
        concat!(stringify!($section), ".", stringify!($part))
    };
    (@name $section:ident.$inner:ident.$part:ident) => {
        concat!(stringify!($section), ".", stringify!($inner), ".", stringify!($part))
    };
}

bounds! {
    threads: "threads", 0, 1024;
    limits.connections_max: "connections", 1, 1 << 20;
    limits.admin_connections_max: "connections", 1, 4096;
    limits.frame_bytes_max: "bytes", 1024, DATA_FRAME_BYTES_MAX as u64;
    limits.admin_frame_bytes_max: "bytes", 65_536, ADMIN_FRAME_BYTES_MAX as u64;
    limits.reply_bytes_max: "bytes", 4096, 1 << 30;
    limits.idle_timeout_ms: "ms", 100, 30 * DAY_MS;
    limits.frame_timeout_ms: "ms", 100, 30 * DAY_MS;
    limits.handshake_timeout_ms: "ms", 100, 600_000;
    limits.handshakes_max: "connections", 1, 65_536;
    limits.write_timeout_ms: "ms", 100, 30 * DAY_MS;
    limits.stop_deadline_ms: "ms", 100, 30 * DAY_MS;
    limits.keys_max: "keys", 1, 4_000_000_000;
    limits.increment_id_window_ms: "ms", 100, 30 * DAY_MS;
    limits.increment_ids_max: "ids", 64, 1_000_000_000;
    limits.slots_max: "slots", 1, 100_000_000;
    usage.detail_bytes_max: "bytes", 0, 1 << 40;
    limits.deferred_max: "requests", 1, 65_536;
    limits.watch_events_max: "events", 1, 65_536;
    limits.watchers_max: "connections", 0, 4096;
    throttle.address_failures_per_minute: "lookups", 0, 60_000_000;
    throttle.address_burst: "lookups", 1, 1_000_000;
    throttle.peer_failures_per_minute: "lookups", 0, 60_000_000;
    throttle.peer_burst: "lookups", 1, 1_000_000;
    throttle.cells_max: "cells", 1024, 1 << 24;
    signing.max_age_seconds: "s", 1, 86_400;
    signing.clock_skew_seconds: "s", 0, 3600;
    signing.replays_max: "signatures", 64, 100_000_000;
    signing.replays_tenant_max: "signatures", 0, 100_000_000;
    signing.replays_key_max: "signatures", 0, 100_000_000;
    store.cache_bytes: "bytes", 1 << 20, 1 << 40;
    store.commit_queue_max: "writes", 1, 1 << 20;
    store.usage_flush_interval_ms: "ms", 10, DAY_MS;
    keys.expiry_warning_days: "days", 0, 3650;
    keys.rotation_grace_ms: "ms", 0, 3650 * DAY_MS;
    keys.rotation_grace_max_ms: "ms", 0, 3650 * DAY_MS;
    keys.deleted_retention_days: "days", 0, 3650;
    audit.file_bytes_max: "bytes", 128 << 10, 1 << 30;
    audit.file_age_max_hours: "hours", 1, 87_600;
    audit.files_max: "files", 2, 100_000;
    audit.queue_records_max: "records", 1, 16_777_216;
    audit.denials_per_second_max: "records", 0, 1_000_000;
    http.connections_max: "connections", 1, 4096;
    http.header_timeout_ms: "ms", 100, 30 * DAY_MS;
    http.exchange_timeout_ms: "ms", 100, 30 * DAY_MS;
    alerts.webhook_connect_timeout_ms: "ms", 10, 60_000;
    alerts.webhook_timeout_ms: "ms", 10, 120_000;
    alerts.sink_timeout_ms: "ms", 10, 60_000;
    alerts.smtp.port: "port", 1, 65_535;
    alerts.smtp.timeout_ms: "ms", 10, 300_000;
    alerts.error_spike_requests_min: "requests", 1, 1_000_000_000;
    alerts.brute_force_per_minute: "requests", 0, 1_000_000_000;
    alerts.outbox_max: "alerts", 1, 1_000_000;
    alerts.failed_kept_hours: "hours", 0, 87_600;
    alerts.digest_ms: "ms", 0, 600_000;
    alerts.attempts_at_once_max: "attempts", 1, 1024;
    alerts.walk_interval_s: "s", 60, 2_592_000;
}

/// A number of the configuration, whatever its type.
trait Wide {
    fn wide(self) -> u64;
}

impl Wide for u16 {
    fn wide(self) -> u64 {
        self.into()
    }
}

impl Wide for u32 {
    fn wide(self) -> u64 {
        self.into()
    }
}

impl Wide for u64 {
    fn wide(self) -> u64 {
        self
    }
}

impl Wide for usize {
    fn wide(self) -> u64 {
        self as u64
    }
}

fn wide(number: impl Wide) -> u64 {
    number.wide()
}

/// What is wrong, as it is found. Paths are kept, so that a file's lines can be told.
#[derive(Default)]
pub(super) struct Problems(Vec<(Vec<String>, Problem)>);

impl Problems {
    /// Notes what is wrong with the setting of this path; `reason` goes on where its name ends.
    pub(super) fn add(&mut self, path: &[&str], reason: &str) {
        let name = dotted(path);
        let path = path.iter().map(|part| (*part).to_owned()).collect();
        let reason = format!("{name} {reason}");
        self.0.push((path, Problem { line: None, reason }));
    }

    pub(super) fn into_inner(self) -> Vec<(Vec<String>, Problem)> {
        self.0
    }
}

/// The name of a setting as TOML writes it with dots.
pub(super) fn dotted<S: AsRef<str>>(path: &[S]) -> String {
    let parts: Vec<_> = path.iter().map(|part| TomlKey(part.as_ref()).to_string()).collect();
    parts.join(".")
}

/// Everything that is out of its bounds.
pub(super) fn found(config: &Config) -> Problems {
    let mut problems = Problems::default();
    for Bound { name, min, max, value, .. } in BOUNDS {
        let value = value(config);
        if !(*min..=*max).contains(&value) {
            let path: Vec<&str> = name.split('.').collect();
            problems.add(&path, &format!("is {value}; it must be {min} to {max}"));
        }
    }
    let keys = &config.keys;
    if keys.rotation_grace_ms > keys.rotation_grace_max_ms {
        let (grace, max) = (keys.rotation_grace_ms, keys.rotation_grace_max_ms);
        let why = format!("is {grace}; it must be at most keys.rotation_grace_max_ms, {max}");
        problems.add(&["keys", "rotation_grace_ms"], &why);
    }
    if let Err(error) = Prefixes::new(&config.token_brand) {
        problems.add(&["token_brand"], &format!("is refused: {error}"));
    }
    rights::check(config, &mut problems);
    tls::check(config, &mut problems);
    signing::check(&config.signing, &mut problems);
    names::check(config, &mut problems);
    http::check(&config.http, &mut problems);
    alerts::check(config, &mut problems);
    problems
}

/// The same without paths.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    found(config).into_inner().into_iter().map(|(_, problem)| problem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_its_bound() {
        let config = serde_json::to_value(Config::default()).expect("JSON");
        let mut numbers = Vec::new();
        names_of_numbers("", &config, &mut numbers);
        numbers.sort_unstable();
        let mut bounded: Vec<_> = BOUNDS.iter().map(|bound| bound.name.to_owned()).collect();
        bounded.sort_unstable();
        assert_eq!(bounded, numbers);
    }

    fn names_of_numbers(section: &str, of: &serde_json::Value, names: &mut Vec<String>) {
        for (name, value) in of.as_object().expect("settings") {
            let name = format!("{section}{name}");
            match value {
                // A mode is one of three, not a range.
                serde_json::Value::Number(_) if name == "admin_socket_mode" => {}
                serde_json::Value::Number(_) => names.push(name),
                serde_json::Value::Object(_) => {
                    names_of_numbers(&format!("{name}."), value, names);
                }
                _ => {}
            }
        }
    }
}
