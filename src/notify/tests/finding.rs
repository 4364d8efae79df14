//! What is found, and that it is found once.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};

use keygate_protocol::validate::Facts;
use keygate_protocol::{Increment, Validate, ValidateFlags};

use super::super::Moved;
use super::*;
use crate::alert::EntryState;
use crate::alert::StoredEndpoint;
use crate::engine::Answers;
use crate::key::Status;

#[test]
fn an_expiry_is_told_once_for_each_stage_also_across_a_crash() {
    let mut bench = Bench::new("");
    bench.insert(&expiring(7, 40));
    bench.look();
    assert_eq!(bench.kinds(), []);
    for (days, told) in [(11, 1), (1, 1), (22, 2), (1, 2), (5, 3), (1, 3), (100, 3)] {
        bench.advance_us(days * DAY_US);
        bench.look();
        bench.look();
        assert_eq!(bench.kinds().len(), told, "{days}");
        bench = bench.crashed("");
        bench.look();
        assert_eq!(bench.kinds().len(), told, "after a crash, {days}");
    }
    let all = bench.notifier.page(None, 10, |_| true).0;
    let days: Vec<_> = all.iter().map(|entry| entry.alert.detail["days"].as_u64()).collect();
    assert_eq!(days, [Some(30), Some(7), Some(1)]);
    assert!(all[0].alert.summary.contains("key 7 (key 7) expires within 30 days"));
}

#[test]
fn an_overdue_rotation_is_told_once_for_its_date() {
    let mut bench = Bench::new("");
    let rotated = |days| Some(Time::from_micros(START_US + days * DAY_US));
    let key =
        KeyRecord { rotation_frequency_days: Some(10), last_rotated_at: rotated(0), ..record(7) };
    bench.insert(&key);
    bench.look();
    bench.advance_us(10 * DAY_US);
    bench.look();
    bench.look();
    assert_eq!(bench.kinds(), [AlertKind::RotationOverdue]);
    bench.change(7, "rotate", |key| key.last_rotated_at = rotated(10));
    bench.look();
    bench.advance_us(9 * DAY_US);
    bench.look();
    assert_eq!(bench.kinds().len(), 1);
    bench.advance_us(DAY_US);
    bench = bench.crashed("");
    bench.look();
    assert_eq!(bench.kinds(), [AlertKind::RotationOverdue; 2]);
}

fn stopped(key: &mut KeyRecord, status: Status, at_us: i64) {
    key.status = status;
    key.status_changed_at = Some(Time::from_micros(at_us));
}

#[test]
fn a_change_of_status_is_told_once_also_if_a_crash_comes_before_it_was_seen() {
    let mut bench = Bench::new("");
    bench.insert(&record(7));
    bench.insert(&record(8));
    bench.look();
    bench.change(7, "set_status", |key| stopped(key, Status::Suspended, START_US + 5));
    bench.look();
    bench.change(7, "update", |key| key.description = "another".to_owned());
    bench.look();
    assert_eq!(bench.kinds(), [AlertKind::KeySuspended]);
    bench.change(7, "set_status", |key| stopped(key, Status::Revoked, START_US + 6));
    bench.change_unsaid(8, |key| stopped(key, Status::Revoked, START_US + 7));
    bench.look();
    assert_eq!(bench.kinds(), [AlertKind::KeySuspended, AlertKind::KeyRevoked]);
    for _ in 0..2 {
        bench = bench.crashed("");
        bench.look();
        let kinds = [AlertKind::KeySuspended, AlertKind::KeyRevoked, AlertKind::KeyRevoked];
        assert_eq!(bench.kinds(), kinds);
    }
}

#[test]
fn what_was_done_before_anybody_could_be_told_is_not_told() {
    let mut bench = Bench::new("");
    let mut nobody = KeyRecord { webhook_url: String::new(), ..record(7) };
    stopped(&mut nobody, Status::Revoked, START_US + 5);
    bench.insert(&nobody);
    bench.look();
    bench.change(7, "update", |key| key.webhook_url = url("a"));
    // Before alerts were looked for at all.
    let mut old = record(8);
    stopped(&mut old, Status::Revoked, START_US - 5);
    bench.change_unsaid(7, |_| {});
    bench.look();
    let write = Write::Key(KeyWrite::Insert(Box::new(old)));
    bench.committer.commit(vec![write], true).expect("written");
    assert_eq!(bench.kinds(), []);
    bench = bench.crashed("");
    bench.look();
    assert_eq!(bench.kinds(), []);
}

