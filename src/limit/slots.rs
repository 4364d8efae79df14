//! Slots: the concurrent requests that one key or one tenant has under way.
//!
//! A slot is held until it is released or expires, whichever is first. What has expired is reaped
//! by [`Slots::used`], which only looks when the next expiry may have come; the other methods take
//! no time, so a caller reaps first and then asks.

mod many;

use many::{Bounds, Many};

/// So many stand in the structure itself; most keys never have more under way.
const FEW: usize = 2;

/// Of more slots than these it is not told when so many of them will have expired.
const EXPIRIES_SORTED_MAX: u32 = 256;

/// The expiry of a node that holds no slot: it is never the next one, and never comes.
const FREE_NS: u64 = u64::MAX;

/// A slot that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Its number; later slots have higher ones.
    pub serial: u64,
    /// When it is given back if nobody does so: it is held while the clock shows less.
    pub expires_ns: u64,
    /// Whose it is, as the caller counts them.
    pub peer: u64,
}

/// The slots held of one key or one tenant. The caller bounds how many.
#[derive(Debug, Clone)]
pub struct Slots {
    /// No slot expires before this; not always the exact instant, and `FREE_NS` if none is held.
    next_ns: u64,
    held: u32,
    nodes: Nodes,
}

// It lies inside every entry of the catalog that has such a limit.
const _: () = assert!(size_of::<Slots>() <= 72);

#[derive(Debug, Clone)]
enum Nodes {
    /// In no order.
    Few([Slot; FEW]),
    Many(Many),
}

impl Default for Slots {
    fn default() -> Self {
        Self { next_ns: FREE_NS, held: 0, nodes: Nodes::Few([Slot::FREE; FEW]) }
    }
}

impl Slot {
    const FREE: Self = Self { serial: 0, expires_ns: FREE_NS, peer: 0 };

    const fn is_held(&self) -> bool {
        self.expires_ns != FREE_NS
    }

    const fn is(&self, serial: u64) -> bool {
        self.serial == serial && self.is_held()
    }

    /// Whether it is held and its time is over.
    const fn is_over(&self, now_ns: u64) -> bool {
        self.expires_ns <= now_ns && self.is_held()
    }
}

impl Slots {
    /// How many are held, after what has expired was reaped. Nanoseconds if nothing has; else the
    /// cost of a walk over the bounds of [`many`]'s chunks.
    pub fn used(&mut self, now_ns: u64) -> u32 {
        if now_ns >= self.next_ns && self.held > 0 {
            self.reap(now_ns);
        }
        self.held
    }

    /// How many are held, those that have expired and were not reaped yet among them.
    #[must_use]
    pub const fn held(&self) -> u32 {
        self.held
    }

    /// Takes a slot. Serials grow from one to the next; one that comes late, by a race of its
    /// takers, is put in its place. The last instant there is counts as the one before it.
    pub fn take(&mut self, serial: u64, expires_ns: u64, peer: u64) {
        debug_assert!(self.get(serial).is_none(), "a serial is handed out once");
        let slot = Slot { serial, expires_ns: expires_ns.min(FREE_NS - 1), peer };
        self.next_ns = self.next_ns.min(slot.expires_ns);
        self.held += 1;
        match &mut self.nodes {
            Nodes::Few(few) => {
                if let Some(free) = few.iter_mut().find(|node| !node.is_held()) {
                    *free = slot;
                } else {
                    let mut many = Many::with(*few);
                    many.insert(slot);
                    self.nodes = Nodes::Many(many);
                }
            }
            Nodes::Many(many) => many.insert(slot),
        }
    }

    /// Gives a slot back: once, `None` if it is not held (any more).
    pub fn release(&mut self, serial: u64) -> Option<Slot> {
        let node = self.find_mut(serial)?;
        let slot = std::mem::replace(node, Slot { serial, ..Slot::FREE });
        self.held -= 1;
        self.settle();
        Some(slot)
    }

    /// Gives all slots of a peer back; how many.
    pub fn release_all_of(&mut self, peer: u64) -> u32 {
        let nodes = match &mut self.nodes {
            Nodes::Few(few) => few.as_mut_slice(),
            Nodes::Many(many) => many.nodes_mut(),
        };
        let mut freed = 0;
        for node in nodes.iter_mut().filter(|node| node.is_held() && node.peer == peer) {
            *node = Slot { serial: node.serial, ..Slot::FREE };
            freed += 1;
        }
        self.held -= freed;
        self.settle();
        freed
    }

