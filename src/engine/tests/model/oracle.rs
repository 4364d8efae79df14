//! All limits of all accounts, slow and obvious: no lease, no ledger, no compactness.

use std::collections::{BTreeMap, BTreeSet};

use keygate_protocol::{LimitName, VerdictCode};

use super::calendar;
use super::ops::{KEYS, NAMES, TENANTS, Terms, Whose, all_accounts, tenant_of};
use super::parts::{Balance, Bucket, Form, Named, Stand, Units, initial};
use crate::clock::Now;
use crate::key::Time;
use crate::limit::{Period, Spent, Windows};

/// A slot that is held.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) serial: u64,
    pub(super) key: usize,
    pub(super) expires_ns: u64,
}

/// One key or tenant.
#[derive(Debug, Clone, Default)]
pub(super) struct Account {
    pub(super) is_tenant: bool,
    pub(super) second: Option<Bucket>,
    /// Whether it has any limit beyond the second, or had one of which something is spent.
    pub(super) there: bool,
    /// Whether the ledger may have a row.
    pub(super) written: bool,
    pub(super) day: Units,
    pub(super) month: Units,
    pub(super) lifetime: Units,
    pub(super) slots_max: Option<u32>,
    pub(super) slot_ttl_ns: Option<u64>,
    pub(super) slots: Vec<Held>,
    pub(super) credits: Option<Balance>,
    pub(super) named: Vec<Named>,
    /// Named limits that were taken away, with what was spent of them.
    pub(super) gone: Vec<Named>,
}

impl Account {
    /// Moves on to this instant.
    pub(super) fn enter(&mut self, now: Now, void: Windows) {
        if !self.there {
            return;
        }
        for (units, period, void) in
            [(&mut self.day, Period::Day, void.day), (&mut self.month, Period::Month, void.month)]
        {
            let window = calendar::number(period, now.wall_us);
            let lost = if window <= void { initial(units.cap) } else { 0 };
            units.enter(window, lost);
        }
        self.lifetime.enter(1, 0);
        self.credits.iter_mut().for_each(|balance| balance.enter(now.wall_us));
        self.named.iter_mut().for_each(|named| named.enter(now.wall_us));
        self.reap(now);
    }

    pub(super) fn reap(&mut self, now: Now) {
        self.slots.retain(|slot| slot.expires_ns > now.mono_ns);
    }

    pub(super) fn limits_beyond_the_second(&self) -> bool {
        [&self.day, &self.month, &self.lifetime].iter().any(|units| units.cap.is_some())
            || self.slots_max.is_some()
            || self.credits.is_some()
            || !self.named.is_empty()
    }

    /// Other limits.
    pub(super) fn change(&mut self, terms: &Terms, spent: Spent, now: Now, void: Windows) {
        let second = terms.second.map(|count| {
            let count = u64::from(count);
            Bucket::new(count, 1_000_000_000, terms.burst.unwrap_or(count))
        });
        self.second = match (self.second, second) {
            (Some(old), Some(new)) => Some(old.changed(new, spent, now.mono_ns)),
            (_, new) => new,
        };
        let new = !self.there;
        self.there |= terms.day.is_some()
            || terms.month.is_some()
            || terms.lifetime.is_some()
            || terms.slots.is_some()
            || terms.credits.is_some()
            || !terms.named.is_empty()
            || terms.slot_ttl_s.is_some()
            || self.is_tenant && terms.second.is_some();
        if !new {
            self.enter(now, void);
        }
        let number = |period| calendar::number(period, now.wall_us);
        self.day.change(terms.day.map(u64::from), spent, number(Period::Day));
        self.month.change(terms.month, spent, number(Period::Month));
        self.lifetime.change(terms.lifetime, spent, 1);
        self.slots_max = terms.slots;
        self.slot_ttl_ns = terms.slot_ttl_s.map(|ttl_s| u64::from(ttl_s) * 1_000_000_000);
        // The driver dates a balance that is set, and hands over the old one if none is.
        self.credits = match (self.credits.take(), terms.credits) {
            (Some(old), Some(credits)) if old.terms == credits => Some(old),
            (_, credits) => credits.map(Balance::new),
        };
        let (old, gone) = (std::mem::take(&mut self.named), std::mem::take(&mut self.gone));
        let of = |all: &[Named], name: &str| all.iter().find(|named| named.name == name).cloned();
        let limits = terms.named.iter();
        self.named = limits
            .map(|limit| match (of(&old, &limit.name), of(&gone, &limit.name)) {
                (Some(old), _) => old.changed(limit, spent, now.wall_us),
                (None, Some(gone)) if spent != Spent::Reset => gone.back(limit, now.wall_us),
                (None, _) => Named::new(limit),
            })
            .collect();
        let there = |named: &Named| self.named.iter().any(|it| it.name == named.name);
        self.gone = gone.into_iter().chain(old).filter(|named| !there(named)).collect();
        if new && self.there {
            self.begin(now, void);
        }
    }

