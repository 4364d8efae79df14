use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::event::{AlertKind, Subject};

const S: i64 = 1_000_000;

fn alert(tenant: &str, at_us: i64) -> Arc<Alert> {
    Arc::new(Alert {
        id: format!("msg_{at_us}"),
        kind: AlertKind::Test,
        at_us,
        subject: Subject::Key { id: u64::MAX, tenant: tenant.to_owned() },
        name: "näme".to_owned(),
        summary: "a line".to_owned(),
        detail: serde_json::json!({"spent": 5, "share": 0.5}),
    })
}

fn hook(name: &str) -> Destination {
    Destination::Webhook { url: format!("https://{name}.example/") }
}

fn mail(name: &str) -> Destination {
    Destination::Email { address: format!("{name}@b.example") }
}

fn outbox(alerts_max: usize) -> Outbox {
    Outbox::new(OutboxBounds { alerts_max, failed_kept_us: 100 * S, attempts_at_once_max: 64 })
}

fn add(outbox: &mut Outbox, to: Destination, at_us: i64) -> u64 {
    let seq = outbox.number();
    outbox.add(Entry::new(seq, alert("t", at_us), to, at_us));
    seq
}

fn retry() -> Outcome {
    Outcome::Retry("it is away".to_owned())
}

#[test]
fn each_destination_has_its_order_and_holds_up_no_other() {
    let mut outbox = outbox(100);
    let dead: Vec<u64> = (0..3).map(|at| add(&mut outbox, hook("dead"), at)).collect();
    let live: Vec<u64> = (0..3).map(|at| add(&mut outbox, hook("live"), at)).collect();
    let first = outbox.take_due(5).expect("due");
    let second = outbox.take_due(5).expect("due");
    assert_eq!((&first.seqs[..], &second.seqs[..]), (&dead[..1], &live[..1]));
    assert_eq!(outbox.take_due(5), None, "one attempt at a time at each");
    outbox.settle(&second.route, &second.seqs, &Outcome::Delivered, 6, 0);
    let third = outbox.take_due(6).expect("the next of the one that takes them");
    assert_eq!(third.seqs, live[1..2]);
    outbox.settle(&first.route, &first.seqs, &retry(), 7, 0);
    outbox.settle(&third.route, &third.seqs, &Outcome::Delivered, 7, 0);
    assert_eq!(outbox.take_due(7).expect("due").seqs, live[2..3]);
    assert_eq!(outbox.take_due(7), None, "the others of the dead one wait behind the first");
    assert_eq!(outbox.next_due_us(), Some(7 + 5 * S));
    assert_eq!(outbox.take_due(7 + 5 * S).expect("due").seqs, dead[..1], "the same again");
}

#[test]
fn a_dead_destination_is_tried_by_the_schedule_and_given_up() {
    let mut outbox = outbox(100);
    let seq = add(&mut outbox, hook("dead"), 0);
    let mut now = 0;
    let mut waits = Vec::new();
    while let Some(attempt) = outbox.take_due(now) {
        outbox.settle(&attempt.route, &attempt.seqs, &retry(), now, 0);
        let Some(due) = outbox.next_due_us() else { break };
        assert_eq!(outbox.take_due(due - 1), None);
        waits.push((due - now) / S);
        now = due;
    }
    assert_eq!(waits, attempts::WAITS_S);
    let entry = outbox.list(None).next().expect("one");
    assert_eq!((entry.seq, entry.attempts), (seq, 7));
    assert_eq!((entry.state, entry.why.as_str()), (EntryState::Failed(now), "it is away"));
    assert_eq!(outbox.sizes(), (0, 1));
    let counts = OutboxCounts { failed: 1, retried: 6, ..OutboxCounts::default() };
    assert_eq!(outbox.counts(), counts);
    outbox.sweep(now + 100 * S);
    assert_eq!(outbox.sizes(), (0, 1));
    outbox.sweep(now + 100 * S + 1);
    assert_eq!((outbox.sizes(), outbox.list(None).count()), ((0, 0), 0));
}

