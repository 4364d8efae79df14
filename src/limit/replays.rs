//! Signatures that were used, so that none is used twice: in memory, bounded, told by key.
//!
//! One is remembered until it would be too old anyway. What is forgotten raises the *floor*: nothing
//! that was made at or before it is taken, whatever the clock says by then. So no step of the clock
//! opens a window, and a start after a crash, which has forgotten all, begins with a floor. How far that
//! must be ahead of the start is what [`Lead`] keeps small.
//!
//! A tenant may have a part of the cache and a key a smaller one ([`Room`]), so none can fill it for
//! all. What is too old is forgotten in small steps: no look waits for more than a few of them, and
//! whoever has time for it sweeps the rest.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

mod horizon;
mod lead;
mod shard;
mod shares;

use shard::Shard;
use shares::Shares;

pub use horizon::{HORIZON_S, Horizon};
pub use lead::{LEAD_STEP_S, Lead, lead_at_start, lead_for};
pub use shares::Room;

/// Parts that are locked apart. Nobody can choose the part of a signature, so that all stay small: one
/// that grows is copied under its lock.
const SHARDS: usize = 1024;
/// How many are forgotten by one look, which comes with a decision.
const FORGOTTEN_AT_ONCE: usize = 4;
/// Parts that are looked through where there is no room.
const SWEPT_AT_ONCE: usize = 32;
/// How many of a part are forgotten under one lock by whoever has time.
const SWEPT_OF_SHARD: usize = 256;
/// Bytes that a signature is told by: half a SHA-256, which nobody finds two of.
const TAG_BYTES: usize = 16;

type Tag = [u8; TAG_BYTES];

/// A signature that was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Used {
    /// The key that it was used with.
    pub key: u64,
    /// The number of the key's tenant.
    pub tenant: u32,
    /// What tells it from others of the key.
    pub tag: Tag,
    /// When it was made: seconds since 1970.
    pub created: i64,
}

impl Used {
    /// One of a key, by a digest and when it was made; of tenant 0.
    #[must_use]
    pub fn new(key: u64, digest: &[u8; 32], created: i64) -> Self {
        let mut tag = Tag::default();
        tag.copy_from_slice(&digest[..TAG_BYTES]);
        Self { key, tenant: 0, tag, created }
    }

    /// The same, of this tenant.
    #[must_use]
    pub const fn of_tenant(self, tenant: u32) -> Self {
        Self { tenant, ..self }
    }
}

/// Why a signature is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It was used.
    Replayed,
    /// Whether it was used is not known any more.
    Forgotten,
    /// It is so far ahead that it could not be told after a crash, or the clock is. It can be once
    /// the lead is kept that it needs ([`Lead::ask`]), or the [`Horizon`].
    Ahead,
    /// There is no room to remember it, or the key or its tenant has its share.
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
    /// The first second that is not too old.
    const fn oldest(self) -> i64 {
        self.now_s.saturating_sub(self.max_s as i64)
    }
}

/// Signatures that were used.
#[derive(Debug)]
pub struct Replays {
    /// Each lock is held for one look, or for the removal of what is too old, and with no other.
    shards: Box<[Mutex<Shard>]>,
    /// What says which part a signature is in.
    spread: RandomState,
    shares: Shares,
    lead: Lead,
    horizon: Horizon,
    /// The part that is looked through next.
    next: AtomicUsize,
}

impl Replays {
    /// A cache of at most so many. It takes nothing that is ahead until its [`Replays::lead`] is.
    #[must_use]
    pub fn new(room: impl Into<Room>) -> Self {
        Self {
            shards: std::iter::repeat_with(Mutex::default).take(SHARDS).collect(),
            spread: RandomState::new(),
            shares: Shares::new(room.into()),
            lead: Lead::default(),
            horizon: Horizon::default(),
            next: AtomicUsize::new(0),
        }
    }

    /// Has it remember at most so many from here on; what it has stays.
    pub fn set_room(&self, room: impl Into<Room>) {
        self.shares.set(room.into());
    }