    /// Moves the expiry of a slot, to either side; whether it is held.
    pub fn renew(&mut self, serial: u64, expires_ns: u64) -> bool {
        let expires_ns = expires_ns.min(FREE_NS - 1);
        let found = match &mut self.nodes {
            Nodes::Few(_) => {
                self.find_mut(serial).map(|node| node.expires_ns = expires_ns).is_some()
            }
            Nodes::Many(many) => many.renew(serial, expires_ns),
        };
        if found {
            self.next_ns = self.next_ns.min(expires_ns);
        }
        found
    }

    /// Whether a slot is held at an instant.
    #[must_use]
    pub fn holds(&self, serial: u64, now_ns: u64) -> bool {
        self.get(serial).is_some_and(|slot| !slot.is_over(now_ns))
    }

    /// A slot that was not released nor reaped.
    #[must_use]
    pub fn get(&self, serial: u64) -> Option<Slot> {
        let node = match &self.nodes {
            Nodes::Few(few) => few.iter().find(|node| node.is(serial)),
            Nodes::Many(many) => many.find(serial),
        };
        node.copied()
    }

    /// The slot that a peer took first of those that it holds.
    #[must_use]
    pub fn oldest_of(&self, peer: u64) -> Option<Slot> {
        let of_peer = |node: &&Slot| node.is_held() && node.peer == peer;
        let found = match &self.nodes {
            Nodes::Few(few) => few.iter().filter(of_peer).min_by_key(|node| node.serial),
            Nodes::Many(many) => many.nodes().iter().find(of_peer),
        };
        found.copied()
    }

    /// The slot that a peer took last of those that it holds.
    #[must_use]
    pub fn latest_of(&self, peer: u64) -> Option<Slot> {
        let of_peer = |node: &&Slot| node.is_held() && node.peer == peer;
        let found = match &self.nodes {
            Nodes::Few(few) => few.iter().filter(of_peer).max_by_key(|node| node.serial),
            Nodes::Many(many) => many.nodes().iter().rev().find(of_peer),
        };
        found.copied()
    }

    /// When the first of the held slots expires, exactly; `None` if none is held.
    pub fn earliest_ns(&mut self) -> Option<u64> {
        self.next_ns = match &mut self.nodes {
            Nodes::Few(few) => Bounds::of(few).first_ns,
            Nodes::Many(many) => many.earliest_ns(),
        };
        (self.held > 0).then_some(self.next_ns)
    }

    /// When, after so many that expire before it, the next of the held slots does. Where very many
    /// are held, when the first does: a denial must not cost a walk over all of them.
    pub fn expires_after(&mut self, others: u32) -> Option<u64> {
        if others == 0 || self.held > EXPIRIES_SORTED_MAX {
            return self.earliest_ns();
        }
        let nodes = match &self.nodes {
            Nodes::Few(few) => few.as_slice(),
            Nodes::Many(many) => many.nodes(),
        };
        let held = nodes.iter().filter(|node| node.is_held());
        let mut expiries: Vec<u64> = held.map(|node| node.expires_ns).collect();
        expiries.sort_unstable();
        expiries.get(others as usize).copied()
    }

    /// When the last of the held slots expires, exactly; `None` if none is held.
    pub fn latest_ns(&mut self) -> Option<u64> {
        let last_ns = match &mut self.nodes {
            Nodes::Few(few) => Bounds::of(few).last_ns,
            Nodes::Many(many) => many.latest_ns(),
        };
        (self.held > 0).then_some(last_ns)
    }

    #[cold]
    fn reap(&mut self, now_ns: u64) {
        let freed;
        (freed, self.next_ns) = match &mut self.nodes {
            Nodes::Few(few) => many::free_over(few, now_ns),
            Nodes::Many(many) => many.reap(now_ns),
        };
        self.held -= freed;
        self.settle();
    }

    fn find_mut(&mut self, serial: u64) -> Option<&mut Slot> {
        match &mut self.nodes {
            Nodes::Few(few) => few.iter_mut().find(|node| node.is(serial)),
            Nodes::Many(many) => many.find_mut(serial),
        }
    }

    /// Gives back the memory of slots that are gone, when that is worth the walk.
    fn settle(&mut self) {
        if self.held == 0 {
            *self = Self::default();
        } else if let Nodes::Many(many) = &mut self.nodes
            && let Some(few) = many.settle(self.held as usize)
        {
            self.nodes = Nodes::Few(few);
        }
    }
}

#[cfg(test)]
mod tests;
