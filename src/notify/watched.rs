//! The keys that somebody is told about, as little of each as is needed to judge it.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use crate::alert::window::{Sample, Window};
use crate::alert::{KeyState, Rules, judge};

/// One key.
struct Watched {
    rules: Rules,
    /// Where it stands in `dates`.
    next_us: Option<i64>,
}

/// All of them, and what was said of any key.
#[derive(Default)]
pub(super) struct Keys {
    keys: HashMap<u64, Watched>,
    /// When a key is to be looked at because of its dates.
    dates: BTreeSet<(i64, u64)>,
    states: HashMap<u64, KeyState>,
    /// The last five minutes, of keys whose errors are of interest.
    windows: HashMap<u64, Window>,
    /// Keys of which it was said that errors are high: they are looked at until they are not.
    high: BTreeSet<u64>,
    /// Keys that are to be looked at.
    to_look: BTreeSet<u64>,
    /// The last that was looked at: the next comes after it, so that those of high ids have their
    /// turn too.
    looked: u64,
    /// How many there are whose figures are of interest.
    with_figures: usize,
}

/// Whether what a key is used for is of interest.
const fn needs_figures(rules: &Rules) -> bool {
    rules.quota.is_some() || rules.errors.is_some()
}

impl Keys {
    pub(super) fn restore(&mut self, id: u64, state: KeyState) {
        self.set_state(id, state);
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn contains(&self, id: u64) -> bool {
        self.keys.contains_key(&id)
    }

    /// Those that are watched, and those of which something was said.
    pub(super) fn ids(&self) -> BTreeSet<u64> {
        self.keys.keys().chain(self.states.keys()).copied().collect()
    }

    pub(super) fn rules(&self, id: u64) -> Option<&Rules> {
        self.keys.get(&id).map(|watched| &watched.rules)
    }

    /// Whether what any key is used for is of interest.
    pub(super) const fn wants_figures(&self) -> bool {
        self.with_figures > 0
    }

    /// Watches a key by these rules from here on; `None` lets go of it. `totals` are asked for where
    /// errors become of interest.
    pub(super) fn set(
        &mut self,
        id: u64,
        rules: Option<Rules>,
        now_ns: u64,
        totals: impl FnOnce() -> Sample,
    ) {
        if let Some(Watched { rules, next_us }) = self.keys.remove(&id) {
            self.with_figures -= usize::from(needs_figures(&rules));
            if let Some(at_us) = next_us {
                self.dates.remove(&(at_us, id));
            }
        }
        let Some(rules) = rules else {
            self.windows.remove(&id);
            self.high.remove(&id);
            self.to_look.remove(&id);
            return;
        };
        if rules.errors.is_none() {
            self.windows.remove(&id);
        } else {
            self.windows.entry(id).or_insert_with(|| Window::new(totals(), now_ns));
        }
        self.with_figures += usize::from(needs_figures(&rules));
        self.keys.insert(id, Watched { rules, next_us: None });
        self.to_look.insert(id);
    }

    /// What was said of a key that is not there any more is forgotten.
    pub(super) fn forget(&mut self, id: u64) {
        self.states.remove(&id);
    }

    pub(super) fn state(&self, id: u64) -> KeyState {
        self.states.get(&id).cloned().unwrap_or_default()
    }

    pub(super) fn set_state(&mut self, id: u64, state: KeyState) {
        if state.errors_high_since_us.is_some() {
            self.high.insert(id);
        } else {
            self.high.remove(&id);
        }
        self.states.insert(id, state);
    }

    /// The window of a key's errors, with what was reported since the last look.
    pub(super) fn window(&mut self, id: u64, totals: Sample, now_ns: u64) -> Option<&mut Window> {
        let window = self.windows.get_mut(&id)?;
        window.look(totals, now_ns);
        Some(window)
    }

    /// These have moved.
    pub(super) fn moved(&mut self, ids: &[u64]) {
        let keys = &self.keys;
        let of_interest = |id: &&u64| {
            let rules = keys.get(id).map(|watched| &watched.rules);
            rules.is_some_and(needs_figures)
        };
        self.to_look.extend(ids.iter().filter(of_interest));
    }

    /// A key is to be looked at, again.
    pub(super) fn look_at(&mut self, id: u64) {
        self.to_look.insert(id);
    }

    /// Puts those on the list whose date has come, and those whose errors are high.
    pub(super) fn turn(&mut self, now_us: i64) {
        while let Some((at_us, id)) = self.dates.first().copied().filter(|(at, _)| *at <= now_us) {
            self.dates.remove(&(at_us, id));
            if let Some(watched) = self.keys.get_mut(&id) {
                watched.next_us = None;
            }
            self.to_look.insert(id);
        }
        let watched = self.high.iter().filter(|id| self.keys.contains_key(*id));
        self.to_look.extend(watched);
    }

    pub(super) fn next_to_look(&mut self) -> Option<u64> {
        let after = (Bound::Excluded(self.looked), Bound::Unbounded);
        let next = self.to_look.range(after).next().or_else(|| self.to_look.first()).copied()?;
        self.to_look.remove(&next);
        self.looked = next;
        Some(next)
    }

    /// Notes when the key is to be looked at because of its dates.
    pub(super) fn schedule(&mut self, id: u64, now_us: i64) {
        let Some(watched) = self.keys.get_mut(&id) else { return };
        let next_us = judge::next_date_us(&watched.rules, now_us);
        if let Some(before) = std::mem::replace(&mut watched.next_us, next_us) {
            self.dates.remove(&(before, id));
        }
        self.dates.extend(next_us.map(|next_us| (next_us, id)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_busy_all_the_time_keeps_nobody_from_being_looked_at() {
        let mut keys = Keys::default();
        let mut looked = Vec::new();
        for _ in 0..3 {
            (1..=5).for_each(|id| keys.look_at(id));
            looked.extend((0..2).filter_map(|_| keys.next_to_look()));
        }
        assert_eq!(looked, [1, 2, 3, 4, 5, 1]);
    }
}