    /// Signatures that are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shares.used()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many may be.
    #[must_use]
    pub fn max(&self) -> usize {
        self.shares.max()
    }

    /// How far ahead what is used may have been made.
    #[must_use]
    pub const fn lead(&self) -> &Lead {
        &self.lead
    }

    /// Until when it may be used.
    #[must_use]
    pub const fn horizon(&self) -> &Horizon {
        &self.horizon
    }

    /// How far ahead anything is that is remembered, or the floor, in seconds: what is made later
    /// than that was not used.
    #[must_use]
    pub fn ahead_s(&self, now_s: i64) -> i64 {
        let newest = self.shards.iter().map(|shard| shard.lock().newest()).max();
        newest.unwrap_or(i64::MIN).saturating_sub(now_s)
    }

    /// Whether it could be used now, without using it.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn look(&self, used: &Used, age: Age) -> Result<(), Refusal> {
        let mut shard = self.shard(used).lock();
        self.forget(&mut shard, age, FORGOTTEN_AT_ONCE);
        self.check(&shard, used, age)?;
        if self.shares.has_room(used) { Ok(()) } else { Err(Refusal::Full) }
    }

    /// Uses it. Whatever denies the request behind it takes it back.
    ///
    /// # Errors
    /// [`Refusal`]; then nothing was used.
    pub fn reserve(&self, used: &Used, age: Age) -> Result<(), Refusal> {
        match self.try_reserve(used, age) {
            Err(Refusal::Full) => {
                self.sweep(age, SWEPT_AT_ONCE, FORGOTTEN_AT_ONCE);
                self.try_reserve(used, age)
            }
            other => other,
        }
    }

    fn try_reserve(&self, used: &Used, age: Age) -> Result<(), Refusal> {
        let mut shard = self.shard(used).lock();
        self.forget(&mut shard, age, FORGOTTEN_AT_ONCE);
        self.check(&shard, used, age)?;
        if !self.shares.take(used) {
            return Err(Refusal::Full);
        }
        shard.add(used);
        Ok(())
    }

    fn check(&self, shard: &Shard, used: &Used, age: Age) -> Result<(), Refusal> {
        shard.check(used)?;
        let ahead_s = used.created.saturating_sub(age.now_s);
        if self.lead.covers(ahead_s) && self.horizon.covers(age.now_s) {
            Ok(())
        } else {
            Err(Refusal::Ahead)
        }
    }

    /// Takes a reservation back, as if it had not been.
    pub fn take_back(&self, used: &Used) {
        if self.shard(used).lock().take_back(used) {
            self.shares.give_back(used);
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
            all.extend(shard.all());
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
            let mut shard = self.shard(used).lock();
            if !shard.has(used) {
                shard.add(used);
                self.shares.take_any(used);
            }
        }
        if let Some(newest) = lost.iter().map(|used| used.created).max() {
            self.raise_floor(newest);
        }
    }

    /// Forgets what is too old in some parts, each time in others: for whoever has time. No lock is held
    /// for more than a few hundred of them.
    pub fn sweep_some(&self, age: Age) {
        self.sweep(age, SWEPT_AT_ONCE, SWEPT_OF_SHARD);
    }

    /// How often [`Replays::sweep_some`] goes through all parts once.
    pub const SWEEPS: usize = SHARDS / SWEPT_AT_ONCE;

    fn sweep(&self, age: Age, shards: usize, of_each: usize) {
        let first = self.next.fetch_add(shards, Ordering::Relaxed);
        for at in 0..shards {
            let shard = &self.shards[first.wrapping_add(at) % SHARDS];
            self.forget(&mut shard.lock(), age, of_each);
        }
    }

    fn forget(&self, shard: &mut Shard, age: Age, at_most: usize) {
        shard.forget(age, at_most, |used| self.shares.give_back(used));
    }

    fn shard(&self, used: &Used) -> &Mutex<Shard> {
        let hash = self.spread.hash_one((used.key, used.tag));
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or(0)]
    }
}

#[cfg(test)]
mod tests;
