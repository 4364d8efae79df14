//! The limits of a key or a tenant beyond the second, with their state: judged together at one
//! instant, and spent from all or none.

mod kept;
mod ledger;

use arrayvec::ArrayVec;
use keygate_protocol::limits::LIMITS_NAMED_MAX;
use keygate_protocol::verdict::LimitName;

use super::credits::Balance;
use super::demand::SpentDemand;
use super::judge::{Ask, Judging, Names, Reports};
use super::named::Named;
use super::quota::{Fit, Fresh, Quota, UNLIMITED};
use super::slots::Slots;
use super::spent::Spent;
use super::terms::{Change, Terms};
use super::window::{Calendar, Window};
use kept::Kept;

pub use ledger::{Debit, FigureOf, Figures};

/// Limits and their state. Under a lock of its own, taken behind that of the key's entry. What nearly
/// every decision needs stands here, and the rest behind a pointer.
#[derive(Debug, Clone, Default)]
pub struct Budget {
    day: Quota,
    month: Quota,
    lifetime: Quota,
    extra: Option<Box<Extra>>,
    flags: Flags,
}

// With its lock and a byte that is read ahead, two cache lines.
const _: () = assert!(size_of::<Budget>() <= 112);

/// What few keys have, and what few decisions need.
#[derive(Debug, Clone)]
struct Extra {
    /// Units that a crash has cost: of the day, the month and the lifetime.
    stranded: [u64; 3],
    demand: SpentDemand,
    /// Units that requests wait for, of whichever of these quotas lacks them.
    wanted: u64,
    /// Grows with whatever makes debits that are under way void.
    version: u32,
    slots_max: u32,
    slot_ttl_ms: u32,
    slots: Slots,
    credits: Option<Balance>,
    named: Vec<Named>,
    kept: Kept,
}

impl Default for Extra {
    fn default() -> Self {
        Self {
            stranded: [0; 3],
            demand: SpentDemand::default(),
            wanted: 0,
            version: 0,
            slots_max: u32::MAX,
            slot_ttl_ms: 0,
            slots: Slots::default(),
            credits: None,
            named: Vec::new(),
            kept: Kept::default(),
        }
    }
}

impl Extra {
    /// Whether decisions need it.
    fn limits(&self) -> bool {
        self.slots_max != u32::MAX || self.credits.is_some() || !self.named.is_empty()
    }

