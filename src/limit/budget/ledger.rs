//! What passes between a budget and the ledger.

use keygate_protocol::verdict::LimitName;

use super::{Balance, Budget, Extra, Names};
use crate::clock::Now;
use crate::limit::judge::Ask;
use crate::limit::named::NamedGrant;
use crate::limit::quota::{Grant, Quota};
use crate::limit::{AccountRow, Change, Terms};

/// Leases that are being debited, and the row that debits them.
#[derive(Debug, Clone)]
pub struct Debit {
    /// What is written: absolute figures.
    pub row: AccountRow,
    version: u32,
    day: Grant,
    month: Grant,
    lifetime: Grant,
    credits: Grant,
    named: Vec<NamedGrant>,
}

/// How one limit stands, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    /// Which.
    pub limit: FigureOf,
    /// The most that it admits.
    pub cap: u64,
    /// Units spent, those that are stranded among them.
    pub spent: u64,
    /// Units left.
    pub remaining: u64,
    /// Units leased and not spent.
    pub leased: u64,
    /// Units that a crash has cost.
    pub stranded: u64,
    /// When its window ends, microseconds since 1970.
    pub ends_us: Option<i64>,
    /// The number of the window that the figures belong to, of a quota; 0 of what has none. A clock
    /// that is set back does not bring an earlier one.
    pub window: u32,
}

/// Which limit figures are of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FigureOf {
    /// One of those that every key may have.
    Common(LimitName),
    /// One that has a name.
    Named(Box<str>),
}

impl Figures {
    /// Of a limit, from cap, spent, remaining, leased and stranded.
    #[must_use]
    pub const fn new(limit: FigureOf, figures: [u64; 5], ends_us: Option<i64>) -> Self {
        let [cap, spent, remaining, leased, stranded] = figures;
        Self { limit, cap, spent, remaining, leased, stranded, ends_us, window: 0 }
    }
}

impl Budget {
    /// Whether the ledger has to be told of what was spent since it last was.
    #[must_use]
    pub const fn has_moved(&self) -> bool {
        self.flags.moved
    }

    /// The next leases and the row that debits them; `None` when there is nothing to debit, nothing
    /// that requests wait for and nothing that was refunded. To be granted once the row is durable,
    /// or refused.
    pub fn debit(&mut self, ask: &Ask<'_>) -> Option<Debit> {
        self.enter(ask);
        self.flags.asking = false;
        let (demand, wanted) = self.demand(ask);
        let quotas = [&mut self.day, &mut self.month, &mut self.lifetime];
        let [day, month, lifetime] = quotas.map(|quota| quota.debit(wanted, demand));
        let mut credits = Grant::default();
        let mut named = Vec::new();
        if let Some(extra) = self.more_mut() {
            if let Some(balance) = &mut extra.credits {
                credits = balance.quota.debit(wanted, demand);
            }
            named.extend(extra.named.iter_mut().map(|it| it.debit(ask)));
        }
        let units = [day, month, lifetime, credits].iter().any(|grant| grant.units() > 0);
        if !units && !named.iter().any(NamedGrant::is_some) && !self.flags.refunded {
            return None;
        }
        let version = self.extra.as_ref().map_or(0, |extra| extra.version);
        let row = AccountRow::default();
        let mut debit = Debit { row, version, day, month, lifetime, credits, named };
        debit.row = self.row_with(Some(&debit));
        self.flags.written = true;
        // Also if nobody spends it: a clean stop gives it back.
        self.flags.moved = true;
        Some(debit)
    }

    /// How many units are spent in a second, and how many requests wait for.
    fn demand(&mut self, ask: &Ask<'_>) -> (u64, u64) {
        let credits = self.more().and_then(|extra| extra.credits.as_ref()).map(|it| &it.quota);
        let quotas = [&self.day, &self.month, &self.lifetime].into_iter().chain(credits);
        // Every unit is spent of each.
        let spent = quotas.filter(|quota| quota.limits()).map(Quota::spent).min().unwrap_or(0);
        // A debit of one that had the id of this account before is void.
        let extra = self.extra.get_or_insert_with(|| {
            Box::new(Extra { version: version_of(ask.now), ..Extra::default() })
        });
        (extra.demand.take(spent, ask.now), std::mem::take(&mut extra.wanted))
    }

