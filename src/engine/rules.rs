//! What the configuration says of keys, and its change while keys are judged.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Engine;
use super::uses::Count;
use crate::key::Rules;

/// Slots that are looked at under one lock: a writer waits for some ten microseconds.
const SLOTS_AT_A_TIME: u32 = 512;

impl Engine {
    /// What keys are compiled under.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read())
    }

    /// Has keys compiled under these rules from here on. Those that are in the catalog stay as they
    /// are until they are put again: [`Engine::keys_of_tiers`] names them.
    pub fn set_rules(&self, rules: Arc<Rules>) {
        *self.rules.write() = rules;
    }

    /// A verdict warns from here on when the key expires within this time, in microseconds.
    pub fn set_expiry_warning_us(&self, us: i64) {
        self.expiry_warning_us.store(us, Ordering::Relaxed);
    }

    /// Ids of all keys of these tiers, deleted ones too; by ascending id, some perhaps of keys that
    /// are gone or have another tier by now. One that is put while this looks may be missed: it is
    /// compiled under the rules of that time.
    #[must_use]
    pub fn keys_of_tiers(&self, tiers: &BTreeSet<String>) -> Vec<u64> {
        let mut ids = Vec::new();
        if tiers.is_empty() {
            return ids;
        }
        for start in (0..u32::MAX).step_by(SLOTS_AT_A_TIME as usize) {
            let slots = start..start.saturating_add(SLOTS_AT_A_TIME);
            let (some, more) = self.read().keys_of_tiers(slots, |tier| tiers.contains(tier));
            ids.extend(some);
            if !more {
                break;
            }
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// How many keys name a tier.
    #[must_use]
    pub fn keys_with_tier(&self, name: &str) -> Count {
        self.read().uses().tiers.get(name).copied().unwrap_or_default()
    }

    /// How many keys name a profile.
    #[must_use]
    pub fn keys_with_profile(&self, name: &str) -> Count {
        self.read().uses().profiles.get(name).copied().unwrap_or_default()
    }

    /// The tiers that keys name and the rules do not have, with the keys that are withheld for it;
    /// deleted ones are not counted.
    #[must_use]
    pub fn unknown_tiers(&self) -> Vec<(String, usize)> {
        let rules = self.rules();
        let catalog = self.read();
        unknown(&catalog.uses().tiers, |name| rules.tiers.contains_key(name))
    }

    /// The profiles that keys name and the rules do not have, with their keys. They are judged all
    /// the same: profiles bind those who write.
    #[must_use]
    pub fn unknown_profiles(&self) -> Vec<(String, usize)> {
        let rules = self.rules();
        let catalog = self.read();
        unknown(&catalog.uses().profiles, |name| rules.profiles.contains_key(name))
    }
}

fn unknown(
    counts: &std::collections::HashMap<Box<str>, Count>,
    is_known: impl Fn(&str) -> bool,
) -> Vec<(String, usize)> {
    let unknown = counts.iter().filter(|(name, count)| count.live > 0 && !is_known(name));
    let mut unknown: Vec<_> = unknown.map(|(name, count)| (name.to_string(), count.live)).collect();
    unknown.sort_unstable();
    unknown
}

#[cfg(test)]
mod tests {
    use keygate_protocol::VerdictCode;

    use super::super::tests::{Bench, of};
    use super::*;
    use crate::clock::Clock;
    use crate::key::{Allowance, KeyRecord};
    use crate::usage::{Tally, UsageRow};

    fn rules(tiers: &[(&str, u32)]) -> Arc<Rules> {
        let tier = |(name, rate): &(&str, u32)| {
            let allowance = Allowance { requests_per_second: Some(*rate), ..Allowance::default() };
            ((*name).to_owned(), allowance)
        };
        Arc::new(Rules { tiers: tiers.iter().map(tier).collect(), ..Rules::default() })
    }

    fn tiers(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn of_tier(bench: &Bench, id: u64, token: &str, tier: &str) -> KeyRecord {
        KeyRecord { billing_tier: tier.to_owned(), ..bench.record(id, token) }
    }

    #[test]
    fn a_tiers_limit_is_the_keys_and_what_was_spent_survives_its_change() {
        let bench = Bench::new();
        let token = bench.token(1);
        let record = of_tier(&bench, 7, &token, "gold");
        let admitted = || {
            let ask = || bench.ask(&of(&token)).verdict.code;
            (0..100).take_while(|_| ask() == VerdictCode::Valid).count()
        };
        bench.engine.set_rules(rules(&[("gold", 5)]));
        bench.put(&record);
        assert_eq!(admitted(), 5);
        // Raised, lowered and raised again at one instant: no more than the highest in all.
        for (rate, more) in [(8, 3), (2, 0), (8, 6), (5, 0)] {
            bench.engine.set_rules(rules(&[("gold", rate)]));
            bench.put(&record);
            assert_eq!(admitted(), more, "{rate}");
        }
        bench.clock.advance_us(1_000_000);
        assert_eq!(admitted(), 5);
    }

    #[test]
    fn a_key_without_its_tier_is_unknown_and_keeps_its_figures() {
        let bench = Bench::new();
        let token = bench.token(1);
        let record = of_tier(&bench, 7, &token, "gold");
        bench.put(&record);
        bench.engine.restore_usage(
            7,
            UsageRow { total: Tally::of_verdicts(41, 41, 0), ..UsageRow::default() },
        );
        let verdict = bench.ask(&of(&token)).verdict;
        assert_eq!((verdict.code, verdict.key_id), (VerdictCode::NotFound, 0));
        assert_eq!(bench.engine.key_count(), 0);
        assert_eq!(bench.engine.unknown_tiers(), [("gold".to_owned(), 1)]);

        bench.engine.set_rules(rules(&[("gold", 5)]));
        assert_eq!(bench.engine.keys_of_tiers(&tiers(&["gold"])), [7]);
        bench.put(&record);
        assert_eq!(bench.ask(&of(&token)).verdict.code, VerdictCode::Valid);
        assert_eq!(bench.engine.usage(7, false).total.requests, 42);
        assert_eq!((bench.engine.key_count(), bench.engine.unknown_tiers()), (1, vec![]));

        // And the other way round, as a put under rules that lack the tier would.
        bench.engine.set_rules(Arc::default());
        bench.put(&record);
        assert_eq!(bench.ask(&of(&token)).verdict.code, VerdictCode::NotFound);
        assert_eq!(
            (bench.engine.key_count(), bench.engine.usage(7, false).total.requests),
            (0, 42)
        );
    }

    #[test]
    fn keys_are_counted_and_found_by_their_tier() {
        let bench = Bench::new();
        bench.engine.set_rules(rules(&[("gold", 5), ("free", 1)]));
        for id in 1..=900_u64 {
            let token = format!("foreign-{id}");
            let tier = if id % 3 == 0 { "gold" } else { "free" };
            let deleted_at = (id % 9 == 0).then(|| crate::key::Time::from_micros(1));
            let record = KeyRecord { deleted_at, ..of_tier(&bench, id, &token, tier) };
            bench.put(&KeyRecord { compliance_standards: vec!["SOC2".to_owned(); 2], ..record });
        }
        let gold: Vec<u64> = (1..=900).filter(|id| id % 3 == 0).collect();
        assert_eq!(bench.engine.keys_of_tiers(&tiers(&["gold", "none"])), gold);
        assert_eq!(bench.engine.keys_of_tiers(&tiers(&[])), Vec::<u64>::new());
        assert_eq!(bench.engine.keys_with_tier("gold"), Count { live: 200, deleted: 100 });
        assert_eq!(bench.engine.keys_with_tier("free"), Count { live: 600, deleted: 0 });
        assert_eq!(bench.engine.keys_with_profile("SOC2").all(), 900);
        assert_eq!(bench.engine.unknown_profiles(), [("SOC2".to_owned(), 800)]);
        for id in 1..=900 {
            bench.engine.remove(id);
        }
        assert_eq!(bench.engine.keys_with_tier("gold").all(), 0);
        assert_eq!(bench.engine.keys_with_profile("SOC2").all(), 0);
    }

    #[test]
    fn the_time_of_the_expiry_warning_can_be_changed() {
        let bench = Bench::new();
        let token = bench.token(1);
        let expires_at = crate::key::Time::from_micros(bench.clock.now().wall_us + 2_000_000);
        bench.put(&KeyRecord { expires_at: Some(expires_at), ..bench.record(7, &token) });
        let warned = || bench.ask(&of(&token)).verdict.warnings.names().count();
        assert_eq!(warned(), 1);
        bench.engine.set_expiry_warning_us(1_000_000);
        assert_eq!(warned(), 0);
        bench.engine.set_expiry_warning_us(2_000_000);
        assert_eq!(warned(), 1);
    }
}
