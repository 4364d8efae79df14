//! The engine under a trace, with the ledger played around it as `src/ledger` does it.

use std::collections::BTreeMap;

use bytes::BytesMut;
use keygate_protocol::validate::ValidateWriter;
use keygate_protocol::{Increment, RenewOutcome, SlotRenew, Validate, ValidateFlags, VerdictCode};

use super::adopt;
use super::calendar;
use super::compare;
use super::ops::{Fate, KEYS, NAMES, Op, TENANTS, Terms, Whose, all_accounts, tenant_of};
use super::oracle::Model;
use crate::clock::Now;
use crate::engine::{Account, Answer, Answers, Engine, EngineLimits};
use crate::key::token::{Prefixes, random_bytes_for_token};
use crate::key::{KeyRecord, Pepper, TenantLimits, TenantRecord};
use crate::limit::{AccountRow, Change, Debit, Figures, Spent, Windows};

/// How often a request is judged anew behind its debits.
const DEBITS_MAX: usize = 8;

/// What the ledger has of an account, and a debit whose row is kept and that is not granted yet.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) row: Option<AccountRow>,
    debit: Option<Debit>,
    /// How the limits stood before the present row was debited without being granted.
    pub(super) before: Option<Vec<Figures>>,
}

/// An engine and what stands around it, beside the model of it.
pub(super) struct Run {
    pub(super) engine: Engine,
    pub(super) model: Model,
    pub(super) now: Now,
    pub(super) ledger: BTreeMap<Whose, Kept>,
    pub(super) terms: BTreeMap<Whose, Terms>,
    /// Windows that the ledger has said initial leases may be out in.
    ahead: Windows,
    void: Windows,
    tokens: Vec<String>,
}

pub(super) fn account(whose: Whose) -> Account {
    match whose {
        Whose::Key(key) => Account::Key(key as u64 + 1),
        Whose::Tenant(at) => Account::Tenant(TENANTS[at].into()),
    }
}

fn whose(account: &Account) -> Whose {
    let is = |whose: &Whose| self::account(*whose) == *account;
    all_accounts().find(is).expect("one of ours")
}

fn engine() -> Engine {
    let limits = EngineLimits {
        keys_max: 1000,
        expiry_warning_us: 0,
        increment_id_window_us: i64::MAX,
        increment_ids_max: 1 << 20,
        slots_max: 1 << 20,
        usage_history: true,
        usage_detail_bytes_max: 1 << 30,
    };
    Engine::new(Pepper::new(&[3; 32]), Prefixes::default(), limits)
}

impl Run {
    pub(super) fn new(wall_us: i64) -> Self {
        let engine = engine();
        let token = |key: usize| {
            let byte = u8::try_from(key).expect("few keys");
            let random = vec![byte; random_bytes_for_token()];
            engine.prefixes().make(false, &random).expect("enough bytes").to_string()
        };
        let tokens = (0..KEYS).map(token).collect();
        let now = Now { mono_ns: 0, wall_us };
        let run = Self {
            engine,
            model: Model::new(),
            now,
            ledger: all_accounts().map(|whose| (whose, Kept::default())).collect(),
            terms: all_accounts().map(|whose| (whose, Terms::default())).collect(),
            ahead: Windows::default(),
            void: Windows::default(),
            tokens,
        };
        run.put_all();
        run
    }

    fn put_all(&self) {
        for (whose, terms) in &self.terms {
            self.put(*whose, terms, &Change::default());
        }
    }

    fn put(&self, whose: Whose, terms: &Terms, change: &Change) {
        match whose {
            Whose::Key(key) => {
                let token = self.tokens[key].as_bytes();
                let record = KeyRecord {
                    id: key as u64 + 1,
                    key_hash: Some(self.engine.pepper().seal_token(token)),
                    tenant_id: TENANTS[tenant_of(key)].to_owned(),
                    requests_per_second: terms.second,
                    burst: terms.burst,
                    requests_per_day: terms.day,
                    monthly_request_quota: terms.month,
                    max_uses: terms.lifetime,
                    concurrent_requests: terms.slots,
                    slot_ttl_seconds: terms.slot_ttl_s,
                    limits: terms.named.clone(),
                    credits: terms.credits,
                    ..KeyRecord::default()
                };
                self.engine.change(&record, change, self.now).expect("the catalog takes it");
            }
            Whose::Tenant(at) => {
                let limits = TenantLimits {
                    requests_per_second: terms.second,
                    burst: terms.burst,
                    requests_per_day: terms.day,
                    monthly_request_quota: terms.month,
                    max_uses: terms.lifetime,
                    concurrent_requests: terms.slots,
                    slot_ttl_seconds: terms.slot_ttl_s,
                };
                let record = TenantRecord { limits, ..TenantRecord::unrecorded(TENANTS[at]) };
                self.engine.change_tenant(&record, change, self.now);
            }
        }
    }

