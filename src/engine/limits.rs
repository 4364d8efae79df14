//! The last check of a decision: the limits of the key and of its tenant, judged at one instant
//! and spent from all or none.
//!
//! The locks are taken in one order, that of the entry, of the key's budget, of the tenant's, and
//! held together until all is spent. Most keys have neither budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use keygate_protocol::{LimitName, Validate, ValidateFlags, VerdictCode, Warnings};
use parking_lot::MutexGuard;

use super::catalog::Catalog;
use super::entry::{Cell, Entry};
use super::ledger::Account;
use super::tenants::Shared;
use super::{Answer, Engine};
use crate::clock::Now;
use crate::limit::{
    Ask, Budget, Calendar, Judging, LedgerState, NamedPlaces, Names, Reports, SLOT_TTL_MS, Windows,
    code_of,
};
use crate::usage::Hour;

/// An instant, with all that decisions derive from it: read and computed once for a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Now,
    calendar: Calendar,
    void: Windows,
    said: Windows,
    ledger: LedgerState,
    /// The hour that usage is counted in.
    pub(super) hour: Hour,
}

/// Slots of all keys: what tells one from the other, and how many are held.
#[derive(Debug)]
pub(super) struct AllSlots {
    next: AtomicU64,
    held: AtomicUsize,
    max: usize,
}

impl AllSlots {
    /// Before the first is taken.
    const FIRST: u64 = 0;

    pub(super) const fn new(max: usize) -> Self {
        Self { next: AtomicU64::new(Self::FIRST), held: AtomicUsize::new(0), max }
    }

    /// Has slots numbered from here on.
    pub(super) fn begin(&self, first: u64) {
        self.next.store(first.max(Self::FIRST + 1), Ordering::Relaxed);
    }

    /// A number that no slot had before. Where nobody has said from which on, they go on from the
    /// time of the first, in microseconds.
    fn take(&self, now: Now) -> u64 {
        if self.next.load(Ordering::Relaxed) == Self::FIRST {
            self.next.fetch_max(now.wall_us.max(1).unsigned_abs(), Ordering::Relaxed);
        }
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn are_all_taken(&self) -> bool {
        self.held.load(Ordering::Relaxed) >= self.max
    }

    /// Slots that are held, those whose time has ended unseen among them.
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Slots of a key that is gone.
    pub(super) fn forget(&self, held: u32) {
        self.held.fetch_sub(held as usize, Ordering::Relaxed);
    }

    /// Counts what has changed in a budget since it held `before`.
    pub(super) fn count(&self, before: u32, budget: &mut Budget) {
        let after = budget.slots_held();
        if after > before {
            self.held.fetch_add((after - before) as usize, Ordering::Relaxed);
        } else if after < before {
            self.held.fetch_sub((before - after) as usize, Ordering::Relaxed);
        }
    }
}

impl Moment {
    /// What a cost is asked of limits at this instant.
    pub(super) const fn ask(&self, cost: u64, spends: bool) -> Ask<'_> {
        let Self { now, calendar, void, said, ledger, .. } = self;
        Ask { cost, spends, now: *now, calendar, void: *void, said: *said, ledger: *ledger }
    }
}

/// The budgets that a request spends from, locked.
struct Budgets<'c> {
    cell: MutexGuard<'c, Cell>,
    own: Option<MutexGuard<'c, Budget>>,
    shared: Option<MutexGuard<'c, Shared>>,
}

impl Engine {
    pub(super) fn moment(&self, now: Now) -> Moment {
        let desk = &self.ledger;
        let (void, said, ledger) = (desk.void(), desk.said(), desk.state());
        let (calendar, hour) = (Calendar::at(now.wall_us), Hour::of(now.wall_us));
        Moment { now, calendar, void, said, ledger, hour }
    }