    /// One that is new after a crash is not charged for it.
    fn begin(&mut self, now: Now, void: Windows) {
        for (units, period, void) in
            [(&mut self.day, Period::Day, void.day), (&mut self.month, Period::Month, void.month)]
        {
            let window = calendar::number(period, now.wall_us);
            if units.cap.is_some() && window <= void {
                units.enter(window, 0);
            }
        }
    }

    /// Whether there is nothing that a later limit had to know of; then it is forgotten.
    pub(super) fn is_blank(&self) -> bool {
        let spent = [&self.day, &self.month, &self.lifetime].iter().any(|it| it.spent > 0);
        !self.limits_beyond_the_second()
            && self.slot_ttl_ns.is_none()
            && self.gone.is_empty()
            && !spent
            && self.slots.is_empty()
            && !self.written
    }

    pub(super) fn forget_if_blank(&mut self) {
        if self.is_blank() && !(self.is_tenant && self.second.is_some()) {
            let Self { second, is_tenant, .. } = *self;
            *self = Self { second, is_tenant, ..Self::default() };
        }
    }

    fn slots_stand(&self, cost: u64, now: Now) -> Option<Stand> {
        let max = self.slots_max?;
        let mut ends: Vec<u64> = self.slots.iter().map(|slot| slot.expires_ns).collect();
        ends.sort_unstable();
        let held = u32::try_from(ends.len()).expect("few");
        let us = |ns: u64| (ns - now.mono_ns).div_ceil(1000);
        // So many have to end until there is room for one.
        let first = held.checked_sub(max).map(|too_many| too_many as usize);
        Some(Stand {
            denies: cost > 0 && held >= max,
            limit: max.into(),
            remaining: max.saturating_sub(held).into(),
            retry_us: first.filter(|_| max > 0).and_then(|at| ends.get(at)).map(|ns| us(*ns)),
            reset_us: Some(ends.last().map_or(0, |ns| us(*ns))),
        })
    }

    /// How every limit stands, in the order of a verdict, under a key's names.
    fn stands(&self, cost: u64, now: Now) -> Vec<(LimitName, Stand)> {
        let mut all = Vec::new();
        let mut push = |name, stand: Option<Stand>| all.extend(stand.map(|stand| (name, stand)));
        let ends = |period| Some(calendar::ends_us(period, now.wall_us));
        push(LimitName::Second, self.second.map(|bucket| bucket.stand(cost, now.mono_ns)));
        push(LimitName::Day, self.day.stand(cost, now.wall_us, ends(Period::Day)));
        push(LimitName::Month, self.month.stand(cost, now.wall_us, ends(Period::Month)));
        push(LimitName::Lifetime, self.lifetime.stand(cost, now.wall_us, None));
        push(LimitName::Slots, self.slots_stand(cost, now));
        let credits = self.credits.as_ref().map(|balance| balance.stand(cost, now.wall_us));
        push(LimitName::Credits, credits);
        all
    }

    fn spend(&mut self, cost: u64, now: Now) {
        self.second.iter_mut().for_each(|bucket| bucket.spend(cost, now.mono_ns));
        if self.there {
            self.day.spend(cost);
            self.month.spend(cost);
            self.lifetime.spend(cost);
            self.credits.iter_mut().for_each(|balance| balance.units.spend(cost));
        }
    }

    fn is_near_end(&self) -> bool {
        self.day.is_near_end()
            || self.month.is_near_end()
            || self.lifetime.is_near_end()
            || self.credits.as_ref().is_some_and(|balance| balance.units.is_near_end())
    }
}

fn of_tenant(name: LimitName) -> LimitName {
    match name {
        LimitName::Second => LimitName::TenantSecond,
        LimitName::Day => LimitName::TenantDay,
        LimitName::Month => LimitName::TenantMonth,
        LimitName::Lifetime => LimitName::TenantLifetime,
        LimitName::Slots => LimitName::TenantSlots,
        name => name,
    }
}

/// What the model says of a request.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) code: VerdictCode,
    /// Those that deny for the longest.
    pub(super) denied_by: Vec<LimitName>,
    pub(super) limits: Vec<(LimitName, Stand)>,
    pub(super) takes_slot: bool,
    pub(super) near_end: bool,
}

/// All accounts, and the ids of reports.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) accounts: BTreeMap<Whose, Account>,
    pub(super) ids: BTreeSet<u128>,
    pub(super) void: Windows,
    /// Numbers of slots that were given out, in order, and how many of them by earlier runs.
    pub(super) serials: Vec<u64>,
    pub(super) serials_before: usize,
}

impl Model {
    pub(super) fn new() -> Self {
        let blank = |whose| {
            let is_tenant = matches!(whose, Whose::Tenant(_));
            (whose, Account { is_tenant, ..Account::default() })
        };
        let accounts = all_accounts().map(blank).collect();
        let (ids, void, serials) = (BTreeSet::new(), Windows::default(), Vec::new());
        Self { accounts, ids, void, serials, serials_before: 0 }
    }

