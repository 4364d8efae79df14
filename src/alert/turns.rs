//! Whose turn it is: which destination is tried next, and whose alert goes when there is no room.
//!
//! Attempts and places are shared out among owners first and among destinations second, so that a
//! tenant whose destinations are all dead takes nothing from another, or from the operator.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use super::entry::Route;
use crate::event::Destination;

/// Of the attempts at a time the part that one tenant may have; the operator and the sinks have as
/// many beside.
const SHARE: usize = 4;

/// Attempts at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slots {
    /// Of all tenants.
    all: usize,
    /// Of one; likewise of the operator and of the sinks, which have their own.
    one: usize,
}

impl Slots {
    pub(super) fn new(all: usize) -> Self {
        Self { all, one: (all / SHARE).max(1) }
    }
}

/// Whose alerts are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Owner {
    Operator,
    Tenant(String),
}

/// What shares attempts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Lane {
    Operator,
    Sinks,
    Tenant(String),
}

impl Owner {
    fn of(route: &Route) -> Self {
        if route.operator { Self::Operator } else { Self::Tenant(route.tenant.clone()) }
    }
}

impl Lane {
    fn of(route: &Route) -> Self {
        match route.to {
            _ if route.operator => Self::Operator,
            Destination::Sink { .. } => Self::Sinks,
            _ => Self::Tenant(route.tenant.clone()),
        }
    }
}

/// Destinations by when they are due.
#[derive(Debug, Default)]
pub(super) struct Turns {
    due: HashMap<Lane, BTreeSet<(i64, Route)>>,
    /// Lanes by when the first of them is due.
    first: BTreeSet<(i64, Lane)>,
    under_way: HashMap<Lane, usize>,
    /// Attempts under way of all tenants.
    of_tenants: usize,
}

impl Turns {
    pub(super) fn add(&mut self, route: &Route, due_us: i64) {
        self.change(Lane::of(route), |due| due.insert((due_us, route.clone())));
    }

    pub(super) fn remove(&mut self, route: &Route, due_us: i64) {
        self.change(Lane::of(route), |due| due.remove(&(due_us, route.clone())));
    }

    fn change(&mut self, lane: Lane, change: impl FnOnce(&mut BTreeSet<(i64, Route)>) -> bool) {
        let due = self.due.entry(lane.clone()).or_default();
        let first = |due: &BTreeSet<(i64, Route)>| due.first().map(|(due_us, _)| *due_us);
        let before = first(due);
        change(due);
        let after = first(due);
        if after.is_none() {
            self.due.remove(&lane);
        }
        if before != after {
            if let Some(before) = before {
                self.first.remove(&(before, lane.clone()));
            }
            self.first.extend(after.map(|after| (after, lane)));
        }
    }

    /// The destination that is due longest of those that may be tried.
    pub(super) fn next(&self, slots: Slots) -> Option<(i64, Route)> {
        let lane = if self.of_tenants < slots.all {
            let with_room = |(_, lane): &&(i64, Lane)| self.has_room(lane, slots);
            &self.first.iter().find(with_room)?.1
        } else {
            let own = [&Lane::Operator, &Lane::Sinks].into_iter();
            let due = own.filter(|lane| self.has_room(lane, slots));
            let first = |lane: &&Lane| self.due.get(lane).and_then(BTreeSet::first);
            due.filter(|lane| first(lane).is_some()).min_by_key(first)?
        };
        self.due.get(lane)?.first().cloned()
    }

    fn has_room(&self, lane: &Lane, slots: Slots) -> bool {
        self.under_way.get(lane).copied().unwrap_or_default() < slots.one
    }

    pub(super) fn begin(&mut self, route: &Route) {
        let lane = Lane::of(route);
        self.of_tenants += usize::from(matches!(lane, Lane::Tenant(_)));
        *self.under_way.entry(lane).or_default() += 1;
    }

    pub(super) fn end(&mut self, route: &Route) {
        let lane = Lane::of(route);
        self.of_tenants -= usize::from(matches!(lane, Lane::Tenant(_)));
        if let Some(count) = self.under_way.get_mut(&lane) {
            *count -= 1;
            if *count == 0 {
                self.under_way.remove(&lane);
            }
        }
    }
}

/// What waits for a destination: how many, and the number of the oldest.
pub(super) type Length = (usize, Reverse<u64>);

/// Destinations by how much waits for them, and owners likewise.
#[derive(Debug, Default)]
pub(super) struct Lengths {
    of: HashMap<Owner, (usize, BTreeSet<(Length, Route)>)>,
    owners: BTreeSet<(usize, Owner)>,
}

impl Lengths {
    pub(super) fn add(&mut self, route: &Route, length: Length) {
        self.change(route, |waiting, routes| {
            routes.insert((length, route.clone()));
            waiting + length.0
        });
    }

    pub(super) fn remove(&mut self, route: &Route, length: Length) {
        self.change(route, |waiting, routes| {
            routes.remove(&(length, route.clone()));
            waiting - length.0
        });
    }

    fn change(
        &mut self,
        route: &Route,
        change: impl FnOnce(usize, &mut BTreeSet<(Length, Route)>) -> usize,
    ) {
        let owner = Owner::of(route);
        let (waiting, routes) = self.of.entry(owner.clone()).or_default();
        let before = *waiting;
        *waiting = change(before, routes);
        let after = *waiting;
        if routes.is_empty() {
            self.of.remove(&owner);
        }
        self.owners.remove(&(before, owner.clone()));
        if after > 0 {
            self.owners.insert((after, owner));
        }
    }

    /// The oldest that waits for the destination with the most, of the owner with the most.
    pub(super) fn oldest_of_the_longest(&self) -> Option<u64> {
        let (_, owner) = self.owners.last()?;
        let (_, routes) = self.of.get(owner)?;
        routes.last().map(|((_, Reverse(oldest)), _)| *oldest)
    }
}
