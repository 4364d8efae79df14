//! The limits of a key or a tenant beyond the second, with their state: judged together at one
//! instant, and spent from all or none.

mod kept;
mod ledger;

use arrayvec::ArrayVec;
use keygate_protocol::limits::LIMITS_NAMED_MAX;
use keygate_protocol::verdict::LimitName;

use super::credits::Balance;
use super::demand::Demand;
use super::judge::{Ask, Judging, Names, Reports};
use super::named::Named;
use super::quota::{Fit, Fresh, Quota, UNLIMITED};
use super::slots::Slots;
use super::spent::Spent;
use super::terms::{Change, Terms};
use super::window::{Calendar, Window};
use crate::clock::Now;
use kept::Kept;

pub use ledger::{Debit, FigureOf, Figures};

/// Limits and their state. Under a lock of its own, taken behind that of the key's entry.
#[derive(Debug, Clone, Default)]
pub struct Budget {
    day: Quota,
    month: Quota,
    lifetime: Quota,
    demand: Demand,
    /// Units that requests wait for, of whichever of these quotas lacks them.
    wanted: u64,
    /// Grows with whatever makes debits that are under way void.
    version: u32,
    slots_max: u32,
    slot_ttl_ms: u32,
    flags: Flags,
    extra: Option<Box<Extra>>,
    pub(super) slots: Slots,
}

// With its lock and a byte that is read ahead, four cache lines.
const _: () = assert!(size_of::<Budget>() <= 240);

/// What few keys have.
#[derive(Debug, Clone, Default)]
struct Extra {
    credits: Option<Balance>,
    named: Vec<Named>,
    kept: Kept,
}

