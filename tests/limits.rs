//! Limits through the real daemon: client and command line, restarts, slots of clients that die.

mod support;

use std::time::Duration;

use keygate::client::blocking::Client;
use keygate::client::{Endpoint, Report, ValidateRequest};
use keygate_protocol::admin::LimitUsage;
use keygate_protocol::{IncrementOutcome, LimitName, VerdictCode};
use rustix::process::{Signal, WaitOptions, waitpid};
use serde_json::{Value, json};

use support::{Home, text};

/// A limit, by the member of the record that sets it to 3 units.
struct Case {
    record: Value,
    /// What a request names.
    names: Option<&'static str>,
    limit: LimitName,
    /// The limit's name in `usage`.
    shown: &'static str,
    code: VerdictCode,
}

const UNITS: u64 = 3;

fn cases() -> Vec<Case> {
    let case = |record, limit: LimitName, code| Case {
        record,
        names: None,
        limit,
        shown: limit.name(),
        code,
    };
    let hourly = json!({ "limits": [{ "name": "exports", "count": "3", "period": "366d" }] });
    let calendar = json!({ "limits": [{ "name": "reports", "count": "3", "period": "year" }] });
    let named = |record, name| Case {
        names: Some(name),
        shown: name,
        ..case(record, LimitName::Named1, VerdictCode::QuotaExceeded)
    };
    vec![
        case(json!({ "requests_per_day": 3 }), LimitName::Day, VerdictCode::QuotaExceeded),
        case(json!({ "monthly_request_quota": "3" }), LimitName::Month, VerdictCode::QuotaExceeded),
        case(json!({ "max_uses": "3" }), LimitName::Lifetime, VerdictCode::UsesExhausted),
        case(
            json!({ "credits": { "balance": "3" } }),
            LimitName::Credits,
            VerdictCode::CreditsExhausted,
        ),
        named(hourly, "exports"),
        named(calendar, "reports"),
    ]
}

fn ask<'a>(token: &'a str, case: &Case) -> ValidateRequest<'a> {
    let request = ValidateRequest::new(token);
    case.names.map_or(request.clone(), |name| request.limit(name))
}

fn make(admin: &mut Client, record: Value) -> (u64, String) {
    let made = admin.create(record).expect("made");
    (text(&made.key["id"]).parse().expect("an id"), made.token.expect("a token"))
}

fn shown(limits: &[LimitUsage], name: &str) -> LimitUsage {
    limits.iter().find(|limit| limit.name == name).expect("it is shown").clone()
}

fn held(admin: &mut Client) -> u64 {
    admin.stats().expect("figures")["slots_held"]
}

/// Asks until so many slots are held; a daemon that forgets about one fails the test.
fn until_held(admin: &mut Client, slots: u64) {
    assert!((0..100_000).any(|_| held(admin) == slots), "{} are held", held(admin));
}

#[test]
fn every_durable_limit_admits_its_units_and_a_restart_forgets_none() {
    for engine in ["sled", "redb"] {
        let home = Home::with(&format!("[store]\nengine = \"{engine}\"\n"));
        let daemon = home.start();
        let (mut client, mut admin) = (home.client(), home.admin());
        let keys: Vec<_> =
            cases().into_iter().map(|case| (make(&mut admin, case.record.clone()), case)).collect();
        for ((_, token), case) in &keys {
            let verdict = client.validate(&ask(token, case)).expect("judged");
            assert_eq!(verdict.code, VerdictCode::Valid, "{}", case.shown);
            // Cost 0 looks and spends nothing.
            let verdict = client.validate(&ask(token, case).peek()).expect("judged");
            let report = verdict.limits.iter().find(|report| report.name == case.limit);
            assert_eq!(report.expect("it is told").remaining, UNITS - 1, "{}", case.shown);
        }
        daemon.stop();
        let _daemon = home.start();
        let (mut client, mut admin) = (home.client(), home.admin());
        for ((id, token), case) in &keys {
            let requests = vec![ask(token, case); 10];
            let verdicts = client.validate_pipelined(&requests).expect("judged");
            let valid = verdicts.iter().filter(|verdict| verdict.is_valid()).count() as u64;
            assert_eq!(valid, UNITS - 1, "{} with {engine}", case.shown);
            for denied in verdicts.iter().filter(|verdict| !verdict.is_valid()) {
                assert_eq!((denied.code, denied.denied_by), (case.code, Some(case.limit)));
            }
            let usage = shown(&admin.usage(*id).expect("figures").limits, case.shown);
            let figures = (usage.limit, usage.spent, usage.remaining, usage.stranded);
            assert_eq!(figures, (UNITS, UNITS, 0, 0), "{}", case.shown);
        }
    }
}