    /// Whether it says anything that has to be known later.
    fn is_blank(&self) -> bool {
        !self.limits()
            && self.slot_ttl_ms == 0
            && self.slots.held() == 0
            && self.kept.is_empty()
            && self.stranded == [0; 3]
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Flags {
    /// Whether decisions need what is behind the pointer.
    more: bool,
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
        let extra = Extra {
            slots_max: terms.slots,
            slot_ttl_ms: terms.slot_ttl_ms,
            credits: terms.credits.as_ref().map(Balance::new),
            named: terms.named.iter().map(Named::new).collect(),
            ..Extra::default()
        };
        Self {
            day: Quota::new(terms.day),
            month: Quota::new(terms.month),
            lifetime: Quota::new(terms.lifetime),
            flags: Flags { more: extra.limits(), ..Flags::default() },
            extra: (!extra.is_blank()).then(|| Box::new(extra)),
        }
    }

    /// What is behind the pointer, where decisions need it.
    fn more(&self) -> Option<&Extra> {
        self.extra.as_deref().filter(|_| self.flags.more)
    }

    fn more_mut(&mut self) -> Option<&mut Extra> {
        let more = self.flags.more;
        self.extra.as_deref_mut().filter(|_| more)
    }

    fn extra_mut(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    fn stranded(&self) -> [u64; 3] {
        self.extra.as_ref().map_or([0; 3], |extra| extra.stranded)
    }

    fn set_stranded(&mut self, stranded: [u64; 3]) {
        if stranded != self.stranded() {
            self.extra_mut().stranded = stranded;
        }
    }

    /// Other terms for an account that is there. Debits that are under way become void.
    pub fn change(&mut self, terms: &Terms, change: &Change, ask: &Ask<'_>) {
        self.enter(ask);
        let new = [
            begins(self.day, terms.day, ask.calendar.day, ask.void.day),
            begins(self.month, terms.month, ask.calendar.month, ask.void.month),
        ];
        let (Calendar { day, month }, [of_day, of_month, of_life]) =
            (ask.calendar, self.stranded());
        let stranded = [
            self.day.change(terms.day, change.of(change.day), day.number, of_day),
            self.month.change(terms.month, change.of(change.month), month.number, of_month),
            self.lifetime.change(terms.lifetime, change.of(change.lifetime), 1, of_life),
        ];
        self.set_stranded(stranded);
        self.flags.moved |= new.contains(&true) || change.spent != Spent::Keep;
        let mut extra = self.extra.take().unwrap_or_default();
        extra.version = extra.version.wrapping_add(1);
        extra.slots_max = terms.slots;
        extra.slot_ttl_ms = terms.slot_ttl_ms;
        let (old_credits, old_named) = (extra.credits.take(), std::mem::take(&mut extra.named));
        let kept = std::mem::take(&mut extra.kept);
        let credits = terms.credits.as_ref().map(|terms| {
            let mut balance = old_credits.unwrap_or_else(|| kept.balance(terms));
            balance.change(terms, ask.now.wall_us);
            balance
        });
        let policy = change.of(change.named);
        let named = terms.named.iter().map(|terms| {
            let before = old_named.iter().find(|named| named.name == terms.name);
            match (before, policy) {
                (Some(named), policy) => named.changed(terms, policy, ask),
                (None, Spent::Reset) => Named::new(terms),
                (None, _) => kept.named(terms, ask),
            }
        });
        let named: Vec<Named> = named.collect();
        extra.kept = kept.without(&credits, &named).with(old_credits, old_named, &named);
        (extra.credits, extra.named) = (credits, named);
        self.flags.more = extra.limits();
        self.flags.moved |=
            extra.credits.is_some() || !extra.named.is_empty() || !extra.kept.is_empty();
        // A debit that is under way has a version to be compared with, and a row.
        self.extra = (self.flags.written || !extra.is_blank()).then_some(extra);
    }

    /// Whether there is anything that a later limit has to know of.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        let quotas = [&self.day, &self.month, &self.lifetime];
        quotas.iter().all(|quota| !quota.limits() && quota.spent() == 0)
            && self.extra.as_ref().is_none_or(|extra| extra.is_blank())
            && !self.flags.written
    }

    /// A new account under these terms, at an instant: a debit of one that had its id before is void.
    #[must_use]
    pub fn at(terms: &Terms, ask: &Ask<'_>) -> Self {
        let mut budget = Self::new(terms);
        budget.extra.iter_mut().for_each(|extra| extra.version = ledger::version_of(ask.now));
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
                // None is stranded where none is charged.
                let _ = quota.enter(window.number, Fresh::Leased);
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
        let entered = [
            self.day.enter(day, fresh(day, void.day, said.day)),
            self.month.enter(month, fresh(month, void.month, said.month)),
            self.lifetime.enter(1, Fresh::Empty),
        ];
        if entered != [None; 3] {
            let mut stranded = self.stranded();
            for (stranded, entered) in stranded.iter_mut().zip(entered) {
                *stranded = entered.unwrap_or(*stranded);
            }
            self.set_stranded(stranded);
            // By the cap of now: under another one, a start would charge otherwise.
            self.flags.moved |= entered.iter().flatten().any(|charged| *charged > 0);
        }
        if let Some(extra) = self.more_mut() {
            extra.credits.iter_mut().for_each(|balance| balance.enter(ask.now.wall_us));
            extra.named.iter_mut().for_each(|named| named.enter(ask));
        }
    }

    /// Where the limits of these names stand; `None` when one is not there. One that is named twice
    /// is spent once.
    pub fn places<'n>(&self, names: impl Iterator<Item = &'n [u8]>) -> Option<NamedPlaces> {
        let named = self.more().map(|extra| extra.named.as_slice()).unwrap_or_default();
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
        let Some(extra) = self.more_mut() else { return };
        if extra.slots_max != u32::MAX && ask.cost > 0 {
            let used = extra.slots.used(ask.now.mono_ns);
            if used >= extra.slots_max {
                it.deny(names.slots, extra.slot_wait_us(ask));
            }
        }
        if let Some(balance) = &extra.credits {
            balance.judge(ask, it);
        }
    }