impl Extra {
    fn is_empty(&self) -> bool {
        self.credits.is_none() && self.named.is_empty() && self.kept.is_empty()
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Flags {
    /// Whether it is on the list of those that want something of the ledger.
    asking: bool,
    /// Whether its figures have moved since the ledger had them.
    moved: bool,
    /// Whether the ledger may have a row. In the windows of a row a crash charges what it says and
    /// no initial lease, so that a budget which began anew must not have one there. For ever: the
    /// clock may be set back to them.
    written: bool,
    /// Whether credits came back that the ledger has as debited still.
    refunded: bool,
}

/// The places, in a budget, of the limits that a request names; in the request's order.
pub type NamedPlaces = ArrayVec<u8, LIMITS_NAMED_MAX>;

impl Budget {
    /// Under these terms, with nothing spent. A new account in a window whose initial leases are
    /// void is new there: it gets its own row, so that no recovery charges it.
    #[must_use]
    pub fn new(terms: &Terms) -> Self {
        let mut budget = Self { slots_max: u32::MAX, ..Self::default() };
        budget.set(terms);
        budget
    }

    /// The quotas and what is limited at all: for a new budget.
    fn set(&mut self, terms: &Terms) {
        self.day = Quota::new(terms.day);
        self.month = Quota::new(terms.month);
        self.lifetime = Quota::new(terms.lifetime);
        self.slots_max = terms.slots;
        self.slot_ttl_ms = terms.slot_ttl_ms;
        let extra = Extra {
            credits: terms.credits.as_ref().map(Balance::new),
            named: terms.named.iter().map(Named::new).collect(),
            kept: Kept::default(),
        };
        self.extra = (!extra.is_empty()).then(|| Box::new(extra));
    }

    /// Other terms for an account that is there. Debits that are under way become void.
    pub fn change(&mut self, terms: &Terms, change: &Change, ask: &Ask<'_>) {
        self.enter(ask);
        self.version = self.version.wrapping_add(1);
        let new = [
            begins(self.day, terms.day, ask.calendar.day, ask.void.day),
            begins(self.month, terms.month, ask.calendar.month, ask.void.month),
        ];
        let Calendar { day, month } = ask.calendar;
        self.day.change(terms.day, change.of(change.day), day.number);
        self.month.change(terms.month, change.of(change.month), month.number);
        self.lifetime.change(terms.lifetime, change.of(change.lifetime), 1);
        self.slots_max = terms.slots;
        self.slot_ttl_ms = terms.slot_ttl_ms;
        self.flags.moved |= new.contains(&true) || change.spent != Spent::Keep;
        let old = self.extra.take().unwrap_or_default();
        let credits = terms.credits.as_ref().map(|terms| {
            let mut balance = old.credits.unwrap_or_else(|| old.kept.balance(terms));
            balance.change(terms, ask.now.wall_us);
            balance
        });
        let policy = change.of(change.named);
        let named = terms.named.iter().map(|terms| {
            let before = old.named.iter().find(|named| named.name == terms.name);
            match (before, policy) {
                (Some(named), policy) => named.changed(terms, policy, ask),
                (None, Spent::Reset) => Named::new(terms),
                (None, _) => old.kept.named(terms, ask),
            }
        });
        let named: Vec<Named> = named.collect();
        let kept = old.kept.without(&credits, &named).with(old.credits, old.named, &named);
        let extra = Extra { credits, named, kept };
        self.extra = (!extra.is_empty()).then(|| Box::new(extra));
        self.flags.moved |= self.extra.is_some();
    }

    /// Whether there is anything that a later limit has to know of.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        let quotas = [&self.day, &self.month, &self.lifetime];
        quotas.iter().all(|quota| !quota.limits() && quota.spent() == 0)
            && self.slots_max == u32::MAX
            && self.slot_ttl_ms == 0
            && self.extra.is_none()
            && self.slots.held() == 0
            && !self.flags.written
    }

    /// A new account under these terms, at an instant: a debit of one that had its id before is void.
    #[must_use]
    pub fn at(terms: &Terms, ask: &Ask<'_>) -> Self {
        let mut budget = Self { version: version_of(ask.now), ..Self::new(terms) };
        budget.begin(ask);
        budget
    }

    /// Enters a new account into windows whose initial leases are void, as the new one that it is.
    /// A clean stop writes a row of it, which tells it from those that were there at the crash.
    fn begin(&mut self, ask: &Ask<'_>) {
        for (quota, window, void) in [
            (&mut self.day, ask.calendar.day, ask.void.day),
            (&mut self.month, ask.calendar.month, ask.void.month),
        ] {
            if quota.limits() && window.number <= void && quota.window() < window.number {
                quota.enter(window.number, Fresh::Leased);
                self.flags.moved = true;
            }
        }
    }

    /// Moves on to the windows of this instant.
    pub fn enter(&mut self, ask: &Ask<'_>) {
        let fresh = |window, void, said| match window {
            window if window <= void => Fresh::Void,
            window if window <= said => Fresh::Leased,
            _ => Fresh::Empty,
        };
        let Ask { calendar, void, said, .. } = ask;
        let (day, month) = (calendar.day.number, calendar.month.number);
        let mut charged = self.day.enter(day, fresh(day, void.day, said.day));
        charged |= self.month.enter(month, fresh(month, void.month, said.month));
        // By the cap of now: under another one, a start would charge otherwise.
        self.flags.moved |= charged;
        self.lifetime.enter(1, Fresh::Empty);
        if let Some(extra) = &mut self.extra {
            extra.credits.iter_mut().for_each(|balance| balance.enter(ask.now.wall_us));
            extra.named.iter_mut().for_each(|named| named.enter(ask));
        }
    }

    /// Where the limits of these names stand; `None` when one is not there. One that is named twice
    /// is spent once.
    pub fn places<'n>(&self, names: impl Iterator<Item = &'n [u8]>) -> Option<NamedPlaces> {
        let named = self.extra.as_deref().map(|extra| extra.named.as_slice()).unwrap_or_default();
        let mut places = NamedPlaces::new();
        for name in names.take(LIMITS_NAMED_MAX) {
            let at = named.iter().position(|named| named.name.as_bytes() == name)?;
            // There are at most as many as a record may have, far below 256.
            places.push(u8::try_from(at).ok()?);
        }
        Some(places)
    }

