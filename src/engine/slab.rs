//! Entries at fixed places: segments that double in size, so that growing copies nothing.

const FIRST: usize = 1024;
/// Items at the most: the index stores slots plus one in 32 bits.
pub(super) const SLOTS_MAX: usize = u32::MAX as usize - 1;

/// A vector whose items never move.
#[derive(Debug)]
pub(super) struct Slab<T> {
    segments: Vec<Vec<T>>,
    len: u32,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { segments: Vec::new(), len: 0, free: Vec::new() }
    }
}

/// Segment and offset of a slot: segment s holds `FIRST << s` items.
const fn place(slot: u32) -> (usize, usize) {
    let shifted = slot as usize + FIRST;
    let segment = shifted.ilog2() - FIRST.ilog2();
    (segment as usize, shifted - (FIRST << segment))
}

impl<T> Slab<T> {
    /// Items there are.
    pub(super) fn len(&self) -> usize {
        self.len as usize - self.free.len()
    }

    /// Slots there are, free ones too: what stands in those is outdated.
    pub(super) const fn slots(&self) -> u32 {
        self.len
    }

    pub(super) fn get(&self, slot: u32) -> &T {
        let (segment, offset) = place(slot);
        &self.segments[segment][offset]
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> &mut T {
        let (segment, offset) = place(slot);
        &mut self.segments[segment][offset]
    }

    /// Puts an item into a free slot, or a new one; `None` when all are taken.
    pub(super) fn insert(&mut self, item: T) -> Option<u32> {
        if let Some(slot) = self.free.pop() {
            *self.get_mut(slot) = item;
            return Some(slot);
        }
        let slot = self.len;
        if slot as usize >= SLOTS_MAX {
            return None;
        }
        let (segment, _) = place(slot);
        if segment == self.segments.len() {
            // Reserved, not touched: memory becomes resident as it is filled.
            self.segments.push(Vec::with_capacity(FIRST << segment));
        }
        self.segments[segment].push(item);
        self.len += 1;
        Some(slot)
    }

    /// Gives a slot back. What stands there stays until the slot is used again; no index may
    /// point to it.
    pub(super) fn free(&mut self, slot: u32) {
        self.free.push(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_dense_stable_and_reused() {
        let mut slab = Slab::default();
        for n in 0..10_000_u32 {
            assert_eq!(slab.insert(n), Some(n));
        }
        assert!((0..10_000).all(|n| *slab.get(n) == n));
        slab.free(77);
        assert_eq!(slab.len(), 9_999);
        assert_eq!(slab.insert(1), Some(77));
        assert_eq!((slab.len(), *slab.get(77)), (10_000, 1));
    }
}
