//! Limits that a key has beside the common ones, each with a name by which requests spend it.

use keygate_protocol::verdict::LimitName;

use super::demand::Demand;
use super::gcra::{Rate, RateState};
use super::judge::{Ask, Judging, Reports};
use super::quota::{Fit, Fresh, Grant, Quota, next_lease};
use super::spent::Spent;
use super::window::Period;
use super::{NamedDebits, NamedFigures};

/// What a record says of a named limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTerms {
    /// Its name.
    pub name: Box<str>,
    /// What it limits.
    pub form: NamedForm,
}

/// The two kinds of named limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedForm {
    /// So many units in each window of the calendar.
    Calendar {
        /// Which windows.
        period: Period,
        /// Units in each.
        count: u64,
    },
    /// So many units at once, which come back one by one over a period.
    Rolling(Rate),
}

/// A named limit and what was spent of it, under the lock of its key's budget.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) name: Box<str>,
    /// Units that requests wait for.
    wanted: u64,
    /// Whether it is short of units. Its key asks for leases for other limits' sake too.
    asks: bool,
    demand: Demand,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Calendar { period: Period, quota: Quota, stranded: u64 },
    Rolling(Rolling),
}

/// A rate that survives a crash: its lease is the arrival time up to which the ledger has debited.
#[derive(Debug, Clone, Copy)]
struct Rolling {
    rate: Rate,
    tat: RateState,
    leased: RateState,
    /// Units of the lease in hand; 0 where there is none to ask for the next at half of.
    lease: u64,
}

/// The lease that a named limit is to get.
#[derive(Debug, Clone, Copy)]
pub(super) enum NamedGrant {
    Calendar(Grant),
    Rolling { leased: RateState, units: u64 },
}

impl NamedGrant {
    pub(super) const fn is_some(&self) -> bool {
        match self {
            Self::Calendar(grant) => grant.units() > 0,
            Self::Rolling { units, .. } => *units > 0,
        }
    }
}

impl Named {
    pub(super) fn new(terms: &NamedTerms) -> Self {
        let state = match terms.form {
            NamedForm::Calendar { period, count } => {
                State::Calendar { period, quota: Quota::new(count), stranded: 0 }
            }
            NamedForm::Rolling(rate) => State::Rolling(Rolling::new(rate)),
        };
        let (name, demand) = (terms.name.clone(), Demand::default());
        Self { name, wanted: 0, asks: false, demand, state }
    }

    /// The limit under other terms. One of another form begins anew.
    pub(super) fn changed(&self, terms: &NamedTerms, policy: Spent, ask: &Ask<'_>) -> Self {
        let mut changed = Self::new(terms);
        match (&self.state, &mut changed.state) {
            (
                State::Calendar { period: old, quota, stranded },
                State::Calendar { period, quota: new, stranded: left },
            ) if old == period => {
                let (cap, window) = (new.cap(), period.window(ask.now.wall_us).number);
                *new = *quota;
                *left = new.change(cap, policy, window, *stranded);
            }
            (State::Rolling(old), State::Rolling(new)) => new.carry(old, policy, ask.wall_ns()),
            _ => {}
        }
        changed
    }

    pub(super) fn enter(&mut self, ask: &Ask<'_>) {
        if let State::Calendar { period, quota, stranded } = &mut self.state {
            let entered = quota.enter(period.window(ask.now.wall_us).number, Fresh::Empty);
            *stranded = entered.unwrap_or(*stranded);
        }
    }

    pub(super) fn judge(&self, name: LimitName, ask: &Ask<'_>, judging: &mut Judging) {
        match self.fit(ask) {
            Fit::Fits => {}
            Fit::Dry => judging.run_dry(),
            Fit::Exceeded => judging.deny(name, self.wait_us(ask)),
        }
    }

    fn fit(&self, ask: &Ask<'_>) -> Fit {
        match &self.state {
            State::Calendar { quota, .. } => quota.judge(ask.cost),
            State::Rolling(rolling) => rolling.fit(ask),
        }
    }

    fn wait_us(&self, ask: &Ask<'_>) -> Option<u64> {
        match &self.state {
            State::Calendar { period, quota, .. } => {
                let ends_us = period.window(ask.now.wall_us).ends_us;
                (ask.cost <= quota.cap()).then(|| ask.until(ends_us))
            }
            State::Rolling(Rolling { rate, tat, .. }) => {
                let judged = rate.judge(*tat, ask.cost, ask.wall_ns());
                judged.retry_after_ns.map(|ns| ns.div_ceil(1000))
            }
        }
    }

    /// Notes that a request waits for the units that the lease lacks; whether it lacks any.
    pub(super) fn want(&mut self, ask: &Ask<'_>) -> bool {
        if self.fit(ask) != Fit::Dry {
            return false;
        }
        self.wanted = self.wanted.saturating_add(ask.cost);
        self.asks = true;
        true
    }

    /// Spends; whether the next lease is to be asked for.
    pub(super) fn spend(&mut self, ask: &Ask<'_>) -> bool {
        self.demand.spend(ask.cost);
        let asks = match &mut self.state {
            State::Calendar { quota, .. } => quota.spend(ask.cost),
            State::Rolling(rolling) => rolling.spend(ask),
        };
        self.asks |= asks;
        asks
    }

