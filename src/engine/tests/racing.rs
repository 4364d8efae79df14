//! Limits under real threads: several ask, one plays the ledger, one changes limits.
//!
//! The clock is one that the threads share, so that windows come and go. What was admitted is
//! counted by those who were admitted, and held against the caps when all have ended.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::mpsc;
use std::time::Duration;

use parking_lot::Mutex;

use super::limits::credits;
use super::*;
use crate::engine::Account;
use crate::key::TenantLimits;
use crate::key::limits::{LimitPeriod, NamedLimit};
use crate::limit::Period;

const KEYS: u8 = 3;
const ASKERS: usize = 4;
const ROUNDS: usize = 1_500;
/// Far more than a race takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a race, and says so if it does not end.
fn race(name: &'static str, run: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::channel();
    let runner = std::thread::spawn(move || {
        run();
        // Nobody listens any more if it took too long.
        let _ = done.send(());
    });
    match ended.recv_timeout(PATIENCE) {
        Err(mpsc::RecvTimeoutError::Timeout) => {
            panic!("{name}: not over after {PATIENCE:?}; threads wait for each other's locks")
        }
        // Ended or panicked: joined either way, so that its words are heard.
        _ => runner.join().expect("the race holds"),
    }
}

/// An engine whose ledger is a thread of its own.
struct Track {
    bench: Bench,
    tokens: Vec<String>,
    /// Accounts that somebody waits for.
    wanted: Mutex<Vec<Account>>,
    over: AtomicBool,
}

impl Track {
    fn new() -> Self {
        let bench = Bench::new();
        let tokens = (1..=KEYS).map(|key| bench.token(key)).collect();
        Self { bench, tokens, wanted: Mutex::default(), over: AtomicBool::new(false) }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    fn put(&self, key: u8, limits: impl FnOnce(&mut KeyRecord)) {
        let mut record = self.bench.record(key.into(), &self.tokens[usize::from(key - 1)]);
        limits(&mut record);
        self.bench.put(&record);
    }

    fn share(&self, limits: TenantLimits) {
        let record = TenantRecord { limits, ..TenantRecord::unrecorded("acme") };
        self.bench.engine.put_tenant(&record, self.bench.clock.now());
    }

    /// The thread of the ledger: debits who waits and who asks, one after the other.
    fn keep_ledger(&self) {
        while !self.is_over() {
            let mut accounts = std::mem::take(&mut *self.wanted.lock());
            accounts.extend(self.bench.engine.take_asking());
            for account in accounts {
                if let Some(debit) = self.bench.engine.debit(&account, self.bench.clock.now()) {
                    std::thread::yield_now();
                    self.bench.engine.grant(&account, &debit);
                }
            }
            std::thread::yield_now();
        }
    }

    /// A verdict, when the ledger has debited what it waits for.
    fn ask(&self, key: u8, cost: u64, names: &[&str]) -> Answer {
        let mut frame = BytesMut::new();
        let token = self.tokens[usize::from(key - 1)].as_bytes();
        let mut writer = ValidateWriter::new(&mut frame, ValidateFlags::default(), cost, token);
        names.iter().for_each(|name| writer.limit(name));
        let question = [Validate::decode(&frame).expect("well-formed")];
        let mut answers = Answers::default();
        loop {
            self.bench.engine.validate(&question, self.bench.clock.now(), &mut answers);
            let Some(wait) = &answers[0].wait else { return answers[0].clone() };
            self.wanted.lock().extend(wait.accounts());
            std::thread::yield_now();
        }
    }

    /// Lets askers ask, each with its number, while the ledger is kept and `change` is called.
    fn run(&self, asker: impl Fn(u64) + Sync, change: impl Fn() + Sync) {
        /// Ends the other threads however the askers end.
        struct Ends<'a>(&'a AtomicBool);
        impl Drop for Ends<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Release);
            }
        }
        std::thread::scope(|scope| {
            scope.spawn(|| self.keep_ledger());
            scope.spawn(|| {
                while !self.is_over() {
                    change();
                    std::thread::yield_now();
                }
            });
            let _ends = Ends(&self.over);
            let asker = &asker;
            let askers: Vec<_> =
                (0..ASKERS as u64).map(|number| scope.spawn(move || asker(number))).collect();
            askers.into_iter().for_each(|asker| asker.join().expect("no panic"));
        });
    }
}

