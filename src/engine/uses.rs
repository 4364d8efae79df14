//! How many keys name each tier and each profile, kept by the put, so that whoever asks walks
//! over no keys.

use std::collections::HashMap;

use crate::key::Policy;

/// Keys that have a name in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Those that are not deleted.
    pub live: usize,
    /// Those that are, and may be restored.
    pub deleted: usize,
}

impl Count {
    /// All of them.
    #[must_use]
    pub const fn all(self) -> usize {
        self.live + self.deleted
    }
}

/// The names that keys use. A name that none uses is not there.
#[derive(Debug, Default)]
pub(super) struct Uses {
    pub(super) tiers: HashMap<Box<str>, Count>,
    pub(super) profiles: HashMap<Box<str>, Count>,
}

impl Uses {
    /// One key more.
    pub(super) fn add(&mut self, policy: &Policy, deleted: bool) {
        self.each(policy, |count| *count.of(deleted) += 1);
    }

    /// One key fewer.
    pub(super) fn remove(&mut self, policy: &Policy, deleted: bool) {
        self.each(policy, |count| *count.of(deleted) -= 1);
    }

    fn each(&mut self, policy: &Policy, change: impl Fn(&mut Count)) {
        if !policy.billing_tier.is_empty() {
            change_one(&mut self.tiers, &policy.billing_tier, &change);
        }
        for profile in &policy.compliance_standards {
            change_one(&mut self.profiles, profile, &change);
        }
    }
}

impl Count {
    const fn of(&mut self, deleted: bool) -> &mut usize {
        if deleted { &mut self.deleted } else { &mut self.live }
    }
}

fn change_one(counts: &mut HashMap<Box<str>, Count>, name: &str, change: impl Fn(&mut Count)) {
    match counts.get_mut(name) {
        Some(count) => {
            change(count);
            if count.all() == 0 {
                counts.remove(name);
            }
        }
        None => change(counts.entry(name.into()).or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_counted_while_a_key_has_it() {
        let policy = |tier: &str, profiles: &[&str]| Policy {
            billing_tier: tier.into(),
            compliance_standards: profiles.iter().map(|name| (*name).into()).collect(),
            ..Policy::default()
        };
        let (gold, none) = (policy("gold", &["a", "b"]), policy("", &["b"]));
        let mut uses = Uses::default();
        uses.add(&gold, false);
        uses.add(&gold, true);
        uses.add(&none, false);
        assert_eq!(uses.tiers["gold"], Count { live: 1, deleted: 1 });
        assert_eq!(uses.profiles["b"].all(), 3);
        uses.remove(&gold, true);
        uses.remove(&gold, false);
        assert!(uses.tiers.is_empty());
        assert_eq!((uses.profiles.len(), uses.profiles["b"].live), (1, 1));
    }
}