    pub(super) fn of(&mut self, whose: Whose) -> &mut Account {
        self.accounts.get_mut(&whose).expect("every account is there")
    }

    pub(super) fn both(&mut self, key: usize) -> [Whose; 2] {
        debug_assert!(key < KEYS && tenant_of(key) < TENANTS.len());
        [Whose::Key(key), Whose::Tenant(tenant_of(key))]
    }

    /// Judges a request, and spends what it spends but the slot, whose number it does not know.
    pub(super) fn validate(
        &mut self,
        (key, cost, peek): (usize, u64, bool),
        names: &[usize],
        now: Now,
    ) -> Said {
        let void = self.void;
        let [own, shared] = self.both(key);
        let named = |account: &Account, name: usize| {
            account.named.iter().position(|named| named.name == NAMES[name])
        };
        let places: Option<Vec<usize>> =
            names.iter().map(|name| named(self.of(own), *name)).collect();
        let Some(places) = places else {
            let (denied_by, limits) = (Vec::new(), Vec::new());
            let code = VerdictCode::LimitUnknown;
            return Said { code, denied_by, limits, takes_slot: false, near_end: false };
        };
        [own, shared].iter().for_each(|whose| self.of(*whose).enter(now, void));
        let (limits, denied_by) = self.stands(key, cost, &places, now);
        let spends = denied_by.is_empty() && !peek && cost > 0;
        let mut takes_slot = false;
        if spends {
            for whose in [own, shared] {
                self.of(whose).spend(cost, now);
                takes_slot |= self.of(whose).slots_max.is_some();
            }
            let once: BTreeSet<usize> = places.iter().copied().collect();
            once.iter().for_each(|at| self.of(own).named[*at].spend(cost, now.wall_us));
        }
        let code = denied_by.first().map_or(VerdictCode::Valid, |name| code_of(*name));
        let limits = if spends { self.stands(key, cost, &places, now).0 } else { limits };
        let near_end = [own, shared].iter().any(|whose| self.of(*whose).is_near_end());
        Said { code, denied_by, limits, takes_slot, near_end }
    }

    /// How all limits stand that a request meets, and those that deny it for the longest.
    fn stands(
        &mut self,
        key: usize,
        cost: u64,
        places: &[usize],
        now: Now,
    ) -> (Vec<(LimitName, Stand)>, Vec<LimitName>) {
        let [own, shared] = self.both(key);
        let mut all = self.of(own).stands(cost, now);
        let of_tenant = |(name, stand)| (of_tenant(name), stand);
        all.extend(self.of(shared).stands(cost, now).into_iter().map(of_tenant));
        for (at, place) in places.iter().enumerate().filter(|(at, it)| !places[..*at].contains(it))
        {
            let stand = self.of(own).named[*place].stand(cost, now.wall_us);
            all.push((LimitName::NAMED[at], stand));
        }
        let wait = |stand: &Stand| stand.retry_us.unwrap_or(u64::MAX);
        let denials = all.iter().filter(|(_, stand)| stand.denies);
        let longest = denials.clone().map(|(_, stand)| wait(stand)).max();
        let named = denials.filter(|(_, stand)| Some(wait(stand)) == longest);
        let named = named.map(|(name, _)| *name).collect();
        (all, named)
    }

    /// What a restart forgets.
    pub(super) fn forget_rates_and_slots(&mut self) {
        self.serials_before = self.serials.len();
        for account in self.accounts.values_mut() {
            account.slots.clear();
            account.second.iter_mut().for_each(|bucket| bucket.parts = 0);
        }
    }

    /// Dates a balance that is set, or goes on with the one there is.
    pub(super) fn date_credits(&mut self, whose: Whose, terms: &mut Terms, now: Now) {
        let before = self.of(whose).credits.as_ref().map(|balance| balance.terms);
        let at = Time::from_micros(now.wall_us);
        let dated = terms.credits.map(|credits| credits.granted(before.as_ref(), at));
        terms.credits = dated.or(before);
    }
}

pub(super) const fn code_of(name: LimitName) -> VerdictCode {
    match name {
        LimitName::Second | LimitName::TenantSecond => VerdictCode::RateExceeded,
        LimitName::Lifetime | LimitName::TenantLifetime => VerdictCode::UsesExhausted,
        LimitName::Slots | LimitName::TenantSlots => VerdictCode::ConcurrencyExceeded,
        LimitName::Credits => VerdictCode::CreditsExhausted,
        _ => VerdictCode::QuotaExceeded,
    }
}

/// For the figures: what is spent and what is left of a named limit.
pub(super) fn named_figures(named: &Named, now_us: i64) -> [u64; 3] {
    let stand = named.stand(0, now_us);
    let spent = match &named.form {
        Form::Calendar(_, units) => units.spent,
        Form::Rolling(_) => stand.limit - stand.remaining,
    };
    [stand.limit, spent, stand.remaining]
}