#[test]
fn a_batch_with_items_that_wait_for_the_disk_is_answered_whole() {
    let home = Home::new();
    let _daemon = home.start();
    let (mut client, mut admin) = (home.client(), home.admin());
    let (_, scarce) = make(&mut admin, json!({ "max_uses": "40" }));
    let (_, free) = make(&mut admin, json!({}));
    let requests: Vec<_> = (0..100)
        .map(|at| ValidateRequest::new(if at % 2 == 0 { &scarce } else { &free }))
        .collect();
    let verdicts = client.validate_batch(&requests).expect("judged");
    let valid = |parity| verdicts.iter().skip(parity).step_by(2).filter(|it| it.is_valid()).count();
    assert_eq!((valid(0), valid(1)), (40, 50));
}

#[test]
fn the_keys_of_a_tenant_share_its_limits_and_the_command_line_shows_them() {
    let home = Home::new();
    let _daemon = home.start();
    home.run(["tenant", "create", "acme", "--max-uses", "3", "--concurrent", "64"]).expect(0);
    let (_, one) = home.create(&["--name", "x", "--tenant", "acme"]);
    let (_, two) = home.create(&["--name", "x", "--tenant", "acme"]);
    for token in [&one, &two, &one] {
        // The slot of each ends with the connection of the command.
        assert_eq!(home.verdict(token, &[])["code"], "VALID");
    }
    let denied = home.verdict(&two, &[]);
    assert_eq!(
        (&denied["code"], &denied["denied_by"]),
        (&json!("USES_EXHAUSTED"), &json!("tenant_lifetime"))
    );
    until_held(&mut home.admin(), 0);
    let usage = home.json(["tenant", "usage", "acme"]);
    let lifetime = &usage["limits"][0];
    assert_eq!((&lifetime["name"], &lifetime["remaining"]), (&json!("tenant_lifetime"), &json!(0)));
    let slots = &usage["limits"][1];
    assert_eq!((&slots["name"], &slots["spent"]), (&json!("tenant_slots"), &json!(0)), "{usage}");
    home.run(["tenant", "usage", "nobody"]).expect(5);
}

#[test]
fn a_client_that_dies_holds_no_slot_and_one_that_says_so_keeps_it() {
    let home = Home::new();
    let _daemon = home.start();
    let mut admin = home.admin();
    let (id, token) = make(&mut admin, json!({ "concurrent_requests": 2 }));
    let request = || ValidateRequest::new(&token);
    let mut dies = home.client();
    assert!(dies.validate(&request()).expect("judged").is_valid());
    assert!(dies.validate(&request()).expect("judged").is_valid());
    let mut client = home.client();
    let full = client.validate(&request()).expect("judged");
    assert_eq!(
        (full.code, full.denied_by),
        (VerdictCode::ConcurrencyExceeded, Some(LimitName::Slots))
    );
    assert_eq!(held(&mut admin), 2);
    drop(dies);
    // The daemon learns of it when it does.
    until_held(&mut admin, 0);

    let mut leaves = home.client();
    let kept = leaves.validate(&request().keep_slot()).expect("judged").slot.expect("a slot");
    let gone = leaves.validate(&request()).expect("judged").slot.expect("a slot");
    drop(leaves);
    until_held(&mut admin, 1);
    for (slot, outcome) in [
        (gone, IncrementOutcome::SlotGone),
        (kept, IncrementOutcome::Counted),
        (kept, IncrementOutcome::SlotGone),
    ] {
        assert_eq!(client.increment(&Report::new(id).slot(slot)).expect("counted"), outcome);
    }
    assert_eq!(held(&mut admin), 0);
}

