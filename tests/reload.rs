//! The configuration read again by a daemon that serves: applied as a whole or not at all, and
//! nothing that was spent is given back.

mod support;

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use keygate::client::ValidateRequest;
use keygate::client::blocking::Client;
use keygate_protocol::admin::KeyDelete;
use keygate_protocol::{ErrorCode, Opcode};
use rustix::process::Signal;
use serde_json::{Value, json};

use support::{Daemon, Home, Ran, text};

/// A tier whose burst is `burst` and that earns one request a second: while a test runs, far less
/// than the bursts that it tells apart.
fn tier(name: &str, burst: u64) -> String {
    format!("[tiers.{name}]\nrequests_per_second = 1\nburst = {burst}\n")
}

fn home(config: &str) -> Home {
    let home = Home::new();
    home.configure_just(config);
    home
}

fn create(home: &Home, tier: &str) -> String {
    home.admin().create(named(tier)).expect("a key").token.expect("a new key's token")
}

fn named(tier: &str) -> Value {
    json!({"name": "of a tier", "billing_tier": tier})
}

/// The burst of the verdict's limit, without spending; `None` where there is no limit.
fn burst(home: &Home, token: &str) -> Option<u64> {
    home.verdict(token, &["--peek"])["limits"][0]["limit"].as_u64()
}

fn reload(home: &Home) -> Ran {
    home.run(["reload"])
}

#[test]
fn what_changed_is_told_logged_and_obeyed_at_once() {
    let home = home(&(tier("gold", 50) + &tier("free", 10)));
    let mut daemon = home.start();
    let (gold, free) = (create(&home, "gold"), create(&home, "free"));
    assert_eq!((burst(&home, &gold), burst(&home, &free)), (Some(50), Some(10)));
    let ran = reload(&home);
    assert_eq!(ran.expect(0).stdout, "settings changed: 0, keys with other limits: 0\n");

    let more = "regions = ['eu-west-1']\n[keys]\nexpiry_warning_days = 3\n[profiles.PCI]\n\
                requires = ['enforce_https']\n[sinks.log]\nkind = 'journald'\n[tiers.new]\n";
    home.configure_just(&(more.to_owned() + &tier("gold", 60) + &tier("free", 10)));
    let lines = [
        "keys.expiry_warning_days: 14 → 3",
        "profiles.PCI: not set → {\"requires\":[\"enforce_https\"]}",
        "regions: [] → [\"eu-west-1\"]",
        "sinks.log: not set → {\"kind\":\"journald\"}",
        "tiers.gold.burst: 50 → 60",
        "tiers.new: not set → {}",
    ];
    let ran = reload(&home);
    ran.expect(0);
    let last = "settings changed: 6, keys with other limits: 1";
    assert_eq!(ran.stdout.lines().collect::<Vec<_>>(), [&lines[..], &[last]].concat());
    daemon.logs(|log| log.contains("the configuration was reloaded"));
    for line in lines {
        let line = line.split(" → ").next().expect("a line");
        assert!(daemon.log().contains(line), "{line} in {}", daemon.log());
    }
    assert_eq!((burst(&home, &gold), burst(&home, &free)), (Some(60), Some(10)));
    create(&home, "new");
    for (field, value) in [
        ("data_residency", "us-east-1"),
        ("billing_tier", "platinum"),
        ("monitoring_integrations", "[\"statsd\"]"),
        ("compliance_standards", "[\"PCI\"]"),
    ] {
        let (id, _) = home.create(&["--name", "n"]);
        let ran = home.run(["key", "update", &id, "--set", &format!("{field}={value}")]);
        ran.expect(1).says(&[field]);
    }
}