/// Every limit of key and tenant at once; caps that are met from all sides.
#[test]
fn no_limit_of_any_window_is_exceeded_by_racing_threads() {
    race("racing for units", || {
        let track = Track::new();
        let caps = |it: &mut KeyRecord| {
            (it.requests_per_day, it.monthly_request_quota) = (Some(700), Some(1_000));
            (it.max_uses, it.concurrent_requests) = (Some(2_000), Some(50));
            it.credits = Some(credits(1_500, None));
            let period = LimitPeriod::Calendar(Period::Month);
            it.limits = vec![NamedLimit { name: "a".to_owned(), count: 400, period }];
        };
        let shared = TenantLimits {
            requests_per_second: Some(1_000_000),
            requests_per_day: Some(1_500),
            monthly_request_quota: Some(1_900),
            concurrent_requests: Some(60),
            ..TenantLimits::default()
        };
        (1..=KEYS).for_each(|key| track.put(key, caps));
        track.share(shared);
        let admitted: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
        let (named, flips) = (AtomicU64::new(0), AtomicUsize::new(0));
        let ask = |number: u64| {
            for round in 0..ROUNDS as u64 {
                let key = 1 + u8::try_from((round + number) % u64::from(KEYS)).expect("few");
                let cost = 1 + round % 3;
                let names: &[&str] = if round % 2 == 0 && key == 1 { &["a"] } else { &[] };
                let verdict = track.ask(key, cost, names).verdict;
                if verdict.code.is_valid() {
                    admitted[usize::from(key - 1)].fetch_add(cost, Ordering::Relaxed);
                    named.fetch_add(cost * names.len() as u64, Ordering::Relaxed);
                    let slot = verdict.slot;
                    let report = Increment { slot, ..Increment::new(key.into()) };
                    let outcome = track.bench.engine.increment(&report, track.bench.clock.now());
                    assert_eq!(outcome, IncrementOutcome::Counted, "its slot was held");
                }
            }
        };
        // Puts that change nothing of limits, and ones that take a rate away and set it.
        track.run(ask, || {
            let flip = flips.fetch_add(1, Ordering::Relaxed);
            track.put(1 + u8::try_from(flip % usize::from(KEYS)).expect("few"), |it| {
                caps(it);
                it.requests_per_second = (flip % 2 == 0).then_some(1_000_000);
            });
            track.share(shared);
        });
        let admitted: Vec<u64> = admitted.iter().map(|it| it.load(Ordering::Relaxed)).collect();
        assert!(admitted.iter().all(|units| *units <= 700), "{admitted:?} of 700 each");
        let all: u64 = admitted.iter().sum();
        assert!((1_490..=1_500).contains(&all), "{all} of the tenant's day of 1,500");
        assert!(named.into_inner() <= 400);
        let engine = &track.bench.engine;
        for (key, units) in (1..).zip(&admitted) {
            let figures = engine.limit_figures(&Account::Key(key), track.bench.clock.now());
            let durable = figures.iter().filter(|it| it.cap >= 700 && it.cap < 3_000);
            assert!(durable.clone().all(|it| it.spent == *units), "{units}: {figures:?}");
        }
        assert_eq!(engine.slots_held(), 0);
    });
}

/// While others are admitted and limits change, who is denied leaves no trace.
#[test]
fn whoever_is_denied_in_a_race_has_changed_nothing() {
    race("denied in a race", || {
        let track = Track::new();
        let share = || {
            track.share(TenantLimits {
                requests_per_day: Some(1_000_000),
                concurrent_requests: Some(900),
                ..TenantLimits::default()
            });
        };
        // The first is denied by its day, last of all to be spent; the second goes on.
        let closed = |it: &mut KeyRecord| {
            it.requests_per_second = Some(1_000);
            (it.requests_per_day, it.monthly_request_quota) = (Some(0), Some(500));
            (it.concurrent_requests, it.credits) = (Some(5), Some(credits(500, None)));
        };
        track.put(1, closed);
        track.put(2, |it| {
            (it.requests_per_day, it.monthly_request_quota) = (Some(500_000), Some(600_000));
        });
        share();
        let before = track.bench.engine.limit_figures(&Account::Key(1), track.bench.clock.now());
        let admitted = AtomicU64::new(0);
        let ask = |number: u64| {
            for _ in 0..ROUNDS {
                if number.is_multiple_of(2) {
                    let verdict = track.ask(1, 1, &[]).verdict;
                    assert_eq!(verdict.code, VerdictCode::QuotaExceeded);
                    assert_eq!(verdict.slot, None);
                } else {
                    let verdict = track.ask(2, 2, &[]).verdict;
                    let valid = u64::from(verdict.code.is_valid());
                    admitted.fetch_add(2 * valid, Ordering::Relaxed);
                    let report = Increment { slot: verdict.slot, ..Increment::new(2) };
                    track.bench.engine.increment(&report, track.bench.clock.now());
                }
            }
        };
        track.run(ask, || {
            track.put(1, closed);
            share();
        });
        let now = track.bench.clock.now();
        assert_eq!(track.bench.engine.limit_figures(&Account::Key(1), now), before);
        assert_eq!(track.bench.engine.usage(1, false).total.requests, 0);
        let tenant = track.bench.engine.limit_figures(&Account::Tenant("acme".into()), now);
        assert_eq!(tenant[0].spent, admitted.into_inner(), "the tenant's day is what was admitted");
        assert_eq!(track.bench.engine.slots_held(), 0);
    });
}

