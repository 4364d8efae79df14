//! What the doctor thinks of what it was told. Reads nothing by itself.

use std::path::{Path, PathBuf};

use keygate_protocol::admin::{Health, VerifyReport};
use serde::Serialize;

use crate::cli::progress::bytes;
use crate::key::Time;

/// Disk use that is worth a compaction: this many times the live data …
const DISK_TIMES_LIVE_MAX: u64 = 4;
/// … and this much beside it, which every store takes at the beginning.
const DISK_SPARE_BYTES: u64 = 64 * 1024 * 1024;
/// Free space below which a write may soon fail.
const FREE_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// How far two clocks of one machine may seem apart.
const CLOCK_SLACK_US: i64 = 5_000_000;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// All is well.
    Fine,
    /// Something could be better, or could not be looked at.
    Advice,
    /// Something is wrong.
    Wrong,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// A stable name of what was looked at.
    pub(super) check: &'static str,
    pub(super) state: State,
    /// What was found.
    pub(super) found: String,
    /// The command, or the step, that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mend: Option<String>,
}

impl Finding {
    pub(super) fn fine(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, state: State::Fine, found: found.into(), mend: None }
    }

    pub(super) fn advice(
        check: &'static str,
        found: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self { check, state: State::Advice, found: found.into(), mend: Some(mend.into()) }
    }

    pub(super) fn wrong(
        check: &'static str,
        found: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self { check, state: State::Wrong, found: found.into(), mend: Some(mend.into()) }
    }
}

/// A file or a directory, and the bits of its mode that it must not have.
#[derive(Debug, Clone)]
pub(super) struct Guarded {
    pub(super) path: PathBuf,
    pub(super) mode: u32,
    /// Bits for others than those it is for.
    pub(super) forbidden: u32,
    /// It may have them where the configuration says who may do what.
    pub(super) by_rights: bool,
}

/// Space of a file system.
#[derive(Debug, Clone, Copy)]
pub(super) struct Space {
    pub(super) free: u64,
    pub(super) total: u64,
}

/// What the daemon says of itself.
pub(super) fn health(health: &Health) -> Vec<Finding> {
    if health.healthy {
        return vec![Finding::fine("health", "the daemon is healthy and takes writes")];
    }
    let latch = |reason: &String| {
        let mend = "mend the cause, then restart keygate (systemctl restart keygate)";
        Finding::wrong("latch", reason.clone(), mend)
    };
    let other = |reason: &String| {
        let mend = if reason.starts_with("the rotation of the") {
            "mend what it names, then `keygate pepper rotate` or `keygate master rotate` goes on"
        } else if reason.contains("is still there, and the one in use") {
            "mend what keeps the file from its place, then restart keygate"
        } else {
            "`keygate verify` names what cannot be read"
        };
        Finding::wrong("health", reason.clone(), mend)
    };
    let about_writes = |reason: &&String| !health.writable && reason.contains("refuses writes");
    let (writes, others): (Vec<_>, Vec<_>) = health.reasons.iter().partition(about_writes);
    writes.into_iter().map(latch).chain(others.into_iter().map(other)).collect()
}

/// The daemon's release beside this one's.
pub(super) fn versions(daemon: Option<&str>, own: &str) -> Finding {
    match daemon {
        Some(name) if name == format!("keygate/{own}") => {
            Finding::fine("versions", format!("the daemon and this command are keygate {own}"))
        }
        name => Finding::advice(
            "versions",
            format!(
                "the daemon is {}, this command keygate {own}",
                name.unwrap_or("of a release that it does not tell")
            ),
            "restart keygate if a newer one was installed (systemctl restart keygate)",
        ),
    }
}

/// What a verification found.
pub(super) fn data(report: &VerifyReport, dir: Option<&Path>) -> Vec<Finding> {
    let all: u64 = report.problem_counts.values().sum();
    let verify = match dir {
        Some(dir) => format!("`keygate verify {}`", dir.display()),
        None => "`keygate verify`".to_owned(),
    };
    let judged = if report.clean {
        Finding::fine("data", format!("{} rows were read, and nothing is wrong", report.rows))
    } else {
        let kinds = report.problem_counts.iter();
        let kinds: Vec<_> = kinds.map(|(kind, count)| format!("{count} {kind}")).collect();
        let mend = format!("{verify} names them; then `keygate restore` a backup");
        Finding::wrong("data", format!("{all} problems: {}", kinds.join(", ")), mend)
    };
    let schema = match (report.schema, &report.written_by) {
        (Some(schema), Some(by)) => {
            Finding::fine("schema", format!("schema {schema}, stated by keygate {by}"))
        }
        _ => Finding::advice("schema", "the data states no schema", "start keygate on it once"),
    };
    vec![judged, schema]
}

/// Disk use beside the live data.
pub(super) fn disk(on_disk: u64, live: u64, dir: Option<&Path>) -> Finding {
    let found = format!("{} on disk for {} of live data", bytes(on_disk), bytes(live));
    let bound = live.saturating_mul(DISK_TIMES_LIVE_MAX).saturating_add(DISK_SPARE_BYTES);
    if on_disk <= bound {
        return Finding::fine("disk", found);
    }
    let dir = dir.map_or_else(|| "DIR".to_owned(), |dir| dir.display().to_string());
    let mend = format!("stop keygate, then `keygate compact --data-dir {dir}`");
    Finding::advice("disk", found, mend)
}

/// Free space of the data's file system.
pub(super) fn free(space: Space, on_disk: u64) -> Finding {
    let found = format!("{} of {} are free", bytes(space.free), bytes(space.total));
    if space.free < FREE_BYTES_MIN {
        let mend = "make room: when a write fails, no more are taken until a restart";
        Finding::wrong("free_space", found, mend)
    } else if space.free < on_disk {
        let mend = "make room: a compaction, and a backup beside the data, need as much again";
        Finding::advice("free_space", found, mend)
    } else {
        Finding::fine("free_space", found)
    }
}

