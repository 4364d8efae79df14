//! Policies, shared: keys with equal rules hold one in memory between them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::key::Policy;

/// All policies in use, counted by the keys that use them.
#[derive(Debug, Default)]
pub(super) struct Policies {
    by_rules: HashMap<Arc<Policy>, u32>,
    items: Vec<(Arc<Policy>, u32)>,
    free: Vec<u32>,
}

impl Policies {
    pub(super) fn get(&self, number: u32) -> &Arc<Policy> {
        &self.items[number as usize].0
    }

    /// The number of these rules, for one more key.
    pub(super) fn take(&mut self, policy: Policy) -> u32 {
        if let Some(&number) = self.by_rules.get(&policy) {
            self.items[number as usize].1 += 1;
            return number;
        }
        let policy = Arc::new(policy);
        let number = self.free.pop().unwrap_or_else(|| {
            self.items.push((Arc::clone(&policy), 0));
            // There are no more policies than keys, and keys are numbered in 32 bits.
            u32::try_from(self.items.len() - 1).unwrap_or(u32::MAX)
        });
        self.items[number as usize] = (Arc::clone(&policy), 1);
        self.by_rules.insert(policy, number);
        number
    }

    /// One key fewer uses it.
    pub(super) fn release(&mut self, number: u32) {
        let (policy, users) = &mut self.items[number as usize];
        *users -= 1;
        if *users == 0 {
            self.by_rules.remove(policy);
            *policy = Arc::default();
            self.free.push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::scope::Scopes;

    #[test]
    fn equal_rules_are_one_and_the_last_user_frees_them() {
        let policy = |scope: &str| Policy { scopes: Scopes::new([scope]), ..Policy::default() };
        let first = |policy: &Policy| policy.scopes.iter().next().map(str::to_owned);
        let mut policies = Policies::default();
        let a = policies.take(policy("a"));
        assert_eq!(policies.take(policy("a")), a);
        assert_ne!(policies.take(policy("b")), a);
        policies.release(a);
        assert_eq!(first(policies.get(a)).as_deref(), Some("a"));
        policies.release(a);
        assert_eq!(policies.take(policy("c")), a, "the number is used again");
        assert_eq!(first(policies.get(a)).as_deref(), Some("c"));
    }
}
