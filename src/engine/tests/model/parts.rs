//! Single limits, slow and obvious: whole units of a window, and a bucket that leaks.

use std::collections::BTreeMap;

use super::calendar;
use crate::key::limits::{Credits, LimitPeriod, NamedLimit};
use crate::limit::{Period, Spent};

/// How a limit stands to a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stand {
    pub(super) denies: bool,
    pub(super) limit: u64,
    pub(super) remaining: u64,
    /// `None` for never.
    pub(super) retry_us: Option<u64>,
    pub(super) reset_us: Option<u64>,
}

pub(super) fn until(wall_us: i64, now_us: i64) -> u64 {
    u64::try_from(wall_us - now_us).unwrap_or(0)
}

/// Units that are charged to an account of which a crash left no figures in a window.
pub(super) fn initial(cap: Option<u64>) -> u64 {
    cap.map_or(0, |cap| (cap / 100).min(100))
}

/// Units of one window.
#[derive(Debug, Clone, Default)]
pub(super) struct Units {
    pub(super) cap: Option<u64>,
    pub(super) window: u32,
    pub(super) spent: u64,
    pub(super) stranded: u64,
    /// Of these, what was charged when the window was entered without figures.
    pub(super) charged: u64,
    /// What was spent in the windows before, to be compared with older rows.
    pub(super) past: BTreeMap<u32, u64>,
}

impl Units {
    /// Enters a later window, with so many units spent that are lost.
    pub(super) fn enter(&mut self, window: u32, lost: u64) {
        if window > self.window {
            self.past.insert(self.window, self.spent);
            (self.window, self.spent, self.stranded) = (window, lost, lost);
            self.charged = lost;
        }
    }

    pub(super) fn remaining(&self) -> u64 {
        self.cap.map_or(0, |cap| cap.saturating_sub(self.spent))
    }

    pub(super) fn exceeded_by(&self, cost: u64) -> bool {
        cost > 0 && self.cap.is_some_and(|cap| self.spent + cost > cap)
    }

    pub(super) fn spend(&mut self, cost: u64) {
        if self.cap.is_some() {
            self.spent += cost;
        }
    }

    pub(super) fn change(&mut self, cap: Option<u64>, policy: Spent, window: u32) {
        if let (Some(old), Some(new)) = (self.cap, cap) {
            let share = |spent: u64| match policy {
                Spent::Keep => spent,
                Spent::Reset => 0,
                Spent::Proportional if old == 0 => {
                    if spent > 0 {
                        new
                    } else {
                        0
                    }
                }
                Spent::Proportional => {
                    let all = u128::from(spent) * u128::from(new);
                    u64::try_from(all.div_ceil(u128::from(old))).expect("a share of a u64")
                }
            };
            self.spent = share(self.spent);
            self.stranded = share(self.stranded).min(self.spent);
            if policy == Spent::Reset {
                self.window = window;
            }
        }
        self.cap = cap;
    }

    pub(super) fn is_near_end(&self) -> bool {
        self.cap.is_some_and(|cap| self.remaining() < cap.div_ceil(10))
    }

    /// Where it limits; `ends_us` is `None` for a life.
    pub(super) fn stand(&self, cost: u64, now_us: i64, ends_us: Option<i64>) -> Option<Stand> {
        let cap = self.cap?;
        let wait = ends_us.map(|ends| until(ends, now_us));
        Some(Stand {
            denies: self.exceeded_by(cost),
            limit: cap,
            remaining: self.remaining(),
            retry_us: wait.filter(|_| cost <= cap),
            reset_us: if self.spent == 0 { Some(0) } else { wait },
        })
    }
}

/// A bucket that holds `burst` units and leaks `count` of them in each period. What is in it is
/// counted in parts: `period_ns` of them are a unit, and `count` leak out in a nanosecond.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bucket {
    pub(super) count: u64,
    pub(super) period_ns: u64,
    pub(super) burst: u64,
    /// Parts that were in it at an instant; they may be reckoned back from there.
    pub(super) parts: i128,
    pub(super) at_ns: u64,
}

