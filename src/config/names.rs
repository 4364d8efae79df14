//! The names that a configuration gives, for records to use: tiers, profiles, regions, sinks.

use serde::{Deserialize, Serialize};

use super::Config;
use super::bounds::Problems;
use crate::key::limits::{SLOT_TTL_SECONDS_MAX, check_burst};
use crate::key::rules::TomlKey;
use crate::key::{Allowance, KeyRecord, NamedLimit};

/// Most tiers, profiles, regions and sinks, of each.
pub const NAMES_MAX: usize = 1024;
/// Longest name of one, in bytes: what the record's fields take.
pub const NAME_BYTES_MAX: usize = 64;
/// Most fields that a profile demands.
pub const DEMANDS_MAX: usize = 64;
/// Longest target of a sink, in bytes.
pub const TARGET_BYTES_MAX: usize = 512;

/// The largest value of the source system's int32 and int64.
const INT32_MAX: u64 = i32::MAX as u64;
const INT64_MAX: u64 = i64::MAX as u64;

/// A compliance profile.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Profile {
    /// Names of record fields that must be set: true, not empty, present.
    pub requires: Vec<String>,
}

/// Where the events of a key that names it go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sink {
    /// What it is.
    pub kind: SinkKind,
    /// Where it is: `HOST:PORT` of a statsd, the path of a socket or a file, nothing for journald.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
}

/// What a sink is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SinkKind {
    /// A statsd, by UDP.
    Statsd,
    /// A Unix datagram socket.
    Socket,
    /// A file, to whose end lines are written.
    File,
    /// The journal of systemd.
    Journald,
}

/// Everything that is wrong with the names and what stands behind them.
pub(super) fn check(config: &Config, problems: &mut Problems) {
    check_names("tiers", config.tiers.keys(), problems);
    check_names("profiles", config.profiles.keys(), problems);
    check_names("sinks", config.sinks.keys(), problems);
    for (name, tier) in &config.tiers {
        check_tier(name, tier, problems);
    }
    for (name, profile) in &config.profiles {
        check_profile(name, profile, problems);
    }
    for (name, sink) in &config.sinks {
        if let Err(reason) = check_target(sink) {
            problems.add(&["sinks", name, "target"], &reason);
        }
    }
    check_regions(&config.regions, problems);
}

fn check_names<'a>(
    table: &str,
    names: impl ExactSizeIterator<Item = &'a String>,
    problems: &mut Problems,
) {
    if names.len() > NAMES_MAX {
        problems
            .add(&[table], &format!("there are {}; it must be at most {NAMES_MAX}", names.len()));
    }
    for name in names {
        if let Err(reason) = check_name(name) {
            problems.add(&[table, name], &reason);
        }
    }
}

/// Names stand in logs and in lists of people.
fn check_name(name: &str) -> Result<(), String> {
    let plain = !name.chars().any(char::is_control) && name.trim() == name;
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && plain {
        return Ok(());
    }
    Err(format!(
        "the name has {} bytes; it must be 1 to {NAME_BYTES_MAX}, without control characters, and \
         without blanks at its ends",
        name.len()
    ))
}

fn check_tier(name: &str, tier: &Allowance, problems: &mut Problems) {
    let int32 = |value: Option<u32>| value.map(u64::from);
    let limits = [
        ("requests_per_second", int32(tier.requests_per_second), 0, INT32_MAX),
        ("burst", tier.burst, 0, INT64_MAX),
        ("requests_per_day", int32(tier.requests_per_day), 0, INT32_MAX),
        ("concurrent_requests", int32(tier.concurrent_requests), 0, INT32_MAX),
        ("monthly_request_quota", tier.monthly_request_quota, 0, INT64_MAX),
        ("max_uses", tier.max_uses, 0, INT64_MAX),
        ("slot_ttl_seconds", int32(tier.slot_ttl_seconds), 1, SLOT_TTL_SECONDS_MAX.into()),
    ];
    for (field, value, min, max) in limits {
        if let Some(value) = value.filter(|value| !(min..=max).contains(value)) {
            let why = format!("is {value}; it must be {min} to {max}");
            problems.add(&["tiers", name, field], &why);
        }
    }
    if tier.burst.is_some() && tier.requests_per_second.is_none() {
        problems.add(&["tiers", name, "burst"], "needs requests_per_second beside it");
    } else if let Err(reason) = check_burst(tier.requests_per_second, tier.burst) {
        problems.add(&["tiers", name, "burst"], &format!("is refused: {reason}"));
    }
    if let Err(reason) = NamedLimit::check_all(&tier.limits) {
        problems.add(&["tiers", name, "limits"], &format!("is refused: {reason}"));
    }
}

fn check_profile(name: &str, profile: &Profile, problems: &mut Problems) {
    let path = ["profiles", name, "requires"];
    if profile.requires.len() > DEMANDS_MAX {
        let count = profile.requires.len();
        problems.add(&path, &format!("has {count} fields; it must be at most {DEMANDS_MAX}"));
    }
    for field in profile.requires.iter().filter(|field| !KeyRecord::may_be_demanded(field)) {
        let names = KeyRecord::FIELDS.iter().map(|spec| spec.name);
        let allowed: Vec<_> = names.filter(|name| KeyRecord::may_be_demanded(name)).collect();
        let allowed = allowed.join(", ");
        problems.add(
            &path,
            &format!("names {field:?}; it must be a field that a writer can set: {allowed}"),
        );
    }
}

fn check_regions(regions: &[String], problems: &mut Problems) {
    let path = ["regions"];
    if regions.len() > NAMES_MAX {
        let count = regions.len();
        problems.add(&path, &format!("has {count} names; it must be at most {NAMES_MAX}"));
    }
    for name in regions {
        if let Err(reason) = check_name(name) {
            problems.add(&path, &format!("names {}: {reason}", TomlKey(name)));
        } else if name.contains(',') {
            let name = TomlKey(name);
            problems.add(&path, &format!("names {name}; a comma divides the names of a record"));
        }
    }
}

fn check_target(sink: &Sink) -> Result<(), String> {
    let target = sink.target.as_str();
    let refused = |must: &str| Err(format!("is {target:?}; of this kind it must be {must}"));
    if target.len() > TARGET_BYTES_MAX || target.chars().any(char::is_control) {
        return Err(format!(
            "has {} bytes; it must be at most {TARGET_BYTES_MAX}, without control characters",
            target.len()
        ));
    }
    let is_address = || {
        let (host, port) = target.rsplit_once(':')?;
        (!host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)).then_some(())
    };
    match sink.kind {
        SinkKind::Statsd if is_address().is_none() => refused("HOST:PORT, such as 127.0.0.1:8125"),
        SinkKind::Socket | SinkKind::File if !target.starts_with('/') => {
            refused("a path that begins with /")
        }
        SinkKind::Journald if !target.is_empty() => refused("left out"),
        _ => Ok(()),
    }
}
