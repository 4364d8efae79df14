//! Alerts of a real daemon: found, told to a real receiver, and over a crash.

mod delivery;
#[path = "delivery/receiver.rs"]
mod receiver;
mod support;

use std::collections::{BTreeMap, BTreeSet};

use delivery::{Authority, DEADLINE};
use receiver::{Answer, Received, Receiver};
use serde_json::Value;
use standardwebhooks::Webhook;
use support::Home;

/// A receiver at loopback, and a daemon's home that may send there.
async fn home(answer: Answer) -> (Home, Receiver, Authority) {
    let authority = Authority::new();
    let tls = authority.server(&["localhost"]);
    let receiver = Receiver::start("127.0.0.1:0", tls, answer).await;
    let config = format!(
        "[alerts]\nallow_addresses = ['127.0.0.1', '::1']\nca_file = {:?}\nwalk_interval_s = 60\n\
         brute_force_per_minute = 5\noperator_sinks = ['told']\n\
         [sinks.told]\nkind = 'file'\ntarget = {:?}\n",
        authority.file(),
        authority.place.path().join("told.jsonl"),
    );
    (Home::with(&config), receiver, authority)
}

/// What a command prints, if it ends so.
fn shown(home: &Home, code: i32, args: &[&str], words: &[&str]) {
    let ran = home.run(args);
    ran.expect(code);
    assert!(words.iter().all(|word| ran.stdout.contains(word)), "{words:?}: {ran:?}");
}

fn url(receiver: &Receiver) -> String {
    format!("https://localhost:{}/hook", receiver.address.port())
}

async fn received(receiver: &mut Receiver) -> (Received, Value) {
    let next = tokio::time::timeout(DEADLINE, receiver.received.recv()).await;
    let received = next.expect("in time").expect("the receiver serves");
    let body = serde_json::from_slice(&received.body).expect("JSON");
    (received, body)
}

fn id_of(received: &Received) -> String {
    received.headers["webhook-id"].to_str().expect("text").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_among_its_deliveries_loses_none_and_makes_none_twice() {
    const KEYS: usize = 30;
    let (home, mut receiver, _authority) = home(Answer::Status(204)).await;
    let mut daemon = home.start();
    let hook = url(&receiver);
    let ids: Vec<String> =
        (0..KEYS).map(|_| home.create(&["--webhook-url", &hook, "--name", "k"]).0).collect();
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut note = |(received, body): (Received, Value)| {
        assert_eq!(body["type"], "key.suspended");
        let key = body["data"]["subject"]["id"].as_str().expect("an id").to_owned();
        told.entry(key).or_default().insert(id_of(&received));
        told.len()
    };
    for half in ids.chunks(KEYS / 2) {
        for id in half {
            home.run(["key", "suspend", id, "--reason", "a test"]).expect(0);
        }
        // What is suspended is durable; of its alerts some are delivered, some under way, and some
        // perhaps not made yet.
        note(received(&mut receiver).await);
        daemon.kill();
        daemon = home.start();
    }
    while note(received(&mut receiver).await) < KEYS {}
    assert!(told.values().all(|alerts| alerts.len() == 1), "one alert for each key: {told:?}");
    assert_eq!(told.keys().cloned().collect::<BTreeSet<_>>(), ids.into_iter().collect());
    daemon.stop();
    home.run(["verify", home.data().to_str().expect("UTF-8")]).expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_is_delivered_and_verified_with_the_secret_that_is_shown() {
    let (home, mut receiver, authority) = home(Answer::Status(204)).await;
    let daemon = home.start();
    let hook = url(&receiver);
    let (id, _) = home.create(&["--name", "k", "--webhook-url", &hook, "--tenant", "acme"]);
    let tested = home.json(["alert", "test", &id]);
    let (got, body) = received(&mut receiver).await;
    assert_eq!((&body["type"], id_of(&got)), (&"test".into(), support::text(&tested["id"])));
    assert_eq!(tested["results"][0]["outcome"], "delivered");
    let secret = |args: &[&str]| {
        let shown = home.json([&["alert", "secret", &id], args].concat());
        support::text(&shown["secrets"][0]["secret"])
    };
    let verify = |secret: &str, got: &Received| {
        Webhook::new(secret).expect("a secret").verify(&got.body, &got.headers).is_ok()
    };
    let first = secret(&[]);
    assert!(verify(&first, &got));
    let second = secret(&["--rotate", "--overlap", "1h"]);
    shown(&home, 0, &["alert", "test", &id], &["delivered"]);
    let (got, _) = received(&mut receiver).await;
    assert!(verify(&first, &got) && verify(&second, &got), "by both, during the overlap");
    let third = secret(&["--rotate", "--overlap", "0"]);
    home.run(["alert", "test", &id]).expect(0);
    let (got, _) = received(&mut receiver).await;
    assert!(verify(&third, &got) && !verify(&second, &got));

    // A tenant sees its own, and nothing of the operator's.
    home.run(["--as-tenant", "other", "alert", "secret", &id]).expect(5);
    shown(&home, 0, &["--as-tenant", "acme", "alert", "secret", &id], &["whsec_"]);
    home.run(["--as-tenant", "acme", "alert", "test", "--operator"]).expect(1).says(&["bound"]);
    shown(&home, 0, &["alert", "test", "--operator"], &["sink told", "delivered"]);
    let nobody = home.create(&["--name", "k"]).0;
    home.run(["alert", "test", &nobody]).expect(1).says(&["names nobody"]);
    home.run(["alert", "secret", &nobody]).expect(1).says(&["no webhook_url"]);
    let log = daemon.stop();
    assert!(!log.contains("whsec_") && !log.contains("/hook"), "{log}");
    let told = std::fs::read_to_string(authority.place.path().join("told.jsonl")).expect("told");
    assert!(told.contains("\"test\""), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_gone_is_sent_nothing_until_enabled_and_the_list_says_so() {
    let (home, mut receiver, authority) = home(Answer::Status(410)).await;
    let daemon = home.start();
    let hook = url(&receiver);
    let (id, _) = home.create(&["--name", "k", "--webhook-url", &hook, "--tenant", "acme"]);
    home.run(["key", "suspend", &id]).expect(0);
    received(&mut receiver).await;
    let failed = |args: &[&str]| {
        let ran = home.run([&["--json", "alert", "list", "--failed"], args].concat());
        ran.expect(0).stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    while failed(&[]).is_empty() {
        tokio::task::yield_now().await;
    }
    home.run(["key", "resume", &id]).expect(0);
    home.run(["key", "suspend", &id]).expect(0);
    while failed(&["--key", &id]).len() < 2 {
        tokio::task::yield_now().await;
    }
    assert!(failed(&[])[1].contains("keygate alert enable"), "{:?}", failed(&[]));
    assert!(failed(&["--tenant", "other"]).is_empty());
    assert!(receiver.next().is_none(), "it was asked once");
    shown(&home, 1, &["alert", "test", &id], &["keygate alert enable"]);
    shown(&home, 0, &["alert", "enable", &id], &["sent to again"]);
    shown(&home, 0, &["alert", "enable", &id], &["was not disabled"]);
    shown(&home, 1, &["alert", "test", &id], &["gone"]);

    // The operator is told of tokens that are no key's.
    for _ in 0..6 {
        assert_eq!(home.code("kg_live_nonsense"), "MALFORMED");
    }
    let told = authority.place.path().join("told.jsonl");
    while !std::fs::read_to_string(&told).unwrap_or_default().contains("daemon.brute_force") {
        tokio::task::yield_now().await;
    }
    daemon.stop();
}