#[test]
fn what_is_refused_is_refused_as_a_whole() {
    let good = tier("gold", 50);
    let home = home(&(good + "[tiers.idle]\n[profiles.PCI]\n"));
    let mut daemon = home.start();
    let record = json!({"name": "n", "billing_tier": "gold", "compliance_standards": ["PCI"]});
    let token = home.admin().create(record).expect("a key").token.expect("a new key's token");
    let better = tier("gold", 60);
    let cases: &[(String, &[&str])] = &[
        (better.clone() + "requests_per_secnod = 1\n", &["line 4", "requests_per_secnod", "burst"]),
        (better.clone() + "[limits]\nkeys_max = 0\n", &["line 5", "limits.keys_max is 0"]),
        (
            better.clone() + "[profiles.PCI]\n[limits]\nkeys_max = 5\n",
            &["limits.keys_max needs a restart"],
        ),
        (
            "threads = 1\n".to_owned()
                + &better
                + "[profiles.PCI]\n[store]\ncache_bytes = 1048576\n",
            &["store.cache_bytes, threads need a restart"],
        ),
        (better.clone(), &["[profiles.PCI] is used by 1 key"]),
        ("[profiles.PCI]\n".to_owned() + &tier("silver", 60), &["[tiers.gold] is used by 1 key"]),
        ("nonsense".to_owned(), &["line 1"]),
    ];
    for (config, words) in cases {
        home.configure_just(config);
        let ran = reload(&home);
        ran.expect(1).says(words).says(&["nothing was applied"]);
        assert_eq!(burst(&home, &token), Some(50), "{config}");
    }
    std::fs::remove_file(home.path("keygate.toml")).expect("removed");
    reload(&home).expect(1).says(&["keygate.toml", "nothing was applied"]);
    daemon.logs(|log| log.matches("the configuration was not reloaded").count() == 8);
    // What was refused before is in nobody's way.
    home.configure_just(&(better + "[profiles.PCI]\n"));
    let ran = reload(&home);
    let expected = "tiers.gold.burst: 50 → 60\ntiers.idle: {} → not set\n";
    assert!(ran.expect(0).stdout.starts_with(expected), "{ran:?}");
    assert_eq!(burst(&home, &token), Some(60));
}

#[test]
fn without_a_file_there_is_nothing_to_read_again() {
    let home = Home::new();
    let mut serve: Command = home.command();
    serve.arg("serve").arg("--data-dir").arg(home.data());
    let mut daemon = Daemon::start(serve);
    reload(&home).expect(1).says(&["without a configuration file", "--config FILE"]);
    daemon.signal(Signal::HUP);
    daemon.logs(|log| log.matches("the configuration was not reloaded").count() == 2);
    home.run(["ping"]).expect(0);
}

#[test]
fn a_hangup_reloads_and_flags_stay_above_the_file() {
    let home = home(&tier("gold", 50));
    let mut serve = home.serve();
    serve.args(["--tcp", "127.0.0.1:0"]);
    let mut daemon = Daemon::start(serve);
    let token = create(&home, "gold");
    // The flags --tcp and --data-dir outweigh these now as they did at the start.
    let below = "tcp = ['127.0.0.1:9']\ndata_dir = '/nowhere'\n".to_owned();
    home.configure_just(&(below + &tier("gold", 70)));
    daemon.signal(Signal::HUP);
    daemon.logs(|log| log.contains("the configuration was reloaded"));
    assert_eq!(burst(&home, &token), Some(70));
    home.configure_just("threads = 'many'\n");
    daemon.signal(Signal::HUP);
    daemon.logs(|log| log.contains("the configuration was not reloaded"));
    assert_eq!(burst(&home, &token), Some(70), "a bad file ends nothing");
    daemon.stop();
}

#[test]
fn what_was_spent_stays_spent() {
    let home = home(&(tier("gold", 1000) + &tier("other", 1)));
    let _daemon = home.start();
    let (gold, other) = (create(&home, "gold"), create(&home, "other"));
    let left = |token: &str| {
        home.verdict(token, &["--peek"])["limits"][0]["remaining"].as_u64().expect("a limit")
    };
    home.verdict(&gold, &["--cost", "1000"]);
    home.verdict(&other, &["--cost", "1"]);
    // Of another tier, of another setting, of this tier: lower, and higher by a million.
    for (config, left_at_least) in [
        (tier("gold", 1000) + &tier("other", 2), 0),
        (
            "[keys]\nexpiry_warning_days = 1\n".to_owned()
                + &tier("gold", 1000)
                + &tier("other", 2),
            0,
        ),
        (tier("gold", 900) + &tier("other", 2), 0),
        (tier("gold", 1_000_900) + &tier("other", 2), 1_000_000),
    ] {
        home.configure_just(&config);
        let ran = reload(&home);
        assert!(!ran.expect(0).stdout.contains("settings changed: 0,"), "{ran:?}");
        // A burst that came back would be hundreds above.
        let left = left(&gold);
        assert!((left_at_least..left_at_least + 300).contains(&left), "{config}: {left}");
    }
}