    /// One step; what is wrong after it.
    pub(super) fn step(&mut self, op: &Op) -> Result<(), String> {
        // The ledger looks at the clock in time.
        self.ahead = self.ahead.later(Windows::at(self.now.wall_us + Windows::AHEAD_US));
        match op {
            Op::Validate { key, cost, peek, names } => self.validate((*key, *cost, *peek), names),
            Op::Increment { key, slot, refund } => self.increment(*key, *slot, *refund),
            Op::Renew { key, slot } => self.renew(*key, *slot),
            Op::Figures(whose) => self.compare_figures(*whose),
            Op::Debit(whose, fate) => {
                self.debit(*whose, *fate);
                Ok(())
            }
            Op::Settle(whose, give_back) => {
                self.settle(*whose, *give_back);
                Ok(())
            }
            Op::Advance { ns } => {
                self.go(*ns);
                Ok(())
            }
            Op::Edge { period, us } => {
                let ends_us = calendar::ends_us(*period, self.now.wall_us) + us;
                let us = u64::try_from(ends_us - self.now.wall_us).unwrap_or(0);
                self.go(us * 1000);
                Ok(())
            }
            Op::Step { us } => {
                // From 1971 on: nothing that a trace has is longer than a year.
                self.now.wall_us = (self.now.wall_us + us).max(365 * 86_400_000_000);
                Ok(())
            }
            Op::Update { whose, terms, spent } => {
                self.update(*whose, terms, *spent);
                Ok(())
            }
            Op::Restart => self.restart(),
            Op::Crash => self.crash(),
        }
    }

    fn go(&mut self, ns: u64) {
        self.now.mono_ns += ns;
        self.now.wall_us += i64::try_from(ns / 1000).expect("days");
    }

    fn validate(
        &mut self,
        (key, cost, peek): (usize, u64, bool),
        names: &[usize],
    ) -> Result<(), String> {
        let mut frame = BytesMut::new();
        let flags = if peek { ValidateFlags::PEEK } else { ValidateFlags::default() };
        let token = self.tokens[key].as_bytes();
        let mut writer = ValidateWriter::new(&mut frame, flags, cost, token);
        names.iter().for_each(|name| writer.limit(NAMES[*name]));
        let question = Validate::decode(&frame).expect("well-formed");
        let answer = self.judged(&question)?;
        let said = self.model.validate((key, cost, peek), names, self.now);
        compare::verdict(&answer.verdict, &said, key as u64 + 1)?;
        if let Some(serial) = answer.verdict.slot {
            let given_out = &self.model.serials[self.model.serials_before..];
            if given_out.last().is_some_and(|last| *last >= serial) {
                return Err(format!("slot {serial} was given out before"));
            }
            self.model.take_slot(key, serial, self.now);
            compare::slots(&answer.verdict, &mut self.model, key, self.now)?;
        }
        self.debit_asking();
        Ok(())
    }

    fn debit_asking(&mut self) {
        for asking in self.engine.take_asking() {
            self.debit(whose(&asking), Fate::Granted);
        }
    }

    /// The answer when all debits are done that the request waits for.
    fn judged(&mut self, question: &Validate<'_>) -> Result<Answer, String> {
        let mut answers = Answers::default();
        for _ in 0..DEBITS_MAX {
            self.engine.validate(std::slice::from_ref(question), self.now, &mut answers);
            let answer = &answers[0];
            let Some(wait) = &answer.wait else { return Ok(answer.clone()) };
            if answer.verdict.code != VerdictCode::LedgerUnavailable {
                return Err(format!("it waits and says {:?}", answer.verdict.code));
            }
            for account in wait.accounts() {
                self.debit(whose(&account), Fate::Granted);
            }
        }
        Err(format!("still {} after {DEBITS_MAX} debits", answers[0].verdict.code.name()))
    }

    fn debit(&mut self, whose: Whose, fate: Fate) {
        let account = account(whose);
        // An account is in no two debits at a time.
        let kept = self.ledger.get_mut(&whose).expect("every account");
        if let Some(debit) = kept.debit.take() {
            self.engine.grant(&account, &debit);
            kept.before = None;
        }
        self.model.of(whose).enter(self.now, self.void);
        let before = self.engine.limit_figures(&account, self.now);
        let Some(debit) = self.engine.debit(&account, self.now) else { return };
        self.model.of(whose).written = true;
        if fate == Fate::Refused {
            return;
        }
        *kept = Kept { row: Some(debit.row.clone()), debit: None, before: Some(before) };
        match fate {
            Fate::Granted => {
                self.engine.grant(&account, &debit);
                kept.before = None;
            }
            Fate::Overtaken => {
                self.settle(whose, true);
                self.engine.grant(&account, &debit);
            }
            Fate::Kept | Fate::Refused => kept.debit = Some(debit),
        }
    }

