//! What a record says of limits, as decisions need it.

use crate::key::limits::{LimitPeriod, NamedLimit, RefillEvery};
use crate::key::{Allowance, Credits, Time};
use crate::limit::{
    Change, CreditTerms, NamedForm, NamedTerms, PerSecond, Rate, Refill, RefillTerms, Spent, Terms,
    UNLIMITED,
};

/// All limits of a key or a tenant, compiled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Compiled {
    pub(super) second: PerSecond,
    /// Those beyond the second, if there are any.
    pub(super) terms: Option<Box<Terms>>,
}

impl Compiled {
    /// `uses` are those that an import has carried over: they are taken off what may be used in a
    /// life.
    pub(super) fn of(allowance: &Allowance, credits: Option<&Credits>, uses: u64) -> Self {
        let burst = |count| allowance.burst.unwrap_or_else(|| u64::from(count));
        let second = allowance.requests_per_second;
        let terms = Terms {
            day: allowance.requests_per_day.map_or(UNLIMITED, u64::from),
            month: allowance.monthly_request_quota.unwrap_or(UNLIMITED),
            lifetime: allowance.max_uses.map_or(UNLIMITED, |max| max.saturating_sub(uses)),
            slots: allowance.concurrent_requests.unwrap_or(u32::MAX),
            slot_ttl_ms: allowance.slot_ttl_seconds.map_or(0, |s| s.saturating_mul(1000)),
            credits: credits.map(credit_terms),
            named: allowance.limits.iter().map(named_terms).collect(),
        };
        Self {
            second: second.map_or_else(PerSecond::default, |it| PerSecond::new(it, burst(it))),
            terms: terms.say_anything().then(|| Box::new(terms)),
        }
    }
}

impl Change {
    /// That of an update: which limits its fields name, as a record calls them, and what becomes of
    /// what was spent of those.
    #[must_use]
    pub fn naming(spent: Spent, names: impl Fn(&str) -> bool) -> Self {
        Self {
            spent,
            second: names("requests_per_second") || names("burst"),
            day: names("requests_per_day"),
            month: names("monthly_request_quota"),
            lifetime: names("max_uses"),
            named: names("limits"),
        }
    }
}

fn credit_terms(credits: &Credits) -> CreditTerms {
    CreditTerms {
        granted_us: credits.granted_at.map_or(0, Time::micros_up),
        balance: credits.balance,
        refill: credits.refill.map(|refill| RefillTerms {
            every: match refill.every {
                RefillEvery::Day => Refill::Daily,
                RefillEvery::Month { day } => Refill::Monthly { day },
            },
            amount: refill.amount,
            adds: refill.adds,
        }),
    }
}

fn named_terms(limit: &NamedLimit) -> NamedTerms {
    let count = limit.count;
    NamedTerms {
        name: limit.name.as_str().into(),
        form: match limit.period {
            LimitPeriod::Calendar(period) => NamedForm::Calendar { period, count },
            LimitPeriod::Rolling { seconds } => {
                NamedForm::Rolling(Rate::new(count, u64::from(seconds) * 1_000_000_000, count))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_treats_the_limits_whose_fields_are_named() {
        for (field, place) in [
            ("requests_per_second", Some(0)),
            ("burst", Some(0)),
            ("requests_per_day", Some(1)),
            ("monthly_request_quota", Some(2)),
            ("max_uses", Some(3)),
            ("limits", Some(4)),
            ("credits", None),
            ("concurrent_requests", None),
        ] {
            let change = Change::naming(Spent::Reset, |name| name == field);
            let Change { spent, second, day, month, lifetime, named } = change;
            let treated = [second, day, month, lifetime, named];
            assert_eq!(treated.iter().position(|is| *is), place, "{field}");
            assert!(treated.iter().filter(|is| **is).count() < 2 && spent == Spent::Reset);
        }
    }
}