    pub(super) fn report(&self, name: LimitName, ask: &Ask<'_>, reports: &mut Reports<'_>) {
        let exceeded = reports.denied && self.fit(ask) == Fit::Exceeded;
        let retry_after_us = if exceeded { self.wait_us(ask) } else { None };
        let (figures, reset_us) = match &self.state {
            State::Calendar { period, quota, .. } => {
                let ends_us = period.window(ask.now.wall_us).ends_us;
                let reset_us = if quota.spent() == 0 { 0 } else { ask.until(ends_us) };
                ([quota.cap(), quota.remaining()], reset_us)
            }
            State::Rolling(Rolling { rate, tat, .. }) => {
                let reset_us = rate.reset_after_ns(*tat, ask.wall_ns()).div_ceil(1000);
                ([rate.burst(), rate.remaining(*tat, ask.wall_ns())], reset_us)
            }
        };
        reports.push(name, figures, retry_after_us, Some(reset_us));
    }

    /// The next lease, if it is short of one.
    pub(super) fn debit(&mut self, ask: &Ask<'_>) -> NamedGrant {
        if !std::mem::take(&mut self.asks) {
            return NamedGrant::Calendar(Grant::default());
        }
        let (wanted, demand) = (std::mem::take(&mut self.wanted), self.demand.take(ask.now));
        match &mut self.state {
            State::Calendar { quota, .. } => NamedGrant::Calendar(quota.debit(wanted, demand)),
            State::Rolling(rolling) => rolling.debit(wanted, demand, ask.wall_ns()),
        }
    }

    pub(super) fn grant(&mut self, grant: NamedGrant) {
        match (&mut self.state, grant) {
            (State::Calendar { quota, .. }, NamedGrant::Calendar(grant)) => quota.grant(grant),
            (State::Rolling(rolling), NamedGrant::Rolling { leased, units }) if units > 0 => {
                rolling.leased = rolling.leased.max(leased);
                rolling.lease = units;
            }
            _ => {}
        }
    }

    /// The figures for the ledger, with a lease that is being debited.
    pub(super) fn row(&self, grant: Option<NamedGrant>) -> NamedDebits {
        let figures = match (&self.state, grant) {
            (State::Calendar { period, quota, stranded }, grant) => {
                let grant = match grant {
                    Some(NamedGrant::Calendar(grant)) => grant,
                    _ => Grant::default(),
                };
                NamedFigures::Calendar { period: *period, debits: quota.row(grant, *stranded) }
            }
            (State::Rolling(Rolling { rate, tat, leased, .. }), grant) => {
                let granted = match grant {
                    Some(NamedGrant::Rolling { leased, .. }) => leased,
                    _ => RateState::default(),
                };
                NamedFigures::Rolling {
                    count: rate.count(),
                    period_ns: rate.period_ns(),
                    debited: (*leased).max(granted).tat(),
                    spent: tat.tat(),
                }
            }
        };
        NamedDebits { name: self.name.to_string(), figures }
    }

    pub(super) fn give_back(&mut self) {
        match &mut self.state {
            State::Calendar { quota, .. } => quota.give_back(),
            State::Rolling(rolling) => rolling.give_back(),
        }
    }

    /// Takes the ledger's figures, if they are of a limit of this form: what was debited counts as
    /// spent.
    pub(super) fn restore(&mut self, figures: &NamedFigures, ask: &Ask<'_>) {
        match (&mut self.state, figures) {
            (
                State::Calendar { period, quota, stranded },
                NamedFigures::Calendar { period: of, debits },
            ) if period == of => {
                *stranded = quota.restore(debits);
            }
            (State::Rolling(rolling), NamedFigures::Rolling { count, period_ns, debited, .. }) => {
                rolling.restore(*count, *period_ns, *debited, ask.wall_ns());
            }
            _ => {}
        }
    }

    /// Counts all that may be spent now as spent.
    pub(super) fn exhaust(&mut self, ask: &Ask<'_>) {
        match &mut self.state {
            State::Calendar { quota, stranded, .. } => {
                *stranded = u64::MAX;
                quota.exhaust(*stranded);
            }
            State::Rolling(rolling) => {
                let rate = &rolling.rate;
                rolling.tat = rate.later(RateState::default(), rate.burst(), ask.wall_ns());
                rolling.give_back();
            }
        }
    }

    /// Cap, spent, remaining, outstanding, stranded; and when the window ends.
    pub(super) fn figures(&self, ask: &Ask<'_>) -> ([u64; 5], Option<i64>) {
        match &self.state {
            State::Calendar { period, quota, stranded } => {
                (quota.figures(*stranded), Some(period.window(ask.now.wall_us).ends_us))
            }
            State::Rolling(Rolling { rate, tat, leased, .. }) => {
                let remaining = rate.remaining(*tat, ask.wall_ns());
                let not_leased = rate.remaining((*leased).max(*tat), ask.wall_ns());
                let spent = rate.burst().saturating_sub(remaining);
                ([rate.burst(), spent, remaining, remaining - not_leased, 0], None)
            }
        }
    }
}