#[test]
fn a_change_that_nobody_was_told_of_is_found_by_a_walk() {
    let mut bench = Bench::new("[alerts]\nwalk_interval_s = 60\n");
    let write = Write::Key(KeyWrite::Insert(Box::new(expiring(7, 3))));
    bench.committer.commit(vec![write], true).expect("written");
    bench.look();
    assert_eq!(bench.notifier.stats().watched, 0);
    bench.advance_us(60 * i64::from(S));
    bench.look();
    assert_eq!((bench.kinds(), bench.notifier.stats().watched), (vec![AlertKind::KeyExpiring], 1));
    let purge = Write::Key(KeyWrite::Remove { id: 7, revision: 1 });
    bench.committer.commit(vec![purge], true).expect("purged");
    bench.advance_us(60 * i64::from(S));
    bench.look();
    assert_eq!(bench.notifier.stats().watched, 0);
    // What was said went with it.
    let mut states = 0;
    let count = |_, _| {
        states += 1;
        Ok::<(), crate::store::StoreError>(())
    };
    bench.keys.for_each_alert_state(count).expect("readable");
    assert_eq!(states, 0);
}

#[test]
fn a_quota_is_told_when_its_share_is_used_and_once_in_a_month() {
    let mut bench = Bench::new("");
    let key = KeyRecord {
        monthly_request_quota: Some(1000),
        alert_on_quota_threshold: true,
        quota_alert_threshold: Some(0.5),
        ..record(7)
    };
    bench.insert(&key);
    bench.look();
    let spend = |bench: &Bench, cost: u64| {
        let (flags, facts) = (ValidateFlags::default(), Facts::default());
        let question = Validate { flags, cost, token: b"token 7", facts };
        let mut answers = Answers::default();
        bench.engine.validate(&[question], bench.clock.now(), &mut answers);
        // As whoever writes usage behind does.
        bench.notifier.moved(&[7]);
    };
    // Initial leases have ten units; nothing debits more here.
    spend(&bench, 10);
    bench.look();
    assert_eq!(bench.kinds(), []);
    bench.change(7, "update", |key| key.monthly_request_quota = Some(20));
    bench.look();
    bench.look();
    assert_eq!(bench.kinds(), [AlertKind::QuotaThreshold]);
    let entry = &bench.notifier.page(None, 1, |_| true).0[0];
    assert!(entry.alert.summary.contains("10 of 20"), "{}", entry.alert.summary);
    // A clock that is set back begins no other month.
    for days in [-40, 40] {
        bench.clock.step_wall_us(days * DAY_US);
        bench.notifier.moved(&[7]);
        bench.look();
        assert_eq!(bench.kinds(), [AlertKind::QuotaThreshold], "{days}");
    }
}

#[test]
fn errors_are_told_when_they_rise_and_when_they_fall() {
    let mut bench = Bench::new("");
    let key =
        KeyRecord { alert_on_error_spike: true, error_alert_threshold: Some(0.25), ..record(7) };
    bench.insert(&key);
    bench.look();
    let report = |bench: &Bench, count, status| {
        let report = Increment { count, status: Some(status), ..Increment::new(7) };
        bench.engine.increment(&report, bench.clock.now());
        // As whoever writes usage behind does.
        bench.notifier.moved(&[7]);
    };
    report(&bench, 14, 200);
    report(&bench, 5, 500);
    bench.look();
    assert_eq!(bench.kinds(), [], "19 requests say nothing");
    report(&bench, 1, 500);
    bench.look();
    bench.look();
    assert_eq!(bench.kinds(), [AlertKind::ErrorSpike]);
    bench = bench.crashed("");
    bench.look();
    assert_eq!(bench.kinds(), [AlertKind::ErrorSpike], "the window is not whole yet");
    for _ in 0..301 {
        bench.look();
    }
    assert_eq!(bench.kinds(), [AlertKind::ErrorSpike, AlertKind::ErrorsRecovered]);
}

#[test]
fn many_unknown_tokens_are_told_to_the_operator_once() {
    let settings = "[alerts]\nbrute_force_per_minute = 100\noperator_emails = ['a@b.example']\n";
    let mut bench = Bench::new(settings);
    let total = Arc::new(AtomicU64::new(0));
    let counted = |bench: &Bench| {
        let total = Arc::clone(&total);
        bench.notifier.count_unknown(move || total.load(Ordering::Relaxed));
    };
    counted(&bench);
    bench.look();
    total.store(100, Ordering::Relaxed);
    bench.look();
    bench.look();
    assert_eq!(bench.kinds(), [AlertKind::BruteForce]);
    bench = bench.crashed(settings);
    counted(&bench);
    for _ in 0..10 {
        total.fetch_add(100, Ordering::Relaxed);
        bench.look();
    }
    assert_eq!(bench.kinds(), [AlertKind::BruteForce], "it goes on");
    let entry = &bench.notifier.page(None, 1, |_| true).0[0];
    assert_eq!((entry.alert.subject.clone(), entry.to.clone()), (Subject::Daemon, mail("a")));
}