    /// The debit is durable: what it leases may be spent. One that was overtaken by a change leases
    /// nothing.
    pub fn grant(&mut self, debit: &Debit) {
        let Some(extra) = self.extra.as_deref_mut().filter(|it| it.version == debit.version) else {
            return;
        };
        self.day.grant(debit.day);
        self.month.grant(debit.month);
        self.lifetime.grant(debit.lifetime);
        if let Some(balance) = &mut extra.credits {
            balance.quota.grant(debit.credits);
            // What came back since the row was computed is not in it.
            let debited = balance.row(Grant::default()).debits.debited;
            self.flags.refunded &=
                debit.row.credits.is_none_or(|row| row.debits.debited != debited);
        }
        for (named, grant) in extra.named.iter_mut().zip(&debit.named) {
            named.grant(*grant);
        }
    }

    /// The figures as they stand, for the ledger. What was debited and is not granted yet becomes
    /// void: this row would take it back. With `give_back`, what is left of the leases goes back
    /// too.
    pub fn settle(&mut self, give_back: bool) -> AccountRow {
        let extra = self.extra_mut();
        extra.version = extra.version.wrapping_add(1);
        // What is not given back now is at a clean stop.
        self.flags.moved = !give_back;
        self.flags.written = true;
        self.flags.refunded = false;
        if give_back {
            let quotas = [&mut self.day, &mut self.month, &mut self.lifetime];
            quotas.into_iter().for_each(Quota::give_back);
            if let Some(extra) = &mut self.extra {
                extra.credits.iter_mut().for_each(|balance| balance.quota.give_back());
                extra.named.iter_mut().for_each(super::Named::give_back);
            }
        }
        self.row_with(None)
    }

    /// What the ledger has to know of an account once its terms have changed so; `None` where it has
    /// all of it. The account itself stays as it is, but gives its leases back: what is spent until
    /// the change happens would not be in the row.
    pub fn settle_change(
        before: Option<&mut Self>,
        terms: &Terms,
        change: &Change,
        ask: &Ask<'_>,
    ) -> Option<AccountRow> {
        let Some(before) = before else {
            let after = Self::at(terms, ask);
            return after.flags.moved.then(|| after.row_with(None));
        };
        before.enter(ask);
        let mut after = before.clone();
        after.settle(true);
        after.change(terms, change, ask);
        // Without a row, a crash would charge an initial lease by the new cap.
        let same = (before.day.cap(), before.month.cap()) == (terms.day, terms.month);
        if same && !before.flags.moved && !after.flags.moved {
            return None;
        }
        before.settle(true);
        Some(after.row_with(None))
    }

    /// The row could not be written: it is to be written at the next occasion.
    pub const fn unsettle(&mut self) {
        self.flags.moved = true;
    }

    fn row_with(&self, debit: Option<&Debit>) -> AccountRow {
        let grant = |of: fn(&Debit) -> Grant| debit.map(of).unwrap_or_default();
        let extra = self.extra.as_deref();
        let named = extra.map(|extra| extra.named.as_slice()).unwrap_or_default();
        let grants = debit.map(|debit| debit.named.as_slice()).unwrap_or_default();
        let balance = extra.and_then(|extra| extra.credits.as_ref());
        let kept = extra.map(|extra| &extra.kept);
        let credits = balance.map(|balance| balance.row(grant(|debit| debit.credits)));
        let named = named.iter().enumerate();
        let named = named.map(|(at, named)| named.row(grants.get(at).copied()));
        let [of_day, of_month, of_life] = self.stranded();
        AccountRow {
            day: self.day.row(grant(|debit| debit.day), of_day),
            month: self.month.row(grant(|debit| debit.month), of_month),
            lifetime: self.lifetime.row(grant(|debit| debit.lifetime), of_life),
            credits: credits.or_else(|| kept?.credits),
            named: named.chain(kept.into_iter().flat_map(|kept| kept.named.clone())).collect(),
        }
    }