impl Rolling {
    fn new(rate: Rate) -> Self {
        let none = RateState::default();
        Self { rate, tat: none, leased: none, lease: 0 }
    }

    fn fit(&self, ask: &Ask<'_>) -> Fit {
        let judged = self.rate.judge(self.tat, ask.cost, ask.wall_ns());
        match judged.allowed {
            false => Fit::Exceeded,
            true if ask.cost == 0 || judged.next.tat() <= self.leased.tat() => Fit::Fits,
            true => Fit::Dry,
        }
    }

    fn spend(&mut self, ask: &Ask<'_>) -> bool {
        self.tat = self.rate.judge(self.tat, ask.cost, ask.wall_ns()).next;
        self.leased = self.leased.max(self.tat);
        let left = self.rate.units_between(self.tat, self.leased);
        let asks = self.lease != 0 && left <= self.lease / 2;
        if asks {
            self.lease = 0;
        }
        asks
    }

    /// A lease goes on from where the last one ended, or from now if that is past, and never beyond
    /// what the rate would admit at this instant. Its end may lie between two units of those who
    /// wait, so it is what they need to the tick: what is rounded away would never be debited.
    fn debit(&mut self, wanted: u64, demand: u64, wall_ns: u64) -> NamedGrant {
        let (rate, from) = (&self.rate, self.leased.max(self.tat));
        let base = rate.not_before(self.tat, wall_ns);
        let (held, left) = (rate.units_between(base, self.leased), rate.remaining(from, wall_ns));
        let units = next_lease(rate.burst(), [held, left], wanted, demand);
        let most = rate.later(RateState::default(), rate.burst(), wall_ns);
        let needed = rate.later(base, wanted, wall_ns).min(most);
        let leased = rate.later(from, units, wall_ns).max(needed);
        let grows = units > 0 || wanted > 0 && leased.tat() > from.tat();
        if !grows {
            if self.lease == 0 {
                self.lease = held;
            }
            return NamedGrant::Calendar(Grant::default());
        }
        NamedGrant::Rolling { leased, units: units.max(1) }
    }

    const fn give_back(&mut self) {
        self.leased = self.tat;
        self.lease = 0;
    }

    fn carry(&mut self, old: &Self, policy: Spent, wall_ns: u64) {
        if self.rate == old.rate && policy != Spent::Reset {
            *self = *old;
            return;
        }
        // What was leased and not spent goes back: the ledger is told.
        self.tat = old.rate.carry(old.tat, &self.rate, wall_ns, policy);
        self.leased = self.tat;
    }

    /// As by a change, where the figures are of another rate.
    fn restore(&mut self, count: u64, period_ns: u64, debited: u128, wall_ns: u64) {
        let tat = RateState::from_tat(debited);
        self.tat = if (count, period_ns) == (self.rate.count(), self.rate.period_ns()) {
            tat
        } else {
            Rate::new(count, period_ns, count).carry(tat, &self.rate, wall_ns, Spent::Keep)
        };
        self.leased = self.tat;
        self.lease = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Now;
    use crate::limit::{Calendar, LedgerState, Windows};

    const START_US: i64 = 1_800_000_000_000_000;

    /// Arrival times and leases lie between units, and the last of them are short of a whole one.
    #[test]
    fn whoever_waits_for_a_rolling_limit_fits_once_it_is_debited() {
        for (count, period_s) in [(20, 7_200), (7, 60), (1, 1), (3, 86_400)] {
            let rate = Rate::new(count, period_s * 1_000_000_000, count);
            let mut named =
                Named::new(&NamedTerms { name: "x".into(), form: NamedForm::Rolling(rate) });
            let (mut wall_us, mut random, mut waited) = (START_US, 1_u64, 0);
            for _ in 0..20_000 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let step_us = (random >> 16) % (period_s * 1_000_000 / count + 1);
                wall_us += i64::try_from(step_us).expect("a step");
                let cost = (random >> 40) % (count + 1);
                let calendar = Calendar::at(wall_us);
                let now = Now { mono_ns: 0, wall_us };
                let (void, ledger) = (Windows::default(), LedgerState::Open);
                let said = Windows::LAST;
                let ask = Ask { cost, spends: true, now, calendar: &calendar, void, said, ledger };
                if named.want(&ask) {
                    waited += 1;
                    let grant = named.debit(&ask);
                    assert!(grant.is_some(), "{cost} of {count} in {period_s} s: no debit");
                    named.grant(grant);
                    assert_eq!(named.fit(&ask), Fit::Fits, "{cost} of {count} in {period_s} s");
                }
                if named.fit(&ask) == Fit::Fits {
                    named.spend(&ask);
                }
                let State::Rolling(Rolling { leased, .. }) = named.state else { return };
                let most = rate.later(RateState::default(), count, ask.wall_ns());
                assert!(leased.tat() <= most.tat(), "no more is leased than there is");
            }
            assert!(waited > 100, "{waited} of {count} in {period_s} s");
        }
    }
}