/// The wall clock beside what was written last.
pub(super) fn clock(now_us: i64, newest_at: Option<&str>) -> Finding {
    let now = Time::from_micros(now_us);
    let newest = newest_at.and_then(|at| Time::parse(at).ok());
    match newest.filter(|newest| newest.micros_up() > now_us.saturating_add(CLOCK_SLACK_US)) {
        Some(newest) => Finding::wrong(
            "clock",
            format!("it is {now} by this machine's clock, and something was written at {newest}"),
            "set the clock (`timedatectl set-ntp true`): expiry is judged by it",
        ),
        None => Finding::fine("clock", format!("it is {now}, and nothing was written later")),
    }
}

/// Modes of what must be private.
pub(super) fn permissions(guarded: &[Guarded]) -> Vec<Finding> {
    let open = |guarded: &&Guarded| guarded.mode & guarded.forbidden != 0;
    let mut found: Vec<_> = guarded
        .iter()
        .filter(open)
        .map(|Guarded { path, mode, forbidden, by_rights }| {
            let (path, now) = (path.display(), mode & 0o777);
            let found = format!("{path} has mode {now:03o}: others may open it");
            let mend = format!("chmod {:03o} {path}", now & !forbidden);
            if *by_rights {
                let unless = ", which is right only where [[rights]] say who may do what";
                return Finding::advice("permissions", found + unless, mend);
            }
            Finding::wrong("permissions", found, mend)
        })
        .collect();
    if found.is_empty() {
        let fine =
            format!("{} files and directories are as private as they must be", guarded.len());
        found.push(Finding::fine("permissions", fine));
    }
    found
}

/// A file that this user may not see: whether it is there, and right, is not known.
pub(super) fn hidden(check: &'static str, path: &Path) -> Finding {
    Finding::advice(
        check,
        format!("{} cannot be looked at: permission denied", path.display()),
        "run `keygate doctor` as the daemon's user, or as root",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhealthy(writable: bool, reason: &str) -> Health {
        Health { healthy: false, writable, reasons: vec![reason.to_owned()] }
    }

    #[test]
    fn each_thing_is_fine_or_has_what_mends_it() {
        let report = VerifyReport { clean: true, schema: Some(2), ..VerifyReport::default() };
        let with_by = VerifyReport { written_by: Some("0.1.0".to_owned()), ..report.clone() };
        let mut dirty = with_by.clone();
        dirty.clean = false;
        dirty.problem_counts.insert("index_stray".to_owned(), 3);
        let dir = Path::new("/data");
        let well = Health { healthy: true, writable: true, reasons: vec![] };
        let space = |free| Space { free, total: 1 << 40 };
        let guard = |mode| Guarded {
            path: "/data/pepper".into(),
            mode,
            forbidden: 0o077,
            by_rights: false,
        };
        let later = "2026-11-25T00:00:06Z";
        let now = Time::parse("2026-11-25T00:00:00Z").expect("a time").micros_up();
        #[rustfmt::skip]
        let cases: Vec<(Vec<Finding>, State, &str, &str)> = vec![
            (health(&well), State::Fine, "health", ""),
            (health(&unhealthy(false, "the store refuses writes: full")), State::Wrong, "latch", "restart"),
            (health(&unhealthy(true, "2 records could not be read")), State::Wrong, "health", "keygate verify"),
            (health(&unhealthy(true, "the rotation of the pepper stands still: full")), State::Wrong, "health", "pepper rotate"),
            (vec![versions(Some("keygate/1.2.3"), "1.2.3")], State::Fine, "versions", ""),
            (vec![versions(Some("keygate/1.2.3"), "1.2.4")], State::Advice, "versions", "restart"),
            (vec![versions(None, "1.2.4")], State::Advice, "versions", "restart"),
            (data(&with_by, None), State::Fine, "data", ""),
            (data(&dirty, Some(dir)), State::Wrong, "data", "keygate verify /data"),
            (data(&report, None), State::Advice, "schema", "start keygate"),
            (vec![disk(DISK_SPARE_BYTES, 0, None)], State::Fine, "disk", ""),
            (vec![disk(1 << 30, 1 << 20, Some(dir))], State::Advice, "disk", "keygate compact --data-dir /data"),
            (vec![free(space(1 << 39), 1 << 30)], State::Fine, "free_space", ""),
            (vec![free(space(1 << 29), 1 << 30)], State::Advice, "free_space", "room"),
            (vec![free(space(1 << 20), 0)], State::Wrong, "free_space", "room"),
            (vec![clock(now, None)], State::Fine, "clock", ""),
            (vec![clock(now, Some("2026-11-25T00:00:04Z"))], State::Fine, "clock", ""),
            (vec![clock(now, Some(later))], State::Wrong, "clock", "timedatectl"),
            (permissions(&[guard(0o100_600)]), State::Fine, "permissions", ""),
            (permissions(&[guard(0o100_640)]), State::Wrong, "permissions", "chmod 600 /data/pepper"),
            (vec![hidden("pepper", dir)], State::Advice, "pepper", "root"),
        ];
        for (findings, state, check, mend) in cases {
            let found = findings.iter().find(|finding| finding.check == check).expect(check);
            assert_eq!(found.state, state, "{found:?}");
            assert_eq!(found.mend.is_some(), state != State::Fine, "{found:?}");
            assert!(found.mend.as_deref().unwrap_or_default().contains(mend), "{found:?}");
        }
    }
}
