//! Signatures that were used, so that none is used twice: in memory, bounded, told by key.
//!
//! One is remembered until it would be too old anyway. What is forgotten raises the *floor*: nothing
//! that was made at or before it is taken, whatever the clock says by then. So no step of the clock
//! opens a window, and a start after a crash, which has forgotten all, begins with a floor. How far that
//! must be ahead of the start is what [`Lead`] keeps small.
//!
//! A key may have as many as there is room for others: one key alone takes half of the cache, and
//! the more keys fill it, the less each has. What is left free is anybody's who has none yet.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use parking_lot::Mutex;

mod lead;

pub use lead::{LEAD_STEP_S, Lead, lead_at_start, lead_for};

/// Parts that are locked apart; a key is in one of them.
const SHARDS: usize = 64;
/// Bytes that a signature is told by: half a SHA-256, which nobody finds two of.
const TAG_BYTES: usize = 16;

type Tag = [u8; TAG_BYTES];

/// A signature that was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Used {
    /// The key that it was used with.
    pub key: u64,
    /// What tells it from others of the key.
    pub tag: Tag,
    /// When it was made: seconds since 1970.
    pub created: i64,
}

impl Used {
    /// One of a key, by a digest and when it was made.
    #[must_use]
    pub fn new(key: u64, digest: &[u8; 32], created: i64) -> Self {
        let mut tag = Tag::default();
        tag.copy_from_slice(&digest[..TAG_BYTES]);
        Self { key, tag, created }
    }
}

/// Why a signature is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It was used.
    Replayed,
    /// Whether it was used is not known any more.
    Forgotten,
    /// It is so far ahead that it could not be told after a crash. It can be once the lead is kept
    /// that it needs: see [`Lead::ask`].
    Ahead,
    /// There is no room to remember it, or the key has its share.
    Full,
}

/// When a signature is too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age {
    /// Now, in seconds since 1970.
    pub now_s: i64,
    /// How long ago one may have been made.
    pub max_s: u32,
}

impl Age {
    /// Whether what was made then is taken by no one any more.
    const fn is_over(self, created: i64) -> bool {
        created < self.now_s.saturating_sub(self.max_s as i64)
    }
}

/// Signatures that were used.
#[derive(Debug)]
pub struct Replays {
    /// Each lock is held for one look, or for the removal of what is too old, and with no other.
    shards: Box<[Mutex<Shard>]>,
    used: AtomicUsize,
    max: AtomicUsize,
    lead: Lead,
    /// The second in which all shards were last rid of what is too old.
    swept_s: AtomicI64,
}

#[derive(Debug)]
struct Shard {
    tags: HashMap<(u64, Tag), i64>,
    by_created: BTreeMap<i64, Vec<(u64, Tag)>>,
    of_key: HashMap<u64, usize>,
    /// Nothing that was made at or before it is taken.
    floor_s: i64,
}

impl Default for Shard {
    fn default() -> Self {
        let (tags, by_created, of_key) = Default::default();
        Self { tags, by_created, of_key, floor_s: i64::MIN }
    }
}

