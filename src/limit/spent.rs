//! What becomes of what was spent when a limit changes.

/// What becomes of what was spent when a limit changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spent {
    /// The units that were spent stay spent, as many as they were. Of a rate no more than the new
    /// burst: it is earned back anyway.
    ///
    /// ```
    /// use keygate::limit::{Rate, RateState, Spent};
    ///
    /// assert_eq!(Spent::Keep.apply(60, 100, 1000), 60);
    /// assert_eq!(Spent::Keep.apply(60, 100, 50), 60, "the month has nothing left");
    ///
    /// let (old, new) = (Rate::per_second(10, 10), Rate::per_second(100, 100));
    /// let state = old.judge(RateState::default(), 6, 0).next;
    /// assert_eq!(new.remaining(old.carry(state, &new, 0, Spent::Keep), 0), 94);
    /// ```
    #[default]
    Keep,
    /// The same share of the new limit is spent as was of the old one, rounded up to a whole unit.
    ///
    /// ```
    /// use keygate::limit::{Rate, RateState, Spent};
    ///
    /// assert_eq!(Spent::Proportional.apply(60, 100, 1000), 600);
    /// assert_eq!(Spent::Proportional.apply(1, 3, 100), 34, "33 and a third, rounded up");
    ///
    /// let (old, new) = (Rate::per_second(10, 10), Rate::per_second(100, 100));
    /// let state = old.judge(RateState::default(), 6, 0).next;
    /// assert_eq!(new.remaining(old.carry(state, &new, 0, Spent::Proportional), 0), 40);
    /// ```
    Proportional,
    /// Nothing is spent of the new limit.
    ///
    /// ```
    /// use keygate::limit::{Rate, RateState, Spent};
    ///
    /// assert_eq!(Spent::Reset.apply(60, 100, 1000), 0);
    ///
    /// let (old, new) = (Rate::per_second(10, 10), Rate::per_second(100, 100));
    /// let state = old.judge(RateState::default(), 6, 0).next;
    /// assert_eq!(new.remaining(old.carry(state, &new, 0, Spent::Reset), 0), 100);
    /// ```
    Reset,
}

impl Spent {
    /// Every policy.
    pub const ALL: [Self; 3] = [Self::Keep, Self::Proportional, Self::Reset];

    /// The name in JSON and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Proportional => "proportional",
            Self::Reset => "reset",
        }
    }

    /// The policy of a name, exactly as [`Self::name`] writes it.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }

    /// What is spent of a counted limit (a day's, a month's) whose cap changes. It may be above the
    /// new cap: a month's spent units stay spent. A proportional share is exact, rounded up, at
    /// most `u64::MAX`; anything spent of a cap of 0 is the whole of the new one.
    #[must_use]
    pub fn apply(self, spent: u64, old_cap: u64, new_cap: u64) -> u64 {
        match self {
            Self::Keep => spent,
            Self::Proportional if old_cap == 0 => new_cap * u64::from(spent > 0),
            Self::Proportional => {
                let share = u128::from(spent) * u128::from(new_cap);
                u64::try_from(share.div_ceil(u128::from(old_cap))).unwrap_or(u64::MAX)
            }
            Self::Reset => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_cap_keeps_shares_or_forgets_what_was_spent() {
        // Spent of the old cap, the new cap; then kept and as the same share.
        let cases = [
            (0, 100, 1000, 0, 0),
            (60, 100, 100, 60, 60),
            (60, 100, 50, 60, 30),
            (100, 100, 7, 100, 7),
            (1, 100, 7, 1, 1),
            (99, 100, 7, 99, 7),
            (150, 100, 1000, 150, 1500),
            (5, 10, 0, 5, 0),
            (0, 0, 100, 0, 0),
            (3, 0, 100, 3, 100),
            (u64::MAX, u64::MAX, 1 << 63, u64::MAX, 1 << 63),
            (1 << 63, 1, u64::MAX, 1 << 63, u64::MAX),
        ];
        for (spent, old, new, kept, share) in cases {
            let place = format!("{spent} of {old}, now {new}");
            assert_eq!(Spent::Keep.apply(spent, old, new), kept, "{place}");
            assert_eq!(Spent::Proportional.apply(spent, old, new), share, "{place}");
            assert_eq!(Spent::Reset.apply(spent, old, new), 0, "{place}");
        }
    }

    #[test]
    fn a_policy_is_read_by_its_name_alone() {
        for policy in Spent::ALL {
            assert_eq!(Spent::parse(policy.name()), Some(policy));
        }
        assert_eq!(Spent::parse("Keep"), None);
        assert_eq!(Spent::parse(""), None);
    }
}