#[test]
fn mails_to_one_address_are_one_digest_and_everything_else_goes_one_by_one() {
    let mut outbox = outbox(1000);
    for at in 0..150 {
        add(&mut outbox, mail("a"), at);
        add(&mut outbox, mail("b"), at);
    }
    let first = outbox.take_due(200).expect("due");
    assert_eq!((first.alerts.len(), first.seqs.len()), (DIGEST_MAX, DIGEST_MAX));
    outbox.settle(&first.route, &first.seqs, &Outcome::Delivered, 200, 0);
    let sizes: Vec<usize> =
        std::iter::from_fn(|| outbox.take_due(200)).map(|attempt| attempt.alerts.len()).collect();
    assert_eq!(sizes, [100, 50], "b, and what is left of a");
}

#[test]
fn whoever_is_gone_gets_nothing_of_what_waits() {
    let mut outbox = outbox(100);
    for at in 0..3 {
        add(&mut outbox, hook("gone"), at);
    }
    let other = outbox.number();
    let of_another = Entry::new(other, alert("another", 9), hook("gone"), 9);
    outbox.add(of_another);
    let attempt = outbox.take_due(5).expect("due");
    outbox.settle(&attempt.route, &attempt.seqs, &Outcome::Gone("410".to_owned()), 5, 0);
    assert_eq!(outbox.sizes(), (1, 3));
    assert_eq!(outbox.take_due(9).expect("due").seqs, [other], "the same URL of another tenant");
}

#[test]
fn a_full_outbox_puts_out_the_oldest_of_whom_most_waits_for() {
    let mut outbox = outbox(5);
    let few = [add(&mut outbox, hook("few"), 0)];
    let many: Vec<u64> = (2..6).map(|at| add(&mut outbox, hook("many"), at)).collect();
    // What is under way is not put out.
    outbox.take_due(0).expect("few");
    let attempt = outbox.take_due(2).expect("many");
    assert_eq!(attempt.seqs, many[..1]);
    let new = add(&mut outbox, hook("few"), 6);
    assert!(few[0] < new);
    let failed: Vec<u64> = outbox
        .list(None)
        .filter(|entry| matches!(entry.state, EntryState::Failed(_)))
        .map(|entry| entry.seq)
        .collect();
    assert_eq!((failed, outbox.counts().put_out), (vec![many[1]], 1));
    outbox.settle(&attempt.route, &attempt.seqs, &Outcome::Delivered, 6, 0);
    assert_eq!(outbox.take_due(9).expect("due").seqs, many[2..3]);
}

#[test]
fn a_row_is_read_back_as_it_was() {
    let mut entry = Entry::new(9, alert("t", 5), mail("a"), 7);
    entry.attempts = 3;
    entry.why = "why".to_owned();
    let row = entry.row();
    assert_eq!((row.attempts, row.due_us, row.failed_us), (3, 7, None));
    assert_eq!(Entry::from_row(9, row).expect("read"), entry);
    entry.state = EntryState::Failed(8);
    assert_eq!(Entry::from_row(9, entry.row()).expect("read"), entry);
    let broken = OutboxRow { to: b"{}".to_vec(), ..entry.row() };
    assert!(Entry::from_row(9, broken).is_err());
    assert_ne!(entry.alert.detail, Value::Null);
}

fn of(tenant: &str, to: Destination, seq: u64, at_us: i64) -> Entry {
    Entry::new(seq, alert(tenant, at_us), to, at_us)
}

#[test]
fn a_tenant_with_many_dead_destinations_puts_out_its_own_alerts() {
    let mut outbox = outbox(10);
    for seq in 1..8 {
        outbox.add(of("greedy", hook(&seq.to_string()), seq, 0));
    }
    for seq in 8..11 {
        outbox.add(of("victim", hook("victim"), seq, 0));
    }
    for seq in 11..15 {
        outbox.add(of("greedy", hook(&seq.to_string()), seq, 0));
    }
    let put_out = outbox.list(None).filter(|it| it.state != EntryState::Waiting);
    let tenants: Vec<_> = put_out.map(|it| it.alert.subject.tenant()).collect();
    assert_eq!(tenants, [Some("greedy"); 4]);
}