    /// 9: limits, all or nothing; then the verdict is counted.
    pub(super) fn spend(
        &self,
        catalog: &Catalog,
        entry: &Entry,
        question: &Validate<'_>,
        moment: &Moment,
        answer: &mut Answer,
    ) {
        let ask = moment.ask(question.cost, !question.peeks());
        let mut budgets = Budgets {
            cell: entry.cell.lock(),
            own: catalog.budget(entry).map(|budget| budget.lock()),
            shared: catalog.tenants.shared(entry.tenant).map(|shared| shared.lock()),
        };
        let Some(places) = budgets.places(question) else {
            answer.verdict.code = VerdictCode::LimitUnknown;
            return;
        };
        let mut judging = Judging::default();
        let next = budgets.judge(self, entry, &places, &ask, &mut judging);
        answer.verdict.denied_by = judging.denied_by();
        if let Some(name) = judging.denied_by() {
            answer.verdict.code = code_of(name);
        } else if judging.is_dry() && ask.spends && ask.ledger != LedgerState::Allows {
            answer.verdict.code = VerdictCode::LedgerUnavailable;
            if ask.ledger == LedgerState::Open {
                answer.wait = Some(budgets.want(catalog, entry, &places, &ask));
            }
        }
        let spends = ask.spends && answer.verdict.code.is_valid();
        if spends {
            budgets.take_slot(self, entry, question, &ask, answer);
            self.commit(catalog, entry, &mut budgets, next, &places, &ask);
            self.count(catalog, entry, &mut budgets.cell, moment, &ask);
        }
        budgets.report(entry, &places, &ask, answer);
        let moved = spends && entry.moved(&mut budgets.cell);
        drop(budgets);
        if moved {
            self.usage.mark(entry.id);
            if let Some(address) = question.facts.stated().address {
                self.usage.used_from(entry.id, address);
            }
        }
    }

    /// Counts a valid verdict. Those of another hour are told apart first.
    fn count(
        &self,
        catalog: &Catalog,
        entry: &Entry,
        cell: &mut Cell,
        moment: &Moment,
        ask: &Ask<'_>,
    ) {
        if !moment.hour.holds(cell.last_used_us) && cell.total_requests > 0 {
            let (hour, price) = (Hour::of(cell.last_used_us), catalog.policy(entry).price_nano);
            self.usage.end_hour(entry.id, cell.total_requests, hour, price);
        }
        cell.count(ask.now);
        if ask.cost != 1 {
            let price = catalog.policy(entry).price_nano;
            self.usage.spent(entry.id, ask.cost, price, moment.hour);
        }
    }

    /// Spends from every limit, and asks for the leases that are half spent.
    fn commit(
        &self,
        catalog: &Catalog,
        entry: &Entry,
        budgets: &mut Budgets<'_>,
        next: [crate::limit::RateState; 2],
        places: &NamedPlaces,
        ask: &Ask<'_>,
    ) {
        let [second, shared_second] = next;
        budgets.cell.second = second;
        if let Some(own) = &mut budgets.own
            && own.spend(places, ask)
        {
            self.ledger.ask(Account::Key(entry.id));
        }
        if let Some(shared) = &mut budgets.shared {
            shared.state = shared_second;
            if shared.budget.spend(&NamedPlaces::new(), ask) {
                let name = catalog.tenants.name(entry.tenant);
                self.ledger.ask(Account::Tenant(Arc::clone(name)));
            }
        }
    }
}