/// Counted by those who hold them: one is taken before it is counted and uncounted before it is
/// given back, so that the count is never above what is held.
#[test]
fn there_are_never_more_slots_than_there_may_be() {
    race("racing for slots", || {
        let track = Track::new();
        let (own, of_tenant) = (3_u32, 5_u32);
        (1..=KEYS).for_each(|key| track.put(key, |it| it.concurrent_requests = Some(own)));
        let share = || {
            let concurrent_requests = Some(of_tenant);
            track.share(TenantLimits { concurrent_requests, ..TenantLimits::default() });
        };
        share();
        let held: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
        let all = AtomicU64::new(0);
        let ask = |number: u64| {
            let mut mine = Vec::new();
            let rounds = 2 * ROUNDS as u64;
            for round in 0..rounds {
                let key = 1 + u8::try_from((round * 7 + number) % u64::from(KEYS)).expect("few");
                let held_of = |key: u8| &held[usize::from(key - 1)];
                if let Some(slot) = track.ask(key, 1, &[]).verdict.slot {
                    let of_key = held_of(key).fetch_add(1, Ordering::SeqCst) + 1;
                    let together = all.fetch_add(1, Ordering::SeqCst) + 1;
                    assert!(of_key <= own.into(), "{of_key} of key {key}");
                    assert!(together <= of_tenant.into(), "{together} of the tenant");
                    mine.push((key, slot));
                }
                if mine.len() > 1 || round % 3 == 0 || round + 1 == rounds {
                    for (key, slot) in mine.drain(..) {
                        held_of(key).fetch_sub(1, Ordering::SeqCst);
                        all.fetch_sub(1, Ordering::SeqCst);
                        assert!(track.bench.engine.release_slot(
                            key.into(),
                            slot,
                            track.bench.clock.now()
                        ));
                    }
                }
            }
        };
        track.run(ask, || {
            track.put(1, |it| it.concurrent_requests = Some(own));
            share();
        });
        assert_eq!(track.bench.engine.slots_held(), 0);
    });
}

/// Windows that change under way: each has its cap, and no more.
#[test]
fn every_day_has_its_cap_when_the_clock_goes_on_in_a_race() {
    race("racing over midnights", || {
        const DAYS: usize = 6;
        let track = Track::new();
        track.put(1, |it| it.requests_per_day = Some(900));
        let start = track.bench.clock.now().wall_us;
        let day_of = |wall_us: i64| usize::try_from((wall_us / DAY_US) - start / DAY_US);
        let admitted: Vec<AtomicU64> = (0..=DAYS).map(|_| AtomicU64::new(0)).collect();
        let ask = |number: u64| {
            for round in 0..ROUNDS {
                // What is admitted is of this day or, if it waited, of a later one.
                let before = track.bench.clock.now().wall_us;
                let valid = track.ask(1, 1, &[]).verdict.code.is_valid();
                let after = track.bench.clock.now().wall_us;
                if valid && before / DAY_US == after / DAY_US {
                    let day = day_of(before).expect("time goes on");
                    admitted[day].fetch_add(1, Ordering::Relaxed);
                }
                if number == 0 && round % (ROUNDS / DAYS) == ROUNDS / DAYS - 1 {
                    track.bench.clock.step_wall_us(DAY_US);
                }
            }
        };
        track.run(ask, || ());
        let admitted: Vec<u64> = admitted.into_iter().map(AtomicU64::into_inner).collect();
        assert!(admitted.iter().all(|units| *units <= 900), "{admitted:?} of 900 a day");
        assert!(admitted.iter().sum::<u64>() > 900, "more than one day was met: {admitted:?}");
    });
}