/// Caps that a reload moves, each before a kill: what was spent under the one counts under the next.
#[test]
fn a_cap_that_a_reload_moves_holds_across_a_kill() {
    let capped = |cap: u64| format!("[tiers.gold]\nmax_uses = {cap}\n");
    let home = home(&capped(1000));
    let mut daemon = home.start();
    let token = create(&home, "gold");
    let id = text(&home.verdict(&token, &["--peek"])["key_id"]);
    let spend = |cost: u64| home.verdict(&token, &["--cost", &cost.to_string()])["code"] == "VALID";
    let mut admitted = 0;
    for (cap, cost) in [(1000, 300), (400, 60), (2000, 500), (900, 10)] {
        home.configure_just(&capped(cap));
        reload(&home).expect(0);
        assert!(spend(cost), "{admitted} of {cap} are spent");
        admitted += cost;
        daemon.kill();
        daemon = home.start();
        let limit = &home.json(["usage", &id])["limits"][0];
        let figures = ["limit", "spent", "remaining", "stranded"].map(|figure| &limit[figure]);
        let [limit, spent, remaining, stranded] = figures.map(|it| it.as_u64().expect("a number"));
        assert_eq!((limit, spent + remaining), (cap, cap), "spent: {spent}");
        // What was in leases may have been spent or not: all of it counts.
        assert!((spent - stranded..=spent).contains(&admitted), "{admitted}: {figures:?}");
        assert!(!spend(remaining + 1), "not one more than {remaining}");
        admitted = spent;
    }
    assert!(spend(900 - admitted));
    assert!(!spend(1));
    daemon.stop();
}

#[test]
fn keys_whose_tier_is_gone_are_left_out_at_the_start_and_taken_in_by_a_reload() {
    let both = tier("gold", 50) + &tier("free", 10);
    let home = home(&both);
    let daemon = home.start();
    let gold = [create(&home, "gold"), create(&home, "gold")];
    let free = create(&home, "free");
    let id = text(&home.verdict(&gold[0], &[])["key_id"]);
    daemon.stop();

    home.configure_just(&tier("free", 10));
    let daemon = home.start();
    let log = daemon.log();
    let told: Vec<_> = log.lines().filter(|line| line.contains("no such tier")).collect();
    assert!(told.len() == 1 && told[0].contains("gold") && told[0].contains("keys=2"), "{log}");
    assert_eq!([home.code(&gold[0]), home.code(&free)], ["NOT_FOUND", "VALID"]);
    let status = home.run(["status"]);
    status.expect(1);
    for words in ["2 keys of the tier \"gold\"", "add [tiers.gold]", "keygate reload"] {
        assert!(status.stdout.contains(words), "{status:?}");
    }
    // They can be looked at and changed all the same.
    assert_eq!(home.json(["key", "get", &id])["billing_tier"], "gold");
    assert_eq!(home.json(["usage", &id])["total_requests"], 1);
    home.run(["key", "update", &id, "--set", "name=x"])
        .expect(1)
        .says(&["no tier \"gold\"", "free"]);
    home.json(["key", "update", &id, "--set", "billing_tier=free"]);
    assert_eq!(home.code(&gold[0]), "VALID");
    home.json(["key", "suspend", &id]);
    home.json(["key", "resume", &id]);

    home.configure_just(&both);
    let ran = reload(&home);
    assert!(ran.expect(0).stdout.contains("keys with other limits: 1"), "{ran:?}");
    home.run(["status"]).expect(0);
    assert_eq!(gold.each_ref().map(|token| home.code(token)), ["VALID", "VALID"]);
    assert_eq!(home.json(["usage", &id])["total_requests"], 3, "and its figures were kept");
    daemon.stop();
}

/// Creates keys of a tier and purges each, until it is told to stop; how many it made, and how many
/// were refused because there was no such tier.
fn create_and_purge(mut client: Client, stop: &AtomicBool) -> (u32, u32) {
    let (mut made, mut refused) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        match client.create(named("gold")) {
            Ok(created) => {
                made += 1;
                let id = text(&created.key["id"]);
                client.delete(&KeyDelete { id, purge: true }).expect("it is there");
            }
            Err(error) => {
                refused += 1;
                assert_eq!(error.code(), Some(ErrorCode::Invalid), "{error}");
            }
        }
    }
    (made, refused)
}