#[test]
fn a_latched_store_is_told_and_keeps_nobody_from_being_told() {
    let mut bench = Bench::new("[alerts]\noperator_webhook = 'https://op.example/'\n");
    bench.insert(&expiring(7, 31));
    bench.look();
    bench.store.fail_apply(1, ErrorKind::StorageFull);
    let fails = Write::remove_alert_out(1);
    bench.committer.commit(vec![fails], true).expect_err("the disk is full");
    bench.advance_us(2 * DAY_US);
    bench.look();
    bench.look();
    assert_eq!(bench.kinds(), [AlertKind::StoreLatched, AlertKind::KeyExpiring]);
    let first = &bench.notifier.page(None, 1, |_| true).0[0];
    assert_eq!((first.to.clone(), first.state), (hook("op"), EntryState::Waiting));
}

#[test]
fn failing_audit_is_told_until_it_works() {
    let mut bench = Bench::new("[alerts]\noperator_webhook = 'https://op.example/'\n");
    for _ in 0..2 {
        bench.notifier.audit_failing("the disk is full".to_owned());
        bench.look();
    }
    assert_eq!(bench.kinds(), [AlertKind::AuditFailing]);
    bench.notifier.audit_works();
    bench.notifier.audit_failing("again".to_owned());
    bench.look();
    assert_eq!(bench.kinds(), [AlertKind::AuditFailing; 2]);
}

#[test]
fn a_revocation_is_told_whatever_becomes_of_the_key_in_the_same_moment() {
    let mut bench = Bench::new("");
    bench.insert(&record(7));
    bench.insert(&record(8));
    bench.look();
    bench.change(7, "set_status", |key| stopped(key, Status::Revoked, START_US + 5));
    bench.change(7, "update", |key| key.webhook_url = String::new());
    bench.change(8, "set_status", |key| stopped(key, Status::Suspended, START_US + 5));
    let purge = Write::Key(KeyWrite::Remove { id: 8, revision: 2 });
    bench.committer.commit(vec![purge], true).expect("purged");
    bench.note(&record(8), "purge", serde_json::Value::Null);
    bench.look();
    assert_eq!(bench.kinds(), [AlertKind::KeyRevoked, AlertKind::KeySuspended]);
    let to: Vec<_> = bench.notifier.page(None, 9, |_| true).0.into_iter().map(|it| it.to).collect();
    assert_eq!(to, [hook("a"), hook("a")]);
}

#[derive(Default)]
struct Heard(Mutex<Vec<AlertKind>>);

impl Journal for Heard {
    fn note(&self, event: &Event) {
        if let What::Alert(alert) = &event.what {
            self.0.lock().push(alert.kind);
        }
    }
}

#[test]
fn what_lasts_is_noted_once_without_an_operator_and_told_to_one_that_comes_later() {
    let mut bench = Bench::new("");
    let heard = Arc::new(Heard::default());
    bench.notifier.tell(Arc::clone(&heard) as _);
    bench.notifier.audit_failing("the disk is full".to_owned());
    bench.look();
    bench.look();
    assert_eq!(
        (heard.0.lock().as_slice(), bench.kinds()),
        (&[AlertKind::AuditFailing][..], vec![])
    );
    let text = "[alerts]\noperator_webhook = 'https://op.example/'\n";
    let config: config::Config = toml::from_str(text).expect("settings");
    bench.notifier.set(Settings::new(&config.alerts), Arc::clone(&bench.courier) as _);
    bench.look();
    bench.look();
    assert_eq!(bench.kinds(), [AlertKind::AuditFailing]);
}

#[test]
fn an_endpoint_that_nobody_names_goes_after_two_walks() {
    let settings = "[alerts]\nwalk_interval_s = 60\noperator_webhook = 'https://op.example/'\n";
    let mut bench = Bench::new(settings);
    bench.insert(&record(7));
    for (tenant, name) in [("acme", "a"), ("acme", "old"), ("other", "a"), ("", "op")] {
        bench.notifier.secrets(tenant, &url(name), None).expect("made");
    }
    bench.change(7, "update", |key| key.deleted_at = Some(Time::from_micros(START_US)));
    let there = |bench: &Bench| {
        let mut there = Vec::new();
        bench
            .keys
            .for_each_endpoint(|row| {
                row.map(|row| {
                    let StoredEndpoint::Present(row) = row else { panic!("of this release") };
                    there.push((row.tenant, row.url));
                })
            })
            .expect("readable");
        there.sort();
        let names: Vec<_> = bench.notifier.shared.endpoints.names().into_iter().collect();
        assert_eq!(there, names);
        there
    };
    for _ in 0..2 {
        assert_eq!(there(&bench).len(), 4);
        bench.advance_us(60 * i64::from(S));
        bench.look();
    }
    let of = |tenant: &str, name| (tenant.to_owned(), url(name));
    assert_eq!(there(&bench), [of("", "op"), of("acme", "a")]);
    // A tenant's go with it.
    bench.committer.commit(bench.notifier.endpoint_removals("acme"), true).expect("removed");
    bench.notifier.forget_endpoints("acme");
    assert_eq!(there(&bench), [of("", "op")]);
}