impl Bucket {
    pub(super) fn new(count: u64, period_ns: u64, burst: u64) -> Self {
        // Of nothing a second nothing is admitted, whatever the burst.
        let burst = if count == 0 { 0 } else { burst };
        Self { count: count.max(1), period_ns, burst, parts: 0, at_ns: 0 }
    }

    fn same_rate(&self, other: &Self) -> bool {
        (self.count, self.period_ns, self.burst) == (other.count, other.period_ns, other.burst)
    }

    /// Parts in it now.
    pub(super) fn parts(&self, now_ns: u64) -> i128 {
        let elapsed = i128::from(now_ns) - i128::from(self.at_ns);
        (self.parts - elapsed * i128::from(self.count)).max(0)
    }

    fn unit(&self) -> i128 {
        i128::from(self.period_ns)
    }

    fn room(&self, now_ns: u64) -> i128 {
        i128::from(self.burst) * self.unit() - self.parts(now_ns)
    }

    pub(super) fn exceeded_by(&self, cost: u64, now_ns: u64) -> bool {
        cost > 0 && i128::from(cost) * self.unit() > self.room(now_ns)
    }

    pub(super) fn spend(&mut self, cost: u64, now_ns: u64) {
        if cost > 0 {
            self.parts = self.parts(now_ns) + i128::from(cost) * self.unit();
            self.at_ns = now_ns;
        }
    }

    pub(super) fn stand(&self, cost: u64, now_ns: u64) -> Stand {
        let us = |parts: i128| {
            let ns = up(parts.max(0), i128::from(self.count));
            u64::try_from(up(ns, 1000)).unwrap_or(u64::MAX / 1000 + 1)
        };
        let room = self.room(now_ns);
        let lacks = i128::from(cost) * self.unit() - room;
        Stand {
            denies: self.exceeded_by(cost, now_ns),
            limit: self.burst,
            remaining: u64::try_from(room.max(0) / self.unit()).expect("below the burst"),
            retry_us: (cost <= self.burst).then(|| us(lacks)),
            reset_us: Some(us(self.parts(now_ns))),
        }
    }

    /// The same bucket under another rate.
    pub(super) fn changed(&self, to: Self, policy: Spent, now_ns: u64) -> Self {
        if self.same_rate(&to) && policy != Spent::Reset {
            return *self;
        }
        let parts = self.parts(now_ns);
        let full = i128::from(to.burst) * to.unit();
        let parts = match policy {
            Spent::Reset => 0,
            // As many units, and parts of one.
            Spent::Keep => up(parts * to.unit(), self.unit()),
            // The same share of the burst, in whole units.
            Spent::Proportional if parts == 0 => 0,
            Spent::Proportional if parts >= i128::from(self.burst) * self.unit() => full,
            Spent::Proportional => {
                let whole = i128::from(self.burst) * self.unit();
                up(parts * i128::from(to.burst), whole) * to.unit()
            }
        };
        Self { parts: parts.min(full), at_ns: now_ns, ..to }
    }
}

/// A quotient that is rounded up.
fn up(parts: i128, of: i128) -> i128 {
    parts / of + i128::from(parts % of > 0)
}

/// A limit with a name.
#[derive(Debug, Clone)]
pub(super) enum Form {
    Calendar(Period, Units),
    Rolling(Bucket),
}

#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) form: Form,
}

pub(super) const fn wall_ns(now_us: i64) -> u64 {
    now_us.unsigned_abs() * 1000
}

impl Named {
    pub(super) fn new(limit: &NamedLimit) -> Self {
        let form = match limit.period {
            LimitPeriod::Calendar(period) => {
                Form::Calendar(period, Units { cap: Some(limit.count), ..Units::default() })
            }
            LimitPeriod::Rolling { seconds } => {
                let period_ns = u64::from(seconds) * 1_000_000_000;
                Form::Rolling(Bucket::new(limit.count, period_ns, limit.count))
            }
        };
        Self { name: limit.name.clone(), form }
    }

    pub(super) fn changed(&self, limit: &NamedLimit, policy: Spent, now_us: i64) -> Self {
        let mut new = Self::new(limit);
        match (&self.form, &mut new.form) {
            (Form::Calendar(old, units), Form::Calendar(period, to)) if old == period => {
                let cap = to.cap;
                *to = units.clone();
                to.change(cap, policy, calendar::number(*period, now_us));
            }
            (Form::Rolling(old), Form::Rolling(to)) => {
                *to = old.changed(*to, policy, wall_ns(now_us));
            }
            _ => {}
        }
        new
    }