    /// Judges the limits that the request has named; changes nothing. Behind those of the tenant,
    /// as verdicts have them.
    pub fn judge_named(&self, places: &NamedPlaces, ask: &Ask<'_>, it: &mut Judging) {
        let Some(extra) = self.more() else { return };
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

    /// Notes what a request waits for that these leases do not cover; whether they do not.
    pub fn want(&mut self, places: &NamedPlaces, ask: &Ask<'_>) -> bool {
        let credits = self.more().and_then(|extra| extra.credits.as_ref()).map(|it| &it.quota);
        let quotas = [&self.day, &self.month, &self.lifetime].into_iter().chain(credits);
        let mut dry = quotas.into_iter().any(|quota| quota.judge(ask.cost) == Fit::Dry);
        if dry {
            let extra = self.extra_mut();
            extra.wanted = extra.wanted.saturating_add(ask.cost);
        }
        if let Some(extra) = self.more_mut() {
            for place in places {
                dry |= extra.named[usize::from(*place)].want(ask);
            }
        }
        dry
    }

    /// Spends the cost from every limit but the slots; whether the next lease is to be asked for,
    /// which is said once.
    pub fn spend(&mut self, places: &NamedPlaces, ask: &Ask<'_>) -> bool {
        let mut asks = self.day.spend(ask.cost);
        asks |= self.month.spend(ask.cost);
        asks |= self.lifetime.spend(ask.cost);
        if let Some(extra) = self.more_mut() {
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
        asks && !std::mem::replace(&mut self.flags.asking, true)
    }

    /// How many slots there may be at a time, if they are limited.
    #[must_use]
    pub fn slots_max(&self) -> Option<u32> {
        self.more().map(|extra| extra.slots_max).filter(|max| *max != u32::MAX)
    }

    /// For how long a slot is held, in nanoseconds, if these limits say so.
    #[must_use]
    pub fn slot_ttl_ns(&self) -> Option<u64> {
        let ttl_ms = self.extra.as_ref().map_or(0, |extra| extra.slot_ttl_ms);
        (ttl_ms != 0).then(|| u64::from(ttl_ms) * 1_000_000)
    }

    /// The slots that are held, where any ever were or may be.
    pub fn slots(&mut self) -> Option<&mut Slots> {
        self.extra.as_deref_mut().map(|extra| &mut extra.slots)
    }

    /// How many are held, those that have expired unseen among them.
    #[must_use]
    pub fn slots_held(&self) -> u32 {
        self.extra.as_ref().map_or(0, |extra| extra.slots.held())
    }

    /// Lets go of slots whose time has ended.
    pub fn reap(&mut self, now_ns: u64) {
        if let Some(extra) = &mut self.extra {
            extra.slots.used(now_ns);
        }
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
        let Some(extra) = self.more_mut() else { return };
        extra.report_slots(names.slots, ask, reports);
        if let Some(balance) = &extra.credits {
            balance.report(ask, reports);
        }
    }

    /// How the limits stand that the request has named.
    pub fn report_named(&self, places: &NamedPlaces, ask: &Ask<'_>, reports: &mut Reports<'_>) {
        let Some(extra) = self.more() else { return };
        for (named, name) in spent_by_name(&extra.named, places) {
            named.report(name, ask, reports);
        }
    }
}

impl Extra {
    fn slot_wait_us(&mut self, ask: &Ask<'_>) -> Option<u64> {
        if self.slots_max == 0 {
            return None;
        }
        // Fewer may be allowed than are held: then more than one has to go.
        let too_many = self.slots.used(ask.now.mono_ns).saturating_sub(self.slots_max);
        let until = |ns: u64| ns.saturating_sub(ask.now.mono_ns).div_ceil(1000);
        self.slots.expires_after(too_many).map(until)
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