#[test]
fn a_slot_of_the_command_line_is_kept_renewed_and_given_back() {
    let home = Home::new();
    let _daemon = home.start();
    let (id, token) = home.create(&["--name", "x", "--concurrent", "1"]);
    let slot = text(&home.verdict(&token, &["--keep-slot"])["slot"]);
    assert_eq!(home.verdict(&token, &[])["code"], "CONCURRENCY_EXCEEDED");
    assert_eq!(home.json(["renew", &id, &slot])["outcome"], "RENEWED");
    home.run(["increment", &id, "--slot", &slot]).expect(0);
    assert_eq!(home.verdict(&token, &[])["code"], "VALID");
}

#[test]
fn a_start_after_a_crash_says_what_counts_as_spent() {
    let home = Home::new();
    let daemon = home.start();
    let (id, token) = home.create(&["--name", "x", "--requests-per-day", "1000"]);
    // Within its first lease, so that nothing was debited.
    assert_eq!(home.code(&token), "VALID");
    daemon.kill();
    let daemon = home.start();
    let day = home.json(["usage", &id])["limits"][0].clone();
    assert_eq!(
        (&day["name"], &day["spent"], &day["stranded"]),
        (&json!("day"), &json!(10), &json!(10))
    );
    let log = daemon.log();
    let crash = log.lines().find(|line| line.contains("without a clean stop"));
    let crash = crash.unwrap_or_else(|| panic!("{log}"));
    for words in ["debited=0", "first lease", "stranded"] {
        assert!(crash.contains(words), "{words}: {crash}");
    }
    daemon.stop();
}

#[tokio::test]
async fn a_slot_that_was_taken_for_nobody_any_more_is_free_again_while_its_connection_lives() {
    let home = Home::new();
    let daemon = home.start();
    let (_, token) = home.create(&["--name", "x", "--concurrent", "1"]);
    let client = keygate::client::Client::connect(Endpoint::unix(home.socket())).await;
    let client = client.expect("it listens");
    let request = ValidateRequest::new(&token);
    for request in [request.clone(), request.keep_slot()] {
        // It reads the question when nobody waits for the answer any more.
        daemon.signal(Signal::STOP);
        let stopped = waitpid(Some(daemon.pid()), WaitOptions::UNTRACED).expect("it is our child");
        assert!(stopped.is_some_and(|(_, status)| status.stopped()), "all its threads stand still");
        let hasty = client.with_timeout(Duration::from_millis(20));
        let error = hasty.validate(request).await.expect_err("it stands still");
        assert!(error.may_have_been_executed(), "{error}");
        daemon.signal(Signal::CONT);
        // The answer is read before the first of these is, and what it took is back by the second.
        client.ping().await.expect("an answer");
        client.ping().await.expect("an answer");
        let verdict = client.validate(ValidateRequest::new(&token)).await.expect("judged");
        assert_eq!(verdict.code, VerdictCode::Valid);
        let report = Report::new(verdict.key_id).slot(verdict.slot);
        let outcome = client.increment(report).await.expect("counted");
        assert_eq!(outcome, IncrementOutcome::Counted);
    }
}

#[test]
fn slots_of_the_admin_socket_end_with_its_connection_too() {
    let home = Home::new();
    let _daemon = home.start();
    let mut admin = home.admin();
    let (_, token) = make(&mut admin, json!({ "concurrent_requests": 1, "max_uses": "10" }));
    let mut other = home.admin();
    // Its lifetime has no lease yet, so this one waits for the disk.
    assert!(other.validate(&ValidateRequest::new(&token)).expect("judged").is_valid());
    let full = admin.validate(&ValidateRequest::new(&token)).expect("judged");
    assert_eq!(full.code, VerdictCode::ConcurrencyExceeded);
    drop(other);
    until_held(&mut admin, 0);
    assert!(admin.validate(&ValidateRequest::new(&token)).expect("judged").is_valid());
}