    /// Judges every limit without a name; changes nothing.
    pub fn judge(&mut self, names: &Names, ask: &Ask<'_>, it: &mut Judging) {
        for (name, quota, wait_us) in self.windows(names, ask) {
            match quota.judge(ask.cost) {
                Fit::Fits => {}
                Fit::Dry => it.run_dry(),
                Fit::Exceeded => {
                    it.deny(name, wait_us.filter(|_| ask.cost <= quota.cap()));
                }
            }
        }
        if self.slots_max != u32::MAX
            && ask.cost > 0
            && self.slots.used(ask.now.mono_ns) >= self.slots_max
        {
            it.deny(names.slots, self.slot_wait_us(ask));
        }
        if let Some(balance) = self.extra.as_ref().and_then(|extra| extra.credits.as_ref()) {
            balance.judge(ask, it);
        }
    }

    /// Judges the limits that the request has named; changes nothing. Behind those of the tenant,
    /// as verdicts have them.
    pub fn judge_named(&self, places: &NamedPlaces, ask: &Ask<'_>, it: &mut Judging) {
        let Some(extra) = &self.extra else { return };
        for (named, name) in spent_by_name(&extra.named, places) {
            named.judge(name, ask, it);
        }
    }

    /// The quotas that limit, and for how long each denies whom it denies.
    fn windows(
        &self,
        names: &Names,
        ask: &Ask<'_>,
    ) -> impl Iterator<Item = (LimitName, &Quota, Option<u64>)> {
        let day = Some(ask.until(ask.calendar.day.ends_us));
        let month = Some(ask.until(ask.calendar.month.ends_us));
        [
            (names.day, &self.day, day),
            (names.month, &self.month, month),
            (names.lifetime, &self.lifetime, None),
        ]
        .into_iter()
        .filter(|(_, quota, _)| quota.limits())
    }

    fn slot_wait_us(&mut self, ask: &Ask<'_>) -> Option<u64> {
        if self.slots_max == 0 {
            return None;
        }
        // Fewer may be allowed than are held: then more than one has to go.
        let too_many = self.slots.used(ask.now.mono_ns).saturating_sub(self.slots_max);
        let until = |ns: u64| ns.saturating_sub(ask.now.mono_ns).div_ceil(1000);
        self.slots.expires_after(too_many).map(until)
    }

    /// Notes what a request waits for that these leases do not cover; whether they do not.
    pub fn want(&mut self, places: &NamedPlaces, ask: &Ask<'_>) -> bool {
        let mut dry = false;
        let extra = self.extra.as_deref_mut();
        let (credits, named) = extra.map_or((None, [].as_mut_slice()), |extra| {
            (extra.credits.as_ref().map(|it| &it.quota), extra.named.as_mut_slice())
        });
        let quotas = [&self.day, &self.month, &self.lifetime].into_iter().chain(credits);
        if quotas.into_iter().any(|quota| quota.judge(ask.cost) == Fit::Dry) {
            self.wanted = self.wanted.saturating_add(ask.cost);
            dry = true;
        }
        for place in places {
            dry |= named[usize::from(*place)].want(ask);
        }
        dry
    }

    /// Spends the cost from every limit but the slots; whether the next lease is to be asked for,
    /// which is said once.
    pub fn spend(&mut self, places: &NamedPlaces, ask: &Ask<'_>) -> bool {
        let mut asks = self.day.spend(ask.cost);
        asks |= self.month.spend(ask.cost);
        asks |= self.lifetime.spend(ask.cost);
        if let Some(extra) = &mut self.extra {
            if let Some(balance) = &mut extra.credits {
                asks |= balance.quota.spend(ask.cost);
            }
            for (at, place) in places.iter().enumerate() {
                if !places[..at].contains(place) {
                    asks |= extra.named[usize::from(*place)].spend(ask);
                }
            }
        }
        self.flags.moved = true;
        self.demand.spend(ask.cost);
        asks && !std::mem::replace(&mut self.flags.asking, true)
    }