    fn settle(&mut self, whose: Whose, give_back: bool) {
        self.model.of(whose).enter(self.now, self.void);
        if let Some(row) = self.engine.settle(&account(whose), give_back, self.now) {
            let kept = self.ledger.get_mut(&whose).expect("every account");
            (kept.row, kept.before) = (Some(row), None);
            self.model.of(whose).written = true;
        }
    }

    fn settle_if_moved(&mut self, whose: Whose) {
        // To look moves on to this instant.
        self.model.of(whose).enter(self.now, self.void);
        if self.engine.has_moved(&account(whose), self.now) {
            self.settle(whose, true);
        }
    }

    /// As the daemon does it: what was spent is settled, then the record changes, then what the
    /// change has given back.
    fn update(&mut self, whose: Whose, terms: &Terms, spent: Spent) {
        self.engine.reap_slots(self.now);
        let now = self.now;
        self.model.accounts.values_mut().for_each(|account| account.reap(now));
        self.settle_if_moved(whose);
        let mut terms = terms.clone();
        self.model.date_credits(whose, &mut terms, now);
        self.put(whose, &terms, &Change::naming(spent, |_| true));
        self.model.of(whose).change(&terms, spent, now, self.void);
        self.model.of(whose).forget_if_blank();
        self.settle_if_moved(whose);
        self.terms.insert(whose, terms);
    }

    /// The slot that was given out so many before the last.
    fn slot(&self, back: usize) -> u64 {
        let serials = &self.model.serials;
        serials.iter().rev().nth(back).copied().unwrap_or(7)
    }

    fn increment(
        &mut self,
        key: usize,
        slot: Option<usize>,
        refund: Option<(u128, u64)>,
    ) -> Result<(), String> {
        let slot = slot.map(|back| self.slot(back));
        let report = Increment {
            slot,
            id: refund.map(|(id, _)| id),
            refund: refund.map(|(_, credits)| credits),
            ..Increment::new(key as u64 + 1)
        };
        let outcome = self.engine.increment(&report, self.now);
        let expected = self.model.increment(key, slot, refund, self.now);
        if outcome != expected {
            return Err(format!("{outcome:?}, and the model says {expected:?}"));
        }
        // Their ids are stored before credits are given back, and the ledger is told at once.
        for (id, credits) in self.engine.take_refunds() {
            let refunded = self.engine.refund(id, credits, self.now);
            let expected = self.model.refund(key, credits, self.now);
            if refunded != expected {
                return Err(format!("{refunded} credits back, and the model says {expected}"));
            }
        }
        self.debit_asking();
        self.engine.take_fresh_increment_ids();
        Ok(())
    }

    fn renew(&mut self, key: usize, slot: usize) -> Result<(), String> {
        let slot = self.slot(slot);
        let renew = SlotRenew { key_id: key as u64 + 1, slot };
        let renewed = self.engine.renew_slot(None, renew, self.now) == RenewOutcome::Renewed;
        let expected = self.model.renew(key, slot, self.now);
        let same = renewed == expected;
        same.then_some(()).ok_or_else(|| format!("renewed: {renewed}, the model: {expected}"))
    }

    fn compare_figures(&mut self, whose: Whose) -> Result<(), String> {
        let figures = self.engine.limit_figures(&account(whose), self.now);
        self.model.of(whose).enter(self.now, self.void);
        compare::figures(&figures, self.model.of(whose), whose, self.now)
    }

    /// A clean stop writes the exact figures of all that have moved.
    fn restart(&mut self) -> Result<(), String> {
        for moved in self.engine.moved_accounts() {
            self.settle(whose(&moved), true);
        }
        self.start(None)
    }

    /// The rows are what there is.
    fn crash(&mut self) -> Result<(), String> {
        let now = self.now;
        let mut leased = BTreeMap::new();
        for whose in all_accounts() {
            self.model.of(whose).enter(now, self.void);
            leased.insert(whose, self.engine.limit_figures(&account(whose), now));
        }
        self.void = self.void.after_crash(Windows::at(now.wall_us), self.ahead);
        self.start(Some(&leased))
    }

    fn start(&mut self, crashed: Option<&BTreeMap<Whose, Vec<Figures>>>) -> Result<(), String> {
        self.engine = engine();
        self.put_all();
        for (whose, kept) in &self.ledger {
            if let Some(row) = &kept.row {
                self.engine.restore_account(&account(*whose), row, self.now);
            }
        }
        self.engine.set_void(self.void);
        self.model.ids.iter().for_each(|id| self.engine.restore_increment_id(*id, self.now));
        self.ahead = Windows::default();
        self.model.void = self.void;
        self.model.forget_rates_and_slots();
        for whose in all_accounts() {
            let kept = self.ledger.get_mut(&whose).expect("every account");
            let leased = crashed.map(|leased| leased[&whose].as_slice());
            let account = self.model.of(whose);
            adopt::account(account, kept, leased, self.void, self.now)
                .map_err(|wrong| format!("{whose:?} after the start: {wrong}"))?;
            (kept.debit, kept.before) = (None, None);
        }
        Ok(())
    }
}
