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
