//! What was used, through the real binary: told by the hour, the day, the tenant; and what a kill
//! costs of it.

mod support;

use std::sync::mpsc::channel;
use std::thread;
use std::time::Instant;

use keygate::client::blocking::Client;
use keygate::client::{Endpoint, Report, ValidateRequest};
use keygate_protocol::VerdictCode;
use keygate_protocol::admin::{Span, UsageHistoryRequest};
use serde_json::Value;

use support::{DEADLINE, Home, text};

const ENGINES: [&str; 2] = ["sled", "redb"];

fn history(admin: &mut Client, by: Span, tenant: Option<&str>) -> Value {
    let request = UsageHistoryRequest {
        key_id: None,
        deleted: false,
        tenant: tenant.map(str::to_owned),
        by,
        since: None,
        until: None,
    };
    serde_json::to_value(admin.usage_history(&request).expect("answered")).expect("JSON")
}

/// The sum of one figure over all spans.
fn summed(history: &Value, figure: &str) -> u64 {
    let spans = history["spans"].as_array().expect("spans");
    spans.iter().map(|span| span[figure].as_u64().expect("a count")).sum()
}

/// Waits until everything that was counted before is written: two flushes have ended since.
fn flushed(home: &Home, token: &str) {
    let (mut client, mut admin) = (home.client(), home.admin());
    for _ in 0..3 {
        let commits = admin.stats().expect("answered")["commits"];
        client.validate(&ValidateRequest::new(token)).expect("judged");
        let until = Instant::now() + DEADLINE;
        while admin.stats().expect("answered")["commits"] <= commits {
            assert!(Instant::now() < until, "usage is not written");
            thread::yield_now();
        }
    }
}

#[test]
fn a_kill_costs_at_most_what_was_not_yet_written() {
    for engine in ENGINES {
        let home =
            Home::with(&format!("[store]\nengine = \"{engine}\"\nusage_flush_interval_ms = 50\n"));
        let mut daemon = home.start();
        let (id, token) =
            home.create(&["--name", "billed", "--tenant", "acme", "--cost-per-request", "0.25"]);
        let id: u64 = id.parse().expect("an id");
        let (mut written, mut answered) = (0_u64, 0_u64);
        for round in 0..5 {
            flushed(&home, &token);
            answered += 3;
            let usage = home.admin().usage(id).expect("answered");
            written = written.max(usage.total_requests);
            // Under load, so that a flush is broken off.
            let (said, verdicts) = channel();
            let socket = home.socket();
            thread::scope(|scope| {
                for _ in 0..4 {
                    let (said, token, socket) = (said.clone(), &token, socket.clone());
                    scope.spawn(move || {
                        let mut client =
                            Client::connect(Endpoint::unix(socket)).expect("connected");
                        client.set_timeout(DEADLINE);
                        let report = Report::new(id).status(503).counter("tokens", 7);
                        while let Ok(verdict) = client.validate(&ValidateRequest::new(token)) {
                            assert_eq!(verdict.code, VerdictCode::Valid);
                            if client.increment(&report).is_err() {
                                return;
                            }
                            let _ = said.send(());
                        }
                    });
                }
                for _ in 0..200 * (round + 1) {
                    verdicts.recv_timeout(DEADLINE).expect("requests are judged");
                    answered += 1;
                }
                daemon.kill();
            });
            // Those that were on their way when it was killed.
            answered += verdicts.try_iter().count() as u64 + 4;
            home.clean(&home.data());
            daemon = home.start();
            let mut admin = home.admin();
            let usage = admin.usage(id).expect("answered");
            let total = usage.total_requests;
            assert!(
                (written..=answered).contains(&total),
                "{engine}, round {round}: {total} of {answered}, and {written} were written"
            );
            // Figures that belong together stay so: of the key, by the hour, of the tenant.
            let sums = &usage.sums;
            assert_eq!((sums.requests, sums.units), (total, total));
            assert_eq!(sums.cost, (total as f64 / 4.0).to_string());
            let tokens = sums.counters.get("tokens").copied().unwrap_or_default();
            assert_eq!(tokens, 7 * sums.reported_requests);
            for tenant in [None, Some("acme")] {
                let [hours, days] =
                    [Span::Hour, Span::Day].map(|by| history(&mut admin, by, tenant));
                let all = hours["total"]["requests"].as_u64().expect("a count");
                assert_eq!((summed(&hours, "requests"), summed(&days, "requests")), (all, all));
                assert_eq!(all, total, "{engine}, round {round}: {tenant:?}");
            }
            written = total;
        }
        assert!(daemon.stop().contains("stopped"));
    }
}

