//! The figures of the daemon's parts as families of metrics. README's table of metrics has each of
//! them (`tests/metrics.rs` compares).

use std::sync::atomic::Ordering::Relaxed;

use keygate_protocol::hello::VERSION;
use keygate_protocol::{IncrementOutcome, VerdictCode};

use super::doors::{Door, Doors};
use super::flush::Timing;
use super::observe::{Observers, Plane, Served};
use super::refusals::Refusals;
use super::tls::Handshakes;
use crate::audit::AuditStats;
use crate::clock::Now;
use crate::config::{Http, Limits};
use crate::engine::Engine;
use crate::ledger::LedgerStats;
use crate::metrics::{Family, Kind, Value};
use crate::notify;
use crate::store::CommitterStats;

/// What this build is, and on which engine it stands.
pub(super) fn build(engine: &'static str) -> Family {
    const PROTOCOL: &str = ["0", "1"][VERSION as usize];
    let labels =
        [("version", env!("CARGO_PKG_VERSION")), ("engine", engine), ("protocol", PROTOCOL)];
    let help = "The release, the engine of its store, and the version of its protocol";
    Family::new(Kind::Info, "keygate_build", help).with(&labels, Value::Whole(1))
}

/// Verdicts, requests and errors of both planes.
pub(super) fn served(observers: &Observers, parked: usize) -> Vec<Family> {
    let given = observers.by_code();
    let mut decisions = counter("keygate_decisions", "Final verdicts, by their code");
    for code in VerdictCode::ALL {
        let count = given.iter().find(|(it, _)| it == code).map_or(0, |(_, count)| *count);
        decisions = decisions.with(&[("code", code.name())], Value::Whole(count));
    }
    let (data, admin) = (observers.served(Plane::Data), observers.served(Plane::Admin));
    let mut reports = counter("keygate_reports", "Reports (Increment), by what became of them");
    for ((outcome, on_data), (_, on_admin)) in data.reports.iter().zip(&admin.reports) {
        let labels = [("outcome", outcome_name(*outcome))];
        reports = reports.with(&labels, Value::Whole(on_data + on_admin));
    }
    let mut errors = counter("keygate_request_errors", "Error replies, by socket and code");
    for (plane, served) in [("data", &data), ("admin", &admin)] {
        for (code, count) in &served.errors {
            let labels = [("plane", plane), ("error", code.name())];
            errors = errors.with(&labels, Value::Whole(*count));
        }
    }
    let mut families = vec![decisions, reports, errors];
    families.extend(traffic(data, parked));
    families
}

/// What the data plane's requests cost, in time and bytes.
fn traffic(data: Served, parked: usize) -> [Family; 5] {
    [
        Family::durations(
            "keygate_request_duration_seconds",
            "From the read of a request of the data plane to the write of its reply; all requests \
             of one read take the same, and those that waited for the ledger have their wait in it",
            data.latency,
        ),
        Family::counter(
            "keygate_requests_deferred",
            "Requests of the data plane that had to wait for the ledger",
            data.deferred,
        ),
        Family::gauge(
            "keygate_requests_waiting",
            "Requests that wait for the ledger now",
            parked as u64,
        ),
        Family::counter(
            "keygate_received_bytes",
            "Bytes read from connections of the data plane",
            data.read_bytes,
        ),
        Family::counter(
            "keygate_sent_bytes",
            "Bytes written to connections of the data plane",
            data.written_bytes,
        ),
    ]
}

const fn outcome_name(outcome: IncrementOutcome) -> &'static str {
    match outcome {
        IncrementOutcome::Counted => "counted",
        IncrementOutcome::Duplicate => "duplicate",
        IncrementOutcome::NotFound => "not_found",
        IncrementOutcome::SlotGone => "slot_gone",
    }
}

