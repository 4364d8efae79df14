//! More slots than stand in the structure itself.
//!
//! The nodes are sorted by serial, so that one is found in O(log n) and a new one is pushed behind
//! all others. A node whose slot is gone stays until more than half of them are such, and all of
//! these are then taken out in one walk: a constant share of each release.
//!
//! Expiries are in no order, because slots are renewed. So that a million slots which expire one
//! by one are not walked a million times, every full chunk of nodes has bounds of its own, and
//! only a chunk whose first expiry may have come is looked into.

use super::{FEW, FREE_NS, Slot};

pub(super) const CHUNK: usize = 128;

/// So many nodes without a slot are not worth a walk.
const SPARE: usize = 8;

#[derive(Debug, Clone, Default)]
pub(super) struct Many {
    nodes: Vec<Slot>,
    /// Of each full chunk; the nodes behind the last full one are always looked at.
    chunks: Vec<Bounds>,
}

/// No slot of a chunk expires before the first nor after the last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) first_ns: u64,
    pub(super) last_ns: u64,
}

impl Bounds {
    /// The exact ones.
    pub(super) fn of(nodes: &[Slot]) -> Self {
        let none = Self { first_ns: FREE_NS, last_ns: 0 };
        nodes.iter().filter(|node| node.is_held()).fold(none, |bounds, node| Self {
            first_ns: bounds.first_ns.min(node.expires_ns),
            last_ns: bounds.last_ns.max(node.expires_ns),
        })
    }
}

/// Frees the nodes whose time is over: how many, and when the next one expires.
pub(super) fn free_over(nodes: &mut [Slot], now_ns: u64) -> (u32, u64) {
    let (mut freed, mut next_ns) = (0, FREE_NS);
    for node in nodes {
        if node.is_over(now_ns) {
            node.expires_ns = FREE_NS;
            freed += 1;
        }
        next_ns = next_ns.min(node.expires_ns);
    }
    (freed, next_ns)
}

impl Many {
    pub(super) fn with(few: [Slot; FEW]) -> Self {
        let mut nodes = few.to_vec();
        nodes.sort_unstable_by_key(|node| node.serial);
        Self { nodes, chunks: Vec::new() }
    }

    pub(super) fn find(&self, serial: u64) -> Option<&Slot> {
        self.place(serial).map(|at| &self.nodes[at])
    }

    /// All of them, free ones too.
    pub(super) fn nodes(&self) -> &[Slot] {
        &self.nodes
    }

    /// For freeing them, as in [`Many::find_mut`].
    pub(super) fn nodes_mut(&mut self) -> &mut [Slot] {
        &mut self.nodes
    }

    /// For freeing it: the bounds of its chunk stay right, if not exact.
    pub(super) fn find_mut(&mut self, serial: u64) -> Option<&mut Slot> {
        self.place(serial).map(|at| &mut self.nodes[at])
    }

    pub(super) fn insert(&mut self, slot: Slot) {
        let at = match self.nodes.last() {
            Some(last) if last.serial >= slot.serial => {
                self.nodes.partition_point(|node| node.serial < slot.serial)
            }
            _ => self.nodes.len(),
        };
        self.nodes.insert(at, slot);
        // What stood behind it has moved on by one, nearly always nothing.
        self.chunks.truncate(at / CHUNK);
        self.bound_full_chunks();
    }

    pub(super) fn renew(&mut self, serial: u64, expires_ns: u64) -> bool {
        let Some(at) = self.place(serial) else { return false };
        self.nodes[at].expires_ns = expires_ns;
        if let Some(bounds) = self.chunks.get_mut(at / CHUNK) {
            bounds.first_ns = bounds.first_ns.min(expires_ns);
            bounds.last_ns = bounds.last_ns.max(expires_ns);
        }
        true
    }

    /// As [`free_over`].
    pub(super) fn reap(&mut self, now_ns: u64) -> (u32, u64) {
        let full = self.chunks.len() * CHUNK;
        let (mut freed, mut next_ns) = free_over(&mut self.nodes[full..], now_ns);
        for (bounds, nodes) in self.chunks.iter_mut().zip(self.nodes.chunks_exact_mut(CHUNK)) {
            if bounds.first_ns <= now_ns {
                freed += free_over(nodes, now_ns).0;
                *bounds = Bounds::of(nodes);
            }
            next_ns = next_ns.min(bounds.first_ns);
        }
        (freed, next_ns)
    }

    pub(super) fn earliest_ns(&mut self) -> u64 {
        let mut best_ns = Bounds::of(&self.nodes[self.chunks.len() * CHUNK..]).first_ns;
        for (bounds, nodes) in self.chunks.iter_mut().zip(self.nodes.chunks_exact(CHUNK)) {
            if bounds.first_ns < best_ns {
                *bounds = Bounds::of(nodes);
                best_ns = best_ns.min(bounds.first_ns);
            }
        }
        best_ns
    }

    pub(super) fn latest_ns(&mut self) -> u64 {
        let mut best_ns = Bounds::of(&self.nodes[self.chunks.len() * CHUNK..]).last_ns;
        let nodes = self.nodes.chunks_exact(CHUNK);
        // Backwards: the slots that were taken last mostly expire last, and then no other chunk
        // needs a look.
        for (bounds, nodes) in self.chunks.iter_mut().zip(nodes).rev() {
            if bounds.last_ns > best_ns {
                *bounds = Bounds::of(nodes);
                best_ns = best_ns.max(bounds.last_ns);
            }
        }
        best_ns
    }

    /// Takes out the nodes without a slot, if they are the most of them; gives the held slots back
    /// if these are few enough for the structure itself.
    pub(super) fn settle(&mut self, held: usize) -> Option<[Slot; FEW]> {
        if self.nodes.len() - held <= held + SPARE {
            return None;
        }
        self.nodes.retain(Slot::is_held);
        if self.nodes.len() <= FEW {
            let mut few = [Slot::FREE; FEW];
            few[..self.nodes.len()].copy_from_slice(&self.nodes);
            return Some(few);
        }
        if self.nodes.capacity() / 4 > self.nodes.len() {
            self.nodes.shrink_to(2 * self.nodes.len());
        }
        self.chunks.clear();
        self.bound_full_chunks();
        self.chunks.shrink_to(2 * self.chunks.len());
        None
    }

    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Slot>() + self.chunks.capacity() * size_of::<Bounds>()
    }

    /// Where a held slot stands.
    fn place(&self, serial: u64) -> Option<usize> {
        let at = self.nodes.binary_search_by_key(&serial, |node| node.serial).ok()?;
        self.nodes[at].is_held().then_some(at)
    }

    fn bound_full_chunks(&mut self) {
        let known = self.chunks.len();
        let full = self.nodes.chunks_exact(CHUNK).skip(known);
        self.chunks.extend(full.map(Bounds::of));
    }
}
