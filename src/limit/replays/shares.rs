//! Who may have how much of the cache: no tenant can fill it, and no key can fill its tenant's part.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::Used;

/// Cells that are counted in, of keys and of tenants. Numbers go round: only of more than so many
/// does one share a cell, and its share, with another.
const CELLS: usize = 1 << 16;

/// How many signatures may be remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// In all.
    pub max: usize,
    /// Of one tenant.
    pub of_tenant: usize,
    /// Of one key.
    pub of_key: usize,
}

impl Room {
    /// So many, of which a tenant has a quarter and a key a sixteenth, unless they are given more or
    /// less: 0 for neither.
    #[must_use]
    pub fn new(max: usize, of_tenant: usize, of_key: usize) -> Self {
        let or = |given: usize, part: usize| if given == 0 { max.div_ceil(part) } else { given };
        Self { max, of_tenant: or(of_tenant, 4).min(max), of_key: or(of_key, 16).min(max) }
    }
}

impl From<usize> for Room {
    fn from(max: usize) -> Self {
        Self::new(max, 0, 0)
    }
}

/// What is remembered, in all and by whose it is.
#[derive(Debug)]
pub(super) struct Shares {
    max: AtomicUsize,
    tenant_max: AtomicUsize,
    key_max: AtomicUsize,
    used: AtomicUsize,
    tenants: Box<[AtomicUsize]>,
    keys: Box<[AtomicUsize]>,
}

impl Shares {
    pub(super) fn new(room: Room) -> Self {
        let cells = || std::iter::repeat_with(AtomicUsize::default).take(CELLS).collect();
        let shares = Self {
            max: AtomicUsize::default(),
            tenant_max: AtomicUsize::default(),
            key_max: AtomicUsize::default(),
            used: AtomicUsize::default(),
            tenants: cells(),
            keys: cells(),
        };
        shares.set(room);
        shares
    }

    pub(super) fn set(&self, room: Room) {
        self.max.store(room.max, Relaxed);
        self.tenant_max.store(room.of_tenant, Relaxed);
        self.key_max.store(room.of_key, Relaxed);
    }

    pub(super) fn max(&self) -> usize {
        self.max.load(Relaxed)
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// Takes a place for it, if it may have one. Each count is raised before it is compared, so that
    /// those who come together never have more than there is.
    pub(super) fn take(&self, used: &Used) -> bool {
        let counts = [
            (&self.used, &self.max),
            (self.tenant(used), &self.tenant_max),
            (self.key(used), &self.key_max),
        ];
        for (at, (count, max)) in counts.iter().enumerate() {
            if count.fetch_add(1, Relaxed) >= max.load(Relaxed) {
                for (count, _) in &counts[..=at] {
                    count.fetch_sub(1, Relaxed);
                }
                return false;
            }
        }
        true
    }

    /// Takes a place whatever the shares.
    pub(super) fn take_any(&self, used: &Used) {
        for count in [&self.used, self.tenant(used), self.key(used)] {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Whether it may have a place.
    pub(super) fn has_room(&self, used: &Used) -> bool {
        self.used() < self.max()
            && self.tenant(used).load(Relaxed) < self.tenant_max.load(Relaxed)
            && self.key(used).load(Relaxed) < self.key_max.load(Relaxed)
    }

    pub(super) fn give_back(&self, used: &Used) {
        for count in [&self.used, self.tenant(used), self.key(used)] {
            count.fetch_sub(1, Relaxed);
        }
    }

    fn tenant(&self, used: &Used) -> &AtomicUsize {
        &self.tenants[used.tenant as usize % CELLS]
    }

    /// The upper bits of a product with an odd number (2^64 over the golden ratio) tell ids apart
    /// that follow one another.
    fn key(&self, used: &Used) -> &AtomicUsize {
        const SHIFT: u32 = u64::BITS - CELLS.ilog2();
        let at = used.key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> SHIFT;
        &self.keys[usize::try_from(at).unwrap_or(0)]
    }
}