    /// One that was taken away comes back. Of a bucket its rate is known, and not how much it held:
    /// so much is kept as was in it.
    pub(super) fn back(&self, limit: &NamedLimit, now_us: i64) -> Self {
        let mut new = self.changed(limit, Spent::Keep, now_us);
        if let (Form::Rolling(old), Form::Rolling(to)) = (&self.form, &mut new.form)
            && (old.count, old.period_ns) == (to.count, to.period_ns)
        {
            (to.parts, to.at_ns) = (old.parts, old.at_ns);
        }
        new
    }

    /// Units that a crash has cost; a bucket does not tell them apart.
    pub(super) fn stranded(&self) -> u64 {
        match &self.form {
            Form::Calendar(_, units) => units.stranded,
            Form::Rolling(_) => 0,
        }
    }

    pub(super) fn enter(&mut self, now_us: i64) {
        if let Form::Calendar(period, units) = &mut self.form {
            units.enter(calendar::number(*period, now_us), 0);
        }
    }

    pub(super) fn spend(&mut self, cost: u64, now_us: i64) {
        match &mut self.form {
            Form::Calendar(_, units) => units.spend(cost),
            Form::Rolling(bucket) => bucket.spend(cost, wall_ns(now_us)),
        }
    }

    pub(super) fn stand(&self, cost: u64, now_us: i64) -> Stand {
        match &self.form {
            Form::Calendar(period, units) => {
                let ends_us = calendar::ends_us(*period, now_us);
                units.stand(cost, now_us, Some(ends_us)).expect("it has a cap")
            }
            Form::Rolling(bucket) => bucket.stand(cost, wall_ns(now_us)),
        }
    }
}

/// A balance. The window of its units is that of the refill; 1 where there is none.
#[derive(Debug, Clone)]
pub(super) struct Balance {
    pub(super) terms: Credits,
    pub(super) units: Units,
}

impl Balance {
    pub(super) fn new(terms: Credits) -> Self {
        let granted_us = terms.granted_at.map_or(0, crate::key::Time::micros_up);
        let window = terms.refill.map_or(1, |it| calendar::refill_number(it.every, granted_us));
        let units = Units { cap: Some(terms.balance), window, ..Units::default() };
        Self { terms, units }
    }

    pub(super) fn enter(&mut self, now_us: i64) {
        let Some(refill) = self.terms.refill else { return };
        let number = calendar::refill_number(refill.every, now_us);
        while self.units.window < number {
            if refill.adds {
                self.units.window += 1;
                self.units.cap = self.units.cap.map(|cap| cap + refill.amount);
            } else {
                self.units = Units { cap: Some(refill.amount), window: number, ..Units::default() };
            }
        }
    }

    pub(super) fn refund(&mut self, credits: u64) -> u64 {
        let back = credits.min(self.units.spent - self.units.stranded);
        self.units.spent -= back;
        back
    }

    pub(super) fn stand(&self, cost: u64, now_us: i64) -> Stand {
        let refill = self.terms.refill;
        let next = refill.map(|it| calendar::next_refill_us(it.every, now_us));
        let replaced = refill.filter(|it| !it.adds).and(next).map(|at| until(at, now_us));
        let cap = self.units.cap.expect("a balance");
        Stand {
            denies: self.units.exceeded_by(cost),
            limit: cap,
            remaining: self.units.remaining(),
            retry_us: self.retry_us(cost, now_us),
            reset_us: if self.units.spent == 0 { Some(0) } else { replaced },
        }
    }

    fn retry_us(&self, cost: u64, now_us: i64) -> Option<u64> {
        let refill = self.terms.refill.filter(|it| it.amount > 0)?;
        let short = cost.saturating_sub(self.units.remaining());
        let times = match refill.adds {
            true => short.div_ceil(refill.amount),
            false => u64::from(short > 0 && cost <= refill.amount),
        };
        let later = times.checked_sub(1)?;
        Some(until(calendar::refill_us(refill.every, now_us, later), now_us))
    }
}