    /// Takes the figures that the ledger had at start: what was debited counts as spent. It keeps
    /// those of limits that are not there, for when they come: the key's tier may be missing.
    pub fn restore(&mut self, row: &AccountRow, ask: &Ask<'_>) {
        self.flags.written = true;
        let stranded = [
            self.day.restore(&row.day),
            self.month.restore(&row.month),
            self.lifetime.restore(&row.lifetime),
        ];
        self.set_stranded(stranded);
        let mut extra = self.extra.take().unwrap_or_default();
        match &mut extra.credits {
            Some(balance) => row.credits.iter().for_each(|row| balance.restore(row)),
            None => extra.kept.credits = row.credits,
        }
        for debits in &row.named {
            match extra.named.iter_mut().find(|named| *named.name == *debits.name) {
                Some(named) => named.restore(&debits.figures, ask),
                None => extra.kept.named.push(debits.clone()),
            }
        }
        self.extra = (!extra.is_blank()).then_some(extra);
    }

    /// The figures that the ledger had at start are lost: all that may be spent now counts as spent.
    pub fn exhaust(&mut self, ask: &Ask<'_>) {
        self.flags.written = true;
        self.enter(ask);
        let quotas = [&mut self.day, &mut self.month, &mut self.lifetime];
        quotas.into_iter().for_each(|quota| quota.exhaust(u64::MAX));
        self.set_stranded([u64::MAX; 3]);
        if let Some(extra) = &mut self.extra {
            extra.credits.iter_mut().for_each(Balance::exhaust);
            extra.named.iter_mut().for_each(|named| named.exhaust(ask));
        }
    }

    /// Gives units of the balance back, never more than were taken from it; how many, and whether
    /// the ledger is to be told, which is said once.
    pub fn refund(&mut self, units: u64, ask: &Ask<'_>) -> (u64, bool) {
        self.enter(ask);
        let balance = self.extra.as_deref_mut().and_then(|extra| extra.credits.as_mut());
        let refunded = balance.map_or(0, |balance| balance.refund(units));
        self.flags.moved |= refunded > 0;
        self.flags.refunded |= refunded > 0;
        (refunded, refunded > 0 && !std::mem::replace(&mut self.flags.asking, true))
    }

    /// What is left of the balance, if there is one.
    pub fn balance(&mut self, ask: &Ask<'_>) -> Option<u64> {
        self.enter(ask);
        let balance = self.extra.as_deref()?.credits.as_ref()?;
        Some(balance.quota.remaining())
    }

    /// How every limit stands, in the windows that were entered last.
    pub fn figures(&mut self, names: &Names, ask: &Ask<'_>) -> Vec<Figures> {
        let mut all = Vec::new();
        let [of_day, of_month, of_life] = self.stranded();
        for (name, quota, stranded, ends_us) in [
            (names.day, &self.day, of_day, Some(ask.calendar.day.ends_us)),
            (names.month, &self.month, of_month, Some(ask.calendar.month.ends_us)),
            (names.lifetime, &self.lifetime, of_life, None),
        ] {
            if quota.limits() {
                let figures = quota.figures(stranded);
                let figures = Figures::new(FigureOf::Common(name), figures, ends_us);
                all.push(Figures { window: quota.window(), ..figures });
            }
        }
        let Some(extra) = self.more_mut() else { return all };
        if extra.slots_max != u32::MAX {
            let used = u64::from(extra.slots.used(ask.now.mono_ns));
            let max = u64::from(extra.slots_max);
            let figures = [max, used, max.saturating_sub(used), 0, 0];
            all.push(Figures::new(FigureOf::Common(names.slots), figures, None));
        }
        if let Some(balance) = &extra.credits {
            let ends_us = balance.ends_us(ask.now.wall_us);
            let figures = balance.quota.figures(balance.stranded);
            all.push(Figures::new(FigureOf::Common(LimitName::Credits), figures, ends_us));
        }
        all.extend(extra.named.iter().map(|named| {
            let (figures, ends_us) = named.figures(ask);
            Figures::new(FigureOf::Named(named.name.clone()), figures, ends_us)
        }));
        all
    }
}

/// Where the versions of an account begin: two of one id are at least a commit apart.
#[expect(clippy::cast_possible_truncation, reason = "half of what tells instants apart")]
pub(super) const fn version_of(now: Now) -> u32 {
    (now.mono_ns >> 10) as u32
}