    /// How many slots there may be at a time, if they are limited.
    #[must_use]
    pub fn slots_max(&self) -> Option<u32> {
        (self.slots_max != u32::MAX).then_some(self.slots_max)
    }

    /// For how long a slot is held, in nanoseconds, if these limits say so.
    #[must_use]
    pub fn slot_ttl_ns(&self) -> Option<u64> {
        (self.slot_ttl_ms != 0).then(|| u64::from(self.slot_ttl_ms) * 1_000_000)
    }

    /// The slots that are held.
    pub const fn slots(&mut self) -> &mut Slots {
        &mut self.slots
    }

    /// How every limit without a name stands now.
    pub fn report(&mut self, names: &Names, ask: &Ask<'_>, reports: &mut Reports<'_>) {
        let mut near_end = false;
        for (name, quota, wait_us) in self.windows(names, ask) {
            let exceeded = reports.denied && quota.judge(ask.cost) == Fit::Exceeded;
            let retry_after_us = wait_us.filter(|_| exceeded && ask.cost <= quota.cap());
            let reset_after_us = if quota.spent() == 0 { Some(0) } else { wait_us };
            near_end |= quota.is_near_end();
            reports.push(name, [quota.cap(), quota.remaining()], retry_after_us, reset_after_us);
        }
        reports.near_end |= near_end;
        self.report_slots(names.slots, ask, reports);
        if let Some(balance) = self.extra.as_ref().and_then(|extra| extra.credits.as_ref()) {
            balance.report(ask, reports);
        }
    }

    /// How the limits stand that the request has named.
    pub fn report_named(&self, places: &NamedPlaces, ask: &Ask<'_>, reports: &mut Reports<'_>) {
        let Some(extra) = &self.extra else { return };
        for (named, name) in spent_by_name(&extra.named, places) {
            named.report(name, ask, reports);
        }
    }

    fn report_slots(&mut self, name: LimitName, ask: &Ask<'_>, reports: &mut Reports<'_>) {
        if self.slots_max == u32::MAX {
            return;
        }
        let used = self.slots.used(ask.now.mono_ns);
        let full = reports.denied && ask.cost > 0 && used >= self.slots_max;
        let retry_after_us = if full { self.slot_wait_us(ask) } else { None };
        let until = |ns: u64| ns.saturating_sub(ask.now.mono_ns).div_ceil(1000);
        let reset_after_us = self.slots.latest_ns().map_or(0, until);
        let left = self.slots_max.saturating_sub(used);
        let figures = [u64::from(self.slots_max), u64::from(left)];
        reports.push(name, figures, retry_after_us, Some(reset_after_us));
    }
}

/// Where the versions of an account begin: two of one id are at least a commit apart.
#[expect(clippy::cast_possible_truncation, reason = "half of what tells instants apart")]
const fn version_of(now: Now) -> u32 {
    (now.mono_ns >> 10) as u32
}

/// A quota that begins to limit where it did not, in a window whose initial leases are void: it is
/// entered as the new one that it is.
fn begins(quota: Quota, cap: u64, window: Window, void: u32) -> bool {
    !quota.limits() && cap != UNLIMITED && window.number <= void
}

/// The named limits that a request spends, each once, with their places in the request.
fn spent_by_name<'n>(
    named: &'n [Named],
    places: &'n NamedPlaces,
) -> impl Iterator<Item = (&'n Named, LimitName)> {
    let each = places.iter().zip(LimitName::NAMED).enumerate();
    each.filter(|(at, (place, _))| !places[..*at].contains(place))
        .map(|(_, (place, name))| (&named[usize::from(*place)], name))
}