#[test]
fn usage_is_told_by_the_hour_the_day_the_endpoint_and_the_status() {
    let home = Home::new();
    let daemon = home.start();
    let (id, token) = home.create(&["--name", "Leads, EU", "--tenant", "acme", "--scope", "a:b"]);
    let (other, _) = home.create(&["--name", "idle", "--tenant", "globex"]);
    home.verdict(&token, &["--ip", "203.0.113.7"]);
    home.verdict(&token, &["--cost", "9"]);
    home.verdict(&token, &["--scope", "no:no"]);
    home.verdict(&token, &["--peek", "--scope", "no:no"]);
    let report = ["increment", &id, "--status", "503", "--latency-ms", "80", "--endpoint", "/a,b"];
    home.run(report.into_iter().chain(["--counter", "tokens=1532", "--counter", "bytes=2"]))
        .expect(0);
    flushed(&home, &token);

    let usage = home.json(["usage", &id]);
    assert_eq!(usage["last_used_from"], "203.0.113.7");
    let sums = &usage["sums"];
    assert_eq!((&sums["units"], &sums["denied"]), (&Value::from(13), &Value::from(1)));
    assert_eq!(sums["denials"]["INSUFFICIENT_SCOPE"], 1);
    assert_eq!(sums["counters"]["tokens"], 1532);
    home.run(["usage", &id]).expect(0).shows(&["denied verdicts", "counter bytes", "p50 / p90"]);

    for owner in [vec![id.as_str()], vec!["--tenant", "acme"], vec![]] {
        for by in ["hour", "day"] {
            let args = ["usage"].into_iter().chain(owner.clone()).chain(["--by", by]);
            let told = home.json(args);
            assert_eq!(summed(&told, "units"), 13, "{owner:?} {by}");
            assert_eq!(told["total"]["reported_requests"], 1);
        }
    }
    let idle = home.json(["usage", &other, "--by", "hour"]);
    assert_eq!(idle["spans"], Value::Array(vec![]));
    home.run(["usage", &other, "--by", "day"]).expect(0).shows(&["nothing was counted"]);
    home.run(["usage"]).expect(0).shows(&["valid verdicts         5"]);
    let endpoints = home.run(["usage", &id, "--by", "endpoint", "--csv"]);
    endpoints.expect(0).shows(&["\"/a,b\",1,1,80.000"]);
    home.run(["usage", &id, "--by", "status"]).expect(0).shows(&["503", "1.000000"]);
    home.run(["usage", "--by", "hour", "--csv"]).expect(0).shows(&["counter:tokens", "1532"]);

    let top = home.json(["usage", "--top", "denials", "--since", "1h"]);
    let keys: Vec<&str> = top["keys"]
        .as_array()
        .expect("keys")
        .iter()
        .map(|key| key["key_id"].as_str().expect("an id"))
        .collect();
    assert_eq!((keys, text(&top["keys"][0]["name"])), (vec![id.as_str()], "Leads, EU".to_owned()));
    let csv = home.run(["usage", "--top", "denials", "--csv"]);
    csv.expect(0).shows(&["key_id,name,tenant_id,requests,", ",\"Leads, EU\",acme,"]);
    home.run(["usage", "--top", "cost"]).expect(0).shows(&["no key has any"]);

    // What makes no sense is told, and a tenant is told of itself alone.
    home.run(["usage", "--by", "status"]).expect(2).says(&["name its id"]);
    home.run(["usage", &id, "--since", "1h"]).expect(2).says(&["--by hour or --by day"]);
    home.run(["usage", "--csv", "--json"]).expect(2).says(&["not both"]);
    let reversed = ["usage", "--by", "day", "--since", "1d", "--until", "2d"];
    home.run(reversed).expect(2).says(&["so long ago"]);
    home.run(["usage", "12345"]).expect(5);
    home.run(["usage", "--tenant", "nobody"]).expect(5);
    home.run(["--as-tenant", "acme", "usage"]).expect(1).says(&["not bound to a tenant"]);
    home.run(["--as-tenant", "acme", "usage", "--top", "units"]).expect(1);
    home.run(["--as-tenant", "acme", "usage", "--tenant", "globex"]).expect(5);
    let own = home.json(["--as-tenant", "acme", "usage", "--tenant", "acme", "--top", "units"]);
    assert_eq!(own["keys"].as_array().map(Vec::len), Some(1));

    // A purge of the tenant takes its history along, and no other's.
    daemon.stop();
    let daemon = home.start();
    home.run(["tenant", "create", "acme"]).expect(0);
    home.run(["tenant", "delete", "acme", "--purge"]).expect(0);
    home.run(["usage", "--tenant", "acme"]).expect(5);
    assert_eq!(home.json(["usage", "--by", "day"])["total"]["requests"], 5);
    daemon.stop();
    home.clean(&home.data());
}