#[test]
fn a_tenant_has_a_quarter_of_the_attempts_and_operator_and_sinks_have_their_own() {
    let mut outbox = outbox(1000);
    outbox.bounds.attempts_at_once_max = 8;
    let mut seq = 0;
    let mut add = |outbox: &mut Outbox, tenant: &str, to: Destination| {
        seq += 1;
        outbox.add(of(tenant, to, seq, i64::try_from(seq).expect("small")));
    };
    for tenant in ["a", "b", "c", "d", "e"] {
        for at in 0..5 {
            add(&mut outbox, tenant, hook(&at.to_string()));
        }
    }
    let sinks = ["s", "t", "u"].map(|name| Destination::Sink { name: name.to_owned() });
    sinks.into_iter().for_each(|sink| add(&mut outbox, "f", sink));
    let mut of_daemon = of("", hook("operator"), 1000, 1000);
    let daemon = Alert { subject: Subject::Daemon, ..(*of_daemon.alert).clone() };
    of_daemon.alert = Arc::new(daemon);
    outbox.add(of_daemon);
    let taken: Vec<Attempt> = std::iter::from_fn(|| outbox.take_due(2000)).collect();
    let of = |wanted: &str| {
        let is = |it: &&Attempt| it.route.tenant == wanted && !it.route.operator;
        taken.iter().filter(is).count()
    };
    assert_eq!(["a", "b", "c", "d", "e", "f"].map(of), [2, 2, 2, 2, 0, 2]);
    assert_eq!(taken.iter().filter(|it| it.route.operator).count(), 1);
    assert_eq!(outbox.next_due_us(), None, "nothing that may be tried");
    outbox.settle(&taken[0].route, &taken[0].seqs, &Outcome::Delivered, 2000, 0);
    assert_eq!(outbox.take_due(2000).map(|it| it.route.tenant).as_deref(), Some("a"));
}

#[test]
fn an_alert_that_has_failed_twice_is_passed_by_others() {
    let mut outbox = outbox(100);
    let bad = add(&mut outbox, hook("a"), 0);
    let mut now = 0;
    for _ in 0..6 {
        now = outbox.next_due_us().expect("it waits");
        let attempt = outbox.take_due(now).expect("due");
        assert_eq!(attempt.seqs, [bad]);
        outbox.settle(&attempt.route, &attempt.seqs, &retry(), now, 0);
    }
    let due = outbox.next_due_us().expect("it waits");
    now += 2 * 60 * S;
    let good = add(&mut outbox, hook("a"), now);
    let attempt = outbox.take_due(now).expect("due");
    assert_eq!(attempt.seqs, [good]);
    outbox.settle(&attempt.route, &attempt.seqs, &Outcome::Delivered, now, 0);
    // It may have been the receiver, so it is tried soon; if not, its own schedule goes on.
    let soon = outbox.next_due_us().expect("it waits");
    assert_eq!(soon, now + 3 * 60 * S, "five minutes after its last attempt");
    let attempt = outbox.take_due(soon).expect("due");
    outbox.settle(&attempt.route, &attempt.seqs, &retry(), soon, 0);
    assert_eq!((outbox.next_due_us(), outbox.entries[&bad].attempts), (Some(due), 6));
    // Whoever says that it is well again has it tried now.
    outbox.hurry(None, soon + S);
    assert_eq!(outbox.take_due(soon + S).expect("due").seqs, [bad]);
}

#[test]
fn a_dead_destination_is_not_tried_with_one_alert_after_the_other() {
    let mut outbox = outbox(1000);
    for at in 0..500 {
        add(&mut outbox, hook("dead"), at);
    }
    let (mut now, mut attempts) = (500, 0);
    while now < 3600 * S {
        while let Some(attempt) = outbox.take_due(now) {
            attempts += 1;
            outbox.settle(&attempt.route, &attempt.seqs, &retry(), now, 0);
        }
        now += S;
    }
    assert!((55..75).contains(&attempts), "about one a minute: {attempts}");
}

#[test]
fn a_clock_that_is_set_back_stops_nothing() {
    const YEAR: i64 = 365 * 86_400 * S;
    let mut outbox = outbox(100);
    outbox.sweep(YEAR);
    let first = add(&mut outbox, hook("a"), YEAR);
    let failed = add(&mut outbox, hook("b"), YEAR);
    let attempt = outbox.take_due(YEAR).expect("due");
    outbox.settle(&attempt.route, &attempt.seqs, &retry(), YEAR, 0);
    let attempt = outbox.take_due(YEAR).expect("due");
    let refused = Outcome::Refused("no".to_owned());
    outbox.settle(&attempt.route, &attempt.seqs, &refused, YEAR, 0);
    let row = outbox.entries[&first].row();
    outbox.sweep(1000 * S);
    assert_eq!(outbox.next_due_us(), Some(1005 * S), "as long from now as it was");
    outbox.sweep(1101 * S);
    assert!(!outbox.entries.contains_key(&failed), "what failed is kept as long as any");
    // It was set back before the start.
    let mut outbox = self::outbox(100);
    outbox.add(Entry::from_row(first, row).expect("read"));
    outbox.sweep(1000 * S);
    assert_eq!(outbox.take_due(1000 * S).expect("due").seqs, [first]);
}