/// Connections of all planes; of the data plane so many are open.
pub(super) fn connections(
    doors: &Doors,
    data_open: usize,
    limits: &Limits,
    http: &Http,
) -> Vec<Family> {
    #[rustfmt::skip]
    let planes: [(&'static str, &Door, usize, usize); 3] = [
        ("data", &doors.data, data_open, limits.connections_max),
        ("admin", &doors.admin, doors.admin.inside(), limits.admin_connections_max),
        ("http", &doors.http, doors.http.inside(), http.connections_max),
    ];
    let family = |kind, name, help, of: &dyn Fn(&Door, usize, usize) -> u64| {
        planes.iter().fold(Family::new(kind, name, help), |family, (plane, door, open, max)| {
            family.with(&[("plane", plane)], Value::Whole(of(door, *open, *max)))
        })
    };
    vec![
        family(
            Kind::Gauge,
            "keygate_connections",
            "Open connections",
            &|_: &Door, open: usize, _: usize| open as u64,
        ),
        family(
            Kind::Gauge,
            "keygate_connections_limit",
            "Connections that may be open",
            &|_: &Door, _: usize, max: usize| max as u64,
        ),
        family(
            Kind::Counter,
            "keygate_connections_accepted",
            "Connections that were taken",
            &|door: &Door, _: usize, _: usize| door.accepted(),
        ),
        family(
            Kind::Counter,
            "keygate_connections_refused",
            "Connections that were refused because too many were open",
            &|door: &Door, _: usize, _: usize| door.refused(),
        ),
    ]
}

/// What was refused for want of a right.
pub(super) fn refusals(refusals: &Refusals) -> Family {
    let help = "Requests that were refused for want of a role, by the role; any: connections of \
                peers that have no role at all";
    let refused = counter("keygate_rights_refused", help);
    refusals
        .counts()
        .fold(refused, |family, (role, count)| family.with(&[("lacks", role)], Value::Whole(count)))
}

/// What became of TLS handshakes.
pub(super) fn handshakes(handshakes: &Handshakes) -> Family {
    let Handshakes { done, failed, timed_out, refused } = handshakes;
    let help = "TLS handshakes of both planes, by what became of them; refused: as many were under \
                way as may be";
    let outcomes =
        [("done", done), ("failed", failed), ("timed_out", timed_out), ("refused", refused)];
    outcomes.into_iter().fold(
        counter("keygate_tls_handshakes", help),
        |family, (outcome, count)| {
            family.with(&[("outcome", outcome)], Value::Whole(count.load(Relaxed)))
        },
    )
}

/// What the catalog holds.
pub(super) fn catalog(engine: &Engine, limits: &Limits, unreadable: u64) -> Vec<Family> {
    #[rustfmt::skip]
    let families = vec![
        Family::gauge("keygate_keys", "Keys that can be judged", engine.key_count() as u64),
        Family::gauge("keygate_keys_deleted", "Keys that are deleted and not purged yet", engine.deleted_count() as u64),
        Family::gauge("keygate_keys_limit", "Keys that there may be, deleted ones too", limits.keys_max as u64),
        Family::gauge("keygate_tenants", "Tenants that have a record or a key", engine.tenant_count() as u64),
        Family::gauge("keygate_slots_held", "Slots that are held, of all keys", engine.slots_held() as u64),
        Family::gauge("keygate_slots_limit", "Slots that may be held, of all keys", limits.slots_max as u64),
        Family::gauge("keygate_records_unreadable", "Records that could not be read at the start", unreadable),
    ];
    families
}

/// Signatures of requests: what came of them, and what is remembered.
pub(super) fn signatures(engine: &Engine) -> Vec<Family> {
    let help = "Signatures of requests that were looked at, by what came of it; a right one may have \
                been used before";
    let checked = counter("keygate_signatures_checked", help);
    let checked = engine.signatures_checked().fold(checked, |family, (outcome, count)| {
        family.with(&[("outcome", outcome)], Value::Whole(count))
    });
    let replays = engine.replays();
    #[rustfmt::skip]
    let families = vec![
        checked,
        Family::gauge("keygate_signatures_remembered", "Signatures that are remembered, so that none is used twice", replays.len() as u64),
        Family::gauge("keygate_signatures_limit", "Signatures that may be remembered", replays.max() as u64),
        Family::gauge("keygate_signatures_lead_seconds", "How long after a crash no signed request would pass", replays.lead().seconds().into()),
    ];
    families
}

/// What the committer has done, how much disk the store takes where that is known, and how many jobs
/// may wait.
pub(super) fn store(stats: CommitterStats, size: Option<u64>, queue_max: usize) -> Vec<Family> {
    let latched = u64::from(stats.latched.is_some());
    #[rustfmt::skip]
    let mut families = vec![
        Family::counter("keygate_store_commits", "Jobs written", stats.commits),
        Family::counter("keygate_store_commits_refused", "Jobs not written: conflicts, and failures of the store", stats.refused),
        Family::counter("keygate_store_commit_groups", "Groups of jobs that shared a sync", stats.groups),
        Family::counter("keygate_store_rows_written", "Rows written or removed", stats.ops),
        Family::gauge("keygate_store_commit_queue", "Jobs that wait for the disk", stats.waiting as u64),
        Family::gauge("keygate_store_commit_queue_limit", "Jobs that may wait for the disk", queue_max as u64),
        Family::gauge("keygate_store_latched", "1 when the store has failed and takes no writes until a restart", latched),
    ];
    let durations = "How long a group took to be written and synced, failed ones too";
    families.extend(
        stats.durations.map(|taken| {
            Family::durations("keygate_store_commit_duration_seconds", durations, taken)
        }),
    );
    let bytes = "Disk that the store took when it was last read";
    families.extend(size.map(|size| Family::gauge("keygate_store_size_bytes", bytes, size)));
    families
}

/// What the ledger has done.
pub(super) fn ledger(stats: LedgerStats) -> Vec<Family> {
    let LedgerStats { debits, rows, commits, waiting } = stats;
    #[rustfmt::skip]
    let families = vec![
        Family::counter("keygate_ledger_debits", "Leases that were debited durably", debits),
        Family::counter("keygate_ledger_rows", "Rows of accounts written", rows),
        Family::counter("keygate_ledger_commits", "Jobs of the committer that wrote them", commits),
        Family::gauge("keygate_ledger_waiting", "Waits for a debit, on either socket", waiting),
    ];
    families
}

/// How usage is written behind.
pub(super) fn usage(figures: &Timing, now: Now) -> Vec<Family> {
    vec![
        Family::durations(
            "keygate_usage_flush_duration_seconds",
            "How long a write of usage took, failed ones too",
            figures.durations(),
        ),
        Family::counter(
            "keygate_usage_flush_failures",
            "Writes of usage that failed; what they had is kept for the next",
            figures.failures(),
        ),
        Family::seconds(
            "keygate_usage_flush_lag_seconds",
            "How long ago the last good write of usage began: what a crash would lose now",
            figures.lag_ns(now),
        ),
    ]
}

/// How the audit log keeps up.
pub(super) fn audit(stats: &AuditStats, queue_max: usize) -> Vec<Family> {
    let (waiting, failing) = (stats.waiting, u64::from(stats.failing.is_some()));
    let (limit, what) = (queue_max as u64, "1 while records of the audit log cannot be written");
    #[rustfmt::skip]
    let families = vec![
        Family::gauge("keygate_audit_queue", "Places that are taken by audit records which wait to be written or synced", waiting),
        Family::gauge("keygate_audit_queue_limit", "Places for audit records, one for each KiB", limit),
        Family::counter("keygate_audit_lost", "Audit records that were not taken, because there was no room", stats.lost),
        Family::gauge("keygate_audit_failing", what, failing),
    ];
    families
}

/// How alerts are delivered.
pub(super) fn alerts(stats: &notify::Stats) -> Vec<Family> {
    let notify::Stats { waiting, failed_kept, delivered, failed, retried, put_out, watched } =
        *stats;
    #[rustfmt::skip]
    let families = vec![
        Family::gauge("keygate_alerts_waiting", "Alerts that wait for their delivery, for each destination", waiting),
        Family::gauge("keygate_alerts_failed_kept", "Alerts that were given up and can be listed", failed_kept),
        Family::counter("keygate_alerts_delivered", "Alerts that were delivered", delivered),
        Family::counter("keygate_alerts_given_up", "Alerts that were given up", failed),
        Family::counter("keygate_alerts_retried", "Attempts that failed and are made again", retried),
        Family::counter("keygate_alerts_put_out", "Alerts that gave way to others because too many waited", put_out),
        Family::gauge("keygate_alerts_keys", "Keys that somebody is told about", watched),
    ];
    families
}

/// Whether all is well, as `/readyz` has it.
pub(super) fn health(healthy: bool) -> Family {
    let help = "1 when the daemon can do all its work, 0 when /readyz says why not";
    Family::gauge("keygate_healthy", help, u64::from(healthy))
}

fn counter(name: &'static str, help: &'static str) -> Family {
    Family::new(Kind::Counter, name, help)
}