impl Replays {
    /// A cache of at most so many. It takes nothing that is ahead until its [`Replays::lead`] is.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            shards: std::iter::repeat_with(Mutex::default).take(SHARDS).collect(),
            used: AtomicUsize::new(0),
            max: AtomicUsize::new(max),
            lead: Lead::default(),
            swept_s: AtomicI64::new(i64::MIN),
        }
    }

    /// Has it remember at most so many from here on; what it has stays.
    pub fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Signatures that are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many may be.
    #[must_use]
    pub fn max(&self) -> usize {
        self.max.load(Ordering::Relaxed)
    }

    /// How far ahead what is used may have been made.
    #[must_use]
    pub const fn lead(&self) -> &Lead {
        &self.lead
    }

    /// How far ahead anything is that is remembered, or the floor, in seconds: what is made later
    /// than that was not used.
    #[must_use]
    pub fn ahead_s(&self, now_s: i64) -> i64 {
        let newest = |shard: &Mutex<Shard>| {
            let shard = shard.lock();
            let newest =
                shard.by_created.last_key_value().map_or(i64::MIN, |(created, _)| *created);
            newest.max(shard.floor_s)
        };
        let newest = self.shards.iter().map(newest).max().unwrap_or(i64::MIN);
        newest.saturating_sub(now_s)
    }

    /// Whether it could be used now, without using it.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn look(&self, used: &Used, age: Age) -> Result<(), Refusal> {
        let mut shard = self.shard(used.key).lock();
        self.forget(&mut shard, age);
        self.check(&shard, used, age)
    }

    /// Uses it. Whatever denies the request behind it takes it back.
    ///
    /// # Errors
    /// [`Refusal`]; then nothing was used.
    pub fn reserve(&self, used: &Used, age: Age) -> Result<(), Refusal> {
        match self.try_reserve(used, age) {
            Err(Refusal::Full) if self.sweep(age) => self.try_reserve(used, age),
            other => other,
        }
    }

    fn try_reserve(&self, used: &Used, age: Age) -> Result<(), Refusal> {
        let mut shard = self.shard(used.key).lock();
        self.forget(&mut shard, age);
        self.check(&shard, used, age)?;
        let free = self.max().saturating_sub(self.len());
        if shard.of_key.get(&used.key).copied().unwrap_or(0) >= free {
            return Err(Refusal::Full);
        }
        shard.add(used);
        self.used.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn check(&self, shard: &Shard, used: &Used, age: Age) -> Result<(), Refusal> {
        shard.check(used)?;
        let ahead_s = used.created.saturating_sub(age.now_s);
        if self.lead.covers(ahead_s) { Ok(()) } else { Err(Refusal::Ahead) }
    }

    /// Takes a reservation back, as if it had not been.
    pub fn take_back(&self, used: &Used) {
        if self.shard(used.key).lock().take_back(used) {
            self.used.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Takes nothing that was made at or before this second.
    pub fn raise_floor(&self, floor_s: i64) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.floor_s = shard.floor_s.max(floor_s);
        }
    }

    /// What is remembered, and the highest floor: for whoever keeps it over a stop.
    #[must_use]
    pub fn saved(&self) -> (i64, Vec<Used>) {
        let (mut floor_s, mut all) = (i64::MIN, Vec::with_capacity(self.len()));
        for shard in &self.shards {
            let shard = shard.lock();
            floor_s = floor_s.max(shard.floor_s);
            all.extend(shard.tags.iter().map(|((key, tag), created)| Used {
                key: *key,
                tag: *tag,
                created: *created,
            }));
        }
        (floor_s, all)
    }

    /// Remembers what was saved, whatever the shares; as much as there is room for, and takes nothing
    /// of the time of what has none.
    pub fn restore(&self, floor_s: i64, all: &[Used]) {
        self.raise_floor(floor_s);
        let room = self.max().saturating_sub(self.len());
        let (kept, lost) = all.split_at(all.len().min(room));
        for used in kept {
            let mut shard = self.shard(used.key).lock();
            if !shard.tags.contains_key(&(used.key, used.tag)) {
                shard.add(used);
                self.used.fetch_add(1, Ordering::Relaxed);
            }
        }
        if let Some(newest) = lost.iter().map(|used| used.created).max() {
            self.raise_floor(newest);
        }
    }

    /// Rids all shards of what is too old, once in a second at most; whether it did.
    fn sweep(&self, age: Age) -> bool {
        if self.swept_s.swap(age.now_s, Ordering::Relaxed) == age.now_s {
            return false;
        }
        self.shards.iter().for_each(|shard| self.forget(&mut shard.lock(), age));
        true
    }

    fn forget(&self, shard: &mut Shard, age: Age) {
        let forgotten = shard.forget(age);
        if forgotten > 0 {
            self.used.fetch_sub(forgotten, Ordering::Relaxed);
        }
    }

    /// Ids are spread by the upper bits of a product with an odd number (2^64 over the golden ratio).
    fn shard(&self, key: u64) -> &Mutex<Shard> {
        const SHIFT: u32 = u64::BITS - SHARDS.ilog2();
        let at = key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> SHIFT;
        &self.shards[usize::try_from(at).unwrap_or(0)]
    }
}

impl Shard {
    fn check(&self, used: &Used) -> Result<(), Refusal> {
        if self.tags.contains_key(&(used.key, used.tag)) {
            Err(Refusal::Replayed)
        } else if used.created <= self.floor_s {
            Err(Refusal::Forgotten)
        } else {
            Ok(())
        }
    }

    fn add(&mut self, used: &Used) {
        let name = (used.key, used.tag);
        self.tags.insert(name, used.created);
        self.by_created.entry(used.created).or_default().push(name);
        *self.of_key.entry(used.key).or_default() += 1;
    }

    fn take_back(&mut self, used: &Used) -> bool {
        let name = (used.key, used.tag);
        // By then it may have been forgotten, and another may have it since.
        if self.tags.get(&name) != Some(&used.created) {
            return false;
        }
        self.tags.remove(&name);
        if let Some(all) = self.by_created.get_mut(&used.created) {
            // It is among the last that came.
            if let Some(at) = all.iter().rposition(|one| *one == name) {
                all.swap_remove(at);
            }
            if all.is_empty() {
                self.by_created.remove(&used.created);
            }
        }
        self.uncount(used.key);
        true
    }

    fn uncount(&mut self, key: u64) {
        if let Some(count) = self.of_key.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.of_key.remove(&key);
            }
        }
    }

    /// Forgets what is too old; how many these were.
    fn forget(&mut self, age: Age) -> usize {
        let mut forgotten = 0;
        while let Some(oldest) = self.by_created.first_entry()
            && age.is_over(*oldest.key())
        {
            let (created, all) = oldest.remove_entry();
            self.floor_s = self.floor_s.max(created);
            forgotten += all.len();
            for name in all {
                self.tags.remove(&name);
                self.uncount(name.0);
            }
        }
        forgotten
    }
}

#[cfg(test)]
mod tests;