proptest! {
    /// Whatever happens in whatever order: nothing is lost, nothing is under way twice, what is
    /// written is what is there, and every destination gets its alerts in order.
    #[test]
    fn nothing_is_lost_and_the_rows_are_what_is_there(
        steps in proptest::collection::vec((0_u8..8, 0_u8..4, any::<u32>()), 1..200)
    ) {
        let mut outbox = outbox(12);
        let mut stored: BTreeMap<u64, OutboxRow> = BTreeMap::new();
        let mut under_way: Vec<Attempt> = Vec::new();
        let mut added = 0;
        let mut now = 0;
        let mut last_delivered = BTreeMap::<Route, u64>::new();
        let mut passed = BTreeSet::new();
        for (what, which, random) in steps {
            now += i64::from(random % 50_000) * S / 10;
            match what {
                0..=3 => {
                    let to = if which < 2 { hook(&which.to_string()) } else { mail("m") };
                    let seq = outbox.number();
                    let entry = Entry::new(seq, alert("t", now), to, now);
                    stored.insert(seq, entry.row());
                    outbox.add(entry);
                    added += 1;
                }
                4 | 5 => {
                    if let Some(attempt) = outbox.take_due(now) {
                        prop_assert!(under_way.iter().all(|other| other.route != attempt.route));
                        prop_assert!(!attempt.seqs.is_empty());
                        prop_assert_eq!(attempt.seqs.len(), attempt.alerts.len());
                        under_way.push(attempt);
                    }
                }
                _ if !under_way.is_empty() => {
                    let at = usize::from(which) % under_way.len();
                    let Attempt { route, seqs, .. } = under_way.remove(at);
                    let outcome = match random % 5 {
                        0 => Outcome::Gone("gone".to_owned()),
                        1 => Outcome::Refused("no".to_owned()),
                        2 => retry(),
                        _ => Outcome::Delivered,
                    };
                    if outcome == Outcome::Delivered {
                        let last = last_delivered.entry(route.clone()).or_default();
                        prop_assert!(seqs.is_sorted());
                        for seq in &seqs {
                            prop_assert!(*last < *seq || passed.contains(seq));
                            *last = (*last).max(*seq);
                        }
                    }
                    outbox.settle(&route, &seqs, &outcome, now, random);
                    let passes = |seq: &&u64| outbox.entries.get(*seq).is_some_and(|it| it.attempts >= 2);
                    passed.extend(seqs.iter().filter(passes).copied());
                }
                _ => outbox.sweep(now),
            }
            for (seq, row) in outbox.take_unwritten(3) {
                match row {
                    Some(row) => drop(stored.insert(seq, row)),
                    None => drop(stored.remove(&seq)),
                }
            }
        }
        for (seq, row) in outbox.take_unwritten(usize::MAX) {
            match row {
                Some(row) => drop(stored.insert(seq, row)),
                None => drop(stored.remove(&seq)),
            }
        }
        let (waiting, failed) = outbox.sizes();
        prop_assert!(waiting <= 12 + under_way.iter().map(|it| it.seqs.len()).sum::<usize>());
        prop_assert!(failed <= 12);
        let counts = outbox.counts();
        prop_assert_eq!(added, waiting as u64 + counts.delivered + counts.failed);
        let there: Vec<u64> = outbox.entries.keys().copied().collect();
        prop_assert_eq!(there, stored.keys().copied().collect::<Vec<_>>());
        prop_assert!(outbox.entries.iter().all(|(seq, entry)| stored[seq] == entry.row()));
        // Once nothing is under way, everything that waits comes due.
        for Attempt { route, seqs, .. } in under_way {
            outbox.settle(&route, &seqs, &retry(), now, 0);
        }
        let mut left = outbox.sizes().0;
        while let Some(due) = outbox.next_due_us() {
            let Attempt { route, seqs, .. } = outbox.take_due(due.max(now)).expect("it is due");
            left -= seqs.len();
            outbox.settle(&route, &seqs, &Outcome::Delivered, due.max(now), 0);
        }
        prop_assert_eq!((left, outbox.sizes().0), (0, 0));
    }
}