#[test]
fn concurrent_creations_never_leave_a_key_with_an_unknown_tier() {
    const WANTED: usize = 10;
    const ROUNDS_MAX: usize = 10_000;
    let with = tier("gold", 50);
    let home = home(&with);
    let daemon = home.start();
    let stop = AtomicBool::new(false);
    let mut admin = home.admin();
    let (mut removed, mut in_use) = (0, 0);
    thread::scope(|scope| {
        let creators = [(); 2].map(|()| {
            let client = home.admin();
            scope.spawn(|| create_and_purge(client, &stop))
        });
        for _ in 0..ROUNDS_MAX {
            if removed >= WANTED && in_use >= WANTED {
                break;
            }
            home.configure_just("");
            match admin.reload() {
                Ok(_) => {
                    removed += 1;
                    let health = admin.health().expect("an answer");
                    assert!(health.healthy, "a key was left behind: {:?}", health.reasons);
                    home.configure_just(&with);
                    admin.reload().expect("the tier is back");
                }
                Err(error) => {
                    in_use += 1;
                    assert_eq!(error.code(), Some(ErrorCode::Conflict), "{error}");
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        let counts = creators.map(|creator| creator.join().expect("no panic"));
        assert!(counts.iter().all(|(made, _)| *made > 0), "{counts:?}");
    });
    assert!(removed > 0 && in_use > 0, "both came first at some time: {removed}, {in_use}");
    assert_eq!(home.json(["status"])["stats"]["keys"], 0);
    daemon.stop();
}

#[test]
fn the_reply_on_the_wire_is_what_the_command_prints() {
    let home = home("");
    let _daemon = home.start();
    home.configure_just("[tiers.gold]\n");
    let reply = home.admin_wire().ask(Opcode::Reload, &json!({})).json();
    let expected =
        json!({"settings_changed": 1, "changes": ["tiers.gold: not set → {}"], "keys_changed": 0});
    assert_eq!(reply, expected);
    assert_eq!(home.json(["reload"])["settings_changed"], 0);
    let reply = home.admin_wire().ask(Opcode::Reload, &json!({"force": true}));
    assert_eq!(reply.error().0, ErrorCode::BadPayload);
}

/// A key whose tier is not there at a start is withheld, and the reload that brings the tier back must
/// not make whole what was spent: neither of the tier's limits nor of the key's own.
#[test]
fn what_was_spent_stays_spent_over_a_start_without_the_tier() {
    let gold = "[tiers.gold]\nmonthly_request_quota = 10\n\
                [[tiers.gold.limits]]\nname = \"of-the-tier\"\ncount = 10\nperiod = \"day\"\n";
    let home = Home::with(gold);
    let daemon = home.start();
    let mut admin = home.admin();
    let many = "1000";
    let own = json!([{ "name": "own", "count": "10", "period": "month" }]);
    let cases = [
        (json!({ "billing_tier": "gold" }), None),
        (json!({ "billing_tier": "gold", "monthly_request_quota": many }), Some("of-the-tier")),
        (
            json!({ "billing_tier": "gold", "monthly_request_quota": many, "limits": own }),
            Some("own"),
        ),
        (json!({ "billing_tier": "gold", "monthly_request_quota": many, "max_uses": "10" }), None),
        (json!({ "billing_tier": "gold", "credits": { "balance": "8" } }), None),
    ];
    let keys = cases.map(|(mut record, limit)| {
        record["name"] = "withheld".into();
        let made = admin.create(record).expect("made");
        (text(&made.key["id"]), made.token.expect("a token"), limit)
    });
    let admitted = |most: usize| {
        let mut client = home.client();
        keys.each_ref().map(|(_, token, limit)| {
            let request = limit.iter().fold(ValidateRequest::new(token), |it, name| it.limit(name));
            let valid = |_: &usize| client.validate(&request).expect("judged").code.is_valid();
            (0..most).take_while(valid).count()
        })
    };
    assert_eq!(admitted(4), [4; 5]);
    daemon.stop();

    home.configure("");
    for round in 0..2 {
        let daemon = home.start();
        assert_eq!(admitted(4), [0; 5], "withheld");
        // A change that does not look at the tier writes the key's figures anew.
        for (id, ..) in &keys {
            home.run(["key", "suspend", id]).expect(0);
            home.run(["key", "resume", id]).expect(0);
        }
        if round == 0 {
            daemon.stop();
        } else {
            daemon.kill();
        }
    }
    let daemon = home.start();
    home.configure(gold);
    home.run(["reload"]).expect(0);
    assert_eq!(admitted(100), [6, 6, 6, 6, 4]);
    daemon.stop();
}
