//! Limits by tables: windows, slots, credits, live change, tenants, names.

mod change;
mod credits;
mod leases;
mod named;
mod shared;
mod slots;
mod windows;

use std::cell::Cell;

use keygate_protocol::{LimitName, LimitReport, Verdict};

use super::*;
use crate::clock::Now;
use crate::engine::Account;
use crate::key::TenantLimits;
use crate::limit::{Change, FigureOf, Figures, Spent};

const SECOND_US: i64 = 1_000_000;

/// A bench whose ledger debits at once, with a clock that is moved to the nanosecond.
pub(super) struct Desk {
    pub(super) bench: Bench,
    now: Cell<Now>,
}

/// An instant of RFC 3339, in microseconds.
fn us(at: &str) -> i64 {
    Time::parse(at).expect("an instant").micros_up()
}

impl Desk {
    /// A desk at an instant.
    pub(super) fn at(instant: &str) -> Self {
        let now = Cell::new(Now { mono_ns: 0, wall_us: us(instant) });
        Self { bench: Bench::new(), now }
    }

    pub(super) fn now(&self) -> Now {
        self.now.get()
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.bench.engine
    }

    pub(super) fn go_ns(&self, ns: u64) {
        let Now { mono_ns, wall_us } = self.now.get();
        let wall_us = wall_us + i64::try_from(ns / 1000).expect("below an age");
        self.now.set(Now { mono_ns: mono_ns + ns, wall_us });
    }

    /// Lets time pass until an instant.
    pub(super) fn go_to(&self, instant: &str) {
        let left_us = us(instant) - self.now.get().wall_us;
        self.go_ns(u64::try_from(left_us).expect("it is later") * 1000);
    }

    /// Sets the wall clock alone.
    pub(super) fn step_to(&self, instant: &str) {
        self.now.set(Now { wall_us: us(instant), ..self.now.get() });
    }

    /// A key of `acme`, with these limits; what was spent becomes what the policy says.
    pub(super) fn set(&self, key: u8, spent: Spent, limits: impl FnOnce(&mut KeyRecord)) {
        let mut record = self.bench.record(key.into(), &self.bench.token(key));
        limits(&mut record);
        let change = Change::naming(spent, |_| true);
        self.engine().change(&record, &change, self.now()).expect("the catalog takes it");
    }

    pub(super) fn put(&self, key: u8, limits: impl FnOnce(&mut KeyRecord)) {
        self.set(key, Spent::Keep, limits);
    }

    /// What the keys of `acme` share.
    pub(super) fn share(&self, limits: TenantLimits) {
        let record = TenantRecord { limits, ..TenantRecord::unrecorded("acme") };
        self.engine().put_tenant(&record, self.now());
    }

    /// A verdict, when its debits are done.
    pub(super) fn ask_as(
        &self,
        (key, cost, flags): (u8, u64, ValidateFlags),
        names: &[&str],
    ) -> Verdict {
        let mut frame = BytesMut::new();
        let token = self.bench.token(key);
        let mut writer = ValidateWriter::new(&mut frame, flags, cost, token.as_bytes());
        names.iter().for_each(|name| writer.limit(name));
        let question = [Validate::decode(&frame).expect("well-formed")];
        let mut answers = Answers::default();
        loop {
            self.engine().validate(&question, self.now(), &mut answers);
            let Some(wait) = answers[0].wait.clone() else { return answers[0].verdict };
            for account in wait.accounts() {
                let debit = self.engine().debit(&account, self.now()).expect("something to debit");
                self.engine().grant(&account, &debit);
            }
        }
    }

    pub(super) fn ask(&self, key: u8, cost: u64) -> Verdict {
        self.ask_as((key, cost, ValidateFlags::default()), &[])
    }

    pub(super) fn peek(&self, key: u8, cost: u64) -> Verdict {
        self.ask_as((key, cost, ValidateFlags::PEEK), &[])
    }

    pub(super) fn code(&self, key: u8, cost: u64) -> VerdictCode {
        self.ask(key, cost).code
    }

    /// How a limit stands.
    pub(super) fn left(&self, key: u8, name: LimitName) -> u64 {
        report(&self.peek(key, 1), name).remaining
    }

    /// A report; credits that it gives back are given.
    pub(super) fn report(&self, report: &Increment<'_>) -> (IncrementOutcome, u64) {
        let outcome = self.engine().increment(report, self.now());
        let refunds = self.engine().take_refunds();
        let given = refunds.into_iter().map(|(id, it)| self.engine().refund(id, it, self.now()));
        (outcome, given.sum())
    }

    pub(super) fn release(&self, key: u8, slot: Option<u64>) -> IncrementOutcome {
        assert!(slot.is_some(), "a slot was taken");
        self.report(&Increment { slot, ..Increment::new(key.into()) }).0
    }

    pub(super) fn figures(&self, account: &Account) -> Vec<Figures> {
        self.engine().limit_figures(account, self.now())
    }
}

pub(super) fn report(verdict: &Verdict, name: LimitName) -> LimitReport {
    *verdict.limits.get(name).expect("the verdict has the limit")
}

/// What people are shown is what verdicts say, limit by limit.
#[test]
fn figures_for_people_and_verdicts_agree() {
    let desk = Desk::at("2027-03-31T12:00:00Z");
    desk.put(1, |it| {
        (it.requests_per_second, it.burst) = (Some(3), Some(50));
        (it.requests_per_day, it.monthly_request_quota) = (Some(40), Some(20_000));
        (it.max_uses, it.concurrent_requests) = (Some(300), Some(30));
        it.credits = Some(credits(35, None));
    });
    desk.share(TenantLimits {
        requests_per_second: Some(100),
        requests_per_day: Some(500),
        monthly_request_quota: Some(1_000),
        max_uses: Some(2_000),
        concurrent_requests: Some(90),
        ..TenantLimits::default()
    });
    for cost in [1, 7, 3, 90, 1, 20, 3, 2, 400] {
        let verdict = desk.ask(1, cost);
        let accounts = [Account::Key(1), Account::Tenant("acme".into())];
        let shown: Vec<_> = accounts.iter().flat_map(|account| desk.figures(account)).collect();
        let names: Vec<LimitName> = verdict.limits.iter().map(|report| report.name).collect();
        let of = |it: &Figures| match it.limit {
            FigureOf::Common(name) => name,
            FigureOf::Named(_) => LimitName::Named1,
        };
        assert_eq!(names, shown.iter().map(of).collect::<Vec<_>>());
        for (report, figures) in verdict.limits.iter().zip(&shown) {
            let said = (report.limit, report.remaining);
            assert_eq!(said, (figures.cap, figures.remaining), "{figures:?}");
            assert_eq!(figures.cap, figures.spent + figures.remaining, "{figures:?}");
            assert_eq!(figures.stranded, 0, "{figures:?}");
        }
        desk.go_ns(100_000_000);
    }
}

/// A balance, set at the beginning of 1970 unless it is dated.
pub(super) fn credits(balance: u64, refill: Option<crate::key::Refill>) -> crate::key::Credits {
    crate::key::Credits { balance, refill, granted_at: None }
}
