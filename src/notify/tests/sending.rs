//! What is sent, when, and what becomes of it.

use super::*;
use crate::alert::EntryState;
use crate::alert::attempts::WAITS_S;

fn retry() -> Option<Behaviour> {
    Some(Behaviour::Says(Outcome::Retry { why: "it is away".to_owned() }))
}

#[tokio::test(start_paused = true)]
async fn what_a_crash_comes_between_is_sent_again_under_its_id() {
    let mut bench = Bench::new("");
    bench.behave(&hook("a"), Some(Behaviour::NeverAnswers));
    bench.insert(&expiring(7, 3));
    bench.look();
    bench.send();
    let first = bench.asked(1).await[0].clone();
    let mut bench = bench.crashed("");
    bench.behave(&hook("a"), None);
    bench.look();
    bench.send();
    let again = bench.asked(2).await[1].clone();
    assert_eq!((first.ids, &first.to), (again.ids.clone(), &again.to));
    bench.settled(1, 0, 0).await;
    bench.look();
    // Its row goes without a sync of its own; with the next it is gone for good.
    bench.committer.commit(Vec::new(), true).expect("synced");
    let bench = bench.crashed("");
    assert_eq!(bench.notifier.stats().waiting, 0);
    assert_eq!(bench.courier.asked.lock().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_dead_receiver_delays_no_other() {
    let mut bench = Bench::new("");
    bench.behave(&hook("a"), Some(Behaviour::NeverAnswers));
    let key = KeyRecord {
        alert_emails: vec!["x@b.example".to_owned()],
        monitoring_integrations: vec!["s".to_owned()],
        ..expiring(7, 3)
    };
    bench.insert(&key);
    bench.insert(&KeyRecord { webhook_url: url("b"), ..expiring(8, 3) });
    bench.look();
    bench.send();
    bench.settled(2, 0, 0).await;
    bench.clock.advance_us(3 * S);
    bench.settled(3, 0, 0).await;
    let mut to: Vec<_> = bench.asked(4).await.into_iter().map(|asked| asked.to).collect();
    to.sort();
    let sink = Destination::Sink { name: "s".to_owned() };
    assert_eq!(to, [hook("a"), hook("b"), mail("x"), sink]);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_away_is_tried_by_the_schedule() {
    let mut bench = Bench::new("");
    bench.behave(&hook("a"), retry());
    bench.insert(&expiring(7, 3));
    bench.look();
    bench.send();
    bench.settled(0, 0, 1).await;
    for (at, wait_s) in WAITS_S.into_iter().enumerate() {
        bench.advance_us(wait_s * i64::from(S) - i64::from(S));
        bench.notifier.shared.wake.notify_one();
        tokio::task::yield_now().await;
        assert_eq!(bench.courier.asked.lock().len(), at + 1, "not before {wait_s} s");
        // With the whole of the jitter.
        bench.advance_us(wait_s / 5 * i64::from(S) + i64::from(S));
        let last = at + 1 == WAITS_S.len();
        bench.settled(0, u64::from(last), (at + 2).min(WAITS_S.len()) as u64).await;
    }
    let entry = &bench.notifier.page(None, 1, |_| true).0[0];
    assert_eq!((entry.attempts, entry.why.as_str()), (7, "it is away"));
    assert!(matches!(entry.state, EntryState::Failed(_)));
    // Kept for a week, also over a restart.
    bench.look();
    bench.committer.commit(Vec::new(), true).expect("synced");
    let mut bench = bench.crashed("");
    assert_eq!(bench.notifier.stats().failed_kept, 1);
    bench.advance_us(7 * DAY_US + 1);
    bench.look();
    assert_eq!(bench.notifier.stats().failed_kept, 0);
}

#[tokio::test(start_paused = true)]
async fn mails_to_one_address_are_gathered() {
    let mut bench = Bench::new("");
    let mailed = |id, days| KeyRecord {
        webhook_url: String::new(),
        alert_emails: vec!["x@b.example".to_owned()],
        ..expiring(id, days)
    };
    bench.send();
    bench.insert(&mailed(7, 3));
    bench.look();
    bench.insert(&mailed(8, 3));
    bench.look();
    bench.insert(&mailed(9, 3));
    bench.look();
    assert_eq!(bench.courier.asked.lock().len(), 0);
    bench.clock.advance_us(S);
    bench.settled(3, 0, 0).await;
    assert_eq!(bench.asked(1).await[0].ids.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_web_hook_that_is_gone_gets_nothing_until_it_is_enabled_or_set_anew() {
    let mut bench = Bench::new("");
    bench.behave(&hook("a"), Some(Behaviour::Says(Outcome::Gone { why: "410".to_owned() })));
    bench.insert(&expiring(7, 3));
    bench.look();
    bench.send();
    bench.settled(0, 1, 0).await;
    assert!(bench.notifier.disabled_us("acme", &hook("a")).is_some());
    bench.behave(&hook("a"), None);
    bench.insert(&expiring(8, 3));
    bench.look();
    let entries = bench.notifier.page(None, 9, |_| true).0;
    assert!(matches!(entries[1].state, EntryState::Failed(_)), "{entries:?}");
    assert!(entries[1].why.contains("keygate alert enable"), "{}", entries[1].why);
    // The same URL of another tenant is another endpoint.
    bench.insert(&KeyRecord { tenant_id: "other".to_owned(), ..expiring(9, 3) });
    bench.look();
    bench.settled(1, 2, 0).await;
    // It is remembered over a restart.
    let mut bench = bench.crashed("");
    assert!(bench.notifier.enable("acme", &url("a")).expect("written").is_some());
    assert_eq!(bench.notifier.enable("acme", &url("a")).expect("written"), None);
    bench.insert(&expiring(10, 3));
    bench.look();
    bench.send();
    // What was delivered to the other's, too: that was not written before the crash.
    bench.settled(2, 0, 0).await;
    super::super::endpoints::set_disabled(&bench.notifier.shared, "acme", &url("a"), Some(5))
        .expect("written");
    bench.change(10, "update", |key| key.webhook_url = url("b"));
    bench.change(10, "update", |key| key.webhook_url = url("a"));
    bench.look();
    assert_eq!(bench.notifier.disabled_us("acme", &hook("a")), None);
}

#[tokio::test(start_paused = true)]
async fn each_endpoint_has_its_secret_and_two_during_an_overlap() {
    let mut bench = Bench::new("");
    bench.insert(&expiring(7, 3));
    bench.insert(&KeyRecord { tenant_id: "other".to_owned(), ..expiring(8, 3) });
    bench.look();
    bench.send();
    bench.settled(2, 0, 0).await;
    let asked = bench.asked(2).await;
    assert!(asked.iter().all(|asked| asked.secrets.len() == 1));
    assert_ne!(asked[0].secrets, asked[1].secrets);
    let shown = |bench: &Bench, overlap| {
        let secrets = bench.notifier.secrets("acme", &url("a"), overlap).expect("shown");
        let bytes = secrets.iter().map(|it| WebhookSecret::parse(&it.text).expect("a secret"));
        bytes.map(|secret| secret.as_bytes().to_vec()).collect::<Vec<_>>()
    };
    assert!(asked.iter().any(|asked| asked.secrets == shown(&bench, None)));
    let both = shown(&bench, Some(60 * i64::from(S)));
    assert_eq!(both.len(), 2);
    // Also after a restart, and until the overlap ends.
    let mut bench = bench.crashed("");
    bench.send();
    bench.insert(&expiring(9, 3));
    bench.look();
    assert_eq!(bench.asked(3).await[2].secrets, both);
    bench.clock.advance_us(60 * S);
    assert_eq!(shown(&bench, None), both[..1]);
    let held = bench.store.as_ref();
    let rows = crate::store::Store::scan(held, b"aw", None, 10).expect("readable");
    for secret in both {
        let plain = |row: &(Vec<u8>, Vec<u8>)| row.1.windows(32).any(|part| part == secret);
        assert!(!rows.iter().any(plain), "secrets are sealed");
    }
}

/// A lookup or a disk that hangs, and that nothing can interrupt.
#[test]
fn a_stop_waits_for_nothing_that_hangs() {
    let bench = Bench::new("");
    let (held, hanging) = mpsc::channel();
    let (asked, answered) = mpsc::channel();
    bench.behave(&hook("a"), Some(Behaviour::Hangs(Arc::new(Mutex::new(hanging)))));
    bench.insert(&expiring(7, 3));
    let Bench { notifier, mut monitor, clock, .. } = bench;
    while let Ok(signal) = monitor.signals().try_recv() {
        monitor.hear(signal);
    }
    monitor.tick(clock.now());
    *notifier.monitor.lock() = Some(monitor);
    notifier.start().expect("threads");
    let stopping = std::thread::spawn(move || {
        while notifier.stats().delivered == 0 {
            std::thread::yield_now();
        }
        notifier.stop();
        let _ = asked.send(());
    });
    let stopped = answered.recv_timeout(std::time::Duration::from_secs(60));
    drop(held);
    stopping.join().expect("stopped");
    assert_eq!(stopped, Ok(()), "before what hangs has ended");
}