impl Budgets<'_> {
    /// Where the limits stand that the request names; `None` where the key lacks one.
    fn places(&self, question: &Validate<'_>) -> Option<NamedPlaces> {
        if !question.facts.names_limits() {
            return Some(NamedPlaces::new());
        }
        self.own.as_ref()?.places(question.facts.limits())
    }

    /// Judges all limits. Answers what the two rates per second become if the cost is spent.
    fn judge(
        &mut self,
        engine: &Engine,
        entry: &Entry,
        places: &NamedPlaces,
        ask: &Ask<'_>,
        judging: &mut Judging,
    ) -> [crate::limit::RateState; 2] {
        let second = entry.second.judge(self.cell.second, Names::KEY.second(), ask, judging);
        let mut shared_second = crate::limit::RateState::default();
        let mut limits_slots = false;
        if let Some(own) = &mut self.own {
            engine.enter(own, ask);
            own.judge(&Names::KEY, ask, judging);
            limits_slots |= own.slots_max().is_some();
        }
        if let Some(shared) = &mut self.shared {
            let name = Names::TENANT.second();
            shared_second = shared.second.judge(shared.state, name, ask, judging);
            engine.enter(&mut shared.budget, ask);
            shared.budget.judge(&Names::TENANT, ask, judging);
            limits_slots |= shared.budget.slots_max().is_some();
        }
        if let Some(own) = &self.own {
            own.judge_named(places, ask, judging);
        }
        if limits_slots && ask.cost > 0 && engine.slots.are_all_taken() {
            judging.deny_for_room(LimitName::Slots);
        }
        [second, shared_second]
    }

    /// Notes what the request waits for.
    fn want(
        &mut self,
        catalog: &Catalog,
        entry: &Entry,
        places: &NamedPlaces,
        ask: &Ask<'_>,
    ) -> Wait {
        let own = self.own.as_mut().is_some_and(|own| own.want(places, ask));
        let shared = self.shared.as_mut();
        let shared = shared.is_some_and(|it| it.budget.want(&NamedPlaces::new(), ask));
        Wait {
            key: own.then_some(entry.id),
            tenant: shared.then(|| Arc::clone(catalog.tenants.name(entry.tenant))),
        }
    }

    /// Takes a slot of each of the two that limit them, under one number.
    fn take_slot(
        &mut self,
        engine: &Engine,
        entry: &Entry,
        question: &Validate<'_>,
        ask: &Ask<'_>,
        answer: &mut Answer,
    ) {
        let mut own = self.own.as_deref_mut();
        let mut shared = self.shared.as_deref_mut().map(|shared| &mut shared.budget);
        let limited = |budget: &Option<&mut Budget>| {
            budget.as_ref().is_some_and(|budget| budget.slots_max().is_some())
        };
        if !limited(&own) && !limited(&shared) {
            return;
        }
        let ttl_ns = slot_ttl_ns([own.as_deref(), shared.as_deref()]);
        let serial = engine.slots.take(ask.now);
        let expires_ns = ask.now.mono_ns.saturating_add(ttl_ns);
        for budget in [&mut own, &mut shared] {
            if let Some(budget) = budget.as_deref_mut().filter(|it| it.slots_max().is_some()) {
                engine.take_slot(budget, serial, expires_ns, entry.id);
            }
        }
        answer.verdict.slot = Some(serial);
        answer.slot_stays = question.flags.has(ValidateFlags::KEEP_SLOT);
    }

    /// How all limits stand after the decision.
    fn report(&mut self, entry: &Entry, places: &NamedPlaces, ask: &Ask<'_>, answer: &mut Answer) {
        let denied = answer.verdict.denied_by.is_some();
        let mut reports = Reports::new(&mut answer.verdict.limits, denied);
        entry.second.report(self.cell.second, Names::KEY.second(), ask, &mut reports);
        if let Some(own) = &mut self.own {
            own.report(&Names::KEY, ask, &mut reports);
        }
        if let Some(shared) = &mut self.shared {
            let name = Names::TENANT.second();
            shared.second.report(shared.state, name, ask, &mut reports);
            shared.budget.report(&Names::TENANT, ask, &mut reports);
        }
        if let Some(own) = &self.own {
            own.report_named(places, ask, &mut reports);
        }
        if reports.near_end() {
            answer.verdict.warnings = answer.verdict.warnings.with(Warnings::QUOTA_NEAR_END);
        }
    }
}

/// For how long a slot is held: as the key says, or else its tenant.
pub(super) fn slot_ttl_ns(budgets: [Option<&Budget>; 2]) -> u64 {
    let said = budgets.into_iter().flatten().find_map(Budget::slot_ttl_ns);
    said.unwrap_or(u64::from(SLOT_TTL_MS) * 1_000_000)
}

/// The accounts whose debit a request waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    key: Option<u64>,
    tenant: Option<Arc<str>>,
}

impl Wait {
    /// The accounts.
    pub fn accounts(&self) -> impl Iterator<Item = Account> + '_ {
        let tenant = self.tenant.as_ref().map(|name| Account::Tenant(Arc::clone(name)));
        self.key.map(Account::Key).into_iter().chain(tenant)
    }
}
